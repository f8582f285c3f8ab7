/* Mynewt's FCB: a sector for each block; full, the oldest is given up. */
#include <stddef.h>

#include "board.h"
#include "fcb/fcb.h"
#include "side.h"

static struct sector_range range = {.sr_flash_area = {0, BLOCK *BLOCKS}, .sr_sector_size = BLOCK, .sr_sector_count = BLOCKS};
static struct fcb fcb;

int flash_area_read(const struct flash_area *area, uint32_t offset, void *bytes, uint32_t len)
{
    (void)area;
    return chip_read(offset, bytes, len);
}

int flash_area_read_is_empty(const struct flash_area *area, uint32_t offset, void *bytes, uint32_t len)
{
    int status = flash_area_read(area, offset, bytes, len);
    for (uint32_t i = 0; status == 0 && i < len; i++) {
        if (((const uint8_t *)bytes)[i] != 0xFF) {
            return 0;
        }
    }
    return status == 0 ? 1 : status;
}

/* FCB leaves the rest of the last unit to the driver. */
int flash_area_write(const struct flash_area *area, uint32_t offset, const void *bytes, uint32_t len)
{
    uint8_t last[UNIT];
    uint32_t whole = len / UNIT * UNIT;
    (void)area;
    int status = whole > 0 ? chip_program(offset, bytes, whole) : 0;
    if (status == 0 && whole < len) {
        memset(last, 0xFF, sizeof last);
        memcpy(last, (const uint8_t *)bytes + whole, len - whole);
        status = chip_program(offset + whole, last, sizeof last);
    }
    return status;
}

int flash_area_erase(const struct flash_area *area, uint32_t offset, uint32_t len)
{
    (void)area;
    (void)len;
    return chip_erase(offset / BLOCK);
}

uint8_t flash_area_align(const struct flash_area *area)
{
    (void)area;
    return UNIT;
}

void side_open(int is_new)
{
    (void)is_new;
    memset(&fcb, 0, sizeof fcb);
    fcb.f_magic = 0x57414c21;
    fcb.f_range_cnt = 1;
    fcb.f_sector_cnt = BLOCKS;
    fcb.f_ranges = &range;
    must("init", fcb_init(&fcb));
}

void side_append(const void *record)
{
    struct fcb_entry entry;
    int status = fcb_append(&fcb, RECORD, &entry);
    if (status == FCB_ERR_NOSPACE) {
        must("rotate", fcb_rotate(&fcb));
        status = fcb_append(&fcb, RECORD, &entry);
    }
    must("append", status);
    must("write", fcb_write_to_sector(&entry, entry.fe_data_off, record, RECORD));
    must("finish", fcb_append_finish(&fcb, &entry));
}

void side_read(void)
{
    struct fcb_entry entry = {0};
    uint8_t record[RECORD];
    while (fcb_getnext(&fcb, &entry) == 0) {
        must("read", fcb_read_from_sector(&entry, entry.fe_data_off, record, RECORD));
        record_read(record);
    }
}
