#include "harness.h"
const test_t failing_tests[] = {NO_MORE_TESTS};
