/* Opening, appending, checkpoint and truncate. */

#include <array>
#include <filesystem>
#if defined(__cpp_lib_span) || __cplusplus >= 202002L
#include <span>
#endif

#include "harness.hpp"

using namespace std::string_literals;
using namespace std::string_view_literals;

TEST(handles, an_empty_handle_refuses_every_call)
{
  walpp::log log;
  CHECK(log.empty() && log.get() == nullptr && log.last_seq() == 0 && log.durable_seq() == 0);
  CHECK(log.checkpoint_seq() == 0 && log.oldest_seq() == 0 && log.id() == walpp::log_id{});
  REFUSED(WAL_E_INVALID, log.put("key", "value"));
  REFUSED(WAL_E_INVALID, log.put("key", "value", walpp::commit::later));
  REFUSED(WAL_E_INVALID, log.sync());
  REFUSED(WAL_E_INVALID, log.flush());
  REFUSED(WAL_E_INVALID, log.wait_durable(1));
  REFUSED(WAL_E_INVALID, log.wait_durable(1, std::chrono::seconds(1)));
  REFUSED(WAL_E_INVALID, log.checkpoint(1));
  REFUSED(WAL_E_INVALID, log.truncate(1));
  REFUSED(WAL_E_INVALID, log.replay(0));
  REFUSED(WAL_E_INVALID, log.stat());
  REFUSED(WAL_E_INVALID, log.report());
  REFUSED(WAL_E_INVALID, log.shutdown());
  REFUSED(WAL_E_INVALID, log.close());
  walpp::cursor cursor;
  CHECK(cursor.empty() && cursor.get() == nullptr);
  REFUSED(WAL_E_INVALID, cursor.next());
  REFUSED(WAL_E_INVALID, cursor.wait());
  REFUSED(WAL_E_INVALID, cursor.wait(std::chrono::microseconds(1)));
}

TEST(handles, a_moved_log_is_the_same_log)
{
  walpp::log first = open_log(dir + "/a");
  wal_t *const handle = first.get();
  walpp::log second(std::move(first));
  CHECK(first.empty() && second.get() == handle);  // NOLINT: what a moved-from log is, is promised
  EQUAL(MUST(second.put("key", "value")), 1u);
  /* What is assigned to is closed first: its directory can be opened again. */
  walpp::log other = open_log(dir + "/b");
  other = std::move(second);
  CHECK(other.get() == handle && second.empty());  // NOLINT
  walpp::log again = open_log(dir + "/b");
  walpp::log &itself = other;
  other = std::move(itself);
  CHECK(other.get() == handle);
  EQUAL(MUST(other.put("key", "value")), 2u);
}

TEST(handles, a_destructor_closes_and_close_says_how_it_went)
{
  {
    walpp::log log = open_log(dir, WAL_SYNC_NONE);
    MUST(log.put("key", "value"));
  }
  walpp::log log = open_log(dir);
  const wal_report_t report = MUST(log.report());
  CHECK(report.clean == 1 && report.last_seq == 1 && report.created == 0);
  MUST(log.close());
  CHECK(log.empty());
  REFUSED(WAL_E_INVALID, log.close());
}

TEST(handles, handles_pass_to_c_and_back)
{
  wal_t *raw = open_log(dir).release();
  std::uint64_t seq = 0;
  CHECK(wal_append(raw, WAL_OP_PUT, "c", 1, "1", 1, &seq, nullptr) == WAL_OK);
  walpp::log log(raw);
  EQUAL(MUST(log.put("cpp", "2")), 2u);
  wal_cursor_t *raw_cursor = nullptr;
  CHECK(wal_replay_open(log.get(), 1, 0, &raw_cursor, nullptr) == WAL_OK);
  walpp::cursor cursor(raw_cursor);
  EQUAL(MUST(cursor.next())->value(), "2"sv);
}

TEST(handles, a_log_opens_by_any_kind_of_path)
{
  MUST(MUST(walpp::log::open((dir + "/log").c_str())).close());
  MUST(MUST(walpp::log::open(dir + "/log")).close());
  MUST(MUST(walpp::log::open(std::filesystem::path(dir) / "log")).close());
  walpp::options options;
  EQUAL(options.struct_size, sizeof(wal_options_t));
  options.open_flags = WAL_OPEN_NEW;
  const walpp::error error = REFUSED(WAL_E_EXISTS, walpp::log::open(dir + "/log", options));
  CHECK(error.message().find(dir + "/log") == 0);
}

TEST(appending, all_kinds_of_bytes_come_back)
{
  walpp::log log = open_log(dir);
  const std::vector<std::uint8_t> numbers{0, 1, 255};
  const std::array<std::byte, 2> array{std::byte{7}, std::byte{0}};
  const std::uint32_t word = 0x01020304;
  EQUAL(MUST(log.put("text", "ends at its NUL\0not"s.c_str())), 1u);
  EQUAL(MUST(log.put("view\0of"sv, "string\0of"s)), 2u);
  EQUAL(MUST(log.append(WAL_OP_USER, numbers, array)), 3u);
  EQUAL(MUST(log.append(255, {}, {&word, sizeof word})), 4u);
  EQUAL(MUST(log.erase("text")), 5u);
#if defined(__cpp_lib_span)
  EQUAL(MUST(log.put({}, std::as_bytes(std::span(numbers)))), 6u);
#else
  EQUAL(MUST(log.put({}, numbers)), 6u);
#endif
  walpp::cursor cursor = MUST(log.replay(0));
  const auto record_is = [&cursor](std::uint8_t op, std::string_view key, std::string_view value) {
    const walpp::record *record = MUST(cursor.next());
    CHECK(record != nullptr && record->op() == op && record->key() == key && record->value() == value);
    CHECK(record->batch_last_seq() == record->seq() && record->raw().seq == record->seq());
  };
  record_is(WAL_OP_PUT, "text", "ends at its NUL");
  record_is(WAL_OP_PUT, "view\0of"sv, "string\0of"sv);
  record_is(WAL_OP_USER, "\0\1\377"sv, "\7\0"sv);
  record_is(255, "", std::string_view(reinterpret_cast<const char *>(&word), sizeof word));
  record_is(WAL_OP_DELETE, "text", "");
  record_is(WAL_OP_PUT, "", "\0\1\377"sv);
  CHECK(MUST(cursor.next()) == nullptr);
}

TEST(appending, a_batch_keeps_its_bytes)
{
  walpp::log log = open_log(dir);
  walpp::batch batch;
  CHECK(batch.empty());
  REFUSED(WAL_E_INVALID, log.append(batch));
  std::string expected;
  for (int i = 0; i < 100; i++) {
    /* Texts that do not outlive the call, in memory that moves as it grows. */
    batch.put(std::to_string(i), std::string(static_cast<std::size_t>(i), 'x'));
  }
  batch.erase("50").add(WAL_OP_USER, {}, {});
  EQUAL(batch.size(), 102u);
  walpp::batch moved(std::move(batch));
  EQUAL(MUST(log.append(moved)), 102u);
  EQUAL(MUST(log.append(moved, walpp::commit::later)), 204u);
  walpp::cursor cursor = MUST(log.replay(102));
  for (std::uint64_t i = 0; i < 102; i++) {
    const walpp::record *record = MUST(cursor.next());
    CHECK(record->seq() == 103 + i && record->batch_last_seq() == 204);
    CHECK(record->op() == (i < 100 ? WAL_OP_PUT : i == 100 ? WAL_OP_DELETE : WAL_OP_USER));
    CHECK(record->key() == (i < 100 ? std::to_string(i) : i == 100 ? "50" : ""));
    CHECK(record->value() == std::string(i < 100 ? i : 0, 'x'));
  }
  moved.clear();
  CHECK(moved.empty());
  moved.put("again", "1");
  walpp::batch assigned;
  assigned.put("gone", "");
  assigned = std::move(moved);
  EQUAL(MUST(log.append(assigned)), 205u);
  EQUAL(values(log, 204), std::vector<std::string>{"1"});
}

TEST(appending, a_batch_may_be_fed_with_its_own_bytes)
{
  walpp::log log = open_log(dir);
  walpp::batch batch;
  batch.put("0123456789", "abcdefghij");
  for (int i = 0; i < 100; i++) {
    const walpp::entry &last = batch.data()[batch.size() - 1];
    batch.put({last.key, last.key_len}, {last.value, last.value_len});
  }
  EQUAL(MUST(log.append(batch)), 101u);
  EQUAL(values(log, 0), std::vector<std::string>(101, "abcdefghij"));
}

TEST(appending, a_list_of_entries_is_all_or_nothing)
{
  walpp::log log = open_log(dir);
  EQUAL(MUST(log.append({{WAL_OP_PUT, "a", "1"}, {WAL_OP_DELETE, "b", {}}})), 2u);
  const walpp::error error = REFUSED(WAL_E_INVALID, log.append({{WAL_OP_PUT, "c", "3"}, {WAL_OP_CHECKPOINT, "d", "4"}}));
  EQUAL(error.offset(), 1u);
  EQUAL(log.last_seq(), 2u);
  const std::array<walpp::entry, 1> one{walpp::entry{WAL_OP_PUT, "e", "5"}};
  EQUAL(MUST(log.append(one.data(), one.size(), walpp::commit::durable)), 3u);
  EQUAL(values(log, 0), (std::vector<std::string>{"1", "", "5"}));
}

TEST(appending, many_are_appended_and_one_wait_makes_them_durable)
{
  walpp::log log = open_log(dir);
  walpp::appender many(log);
  EQUAL(MUST(many.wait()), 0u);
  walpp::batch batch;
  batch.put("b", "2").put("c", "3");
  many.put("a", "1").append(batch).erase("a").append(WAL_OP_USER, "d", "4");
  EQUAL(*many.last(), 5u);
  CHECK(log.durable_seq() < 5);
  EQUAL(MUST(many.wait()), 5u);
  EQUAL(log.durable_seq(), 5u);
  CHECK(MUST(log.stat()).syncs <= 2);
  EQUAL(values(log, 0), (std::vector<std::string>{"1", "2", "3", "", "4"}));
}

TEST(appending, the_first_error_of_many_is_kept_and_ends_them)
{
  walpp::log log = open_log(dir);
  walpp::appender many(log);
  many.put("a", "1").put("b", std::string(20000, 'x')).put("c", "3");
  EQUAL(many.last().code(), WAL_E_TOO_LARGE);
  REFUSED(WAL_E_TOO_LARGE, many.wait());
  EQUAL(values(log, 0), std::vector<std::string>{"1"});
  walpp::appender shut(log);
  shut.put("d", "4");
  MUST(log.shutdown());
  REFUSED(WAL_E_CLOSED, shut.wait());
  REFUSED(WAL_E_CLOSED, shut.wait());
}

TEST(durability, every_append_may_say_when_it_returns)
{
  walpp::log log = open_log(dir, WAL_SYNC_NONE);
  const std::uint64_t later = MUST(log.put("a", "1", walpp::commit::later));
  CHECK(log.durable_seq() < later);
  EQUAL(MUST(log.wait_durable(later, std::chrono::milliseconds(1))), walpp::waited::timed_out);
  EQUAL(MUST(log.wait_durable(later, std::chrono::microseconds(-1))), walpp::waited::timed_out);
  const std::uint64_t now = MUST(log.erase("a", walpp::commit::durable));
  CHECK(log.durable_seq() >= now);
  EQUAL(MUST(log.wait_durable(later, std::chrono::hours(1))), walpp::waited::done);
  MUST(log.wait_durable(now));
  MUST(log.put("b", "2"));
  MUST(log.flush());
  CHECK(log.durable_seq() < log.last_seq());
  MUST(log.sync());
  EQUAL(log.durable_seq(), log.last_seq());
  REFUSED(WAL_E_RANGE, log.sync(100));
}

TEST(checkpoint, the_protocol_and_what_it_refuses)
{
  walpp::log_id id{};
  std::uint64_t n = 0;
  {
    walpp::log log = open_log(dir);
    id = log.id();
    for (int i = 1; i <= 5; i++) MUST(log.put("key", std::to_string(i)));
    const walpp::error early = REFUSED(WAL_E_NOT_CHECKPOINTED, log.truncate(3));
    CHECK(early.seq() == 1 && early.seq_last() == 3);
    /* Two records stand between 3 and the CHECKPOINT record, which is 6. */
    n = MUST(log.checkpoint(3));
    EQUAL(n, 3u);
    EQUAL(log.last_seq(), 6u);
    EQUAL(log.checkpoint_seq(), 3u);
    MUST(log.truncate(n));
    EQUAL(log.oldest_seq(), 4u);
  }
  walpp::options options;
  options.store_seq = n;
  walpp::log log = MUST(walpp::log::open(dir, options.expect(id)));
  EQUAL(values(log, n), (std::vector<std::string>{"4", "5"}));
  /* Nothing but CHECKPOINT records stands between 5 and 7. */
  EQUAL(MUST(log.checkpoint(WAL_SEQ_LAST)), 7u);
  MUST(log.truncate(7));
  const walpp::error gap = REFUSED(WAL_E_GAP, log.replay(3));
  CHECK(gap.seq() == 4 && gap.seq_last() >= 5);
  MUST(log.put("key", "8"));
  MUST(log.truncate(8, WAL_TRUNCATE_UNCHECKED));
  MUST(log.close());
  REFUSED(WAL_E_GAP, walpp::log::open(dir, options));
  options.store_seq = 8;
  id[0] ^= 1;
  REFUSED(WAL_E_WRONG_LOG, walpp::log::open(dir, options.expect(id)));
}
