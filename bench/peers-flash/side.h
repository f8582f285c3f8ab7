/*
 * A side keeps records of RECORD bytes on the chip of main.c, each durable when its append returns, and forgets its oldest ones when the chip is full.
 * Instructions in the chip's functions are not counted.
 */
#ifndef SIDE_H
#define SIDE_H

#include <stdint.h>

/* The chip. A block is erased to 0xFF; UNIT, the bytes that are programmed together, is the side's. */
enum { BLOCK = 2048, BLOCKS = 16, RECORD = 32 };

int chip_read(uint32_t offset, void *bytes, uint32_t len);
int chip_program(uint32_t offset, const void *bytes, uint32_t len);
int chip_erase(uint32_t block);

/* Takes a record that the side reads back; oldest first. */
void record_read(const void *record);
/* Ends the run if the status is not 0. */
void must(const char *what, int status);

/* What a side brings. side_open is called again for a restart: nothing that an earlier call left in memory may be used. */
void side_open(int is_new);
void side_append(const void *record);
void side_read(void);

#endif
