#include "harness.h"
const test_t thread_tests[] = {NO_MORE_TESTS};
