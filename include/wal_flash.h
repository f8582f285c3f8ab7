/*
 * wal_flash.h - the write-ahead log on a microcontroller's flash
 *
 * Copyright and licence: see the file LICENSE (MIT). Made from the library's sources, not
 * written by hand.
 *
 * The log of wal.h, with the same sequence numbers, the same agreement between store and log,
 * the same frames and the same promises, on flash that the host's driver reads, programs and
 * erases. No operating system, no allocator, no thread; the host brings the memory.
 *
 *     wal_flash_config_t config = {0};
 *     config.struct_size = sizeof config;
 *     config.block_size = 2048;    config.block_count = 16;   config.segment_blocks = 2;
 *     config.program_unit = 8;     config.erased_value = 0xFF;
 *     config.driver = driver;      config.store_seq = what_my_store_has;
 *     wal_flash_init(memory, sizeof memory, &config, &log, &err);
 *
 *     wal_flash_append(log, WAL_OP_PUT, NULL, 0, reading, sizeof reading, &seq, &err);
 *     ...                                     the store holds everything up to seq, durably:
 *     wal_flash_checkpoint(log, seq, &n, &err);
 *     wal_flash_truncate(log, n, 0, &err);    n >= seq
 *
 * Power cut at any moment, also while the log recovers from one: every acknowledged record is
 * there, in order, without holes; a batch is whole or absent; nothing is invented; opening again
 * gives the same answer. Words that the flash cannot read any more, and bits that changed, are
 * WAL_E_CORRUPT if they were durable, and otherwise what the power cut left: never a wrong
 * record, never a silent end.
 *
 * Full: WAL_E_NO_SPACE, and nothing was appended; reading, checkpoint and truncate still work,
 * because one segment is kept for them. With WAL_FLASH_OVERWRITE the oldest segment goes instead.
 *
 * Wear: segments are used in a ring; each opening that is followed by a write begins a new one,
 * because what a power cut left behind the last record looks erased, and need not be.
 *
 * A log is used by one thread at a time, and not from an interrupt during another call. Results
 * are written on success only; the error, if one is given, on every negative return. Pointers
 * that are given are not kept, but for the memory and the driver. The firmware defines
 *
 *     void wal_flash_panicked(void);          never returns; never called: the archive has no
 *                                             panic that can be reached
 *
 * To use both headers in one program include wal.h first.
 */

#ifndef WAL_FLASH_H
#define WAL_FLASH_H

#include <stddef.h>
#include <stdint.h>

/* What stands in the caller's memory is the log's. */
typedef struct wal_flash wal_flash_t;

/* What wal.h says too. */
#ifndef WAL_H

/**
 * Done.
 */
#define WAL_OK 0

/**
 * No more records for now; nothing left to prepare.
 */
#define WAL_END 1

/**
 * An argument or a member of the config is wrong, or the chip holds a log of another shape.
 */
#define WAL_E_INVALID (-1)

/**
 * A record or batch exceeds one segment.
 */
#define WAL_E_TOO_LARGE (-2)

/**
 * A seq above the last one.
 */
#define WAL_E_RANGE (-3)

/**
 * No checkpoint allows this truncation.
 */
#define WAL_E_NOT_CHECKPOINTED (-4)

/**
 * Records that the store lacks are gone.
 */
#define WAL_E_GAP (-5)

/**
 * The log id is another one.
 */
#define WAL_E_WRONG_LOG (-6)

/**
 * There is no log here, although the config says that there is.
 */
#define WAL_E_NOT_FOUND (-8)

/**
 * Stored bytes are not what was written.
 */
#define WAL_E_CORRUPT (-10)

/**
 * The log needs a newer library.
 */
#define WAL_E_FORMAT (-11)

/**
 * The driver reported an error: see `driver` in the error. What was being appended is in doubt.
 */
#define WAL_E_IO (-12)

/**
 * No space; nothing has been appended.
 */
#define WAL_E_NO_SPACE (-13)

/**
 * The memory given is too small; see wal_flash_memory_size.
 */
#define WAL_E_NO_MEMORY (-14)

/**
 * Not allowed in this state.
 */
#define WAL_E_MISUSE (-20)

/**
 * As covered: everything appended so far.
 */
#define WAL_SEQ_LAST UINT64_MAX

/**
 * As store_seq: the store is empty.
 */
#define WAL_STORE_EMPTY (UINT64_MAX - 1)

/**
 * As after_seq: start at the oldest record kept.
 */
#define WAL_REPLAY_OLDEST (UINT64_MAX - 2)

/**
 * What a record does: put.
 */
#define WAL_OP_PUT 1

/**
 * What a record does: delete.
 */
#define WAL_OP_DELETE 2

/**
 * The log's own record. 16 to 255 are the host's.
 */
#define WAL_OP_CHECKPOINT 3

/**
 * wal_flash_replay_open: CHECKPOINT records too.
 */
#define WAL_REPLAY_RAW 1

/**
 * wal_flash_truncate: the host keeps its own books.
 */
#define WAL_TRUNCATE_UNCHECKED 1

/**
 * What every function that can fail returns: 0 done, 1 nothing more, negative an error. The
 * numbers are those of wal.h.
 */
typedef int32_t wal_status_t;

#endif

/**
 * A driver's read answers this if the error correction gave up.
 */
#define WAL_FLASH_UNREADABLE 1

/**
 * A driver's program or erase answers this if the block is worn out.
 */
#define WAL_FLASH_BAD_BLOCK 2

/**
 * Config: read back what was programmed, and take a difference for a worn block.
 */
#define WAL_FLASH_VERIFY 1

/**
 * Config: a full log forgets its oldest segment, whether or not the store has it, rather than
 * refuse a record.
 */
#define WAL_FLASH_OVERWRITE 2

/**
 * Config: the driver caches, and an append does not call its sync; wal_flash_sync does.
 */
#define WAL_FLASH_SYNC_LATER 4

/**
 * How the log reaches the flash. Offsets count from the first byte of the log. All functions
 * return 0, one of the WAL_FLASH_ answers, or an error of their own, which comes back in
 * wal_flash_error_t. What they were doing when the power failed or they returned an error is
 * never relied on: the log expects any mix of old and new bits there.
 */
typedef struct wal_flash_driver_t {
  /**
   * Passed on as it is.
   */
  void *ctx;
  /**
   * Reads `len` bytes, any number at any offset.
   */
  int32_t (*read)(void *ctx, uint32_t offset, void *bytes, uint32_t len);
  /**
   * Programs `len` bytes, whole units in units that are erased. The log programs each unit
   * once between two erasures; within a block in any order.
   */
  int32_t (*program)(void *ctx, uint32_t offset, const void *bytes, uint32_t len);
  /**
   * Erases a block; the first one is 0.
   */
  int32_t (*erase)(void *ctx, uint32_t block);
  /**
   * Makes durable what was programmed and erased; NULL if it is already.
   */
  int32_t (*sync)(void *ctx);
} wal_flash_driver_t;

/**
 * The chip, and what is expected on it. Set it to zeros, then struct_size and what differs.
 */
typedef struct wal_flash_config_t {
  /**
   * What the store holds durably; WAL_STORE_EMPTY: nothing; 0: not given. Then the opening
   * proves that nothing above it is missing.
   */
  uint64_t store_seq;
  /**
   * The log that the store belongs to; zeros: not given.
   */
  uint8_t expected_log_id[16];
  /**
   * The identity of a log that is created: another one each time.
   */
  uint8_t new_log_id[16];
  /**
   * sizeof(wal_flash_config_t).
   */
  uint32_t struct_size;
  /**
   * WAL_FLASH_VERIFY, WAL_FLASH_OVERWRITE, WAL_FLASH_SYNC_LATER.
   */
  uint32_t flags;
  /**
   * Bytes that are erased together.
   */
  uint32_t block_size;
  /**
   * Blocks of the log.
   */
  uint32_t block_count;
  /**
   * Blocks of a segment, which has at least 4096 bytes. The log has at least two segments.
   */
  uint32_t segment_blocks;
  /**
   * Bytes that are programmed together: a power of two up to 256.
   */
  uint32_t program_unit;
  /**
   * What erased bytes read as: 0xFF or 0.
   */
  uint32_t erased_value;
  /**
   * Bytes that are programmed in one call at most: a multiple of program_unit and of 8.
   * 0: the smallest such number from 32 on.
   */
  uint32_t page_size;
  /**
   * How to reach it.
   */
  struct wal_flash_driver_t driver;
} wal_flash_config_t;

/**
 * Why a call failed. Written on every negative return, if given.
 */
typedef struct wal_flash_error_t {
  /**
   * The first record concerned, 0 if none.
   */
  uint64_t seq;
  /**
   * Where, in bytes from the log's start, 0 if nowhere.
   */
  uint64_t offset;
  /**
   * The status that was returned.
   */
  int32_t code;
  /**
   * What the driver returned, 0 if it is not concerned.
   */
  int32_t driver;
} wal_flash_error_t;

/**
 * A record of a batch.
 */
typedef struct wal_flash_entry_t {
  /**
   * Its key, NULL if key_len is 0.
   */
  const void *key;
  /**
   * Its value, NULL if value_len is 0.
   */
  const void *value;
  /**
   * Length of its key.
   */
  uint32_t key_len;
  /**
   * Length of its value.
   */
  uint32_t value_len;
  /**
   * What it does.
   */
  uint32_t op;
  /**
   * 0.
   */
  uint32_t reserved;
} wal_flash_entry_t;

/**
 * A replay, in memory of the caller's. What is in it is the log's.
 */
typedef struct wal_flash_cursor_t {
  /**
   * The log's.
   */
  uint64_t words[32];
} wal_flash_cursor_t;

/**
 * A record that was read back, without its bytes.
 */
typedef struct wal_flash_record_t {
  /**
   * Its number.
   */
  uint64_t seq;
  /**
   * The number of its batch's last record; its own if it came alone.
   */
  uint64_t batch_last_seq;
  /**
   * Length of its key.
   */
  uint32_t key_len;
  /**
   * Length of its value.
   */
  uint32_t value_len;
  /**
   * What it does.
   */
  uint32_t op;
  /**
   * 0.
   */
  uint32_t reserved;
} wal_flash_record_t;

/**
 * Where the log stands.
 */
typedef struct wal_flash_stat_t {
  /**
   * The last record appended, 0 if there never was one.
   */
  uint64_t last_seq;
  /**
   * The last one known to be durable.
   */
  uint64_t durable_seq;
  /**
   * The highest n of any checkpoint.
   */
  uint64_t checkpoint_seq;
  /**
   * What the host declared with it.
   */
  uint64_t checkpoint_covered;
  /**
   * Records up to here are forgotten.
   */
  uint64_t floor_seq;
  /**
   * The last forgotten one that was no CHECKPOINT record: a store below it has a gap.
   */
  uint64_t forgotten_data_seq;
  /**
   * Rises with the first write after each opening.
   */
  uint64_t epoch;
  /**
   * Bytes of frames that can be appended before the log is full.
   */
  uint64_t free_bytes;
  /**
   * The longest record: key and value together.
   */
  uint32_t max_record;
  /**
   * Segments that hold records.
   */
  uint32_t segments;
  /**
   * Segments that do not.
   */
  uint32_t free_segments;
  /**
   * Segments that the driver refused since this opening.
   */
  uint32_t bad_segments;
  /**
   * The most erasures of a segment, as far as they are on record.
   */
  uint32_t most_erasures;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * The log's identity.
   */
  uint8_t log_id[16];
} wal_flash_stat_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Bytes that wal_flash_init needs for this config; 0 if the config is not legal. The log itself
 * takes 512 of them on a 32-bit machine; beside it there are 4 for each segment, a
 * page, and the window of at least 128 through which the flash is looked at.
 */
size_t wal_flash_memory_size(const struct wal_flash_config_t *config);

/**
 * Opens the log on a chip, or a new one if the chip holds none. Reads, and writes nothing: what
 * has to be made durable or erased is so at the first append, or at wal_flash_prepare.
 *
 * memory   aligned to 8; the log's for as long as it is used. There is nothing to close.
 * size     at least wal_flash_memory_size; what is more makes the window larger, and replay
 *          faster.
 * log      receives the handle. One thread at a time may use it.
 *
 * Returns: WAL_OK; WAL_E_INVALID (also for a log of another shape), WAL_E_NO_MEMORY,
 *          WAL_E_NOT_FOUND, WAL_E_WRONG_LOG, WAL_E_GAP, WAL_E_CORRUPT, WAL_E_FORMAT, WAL_E_IO.
 */
wal_status_t wal_flash_init(void *memory,
                            size_t size,
                            const struct wal_flash_config_t *config,
                            wal_flash_t **log,
                            struct wal_flash_error_t *err);

/**
 * Erases every block of the log: whatever it held is gone, and the next wal_flash_init makes a
 * new log. If the power fails, call it again.
 *
 * Returns: WAL_OK, WAL_E_INVALID, WAL_E_IO. Worn blocks are passed over.
 */
wal_status_t wal_flash_format(const struct wal_flash_config_t *config,
                              struct wal_flash_error_t *err);

/**
 * Appends a record. It is durable when this returns, unless the config says WAL_FLASH_SYNC_LATER.
 *
 * key      up to 65535 bytes; key and value together up to max_record of wal_flash_stat.
 * seq      receives its number; may be NULL.
 *
 * Returns: WAL_OK; WAL_E_INVALID, WAL_E_TOO_LARGE, WAL_E_NO_SPACE, WAL_E_MISUSE (in the middle
 *          of another record's pieces); WAL_E_IO: in doubt until the next call that writes
 *          succeeds, and not appended then.
 */
wal_status_t wal_flash_append(wal_flash_t *log,
                              uint8_t op,
                              const void *key,
                              uint32_t key_len,
                              const void *value,
                              uint32_t value_len,
                              uint64_t *seq,
                              struct wal_flash_error_t *err);

/**
 * Appends several records, all or none, with consecutive numbers.
 *
 * last_seq receives the last one's; may be NULL.
 *
 * Returns: as wal_flash_append.
 */
wal_status_t wal_flash_append_batch(wal_flash_t *log,
                                    const struct wal_flash_entry_t *entries,
                                    uint32_t count,
                                    uint64_t *last_seq,
                                    struct wal_flash_error_t *err);

/**
 * Begins a record that is too large for the memory at hand. Its pieces follow with
 * wal_flash_append_piece, key_len bytes of key first; nothing counts before
 * wal_flash_append_end. Meanwhile other records are refused.
 *
 * Returns: as wal_flash_append.
 */
wal_status_t wal_flash_append_begin(wal_flash_t *log,
                                    uint8_t op,
                                    uint32_t key_len,
                                    struct wal_flash_error_t *err);

/**
 * Adds a piece. An error leaves the record as it was: try again, or cancel.
 *
 * Returns: as wal_flash_append; WAL_E_TOO_LARGE if the pieces together exceed one segment.
 */
wal_status_t wal_flash_append_piece(wal_flash_t *log,
                                    const void *piece,
                                    uint32_t len,
                                    struct wal_flash_error_t *err);

/**
 * Ends the record: now it is appended.
 *
 * seq      receives its number; may be NULL.
 *
 * Returns: as wal_flash_append; WAL_E_MISUSE if bytes of its key are missing.
 */
wal_status_t wal_flash_append_end(wal_flash_t *log,
                                  uint64_t *seq,
                                  struct wal_flash_error_t *err);

/**
 * Gives the record up: nothing of it was appended.
 *
 * Returns: WAL_OK, WAL_E_INVALID.
 */
wal_status_t wal_flash_append_cancel(wal_flash_t *log, struct wal_flash_error_t *err);

/**
 * Everything appended is durable when this returns.
 *
 * Returns: WAL_OK, WAL_E_INVALID, WAL_E_NO_SPACE, WAL_E_IO.
 */
wal_status_t wal_flash_sync(wal_flash_t *log, struct wal_flash_error_t *err);

/**
 * The host declares that its store durably holds every record with seq <= covered.
 *
 * covered  WAL_SEQ_LAST: everything appended so far.
 * n        receives up to where wal_flash_truncate is allowed now.
 *
 * Returns: WAL_OK, WAL_E_INVALID, WAL_E_RANGE, WAL_E_MISUSE, WAL_E_IO. Works on a full log.
 */
wal_status_t wal_flash_checkpoint(wal_flash_t *log,
                                  uint64_t covered,
                                  uint64_t *n,
                                  struct wal_flash_error_t *err);

/**
 * Forgets every record with seq <= up_to.
 *
 * flags    0 or WAL_TRUNCATE_UNCHECKED.
 *
 * Returns: WAL_OK, WAL_E_INVALID, WAL_E_RANGE, WAL_E_NOT_CHECKPOINTED, WAL_E_MISUSE,
 *          WAL_E_CORRUPT, WAL_E_IO. Works on a full log.
 */
wal_status_t wal_flash_truncate(wal_flash_t *log,
                                uint64_t up_to,
                                uint32_t flags,
                                struct wal_flash_error_t *err);

/**
 * A replay of every record with seq > after_seq. Makes durable first what is not.
 *
 * after_seq  what the store holds, or WAL_REPLAY_OLDEST.
 * flags      0 or WAL_REPLAY_RAW.
 *
 * Returns: WAL_OK, WAL_E_INVALID, WAL_E_GAP, WAL_E_IO.
 */
wal_status_t wal_flash_replay_open(wal_flash_t *log,
                                   uint64_t after_seq,
                                   uint32_t flags,
                                   struct wal_flash_cursor_t *cursor,
                                   struct wal_flash_error_t *err);

/**
 * The next record. Its checksum was right; its bytes are read with wal_flash_replay_read.
 *
 * Returns: WAL_OK; WAL_END: no more for now, call again later; WAL_E_INVALID, WAL_E_GAP (what
 *          comes next was forgotten meanwhile), WAL_E_CORRUPT, WAL_E_IO.
 */
wal_status_t wal_flash_replay_next(wal_flash_t *log,
                                   struct wal_flash_cursor_t *cursor,
                                   struct wal_flash_record_t *record,
                                   struct wal_flash_error_t *err);

/**
 * Copies bytes of the record that wal_flash_replay_next returned last: key and value as one,
 * from `from` on. Before the next call that writes.
 *
 * copied   receives how many there were, up to len.
 *
 * Returns: WAL_OK, WAL_E_INVALID, WAL_E_MISUSE (something was written in between),
 *          WAL_E_CORRUPT, WAL_E_IO.
 */
wal_status_t wal_flash_replay_read(wal_flash_t *log,
                                   struct wal_flash_cursor_t *cursor,
                                   uint32_t from,
                                   void *bytes,
                                   uint32_t len,
                                   uint32_t *copied,
                                   struct wal_flash_error_t *err);

/**
 * Does a part of what the next append might have to do, at most one erasure. A host that calls
 * this when it has time, until it answers WAL_END, has appends that never erase.
 *
 * Returns: WAL_OK: call again; WAL_END: nothing left to do; WAL_E_INVALID, WAL_E_NO_SPACE,
 *          WAL_E_MISUSE, WAL_E_IO.
 */
wal_status_t wal_flash_prepare(wal_flash_t *log, struct wal_flash_error_t *err);

/**
 * Bytes of frames that can be appended before the log is full. A record takes 24 bytes beside
 * its own, rounded up to 8 and to the program unit.
 */
uint64_t wal_flash_free_bytes(wal_flash_t *log);

/**
 * Where the log stands.
 *
 * Returns: WAL_OK, WAL_E_INVALID.
 */
wal_status_t wal_flash_stat(wal_flash_t *log,
                            struct wal_flash_stat_t *stat,
                            struct wal_flash_error_t *err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WAL_FLASH_H */
