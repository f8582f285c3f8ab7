/* littlefs: a file for every IN_FILE records, the oldest removed for a new one. A file is synced behind each record. */
#include <stddef.h>

#include "board.h"
#include "lfs.h"
#include "side.h"

static uint8_t read_buffer[CACHE], program_buffer[CACHE], file_buffer[CACHE], lookahead[8] __attribute__((aligned(4)));
static lfs_t lfs;
static lfs_file_t file;
static uint32_t oldest, newest, in_newest;

static int read(const struct lfs_config *c, lfs_block_t block, lfs_off_t offset, void *bytes, lfs_size_t len)
{
    (void)c;
    return chip_read(block * BLOCK + offset, bytes, len);
}

static int program(const struct lfs_config *c, lfs_block_t block, lfs_off_t offset, const void *bytes, lfs_size_t len)
{
    (void)c;
    return chip_program(block * BLOCK + offset, bytes, len);
}

static int erase(const struct lfs_config *c, lfs_block_t block)
{
    (void)c;
    return chip_erase(block);
}

static int sync(const struct lfs_config *c)
{
    (void)c;
    return 0;
}

static const struct lfs_config config = {
    .read = read,
    .prog = program,
    .erase = erase,
    .sync = sync,
    .read_size = 1,
    .prog_size = UNIT,
    .block_size = BLOCK,
    .block_count = BLOCKS,
    .block_cycles = 500,
    .cache_size = CACHE,
    .lookahead_size = sizeof lookahead,
    .read_buffer = read_buffer,
    .prog_buffer = program_buffer,
    .lookahead_buffer = lookahead,
};
static const struct lfs_file_config file_config = {.buffer = file_buffer};

/* Eight hexadecimal digits. */
static const char *name_of(uint32_t number)
{
    static char name[9];
    for (int i = 7; i >= 0; i--, number >>= 4) {
        name[i] = "0123456789abcdef"[number & 15];
    }
    return name;
}

static uint32_t number_of(const char *name)
{
    uint32_t number = 0;
    for (; *name != 0; name++) {
        number = number << 4 | (uint32_t)(*name <= '9' ? *name - '0' : *name - 'a' + 10);
    }
    return number;
}

static void open_newest(void)
{
    must("open", lfs_file_opencfg(&lfs, &file, name_of(newest), LFS_O_RDWR | LFS_O_CREAT | LFS_O_APPEND, &file_config));
    in_newest = (uint32_t)lfs_file_size(&lfs, &file) / RECORD;
}

void side_open(int is_new)
{
    lfs_dir_t dir;
    struct lfs_info info;
    int more;
    if (is_new) {
        must("format", lfs_format(&lfs, &config));
    }
    must("mount", lfs_mount(&lfs, &config));
    oldest = UINT32_MAX;
    newest = 0;
    must("dir", lfs_dir_open(&lfs, &dir, "/"));
    while ((more = lfs_dir_read(&lfs, &dir, &info)) > 0) {
        if (info.type == LFS_TYPE_REG) {
            uint32_t number = number_of(info.name);
            oldest = number < oldest ? number : oldest;
            newest = number > newest ? number : newest;
        }
    }
    must("list", more);
    must("dir", lfs_dir_close(&lfs, &dir));
    oldest = oldest == UINT32_MAX ? 0 : oldest;
    open_newest();
}

void side_append(const void *record)
{
    if (in_newest == IN_FILE) {
        must("close", lfs_file_close(&lfs, &file));
        if (newest - oldest + 1 == FILES) {
            must("remove", lfs_remove(&lfs, name_of(oldest)));
            oldest++;
        }
        newest++;
        open_newest();
    }
    lfs_ssize_t written = lfs_file_write(&lfs, &file, record, RECORD);
    must("write", written == RECORD ? 0 : written);
    must("sync", lfs_file_sync(&lfs, &file));
    in_newest++;
}

/* The newest is closed for that: littlefs forbids to open a file twice. */
void side_read(void)
{
    uint8_t record[RECORD];
    lfs_ssize_t got;
    must("close", lfs_file_close(&lfs, &file));
    for (uint32_t number = oldest; number <= newest; number++) {
        must("open", lfs_file_opencfg(&lfs, &file, name_of(number), LFS_O_RDONLY, &file_config));
        while ((got = lfs_file_read(&lfs, &file, record, RECORD)) == RECORD) {
            record_read(record);
        }
        must("read", got);
        must("close", lfs_file_close(&lfs, &file));
    }
    open_newest();
}
