/* Runs one test: `cpp GROUP.NAME DIRECTORY`. `cpp --list` names all. */

#include <unistd.h>

#include "harness.hpp"

int main(int count, char **arguments)
{
  const bool listing = count == 2 && std::string(arguments[1]) == "--list";
  if (!listing && count != 3) return 2;
  const char *limit = std::getenv("WAL_TEST_SECONDS");
  alarm(limit != nullptr ? static_cast<unsigned>(std::atoi(limit)) : 60);
  for (const test &each : tests()) {
    if (listing) {
      std::puts(each.name);
    } else if (std::string(arguments[1]) == each.name) {
      each.run(arguments[2]);
      return 0;
    }
  }
  if (listing) return 0;
  std::printf("there is no test %s\n", arguments[1]);
  return 2;
}
