/* What the tests of wal.hpp use: checks that end the process, and a list of tests that fills itself. */

#ifndef HARNESS_HPP
#define HARNESS_HPP

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

#include <wal.hpp>

/* A test gets a directory of its own and returns, or does not. */
struct test {
  const char *name;
  void (*run)(const std::string &dir);
};

inline std::vector<test> &tests()
{
  static std::vector<test> all;
  return all;
}

struct registered {
  registered(const char *name, void (*run)(const std::string &)) { tests().push_back({name, run}); }
};

#define TEST(group, name)                                                          \
  static void name(const std::string &dir);                                        \
  static const registered registered_##name(#group "." #name, name);               \
  static void name([[maybe_unused]] const std::string &dir)

[[noreturn]] inline void fail(const char *file, int line, const std::string &what)
{
  std::printf("%s:%d: %s\n", file, line, what.c_str());
  std::exit(1);
}

#define CHECK(condition)                                                           \
  do {                                                                             \
    if (!(condition)) fail(__FILE__, __LINE__, "not so: " #condition);             \
  } while (0)

#define FAIL(what) fail(__FILE__, __LINE__, what)

template <class A, class B>
void check_equal(const A &actual, const B &expected, const char *text, const char *file, int line)
{
  if (actual == expected) return;
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B>) {
    fail(file, line, std::string(text) + " is " + std::to_string(actual) + ", not " + std::to_string(expected));
  } else {
    fail(file, line, std::string(text) + " is something else");
  }
}

#define EQUAL(actual, expected) check_equal(actual, expected, #actual, __FILE__, __LINE__)

/* The value of a result that must have one. */
template <class T>
T must(walpp::result<T> result, const char *text, const char *file, int line)
{
  if (!result) fail(file, line, std::string(text) + ": " + std::string(result.error().message()));
  return std::move(result).value();
}

#define MUST(call) must(call, #call, __FILE__, __LINE__)

/* The error of a result that must have this one. */
template <class T>
walpp::error refused(wal_status_t status, const walpp::result<T> &result, const char *text, const char *file, int line)
{
  if (result.code() != status) {
    fail(file, line, std::string(text) + ": " + wal_status_name(result.code()) + ", not " + wal_status_name(status));
  }
  CHECK(!result && result.error().code() == status && !result.error().message().empty());
  return result.error();
}

#define REFUSED(status, call) refused(status, call, #call, __FILE__, __LINE__)

/* A log with small segments. */
inline walpp::log open_log(const std::string &dir, std::uint32_t sync_mode = WAL_SYNC_ALWAYS)
{
  walpp::options options;
  options.segment_size = 16384;
  options.sync_mode = sync_mode;
  return MUST(walpp::log::open(dir, options));
}

/* The values of all records that a replay yields, which must not meet an error. */
inline std::vector<std::string> values(walpp::log &log, std::uint64_t after_seq)
{
  std::vector<std::string> found;
  walpp::cursor cursor = MUST(log.replay(after_seq));
  for (const auto &item : cursor) found.emplace_back(MUST(item).value());
  return found;
}

#endif
