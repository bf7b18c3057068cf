#define _GNU_SOURCE
#include "CCoveyPlatform.h"

#include <stdlib.h>
#include <sys/mman.h>

// Buffers from this size on are laid out for large pages: the maps of a window
// can be gigabytes, and giving back as many small pages takes longer than a
// cancelled call may.
enum { HUGE_PAGE = 2 << 20, LARGE = 4 * HUGE_PAGE };

void *cv_allocate(size_t bytes) {
  void *memory = NULL;
  if (bytes > PTRDIFF_MAX - 64) return NULL;
  // Whole cache lines, so that vector code may read to the end of the last one.
  size_t rounded = (bytes + 63) / 64 * 64;
  if (rounded == 0) rounded = 64;
  if (rounded < LARGE) return posix_memalign(&memory, 64, rounded) == 0 ? memory : NULL;
  if (posix_memalign(&memory, HUGE_PAGE, rounded) != 0) return NULL;
#ifdef MADV_HUGEPAGE
  // Whole large pages only, so that no memory is used that was not asked for.
  // Advice: where the system has none, small pages serve as well.
  (void)madvise(memory, rounded / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
  return memory;
}

void cv_deallocate(void *memory) { free(memory); }
