/* This log. Full, it forgets its oldest segment by itself, as the others do. */
#include <stddef.h>

#include "board.h"
#include "side.h"
#include "wal_flash.h"

/* As wal_flash_memory_size says for this config. */
enum { MEMORY = 704 };
static uint64_t memory[MEMORY / 8];
static wal_flash_t *the_log;

static int32_t read(void *ctx, uint32_t offset, void *bytes, uint32_t len)
{
    (void)ctx;
    return chip_read(offset, bytes, len);
}

static int32_t program(void *ctx, uint32_t offset, const void *bytes, uint32_t len)
{
    (void)ctx;
    return chip_program(offset, bytes, len);
}

static int32_t erase(void *ctx, uint32_t block)
{
    (void)ctx;
    return chip_erase(block);
}

void side_open(int is_new)
{
    (void)is_new;
    static const wal_flash_driver_t driver = {NULL, read, program, erase, NULL};
    wal_flash_config_t config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.flags = WAL_FLASH_OVERWRITE;
    config.block_size = BLOCK;
    config.block_count = BLOCKS;
    config.segment_blocks = 2;
    config.program_unit = UNIT;
    config.erased_value = 0xFF;
    config.driver = driver;
    must("memory", wal_flash_memory_size(&config) == MEMORY ? 0 : -1);
    must("init", wal_flash_init(memory, MEMORY, &config, &the_log, NULL));
}

void side_append(const void *record)
{
    must("append", wal_flash_append(the_log, 16, NULL, 0, record, RECORD, NULL, NULL));
}

void side_read(void)
{
    wal_flash_cursor_t cursor;
    wal_flash_record_t record;
    uint8_t value[RECORD];
    wal_status_t status;
    must("replay", wal_flash_replay_open(the_log, WAL_REPLAY_OLDEST, 0, &cursor, NULL));
    while ((status = wal_flash_replay_next(the_log, &cursor, &record, NULL)) == WAL_OK) {
        must("value", wal_flash_replay_read(the_log, &cursor, 0, value, RECORD, NULL, NULL));
        record_read(value);
    }
    must("next", status == WAL_END ? 0 : status);
}
