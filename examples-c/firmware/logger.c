/*
 * A sensor logger. It appends readings to the log; from time to time it uploads them to a server, checkpoints what the server has, and truncates. When
 * the power comes back it asks the server what it has and uploads the rest. The server is the store: what it has, it has durably.
 *
 * usage: logger ROUNDS CUT SEED    rounds of readings; the power fails at the CUT-th change of the flash, 0: never
 */
#include <stdint.h>

#include "board.h"
#include "chip.h"
#include "wal_flash.h"

enum { PER_ROUND = 7, LARGE = 400, OP_READING = 16, OP_LARGE = 17 };

/* A reading, and its place in the server's file. */
struct reading {
    uint32_t number;
    uint32_t words[7];
};

struct upload {
    uint64_t seq;
    struct reading reading;
};

static uint64_t memory[160];
static wal_flash_t *the_log;
static int server, acknowledged;
static uint64_t uploaded_seq;
static uint32_t last_number;

static void fail(const char *what, int32_t status, const wal_flash_error_t *err)
{
    say(what);
    say_number(": status -", (uint32_t)-status);
    say_number("offset", (uint32_t)err->offset);
    leave(20);
}

static void must(const char *what, int32_t status, const wal_flash_error_t *err)
{
    if (status < 0) {
        fail(what, status, err);
    }
}

static struct reading reading_of(uint32_t number)
{
    struct reading reading = {number, {0}};
    for (uint32_t i = 0; i < 7; i++) {
        reading.words[i] = number * 2654435761u + i * 40503u;
    }
    return reading;
}

static wal_flash_config_t config_of(uint32_t seed)
{
    wal_flash_config_t config = chip_config();
    memcpy(config.new_log_id, "sensor logger ", 14);
    memcpy(config.new_log_id + 12, &seed, sizeof seed);
    return config;
}

/* Sends the server what it lacks. */
static void upload(void)
{
    wal_flash_error_t err;
    wal_flash_cursor_t cursor;
    wal_flash_record_t record;
    must("replay_open", wal_flash_replay_open(the_log, uploaded_seq, 0, &cursor, &err), &err);
    for (;;) {
        int32_t status = wal_flash_replay_next(the_log, &cursor, &record, &err);
        must("replay_next", status, &err);
        if (status == WAL_END) {
            return;
        }
        struct upload item;
        uint32_t copied;
        item.seq = record.seq;
        /* A large record begins with a reading. */
        must("replay_read", wal_flash_replay_read(the_log, &cursor, record.key_len, &item.reading, sizeof item.reading, &copied, &err), &err);
        if (copied != sizeof item.reading || (record.op == OP_LARGE && record.value_len != LARGE)) {
            say("a record is too short\n");
            leave(21);
        }
        if (file_write(server, &item, sizeof item) != 0) {
            leave(92);
        }
        uploaded_seq = record.seq;
        last_number = item.reading.number;
    }
}

static void acknowledge(uint32_t number)
{
    if (file_write(acknowledged, &number, sizeof number) != 0) {
        leave(92);
    }
}

static void append_one(void)
{
    wal_flash_error_t err;
    struct reading reading = reading_of(last_number + 1);
    must("append", wal_flash_append(the_log, OP_READING, "t", 1, &reading, sizeof reading, NULL, &err), &err);
    acknowledge(++last_number);
}

static void append_two(void)
{
    wal_flash_error_t err;
    struct reading readings[2] = {reading_of(last_number + 1), reading_of(last_number + 2)};
    wal_flash_entry_t entries[2] = {
        {NULL, &readings[0], 0, sizeof readings[0], OP_READING, 0},
        {"pressure", &readings[1], 8, sizeof readings[1], OP_READING, 0},
    };
    must("batch", wal_flash_append_batch(the_log, entries, 2, NULL, &err), &err);
    last_number += 2;
    acknowledge(last_number);
}

static void append_large(void)
{
    wal_flash_error_t err;
    struct reading reading = reading_of(last_number + 1);
    must("begin", wal_flash_append_begin(the_log, OP_LARGE, 1, &err), &err);
    must("key", wal_flash_append_piece(the_log, "L", 1, &err), &err);
    for (uint32_t sent = 0; sent < LARGE;) {
        uint32_t len = LARGE - sent < sizeof reading ? LARGE - sent : sizeof reading;
        must("piece", wal_flash_append_piece(the_log, &reading, len, &err), &err);
        sent += len;
    }
    must("end", wal_flash_append_end(the_log, NULL, &err), &err);
    acknowledge(++last_number);
}

static void round_of_readings(uint32_t round)
{
    wal_flash_error_t err;
    uint64_t n;
    for (uint32_t i = 0; i < PER_ROUND; i++) {
        append_one();
    }
    append_two();
    if (round % 3 == 0) {
        append_large();
    }
    if (round % 5 == 0) {
        /* A record that is given up. */
        must("begin", wal_flash_append_begin(the_log, OP_LARGE, 0, &err), &err);
        must("piece", wal_flash_append_piece(the_log, "never", 5, &err), &err);
        must("cancel", wal_flash_append_cancel(the_log, &err), &err);
    }
    if (round % 2 == 0 || wal_flash_free_bytes(the_log) < 8192) {
        upload();
        must("checkpoint", wal_flash_checkpoint(the_log, uploaded_seq, &n, &err), &err);
        must("truncate", wal_flash_truncate(the_log, n, 0, &err), &err);
    }
    if (round % 4 == 0) {
        while (wal_flash_prepare(the_log, &err) == WAL_OK) {
        }
    }
    must("sync", wal_flash_sync(the_log, &err), &err);
}

int main(void)
{
    uint32_t words[3] = {0};
    wal_flash_error_t err;
    wal_flash_stat_t stat;
    unsigned count = arguments(words, 3);
    if (count < 1) {
        return 2;
    }
    wal_flash_config_t config = config_of(words[2]);
    if (chip_power_on()) {
        must("format", wal_flash_format(&config, &err), &err);
    }
    server = file_append("server.bin");
    acknowledged = file_append("acknowledged.bin");
    int shown = file_open("server.bin", FILE_READ);
    long len = file_length(shown);
    config.store_seq = WAL_STORE_EMPTY;
    if (len > 0) {
        struct upload last;
        if (file_seek(shown, (size_t)len - sizeof last) != 0 || file_read(shown, &last, sizeof last) != 0) {
            return 92;
        }
        uploaded_seq = last.seq;
        last_number = last.reading.number;
        config.store_seq = uploaded_seq;
    }
    if (wal_flash_memory_size(&config) > sizeof memory) {
        return 92;
    }
    must("init", wal_flash_init(memory, sizeof memory, &config, &the_log, &err), &err);
    upload();
    must("stat", wal_flash_stat(the_log, &stat, &err), &err);
    if (stat.durable_seq < uploaded_seq) {
        return 22;
    }
    /* From here on the power may fail. */
    chip_cut_after(words[1], words[2]);
    for (uint32_t round = 0; round < words[0]; round++) {
        round_of_readings(round + words[2]);
    }
    return 0;
}
