/* Start-up, semihosting and measuring for QEMU's Cortex-M boards. */
#include "board.h"

extern uint32_t data_start[], data_end[], data_load[], bss_start[], bss_end[], stack_top[];

int main(void);
void reset(void) __attribute__((noreturn));
static void trap(void) __attribute__((noreturn));

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top, (void *)reset, (void *)trap, (void *)trap, (void *)trap, (void *)trap, (void *)trap,
};

static void trap(void)
{
    say("trap\n");
    leave(90);
}

/* The library's panics end here. It has none that can be reached. */
void wal_flash_panicked(void) __attribute__((noreturn));
void wal_flash_panicked(void)
{
    say("panic\n");
    leave(91);
}

void reset(void)
{
#if defined(__ARM_FP)
    /* The floating point unit is off until somebody asks. */
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
#endif
    uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end; to++) {
        *to = 0;
    }
    leave(main());
}

static int semihosting(int operation, const void *block)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static size_t length(const char *text)
{
    size_t len = 0;
    while (text[len] != 0) {
        len++;
    }
    return len;
}

int file_open(const char *name, int mode)
{
    const uint32_t block[3] = {(uint32_t)name, (uint32_t)mode, length(name)};
    return semihosting(1, block);
}

int file_append(const char *name)
{
    /* Not by mode: QEMU's semihosting writes at the beginning then. */
    int file = file_open(name, FILE_UPDATE);
    if (file < 0) {
        return file_open(name, FILE_CREATE);
    }
    return file_seek(file, (size_t)file_length(file)) == 0 ? file : -1;
}

long file_length(int file)
{
    const uint32_t block[1] = {(uint32_t)file};
    return semihosting(0x0C, block);
}

int file_write(int file, const void *bytes, size_t len)
{
    const uint32_t block[3] = {(uint32_t)file, (uint32_t)bytes, len};
    return semihosting(5, block);
}

int file_read(int file, void *bytes, size_t len)
{
    const uint32_t block[3] = {(uint32_t)file, (uint32_t)bytes, len};
    return semihosting(6, block);
}

int file_seek(int file, size_t offset)
{
    const uint32_t block[2] = {(uint32_t)file, offset};
    return semihosting(0x0A, block);
}

unsigned arguments(uint32_t *words, unsigned most)
{
    static char line[256];
    uint32_t block[2] = {(uint32_t)line, sizeof line};
    if (semihosting(0x15, block) != 0) {
        return 0;
    }
    const char *at = line;
    unsigned count = 0;
    while (*at != 0 && *at != ' ') {
        at++;
    }
    while (count < most) {
        while (*at == ' ') {
            at++;
        }
        if (*at < '0' || *at > '9') {
            break;
        }
        words[count] = 0;
        while (*at >= '0' && *at <= '9') {
            words[count] = words[count] * 10 + (uint32_t)(*at++ - '0');
        }
        count++;
    }
    return count;
}

void say(const char *text)
{
    (void)semihosting(4, text);
}

void say_number(const char *name, uint32_t value)
{
    char digits[12];
    char *at = digits + sizeof digits;
    *--at = 0;
    *--at = '\n';
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    say(name);
    say(" ");
    say(at);
}

void leave(int code)
{
    const uint32_t block[2] = {0x20026, (uint32_t)code};
    (void)semihosting(0x20, block);
    for (;;) {
    }
}

#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)

void clock_start(void)
{
    SYST_RVR = 0xFFFFFF;
    SYST_CVR = 0;
    SYST_CSR = 5;
}

uint32_t clock_ticks(void)
{
    return 0xFFFFFF - SYST_CVR;
}

enum { PAINTED = 8192 };
static const uint32_t paint = 0xC5C5C5C5u;

void stack_paint(void)
{
    uint32_t *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    for (uint32_t *at = sp - PAINTED / 4; at < sp - 8; at++) {
        *(volatile uint32_t *)at = paint;
    }
}

uint32_t stack_used(void)
{
    uint32_t *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    const uint32_t *at = sp - PAINTED / 4 + 8;
    while (at < sp && *at == paint) {
        at++;
    }
    return (uint32_t)((const char *)sp - (const char *)at);
}

/*
 * What compilers ask for: C's by these names, Rust's by the names of the ARM ABI, for which it brings its own that take ten times the room. A loop of
 * bytes is enough here; a C library's would do as well.
 */
#define PLAIN __attribute__((optimize("no-tree-loop-distribute-patterns")))

PLAIN void *memcpy(void *to, const void *from, size_t len)
{
    char *a = to;
    const char *b = from;
    while (len-- > 0) {
        *a++ = *b++;
    }
    return to;
}

PLAIN void *memset(void *to, int byte, size_t len)
{
    char *a = to;
    while (len-- > 0) {
        *a++ = (char)byte;
    }
    return to;
}

PLAIN int memcmp(const void *a, const void *b, size_t len)
{
    const unsigned char *x = a, *y = b;
    for (; len > 0; len--, x++, y++) {
        if (*x != *y) {
            return *x - *y;
        }
    }
    return 0;
}

void *__aeabi_memcpy(void *to, const void *from, size_t len) __attribute__((alias("memcpy")));
void *__aeabi_memcpy4(void *to, const void *from, size_t len) __attribute__((alias("memcpy")));
void *__aeabi_memcpy8(void *to, const void *from, size_t len) __attribute__((alias("memcpy")));

void __aeabi_memset(void *to, size_t len, int byte)
{
    memset(to, byte, len);
}

void __aeabi_memclr(void *to, size_t len)
{
    memset(to, 0, len);
}

void __aeabi_memset4(void *to, size_t len, int byte) __attribute__((alias("__aeabi_memset")));
void __aeabi_memset8(void *to, size_t len, int byte) __attribute__((alias("__aeabi_memset")));
void __aeabi_memclr4(void *to, size_t len) __attribute__((alias("__aeabi_memclr")));
void __aeabi_memclr8(void *to, size_t len) __attribute__((alias("__aeabi_memclr")));
