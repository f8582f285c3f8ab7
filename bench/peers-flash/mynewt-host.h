/* What FCB needs of Mynewt, in place of its headers: a flash area, which is the chip, and a lock, which one thread does not need. */
#ifndef MYNEWT_HOST_H
#define MYNEWT_HOST_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define MYNEWT_VAL(setting) 0

enum { OS_OK = 0, OS_ENOENT = 15, OS_NOT_STARTED = 14, OS_WAIT_FOREVER = -1 };

struct os_mutex {
    char none;
};

static inline int os_mutex_init(struct os_mutex *mutex)
{
    (void)mutex;
    return OS_OK;
}

static inline int os_mutex_pend(struct os_mutex *mutex, int timeout)
{
    (void)mutex;
    (void)timeout;
    return OS_OK;
}

static inline int os_mutex_release(struct os_mutex *mutex)
{
    (void)mutex;
    return OS_OK;
}

struct flash_area {
    uint32_t fa_off, fa_size;
};

struct sector_range {
    struct flash_area sr_flash_area;
    uint32_t sr_range_start;
    uint16_t sr_first_sector, sr_sector_size, sr_sector_count;
};

int flash_area_read(const struct flash_area *area, uint32_t offset, void *bytes, uint32_t len);
int flash_area_read_is_empty(const struct flash_area *area, uint32_t offset, void *bytes, uint32_t len);
int flash_area_write(const struct flash_area *area, uint32_t offset, const void *bytes, uint32_t len);
int flash_area_erase(const struct flash_area *area, uint32_t offset, uint32_t len);
uint8_t flash_area_align(const struct flash_area *area);

/* For functions of FCB that nobody calls here. */
int flash_area_open(uint8_t id, const struct flash_area **area);
int flash_area_to_sector_ranges(int id, int *count, struct sector_range *ranges);

#endif
