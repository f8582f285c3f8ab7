/* Logs in a littlefs: a wal_storage_t on one that is mounted. */

#ifndef WAL_LITTLEFS_H
#define WAL_LITTLEFS_H

#include <lfs.h>
#include <wal.h>

typedef struct wal_littlefs wal_littlefs_t;

/* NULL without memory. While it lives, nobody else touches the files of a log in `lfs`, nor uses `lfs` on another thread. */
wal_littlefs_t *wal_littlefs_new(lfs_t *lfs);

/* What goes into wal_options_t; it lives as long as the layer. */
const wal_storage_t *wal_littlefs_storage(wal_littlefs_t *layer);

/* After the last log and the last cursor have been closed; before lfs_unmount. */
void wal_littlefs_free(wal_littlefs_t *layer);

#endif
