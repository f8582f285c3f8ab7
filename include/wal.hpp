/*
 * wal.hpp - the write-ahead log of wal.h, for C++17 and later
 *
 * Copyright and licence: see the file LICENSE (MIT).
 *
 * Header only: include it and link as for wal.h, which remains the manual. What a call does, which
 * errors it has and which thread may make it stands there, with the C function that a member
 * names. This file adds ownership, results that cannot be overlooked, and views.
 *
 *     #include <wal.hpp>
 *
 *     walpp::options options;                      // wal_options_t, filled with defaults
 *     options.store_seq = store.seq();             // what the store says it holds
 *     auto opened = walpp::log::open("data/log", options);
 *     if (!opened) return complain(opened.error().message());
 *     walpp::log log = *std::move(opened);
 *
 *     auto replay = log.replay(store.seq());
 *     if (!replay) return complain(replay.error().message());
 *     for (const auto &item : *replay) {           // what the store lacks
 *       if (!item) return complain(item.error().message());
 *       store.apply(item->key(), item->value());
 *     }
 *
 *     auto seq = log.put("key", "value");          // durable, as the sync mode says
 *     if (!seq) return complain(seq.error().message());
 *
 * The namespace is walpp because the C API has a struct wal, and one scope cannot have both. Write
 * walpp:: or an alias (namespace w = walpp): with `using namespace walpp` and <cmath>, log is two
 * things.
 *
 * RESULTS. A call that can fail returns a result<T>: a T, or an error with everything that
 * wal_error_t has. The compiler warns if one is thrown away. Asking a failed result for its value
 * throws walpp::failure; in a program compiled without exceptions it prints the error and aborts.
 * So a program either looks first, or gets what its language does with errors, and in neither case
 * goes on with a value that is not there. Nothing else here throws, except that a batch,
 * inspect_damage and pin_list allocate (std::bad_alloc).
 *
 * HANDLES. log, cursor and batch can be moved and not copied. A default constructed or moved-from
 * one is empty: its calls return WAL_E_INVALID. A destructor closes; a program that wants to
 * know how the final sync went calls close().
 *
 * THREADS. As in wal.h: one log, any number of threads, except that moving, assigning, closing and
 * destroying it is for one thread alone; shutdown() first, then join, then close(). A cursor, a
 * batch and an appender are for one thread at a time.
 *
 * Needs neither exceptions nor RTTI. A program may mix units compiled with and without exceptions,
 * but cannot pass objects of this header between them: the linker refuses.
 */

#ifndef WAL_HPP
#define WAL_HPP

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 201703L
#error "wal.hpp needs C++17; wal.h needs C++11"
#endif

#include <wal.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace walpp {

/* Inline functions differ with this setting, so their names must. */
#if defined(__cpp_exceptions)
inline namespace throwing {
#else
inline namespace aborting {
#endif

/* --------------------------------------------------------------------------------------------
 * Errors and results
 * -------------------------------------------------------------------------------------------- */

/** What went wrong: a wal_error_t. Programs look at code() and the numbers, people at message(). */
class error {
public:
  explicit error(const wal_error_t &details) noexcept : details_(details) {}

  /** One of WAL_E_..., negative. */
  wal_status_t code() const noexcept { return details_.code; }
  /** Its name: "WAL_E_GAP". Static. */
  const char *name() const noexcept { return wal_status_name(details_.code); }
  /** One sentence, followed by a NUL. As long as this object. */
  std::string_view message() const noexcept { return details_.message; }
  /** First and last record concerned; 0 if none, as wal_error_t says. */
  std::uint64_t seq() const noexcept { return details_.seq; }
  std::uint64_t seq_last() const noexcept { return details_.seq_last; }
  /** Number and offset of the place in a file; for an entry of a batch, offset is its index. */
  std::uint64_t segment() const noexcept { return details_.segment; }
  std::uint64_t offset() const noexcept { return details_.offset; }
  /** The operating system's error number, 0 if none. */
  int os_error() const noexcept { return details_.os_error; }
  /** All of it. */
  const wal_error_t &details() const noexcept { return details_; }

private:
  wal_error_t details_;
};

#if defined(__cpp_exceptions)
/** What asking a failed result for its value throws. */
class failure : public std::exception {
public:
  explicit failure(const error &details) noexcept : details_(details) {}
  const char *what() const noexcept override { return details_.message().data(); }
  const walpp::error &error() const noexcept { return details_; }

private:
  walpp::error details_;
};
#endif

namespace detail {

[[noreturn]] inline void fail(const error &details)
{
#if defined(__cpp_exceptions)
  throw failure(details);
#else
  std::fprintf(stderr, "wal: %s: %s\n", details.name(), details.message().data());
  std::abort();
#endif
}

[[noreturn]] inline void no_error() noexcept
{
  std::fputs("wal: error() of a result that has none\n", stderr);
  std::abort();
}

}  // namespace detail

/**
 * What a call came to: a T, or the error. Converts to true if it has a T.
 *
 * value(), * and -> give the T; if there is none, they throw failure, or abort where there are no
 * exceptions. error() is for a result that is false, and aborts otherwise. Of a result that is
 * about to go, the T is moved out: walpp::log log = *std::move(opened).
 */
template <class T>
class [[nodiscard]] result {
public:
  using value_type = T;

  result(T value) noexcept(std::is_nothrow_move_constructible_v<T>)
      : state_(std::in_place_index<0>, std::move(value))
  {
  }
  result(const walpp::error &error) noexcept : state_(std::in_place_index<1>, error) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T &value() &
  {
    need();
    return *std::get_if<0>(&state_);
  }
  const T &value() const &
  {
    need();
    return *std::get_if<0>(&state_);
  }
  /* By value, so that for (... : log.replay(n).value()) iterates over something that lives. */
  T value() &&
  {
    need();
    return std::move(*std::get_if<0>(&state_));
  }
  T &operator*() & { return value(); }
  const T &operator*() const & { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T *operator->() { return &value(); }
  const T *operator->() const { return &value(); }

  const walpp::error &error() const noexcept
  {
    const walpp::error *error = std::get_if<1>(&state_);
    if (error == nullptr) detail::no_error();
    return *error;
  }
  /** WAL_OK, or the error's code. */
  wal_status_t code() const noexcept { return has_value() ? WAL_OK : error().code(); }

private:
  void need() const
  {
    if (!has_value()) detail::fail(error());
  }

  std::variant<T, walpp::error> state_;
};

/** What a call came to that has nothing to give but success. value() only checks. */
template <>
class [[nodiscard]] result<void> {
public:
  using value_type = void;

  result() noexcept = default;
  result(const walpp::error &error) noexcept : error_(error) {}

  bool has_value() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }
  void value() const
  {
    if (error_) detail::fail(*error_);
  }
  const walpp::error &error() const noexcept
  {
    if (!error_) detail::no_error();
    return *error_;
  }
  wal_status_t code() const noexcept { return error_ ? error_->code() : WAL_OK; }

private:
  std::optional<walpp::error> error_;
};

/* --------------------------------------------------------------------------------------------
 * What goes in
 * -------------------------------------------------------------------------------------------- */

/**
 * Somebody else's bytes, for the time of a call: a text, a std::string, or whatever has data() and
 * size() and elements of one byte, such as std::vector<std::uint8_t> and std::span<std::byte>. A
 * const char * ends at its NUL.
 */
class bytes {
public:
  constexpr bytes() noexcept = default;
  constexpr bytes(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}
  constexpr bytes(const char *text) noexcept : bytes(std::string_view(text)) {}
  constexpr bytes(std::string_view text) noexcept : data_(text.data()), size_(text.size()) {}
  bytes(std::nullptr_t) = delete;
  template <class C, class E = std::remove_pointer_t<decltype(std::declval<const C &>().data())>,
            class = decltype(std::size_t{std::declval<const C &>().size()}),
            class = std::enable_if_t<sizeof(E) == 1 && std::is_trivially_copyable_v<E>>>
  constexpr bytes(const C &container) noexcept : data_(container.data()), size_(container.size())
  {
  }

  constexpr const void *data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }

private:
  const void *data_ = nullptr;
  std::size_t size_ = 0;
};

/** When an append returns. */
enum class commit : std::uint32_t {
  by_mode = 0,                /* As the log's sync mode says. */
  durable = WAL_APPEND_SYNC,  /* When its records are durable, in every mode. */
  later = WAL_APPEND_ASYNC,   /* At once, in any mode: somebody calls sync(). */
};

/** One record of a batch whose bytes are the caller's. */
struct entry : wal_entry_t {
  /** op: WAL_OP_PUT, WAL_OP_DELETE or 16 to 255. */
  entry(std::uint8_t op_, bytes key_, bytes value_) noexcept
      : wal_entry_t{key_.data(), value_.data(), key_.size(), value_.size(), op_, 0}
  {
  }
};
static_assert(sizeof(entry) == sizeof(wal_entry_t), "an array of one is an array of the other");

/** Records that are appended as one, with their bytes, which it copies. clear() keeps the memory. */
class batch {
public:
  batch() noexcept = default;
  batch(batch &&) noexcept = default;
  batch &operator=(batch &&) noexcept = default;

  /** Adds a record. The caller's bytes may go afterwards; they may be this batch's own. */
  batch &add(std::uint8_t op, bytes key, bytes value)
  {
    entries_.reserve(room(entries_.capacity(), entries_.size() + 1));
    const std::vector<char> old = make_room(key.size() + value.size());
    entry added(op, key, value);
    added.key = copy(key);
    added.value = copy(value);
    entries_.push_back(added);
    return *this;
  }
  batch &put(bytes key, bytes value) { return add(WAL_OP_PUT, key, value); }
  batch &erase(bytes key) { return add(WAL_OP_DELETE, key, {}); }

  void clear() noexcept
  {
    entries_.clear();
    bytes_.clear();
  }
  bool empty() const noexcept { return entries_.empty(); }
  /** Records in it. */
  std::size_t size() const noexcept { return entries_.size(); }
  /** size() of them, with pointers into this batch. Until it is changed. */
  const entry *data() const noexcept { return entries_.data(); }

private:
  static std::size_t room(std::size_t have, std::size_t need)
  {
    return need <= have ? have : (need > 2 * have ? need : 2 * have);
  }

  /* Returns what the bytes stood in until now. */
  std::vector<char> make_room(std::size_t more)
  {
    std::vector<char> old;
    if (more > bytes_.capacity() - bytes_.size()) {
      old.reserve(room(bytes_.capacity(), bytes_.size() + more));
      old.insert(old.end(), bytes_.begin(), bytes_.end());
      old.swap(bytes_);
      const char *next = bytes_.data();
      for (entry &each : entries_) {
        each.key = next;
        each.value = next + each.key_len;
        next += each.key_len + each.value_len;
      }
    }
    return old;
  }
  const char *copy(bytes from)
  {
    const std::size_t start = bytes_.size();
    bytes_.resize(start + from.size());
    if (from.size() > 0) std::memcpy(bytes_.data() + start, from.data(), from.size());
    return bytes_.data() + start;
  }

  std::vector<entry> entries_;
  std::vector<char> bytes_;
};

/* --------------------------------------------------------------------------------------------
 * What comes out
 * -------------------------------------------------------------------------------------------- */

/** The identity of a log, see wal_log_id. */
using log_id = std::array<std::uint8_t, 16>;

/** What a wait with a limit came to. */
enum class waited {
  done,
  timed_out,
};

/** A record read back. Its bytes are valid until the next call on its cursor. */
class record {
public:
  record() noexcept : raw_{} {}
  explicit record(const wal_record_t &raw) noexcept : raw_(raw) {}

  std::uint64_t seq() const noexcept { return raw_.seq; }
  /** Last seq of its batch; its own if it was appended alone. */
  std::uint64_t batch_last_seq() const noexcept { return raw_.batch_last_seq; }
  std::uint8_t op() const noexcept { return static_cast<std::uint8_t>(raw_.op); }
  std::string_view key() const noexcept { return view(raw_.key, raw_.key_len); }
  std::string_view value() const noexcept { return view(raw_.value, raw_.value_len); }
  const wal_record_t &raw() const noexcept { return raw_; }

private:
  static std::string_view view(const void *data, std::size_t size) noexcept
  {
    return {static_cast<const char *>(data), size};
  }

  wal_record_t raw_;
};

namespace detail {

inline std::uint64_t microseconds(std::chrono::microseconds time) noexcept
{
  return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
}

inline result<void> done(wal_status_t status, const wal_error_t &details) noexcept
{
  if (status < 0) return error(details);
  return {};
}

inline result<waited> waited_until(wal_status_t status, const wal_error_t &details) noexcept
{
  if (status < 0) return error(details);
  return status == WAL_TIMEOUT ? waited::timed_out : waited::done;
}

/* What `list` has to tell: it fills the first `capacity` and says how many there are. */
template <class T, class List>
result<std::vector<T>> all(const List &list)
{
  std::vector<T> found;
  std::size_t count = 0;
  /* There may be more at the second look. */
  do {
    found.resize(count);
    wal_error_t details;
    if (list(found.data(), found.size(), &count, &details) < 0) return error(details);
  } while (count > found.size());
  found.resize(count);
  return found;
}

}  // namespace detail

/**
 * A replay. Made by log::replay; may outlive the log.
 *
 *     for (const auto &item : cursor) {
 *       if (!item) return item.error();
 *       use(item->key(), item->value());
 *     }
 *
 * Each element is a result: an error is the last element of the loop, and has no record to mistake
 * for one. After the loop, begin() reads on: what has become durable since.
 */
class cursor {
public:
  /** Ends a loop. */
  struct end_of_records {};

  /** Reads records one by one. Valid as long as its cursor stays where it is. */
  class iterator {
  public:
    using iterator_category = std::input_iterator_tag;
    using value_type = result<record>;
    using difference_type = std::ptrdiff_t;
    using pointer = const result<record> *;
    using reference = const result<record> &;

    reference operator*() const noexcept { return cursor_->current_; }
    pointer operator->() const noexcept { return &cursor_->current_; }
    iterator &operator++() noexcept
    {
      /* An error ends the loop: most would be repeated for ever. */
      if (!cursor_->current_ || !cursor_->advance()) cursor_ = nullptr;
      return *this;
    }
    void operator++(int) noexcept { ++*this; }

    friend bool operator==(const iterator &at, end_of_records) noexcept { return at.is_end(); }
    friend bool operator!=(const iterator &at, end_of_records) noexcept { return !at.is_end(); }
    friend bool operator==(end_of_records, const iterator &at) noexcept { return at.is_end(); }
    friend bool operator!=(end_of_records, const iterator &at) noexcept { return !at.is_end(); }

  private:
    friend class cursor;
    explicit iterator(cursor *cursor) noexcept : cursor_(cursor) {}
    bool is_end() const noexcept { return cursor_ == nullptr; }

    cursor *cursor_;
  };

  cursor() noexcept = default;
  /** Takes over a cursor of the C API. */
  explicit cursor(wal_cursor_t *handle) noexcept : handle_(handle) {}
  cursor(cursor &&other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), current_(other.current_)
  {
  }
  cursor &operator=(cursor &&other) noexcept
  {
    cursor taken(std::move(other));
    std::swap(handle_, taken.handle_);
    current_ = taken.current_;
    return *this;
  }
  ~cursor() { wal_replay_close(handle_); }

  /** Reads the next record and everything after it, up to the end or the first error. */
  iterator begin() noexcept { return iterator(advance() ? this : nullptr); }
  end_of_records end() const noexcept { return {}; }

  /** wal_replay_next: the next record, or nullptr at the end. It is the cursor's, until the next
   * call. */
  result<const record *> next() noexcept
  {
    if (!advance()) return nullptr;
    if (!current_) return current_.error();
    return &*current_;
  }

  /** wal_replay_wait: until next() has something new to say, or no longer than `limit`. */
  result<waited> wait(std::chrono::microseconds limit) noexcept
  {
    wal_error_t details;
    const wal_status_t status = wal_replay_wait(handle_, detail::microseconds(limit), &details);
    return detail::waited_until(status, details);
  }
  /** The same without a limit. */
  result<void> wait() noexcept
  {
    wal_error_t details;
    return detail::done(wal_replay_wait(handle_, WAL_WAIT_FOREVER, &details), details);
  }

  bool empty() const noexcept { return handle_ == nullptr; }
  /** The C API's cursor; it remains this object's. */
  wal_cursor_t *get() const noexcept { return handle_; }

private:
  /* Whether there is something to look at in current_: a record or an error. */
  bool advance() noexcept
  {
    wal_record_t raw;
    wal_error_t details;
    const wal_status_t status = wal_replay_next(handle_, &raw, &details);
    if (status < 0) {
      current_ = error(details);
    } else if (status == WAL_OK) {
      current_ = record(raw);
    }
    return status != WAL_END;
  }

  wal_cursor_t *handle_ = nullptr;
  result<record> current_ = record();
};

/* --------------------------------------------------------------------------------------------
 * The log
 * -------------------------------------------------------------------------------------------- */

/**
 * A wal_options_t that starts with every default. Set its members; 0 is each one's default. The
 * functions of a `storage` are called by C: no exception may leave them.
 *
 *     options.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE;   // follow what another process writes
 */
struct options : wal_options_t {
  options() noexcept : wal_options_t() { wal_options_init(this, sizeof(wal_options_t)); }

  /** The log must be this one. */
  options &expect(const log_id &id) noexcept
  {
    std::memcpy(expected_log_id, id.data(), id.size());
    return *this;
  }

  /**
   * Tells `hear` what happens beside the answers of calls: hear(level, message), with WAL_LOG_... and
   * a std::string_view of one sentence, which is followed by a NUL and ends with the call. When,
   * from which threads, and what it may do: wal_log_callback_t.
   *
   *     auto hear = [](std::uint32_t level, std::string_view message) { ... };
   *     options.on_message(hear);
   *
   * The log keeps a reference to `hear`, which must live until the log is closed. An exception that
   * leaves it ends the program (std::terminate).
   */
  template <class F>
  options &on_message(F &hear) noexcept
  {
    static_assert(std::is_object_v<F> && std::is_invocable_v<F &, std::uint32_t, std::string_view>,
                  "an object with operator()(std::uint32_t level, std::string_view message)");
    log_callback = [](void *context, std::uint32_t level, const char *message) noexcept {
      (*static_cast<F *>(context))(level, std::string_view(message));
    };
    log_context = const_cast<void *>(static_cast<const void *>(std::addressof(hear)));
    return *this;
  }
};

/** An open log. */
class log {
public:
  log() noexcept = default;
  /** Takes over a log of the C API. */
  explicit log(wal_t *handle) noexcept : handle_(handle) {}
  log(log &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  log &operator=(log &&other) noexcept
  {
    log taken(std::move(other));
    std::swap(handle_, taken.handle_);
    return *this;
  }
  /** Closes. In other modes than WAL_SYNC_ALWAYS, close() tells whether the final sync succeeded. */
  ~log()
  {
    if (handle_ != nullptr) wal_close(handle_, nullptr);
  }

  /** wal_open. A std::filesystem::path will do, too. */
  static result<log> open(const char *dir, const options &options = {}) noexcept
  {
    wal_t *handle = nullptr;
    wal_error_t details;
    if (wal_open(dir, &options, &handle, &details) < 0) return error(details);
    return log(handle);
  }
  static result<log> open(const std::string &dir, const options &options = {}) noexcept
  {
    return open(dir.c_str(), options);
  }

  /** wal_close: the log is empty afterwards, whatever this returns. */
  result<void> close() noexcept
  {
    wal_error_t details;
    return detail::done(wal_close(std::exchange(handle_, nullptr), &details), details);
  }
  /** wal_shutdown: wakes all threads that wait in a call. */
  result<void> shutdown() noexcept
  {
    wal_error_t details;
    return detail::done(wal_shutdown(handle_, &details), details);
  }

  /**
   * Appends one record. op: WAL_OP_PUT, WAL_OP_DELETE or 16 to 255.
   *
   * commit::by_mode is wal_append; the others are a batch of one, which takes 16 bytes more.
   *
   * Returns:  its seq.
   */
  result<std::uint64_t> append(std::uint8_t op, bytes key, bytes value,
                               commit when = commit::by_mode) noexcept
  {
    if (when != commit::by_mode) return append({entry(op, key, value)}, when);
    std::uint64_t seq = 0;
    wal_error_t details;
    const wal_status_t status = wal_append(handle_, op, key.data(), key.size(), value.data(),
                                           value.size(), &seq, &details);
    if (status < 0) return error(details);
    return seq;
  }
  /** The same with WAL_OP_PUT. */
  result<std::uint64_t> put(bytes key, bytes value, commit when = commit::by_mode) noexcept
  {
    return append(WAL_OP_PUT, key, value, when);
  }
  /** The same with WAL_OP_DELETE. */
  result<std::uint64_t> erase(bytes key, commit when = commit::by_mode) noexcept
  {
    return append(WAL_OP_DELETE, key, {}, when);
  }

  /**
   * wal_append_batch: several records as one, all or nothing.
   *
   *     log.append({{WAL_OP_PUT, "a", "1"}, {WAL_OP_DELETE, "b", {}}});
   *
   * Returns:  the last one's seq.
   */
  result<std::uint64_t> append(const entry *entries, std::size_t count,
                               commit when = commit::by_mode) noexcept
  {
    std::uint64_t last_seq = 0;
    wal_error_t details;
    const wal_status_t status = wal_append_batch(
        handle_, entries, count, static_cast<std::uint32_t>(when), &last_seq, &details);
    if (status < 0) return error(details);
    return last_seq;
  }
  result<std::uint64_t> append(std::initializer_list<entry> entries,
                               commit when = commit::by_mode) noexcept
  {
    return append(entries.begin(), entries.size(), when);
  }
  result<std::uint64_t> append(const batch &batch, commit when = commit::by_mode) noexcept
  {
    return append(batch.data(), batch.size(), when);
  }

  /** wal_sync: returns once every record up to `seq` is durable. */
  result<void> sync(std::uint64_t seq = WAL_SEQ_LAST) noexcept
  {
    wal_error_t details;
    return detail::done(wal_sync(handle_, seq, &details), details);
  }
  /** wal_flush: hands everything appended to the operating system. */
  result<void> flush() noexcept
  {
    wal_error_t details;
    return detail::done(wal_flush(handle_, &details), details);
  }
  /** wal_wait_durable: until `seq` is durable by somebody else's sync, no longer than `limit`. */
  result<waited> wait_durable(std::uint64_t seq, std::chrono::microseconds limit) noexcept
  {
    wal_error_t details;
    const wal_status_t status =
        wal_wait_durable(handle_, seq, detail::microseconds(limit), &details);
    return detail::waited_until(status, details);
  }
  /** The same without a limit. */
  result<void> wait_durable(std::uint64_t seq) noexcept
  {
    wal_error_t details;
    return detail::done(wal_wait_durable(handle_, seq, WAL_WAIT_FOREVER, &details), details);
  }

  /** wal_publish: shows what is durable by now to those who follow the log live. */
  result<void> publish() noexcept
  {
    wal_error_t details;
    return detail::done(wal_publish(handle_, &details), details);
  }

  /**
   * wal_checkpoint: declares that the store durably holds every record up to `covered`.
   *
   * Returns:  n, which the store saves before it calls truncate(n).
   */
  result<std::uint64_t> checkpoint(std::uint64_t covered) noexcept
  {
    std::uint64_t n = 0;
    wal_error_t details;
    if (wal_checkpoint(handle_, covered, &n, &details) < 0) return error(details);
    return n;
  }
  /** wal_truncate: forgets every record up to `up_to`. flags: 0 or WAL_TRUNCATE_UNCHECKED. */
  result<void> truncate(std::uint64_t up_to, std::uint32_t flags = 0) noexcept
  {
    wal_error_t details;
    return detail::done(wal_truncate(handle_, up_to, flags, &details), details);
  }

  /** wal_replay_open: every record with seq > after_seq, in order. flags: WAL_REPLAY_... */
  result<cursor> replay(std::uint64_t after_seq, std::uint32_t flags = 0) noexcept
  {
    wal_cursor_t *handle = nullptr;
    wal_error_t details;
    if (wal_replay_open(handle_, after_seq, flags, &handle, &details) < 0) return error(details);
    return cursor(handle);
  }

  /** Where the log stands: wal_last_seq and its like. 0 if it is empty. */
  std::uint64_t last_seq() const noexcept { return wal_last_seq(handle_); }
  std::uint64_t durable_seq() const noexcept { return wal_durable_seq(handle_); }
  std::uint64_t checkpoint_seq() const noexcept { return wal_checkpoint_seq(handle_); }
  std::uint64_t oldest_seq() const noexcept { return wal_oldest_seq(handle_); }
  /** wal_log_id: for the store to save, and to pass to options::expect. */
  log_id id() const noexcept
  {
    log_id id{};
    wal_log_id(handle_, id.data());
    return id;
  }
  /** wal_stat: positions and counters. */
  result<wal_stat_t> stat() const noexcept
  {
    wal_stat_t stat{};
    wal_error_t details;
    if (wal_stat(handle_, &stat, sizeof stat, &details) < 0) return error(details);
    return stat;
  }
  /** wal_report: what the opening found and did. */
  result<wal_report_t> report() const noexcept
  {
    wal_report_t report{};
    wal_error_t details;
    if (wal_report(handle_, &report, sizeof report, &details) < 0) return error(details);
    return report;
  }

  bool empty() const noexcept { return handle_ == nullptr; }
  /** The C API's log; it remains this object's. */
  wal_t *get() const noexcept { return handle_; }
  /** The C API's log, which the caller now closes. */
  wal_t *release() noexcept { return std::exchange(handle_, nullptr); }

private:
  wal_t *handle_ = nullptr;
};

/**
 * Appends many and waits once. Its appends do not wait for a sync, in any mode, and return
 * nothing: the first error is kept, what comes after it is not appended, and wait() tells.
 *
 *     walpp::appender many(log);
 *     for (const auto &[key, value] : changes) many.put(key, value);
 *     if (auto seq = many.wait(); !seq) return complain(seq.error().message());
 *
 * After an error the records before it are in the log, durable or not; so are all of them if nobody
 * waits, until the log's next sync. The log must outlive it. One thread at a time; several threads
 * have one each, and their waits share syncs.
 */
class appender {
public:
  explicit appender(log &log) noexcept : log_(&log) {}

  appender &append(std::uint8_t op, bytes key, bytes value) noexcept
  {
    if (last_) last_ = log_->append(op, key, value, commit::later);
    return *this;
  }
  appender &append(const batch &batch) noexcept
  {
    if (last_) last_ = log_->append(batch, commit::later);
    return *this;
  }
  appender &put(bytes key, bytes value) noexcept { return append(WAL_OP_PUT, key, value); }
  appender &erase(bytes key) noexcept { return append(WAL_OP_DELETE, key, {}); }

  /** The seq of the last append, 0 before the first; or the first error. Waits for nothing. */
  const result<std::uint64_t> &last() const noexcept { return last_; }

  /** Returns once everything appended here is durable, with its last seq; or the first error. */
  result<std::uint64_t> wait() noexcept
  {
    if (last_ && *last_ > 0) {
      if (const result<void> synced = log_->sync(*last_); !synced) last_ = synced.error();
    }
    return last_;
  }

private:
  log *log_;
  result<std::uint64_t> last_ = std::uint64_t{0};
};

/* --------------------------------------------------------------------------------------------
 * Pins
 *
 * A pin belongs to a log's directory, not to a handle: whoever reads the log makes one, in any
 * process, whether the log is open or not, and reads with log::replay and WAL_REPLAY_PINNED.
 * -------------------------------------------------------------------------------------------- */

/**
 * wal_pin_create: keeps every record above `seq`, a number or WAL_PIN_OLDEST, on disk. max_bytes: the
 * most that it may hold, 0 for no limit; flags: 0 (above that it is lost) or WAL_PIN_REFUSE.
 *
 * Returns:  from where on it holds: `seq`, or what was forgotten already if that needs no record.
 */
inline result<std::uint64_t> pin_create(const std::string &dir, const std::string &name,
                                        std::uint64_t seq, std::uint64_t max_bytes = 0,
                                        std::uint32_t flags = 0) noexcept
{
  std::uint64_t pinned = 0;
  wal_error_t details;
  const wal_status_t status = wal_pin_create(dir.c_str(), name.c_str(), seq, max_bytes, flags,
                                             &pinned, &details);
  if (status < 0) return error(details);
  return pinned;
}

/** wal_pin_advance: records up to `seq` are no longer needed. */
inline result<void> pin_advance(const std::string &dir, const std::string &name,
                                std::uint64_t seq) noexcept
{
  wal_error_t details;
  return detail::done(wal_pin_advance(dir.c_str(), name.c_str(), seq, &details), details);
}

/** wal_pin_drop: takes a pin away. */
inline result<void> pin_drop(const std::string &dir, const std::string &name) noexcept
{
  wal_error_t details;
  return detail::done(wal_pin_drop(dir.c_str(), name.c_str(), &details), details);
}

/** wal_pin_list: every pin of a log, and what it holds. */
inline result<std::vector<wal_pin_t>> pin_list(const std::string &dir)
{
  return detail::all<wal_pin_t>([&dir](wal_pin_t *pins, std::size_t capacity, std::size_t *count,
                                       wal_error_t *details) {
    return wal_pin_list(dir.c_str(), pins, capacity, count, details);
  });
}

/* --------------------------------------------------------------------------------------------
 * Looking at a log without opening it
 * -------------------------------------------------------------------------------------------- */

/** wal_inspect: what an opening would find. flags: 0 or WAL_INSPECT_FULL. */
inline result<wal_report_t> inspect(const std::string &dir, const options &options = {},
                                    std::uint32_t flags = 0) noexcept
{
  wal_report_t report{};
  wal_error_t details;
  const wal_status_t status =
      wal_inspect(dir.c_str(), &options, flags, &report, sizeof report, &details);
  if (status < 0) return error(details);
  return report;
}

/** wal_inspect_damage: reads every byte and tells each damage; none if the list is empty. */
inline result<std::vector<error>> inspect_damage(const std::string &dir,
                                                 const options &options = {})
{
  const auto damages = detail::all<wal_error_t>(
      [&](wal_error_t *found, std::size_t capacity, std::size_t *count, wal_error_t *details) {
        return wal_inspect_damage(dir.c_str(), &options, found, capacity, count, details);
      });
  if (!damages) return damages.error();
  return std::vector<error>(damages->begin(), damages->end());
}

}  // inline namespace

}  // namespace walpp

#endif  /* WAL_HPP */
