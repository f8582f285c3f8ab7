/*
 * kvstore: a small key-value store on top of the write-ahead log, written to be copied from.
 *
 * All data is in memory. A change goes into the log first and is then applied to memory. From time to time kv_flush() writes
 * everything to a sorted table file and tells the log that it may forget those changes. One number, N, says how far the store's
 * own files reach; kv_open() hands it to the log, which proves that it still has everything above N or refuses.
 *
 * On disk, inside the directory of the store:
 *
 *     LOCK             held while the store is open
 *     MANIFEST         N, the id of the log, and the number of the table file
 *     table-00000001   every key with its value, sorted; never changed once it has its name, replaced by the next one
 *     log/             the write-ahead log
 *
 * Threads: one thread at a time for each store. A store of your own with several writers needs one thing more, said in
 * kv_flush().
 */
#ifndef KVSTORE_H
#define KVSTORE_H

#include <stddef.h>
#include <stdint.h>

typedef struct kv kv_t;

/* What a call came to. The difference between the errors is what the caller has to do about them. */
typedef enum kv_status {
    KV_OK = 0,
    KV_ABSENT = 1,    /* there is no such key */
    KV_REFUSED = -1,  /* nothing was changed and the store can be used on: read the message, mend the cause, try again */
    KV_FAILED = -2,   /* close and open again: until then nobody knows whether the last change is durable */
    KV_DAMAGED = -3,  /* bytes on the disk are not those that were written */
    KV_MISMATCH = -4, /* these store files and this log are not from the same moment, or not of the same store */
    KV_BUSY = -5      /* somebody else has the store open */
} kv_status_t;

typedef struct kv_error {
    kv_status_t status;
    int32_t log_code; /* the log's own code (WAL_E_...), 0 if the log was not the one to complain */
    int os_error;     /* errno, 0 if there is none */
    char message[1024];
} kv_error_t;

/* Steps of the protocol, for whoever wants to watch (or to pull the plug in the middle of one). */
typedef enum kv_phase {
    KV_PHASE_LOADING_TABLE,
    KV_PHASE_INSPECTING_LOG,
    KV_PHASE_OPENING_LOG,
    KV_PHASE_REPLAYING,
    KV_PHASE_READY,
    KV_PHASE_WRITING_TABLE,
    KV_PHASE_INSTALLING_TABLE,
    KV_PHASE_CHECKPOINTING,
    KV_PHASE_SAVING_N,
    KV_PHASE_TRUNCATING,
    KV_PHASE_COUNT
} kv_phase_t;

/* All zeros is a good choice. */
typedef struct kv_options {
    uint64_t segment_size; /* of a log that is created; a change must fit into one segment. 0: the log's default */
    int accept_loss;       /* open a damaged log too, without what the damage took. Take a copy of the directory first */
    void (*on_phase)(void *context, kv_phase_t phase);
    void *context; /* for on_phase */
} kv_options_t;

/* What kv_open() found and did. */
typedef struct kv_facts {
    int log_found;            /* 0: this opening made the log */
    int log_clean;            /* 1: its last user closed it */
    uint64_t store_seq;       /* N, as the store's own files said it */
    uint64_t found_last_seq;  /* the last record that an inspection saw, before anything was changed */
    uint64_t checkpoint_seq;  /* the highest n that the log ever returned */
    uint64_t forgotten_seq;   /* records up to here have been truncated */
    uint64_t replayed;        /* records that only the log had */
    uint64_t copied_records;  /* records that nothing vouched for, made durable by this opening */
    uint64_t dropped_bytes;   /* half-written bytes behind the last whole record */
    uint64_t lost_first_seq;  /* records that damage took, 0 to 0 if none; only with accept_loss */
    uint64_t lost_last_seq;
    uint64_t log_recovery_us; /* time that wal_open() took, by its own account */
} kv_facts_t;

/* One change of a kv_write(). The bytes stay the caller's. */
typedef struct kv_change {
    const void *key;
    size_t key_len;
    const void *value; /* NULL, with remove set */
    size_t value_len;
    int remove; /* delete the key instead of putting it */
} kv_change_t;

/* Opens the store, or makes it. Nothing is left open when it fails. `options` and `err` may be NULL, here and below. */
kv_status_t kv_open(const char *dir, const kv_options_t *options, kv_t **out, kv_error_t *err);

/* Closes and frees the store in any case. Nothing needs to be flushed first: the log has it. */
kv_status_t kv_close(kv_t *kv, kv_error_t *err);

/* When these return KV_OK the change is durable. kv_write() makes all its changes or, whatever happens, none of them. */
kv_status_t kv_put(kv_t *kv, const void *key, size_t key_len, const void *value, size_t value_len, kv_error_t *err);
kv_status_t kv_delete(kv_t *kv, const void *key, size_t key_len, kv_error_t *err);
kv_status_t kv_write(kv_t *kv, const kv_change_t *changes, size_t count, kv_error_t *err);

/* KV_OK or KV_ABSENT. The value is the store's; it is valid until the next change. */
kv_status_t kv_get(const kv_t *kv, const void *key, size_t key_len, const void **value, size_t *value_len);

/* Every key in the order of its bytes. A result other than 0 ends the scan and is returned. The visitor must not change the store. */
typedef int (*kv_visit_t)(void *context, const void *key, size_t key_len, const void *value, size_t value_len);
int kv_scan(const kv_t *kv, kv_visit_t visit, void *context);

/* Writes the table file and lets the log forget what is in it. Worth calling when kv_unflushed_bytes() has grown. */
kv_status_t kv_flush(kv_t *kv, kv_error_t *err);
uint64_t kv_unflushed_bytes(const kv_t *kv);

/* Valid until kv_close(). */
const kv_facts_t *kv_facts(const kv_t *kv);

#endif
