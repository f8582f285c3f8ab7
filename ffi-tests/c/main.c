/* Runs one test: `runner GROUP.NAME DIRECTORY`. `runner --list` names all. */

#include "harness.h"

extern const test_t appending_tests[], opening_tests[], forking_tests[], checkpoint_tests[], replay_tests[], mode_tests[],
    crash_tests[], failing_tests[], damage_tests[], thread_tests[], argument_tests[];

static const struct {
  const char *name;
  const test_t *tests;
} groups[] = {
    {"appending", appending_tests}, {"opening", opening_tests},   {"forking", forking_tests}, {"checkpoint", checkpoint_tests},
    {"replay", replay_tests},       {"modes", mode_tests},        {"crash", crash_tests},     {"failing", failing_tests},
    {"damage", damage_tests},       {"threads", thread_tests},    {"arguments", argument_tests},
};

enum { GROUPS = sizeof groups / sizeof *groups };

int main(int count, char **arguments)
{
  const char *limit = getenv("WAL_TEST_SECONDS");
  bool listing = count == 2 && strcmp(arguments[1], "--list") == 0;
  if (!listing && count != 3) return 2;
  limit_time(limit != NULL ? (unsigned)atoi(limit) : 60);
  for (size_t group = 0; group < GROUPS; group++) {
    for (const test_t *test = groups[group].tests; test->name != NULL; test++) {
      char name[256];
      snprintf(name, sizeof name, "%s.%s", groups[group].name, test->name);
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
