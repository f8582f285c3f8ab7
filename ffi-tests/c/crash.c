#include "harness.h"
const test_t crash_tests[] = {NO_MORE_TESTS};
