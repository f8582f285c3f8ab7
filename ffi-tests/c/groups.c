/* The groups of the tests that run with every library and under every tool. */

#include "harness.h"

extern const test_t appending_tests[], packed_tests[], opening_tests[], forking_tests[], checkpoint_tests[], replay_tests[], mode_tests[],
    crash_tests[], failing_tests[], damage_tests[], thread_tests[], argument_tests[], panic_tests[], pin_tests[],
    watching_tests[], live_tests[], storage_tests[], layer_tests[], direct_tests[];

const group_t groups[] = {
    {"appending", appending_tests},   {"packed", packed_tests}, {"opening", opening_tests}, {"forking", forking_tests},
    {"checkpoint", checkpoint_tests}, {"replay", replay_tests}, {"modes", mode_tests},      {"crash", crash_tests},
    {"failing", failing_tests},       {"damage", damage_tests}, {"threads", thread_tests},  {"arguments", argument_tests},
    {"panics", panic_tests},          {"pins", pin_tests},      {"watching", watching_tests}, {"live", live_tests},
    {"storage", storage_tests},       {"layers", layer_tests},  {"direct", direct_tests},
    {NULL, NULL},
};
