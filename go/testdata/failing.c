/* A disk that fails when it is told so, by way of LD_PRELOAD. $WAL_FAILING names a file; while it exists it holds the name of a call and the error
 * number with which that call fails: "fdatasync 5". */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(const char *call)
{
  const char *path = getenv("WAL_FAILING");
  FILE *file = path != NULL ? fopen(path, "re") : NULL;
  char name[32];
  int number = 0;
  if (file == NULL) return 0;
  if (fscanf(file, "%31s %d", name, &number) != 2 || strcmp(name, call) != 0) number = 0;
  fclose(file);
  errno = number;
  return number != 0;
}

int fdatasync(int file) { return fails("fdatasync") ? -1 : (int)syscall(SYS_fdatasync, file); }

int fallocate(int file, int mode, off_t offset, off_t len)
{
  return fails("fallocate") ? -1 : (int)syscall(SYS_fallocate, file, mode, offset, len);
}
