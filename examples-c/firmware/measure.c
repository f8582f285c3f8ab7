/* What the log takes: stack, instructions and flash, told as lines of a name and a number. The chip is memory alone. */
#include <stdint.h>

#include "board.h"
#include "chip.h"
#include "wal_flash.h"

enum { OP_READING = 16 };

static uint64_t memory[160];
static wal_flash_t *the_log;

static void must(const char *what, int32_t status, const wal_flash_error_t *err)
{
    if (status < 0) {
        say(what);
        say_number(": status -", (uint32_t)-status);
        say_number("offset", (uint32_t)err->offset);
        leave(20);
    }
}

/* Ticks of 40 ns in which instructions of 64 ns ran. */
static uint32_t instructions(uint32_t ticks)
{
    return ticks * 5 / 8;
}

int main(void)
{
    static const uint8_t value[32] = {1};
    wal_flash_error_t err;
    wal_flash_config_t config = chip_config();
    wal_flash_stat_t stat;
    uint32_t deepest = 0, most = 0, sum = 0, used;
    uint64_t n;
    chip_detach();
    must("format", wal_flash_format(&config, &err), &err);
    say_number("memory_bytes", wal_flash_memory_size(&config));
    stack_paint();
    must("init", wal_flash_init(memory, sizeof memory, &config, &the_log, &err), &err);
    deepest = stack_used();
    say_number("stack_init", deepest);
    while (wal_flash_prepare(the_log, &err) == WAL_OK) {
    }
    must("append", wal_flash_append(the_log, OP_READING, NULL, 0, value, sizeof value, NULL, &err), &err);
    uint64_t before = wal_flash_free_bytes(the_log);
    clock_start();
    for (uint32_t i = 0; i < 20; i++) {
        uint32_t from = clock_ticks();
        must("append", wal_flash_append(the_log, OP_READING, NULL, 0, value, sizeof value, NULL, &err), &err);
        uint32_t took = instructions(clock_ticks() - from);
        sum += took;
        most = took > most ? took : most;
    }
    say_number("instructions_per_append", sum / 20);
    say_number("instructions_per_append_most", most);
    say_number("flash_bytes_per_append", (uint32_t)(before - wal_flash_free_bytes(the_log)) / 20);
    stack_paint();
    for (uint32_t i = 0; i < 120; i++) {
        must("append", wal_flash_append(the_log, OP_READING, NULL, 0, value, sizeof value, NULL, &err), &err);
    }
    used = stack_used();
    say_number("stack_append", used);
    deepest = used > deepest ? used : deepest;
    stack_paint();
    must("checkpoint", wal_flash_checkpoint(the_log, WAL_SEQ_LAST, &n, &err), &err);
    must("truncate", wal_flash_truncate(the_log, n - 30, 0, &err), &err);
    used = stack_used();
    say_number("stack_checkpoint_truncate", used);
    deepest = used > deepest ? used : deepest;
    stack_paint();
    must("stat", wal_flash_stat(the_log, &stat, &err), &err);
    used = stack_used();
    deepest = used > deepest ? used : deepest;
    stack_paint();
    must("init", wal_flash_init(memory, sizeof memory, &config, &the_log, &err), &err);
    must("append", wal_flash_append(the_log, OP_READING, NULL, 0, value, sizeof value, NULL, &err), &err);
    used = stack_used();
    say_number("stack_recovery", used);
    deepest = used > deepest ? used : deepest;
    say_number("stack_deepest", deepest);
    return 0;
}
