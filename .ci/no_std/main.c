#include <stdint.h>
#include <stdio.h>

uint32_t no_std_check(void);

/* The core library comes compiled for programs that unwind and asks for this; nothing here ever unwinds. */
void rust_eh_personality(void);
void rust_eh_personality(void) {}

int main(void)
{
    uint32_t failed = no_std_check();
    if (failed != 0) {
        (void)fprintf(stderr, "no_std_check: step %u\n", (unsigned)failed);
    }
    return failed != 0;
}
