/* Those who read beside the host: pins, and readers of a log that is being written. */

#include "harness.hpp"

namespace {

walpp::log follow(const std::string &dir)
{
  walpp::options options;
  options.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE;
  return MUST(walpp::log::open(dir, options));
}

/* The seqs that a loop over a cursor sees now, which must follow each other: how many, and the last one in *last. */
std::size_t read_on(walpp::cursor &cursor, std::uint64_t *last)
{
  std::size_t count = 0;
  for (const auto &item : cursor) {
    EQUAL(MUST(item).seq(), *last + 1);
    ++*last;
    count++;
  }
  return count;
}

void fill(walpp::log &log, std::uint64_t last)
{
  while (log.last_seq() < last) MUST(log.put("key", std::string(1000, 'x')));
}

}  // namespace

TEST(pins, a_pin_keeps_what_the_host_forgets)
{
  walpp::log log = open_log(dir);
  fill(log, 100);
  EQUAL(MUST(walpp::pin_list(dir)).size(), 0u);
  EQUAL(MUST(walpp::pin_create(dir, "backup", 7)), 7u);
  EQUAL(MUST(walpp::pin_create(dir, std::string("replica"), WAL_PIN_OLDEST, 1u << 30, WAL_PIN_REFUSE)), 0u);
  REFUSED(WAL_E_EXISTS, walpp::pin_create(dir, "backup", 8));
  MUST(log.truncate(100, WAL_TRUNCATE_UNCHECKED));
  REFUSED(WAL_E_GAP, log.replay(7));
  walpp::cursor cursor = MUST(log.replay(7, WAL_REPLAY_PINNED));
  std::uint64_t last = 7;
  EQUAL(read_on(cursor, &last), 93u);
  const std::vector<wal_pin_t> pins = MUST(walpp::pin_list(dir));
  CHECK(pins.size() == 2 && std::string_view(pins[0].name) == "backup" && pins[0].seq == 7 && pins[0].held_bytes > 0);
  CHECK(std::string_view(pins[1].name) == "replica" && pins[1].flags == WAL_PIN_REFUSE && pins[1].max_bytes == 1u << 30);
  MUST(walpp::pin_advance(dir, "backup", 60));
  REFUSED(WAL_E_RANGE, walpp::pin_advance(dir, "backup", 59));
  MUST(walpp::pin_drop(dir, "replica"));
  REFUSED(WAL_E_NOT_FOUND, walpp::pin_drop(dir, "replica"));
  MUST(log.truncate(100, WAL_TRUNCATE_UNCHECKED));
  const walpp::error gap = REFUSED(WAL_E_GAP, log.replay(59, WAL_REPLAY_PINNED));
  EQUAL(gap.seq(), 60u);
  /* Nor need the log be open. */
  MUST(log.close());
  EQUAL(MUST(walpp::pin_list(dir)).at(0).seq, 60u);
  MUST(walpp::pin_drop(dir, "backup"));
  EQUAL(MUST(walpp::pin_list(dir)).size(), 0u);
  REFUSED(WAL_E_NOT_FOUND, walpp::pin_list(dir + "/nothing"));
  REFUSED(WAL_E_INVALID, walpp::pin_create(dir, "not/a/name", 0));
}

TEST(readers, a_live_reader_follows_and_is_shown_what_is_published)
{
  walpp::log log = open_log(dir);
  walpp::log reader = follow(dir);
  walpp::cursor cursor = MUST(reader.replay(0));
  std::uint64_t last = 0;
  EQUAL(read_on(cursor, &last), 0u);
  fill(log, 10);
  read_on(cursor, &last);
  EQUAL(last, 9u);
  EQUAL(MUST(cursor.wait(std::chrono::microseconds(0))), walpp::waited::timed_out);
  MUST(log.publish());
  MUST(cursor.wait());
  EQUAL(read_on(cursor, &last), 1u);
  EQUAL(reader.last_seq(), 10u);
  REFUSED(WAL_E_READ_ONLY, reader.put("key", "value"));
  REFUSED(WAL_E_READ_ONLY, reader.publish());
  REFUSED(WAL_E_INVALID, walpp::log().publish());
}

TEST(readers, one_that_is_overtaken_has_a_gap_unless_it_has_pinned)
{
  walpp::log log = open_log(dir);
  fill(log, 60);
  walpp::log reader = follow(dir);
  walpp::cursor slow = MUST(reader.replay(0));
  EQUAL(MUST(slow.next())->seq(), 1u);
  std::uint64_t last = MUST(walpp::pin_create(dir, "replica", 20));
  walpp::cursor pinned = MUST(reader.replay(last, WAL_REPLAY_PINNED));
  MUST(log.truncate(60, WAL_TRUNCATE_UNCHECKED));
  fill(log, 300);
  MUST(log.truncate(300, WAL_TRUNCATE_UNCHECKED));
  MUST(log.publish());
  read_on(pinned, &last);
  EQUAL(last, 300u);
  wal_status_t met = WAL_OK;
  for (const auto &item : slow) met = item.code();
  CHECK(met == WAL_OK || met == WAL_E_GAP);
  REFUSED(WAL_E_GAP, reader.replay(0));
}
