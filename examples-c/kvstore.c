/*
 * kvstore: how a database keeps its promises with the help of wal. See kvstore.h for what it does; this file is about the order.
 *
 * Writing:   append to the log (durable when that returns), then apply to memory, then answer.
 * Flushing:  table file durable, manifest durable, wal_checkpoint(S) -> n, n durable in the manifest, wal_truncate(n).
 * Opening:   manifest -> N, inspect the log, open it with N, replay what is above N, ready.
 *
 * A crash between any two of these steps loses nothing that was answered: each one makes something durable before the next one
 * lets go of what it replaces.
 */
#define _POSIX_C_SOURCE 200809L

#include "kvstore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal.h"

enum {
    NAME_BYTES = 40,
    LOG_ID_BYTES = 16,
    CHECKSUM_BYTES = 4,
    MANIFEST_BYTES = 40,     /* magic, log id, N, number of the table */
    TABLE_HEADER_BYTES = 24, /* magic, number of the table, number of keys; then the keys with their values */
    LENGTHS_BYTES = 8        /* of a key and its value, in front of both */
};

#define MANIFEST_MAGIC UINT64_C(0x3154534546494e4d) /* "MNIFEST1" */
#define TABLE_MAGIC UINT64_C(0x31454c424154564b)    /* "KVTABLE1" */

struct entry {
    unsigned char *bytes; /* the key, then the value */
    size_t key_len;
    size_t value_len;
};

struct kv {
    char *log_dir;
    int dir_fd;
    int lock_fd;
    wal_t *wal;
    kv_options_t options;
    kv_facts_t facts;
    struct entry *entries; /* sorted by key */
    size_t count;
    size_t capacity;
    uint64_t unflushed_bytes;
    uint8_t log_id[LOG_ID_BYTES];
    uint64_t applied_seq; /* S: memory holds everything up to here */
    uint64_t saved_seq;   /* N: the files hold everything up to here, and MANIFEST says so */
    uint64_t table;       /* number of the table file that MANIFEST names, 0 if there is none yet */
    uint64_t next_table;
    int has_manifest;
    int unflushed; /* memory has what the table file has not */
    int untold;    /* the log has not yet been told how far the files reach */
    int failed;    /* no more writing with this handle */
};

/* ---- Errors ---------------------------------------------------------------------------------------------------------------- */

static kv_status_t fail(kv_error_t *err, kv_status_t status, int os_error, const char *format, ...)
{
    if (err != NULL) {
        va_list arguments;
        memset(err, 0, sizeof *err);
        err->status = status;
        err->os_error = os_error;
        va_start(arguments, format);
        (void)vsnprintf(err->message, sizeof err->message, format, arguments);
        va_end(arguments);
        size_t used = strlen(err->message);
        if (os_error != 0) {
            (void)snprintf(err->message + used, sizeof err->message - used, ": %s", strerror(os_error));
        }
    }
    return status;
}

static kv_status_t out_of_memory(kv_error_t *err)
{
    return fail(err, KV_REFUSED, ENOMEM, "nothing was changed");
}

/* What each of the log's answers means for this store, and for the person in front of it. */
static const struct {
    wal_status_t code;
    kv_status_t status;
    const char *advice;
} answers[] = {
    {WAL_E_GAP, KV_MISMATCH,
     "The store and the log are not from the same moment: one of them is an older copy. Put back the one that belongs to the other "
     "(a backup has to hold both)"},
    {WAL_E_WRONG_LOG, KV_MISMATCH, "This log belongs to another store. Put back the right one"},
    {WAL_E_NOT_FOUND, KV_MISMATCH, "The store has been used with a log that is gone. Put it back: a new one would hide the loss"},
    {WAL_E_CORRUPT, KV_DAMAGED,
     "Copy the directory before anything else. If there is no backup, accept_loss opens what can still be proved"},
    {WAL_E_FORMAT, KV_REFUSED, "Use the version of the library that wrote it, or a newer one"},
    {WAL_E_LOCKED, KV_BUSY, "Close the other user of the log first"},
    {WAL_E_NO_SPACE, KV_REFUSED, "The log is as it was: make room on the disk and try again"},
    {WAL_E_TOO_LARGE, KV_REFUSED,
     "A change has to fit into one segment of the log: store it in parts, or make the log with a larger segment_size"},
    {WAL_E_IO, KV_REFUSED, "Nothing acknowledged is lost. Look at the disk before trying again"},
    {WAL_E_NO_MEMORY, KV_REFUSED, "The log is as it was"},
    {WAL_E_INVALID, KV_REFUSED, "The log is as it was"},
    {WAL_E_RANGE, KV_MISMATCH, "This log is not the one that the store has been writing to"},
    {WAL_E_NOT_CHECKPOINTED, KV_MISMATCH, "This log is not the one that the store has been writing to"},
    {WAL_E_FAILED, KV_FAILED, "Close the store, look at the disk, open it again: everything acknowledged is there"},
    {WAL_E_FORKED, KV_FAILED, "A child of fork() cannot use its parent's store: open it there, after the parent has closed it"},
    {WAL_E_PANIC, KV_FAILED, "That is a bug in the log. Close the store and open it again"},
};

static kv_status_t log_failed(kv_t *kv, kv_error_t *err, const wal_error_t *cause, const char *doing)
{
    kv_status_t status = KV_REFUSED; /* also for codes that are newer than this program, as the log's manual asks for */
    const char *advice = "Look at the disk before trying again";
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if (answers[i].code == cause->code) {
            status = answers[i].status;
            advice = answers[i].advice;
        }
    }
    kv->failed = kv->failed || status == KV_FAILED;
    (void)fail(err, status, 0, "%s: %s: %s. %s.", doing, wal_status_name(cause->code), cause->message, advice);
    if (err != NULL) {
        err->log_code = cause->code;
        err->os_error = cause->os_error;
    }
    return status;
}

static void enter(const kv_t *kv, kv_phase_t phase)
{
    if (kv->options.on_phase != NULL) {
        kv->options.on_phase(kv->options.context, phase);
    }
}

/* ---- Bytes ----------------------------------------------------------------------------------------------------------------- */

static void put32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (unsigned char)(value >> (8 * i));
    }
}

static void put64(unsigned char *to, uint64_t value)
{
    put32(to, (uint32_t)value);
    put32(to + 4, (uint32_t)(value >> 32));
}

static uint32_t get32(const unsigned char *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static uint64_t get64(const unsigned char *from)
{
    return get32(from) | (uint64_t)get32(from + 4) << 32;
}

/* CRC-32, half a byte at a time: small rather than fast. */
static uint32_t crc32_of(const unsigned char *data, size_t len)
{
    static const uint32_t half[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ half[crc & 15];
        crc = crc >> 4 ^ half[crc & 15];
    }
    return ~crc;
}

/* ---- The table in memory --------------------------------------------------------------------------------------------------- */

/* Whether the key is there, and where it is or would have to be. */
static int find(const kv_t *kv, const unsigned char *key, size_t key_len, size_t *at)
{
    size_t low = 0;
    size_t high = kv->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct entry *entry = &kv->entries[middle];
        size_t shorter = entry->key_len < key_len ? entry->key_len : key_len;
        int order = shorter > 0 ? memcmp(entry->bytes, key, shorter) : 0;
        if (order == 0 && entry->key_len == key_len) {
            *at = middle;
            return 1;
        }
        if (order < 0 || (order == 0 && entry->key_len < key_len)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *at = low;
    return 0;
}

static int reserve(kv_t *kv, size_t extra)
{
    if (extra > SIZE_MAX / sizeof *kv->entries / 2 - kv->count) {
        return 0;
    }
    if (kv->count + extra > kv->capacity) {
        size_t capacity = 2 * (kv->count + extra);
        struct entry *entries = realloc(kv->entries, capacity * sizeof *entries);
        if (entries == NULL) {
            return 0;
        }
        kv->entries = entries;
        kv->capacity = capacity;
    }
    return 1;
}

static int make_entry(struct entry *entry, const void *key, size_t key_len, const void *value, size_t value_len)
{
    if (value_len > SIZE_MAX - 1 - key_len) {
        return 0;
    }
    *entry = (struct entry){malloc(key_len + value_len + 1), key_len, value_len}; /* + 1: malloc(0) may be NULL */
    if (entry->bytes == NULL) {
        return 0;
    }
    if (key_len > 0) {
        memcpy(entry->bytes, key, key_len);
    }
    if (value_len > 0) {
        memcpy(entry->bytes + key_len, value, value_len);
    }
    return 1;
}

/* Takes the entry over. Cannot fail: the room has been reserved. */
static void apply(kv_t *kv, const struct entry *entry, int remove)
{
    size_t at;
    int there = find(kv, entry->bytes, entry->key_len, &at);
    struct entry *place = kv->entries + at;
    size_t behind = kv->count - at;
    kv->unflushed_bytes += entry->key_len + entry->value_len;
    kv->unflushed = kv->untold = 1;
    if (there) {
        free(place->bytes);
    }
    if (remove) {
        free(entry->bytes);
        if (there) {
            memmove(place, place + 1, (behind - 1) * sizeof *place);
            kv->count--;
        }
        return;
    }
    if (!there) {
        memmove(place + 1, place, behind * sizeof *place);
        kv->count++;
    }
    *place = *entry;
}

/* ---- Files: all of them end with a checksum of what is before it ------------------------------------------------------------ */

static void table_name(char name[NAME_BYTES], uint64_t number)
{
    (void)snprintf(name, NAME_BYTES, "table-%08llu", (unsigned long long)number);
}

static int write_all(int fd, const unsigned char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t put = write(fd, bytes, len);
        if (put < 0 && errno != EINTR) {
            return 0;
        }
        bytes += put > 0 ? put : 0;
        len -= put > 0 ? (size_t)put : 0;
    }
    return 1;
}

/*
 * Fills in the checksum (the last 4 of the bytes) and puts the file in the place of the one that has the name now.
 *
 * The order is the point: the bytes (fsync), then the name (rename), then the directory that holds the name (fsync). A rename that
 * overtakes its bytes leaves an empty file after a power cut; without the last step the name itself may be gone.
 */
static kv_status_t write_file(kv_t *kv, const char *name, unsigned char *bytes, size_t len, kv_error_t *err)
{
    char temporary[NAME_BYTES + 8];
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", name);
    put32(bytes + len - CHECKSUM_BYTES, crc32_of(bytes, len - CHECKSUM_BYTES));
    int fd = openat(kv->dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int failed = fd < 0 || !write_all(fd, bytes, len) || fsync(fd) != 0;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && !failed) {
        failed = 1;
        why = errno;
    }
    if (!failed && renameat(kv->dir_fd, temporary, kv->dir_fd, name) != 0) {
        failed = 1;
        why = errno;
    }
    if (failed) { /* and away with it: a second fsync of the same file can "succeed" without the bytes */
        (void)unlinkat(kv->dir_fd, temporary, 0);
        return fail(err, KV_REFUSED, why, "cannot write %s; the store is as it was", name);
    }
    if (fsync(kv->dir_fd) != 0) {
        kv->failed = 1; /* old name or new name, nobody knows, and asking twice does not help */
        return fail(err, KV_FAILED, errno, "cannot make the name of %s durable; close the store and open it again", name);
    }
    return KV_OK;
}

/* The content without its checksum, which has been found right; to be given to free(). KV_ABSENT: there is no such file. */
static kv_status_t read_file(kv_t *kv, const char *name, size_t least, unsigned char **bytes, size_t *len, kv_error_t *err)
{
    struct stat facts;
    int fd = openat(kv->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "rb");
    if (file == NULL || fstat(fd, &facts) != 0) {
        kv_status_t status = fail(err, errno == ENOENT ? KV_ABSENT : KV_REFUSED, errno, "cannot open %s", name);
        if (file != NULL) {
            (void)fclose(file);
        } else if (fd >= 0) {
            (void)close(fd);
        }
        return status;
    }
    size_t size = (size_t)facts.st_size;
    size_t want = least + CHECKSUM_BYTES;
    unsigned char *all = malloc(size + 1);
    size_t got = all == NULL ? 0 : fread(all, 1, size, file);
    int io_failed = ferror(file) ? errno : 0;
    (void)fclose(file);
    kv_status_t status = KV_OK;
    if (all == NULL) {
        status = out_of_memory(err);
    } else if (io_failed != 0 || got < want || get32(all + got - CHECKSUM_BYTES) != crc32_of(all, got - CHECKSUM_BYTES)) {
        status = fail(err, KV_DAMAGED, io_failed, "%s is damaged; restore the store and its log from the same backup", name);
    }
    if (status != KV_OK) {
        free(all);
        return status;
    }
    *bytes = all;
    *len = got - CHECKSUM_BYTES;
    return KV_OK;
}

/* Every key with its value. */
static kv_status_t write_table(kv_t *kv, uint64_t number, kv_error_t *err)
{
    char name[NAME_BYTES];
    size_t len = TABLE_HEADER_BYTES + CHECKSUM_BYTES;
    for (size_t i = 0; i < kv->count; i++) {
        len += LENGTHS_BYTES + kv->entries[i].key_len + kv->entries[i].value_len;
    }
    unsigned char *bytes = malloc(len);
    if (bytes == NULL) {
        return out_of_memory(err);
    }
    put64(bytes, TABLE_MAGIC);
    put64(bytes + 8, number);
    put64(bytes + 16, kv->count);
    unsigned char *at = bytes + TABLE_HEADER_BYTES;
    for (size_t i = 0; i < kv->count; i++) {
        const struct entry *entry = &kv->entries[i];
        put32(at, (uint32_t)entry->key_len); /* fits: a segment of the log, which held it, is far below 4 GiB */
        put32(at + 4, (uint32_t)entry->value_len);
        memcpy(at + LENGTHS_BYTES, entry->bytes, entry->key_len + entry->value_len);
        at += LENGTHS_BYTES + entry->key_len + entry->value_len;
    }
    table_name(name, number);
    kv_status_t status = write_file(kv, name, bytes, len, err);
    free(bytes);
    return status;
}

/* The checksum has been right; even so no length is taken on trust. */
static kv_status_t parse_table(kv_t *kv, const unsigned char *bytes, size_t len, kv_error_t *err)
{
    uint64_t count = get64(bytes + 16);
    size_t at = TABLE_HEADER_BYTES;
    if (get64(bytes) != TABLE_MAGIC || get64(bytes + 8) != kv->table || count > len / LENGTHS_BYTES) {
        return fail(err, KV_DAMAGED, 0, "table %llu is not the file that the manifest names", (unsigned long long)kv->table);
    }
    if (!reserve(kv, (size_t)count)) {
        return out_of_memory(err);
    }
    while (kv->count < count) {
        size_t left = len - at;
        size_t key_len = left < LENGTHS_BYTES ? 0 : get32(bytes + at);
        size_t value_len = left < LENGTHS_BYTES ? 0 : get32(bytes + at + 4);
        if (left < LENGTHS_BYTES || key_len > left - LENGTHS_BYTES || value_len > left - LENGTHS_BYTES - key_len) {
            return fail(err, KV_DAMAGED, 0, "table %llu ends inside a key or value", (unsigned long long)kv->table);
        }
        at += LENGTHS_BYTES;
        if (!make_entry(&kv->entries[kv->count], bytes + at, key_len, bytes + at + key_len, value_len)) {
            return out_of_memory(err);
        }
        kv->count++;
        at += key_len + value_len;
    }
    return KV_OK;
}

static kv_status_t load_table(kv_t *kv, kv_error_t *err)
{
    char name[NAME_BYTES];
    unsigned char *bytes = NULL;
    size_t len = 0;
    enter(kv, KV_PHASE_LOADING_TABLE);
    if (kv->table == 0) {
        return KV_OK;
    }
    table_name(name, kv->table);
    kv_status_t status = read_file(kv, name, TABLE_HEADER_BYTES, &bytes, &len, err);
    if (status == KV_ABSENT) {
        return fail(err, KV_DAMAGED, ENOENT, "%s, which the manifest names", name);
    }
    if (status == KV_OK) {
        status = parse_table(kv, bytes, len, err);
        free(bytes);
    }
    return status;
}

/* What the store durably is. */
static kv_status_t write_manifest(kv_t *kv, uint64_t n, uint64_t table, kv_error_t *err)
{
    unsigned char bytes[MANIFEST_BYTES + CHECKSUM_BYTES];
    put64(bytes, MANIFEST_MAGIC);
    memcpy(bytes + 8, kv->log_id, LOG_ID_BYTES); /* N means nothing without the log that it counts in */
    put64(bytes + 24, n);
    put64(bytes + 32, table);
    kv_status_t status = write_file(kv, "MANIFEST", bytes, sizeof bytes, err);
    if (status == KV_OK) {
        kv->saved_seq = n;
        kv->table = table;
        kv->has_manifest = 1;
    }
    return status;
}

static kv_status_t read_manifest(kv_t *kv, kv_error_t *err)
{
    unsigned char *bytes = NULL;
    size_t len = 0;
    kv_status_t status = read_file(kv, "MANIFEST", MANIFEST_BYTES, &bytes, &len, err);
    if (status == KV_ABSENT) {
        return KV_OK; /* a new store */
    }
    if (status == KV_OK && get64(bytes) != MANIFEST_MAGIC) {
        status = fail(err, KV_DAMAGED, 0, "MANIFEST was not written by this program");
    }
    if (status == KV_OK) {
        memcpy(kv->log_id, bytes + 8, LOG_ID_BYTES);
        kv->saved_seq = kv->facts.store_seq = get64(bytes + 24);
        kv->table = get64(bytes + 32);
        kv->next_table = kv->table + 1;
        kv->has_manifest = 1;
    }
    free(bytes);
    return status;
}

/* ---- Opening --------------------------------------------------------------------------------------------------------------- */

/* The log locks itself, but the manifest is read before the log is opened and must not change in between. */
static kv_status_t lock_store(kv_t *kv, kv_error_t *err)
{
    kv->lock_fd = openat(kv->dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (kv->lock_fd < 0) {
        return fail(err, KV_REFUSED, errno, "cannot open LOCK");
    }
    if (flock(kv->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int busy = errno == EWOULDBLOCK;
        return busy ? fail(err, KV_BUSY, 0, "the store is in use") : fail(err, KV_REFUSED, errno, "cannot lock the store");
    }
    return KV_OK;
}

/* Table files that the manifest does not name: a crash came before they were installed, or before they were removed. */
static kv_status_t sweep(kv_t *kv, kv_error_t *err)
{
    char current[NAME_BYTES];
    int fd = openat(kv->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        (void)fail(err, KV_REFUSED, errno, "cannot list the directory of the store");
        if (fd >= 0) {
            (void)close(fd);
        }
        return KV_REFUSED;
    }
    table_name(current, kv->table);
    kv_status_t status = KV_OK;
    const struct dirent *item;
    while (status == KV_OK && (item = readdir(dir)) != NULL) {
        if (strncmp(item->d_name, "table-", 6) != 0 || strcmp(item->d_name, current) == 0) {
            continue;
        }
        if (kv->has_manifest) {
            (void)unlinkat(kv->dir_fd, item->d_name, 0); /* costs space if it fails, nothing else */
        } else { /* a manifest is written before the first table: someone has removed it, and the tables are all that is left */
            status = fail(err, KV_DAMAGED, 0, "there is a table but no MANIFEST; restore the store and its log from the same backup");
        }
    }
    (void)closedir(dir);
    return status;
}

/* The store's half of the agreement: "I hold everything up to N of the log with this id". */
static void describe_store(const kv_t *kv, wal_options_t *options)
{
    wal_options_init(options, sizeof *options);
    options->sync_mode = WAL_SYNC_ALWAYS; /* an append is durable when it returns */
    options->segment_size = kv->options.segment_size;
    options->recovery = kv->options.accept_loss ? WAL_RECOVER_PREFIX : WAL_RECOVER_STRICT;
    options->store_seq = kv->saved_seq > 0 ? kv->saved_seq : WAL_STORE_EMPTY; /* 0 would mean "do not check" */
    if (kv->has_manifest) {
        memcpy(options->expected_log_id, kv->log_id, LOG_ID_BYTES); /* nor is a log that is gone replaced by an empty one */
    }
}

/* Looks before anything is changed: an opening tidies up after a crash, so afterwards this could not be seen any more. */
static kv_status_t inspect_log(kv_t *kv, kv_error_t *err)
{
    wal_options_t options;
    wal_report_t report;
    wal_error_t cause;
    enter(kv, KV_PHASE_INSPECTING_LOG);
    describe_store(kv, &options);
    wal_status_t code = wal_inspect(kv->log_dir, &options, 0, &report, sizeof report, &cause);
    if (code == WAL_E_NOT_FOUND && !kv->has_manifest) {
        return KV_OK; /* a new store; its log is about to be made */
    }
    if (code != WAL_OK) {
        return log_failed(kv, err, &cause, "cannot use the log");
    }
    if (report.damage_code != WAL_OK && !kv->options.accept_loss) {
        cause.code = report.damage_code;
        (void)snprintf(cause.message, sizeof cause.message, "segment %llu is damaged at offset %llu; the records from %llu on are at risk",
                       (unsigned long long)report.damage_segment, (unsigned long long)report.damage_offset,
                       (unsigned long long)report.damage_seq);
        cause.os_error = report.damage_os_error;
        return log_failed(kv, err, &cause, "cannot use the log");
    }
    kv->facts.log_found = 1;
    kv->facts.log_clean = report.clean != 0;
    kv->facts.found_last_seq = report.last_seq;
    return KV_OK;
}

static kv_status_t open_log(kv_t *kv, kv_error_t *err)
{
    wal_options_t options;
    wal_report_t report;
    wal_error_t cause;
    enter(kv, KV_PHASE_OPENING_LOG);
    describe_store(kv, &options);
    if (wal_open(kv->log_dir, &options, &kv->wal, &cause) != WAL_OK) {
        return log_failed(kv, err, &cause, "cannot open the log");
    }
    if (wal_report(kv->wal, &report, sizeof report, &cause) != WAL_OK) {
        return log_failed(kv, err, &cause, "cannot ask the log what it found");
    }
    kv->facts.checkpoint_seq = report.checkpoint_seq;
    kv->facts.forgotten_seq = report.floor_seq;
    kv->facts.copied_records = report.copied_records;
    kv->facts.dropped_bytes = report.dropped_bytes;
    kv->facts.lost_first_seq = report.lost_first_seq;
    kv->facts.lost_last_seq = report.lost_last_seq;
    kv->facts.log_recovery_us = report.duration_us;
    if (kv->has_manifest) {
        return KV_OK;
    }
    memcpy(kv->log_id, report.log_id, LOG_ID_BYTES);
    return write_manifest(kv, 0, 0, err); /* before the first append: from here on this store and this log belong together */
}

static kv_status_t replay_record(kv_t *kv, const wal_record_t *record, kv_error_t *err)
{
    struct entry entry;
    if (record->op != WAL_OP_PUT && record->op != WAL_OP_DELETE) {
        return fail(err, KV_MISMATCH, 0, "record %llu has op %u, which this store never writes: is it another program's log?",
                    (unsigned long long)record->seq, (unsigned)record->op);
    }
    if (!reserve(kv, 1) || !make_entry(&entry, record->key, record->key_len, record->value, record->value_len)) {
        return out_of_memory(err);
    }
    apply(kv, &entry, record->op == WAL_OP_DELETE);
    kv->applied_seq = record->seq;
    kv->facts.replayed++;
    return KV_OK;
}

/* Everything above N, in order, as it was applied the first time. Puts and deletes can be repeated, so a crash in here costs nothing. */
static kv_status_t replay_log(kv_t *kv, kv_error_t *err)
{
    wal_cursor_t *cursor = NULL;
    wal_record_t record;
    wal_error_t cause;
    uint32_t flags = kv->options.accept_loss ? WAL_REPLAY_SKIP_LOST : 0;
    enter(kv, KV_PHASE_REPLAYING);
    kv->applied_seq = kv->saved_seq;
    if (wal_replay_open(kv->wal, kv->saved_seq, flags, &cursor, &cause) != WAL_OK) {
        return log_failed(kv, err, &cause, "cannot replay the log");
    }
    kv_status_t status = KV_OK;
    wal_status_t code = WAL_OK;
    while (status == KV_OK && (code = wal_replay_next(cursor, &record, &cause)) == WAL_OK) {
        status = replay_record(kv, &record, err);
    }
    if (status == KV_OK && code != WAL_END) {
        status = log_failed(kv, err, &cause, "cannot replay the log"); /* half a replay is not a store: it is not served */
    }
    wal_replay_close(cursor);
    if (status == KV_OK && kv->facts.lost_last_seq > 0) {
        /* What is lost stays lost. With an N beyond the hole the store says that it knows. */
        kv->applied_seq = wal_last_seq(kv->wal);
        kv->untold = kv->unflushed = 1;
        status = kv_flush(kv, err);
    }
    return status;
}

static kv_status_t open_directory(kv_t *kv, const char *dir, kv_error_t *err)
{
    size_t len = strlen(dir) + sizeof "/log";
    kv->log_dir = malloc(len);
    if (kv->log_dir == NULL) {
        return out_of_memory(err);
    }
    (void)snprintf(kv->log_dir, len, "%s/log", dir);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        return fail(err, KV_REFUSED, errno, "cannot make %s", dir);
    }
    kv->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent = kv->dir_fd < 0 ? -1 : openat(kv->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = parent < 0 || fsync(parent) != 0; /* the directory's own name has to survive as well */
    if (failed) {
        (void)fail(err, KV_REFUSED, errno, "cannot open %s, or not make its name durable", dir);
    }
    if (parent >= 0) {
        (void)close(parent);
    }
    return failed ? KV_REFUSED : KV_OK;
}

static void release(kv_t *kv)
{
    for (size_t i = 0; i < kv->count; i++) {
        free(kv->entries[i].bytes);
    }
    free(kv->entries);
    free(kv->log_dir);
    if (kv->dir_fd >= 0) {
        (void)close(kv->dir_fd);
    }
    if (kv->lock_fd >= 0) {
        (void)close(kv->lock_fd); /* lets the next user in, so after the log has been closed */
    }
    free(kv);
}

kv_status_t kv_open(const char *dir, const kv_options_t *options, kv_t **out, kv_error_t *err)
{
    static kv_status_t (*const steps[])(kv_t *, kv_error_t *) = {
        lock_store, read_manifest, sweep, load_table, inspect_log, open_log, replay_log,
    };
    kv_t *kv = calloc(1, sizeof *kv);
    if (kv == NULL) {
        return out_of_memory(err);
    }
    kv->dir_fd = kv->lock_fd = -1;
    kv->next_table = 1;
    kv->untold = 1; /* perhaps: the last flush may have been cut short */
    if (options != NULL) {
        kv->options = *options;
    }
    kv_status_t status = open_directory(kv, dir, err);
    for (size_t i = 0; status == KV_OK && i < sizeof steps / sizeof steps[0]; i++) {
        status = steps[i](kv, err);
    }
    if (status != KV_OK) {
        if (kv->wal != NULL) {
            (void)wal_close(kv->wal, NULL); /* the first error is the one that counts */
        }
        release(kv);
        return status;
    }
    enter(kv, KV_PHASE_READY);
    *out = kv;
    return KV_OK;
}

kv_status_t kv_close(kv_t *kv, kv_error_t *err)
{
    wal_error_t cause;
    if (kv == NULL) {
        return KV_OK;
    }
    kv_status_t status = wal_close(kv->wal, &cause) == WAL_OK ? KV_OK : log_failed(kv, err, &cause, "the log was not closed cleanly");
    release(kv);
    return status;
}

/* ---- Writing --------------------------------------------------------------------------------------------------------------- */

/* Everything that can fail in memory happens here, before the log is told: what the log has taken must be applied. */
static kv_status_t prepare(kv_t *kv, const kv_change_t *changes, size_t count, struct entry *entries, wal_entry_t *records, kv_error_t *err)
{
    if (entries == NULL || records == NULL || !reserve(kv, count)) {
        return out_of_memory(err);
    }
    for (size_t i = 0; i < count; i++) {
        const kv_change_t *change = &changes[i];
        if (!make_entry(&entries[i], change->key, change->key_len, change->value, change->remove ? 0 : change->value_len)) {
            return out_of_memory(err);
        }
        records[i].op = change->remove ? WAL_OP_DELETE : WAL_OP_PUT;
        records[i].key = entries[i].bytes;
        records[i].key_len = entries[i].key_len;
        records[i].value = entries[i].bytes + entries[i].key_len;
        records[i].value_len = entries[i].value_len;
    }
    return KV_OK;
}

/* Several changes are one batch: after a crash all of them are there or none. */
static wal_status_t append(kv_t *kv, const wal_entry_t *records, size_t count, uint64_t *seq, wal_error_t *cause)
{
    if (count > 1) {
        return wal_append_batch(kv->wal, records, count, 0, seq, cause);
    }
    return wal_append(kv->wal, (uint8_t)records->op, records->key, records->key_len, records->value, records->value_len, seq, cause);
}

kv_status_t kv_write(kv_t *kv, const kv_change_t *changes, size_t count, kv_error_t *err)
{
    wal_error_t cause;
    if (kv->failed) {
        return fail(err, KV_FAILED, 0, "an earlier error has left the store in doubt: close it and open it again");
    }
    if (count == 0) {
        return KV_OK;
    }
    struct entry *entries = calloc(count, sizeof *entries);
    wal_entry_t *records = calloc(count, sizeof *records);
    kv_status_t status = prepare(kv, changes, count, entries, records, err);
    uint64_t seq = 0;
    if (status == KV_OK && append(kv, records, count, &seq, &cause) != WAL_OK) {
        status = log_failed(kv, err, &cause, "not written");
    }
    for (size_t i = 0; entries != NULL && i < count; i++) {
        if (status == KV_OK) {
            apply(kv, &entries[i], changes[i].remove);
        } else {
            free(entries[i].bytes); /* the log refused it, so memory must not have it: they would disagree after a restart */
        }
    }
    if (status == KV_OK) {
        kv->applied_seq = seq;
    }
    free(entries);
    free(records);
    return status;
}

kv_status_t kv_put(kv_t *kv, const void *key, size_t key_len, const void *value, size_t value_len, kv_error_t *err)
{
    kv_change_t change = {key, key_len, value, value_len, 0};
    return kv_write(kv, &change, 1, err);
}

kv_status_t kv_delete(kv_t *kv, const void *key, size_t key_len, kv_error_t *err)
{
    kv_change_t change = {key, key_len, NULL, 0, 1};
    return kv_write(kv, &change, 1, err);
}

/* ---- Flushing -------------------------------------------------------------------------------------------------------------- */

/* Afterwards the store's own files hold everything up to S, and say so. */
static kv_status_t flush_memory(kv_t *kv, kv_error_t *err)
{
    char old[NAME_BYTES];
    uint64_t fresh = kv->next_table++; /* a number is used once, even if this fails */
    table_name(old, kv->table);

    /* 1. The table first: the manifest must not name a file that a power cut can still take away. */
    enter(kv, KV_PHASE_WRITING_TABLE);
    kv_status_t status = write_table(kv, fresh, err);
    if (status != KV_OK) {
        return status;
    }
    /* 2. Then the manifest, with S: from here on it is true that the store durably holds everything up to S. */
    enter(kv, KV_PHASE_INSTALLING_TABLE);
    status = write_manifest(kv, kv->applied_seq, fresh, err);
    if (status != KV_OK) {
        return status; /* the new table is swept away by the next opening */
    }
    (void)unlinkat(kv->dir_fd, old, 0); /* no earlier; and if it stays, it is swept away as well */
    kv->unflushed = 0;
    kv->unflushed_bytes = 0;
    return KV_OK;
}

kv_status_t kv_flush(kv_t *kv, kv_error_t *err)
{
    wal_error_t cause;
    uint64_t n = 0;
    kv_status_t status = KV_OK;
    if (kv->failed) {
        return fail(err, KV_FAILED, 0, "an earlier error has left the store in doubt: close it and open it again");
    }
    if (kv->unflushed) {
        status = flush_memory(kv, err);
    }
    if (status != KV_OK || !kv->untold) {
        return status;
    }
    /*
     * 3. Tell the log: S, the last record that was applied before the table was written, and not "everything so far". With several
     *    writers, records are appended while the table is being written; they are in the log and not in the table. The log answers
     *    with the n up to which it may forget. If this fails nothing may be forgotten, and the next flush says it again.
     */
    enter(kv, KV_PHASE_CHECKPOINTING);
    if (wal_checkpoint(kv->wal, kv->applied_seq, &n, &cause) != WAL_OK) {
        return log_failed(kv, err, &cause, "flushed, but the log could not take note of it");
    }
    /* 4. Save n before it is used: a store that says less than what the log has forgotten looks like an old backup. */
    enter(kv, KV_PHASE_SAVING_N);
    status = write_manifest(kv, n, kv->table, err);
    if (status != KV_OK) {
        return status;
    }
    /* 5. Only now may the log forget. A crash before this line costs disk space until the next flush, nothing else. */
    enter(kv, KV_PHASE_TRUNCATING);
    if (wal_truncate(kv->wal, n, 0, &cause) != WAL_OK) {
        return log_failed(kv, err, &cause, "flushed, but the log could not forget");
    }
    kv->untold = 0;
    enter(kv, KV_PHASE_READY);
    return KV_OK;
}

uint64_t kv_unflushed_bytes(const kv_t *kv)
{
    return kv->unflushed_bytes;
}

/* ---- Reading --------------------------------------------------------------------------------------------------------------- */

kv_status_t kv_get(const kv_t *kv, const void *key, size_t key_len, const void **value, size_t *value_len)
{
    size_t at;
    if (!find(kv, key, key_len, &at)) {
        return KV_ABSENT;
    }
    *value = kv->entries[at].bytes + kv->entries[at].key_len;
    *value_len = kv->entries[at].value_len;
    return KV_OK;
}

int kv_scan(const kv_t *kv, kv_visit_t visit, void *context)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < kv->count; i++) {
        const struct entry *entry = &kv->entries[i];
        result = visit(context, entry->bytes, entry->key_len, entry->bytes + entry->key_len, entry->value_len);
    }
    return result;
}

const kv_facts_t *kv_facts(const kv_t *kv)
{
    return &kv->facts;
}
