#include "harness.h"
const test_t mode_tests[] = {NO_MORE_TESTS};
