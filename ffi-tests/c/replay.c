#include "harness.h"
const test_t replay_tests[] = {NO_MORE_TESTS};
