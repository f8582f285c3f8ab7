/* The chip is an array; every change goes to a file before the call returns, so that the file is what is left when the firmware is killed. A unit that
 * is programmed twice, or without having been erased, ends the firmware: a real chip would not forgive it either. */
#include "chip.h"

#include "board.h"

static uint8_t image[BLOCK * BLOCKS];
static uint8_t programmed[BLOCK * BLOCKS / UNIT];
static int file = -1;
static uint32_t steps_left, noise;

static void store(uint32_t offset, uint32_t len)
{
    if (file >= 0 && (file_seek(file, offset) != 0 || file_write(file, image + offset, len) != 0)) {
        say("chip: the file\n");
        leave(92);
    }
}

int chip_power_on(void)
{
    int is_new = 0;
    file = file_open("flash.img", FILE_UPDATE);
    if (file >= 0 && file_length(file) == (long)sizeof image) {
        if (file_read(file, image, sizeof image) != 0) {
            leave(92);
        }
    } else {
        file = file_open("flash.img", FILE_CREATE);
        memset(image, 0xFF, sizeof image);
        store(0, sizeof image);
        is_new = 1;
    }
    /* What looks erased may be programmed; what the firmware did before it was killed is not known here. */
    for (uint32_t unit = 0; unit < sizeof programmed; unit++) {
        programmed[unit] = 0;
        for (uint32_t i = 0; i < UNIT; i++) {
            programmed[unit] |= image[unit * UNIT + i] != 0xFF;
        }
    }
    return is_new;
}

void chip_cut_after(uint32_t steps, uint32_t seed)
{
    steps_left = steps;
    noise = seed | 1;
}

void chip_detach(void)
{
    file = -1;
}

static uint32_t random_word(void)
{
    noise ^= noise << 13;
    noise ^= noise >> 17;
    noise ^= noise << 5;
    return noise;
}

/* Whether the power fails now. */
static int cut(void)
{
    return steps_left > 0 && --steps_left == 0;
}

/* Some bits are new, some old, some units are untouched. */
static void tear(uint32_t offset, const uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        static uint32_t fate;
        if (i % UNIT == 0) {
            fate = random_word() % 3;
        }
        uint8_t mask = fate == 0 ? 0 : fate == 1 ? 0xFF : (uint8_t)random_word();
        uint8_t byte = bytes != NULL ? bytes[i] : 0xFF;
        image[offset + i] = (uint8_t)((image[offset + i] & ~mask) | (byte & mask));
    }
    store(offset, len);
    leave(10);
}

static int32_t chip_read(void *ctx, uint32_t offset, void *bytes, uint32_t len)
{
    (void)ctx;
    memcpy(bytes, image + offset, len);
    return 0;
}

static int32_t chip_program(void *ctx, uint32_t offset, const void *bytes, uint32_t len)
{
    (void)ctx;
    if (offset % UNIT != 0 || len % UNIT != 0 || offset + len > sizeof image) {
        say("chip: program\n");
        leave(93);
    }
    for (uint32_t unit = offset / UNIT; unit < (offset + len) / UNIT; unit++) {
        if (programmed[unit]) {
            say("chip: programmed twice\n");
            leave(94);
        }
        programmed[unit] = 1;
    }
    if (cut()) {
        tear(offset, bytes, len);
    }
    memcpy(image + offset, bytes, len);
    store(offset, len);
    return 0;
}

static int32_t chip_erase(void *ctx, uint32_t block)
{
    (void)ctx;
    if (block >= BLOCKS) {
        say("chip: erase\n");
        leave(95);
    }
    if (cut()) {
        tear(block * BLOCK, NULL, BLOCK);
    }
    memset(image + block * BLOCK, 0xFF, BLOCK);
    memset(programmed + block * BLOCK / UNIT, 0, BLOCK / UNIT);
    store(block * BLOCK, BLOCK);
    return 0;
}

wal_flash_config_t chip_config(void)
{
    static const wal_flash_driver_t driver = {NULL, chip_read, chip_program, chip_erase, NULL};
    wal_flash_config_t config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.block_size = BLOCK;
    config.block_count = BLOCKS;
    config.segment_blocks = 2;
    config.program_unit = UNIT;
    config.erased_value = 0xFF;
    config.driver = driver;
    return config;
}
