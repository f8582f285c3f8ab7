/* Small things that every program here uses. */
#define _POSIX_C_SOURCE 200809L

#include "real.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Noreturn void give_up(const char *format, ...)
{
  int error_number = errno;
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  errno = error_number; /* For %m. */
  fputs("cannot go on: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(2);
}

/* splitmix64. */
uint64_t mix(uint64_t number)
{
  number += UINT64_C(0x9e3779b97f4a7c15);
  number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
  return number ^ number >> 31;
}

uint64_t draw(uint64_t *random, uint64_t below)
{
  *random += UINT64_C(0x9e3779b97f4a7c15);
  return mix(*random) % below;
}

uint64_t draw_log(uint64_t *random, uint64_t most)
{
  unsigned bits = 0;
  while (most >> bits > 1) bits++;
  uint64_t bound = UINT64_C(2) << draw(random, bits + 1);
  return 1 + draw(random, bound < most ? bound : most);
}

uint64_t now_us(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void sleep_us(uint64_t us)
{
  struct timespec left = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}
