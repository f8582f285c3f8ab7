/* The line protocol, and group commit for logs that have none of their own. */
#include "side.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const unsigned char FILLER = 0x5A;
enum { TRUNCATION_RECORD = 128, CLOCK_EVERY = 256 };

static const side_log *peer;
static bool is_open, is_durable;
static pthread_mutex_t reason_lock = PTHREAD_MUTEX_INITIALIZER;
static char reason[512];

static side_status because(side_status status, const char *what, const char *why)
{
  pthread_mutex_lock(&reason_lock);
  snprintf(reason, sizeof reason, "%s%s%s", what, *what ? ": " : "", why);
  for (char *c = reason; *c; c++) {
    if (*c == '\n') *c = ' ';
  }
  pthread_mutex_unlock(&reason_lock);
  return status;
}

side_status side_no(const char *why) { return because(SIDE_NO, "", why); }
side_status side_failed(const char *what, const char *why) { return because(SIDE_FAILED, what, why); }

static uint64_t now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Out of memory, a measurement has no meaning. */
static void *must(void *memory)
{
  if (!memory) {
    perror("memory");
    exit(1);
  }
  return memory;
}

/* Group commit: the first caller that finds nobody at work writes the records of all that wait, and the others wait for it. */

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  const void *values[2][MOST_THREADS];
  size_t lens[2][MOST_THREADS];
  size_t waiting;
  uint64_t gathering, done;
  bool is_working;
  side_status status;
} group = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static side_status append_grouped(const void *value, size_t len)
{
  pthread_mutex_lock(&group.lock);
  /* A caller waits until its record is written, so its memory serves, and there are no more records than threads. */
  int half = (int)(group.gathering & 1);
  group.values[half][group.waiting] = value;
  group.lens[half][group.waiting] = len;
  group.waiting++;
  uint64_t mine = group.gathering + 1;
  while (group.status == SIDE_OK && group.done < mine) {
    if (group.is_working) {
      pthread_cond_wait(&group.changed, &group.lock);
      continue;
    }
    group.is_working = true;
    int written = (int)(group.gathering & 1);
    size_t count = group.waiting;
    group.gathering++;
    group.waiting = 0;
    pthread_mutex_unlock(&group.lock);
    side_status status = peer->append_group(group.values[written], group.lens[written], count);
    pthread_mutex_lock(&group.lock);
    group.is_working = false;
    group.done = group.gathering;
    group.status = status;
    pthread_cond_broadcast(&group.changed);
  }
  side_status status = group.status;
  pthread_mutex_unlock(&group.lock);
  return status;
}

static side_status append(int thread, const void *value, size_t len)
{
  return is_durable && peer->append_group ? append_grouped(value, len) : peer->append(thread, value, len);
}

/* Appends, timed. */

typedef struct {
  int number;
  size_t len;
  uint64_t time_ns, most;
  pthread_barrier_t *start;
  uint32_t *times;
  size_t timed, room;
  uint64_t done;
  side_status status;
} caller;

static void *call(void *of)
{
  caller *self = of;
  unsigned char *value = must(malloc(self->len));
  memset(value, FILLER, self->len);
  if (self->start) pthread_barrier_wait(self->start);
  uint64_t began = now_ns(), last = began;
  while (last - began < self->time_ns && self->done < self->most && self->status == SIDE_OK) {
    /* Where an append takes less than reading the clock, the clock is read for many at once. */
    uint64_t at_once = is_durable ? 1 : CLOCK_EVERY;
    if (at_once > self->most - self->done) at_once = self->most - self->done;
    for (uint64_t i = 0; i < at_once && self->status == SIDE_OK; i++) self->status = append(self->number, value, self->len);
    uint64_t now = now_ns();
    if (is_durable) {
      if (self->timed == self->room) {
        self->room = self->room ? self->room * 2 : 1 << 16;
        self->times = must(realloc(self->times, self->room * sizeof *self->times));
      }
      self->times[self->timed++] = now - last > UINT32_MAX ? UINT32_MAX : (uint32_t)(now - last);
    }
    self->done += at_once;
    last = now;
  }
  free(value);
  return NULL;
}

static int by_time(const void *a, const void *b)
{
  uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
  return (left > right) - (left < right);
}

static side_status append_all(int threads, size_t len, uint64_t time_ns, uint64_t count, char *answer, size_t size)
{
  if (threads < 1 || threads > MOST_THREADS) return side_failed("append", "too many threads");
  caller callers[MOST_THREADS] = {0};
  pthread_t ids[MOST_THREADS];
  pthread_barrier_t start;
  pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) {
    uint64_t most = count ? count / (uint64_t)threads : UINT64_MAX;
    callers[i] = (caller){.number = i, .len = len, .time_ns = time_ns, .most = most, .start = threads > 1 ? &start : NULL};
    if (threads > 1 && pthread_create(&ids[i], NULL, call, &callers[i]) != 0) return side_failed("pthread_create", strerror(errno));
  }
  uint64_t began = now_ns();
  if (threads == 1) {
    call(&callers[0]);
  } else {
    pthread_barrier_wait(&start);
    began = now_ns();
    for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  }
  uint64_t took = now_ns() - began;
  pthread_barrier_destroy(&start);
  uint64_t done = 0;
  size_t timed = 0;
  for (int i = 0; i < threads; i++) timed += callers[i].timed;
  uint32_t *times = must(malloc((timed + 1) * sizeof *times));
  times[0] = 0;
  timed = 0;
  side_status status = SIDE_OK;
  for (int i = 0; i < threads; i++) {
    done += callers[i].done;
    if (callers[i].timed) memcpy(times + timed, callers[i].times, callers[i].timed * sizeof *times);
    timed += callers[i].timed;
    free(callers[i].times);
    if (callers[i].status != SIDE_OK) status = callers[i].status;
  }
  qsort(times, timed, sizeof *times, by_time);
  size_t last = timed ? timed - 1 : 0;
#define AT(share) times[(size_t)((share) * (double)timed) > last ? last : (size_t)((share) * (double)timed)]
  snprintf(answer, size, "%llu %llu %u %u %u %u", (unsigned long long)done, (unsigned long long)took, AT(0.5), AT(0.99), AT(0.999), times[last]);
#undef AT
  free(times);
  return status;
}

/* Replay and truncation. */

typedef struct { uint64_t count, wrong; } seen;

static void look(void *context, const void *value, size_t len)
{
  seen *all = context;
  const unsigned char *bytes = value;
  all->count++;
  all->wrong += len == 0 || bytes[0] != FILLER || bytes[len - 1] != FILLER;
}

typedef struct {
  uint64_t began, time_ns;
  uint64_t (*spans)[2];
  size_t count, room;
  side_status status;
} background;

static void *append_meanwhile(void *of)
{
  background *self = of;
  unsigned char value[TRUNCATION_RECORD];
  memset(value, FILLER, sizeof value);
  uint64_t last = self->began;
  while (last - self->began < self->time_ns && self->status == SIDE_OK) {
    self->status = append(0, value, sizeof value);
    uint64_t now = now_ns();
    if (self->count == self->room) {
      self->room = self->room ? self->room * 2 : 1 << 16;
      self->spans = must(realloc(self->spans, self->room * sizeof *self->spans));
    }
    self->spans[self->count][0] = last;
    self->spans[self->count++][1] = now;
    last = now;
  }
  return NULL;
}

static side_status truncate_half(uint64_t time_ns, char *answer, size_t size)
{
  if (!peer->forget_half) return side_no("no such operation");
  side_status status = peer->prepare_forget ? peer->prepare_forget() : SIDE_OK;
  if (status != SIDE_OK) return status;
  background appender = {.began = now_ns(), .time_ns = time_ns};
  pthread_t id;
  if (pthread_create(&id, NULL, append_meanwhile, &appender) != 0) return side_failed("pthread_create", strerror(errno));
  struct timespec half = {(time_t)(time_ns / 2 / 1000000000u), (long)(time_ns / 2 % 1000000000u)};
  nanosleep(&half, NULL);
  uint64_t called = now_ns();
  status = peer->forget_half();
  uint64_t took = now_ns() - called;
  pthread_join(id, NULL);
  uint64_t before = 0, meanwhile = 0;
  for (size_t i = 0; i < appender.count; i++) {
    uint64_t *longest = appender.spans[i][1] <= called ? &before : &meanwhile;
    uint64_t span = appender.spans[i][1] - appender.spans[i][0];
    if (span > *longest) *longest = span;
  }
  snprintf(answer, size, "%llu %llu %llu %zu", (unsigned long long)took, (unsigned long long)before, (unsigned long long)meanwhile, appender.count);
  free(appender.spans);
  return status != SIDE_OK ? status : appender.status;
}

static side_status fill(uint64_t count, size_t len)
{
  unsigned char *value = must(malloc(len));
  memset(value, FILLER, len);
  side_status status = SIDE_OK;
  if (peer->fill) {
    status = peer->fill(value, len, count);
  } else {
    for (uint64_t i = 0; i < count && status == SIDE_OK; i++) status = append(0, value, len);
  }
  free(value);
  return status == SIDE_OK && peer->sync ? peer->sync() : status;
}

static side_status answer_to(const char *line, char *answer, size_t size)
{
  char dir[400], mode[16];
  unsigned long long count, bytes, ms;
  int threads;
  *answer = 0;
  if (sscanf(line, "open %399s %15s", dir, mode) == 2) {
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) return side_failed(dir, strerror(errno));
    is_durable = strcmp(mode, "durable") == 0;
    uint64_t began = now_ns();
    side_status status = peer->open(dir, is_durable);
    is_open = status == SIDE_OK;
    snprintf(answer, size, "%llu", (unsigned long long)(now_ns() - began));
    return status;
  }
  if (!is_open) return side_failed(line, "no log is open");
  if (strcmp(line, "close") == 0) {
    is_open = false;
    return peer->close();
  }
  if (strcmp(line, "sync") == 0) return peer->sync ? peer->sync() : SIDE_OK;
  if (sscanf(line, "append %d %llu %llu %llu", &threads, &bytes, &ms, &count) == 4) {
    return append_all(threads, (size_t)bytes, ms * 1000000u, count, answer, size);
  }
  if (sscanf(line, "fill %llu %llu", &count, &bytes) == 2) {
    snprintf(answer, size, "%llu", count);
    return fill(count, (size_t)bytes);
  }
  if (strcmp(line, "replay") == 0) {
    if (!peer->replay) return side_no("no such operation");
    seen all = {0};
    uint64_t began = now_ns();
    side_status status = peer->replay(look, &all);
    snprintf(answer, size, "%llu %llu", (unsigned long long)all.count, (unsigned long long)(now_ns() - began));
    return all.wrong && status == SIDE_OK ? side_failed("replay", "wrong records") : status;
  }
  if (sscanf(line, "truncate %llu", &ms) == 1) return truncate_half(ms * 1000000u, answer, size);
  return side_failed(line, "not understood");
}

/* In one call, which is a mark for whoever counts system calls. */
static bool say(const char *word, const char *rest)
{
  char line[700];
  int len = snprintf(line, sizeof line, "%s %s\n", word, rest);
  return write(STDOUT_FILENO, line, (size_t)len) == len;
}

int side_serve(const side_log *log)
{
  char line[512], answer[256];
  peer = log;
  bool heard = say("ready", log->version());
  while (heard && fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    side_status status = answer_to(line, answer, sizeof answer);
    heard = say(status == SIDE_OK ? "ok" : status == SIDE_NO ? "no" : "failed", status == SIDE_OK ? answer : reason);
  }
  return heard ? 0 : 1;
}
