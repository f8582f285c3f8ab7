/* A flash chip whose content outlives the firmware, and whose power can fail. */
#ifndef CHIP_H
#define CHIP_H

#include <stdint.h>

#include "wal_flash.h"

enum { BLOCK = 2048, BLOCKS = 16, UNIT = 8 };

/* Reads the chip from its file, or makes an erased one: whether it is new. */
int chip_power_on(void);
/* The power fails at this program or erasure from now on, and tears it; 0: never. */
void chip_cut_after(uint32_t steps, uint32_t seed);
/* Nothing goes to the file from now on: for measuring. */
void chip_detach(void);

/* The chip as the log is told of it; every other member is 0. */
wal_flash_config_t chip_config(void);

#endif
