/* Makes the mistake that it is told to make, for the tools that must find it. Exits with 3 if it could not. */

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wal.h>

static int must(wal_status_t status)
{
  if (status < 0) {
    printf("%s\n", wal_status_name(status));
    exit(3);
  }
  return status;
}

static void *scribble(void *value)
{
  memset(value, 'y', 16);
  return NULL;
}

int main(int count, char **arguments)
{
  wal_t *wal = NULL;
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  static char path[512];
  if (count != 3) return 3;
  snprintf(path, sizeof path, "%s/log", arguments[2]);
  must(wal_open(path, NULL, &wal, NULL));
  if (strcmp(arguments[1], "leak") == 0) {
    must(wal_replay_open(wal, 0, 0, &cursor, NULL));
    cursor = NULL;
  } else if (strcmp(arguments[1], "use-after-free") == 0) {
    /* Bytes of a record whose cursor is closed. The library reads a cursor's bytes into its own memory. */
    must(wal_append(wal, WAL_OP_PUT, NULL, 0, "value", 5, NULL, NULL));
    must(wal_replay_open(wal, 0, 0, &cursor, NULL));
    must(wal_replay_next(cursor, &record, NULL));
    wal_replay_close(cursor);
    if (((const volatile char *)record.value)[0] == 'v') printf("still there\n");
  } else if (strcmp(arguments[1], "short-value") == 0) {
    /* The library reads more of a value than there is. */
    char *value = malloc(16);
    if (value == NULL) return 3;
    memset(value, 'x', 16);
    must(wal_append(wal, WAL_OP_PUT, NULL, 0, value, 24, NULL, NULL));
    free(value);
  } else if (strcmp(arguments[1], "race") == 0) {
    /* Another thread writes what the library reads. */
    static char value[16];
    pthread_t thread;
    if (pthread_create(&thread, NULL, scribble, value) != 0) return 3;
    must(wal_append(wal, WAL_OP_PUT, NULL, 0, value, sizeof value, NULL, NULL));
    pthread_join(thread, NULL);
  } else if (strcmp(arguments[1], "overflow") == 0) {
    volatile int most = INT_MAX;
    most = most + 1;
    printf("%d\n", most);
  } else {
    return 3;
  }
  must(wal_close(wal, NULL));
  return 0;
}
