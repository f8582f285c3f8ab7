#include "harness.h"
const test_t argument_tests[] = {NO_MORE_TESTS};
