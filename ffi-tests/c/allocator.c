/* The allocator that memory.c lets fail. A program's own definition comes before the C library's, for the static archive as for the shared library
 * and for what the C library allocates itself: a directory's listing, a thread. The next definition, which may be a sanitizer's, does the work. */

#include "allocator.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_uint before_failing; /* Allocations until it happens; 0: none is to fail. */
static atomic_bool failing;        /* Every one from here on fails. */
static atomic_bool for_good;
static atomic_uint seen, failed;
static atomic_bool armed, paused;
static atomic_long blocks;
#ifdef __SANITIZE_ADDRESS__
static pthread_t arming;
#endif

void memory_fail(unsigned nth, bool from_then_on)
{
  atomic_store(&armed, false);
  atomic_store(&paused, false);
#ifdef __SANITIZE_ADDRESS__
  arming = pthread_self();
#endif
  atomic_store(&seen, 0);
  atomic_store(&failed, 0);
  atomic_store(&failing, false);
  atomic_store(&for_good, from_then_on);
  atomic_store(&before_failing, nth);
  atomic_store(&armed, true);
}

unsigned memory_back(void)
{
  atomic_store(&armed, false);
  return atomic_load(&failed);
}

void memory_pause(void)
{
  atomic_store(&paused, true);
}

void memory_resume(void)
{
  atomic_store(&paused, false);
}

unsigned memory_seen(void)
{
  return atomic_load(&seen);
}

long memory_blocks(void)
{
  return atomic_load(&blocks);
}

static bool refused(void)
{
  if (!atomic_load(&armed) || atomic_load(&paused)) return false;
#ifdef __SANITIZE_ADDRESS__
  /* What the tool itself needs for a thread that begins, it must get. */
  if (!pthread_equal(pthread_self(), arming)) return false;
#endif
  unsigned number = atomic_fetch_add(&seen, 1) + 1;
  bool now = number == atomic_load(&before_failing);
  if (now && atomic_load(&for_good)) atomic_store(&failing, true);
  if (!now && !atomic_load(&failing)) return false;
  atomic_fetch_add(&failed, 1);
  errno = ENOMEM;
  return true;
}

static void *counted(void *block)
{
  if (block != NULL) atomic_fetch_add(&blocks, 1);
  return block;
}

#ifdef __SANITIZE_ADDRESS__
/* AddressSanitizer allocates before anything can be looked for; its own names for its functions are there from the start. */
void *__interceptor_malloc(size_t);
void *__interceptor_calloc(size_t, size_t);
void *__interceptor_realloc(void *, size_t);
int __interceptor_posix_memalign(void **, size_t, size_t);
void *__interceptor_aligned_alloc(size_t, size_t);
void __interceptor_free(void *);
#define NEXT(function) __typeof__(&function) next = __interceptor_##function
#else
/* The definition behind this one, found once. Looking for it allocates nothing. */
#define NEXT(function)                                                          \
  static _Atomic(void *) found_;                                                \
  void *symbol_ = atomic_load(&found_);                                         \
  if (symbol_ == NULL) atomic_store(&found_, symbol_ = dlsym(RTLD_NEXT, #function)); \
  __typeof__(&function) next;                                                   \
  __builtin_memcpy(&next, &symbol_, sizeof next)
#endif

void *malloc(size_t size)
{
  NEXT(malloc);
  return refused() ? NULL : counted(next(size));
}

void *calloc(size_t count, size_t size)
{
  NEXT(calloc);
  return refused() ? NULL : counted(next(count, size));
}

void *realloc(void *block, size_t size)
{
  NEXT(realloc);
  if (refused()) return NULL;
  return block == NULL ? counted(next(NULL, size)) : next(block, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
  NEXT(posix_memalign);
  if (refused()) return ENOMEM;
  int error_number = next(block, alignment, size);
  if (error_number == 0) counted(*block);
  return error_number;
}

void *aligned_alloc(size_t alignment, size_t size)
{
  NEXT(aligned_alloc);
  return refused() ? NULL : counted(next(alignment, size));
}

void free(void *block)
{
  NEXT(free);
  if (block != NULL) atomic_fetch_sub(&blocks, 1);
  next(block);
}
