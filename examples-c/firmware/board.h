/* What the firmware needs from its board: here QEMU's, whose files stand for the world. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Files of the host, by semihosting. */
enum { FILE_READ = 1, FILE_UPDATE = 3, FILE_CREATE = 7 };
int file_open(const char *name, int mode); /* < 0: there is none */
int file_append(const char *name);         /* at its end, made if it is missing */
long file_length(int file);
int file_read(int file, void *bytes, size_t len);        /* 0: all of them */
int file_write(int file, const void *bytes, size_t len); /* 0: all of them */
int file_seek(int file, size_t offset);

/* The words of the command line behind the program's name, as numbers. */
unsigned arguments(uint32_t *words, unsigned most);

void say(const char *text);
void say_number(const char *name, uint32_t value);
void leave(int code) __attribute__((noreturn));

/* Instructions since an earlier call, modulo 2^24 ticks; QEMU runs with -icount shift=6. */
void clock_start(void);
uint32_t clock_ticks(void);

/* The deepest stack below the caller since stack_paint. */
void stack_paint(void);
uint32_t stack_used(void);

void *memcpy(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);

#endif
