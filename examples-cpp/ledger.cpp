/*
 * ledger: accounts in memory, four threads that move money between them, and one that checkpoints beside them.
 *
 *     ledger DIR TRANSFERS
 *
 * Each writer makes so many transfers, and says "made WRITER NUMBER" when one is durable. Kill it whenever you like: the next run begins with what was
 * made, and carries on. All accounts together hold 0, always: the two halves of a transfer are a batch, which is in the log whole or not at all.
 *
 * What is worth copying:
 *
 * - Appending and applying are one step under the store's lock, in the same order for the log and the store; waiting for the disk is not under it. The
 *   writers' waits share syncs.
 * - The checkpoint takes a copy of the store and the seq S up to which the copy has everything, and lets the writers go on. So when the log is told, there
 *   are records above S that the copy does not have. They stand below the CHECKPOINT record, and truncating to that record's seq would lose them. That is
 *   why the store saves n and truncates to n, which is then S; n is the CHECKPOINT record's own seq only if nobody came between.
 * - Log first: what a copy holds is made durable in the log before the copy is written, or a crash could leave a store that is ahead of its log.
 */

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <wal.hpp>

namespace {

constexpr std::size_t WRITERS = 4;
constexpr std::size_t ACCOUNTS = 16;
constexpr std::uint8_t OP_MOVE = WAL_OP_USER;

/* Ends the program and says why. What was not durable is lost, as after a crash; what was said to be made is not. */
[[noreturn]] void give_up(const std::string &why)
{
  std::fprintf(stderr, "ledger: %s\n", why.c_str());
  std::_Exit(1);
}

template <class T>
T must(walpp::result<T> result)
{
  if (!result) give_up(std::string(result.error().name()) + ": " + std::string(result.error().message()));
  return std::move(result).value();
}

void must_file(bool done, const std::string &path)
{
  if (!done) give_up(path + ": " + std::strerror(errno));
}

/* ---- The store: memory, and a file that is replaced as a whole ------------------------------------------------------------- */

struct store {
  std::uint64_t seq;                           /* everything up to here is applied, and nothing above */
  walpp::log_id log_id;                        /* of this log and no other */
  std::array<std::int64_t, ACCOUNTS> balances;
  std::array<std::uint64_t, WRITERS> made;     /* transfers of each writer */
  std::uint64_t check;                         /* over all that stands before */
};
static_assert(std::is_trivially_copyable_v<store>);

/* One half of a transfer; the key is the account. */
struct half {
  std::int64_t amount;
  std::uint64_t writer;
  std::uint64_t number;
};

std::uint64_t check_of(const store &store)
{
  const auto *bytes = reinterpret_cast<const unsigned char *>(&store);
  return std::accumulate(bytes, bytes + offsetof(struct store, check), UINT64_C(0xcbf29ce484222325),
                         [](std::uint64_t hash, unsigned char byte) { return (hash ^ byte) * UINT64_C(0x100000001b3); });
}

void apply(store &store, std::uint64_t seq, std::uint8_t account, const half &half)
{
  store.balances[account % ACCOUNTS] += half.amount;
  store.made[half.writer % WRITERS] = half.number;
  store.seq = seq;
}

/* The file is the old one or the new one, whenever the power fails. */
void save(const std::string &dir, store store)
{
  store.check = check_of(store);
  const std::string path = dir + "/store";
  const std::string fresh = path + ".new";
  const int file = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  must_file(file >= 0 && write(file, &store, sizeof store) == ssize_t{sizeof store} && fsync(file) == 0 && close(file) == 0, fresh);
  const int directory = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  must_file(directory >= 0 && rename(fresh.c_str(), path.c_str()) == 0 && fsync(directory) == 0 && close(directory) == 0, path);
}

std::optional<store> load(const std::string &dir)
{
  const std::string path = dir + "/store";
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return std::nullopt;
  store store;
  must_file(file >= 0 && read(file, &store, sizeof store) == ssize_t{sizeof store}, path);
  close(file);
  if (store.check != check_of(store)) give_up(path + " is damaged");
  return store;
}

/* ---- The store and its log ------------------------------------------------------------------------------------------------- */

class ledger {
public:
  explicit ledger(const std::string &dir) : dir_(dir)
  {
    must_file(mkdir(dir.c_str(), 0700) == 0 || errno == EEXIST, dir);
    const std::optional<store> saved = load(dir);
    walpp::options options;
    options.segment_size = 65536;
    options.store_seq = WAL_STORE_EMPTY;
    if (saved) {
      store_ = *saved;
      options.store_seq = store_.seq;
      options.expect(store_.log_id);
    }
    log_ = must(walpp::log::open(dir + "/log", options));
    store_.log_id = log_.id();
    std::uint64_t replayed = 0;
    walpp::cursor cursor = must(log_.replay(store_.seq));
    for (const auto &item : cursor) {
      const walpp::record record = must(item);
      half half;
      if (record.op() != OP_MOVE || record.key().size() != 1 || record.value().size() != sizeof half) give_up("this is no log of a ledger");
      std::memcpy(&half, record.value().data(), sizeof half);
      apply(store_, record.seq(), static_cast<std::uint8_t>(record.key()[0]), half);
      replayed++;
    }
    balance();
    std::printf("replayed %" PRIu64 " made", replayed);
    for (const std::uint64_t made : store_.made) std::printf(" %" PRIu64, made);
    std::puts("");
  }

  /* One transfer; durable when this returns. */
  void transfer(std::size_t writer)
  {
    std::uint64_t number = 0;
    std::uint64_t seq = 0;
    {
      const std::lock_guard<std::mutex> guard(lock_);
      number = store_.made[writer] + 1;
      const auto from = static_cast<std::uint8_t>((number * 7 + writer) % ACCOUNTS);
      const auto to = static_cast<std::uint8_t>((from + 1 + number % (ACCOUNTS - 1)) % ACCOUNTS);
      const half less{-static_cast<std::int64_t>(number % 100), writer, number};
      const half more{-less.amount, writer, number};
      seq = must(log_.append({{OP_MOVE, {&from, 1}, {&less, sizeof less}}, {OP_MOVE, {&to, 1}, {&more, sizeof more}}}, walpp::commit::later));
      apply(store_, seq - 1, from, less);
      apply(store_, seq, to, more);
    }
    must(log_.sync(seq));
    std::printf("made %zu %" PRIu64 "\n", writer, number);
  }

  /* By one thread; the others go on meanwhile. */
  void checkpoint()
  {
    store copy = current();
    must(log_.sync(copy.seq));
    save(dir_, copy);
    const std::uint64_t covered = copy.seq;
    const std::uint64_t n = must(log_.checkpoint(covered));
    if (n > covered) {
      /* Nothing came between, so n is the CHECKPOINT record's own seq, and the store is as good as there. */
      copy.seq = n;
      save(dir_, copy);
      const std::lock_guard<std::mutex> guard(lock_);
      store_.seq = std::max(store_.seq, n);
    }
    must(log_.truncate(n));
    std::printf("checkpoint covered %" PRIu64 " n %" PRIu64 " last %" PRIu64 "\n", covered, n, log_.last_seq());
  }

  void close()
  {
    balance();
    must(log_.close());
  }

private:
  store current()
  {
    const std::lock_guard<std::mutex> guard(lock_);
    return store_;
  }
  void balance()
  {
    const store copy = current();
    const std::int64_t sum = std::accumulate(copy.balances.begin(), copy.balances.end(), std::int64_t{0});
    if (sum != 0) give_up("the accounts hold " + std::to_string(sum) + " together, not 0");
  }

  std::string dir_;
  std::mutex lock_;
  store store_{};
  walpp::log log_;
};

}  // namespace

int main(int count, char **arguments)
{
  const std::uint64_t transfers = count == 3 ? std::strtoull(arguments[2], nullptr, 10) : 0;
  if (transfers == 0) {
    std::fputs("usage: ledger DIR TRANSFERS\n", stderr);
    return 2;
  }
  /* Each line is out before the next thing is done. */
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  ledger ledger(arguments[1]);
  std::vector<std::thread> writers;
  for (std::size_t writer = 0; writer < WRITERS; writer++) {
    writers.emplace_back([&ledger, writer, transfers] {
      for (std::uint64_t done = 0; done < transfers; done++) ledger.transfer(writer);
    });
  }
  std::atomic<bool> stop{false};
  std::thread checkpointer([&ledger, &stop] {
    while (!stop) {
      ledger.checkpoint();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  for (std::thread &writer : writers) writer.join();
  stop = true;
  checkpointer.join();
  ledger.checkpoint();
  ledger.close();
  return 0;
}
