/* The ledger: what a log has promised, kept by somebody who survives, and whether the log keeps it. */
#define _GNU_SOURCE

#include "real.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_COMPLAINTS = 20 };

/* ---- Records ---- */

static uint64_t seed_of(const identity_t *identity)
{
  return mix(identity->nonce ^ mix(identity->counter) ^ mix(~(uint64_t)identity->writer));
}

static uint64_t sum_of(const identity_t *identity)
{
  uint64_t sum = seed_of(identity);
  sum = mix(sum ^ identity->batch_at);
  sum = mix(sum ^ identity->batch_count);
  return mix(sum ^ identity->value_len);
}

static void write_filler(uint64_t random, unsigned char *bytes, size_t len)
{
  for (size_t at = 0; at < len; at += 8) {
    uint64_t eight = mix(random + at);
    memcpy(bytes + at, &eight, len - at < 8 ? len - at : 8);
  }
}

void write_record(const identity_t *identity, unsigned char *key, unsigned char *value)
{
  uint64_t random = seed_of(identity), sum = sum_of(identity);
  write_filler(~random, key, KEY_BYTES);
  memcpy(value, identity, sizeof *identity);
  memcpy(value + sizeof *identity, &sum, sizeof sum);
  write_filler(random, value + LEAST_VALUE_BYTES, identity->value_len - LEAST_VALUE_BYTES);
}

/* Who wrote it; false if its bytes are not what that writer wrote. */
static bool read_record(const wal_record_t *record, identity_t *identity)
{
  static unsigned char key[KEY_BYTES], value[LARGEST_SEGMENT];
  if (record->op != WAL_OP_PUT || record->key_len != KEY_BYTES) return false;
  if (record->value_len < LEAST_VALUE_BYTES || record->value_len > sizeof value) return false;
  memcpy(identity, record->value, sizeof *identity);
  if (identity->value_len != record->value_len) return false;
  write_record(identity, key, value);
  return memcmp(key, record->key, KEY_BYTES) == 0 && memcmp(value, record->value, record->value_len) == 0;
}

/* ---- The ledger ---- */

ledger_t *ledger_at(const char *path)
{
  int file = -1, flags = MAP_SHARED;
  if (path == NULL) {
    flags |= MAP_ANONYMOUS;
  } else {
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof(ledger_t)) != 0) give_up("%s: %m", path);
  }
  ledger_t *ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, flags, file, 0);
  if (ledger == MAP_FAILED) give_up("no memory for a ledger: %m");
  if (file >= 0) close(file);
  return ledger;
}

void ledger_begin(ledger_t *ledger, uint64_t nonce)
{
  /* The counts go on. */
  size_t begin = offsetof(ledger_t, nonce), end = offsetof(ledger_t, entries) + (ledger->highest + 1) * sizeof(entry_t);
  memset((unsigned char *)ledger + begin, 0, end - begin);
  ledger->nonce = nonce;
  ledger->opened = UINT64_MAX;
  for (unsigned writer = 0; writer < MOST_WRITERS; writer++) ledger->started[writer] = 1;
}

void complain(ledger_t *ledger, const char *format, ...)
{
  char text[sizeof ledger->first_complaint];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (ledger->complaints == 0) memcpy(ledger->first_complaint, text, sizeof text);
  if (ledger->complaints++ < MOST_COMPLAINTS && !ledger->silent) {
    printf("COMPLAINT: %s\n", text);
    fflush(stdout);
  }
}

static void raise_to(uint64_t *number, uint64_t least)
{
  if (*number < least) *number = least;
}

static entry_t *entry_at(ledger_t *ledger, uint64_t seq)
{
  if (seq == 0 || seq >= MOST_SEQS) give_up("seq %" PRIu64 " has no place in the ledger", seq);
  raise_to(&ledger->highest, seq);
  return &ledger->entries[seq];
}

static void note_appended(ledger_t *ledger, const message_t *message)
{
  ledger->appended += message->count;
  for (uint32_t at = 0; at < message->count; at++) {
    entry_t *entry = entry_at(ledger, message->seq + at);
    if (entry->kind != UNKNOWN) {
      complain(ledger, "seq %" PRIu64 " was given out twice", message->seq + at);
    }
    *entry = (entry_t){DATA, message->writer, at, message->count, message->counter + at};
  }
}

/* A checkpoint may be above what the store holds only by CHECKPOINT records. This is looked at when all that was appended has been told. */
static void note_checkpoint(ledger_t *ledger, uint64_t covered, uint64_t n)
{
  if (n < covered) complain(ledger, "a checkpoint of %" PRIu64 " gave %" PRIu64, covered, n);
  for (uint64_t seq = covered + 1; seq <= n; seq++) {
    entry_t *entry = entry_at(ledger, seq);
    if (entry->kind == DATA) {
      complain(ledger, "a checkpoint of %" PRIu64 " allows to forget %" PRIu64 ", which is a record that the store has not", covered, seq);
    }
    entry->kind = CHECKPOINT;
  }
  raise_to(&ledger->checkpoint, n);
}

void ledger_note(ledger_t *ledger, const message_t *message)
{
  switch (message->kind) {
  case OPENED:
    if (ledger->opened != UINT64_MAX && ledger->opened != message->seq) {
      complain(ledger, "one opening ended at seq %" PRIu64 ", the next one at %" PRIu64, ledger->opened, message->seq);
    }
    if (message->seq < ledger->safe) complain(ledger, "the log ends at seq %" PRIu64 ", %" PRIu64 " was safe", message->seq, ledger->safe);
    ledger->opened = message->seq;
    ledger->openings++;
    break;
  case WORKING:
    ledger->opened = UINT64_MAX;
    break;
  case APPENDING:
    if (message->counter <= ledger->announced[message->writer]) {
      give_up("writer %u: %" PRIu64 " is used again: a mistake of the host", message->writer, message->counter);
    }
    ledger->announced[message->writer] = message->counter;
    break;
  case WITHDRAWN:
    ledger->announced[message->writer] = message->counter;
    break;
  case APPENDED:
    note_appended(ledger, message);
    break;
  case SAFE:
    raise_to(&ledger->safe, message->seq);
    break;
  case CHECKPOINTED:
    note_checkpoint(ledger, message->covered, message->seq);
    raise_to(&ledger->stored, message->seq);
    break;
  case TRUNCATING:
    raise_to(&ledger->forgetting, message->seq);
    break;
  case TRUNCATED:
    raise_to(&ledger->forgotten, message->seq);
    break;
  }
}

void ledger_options(const ledger_t *ledger, wal_options_t *options)
{
  options->store_seq = ledger->stored > 0 ? ledger->stored : WAL_STORE_EMPTY;
  if (ledger->has_id) memcpy(options->expected_log_id, ledger->log_id, sizeof ledger->log_id);
}

/* ---- The examination ---- */

typedef struct {
  ledger_t *ledger;
  uint64_t next;                   /* The seq that must come now. */
  uint64_t counter[MOST_WRITERS];  /* Each writer's last number. */
  entry_t before;                  /* The record before this one. */
  uint64_t untold;                 /* Forgotten records whose writer died before it could tell. */
} examination_t;

static bool examine_data(examination_t *at, const wal_record_t *record, entry_t *found)
{
  ledger_t *ledger = at->ledger;
  identity_t identity;
  uint64_t seq = record->seq;
  if (!read_record(record, &identity) || identity.nonce != ledger->nonce || identity.writer >= MOST_WRITERS ||
      identity.counter > ledger->announced[identity.writer]) {
    complain(ledger, "seq %" PRIu64 " holds what nobody appended", seq);
    return false;
  }
  *found = (entry_t){DATA, identity.writer, identity.batch_at, identity.batch_count, identity.counter};
  uint64_t last = at->counter[identity.writer];
  if (identity.counter <= last) {
    complain(ledger, "writer %u: %" PRIu64 " comes after %" PRIu64 " at seq %" PRIu64, identity.writer, identity.counter, last, seq);
  }
  uint64_t expected = last < ledger->started[identity.writer] ? ledger->started[identity.writer] : last + 1;
  bool may_be_forgotten = last == 0 && identity.counter > expected && identity.counter - expected <= at->untold;
  if (may_be_forgotten) {
    at->untold -= identity.counter - expected;
  } else if (seq > ledger->settled && identity.counter != expected) {
    complain(ledger, "writer %u: its records before %" PRIu64 " are missing at seq %" PRIu64, identity.writer, identity.counter, seq);
  }
  at->counter[identity.writer] = identity.counter;
  if (record->batch_last_seq != seq + identity.batch_count - 1 - identity.batch_at) {
    complain(ledger, "seq %" PRIu64 " says that its batch ends with %" PRIu64, seq, record->batch_last_seq);
  }
  return true;
}

/* Whether a record continues its batch, or begins one behind a whole one. What has been forgotten may have been the batch's beginning. */
static bool batch_goes_on(const entry_t *before, const entry_t *found)
{
  bool inside = before->kind == DATA && before->batch_at + 1 < before->batch_count;
  if (!inside) return found->kind == CHECKPOINT || found->batch_at == 0;
  return found->kind == DATA && found->writer == before->writer && found->counter == before->counter + 1 &&
         found->batch_at == before->batch_at + 1 && found->batch_count == before->batch_count;
}

static void examine_record(examination_t *at, const wal_record_t *record)
{
  ledger_t *ledger = at->ledger;
  uint64_t seq = record->seq;
  entry_t found = {.kind = CHECKPOINT};
  if (seq != at->next) complain(ledger, "seq %" PRIu64 " comes where %" PRIu64 " is due", seq, at->next);
  at->next = seq + 1;
  if (record->op != WAL_OP_CHECKPOINT && !examine_data(at, record, &found)) return;

  entry_t *entry = entry_at(ledger, seq);
  bool is_known = entry->kind == found.kind && entry->writer == found.writer && entry->counter == found.counter &&
                  entry->batch_at == found.batch_at && entry->batch_count == found.batch_count;
  if (entry->kind == UNKNOWN ? seq <= ledger->settled : !is_known) {
    complain(ledger, "seq %" PRIu64 " is %s %u:%" PRIu64 " and was %s %u:%" PRIu64, seq, found.kind == DATA ? "record" : "checkpoint", found.writer,
             found.counter, entry->kind == DATA ? "record" : "checkpoint", entry->writer, entry->counter);
  }
  if (!batch_goes_on(&at->before, &found) && seq != ledger->floor + 1) complain(ledger, "seq %" PRIu64 " stands amid a torn batch", seq);
  if (seq <= ledger->settled) {
    ledger->seen_again++;
  } else if (seq <= ledger->safe) {
    ledger->promises++;
  } else {
    ledger->in_doubt++;
  }
  at->before = found;
  *entry = found;
}

static void examine_positions(ledger_t *ledger, const wal_report_t *report)
{
  if (report->last_seq < ledger->safe) {
    complain(ledger, "the log ends at seq %" PRIu64 ", %" PRIu64 " was acknowledged", report->last_seq, ledger->safe);
  }
  if (report->checkpoint_seq < ledger->checkpoint) {
    complain(ledger, "the checkpoint is %" PRIu64 ", %" PRIu64 " was acknowledged", report->checkpoint_seq, ledger->checkpoint);
  }
  if (report->floor_seq < ledger->forgotten || report->floor_seq > ledger->forgetting) {
    complain(ledger, "forgotten up to %" PRIu64 ", acknowledged up to %" PRIu64 ", asked for up to %" PRIu64, report->floor_seq, ledger->forgotten,
             ledger->forgetting);
  }
  if (report->damage_code != WAL_OK) complain(ledger, "the opening found damage: %s", wal_status_name(report->damage_code));
}

void ledger_examine(ledger_t *ledger, wal_t *wal)
{
  wal_error_t err;
  wal_report_t report;
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  if (wal_report(wal, &report, sizeof report, &err) != WAL_OK) give_up("wal_report: %s", err.message);
  examine_positions(ledger, &report);
  if (ledger->has_id && memcmp(ledger->log_id, report.log_id, sizeof report.log_id) != 0) complain(ledger, "the log has got another id");
  memcpy(ledger->log_id, report.log_id, sizeof report.log_id);
  ledger->has_id = true;

  /* Of what is forgotten nothing is looked at any more; the numbers of its records count. */
  examination_t at = {.ledger = ledger, .next = report.floor_seq + 1};
  for (uint64_t seq = ledger->floor + 1; seq <= report.floor_seq; seq++) {
    const entry_t *entry = entry_at(ledger, seq);
    if (entry->kind == DATA) raise_to(&ledger->started[entry->writer], entry->counter + 1);
    if (entry->kind == UNKNOWN) at.untold++;
  }
  ledger->floor = report.floor_seq;
  wal_status_t status = wal_replay_open(wal, report.floor_seq, WAL_REPLAY_RAW, &cursor, &err);
  while (status == WAL_OK && (status = wal_replay_next(cursor, &record, &err)) == WAL_OK) examine_record(&at, &record);
  if (status < 0) complain(ledger, "replay: %s: %s", wal_status_name(status), err.message);
  wal_replay_close(cursor);
  if (at.next != report.last_seq + 1) complain(ledger, "replay ended before seq %" PRIu64 ", the log at %" PRIu64, at.next, report.last_seq);
  if (at.before.kind == DATA && at.before.batch_at + 1 != at.before.batch_count) complain(ledger, "the log ends amid a batch");

  /* What has been shown cannot be taken back, and what is not there never comes. */
  for (uint64_t seq = report.last_seq + 1; seq <= ledger->highest; seq++) ledger->entries[seq] = (entry_t){.kind = UNKNOWN};
  ledger->highest = ledger->settled = ledger->safe = report.last_seq;
  ledger->opened = report.last_seq;
  ledger->checkpoint = report.checkpoint_seq;
  ledger->forgotten = ledger->forgetting = report.floor_seq;
  for (unsigned writer = 0; writer < MOST_WRITERS; writer++) ledger->started[writer] = ledger->announced[writer] + 1;
}
