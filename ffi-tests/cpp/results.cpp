/* Results: what they hold, and what happens to whoever does not look. */

#include <csignal>
#include <memory>
#include <type_traits>

#include <sys/wait.h>
#include <unistd.h>

#include "harness.hpp"

namespace {

walpp::error some_error()
{
  walpp::log empty;
  return REFUSED(WAL_E_INVALID, empty.sync());
}

/* What the process says that ends itself with abort() in `body`. */
std::string last_words(void (*body)())
{
  int pipe_ends[2];
  CHECK(pipe(pipe_ends) == 0);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK(dup2(pipe_ends[1], STDERR_FILENO) == STDERR_FILENO);
    std::signal(SIGABRT, SIG_DFL);
    body();
    _exit(0);
  }
  close(pipe_ends[1]);
  std::string said;
  char buffer[512];
  for (ssize_t got; (got = read(pipe_ends[0], buffer, sizeof buffer)) > 0;) said.append(buffer, static_cast<std::size_t>(got));
  close(pipe_ends[0]);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  return said;
}

}  // namespace

TEST(results, a_result_holds_a_value_or_an_error)
{
  const walpp::result<std::uint64_t> good(7);
  CHECK(good && good.has_value());
  EQUAL(*good, 7u);
  EQUAL(good.value(), 7u);
  EQUAL(good.code(), WAL_OK);
  const walpp::result<std::uint64_t> bad(some_error());
  CHECK(!bad && !bad.has_value());
  EQUAL(bad.code(), WAL_E_INVALID);
  EQUAL(std::string(bad.error().name()), "WAL_E_INVALID");
  EQUAL(bad.error().message(), std::string_view(bad.error().details().message));
  CHECK(bad.error().os_error() == 0 && bad.error().seq() == 0 && bad.error().seq_last() == 0 && bad.error().segment() == 0);
  const walpp::result<void> nothing;
  CHECK(nothing && nothing.code() == WAL_OK);
  nothing.value();
  const walpp::result<void> failed(some_error());
  CHECK(!failed && failed.code() == WAL_E_INVALID);
}

TEST(results, results_move_what_can_only_be_moved)
{
  walpp::result<std::unique_ptr<int>> first(std::make_unique<int>(3));
  walpp::result<std::unique_ptr<int>> second(std::move(first));
  EQUAL(**second, 3);
  const std::unique_ptr<int> out = *std::move(second);
  EQUAL(*out, 3);
  walpp::result<std::string> text(std::string("text"));
  walpp::result<std::string> copy = text;
  EQUAL(copy->size(), 4u);
  copy = some_error();
  EQUAL(copy.code(), WAL_E_INVALID);
  copy = text;
  EQUAL(*copy, "text");
}

/* Handles have one owner. */
static_assert(!std::is_copy_constructible_v<walpp::log> && std::is_nothrow_move_constructible_v<walpp::log>);
static_assert(!std::is_copy_constructible_v<walpp::cursor> && std::is_nothrow_move_assignable_v<walpp::cursor>);
static_assert(std::is_nothrow_move_constructible_v<walpp::batch> && std::is_nothrow_move_assignable_v<walpp::batch>);
static_assert(!std::is_constructible_v<walpp::bytes, std::nullptr_t>);
static_assert(!std::is_constructible_v<walpp::bytes, std::vector<int>>);

TEST(results, asking_a_good_result_for_its_error_aborts)
{
  const std::string said = last_words([] { (void)walpp::result<int>(1).error(); });
  CHECK(said.find("error() of a result that has none") != std::string::npos);
  CHECK(last_words([] { (void)walpp::result<void>().error(); }) == said);
}

#if defined(__cpp_exceptions)

TEST(results, asking_a_failed_result_for_its_value_throws)
{
  const walpp::result<std::uint64_t> bad(some_error());
  for (int way = 0; way < 2; way++) {
    try {
      (void)(way == 0 ? *bad : bad.value());
      FAIL("nothing was thrown");
    } catch (const walpp::failure &failure) {
      EQUAL(failure.error().code(), WAL_E_INVALID);
      EQUAL(std::string_view(failure.what()), bad.error().message());
    }
  }
  try {
    walpp::log().sync().value();
    FAIL("nothing was thrown");
  } catch (const std::exception &exception) {
    CHECK(*exception.what() != '\0');
  }
}

TEST(results, a_loop_that_does_not_look_for_errors_throws)
{
  walpp::log log = open_log(dir);
  MUST(log.put("key", "value"));
  walpp::cursor cursor = MUST(log.replay(0));
  MUST(log.shutdown());
  bool threw = false;
  try {
    for (const auto &item : cursor) CHECK(item->seq() > 0);
  } catch (const walpp::failure &failure) {
    threw = failure.error().code() == WAL_E_CLOSED;
  }
  CHECK(threw);
}

#else

TEST(results, asking_a_failed_result_for_its_value_aborts)
{
  const std::string said = last_words([] { (void)*walpp::log().put("key", "value"); });
  CHECK(said.find("wal: WAL_E_INVALID: ") == 0);
  CHECK(last_words([] { walpp::log().sync().value(); }).find("wal: WAL_E_INVALID: ") == 0);
}

#endif
