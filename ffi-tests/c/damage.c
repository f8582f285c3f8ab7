#include "harness.h"
const test_t damage_tests[] = {NO_MORE_TESTS};
