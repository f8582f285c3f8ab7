/* A disk of a host's own behind wal_storage_t, in memory: it keeps apart what is synced and what is not, fails, and loses power. */

#ifndef DISK_H
#define DISK_H

#include "harness.h"

typedef struct disk disk_t;

/* An empty one, without a directory. What it does by chance follows from `seed`. */
disk_t *disk_new(uint64_t seed);
void disk_free(disk_t *disk);

/* What options->storage takes; it lives as long as the disk. */
const wal_storage_t *disk_storage(disk_t *disk);

/* Which of the functions. The others cannot fail. */
enum {
  DISK_MAKE_DIR = 1,
  DISK_LIST = 2,
  DISK_OPEN = 4,
  DISK_SIZE = 8,
  DISK_READ = 16,
  DISK_WRITE = 32,
  DISK_SYNC = 64,
  DISK_RENAME = 128,
  DISK_REMOVE = 256,
  DISK_SYNC_DIR = 512,
  DISK_LOCK = 1024,
  DISK_RANDOM = 2048,
  DISK_ANY = 4095
};

/* What is wrong with an answer beside an error number, which is positive here. */
enum {
  DISK_SHORT = -1,    /* Fewer bytes than asked for, which is none of an error; other functions work. */
  DISK_TOO_MUCH = -2, /* More bytes than asked for, or a number that no errno has. */
  DISK_POSITIVE = -3, /* An error number that the host forgot to negate; for counts as DISK_TOO_MUCH. */
  DISK_NO_FILE = -4   /* Success, and no file; where none is opened, as DISK_TOO_MUCH. */
};

/* The nth of these calls from now on (1 is the next) answers so, and every later one if `for_good`. Whether it has done its work, or a part of
 * it, is left to chance. */
void disk_fail(disk_t *disk, unsigned calls, unsigned nth, int answer, bool for_good);

/* The power fails at the nth of these calls: from then on everything answers -EIO, until disk_restart. */
void disk_cut(disk_t *disk, unsigned calls, unsigned nth);

/* No faults from here on; how often armed calls were met since they were armed. */
unsigned disk_clear(disk_t *disk);

/* Whether the fault or the cut has come. */
bool disk_failed(const disk_t *disk);
bool disk_is_dead(const disk_t *disk);

/* What is left of what was not synced. */
enum { KEEP_NOTHING, KEEP_ALL, KEEP_SOME, KEEP_TORN };

/* What a machine finds that is started again after a power cut. Nothing may be open. */
disk_t *disk_restart(const disk_t *disk, int keep, uint64_t seed);

/* From now on DISK_SYNC or DISK_SYNC_DIR, or both, answer 0 and do nothing. */
void disk_lie(disk_t *disk, unsigned calls);

/* As long as it is set, a listing names files twice, and others between them. */
void disk_list_noise(disk_t *disk, bool noise);

/* Calls so far; files open now, and the most there ever were at once; locks held now. */
unsigned disk_calls(const disk_t *disk);
unsigned disk_open_files(const disk_t *disk);
unsigned disk_most_open(const disk_t *disk);
unsigned disk_locks(const disk_t *disk);

/* Copies the disk's files into a directory of the system, or from there. */
void disk_save(disk_t *disk, const char *dir);
void disk_load(disk_t *disk, const char *dir);

#endif
