/*
 * Runs the logger under QEMU again and again, cuts its power at random, and compares what the server got with what the logger had acknowledged.
 *
 * usage: judge QEMU BOARD FIRMWARE CUTS SEED
 *
 * The server must have every reading once, in order, from 1 on, with the right content and rising seqs; and after each start everything that was
 * acknowledged before. One cut in four is a SIGKILL at a random moment, the others tear a program or an erasure of the flash.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct upload {
    uint64_t seq;
    uint32_t number;
    uint32_t words[7];
};

static uint32_t noise = 1;

static uint32_t random_word(void)
{
    noise ^= noise << 13;
    noise ^= noise >> 17;
    noise ^= noise << 5;
    return noise;
}

static void *slurp(const char *name, size_t *len)
{
    FILE *file = fopen(name, "rb");
    *len = 0;
    if (file == NULL) {
        return NULL;
    }
    (void)fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    void *bytes = malloc((size_t)size + 1);
    if (bytes != NULL && fread(bytes, 1, (size_t)size, file) == (size_t)size) {
        *len = (size_t)size;
    }
    (void)fclose(file);
    return bytes;
}

/* The last reading that was acknowledged. */
static uint32_t acknowledged(void)
{
    size_t len;
    uint32_t *numbers = slurp("acknowledged.bin", &len);
    uint32_t last = len >= 4 ? numbers[len / 4 - 1] : 0;
    free(numbers);
    return last;
}

/* How many readings the server has, all of them right; exits if one is not. */
static uint32_t uploaded(int run)
{
    size_t len;
    struct upload *items = slurp("server.bin", &len);
    uint32_t count = (uint32_t)(len / sizeof *items);
    for (uint32_t i = 0; i < count; i++) {
        int is_right = items[i].number == i + 1 && (i == 0 || items[i].seq > items[i - 1].seq);
        for (uint32_t j = 0; j < 7; j++) {
            is_right = is_right && items[i].words[j] == (i + 1) * 2654435761u + j * 40503u;
        }
        if (!is_right) {
            fprintf(stderr, "run %d: upload %u is reading %u, seq %llu\n", run, i + 1, items[i].number, (unsigned long long)items[i].seq);
            exit(1);
        }
    }
    free(items);
    return count;
}

/* How the firmware ended: its exit code, or -1 if it was killed. */
static int run_once(char **argv, uint32_t rounds, uint32_t cut, uint32_t seed, uint32_t kill_after_us)
{
    char line[160];
    (void)snprintf(line, sizeof line, "enable=on,target=native,arg=logger,arg=%u,arg=%u,arg=%u", rounds, cut, seed);
    pid_t child = fork();
    if (child == 0) {
        (void)freopen("/dev/null", "r", stdin);
        execlp(argv[1], argv[1], "-M", argv[2], "-nographic", "-monitor", "none", "-serial", "none", "-semihosting-config", line, "-kernel",
               argv[3], (char *)NULL);
        _exit(127);
    }
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    int status = 0;
    if (kill_after_us > 0) {
        (void)usleep(kill_after_us);
        (void)kill(child, SIGKILL);
    }
    for (int tries = 0; waitpid(child, &status, WNOHANG) == 0; tries++) {
        if (tries > 60000) {
            (void)kill(child, SIGKILL);
            fprintf(stderr, "the firmware did not end within a minute\n");
            exit(1);
        }
        (void)usleep(1000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: judge QEMU BOARD FIRMWARE CUTS SEED\n");
        return 2;
    }
    int wanted = atoi(argv[4]), cuts = 0, torn = 0, killed = 0, runs = 0;
    noise = (uint32_t)atoi(argv[5]) | 1;
    while (cuts < wanted) {
        uint32_t before = acknowledged();
        uint32_t seed = random_word() & 0xFFFF, kill_after_us = runs % 4 == 3 ? 5000 + random_word() % 60000 : 0;
        /* Often early, where recovery is. */
        uint32_t cut = kill_after_us > 0 ? 0 : 1 + random_word() % (random_word() % 3 == 0 ? 12 : 400);
        int code = run_once(argv, 40, cut, seed, kill_after_us);
        runs++;
        if (code == 10) {
            torn++;
        } else if (code == -1) {
            killed++;
        } else if (code != 0) {
            fprintf(stderr, "run %d (cut %u, seed %u): the firmware ended with %d\n", runs, cut, seed, code);
            return 1;
        }
        cuts = torn + killed;
        uint32_t has = uploaded(runs);
        if (code == 10 && has < before) {
            fprintf(stderr, "run %d: reading %u was acknowledged, the server has %u\n", runs, before, has);
            return 1;
        }
    }
    /* Everything that was ever acknowledged arrives. */
    uint32_t before = acknowledged();
    if (run_once(argv, 1, 0, 1, 0) != 0 || uploaded(runs) < before) {
        fprintf(stderr, "at last: reading %u was acknowledged, the server has %u\n", before, uploaded(runs));
        return 1;
    }
    printf("%s: %d power cuts (%d torn, %d killed), %u readings acknowledged, %u uploaded, none lost\n", argv[2], cuts, torn, killed, before,
           uploaded(runs));
    return 0;
}
