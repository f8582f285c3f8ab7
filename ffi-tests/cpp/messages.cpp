/* What a log tells beside its answers. */

#include <mutex>
#include <utility>

#include "harness.hpp"

namespace {

/* Keeps what it hears. */
struct listener {
  void operator()(std::uint32_t level, std::string_view message)
  {
    const std::lock_guard<std::mutex> guard(lock);
    CHECK(message.data()[message.size()] == '\0');
    heard.emplace_back(level, message);
  }
  /* Whether a message of this level contains `part`. */
  bool has(std::uint32_t level, std::string_view part)
  {
    const std::lock_guard<std::mutex> guard(lock);
    for (const auto &[its_level, message] : heard) {
      if (its_level == level && message.find(part) != std::string::npos) return true;
    }
    return false;
  }

  std::mutex lock;
  std::vector<std::pair<std::uint32_t, std::string>> heard;
};

}  // namespace

TEST(messages, a_listener_hears_of_a_logs_life_and_of_slow_syncs)
{
  listener hear;
  walpp::options options;
  options.on_message(hear).slow_sync_us = 1;
  {
    walpp::log log = MUST(walpp::log::open(dir + "/log", options));
    CHECK(hear.has(WAL_LOG_INFO, "a new log was created") && hear.has(WAL_LOG_INFO, dir));
    /* A sync may be quicker than the clock can tell. */
    for (int tried = 0; !hear.has(WAL_LOG_WARNING, "a sync took"); tried++) {
      CHECK(tried < 10000);
      MUST(log.put("key", "value"));
    }
    /* What moves is the handle: the listener stays where it is. */
    walpp::log moved = std::move(log);
    MUST(moved.put("key", "value"));
  }
  CHECK(hear.has(WAL_LOG_INFO, "closed at seq "));
}

TEST(messages, anything_that_can_be_called_may_listen)
{
  std::size_t count = 0;
  const auto hear = [&count](auto level, const std::string_view &message) { count += level <= WAL_LOG_INFO && !message.empty(); };
  walpp::options options;
  options.on_message(hear);
  MUST(MUST(walpp::log::open(dir + "/log", options)).close());
  EQUAL(count, 3u);
}
