/* What keeping records on flash takes: one side, linked with this, on a chip in memory that counts. Tells lines of a name and a number. */
#include "side.h"

#include "board.h"

static uint8_t image[BLOCK * BLOCKS];
static uint8_t programmed[BLOCK * BLOCKS / 4]; /* Of the same size for every side, which its memory is compared with. */

typedef struct counts {
    uint32_t ticks, reads, read_bytes, programs, programmed_bytes, erases, twice;
} counts_t;

static counts_t counted;
/* The number of the last record appended; what reading back saw: how many, the number behind the last one, and how many were not what was expected. */
static uint32_t newest, read_back, next_expected, wrong;
/* Programs and erasures until the power fails, 0: it does not; and whether a life is being tried, which ends by a jump instead of the run. */
static uint32_t steps_left, noise = 1, is_tried;
static void *end_of_life[5];
/* More reads than any opening or reading back takes: who makes them does not come to an end. */
enum { PATIENCE = 1000000 };

static uint32_t since(uint32_t from)
{
    return (clock_ticks() - from) & 0xFFFFFF;
}

/* ---- The chip ---- */

static void refuse(const char *what)
{
    if (is_tried) {
        __builtin_longjmp(end_of_life, 1);
    }
    say(what);
    say("\n");
    leave(21);
}

static uint32_t chance(uint32_t most)
{
    noise ^= noise << 13;
    noise ^= noise >> 17;
    noise ^= noise << 5;
    return noise % most;
}

/* The power fails if it is time: units of the range are as they were, done, or any mix of bits. */
static void power(uint32_t offset, const uint8_t *bytes, uint32_t len)
{
    static uint32_t fate;
    if (steps_left == 0 || --steps_left > 0) {
        return;
    }
    for (uint32_t i = 0; i < len; i++) {
        fate = i % UNIT == 0 ? chance(3) : fate;
        uint8_t mask = fate == 0 ? 0 : fate == 1 ? 0xFF : (uint8_t)chance(256);
        uint8_t byte = bytes != NULL ? image[offset + i] & bytes[i] : 0xFF;
        image[offset + i] = (uint8_t)((image[offset + i] & ~mask) | (byte & mask));
    }
    /* What looks erased may be programmed; what is not known here is left to the sides. */
    for (uint32_t unit = 0; unit < sizeof image / UNIT; unit++) {
        programmed[unit] = 0;
        for (uint32_t i = 0; i < UNIT; i++) {
            programmed[unit] |= image[unit * UNIT + i] != 0xFF;
        }
    }
    __builtin_longjmp(end_of_life, 1);
}

int chip_read(uint32_t offset, void *bytes, uint32_t len)
{
    uint32_t from = clock_ticks();
    if (offset + len > sizeof image) {
        return -1;
    }
    memcpy(bytes, image + offset, len);
    counted.reads++;
    counted.read_bytes += len;
    if (is_tried && counted.reads > PATIENCE) {
        refuse("a side that reads for ever");
    }
    counted.ticks += since(from);
    return 0;
}

/* Units that are programmed again before they are erased are counted. Bits are cleared then; chips with error correction do not take it. */
int chip_program(uint32_t offset, const void *bytes, uint32_t len)
{
    uint32_t from = clock_ticks();
    if (offset % UNIT != 0 || len % UNIT != 0 || offset + len > sizeof image) {
        refuse("chip: a program outside or of parts of units");
    }
    for (uint32_t unit = offset / UNIT; unit < (offset + len) / UNIT; unit++) {
        counted.twice += programmed[unit];
        programmed[unit] = 1;
    }
    power(offset, bytes, len);
    for (uint32_t i = 0; i < len; i++) {
        image[offset + i] &= ((const uint8_t *)bytes)[i];
    }
    counted.programs++;
    counted.programmed_bytes += len;
    counted.ticks += since(from);
    return 0;
}

int chip_erase(uint32_t block)
{
    uint32_t from = clock_ticks();
    if (block >= BLOCKS) {
        refuse("chip: an erasure outside");
    }
    power(block * BLOCK, NULL, BLOCK);
    memset(image + block * BLOCK, 0xFF, BLOCK);
    memset(programmed + block * BLOCK / UNIT, 0, BLOCK / UNIT);
    counted.erases++;
    counted.ticks += since(from);
    return 0;
}

/* ---- Records: of the words of each the first is its number, the others follow from it ---- */

void must(const char *what, int status)
{
    if (status != 0) {
        if (!is_tried) {
            say_number("status -", (uint32_t)-status);
            say_number("behind record", newest);
        }
        refuse(what);
    }
}

static void make(uint32_t *words, uint32_t number)
{
    for (uint32_t i = 0; i < RECORD / 4; i++) {
        words[i] = number * (i + 1);
    }
}

void record_read(const void *record)
{
    uint32_t words[RECORD / 4], number;
    memcpy(&number, record, sizeof number);
    make(words, number);
    wrong += (read_back > 0 && number != next_expected) || memcmp(words, record, RECORD) != 0;
    next_expected = number + 1;
    read_back++;
}

static void append(void)
{
    uint32_t words[RECORD / 4];
    make(words, newest + 1);
    side_append(words);
    newest++;
}

/* How many records there are. */
static uint32_t read_all(void)
{
    read_back = wrong = 0;
    side_read();
    return read_back;
}

static uint32_t read_all_of_them(void)
{
    uint32_t count = read_all();
    if (wrong > 0 || next_expected != newest + 1) {
        refuse("records are missing, or not what was appended");
    }
    return count;
}

/* ---- Power cuts ---- */

/* A life: appends until the power fails. Not so if the side refuses. */
static int live(void)
{
    if (__builtin_setjmp(end_of_life) != 0) {
        return steps_left == 0;
    }
    counted.reads = 0;
    side_open(0);
    for (;;) {
        append();
    }
}

/* What a restart finds: whether it finds anything. */
static int look(void)
{
    if (__builtin_setjmp(end_of_life) != 0) {
        return 0;
    }
    counted.reads = 0;
    side_open(0);
    read_all();
    return 1;
}

/* The most programs and erasures of a life. */
enum { STEPS = 400 };

/* The same chip loses its power again and again; `kept` records are the fewest that are there if it does not. */
static void cut(uint32_t cuts, uint32_t kept)
{
    uint32_t refused = 0, lost = 0, emptied = 0, invented = 0, appended = 0, there = kept;
    is_tried = 1;
    counted.twice = 0;
    for (uint32_t i = 0; i < cuts; i++) {
        uint32_t before = newest;
        steps_left = 1 + chance(STEPS);
        if (!live() || !look()) {
            /* The host can only begin anew. */
            refused++;
            steps_left = 0;
            for (uint32_t block = 0; block < BLOCKS; block++) {
                chip_erase(block);
            }
            side_open(1);
            there = 0;
            continue;
        }
        appended += newest - before;
        there = there + newest - before < kept ? there + newest - before : kept;
        /* The record whose append was cut may be there, or not. */
        lost += read_back == 0 ? there > 0 : next_expected <= newest;
        emptied += read_back < there / 4;
        invented += wrong > 0 || (read_back > 0 && next_expected > newest + 2);
        newest = read_back > 0 ? next_expected - 1 : newest;
        there = read_back;
    }
    say_number("cuts", cuts);
    say_number("cuts_appended", appended);
    say_number("cuts_refused", refused);
    say_number("cuts_lost", lost);
    say_number("cuts_wrong", invented);
    say_number("cuts_emptied", emptied);
    say_number("cuts_twice", counted.twice);
}

/* ---- Measuring ---- */

/* Ticks of 40 ns in which instructions of 64 ns ran, without the chip's. */
static uint32_t instructions(uint32_t from)
{
    return (since(from) - counted.ticks) * 5 / 8;
}

enum { FILLING = 1500, MEASURED = 1000, SEARCHED = 600, CUTS = 500 };

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
        uint32_t words[RECORD / 4];
        make(words, ++newest);
        memset(&counted, 0, sizeof counted);
        from = clock_ticks();
        side_append(words);
        uint32_t took = instructions(from);
        sum += took;
        most = took > most ? took : most;
        cheapest = took < cheapest ? took : cheapest;
        most_erases = counted.erases > most_erases ? counted.erases : most_erases;
        total.programs += counted.programs;
        total.programmed_bytes += counted.programmed_bytes;
        total.erases += counted.erases;
        total.read_bytes += counted.read_bytes;
        total.twice += counted.twice;
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
    say_number("append_twice", total.twice);

    /* What a host can count on: the fewest records at any time. */
    for (uint32_t i = 0; i < SEARCHED; i++) {
        append();
        if (i % 5 == 0) {
            uint32_t count = read_all_of_them();
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
    say_number("first_programs", counted.programs);
    say_number("first_programmed_bytes", counted.programmed_bytes);
    say_number("first_erases", counted.erases);
    say_number("stack_open", stack_used());

    memset(&counted, 0, sizeof counted);
    stack_paint();
    from = clock_ticks();
    uint32_t count = read_all_of_them();
    say_number("read_instructions", instructions(from) / count);
    say_number("read_bytes", counted.read_bytes / count);
    say_number("stack_read", stack_used());
    cut(CUTS, fewest);
    return 0;
}
