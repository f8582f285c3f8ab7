/* What the recorder writes and what a recorded program tells it. The recorder is preloaded; the program finds its functions with dlsym. */

#ifndef RECORD_H
#define RECORD_H

#include <stdint.h>

/* One record of the file: this header, then `name_len` bytes of names, then `data_len` bytes. Little-endian, as the machines are that run this. */
typedef struct {
  uint32_t call;     /* CALL_... */
  int32_t fd;        /* The descriptor, or that of the directory. */
  int64_t result;    /* What the call answered; a failed one has changed nothing, and is not recorded. */
  uint64_t a, b, c;  /* CALL_OPEN: flags. CALL_WRITE: offset. CALL_ALLOCATE: mode, offset, length. CALL_MARK: see the program. */
  uint32_t name_len; /* CALL_RENAME has two names, with a zero byte between them. */
  uint32_t data_len; /* CALL_WRITE: what was written. CALL_SYNC, CALL_SKIPPED: the call's way through the library, 8 bytes for each frame. */
} record_t;

enum {
  CALL_MARK = 1,
  CALL_OPEN = 2,
  CALL_CLOSE = 3,
  CALL_MKDIR = 4,
  CALL_WRITE = 5,
  CALL_ALLOCATE = 6,
  CALL_SYNC = 7,
  CALL_SKIPPED = 8, /* A sync that the recorder was told to leave out: it answered 0 and did nothing. */
  CALL_RENAME = 9,
  CALL_UNLINK = 10,
  CALL_OTHER = 11   /* A call that changes files and that the reader does not understand. */
};

/* Starts recording, to the file that the environment variable WAL_RECORD names; every process that is forked later goes on in the same file. */
typedef void record_start_t(void);

/* Writes a mark. */
typedef void record_mark_t(uint32_t kind, uint64_t a, uint64_t b, uint64_t c);

/* The process dies instead of making the call with this number, of those that change anything, counted from 1 from here on. 0: it does not. */
typedef void record_die_t(uint64_t call);

/* The next write writes one `part`th of its bytes; then it fails with this error number, which is to be one that is final. */
typedef void record_fail_t(int error, unsigned part);

/* From here on no space can be allocated. */
typedef void record_full_t(void);

#endif
