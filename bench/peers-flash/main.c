/* What keeping records on flash takes: one side, linked with this, on a chip in memory that counts. Tells lines of a name and a number. */
#include "side.h"

#include "board.h"

static uint8_t image[BLOCK * BLOCKS];
static uint8_t programmed[BLOCK * BLOCKS / 4]; /* Of the same size for every side, which its memory is compared with. */

typedef struct counts {
    uint32_t ticks, reads, read_bytes, programs, programmed_bytes, erases;
} counts_t;

static counts_t counted;
static uint32_t newest, read_back, next_expected;

static uint32_t since(uint32_t from)
{
    return (clock_ticks() - from) & 0xFFFFFF;
}

/* ---- The chip ---- */

static void refuse(const char *what)
{
    say(what);
    leave(21);
}

int chip_read(uint32_t offset, void *bytes, uint32_t len)
{
    uint32_t from = clock_ticks();
    if (offset + len > sizeof image) {
        refuse("chip: a read outside\n");
    }
    memcpy(bytes, image + offset, len);
    counted.reads++;
    counted.read_bytes += len;
    counted.ticks += since(from);
    return 0;
}

/* Units are programmed once between two erasures: chips with error correction do not take more. */
int chip_program(uint32_t offset, const void *bytes, uint32_t len)
{
    uint32_t from = clock_ticks();
    if (offset % UNIT != 0 || len % UNIT != 0 || offset + len > sizeof image) {
        refuse("chip: a program outside or of parts of units\n");
    }
    for (uint32_t unit = offset / UNIT; unit < (offset + len) / UNIT; unit++) {
        if (programmed[unit]) {
            refuse("chip: a unit programmed twice\n");
        }
        programmed[unit] = 1;
    }
    memcpy(image + offset, bytes, len);
    counted.programs++;
    counted.programmed_bytes += len;
    counted.ticks += since(from);
    return 0;
}

int chip_erase(uint32_t block)
{
    uint32_t from = clock_ticks();
    if (block >= BLOCKS) {
        refuse("chip: an erasure outside\n");
    }
    memset(image + block * BLOCK, 0xFF, BLOCK);
    memset(programmed + block * BLOCK / UNIT, 0, BLOCK / UNIT);
    counted.erases++;
    counted.ticks += since(from);
    return 0;
}

/* ---- Records: the number of each stands in front ---- */

void must(const char *what, int status)
{
    if (status != 0) {
        say(what);
        say_number(": status -", (uint32_t)-status);
        say_number("behind record", newest);
        leave(20);
    }
}

void record_read(const void *record)
{
    uint32_t number;
    memcpy(&number, record, sizeof number);
    if (read_back > 0 && number != next_expected) {
        say_number("expected", next_expected);
        say_number("read", number);
        refuse("records are not in order\n");
    }
    next_expected = number + 1;
    read_back++;
}

static void append(void)
{
    uint8_t record[RECORD] = {0};
    newest++;
    memcpy(record, &newest, sizeof newest);
    side_append(record);
}

/* How many records there are. The last must be the newest. */
static uint32_t read_all(void)
{
    read_back = 0;
    side_read();
    if (next_expected != newest + 1) {
        refuse("the newest record is not there\n");
    }
    return read_back;
}

/* Ticks of 40 ns in which instructions of 64 ns ran, without the chip's. */
static uint32_t instructions(uint32_t from)
{
    return (since(from) - counted.ticks) * 5 / 8;
}

enum { FILLING = 1500, MEASURED = 1000, SEARCHED = 600 };

int main(void)
{
    uint32_t sum = 0, most = 0, cheapest = UINT32_MAX, most_erases = 0, fewest = UINT32_MAX, from;
    counts_t total = {0};
    for (uint32_t block = 0; block < BLOCKS; block++) {
        chip_erase(block);
    }
    clock_start();
    side_open(1);
    for (uint32_t i = 0; i < FILLING; i++) {
        append();
    }
    stack_paint();
    for (uint32_t i = 0; i < MEASURED; i++) {
        memset(&counted, 0, sizeof counted);
        from = clock_ticks();
        append();
        uint32_t took = instructions(from);
        sum += took;
        most = took > most ? took : most;
        cheapest = took < cheapest ? took : cheapest;
        most_erases = counted.erases > most_erases ? counted.erases : most_erases;
        total.programs += counted.programs;
        total.programmed_bytes += counted.programmed_bytes;
        total.erases += counted.erases;
        total.read_bytes += counted.read_bytes;
    }
    say_number("stack_append", stack_used());
    say_number("append_instructions", sum / MEASURED);
    say_number("append_instructions_least", cheapest);
    say_number("append_instructions_most", most);
    say_number("append_programs_per_1000", total.programs * 1000 / MEASURED);
    say_number("append_programmed_bytes", total.programmed_bytes / MEASURED);
    say_number("append_read_bytes", total.read_bytes / MEASURED);
    say_number("append_erases_per_1000", total.erases * 1000 / MEASURED);
    say_number("append_erases_most", most_erases);

    /* What a host can count on: the fewest records at any time. */
    for (uint32_t i = 0; i < SEARCHED; i++) {
        append();
        if (i % 5 == 0) {
            uint32_t count = read_all();
            fewest = count < fewest ? count : fewest;
        }
    }
    say_number("records_kept", fewest);

    /* A restart, the chip full: the opening alone, and the first append behind it. */
    memset(&counted, 0, sizeof counted);
    stack_paint();
    from = clock_ticks();
    side_open(0);
    say_number("open_instructions", instructions(from));
    say_number("open_read_bytes", counted.read_bytes);
    say_number("open_reads", counted.reads);
    say_number("open_programmed_bytes", counted.programmed_bytes);
    say_number("open_erases", counted.erases);
    memset(&counted, 0, sizeof counted);
    append();
    say_number("first_programmed_bytes", counted.programmed_bytes);
    say_number("first_erases", counted.erases);
    say_number("stack_open", stack_used());

    memset(&counted, 0, sizeof counted);
    stack_paint();
    from = clock_ticks();
    uint32_t count = read_all();
    say_number("read_instructions", instructions(from) / count);
    say_number("read_bytes", counted.read_bytes / count);
    say_number("stack_read", stack_used());
    return 0;
}
