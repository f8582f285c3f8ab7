/* Memory that is refused: see allocator.c. Only the program of memory.c has this allocator. */

#ifndef ALLOCATOR_H
#define ALLOCATOR_H

#include <stdbool.h>
#include <stdlib.h>

/* The nth allocation of the process from now on (1 is the next; 0: none) fails, and if `from_then_on` every later one too. */
void memory_fail(unsigned nth, bool from_then_on);

/* No allocation fails any more; returns how many did. */
unsigned memory_back(void);

/* None fails and none is counted in between. Without effect after memory_back. */
void memory_pause(void);
void memory_resume(void);

/* How many there were between the last memory_fail and memory_back. */
unsigned memory_seen(void);

/* Blocks that the process has. */
long memory_blocks(void);

#endif
