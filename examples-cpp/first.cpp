#include <fcntl.h>
#include <unistd.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <wal.hpp>

static struct { std::uint64_t seq, total; } store;   // applied up to seq; the data

static void check(bool done)
{
  if (done) return;
  std::perror("first.db");
  std::exit(1);
}

static void save(int file)                           // both numbers in one step
{
  check(pwrite(file, &store, sizeof store, 0) == ssize_t{sizeof store} && fdatasync(file) == 0);
}

static walpp::result<void> run(int file)
{
  walpp::options options;
  options.store_seq = store.seq ? store.seq : WAL_STORE_EMPTY;
  auto opened = walpp::log::open("first.log", options);
  if (!opened) return opened.error();
  walpp::log log = *std::move(opened);

  auto replay = log.replay(store.seq);
  if (!replay) return replay.error();
  for (const auto &item : *replay) {                 // apply what the store lacks
    if (!item) return item.error();
    store.total += item->value().size();
    store.seq = item->seq();
  }

  auto seq = log.put("key", "value");
  if (!seq) return seq.error();
  store.seq = *seq;
  store.total += 5;                                  // logged, so it may be applied

  save(file);                                        // from time to time: flush,
  auto n = log.checkpoint(store.seq);                // tell the log,
  if (!n) return n.error();
  store.seq = *n;
  save(file);                                        // save n,
  if (auto done = log.truncate(*n); !done) return done;    // forget

  std::printf("%llu bytes\n", static_cast<unsigned long long>(store.total));
  return log.close();
}

int main()
{
  const int file = open("first.db", O_RDWR | O_CREAT, 0600);
  check(file >= 0 && pread(file, &store, sizeof store, 0) >= 0);
  const auto done = run(file);
  if (!done) std::fprintf(stderr, "first: %s\n", done.error().message().data());
  return done ? 0 : 1;
}
