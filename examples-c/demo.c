/*
 * demo: pulls the plug on a key-value store, again and again, and checks what comes back.
 *
 *     demo CHECKOUT_DIR WORK_DIR [rounds [seed]]
 *
 * Every file of a checkout becomes a key with its content as the value; then come updates, deletes and moves (a delete and a put that
 * must not be seen apart). All of that is done by a child process, an ordinary user of kvstore, which is killed with SIGKILL at
 * random moments: while it writes, flushes, checkpoints, truncates, or recovers from the kill before. It tells this process through a
 * pipe what it is about to write and what has been acknowledged. This process survives, and judges: after each kill it opens the
 * store and compares all of it, byte for byte, with what was acknowledged. Only the one write that was under way may be there or not.
 *
 * Exit status: 0 if everything acknowledged came back, 1 if something is missing or invented, 2 if the demo itself could not run.
 */
#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kvstore.h"

enum {
    DEFAULT_ROUNDS = 25,
    PATH_BYTES = 4096,
    CORPUS_HEADER_BYTES = 16,  /* length of the path and of the file, 8 bytes each */
    UNFLUSHED_LIMIT = 4 << 20, /* the child flushes when so much has gathered, and now and then for no reason */
    MAX_COMPLAINTS = 10
};

#define MAX_FILES ((size_t)4000)
#define MAX_FILE_BYTES ((uint64_t)4 << 20)
#define MAX_CORPUS_BYTES ((uint64_t)16 << 20)
#define MOVED "/moved/" /* no relative path begins like this */

/* ---- Small things ---------------------------------------------------------------------------------------------------------- */

static _Noreturn void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("demo: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    exit(2); /* a child that is still running ends by itself: nobody reads its pipe any more */
}

static void *must_have(void *memory)
{
    if (memory == NULL) {
        die("not enough memory");
    }
    return memory;
}

static uint64_t now_us(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        die("no clock: %s", strerror(errno));
    }
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* splitmix64: the same seed gives the same writes and the same plan of kills. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t below(uint64_t *state, uint64_t bound)
{
    *state += 1;
    return mix(*state) % bound;
}

static uint64_t hash_more(uint64_t hash, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

static void join(char to[PATH_BYTES], const char *dir, const char *name)
{
    int len = snprintf(to, PATH_BYTES, "%s/%s", dir, name);
    if (len < 0 || len >= PATH_BYTES) {
        die("path too long: %s/%s", dir, name);
    }
}

static uint64_t disk_bytes(const char *dir)
{
    uint64_t total = 0;
    struct stat facts;
    char path[PATH_BYTES];
    DIR *list = opendir(dir);
    const struct dirent *item;
    while (list != NULL && (item = readdir(list)) != NULL) {
        join(path, dir, item->d_name);
        if (lstat(path, &facts) == 0 && S_ISREG(facts.st_mode)) {
            total += (uint64_t)facts.st_blocks * 512;
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return total;
}

/* ---- The corpus: the files of the checkout, copied once, so that parent and children see the same bytes -------------------- */

struct file {
    char *path;
    size_t path_len;
    const unsigned char *data;
    uint64_t size;
};

struct corpus {
    struct file *files; /* sorted by path */
    size_t count;
    size_t capacity;
    uint64_t largest;
    void *map;
    size_t map_len;
};

struct collection {
    const char *root;
    struct stat work; /* our own directory, which is not to be collected */
    FILE *out;
    size_t count;
    size_t left_out;
    uint64_t bytes;
};

static void collect_file(struct collection *collection, const char *path, const char *relative, uint64_t size)
{
    FILE *in = NULL;
    if (size <= MAX_FILE_BYTES && collection->count < MAX_FILES && collection->bytes + size <= MAX_CORPUS_BYTES) {
        in = fopen(path, "rb");
    }
    if (in == NULL) {
        collection->left_out++;
        return;
    }
    unsigned char *bytes = must_have(malloc((size_t)size + 1));
    uint64_t header[2] = {strlen(relative), fread(bytes, 1, (size_t)size, in)};
    (void)fclose(in);
    (void)fwrite(header, 1, CORPUS_HEADER_BYTES, collection->out);
    (void)fwrite(relative, 1, (size_t)header[0], collection->out);
    (void)fwrite(bytes, 1, (size_t)header[1], collection->out);
    free(bytes);
    collection->count++;
    collection->bytes += header[1];
}

/* Regular files below root/dir, without build products and version control. */
static void collect(struct collection *collection, const char *dir)
{
    static const char *const skipped[] = {".", "..", ".git", "target", "build"};
    char path[PATH_BYTES];
    char relative[PATH_BYTES];
    join(path, collection->root, dir);
    DIR *list = opendir(path);
    if (list == NULL) {
        die("cannot list %s: %s", path, strerror(errno));
    }
    const struct dirent *item;
    while ((item = readdir(list)) != NULL) {
        struct stat facts;
        int skip = 0;
        for (size_t i = 0; i < sizeof skipped / sizeof skipped[0]; i++) {
            skip = skip || strcmp(item->d_name, skipped[i]) == 0;
        }
        join(path, dir, item->d_name);
        (void)snprintf(relative, sizeof relative, "%s", *dir == '\0' ? path + 1 : path);
        join(path, collection->root, relative);
        if (skip || lstat(path, &facts) != 0) {
            continue;
        }
        if (S_ISDIR(facts.st_mode) && (facts.st_dev != collection->work.st_dev || facts.st_ino != collection->work.st_ino)) {
            collect(collection, relative);
        } else if (S_ISREG(facts.st_mode)) {
            collect_file(collection, path, relative, (uint64_t)facts.st_size);
        }
    }
    (void)closedir(list);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static void add_file(struct corpus *corpus, const unsigned char *path, size_t path_len, uint64_t size)
{
    if (corpus->count == corpus->capacity) {
        corpus->capacity = 2 * corpus->capacity + 64;
        corpus->files = must_have(realloc(corpus->files, corpus->capacity * sizeof *corpus->files));
    }
    struct file *file = &corpus->files[corpus->count++];
    *file = (struct file){must_have(malloc(path_len + 1)), path_len, path + path_len, size};
    memcpy(file->path, path, path_len);
    file->path[path_len] = '\0';
    corpus->largest = size > corpus->largest ? size : corpus->largest;
}

static void map_corpus(struct corpus *corpus, const char *path)
{
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &facts) != 0 || facts.st_size == 0) {
        die("cannot read %s", path);
    }
    corpus->map_len = (size_t)facts.st_size;
    corpus->map = mmap(NULL, corpus->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    if (corpus->map == MAP_FAILED) {
        die("cannot map %s: %s", path, strerror(errno));
    }
    const unsigned char *at = corpus->map;
    const unsigned char *end = at + corpus->map_len;
    while (at < end) {
        uint64_t header[2];
        memcpy(header, at, CORPUS_HEADER_BYTES);
        at += CORPUS_HEADER_BYTES;
        add_file(corpus, at, (size_t)header[0], header[1]);
        at += header[0] + header[1];
    }
    qsort(corpus->files, corpus->count, sizeof *corpus->files, by_path);
}

static void free_corpus(struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->count; i++) {
        free(corpus->files[i].path);
    }
    free(corpus->files);
    (void)munmap(corpus->map, corpus->map_len);
}

/* A value with its frame has to fit into one segment; beyond that, small segments make for many rotations and truncations. */
static uint64_t segment_size_for(const struct corpus *corpus)
{
    uint64_t size = 1 << 20;
    while (size < corpus->largest + 2 * PATH_BYTES + 4096) {
        size *= 2;
    }
    return size;
}

/* ---- The writes: number i is the same for parent and child, without a word between them ------------------------------------ */

/* Slot 2f is file f under its path, slot 2f + 1 the same under MOVED. */
struct effect {
    size_t slot;
    int remove;
};

struct write {
    uint64_t number;
    struct effect effects[2];
    size_t count;
};

static struct write write_of(const struct corpus *corpus, uint64_t seed, uint64_t number)
{
    struct write write = {number, {{2 * (size_t)number, 0}, {0, 0}}, 1};
    if (number >= corpus->count) { /* every file has been put once: go on with changes */
        uint64_t random = mix(seed ^ mix(number));
        size_t slot = 2 * (size_t)(random % corpus->count);
        switch (random >> 32 & 7) {
        case 0:
            write.effects[0] = (struct effect){slot + (random >> 40 & 1), 1};
            break;
        case 1:
        case 2:
            write.effects[0] = (struct effect){slot, 1};
            write.effects[1] = (struct effect){slot + 1, 0};
            write.count = 2;
            break;
        default:
            write.effects[0] = (struct effect){slot, 0};
        }
    }
    return write;
}

/* A value is the content of the file, behind a line that makes it different from all others if it is not the first one. */
struct value {
    char head[48];
    size_t head_len;
    const struct file *file;
};

static struct value value_of(const struct corpus *corpus, uint64_t number, size_t slot)
{
    struct value value = {{0}, 0, &corpus->files[slot / 2]};
    if (number >= corpus->count) {
        int len = snprintf(value.head, sizeof value.head, "revision %" PRIu64 "\n", number);
        value.head_len = len > 0 ? (size_t)len : 0;
    }
    return value;
}

static size_t key_of(const struct corpus *corpus, size_t slot, char key[PATH_BYTES + sizeof MOVED])
{
    const struct file *file = &corpus->files[slot / 2];
    size_t prefix = slot % 2 == 1 ? strlen(MOVED) : 0;
    memcpy(key, MOVED, prefix);
    memcpy(key + prefix, file->path, file->path_len + 1);
    return prefix + file->path_len;
}

/* ---- The child: an honest user of the store -------------------------------------------------------------------------------- */

enum { SAYS_PHASE = 1, SAYS_TRYING, SAYS_DONE };

struct message {
    uint32_t kind;
    uint32_t phase;
    uint64_t number;
};

static void say(int fd, uint32_t kind, uint32_t phase, uint64_t number)
{
    struct message message = {kind, phase, number};
    ssize_t put;
    do { /* a message is far below PIPE_BUF: it arrives whole or not at all */
        put = write(fd, &message, sizeof message);
    } while (put < 0 && errno == EINTR);
    if (put != (ssize_t)sizeof message) {
        _exit(2);
    }
}

static void say_phase(void *context, kv_phase_t phase)
{
    say(*(const int *)context, SAYS_PHASE, (uint32_t)phase, 0);
}

static void do_write(kv_t *kv, const struct corpus *corpus, const struct write *write, unsigned char *buffer)
{
    char keys[2][PATH_BYTES + sizeof MOVED];
    kv_change_t changes[2];
    kv_error_t err;
    for (size_t i = 0; i < write->count; i++) {
        size_t slot = write->effects[i].slot;
        changes[i] = (kv_change_t){keys[i], key_of(corpus, slot, keys[i]), NULL, 0, write->effects[i].remove};
        if (!write->effects[i].remove) { /* at most one of the two, so one buffer is enough */
            struct value value = value_of(corpus, write->number, slot);
            memcpy(buffer, value.head, value.head_len);
            memcpy(buffer + value.head_len, value.file->data, (size_t)value.file->size);
            changes[i].value = buffer;
            changes[i].value_len = value.head_len + (size_t)value.file->size;
        }
    }
    if (kv_write(kv, changes, write->count, &err) != KV_OK) {
        die("write %" PRIu64 ": %s", write->number, err.message);
    }
}

/* Never returns of its own accord: it writes until it is killed, or waits to be killed if it is only to open the store. */
static int child_main(char **arguments)
{
    uint64_t seed = strtoull(arguments[1], NULL, 10);
    uint64_t number = strtoull(arguments[2], NULL, 10);
    int fd = (int)strtol(arguments[3], NULL, 10);
    int only_open = strcmp(arguments[4], "open") == 0;
    char path[PATH_BYTES];
    struct corpus corpus = {0};
    kv_t *kv = NULL;
    kv_error_t err;
    join(path, arguments[0], "corpus");
    map_corpus(&corpus, path);
    kv_options_t options = {.segment_size = segment_size_for(&corpus), .on_phase = say_phase, .context = &fd};
    join(path, arguments[0], "store");
    if (kv_open(path, &options, &kv, &err) != KV_OK) {
        die("%s", err.message);
    }
    while (only_open) {
        (void)pause();
    }
    unsigned char *buffer = must_have(malloc((size_t)corpus.largest + sizeof((struct value *)0)->head));
    uint64_t random = mix(seed ^ number);
    for (;; number++) {
        struct write write = write_of(&corpus, seed, number);
        say(fd, SAYS_TRYING, 0, number);
        do_write(kv, &corpus, &write, buffer);
        say(fd, SAYS_DONE, 0, number);
        if ((kv_unflushed_bytes(kv) > UNFLUSHED_LIMIT || below(&random, 150) == 0) && kv_flush(kv, &err) != KV_OK) {
            die("%s", err.message);
        }
    }
}

/* ---- The executioner ------------------------------------------------------------------------------------------------------- */

struct plan {
    enum { AFTER_START, AFTER_READY, IN_PHASE } from;
    kv_phase_t phase;
    uint64_t delay_us;
};

struct death {
    uint32_t phase; /* what the child was doing; KV_PHASE_COUNT: nothing yet */
    int ready;
    int trying;      /* a write was under way: */
    uint64_t number; /* this one */
    uint64_t done;   /* acknowledged writes of this child */
    uint64_t lived_us;
};

struct demo {
    const char *self;
    char dir[PATH_BYTES];
    char store[PATH_BYTES];
    char log[PATH_BYTES];
    struct corpus corpus;
    uint64_t seed;
    uint64_t random;
    uint64_t next;    /* number of the next write */
    uint64_t *holder; /* for each slot: number + 1 of the write whose value it must hold, 0 if it must be absent */
    int colours;
    uint64_t complaints;
    /* for the summary */
    uint64_t kills[KV_PHASE_COUNT + 1];
    uint64_t kills_in_append;
    uint64_t recoveries_killed;
    uint64_t acknowledged;
    uint64_t kept;
    uint64_t gone;
    uint64_t replayed;
    kv_facts_t last_facts;
    uint64_t *openings_us;
    uint64_t last_opening_us;
    size_t opening_count;
};

static pid_t start_child(const struct demo *demo, int only_open, int *from_child)
{
    int ends[2];
    char seed[24];
    char next[24];
    char fd[24];
    if (pipe(ends) != 0 || fcntl(ends[0], F_SETFD, FD_CLOEXEC) != 0) {
        die("cannot make a pipe: %s", strerror(errno));
    }
    (void)snprintf(seed, sizeof seed, "%" PRIu64, demo->seed);
    (void)snprintf(next, sizeof next, "%" PRIu64, demo->next);
    (void)snprintf(fd, sizeof fd, "%d", ends[1]);
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        die("cannot fork: %s", strerror(errno));
    }
    if (pid == 0) {
        (void)execlp(demo->self, demo->self, "--child", demo->dir, seed, next, fd, only_open ? "open" : "write", (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    *from_child = ends[0];
    return pid;
}

/* One message, if there is one before the time is up: 1. Otherwise 0; at the end of the pipe -1. */
static int hear(int fd, uint64_t until_us, struct message *message)
{
    struct pollfd waiting = {fd, POLLIN, 0};
    uint64_t now = now_us();
    int timeout_ms = until_us <= now ? 0 : until_us - now > 10000000 ? 10000 : (int)((until_us - now) / 1000);
    int count = poll(&waiting, 1, timeout_ms);
    if (count <= 0) {
        if (count < 0 && errno != EINTR) {
            die("cannot wait for the child: %s", strerror(errno));
        }
        return 0;
    }
    ssize_t got = read(fd, message, sizeof *message); /* written whole, so read whole */
    if (got != 0 && got != (ssize_t)sizeof *message) {
        die("half a message from the child");
    }
    return got == 0 ? -1 : 1;
}

/* Writes what an acknowledgement means into the model. */
static void acknowledge(struct demo *demo, uint64_t number)
{
    struct write write = write_of(&demo->corpus, demo->seed, number);
    for (size_t i = 0; i < write.count; i++) {
        demo->holder[write.effects[i].slot] = write.effects[i].remove ? 0 : number + 1;
    }
}

static void listen(struct demo *demo, const struct message *message, struct death *death)
{
    switch (message->kind) {
    case SAYS_PHASE:
        death->phase = message->phase;
        death->ready = death->ready || message->phase == KV_PHASE_READY;
        break;
    case SAYS_TRYING:
        death->trying = 1;
        death->number = message->number;
        break;
    default:
        death->trying = 0;
        death->done++;
        acknowledge(demo, message->number);
    }
}

/* Runs a child until the plan says that its time has come. */
static struct death run_and_kill(struct demo *demo, int only_open, const struct plan *plan)
{
    struct death death = {.phase = KV_PHASE_COUNT};
    struct message message;
    int fd;
    int heard;
    int status;
    pid_t pid = start_child(demo, only_open, &fd);
    uint64_t born = now_us();
    uint64_t end = plan->from == AFTER_START ? born + plan->delay_us : UINT64_MAX;
    while (now_us() < end && (heard = hear(fd, end, &message)) >= 0) {
        int was_ready = death.ready;
        if (heard > 0) {
            listen(demo, &message, &death);
        }
        if (death.ready && !was_ready && plan->from != AFTER_START) { /* if the phase does not come, a second is enough */
            end = now_us() + (plan->from == AFTER_READY ? plan->delay_us : 1000000);
        }
        if (death.ready && heard > 0 && plan->from == IN_PHASE && message.kind == SAYS_PHASE && message.phase == (uint32_t)plan->phase) {
            end = now_us() + plan->delay_us;
        }
    }
    (void)kill(pid, SIGKILL);
    death.lived_us = now_us() - born;
    while (hear(fd, UINT64_MAX, &message) >= 0) { /* what it said before it died counts */
        listen(demo, &message, &death);
    }
    (void)close(fd);
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        (void)printf("\n  THE CHILD WAS NOT KILLED BUT GAVE UP; its message is above or below, its store is kept in %s\n", demo->dir);
        exit(1);
    }
    return death;
}

/* ---- The judge ------------------------------------------------------------------------------------------------------------- */

static void describe_expected(const struct demo *demo, size_t slot, uint64_t holder, char *to, size_t len)
{
    if (holder == 0) {
        (void)snprintf(to, len, "no such key");
        return;
    }
    struct value value = value_of(&demo->corpus, holder - 1, slot);
    uint64_t hash = hash_more(HASH_START, (const unsigned char *)value.head, value.head_len);
    hash = hash_more(hash, value.file->data, (size_t)value.file->size);
    (void)snprintf(to, len, "write %" PRIu64 ", %" PRIu64 " bytes, hash %016" PRIx64, holder - 1, value.head_len + value.file->size, hash);
}

static void describe_found(const unsigned char *bytes, size_t found_len, char *to, size_t len)
{
    int line = 0;
    while ((size_t)line < found_len && line < 40 && bytes[line] >= ' ' && bytes[line] <= '~') {
        line++;
    }
    (void)snprintf(to, len, "%zu bytes, hash %016" PRIx64 ", beginning with \"%.*s\"", found_len,
                   hash_more(HASH_START, bytes, found_len), line, (const char *)bytes);
}

static void complain(struct demo *demo, const char *what, const char *key, const char *expected, const char *found)
{
    if (demo->complaints++ < MAX_COMPLAINTS) {
        (void)printf("\n  %s%s%s\n    key       %s\n    expected  %s\n    found     %s\n", demo->colours ? "\033[1;31m" : "", what,
                     demo->colours ? "\033[0m" : "", key, expected, found);
    }
}

/* Whether the store has for this slot exactly what the write `holder` - 1 left there (nothing, if it is 0). */
static int slot_is(const struct demo *demo, const kv_t *kv, size_t slot, uint64_t holder)
{
    char key[PATH_BYTES + sizeof MOVED];
    const void *found = NULL;
    size_t len = 0;
    if (kv_get(kv, key, key_of(&demo->corpus, slot, key), &found, &len) == KV_ABSENT) {
        return holder == 0;
    }
    if (holder == 0) {
        return 0;
    }
    struct value value = value_of(&demo->corpus, holder - 1, slot);
    const unsigned char *bytes = found;
    return len == value.head_len + value.file->size && memcmp(bytes, value.head, value.head_len) == 0 &&
           memcmp(bytes + value.head_len, value.file->data, (size_t)value.file->size) == 0;
}

static int check_slot(struct demo *demo, const kv_t *kv, size_t slot)
{
    uint64_t holder = demo->holder[slot];
    char key[PATH_BYTES + sizeof MOVED];
    char expected[160];
    char seen[160] = "no such key";
    const void *found = NULL;
    size_t len = 0;
    if (slot_is(demo, kv, slot, holder)) {
        return 1;
    }
    int there = kv_get(kv, key, key_of(&demo->corpus, slot, key), &found, &len) == KV_OK;
    if (there) {
        describe_found(found, len, seen, sizeof seen);
    }
    describe_expected(demo, slot, holder, expected, sizeof expected);
    complain(demo, holder == 0 ? "INVENTED, or a delete was lost" : there ? "WRONG VALUE" : "MISSING", key, expected, seen);
    return 0;
}

/* Keys that nobody ever wrote would not be found by asking for those that somebody wrote. */
static int check_known(void *context, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct demo *demo = context;
    char text[PATH_BYTES] = "";
    char seen[160];
    const char *name = key;
    size_t len = key_len;
    if (len > strlen(MOVED) && memcmp(name, MOVED, strlen(MOVED)) == 0) {
        name += strlen(MOVED);
        len -= strlen(MOVED);
    }
    struct file wanted = {.path = text};
    memcpy(text, name, len < sizeof text ? len : sizeof text - 1);
    if (len >= sizeof text || strlen(text) != len ||
        bsearch(&wanted, demo->corpus.files, demo->corpus.count, sizeof wanted, by_path) == NULL) {
        describe_found(value, value_len, seen, sizeof seen);
        complain(demo, "INVENTED", text, "no such key was ever written", seen);
    }
    return 0;
}

/* The one write that was under way may be there or not, but not in part. Afterwards the model knows which. */
static const char *settle_in_flight(struct demo *demo, const kv_t *kv, const struct death *death)
{
    if (!death->trying) {
        return "-";
    }
    struct write write = write_of(&demo->corpus, demo->seed, death->number);
    int before = 1;
    int after = 1;
    for (size_t i = 0; i < write.count; i++) {
        const struct effect *effect = &write.effects[i];
        before = before && slot_is(demo, kv, effect->slot, demo->holder[effect->slot]);
        after = after && slot_is(demo, kv, effect->slot, effect->remove ? 0 : write.number + 1);
    }
    if (after) {
        acknowledge(demo, write.number);
        demo->kept++;
        return "kept";
    }
    if (!before) {
        char number[32];
        (void)snprintf(number, sizeof number, "of write %" PRIu64, write.number);
        complain(demo, "TORN", number, "all of it or nothing", "a part of it");
    }
    demo->gone++;
    return before ? "gone" : "TORN";
}

struct verdict {
    const char *in_flight;
    size_t live;
    size_t right; /* of those */
    kv_facts_t facts;
    uint64_t opening_us;
};

static struct verdict judge(struct demo *demo, const struct death *death, int flush)
{
    struct verdict verdict = {0};
    kv_options_t options = {.segment_size = segment_size_for(&demo->corpus)};
    kv_t *kv = NULL;
    kv_error_t err;
    uint64_t start = now_us();
    if (kv_open(demo->store, &options, &kv, &err) != KV_OK) {
        (void)printf("\n  THE STORE CANNOT BE OPENED: %s\n  It is kept in %s\n", err.message, demo->dir);
        exit(1);
    }
    verdict.opening_us = now_us() - start;
    verdict.facts = *kv_facts(kv);
    verdict.in_flight = settle_in_flight(demo, kv, death);
    for (size_t slot = 0; slot < 2 * demo->corpus.count; slot++) {
        size_t live = demo->holder[slot] != 0;
        verdict.live += live;
        verdict.right += check_slot(demo, kv, slot) ? live : 0;
    }
    (void)kv_scan(kv, check_known, demo);
    if (flush && kv_flush(kv, &err) != KV_OK) {
        die("%s", err.message);
    }
    if (kv_close(kv, &err) != KV_OK) {
        die("%s", err.message);
    }
    demo->openings_us[demo->opening_count++] = demo->last_opening_us = verdict.opening_us;
    demo->replayed += verdict.facts.replayed;
    return verdict;
}

/* ---- Rounds ---------------------------------------------------------------------------------------------------------------- */

static const char *const phase_names[KV_PHASE_COUNT + 1] = {
    "loading the table", "inspecting the log", "opening the log", "replaying", "between writes", "writing the table",
    "installing the table", "checkpointing", "saving n", "truncating", "starting",
};

static const char *phase_of(const struct death *death)
{
    return death->phase == KV_PHASE_READY && death->trying ? "appending" : phase_names[death->phase];
}

static struct plan make_plan(struct demo *demo, uint64_t round)
{
    static const kv_phase_t phases[] = {
        KV_PHASE_WRITING_TABLE, KV_PHASE_INSTALLING_TABLE, KV_PHASE_CHECKPOINTING, KV_PHASE_SAVING_N, KV_PHASE_TRUNCATING,
    };
    struct plan plan = {AFTER_READY, KV_PHASE_READY, 1000 + below(&demo->random, 700000)};
    uint64_t kind = below(&demo->random, 10);
    if (kind < 4) {
        plan = (struct plan){IN_PHASE, phases[round % (sizeof phases / sizeof phases[0])], below(&demo->random, 1500)};
    } else if (kind < 5) {
        plan = (struct plan){AFTER_START, KV_PHASE_READY, below(&demo->random, 2 * demo->last_opening_us + 3000)};
    }
    return plan;
}

/* Kills the recovery from the kill before, up to three times in a row. */
static uint64_t kill_recoveries(struct demo *demo)
{
    uint64_t killed = 0;
    for (uint64_t tries = below(&demo->random, 6); tries > 2; tries--) {
        struct plan plan = {AFTER_START, KV_PHASE_READY, 500 + below(&demo->random, demo->last_opening_us + 2500)};
        struct death death = run_and_kill(demo, 1, &plan);
        killed += !death.ready && death.phase != KV_PHASE_COUNT;
    }
    return killed;
}

static void print_header(void)
{
    (void)printf("\n round  killed while            after ms   acked      keys back  in flight  recoveries  replayed  checkpoint  forgotten"
                 "        log on disk  reopened in\n"
                 "                                                                       also killed                 n      up to\n");
}

static void play_round(struct demo *demo, uint64_t round)
{
    struct plan plan = make_plan(demo, round);
    struct death death = run_and_kill(demo, 0, &plan);
    demo->kills[death.phase]++;
    demo->kills_in_append += death.phase == KV_PHASE_READY && death.trying;
    demo->acknowledged += death.done;
    demo->next += death.done + (uint64_t)death.trying;
    uint64_t killed_again = kill_recoveries(demo);
    demo->recoveries_killed += killed_again;
    uint64_t before = disk_bytes(demo->log);
    struct verdict verdict = judge(demo, &death, below(&demo->random, 4) == 0);
    uint64_t after = disk_bytes(demo->log);
    const char *colour = !demo->colours ? "" : demo->complaints > 0 ? "\033[31m" : "\033[32m";
    (void)printf("%6" PRIu64 "  %-22s  %9.1f  %6" PRIu64 "  %s%6zu / %-6zu%s  %-9s  %10" PRIu64 "  %8" PRIu64 "  %10" PRIu64 "  %9" PRIu64
                 "  %5.1f -> %5.1f MiB  %8.1f ms\n",
                 round, phase_of(&death), (double)death.lived_us / 1e3, death.done, colour, verdict.right, verdict.live,
                 demo->colours ? "\033[0m" : "", verdict.in_flight, killed_again, verdict.facts.replayed, verdict.facts.checkpoint_seq,
                 verdict.facts.forgotten_seq, (double)before / 1048576, (double)after / 1048576, (double)verdict.opening_us / 1e3);
    demo->last_facts = verdict.facts;
    (void)fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void print_summary(struct demo *demo)
{
    uint64_t total = 0;
    (void)printf("\nKilled while");
    for (size_t i = 0; i <= KV_PHASE_COUNT; i++) {
        uint64_t count = demo->kills[i] - (i == KV_PHASE_READY ? demo->kills_in_append : 0);
        if (count > 0) {
            (void)printf(" %s %" PRIu64 ",", phase_names[i], count);
        }
        total += demo->kills[i];
    }
    (void)printf(" appending %" PRIu64 "; and %" PRIu64 " more times while recovering.\n", demo->kills_in_append, demo->recoveries_killed);
    qsort(demo->openings_us, demo->opening_count, sizeof *demo->openings_us, by_size);
    (void)printf("Writes acknowledged: %" PRIu64 ". Under way when the kill came: %" PRIu64 ", of which %" PRIu64
                 " came back whole and %" PRIu64 " not at all.\n",
                 demo->acknowledged, demo->kept + demo->gone, demo->kept, demo->gone);
    (void)printf("Records replayed: %" PRIu64 ". Reopening the store took %.1f ms (median), %.1f ms at most.\n", demo->replayed,
                 (double)demo->openings_us[demo->opening_count / 2] / 1e3, (double)demo->openings_us[demo->opening_count - 1] / 1e3);
    const kv_facts_t *facts = &demo->last_facts;
    (void)printf("The last reopening after a kill found a log that %s, with %" PRIu64 " as its last record, and a store that reaches"
                 " to N = %" PRIu64 ";\n  %" PRIu64 " records were replayed, %" PRIu64 " made durable again, %" PRIu64 " half-written bytes dropped.\n",
                 facts->log_clean ? "had been closed" : "nobody had closed", facts->found_last_seq, facts->store_seq, facts->replayed,
                 facts->copied_records, facts->dropped_bytes);
    const char *end = demo->colours ? "\033[0m" : "";
    if (demo->complaints == 0) {
        (void)printf("\n%sAfter each of %" PRIu64 " kills, every acknowledged write was there with the right bytes,"
                     " and nothing else was.%s\n(A kill is not a power cut: the operating system lives on. Power cuts are what the simulator is for.)\n",
                     demo->colours ? "\033[1;32m" : "", total + demo->recoveries_killed, end);
    } else {
        (void)printf("\n%sA PROMISE WAS BROKEN: %" PRIu64 " keys are not as acknowledged. The store is kept in %s; seed %" PRIu64 ".%s\n",
                     demo->colours ? "\033[1;31m" : "", demo->complaints, demo->dir, demo->seed, end);
    }
}

/* ---- Setting up ------------------------------------------------------------------------------------------------------------ */

static void prepare(struct demo *demo, const char *checkout, const char *work)
{
    struct collection collection = {.root = checkout};
    char path[PATH_BYTES];
    if (stat(checkout, &collection.work) != 0 || !S_ISDIR(collection.work.st_mode)) {
        die("%s is not a directory", checkout);
    }
    if ((mkdir(work, 0700) != 0 && errno != EEXIST) || stat(work, &collection.work) != 0) {
        die("cannot use %s: %s", work, strerror(errno));
    }
    join(demo->dir, work, "demo-XXXXXX");
    if (mkdtemp(demo->dir) == NULL) {
        die("cannot make a directory in %s: %s", work, strerror(errno));
    }
    join(demo->store, demo->dir, "store");
    join(demo->log, demo->store, "log");
    join(path, demo->dir, "corpus");
    collection.out = must_have(fopen(path, "wb"));
    collect(&collection, "");
    int failed = ferror(collection.out);
    if (fclose(collection.out) != 0 || failed || collection.count == 0) {
        die("no files in %s, or they cannot be copied to %s", checkout, path);
    }
    map_corpus(&demo->corpus, path);
    demo->holder = must_have(calloc(2 * demo->corpus.count, sizeof *demo->holder));
    (void)printf("%zu files, %.1f MiB, from %s", collection.count, (double)collection.bytes / 1048576, checkout);
    if (collection.left_out > 0) {
        (void)printf(" (%zu left out: too many, too large, or not readable)", collection.left_out);
    }
    (void)printf("\nseed %" PRIu64 ", segments of %" PRIu64 " KiB, every write synced before it is acknowledged\n", demo->seed,
                 segment_size_for(&demo->corpus) / 1024);
}

static void remove_flat(const char *dir)
{
    char path[PATH_BYTES];
    DIR *list = opendir(dir);
    const struct dirent *item;
    while (list != NULL && (item = readdir(list)) != NULL) {
        if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0) {
            join(path, dir, item->d_name);
            (void)unlink(path);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    if (rmdir(dir) != 0) {
        (void)fprintf(stderr, "demo: cannot remove %s: %s\n", dir, strerror(errno));
    }
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "--child") == 0) {
        return child_main(argv + 2);
    }
    if (argc < 3 || argc > 5) {
        (void)fprintf(stderr, "usage: %s CHECKOUT_DIR WORK_DIR [rounds [seed]]\n", argv[0]);
        return 2;
    }
    uint64_t rounds = argc > 3 ? strtoull(argv[3], NULL, 10) : DEFAULT_ROUNDS;
    struct demo demo = {.self = argv[0]};
    demo.seed = demo.random = argc > 4 ? strtoull(argv[4], NULL, 10) : mix((uint64_t)time(NULL)) % 1000000;
    demo.colours = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
    if (rounds == 0 || rounds > 1000000) {
        die("rounds: from 1 to 1000000");
    }
    demo.openings_us = must_have(calloc((size_t)rounds + 2, sizeof *demo.openings_us));
    prepare(&demo, argv[1], argv[2]);
    print_header();
    for (uint64_t round = 1; round <= rounds && demo.complaints == 0; round++) {
        play_round(&demo, round);
    }
    struct death none = {.phase = KV_PHASE_COUNT};
    for (int look = 0; look < 2 && demo.complaints == 0; look++) {
        (void)judge(&demo, &none, look == 0); /* after a clean close, and after a flush and a clean close */
    }
    print_summary(&demo);
    if (demo.complaints == 0) {
        remove_flat(demo.log);
        remove_flat(demo.store);
        remove_flat(demo.dir);
    }
    free(demo.openings_us);
    free(demo.holder);
    free_corpus(&demo.corpus);
    return demo.complaints == 0 ? 0 : 1;
}
