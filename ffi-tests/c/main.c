/* Runs one test: `runner GROUP.NAME DIRECTORY`. `runner --list` names all. */

#include "harness.h"

int main(int count, char **arguments)
{
  const char *limit = getenv("WAL_TEST_SECONDS");
  bool listing = count == 2 && strcmp(arguments[1], "--list") == 0;
  if (!listing && count != 3) return 2;
  limit_time(limit != NULL ? (unsigned)atoi(limit) : 60);
  for (const group_t *group = groups; group->name != NULL; group++) {
    for (const test_t *test = group->tests; test->name != NULL; test++) {
      char name[256];
      snprintf(name, sizeof name, "%s.%s", group->name, test->name);
      if (listing) {
        puts(name);
      } else if (strcmp(name, arguments[1]) == 0) {
        test->run(arguments[2]);
        return 0;
      }
    }
  }
  if (listing) return 0;
  printf("there is no test %s\n", arguments[1]);
  return 2;
}
