/* FlashDB's TSDB. The time stamp is a counter, because two records may not have the same. It has no program units above 4. */
#include <stddef.h>

#include "board.h"
#include "flashdb.h"
#include "side.h"

static struct fdb_tsdb db;
static fdb_time_t now;

static fdb_time_t time_of_record(void)
{
    return ++now;
}

/* Its driver: the crate calls these of the program's. */
fdb_err_t fdb_custom_read(fdb_db_t of, uint32_t offset, void *bytes, size_t len);
fdb_err_t fdb_custom_write(fdb_db_t of, uint32_t offset, const void *bytes, size_t len, bool sync);
fdb_err_t fdb_custom_erase(fdb_db_t of, uint32_t offset, size_t len);

fdb_err_t fdb_custom_read(fdb_db_t of, uint32_t offset, void *bytes, size_t len)
{
    (void)of;
    return chip_read(offset, bytes, len) == 0 ? FDB_NO_ERR : FDB_READ_ERR;
}

fdb_err_t fdb_custom_write(fdb_db_t of, uint32_t offset, const void *bytes, size_t len, bool sync)
{
    (void)of;
    (void)sync;
    return chip_program(offset, bytes, len) == 0 ? FDB_NO_ERR : FDB_WRITE_ERR;
}

fdb_err_t fdb_custom_erase(fdb_db_t of, uint32_t offset, size_t len)
{
    (void)of;
    for (uint32_t block = offset / BLOCK; block < (offset + len) / BLOCK; block++) {
        if (chip_erase(block) != 0) {
            return FDB_ERASE_ERR;
        }
    }
    return FDB_NO_ERR;
}

/* Instead of its loop without an end. */
void flashdb_asserts(void);
void flashdb_asserts(void)
{
    must("an assertion", -1);
}

void side_open(int is_new)
{
    uint32_t sector = BLOCK, size = BLOCK * BLOCKS;
    (void)is_new;
    memset(&db, 0, sizeof db);
    db.parent.mode = FDB_STORAGE_CUSTOM;
    fdb_tsdb_control(&db, FDB_TSDB_CTRL_SET_SEC_SIZE, &sector);
    fdb_tsdb_control(&db, FDB_TSDB_CTRL_SET_MAX_SIZE, &size);
    must("init", -(int)fdb_tsdb_init(&db, "records", NULL, time_of_record, RECORD, NULL));
    fdb_tsdb_control(&db, FDB_TSDB_CTRL_GET_LAST_TIME, &now);
}

void side_append(const void *record)
{
    struct fdb_blob blob;
    must("append", -(int)fdb_tsl_append(&db, fdb_blob_make(&blob, record, RECORD)));
}

static bool each(fdb_tsl_t record, void *arg)
{
    struct fdb_blob blob;
    uint8_t bytes[RECORD] = {0};
    (void)arg;
    if (record->status != FDB_TSL_WRITE) {
        return false;
    }
    fdb_tsl_to_blob(record, fdb_blob_make(&blob, bytes, RECORD));
    must("read", fdb_blob_read(&db.parent, &blob) == RECORD ? 0 : -1);
    record_read(bytes);
    return false;
}

void side_read(void)
{
    fdb_tsl_iter(&db, each, NULL);
}
