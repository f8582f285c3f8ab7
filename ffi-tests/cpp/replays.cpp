/* Replay, damage, waiting, threads. */

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "harness.hpp"

#if defined(__cpp_lib_ranges)
#include <ranges>
static_assert(std::input_iterator<walpp::cursor::iterator>);
static_assert(std::ranges::input_range<walpp::cursor>);
#endif

namespace {

/* Flips a bit of the one place in the log's files where `text` stands. */
void damage(const std::string &dir, const std::string &text)
{
  for (const auto &file : std::filesystem::directory_iterator(dir)) {
    std::fstream stream(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(stream), {}};
    const std::size_t at = all.find(text);
    if (at == std::string::npos) continue;
    stream.clear();
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(static_cast<char>(all[at] ^ 1));
    return;
  }
  FAIL("the text is in no file");
}

}  // namespace

TEST(replay, a_loop_sees_every_record_and_goes_on_where_it_ended)
{
  walpp::log log = open_log(dir);
  for (std::uint64_t i = 1; i <= 1000; i++) MUST(log.put({}, std::to_string(i), walpp::commit::later));
  walpp::cursor cursor = MUST(log.replay(0));
  std::uint64_t seen = 0;
  for (const auto &item : cursor) {
    seen++;
    CHECK(item && item->seq() == seen && item->value() == std::to_string(seen));
    if (seen == 300) break;
  }
  for (const auto &item : cursor) CHECK(item->value() == std::to_string(++seen));
  EQUAL(seen, 1000u);
  for ([[maybe_unused]] const auto &item : cursor) FAIL("there is nothing more");
  MUST(log.put({}, "1001"));
  walpp::cursor moved(std::move(cursor));
  CHECK(cursor.empty());  // NOLINT: what a moved-from cursor is, is promised
  for (const auto &item : moved) CHECK(item->value() == std::to_string(++seen));
  EQUAL(seen, 1001u);
  /* A cursor that nobody keeps lives as long as the loop. */
  std::uint64_t count = 0;
  for (const auto &item : log.replay(WAL_REPLAY_OLDEST).value()) count += item.has_value();
  EQUAL(count, 1001u);
}

TEST(replay, raw_shows_checkpoints)
{
  walpp::log log = open_log(dir);
  MUST(log.put("key", "value"));
  MUST(log.checkpoint(1));
  walpp::cursor cursor = MUST(log.replay(1, WAL_REPLAY_RAW));
  EQUAL(MUST(cursor.next())->op(), WAL_OP_CHECKPOINT);
  CHECK(MUST(cursor.next()) == nullptr);
}

TEST(replay, damage_is_the_last_element_of_a_loop)
{
  {
    walpp::log log = open_log(dir);
    for (int i = 1; i <= 5; i++) MUST(log.put("key", "value number " + std::to_string(i)));
  }
  damage(dir, "value number 3");
  walpp::log log = open_log(dir);
  walpp::cursor cursor = MUST(log.replay(0));
  int records = 0;
  int errors = 0;
  for (const auto &item : cursor) {
    if (item) {
      CHECK(errors == 0);
      records++;
      continue;
    }
    errors++;
    EQUAL(item.code(), WAL_E_CORRUPT);
    CHECK(item.error().segment() == 1 && item.error().offset() > 0 && item.error().seq() == 3);
    EQUAL(std::string(item.error().name()), "WAL_E_CORRUPT");
  }
  CHECK(records == 2 && errors == 1);
  /* Whoever asks again gets the same answer, not a silent end. */
  REFUSED(WAL_E_CORRUPT, cursor.next());
  for (const auto &item : cursor) errors += item.code() == WAL_E_CORRUPT;
  EQUAL(errors, 2);
  MUST(log.close());
  EQUAL(MUST(walpp::inspect(dir)).damage_code, WAL_OK);
  EQUAL(MUST(walpp::inspect(dir, {}, WAL_INSPECT_FULL)).damages, 1u);
  const std::vector<walpp::error> damages = MUST(walpp::inspect_damage(dir));
  CHECK(damages.size() == 1 && damages[0].code() == WAL_E_CORRUPT && damages[0].segment() == 1);
  REFUSED(WAL_E_NOT_FOUND, walpp::inspect(dir + "/nothing"));
  REFUSED(WAL_E_NOT_FOUND, walpp::inspect_damage(dir + "/nothing"));
}

TEST(replay, a_cursor_outlives_its_log)
{
  walpp::cursor cursor;
  {
    walpp::log log = open_log(dir);
    MUST(log.put("key", "value"));
    cursor = MUST(log.replay(0));
    EQUAL(MUST(cursor.next())->seq(), 1u);
  }
  REFUSED(WAL_E_CLOSED, cursor.next());
  REFUSED(WAL_E_CLOSED, cursor.wait());
  int errors = 0;
  for (const auto &item : cursor) errors += item.code() == WAL_E_CLOSED;
  EQUAL(errors, 1);
}

TEST(threads, writers_append_a_reader_follows_and_a_shutdown_ends_it)
{
  constexpr int WRITERS = 4;
  constexpr int ROUNDS = 50;
  constexpr int MANY = 10;
  walpp::log log = open_log(dir);
  std::vector<std::thread> writers;
  std::uint64_t seen = 0;
  std::atomic<bool> at_the_end{false};
  std::thread reader([&] {
    walpp::cursor cursor = MUST(log.replay(0));
    for (;;) {
      for (const auto &item : cursor) CHECK(MUST(item).seq() == ++seen);
      if (seen == WRITERS * ROUNDS * MANY) break;
      MUST(cursor.wait());
    }
    EQUAL(MUST(cursor.wait(std::chrono::milliseconds(1))), walpp::waited::timed_out);
    at_the_end = true;
    REFUSED(WAL_E_CLOSED, cursor.wait());
  });
  for (int writer = 0; writer < WRITERS; writer++) {
    writers.emplace_back([&log] {
      for (int round = 0; round < ROUNDS; round++) {
        walpp::appender many(log);
        for (int i = 0; i < MANY; i++) many.put("key", std::to_string(i));
        const std::uint64_t last = MUST(many.wait());
        CHECK(log.durable_seq() >= last);
      }
    });
  }
  for (std::thread &writer : writers) writer.join();
  while (!at_the_end) std::this_thread::yield();
  MUST(log.shutdown());
  reader.join();
  EQUAL(seen, static_cast<std::uint64_t>(WRITERS * ROUNDS * MANY));
  CHECK(MUST(log.stat()).appends == WRITERS * ROUNDS * MANY);
  MUST(log.close());
}
