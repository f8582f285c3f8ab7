/* No side: what the program takes by itself. It keeps the newest record, and nothing else. */
#include "side.h"

void side_open(int is_new)
{
    (void)is_new;
}

void side_append(const void *record)
{
    must("erase", chip_erase(0));
    must("program", chip_program(0, record, RECORD));
}

void side_read(void)
{
    uint8_t record[RECORD];
    must("read", chip_read(0, record, RECORD));
    record_read(record);
}
