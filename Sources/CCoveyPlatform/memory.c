#define _GNU_SOURCE
#include "CCoveyPlatform.h"

#include <stdlib.h>
#include <sys/mman.h>

// Buffers from this size on get pages of their own, and large ones: the maps of
// a window can be gigabytes, and giving back as many small pages takes longer
// than a cancelled call may.
enum { HUGE_PAGE = 2 << 20, LARGE = 4 * HUGE_PAGE };

// Whole cache lines, so that vector code may read to the end of the last one;
// of large buffers whole small pages.
static size_t rounded(size_t bytes) {
  size_t unit = bytes < LARGE ? 64 : 4096;
  return bytes == 0 ? unit : (bytes + unit - 1) / unit * unit;
}

static void *allocate_pages(size_t bytes) {
  char *start = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return NULL;
  // Give back what lies before the first border of large pages, and the rest
  // behind.
  size_t before = -(uintptr_t)start % HUGE_PAGE;
  if (before > 0) munmap(start, before);
  munmap(start + before + bytes, HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
  // Whole large pages only, so that no memory is used that was not asked for.
  // Advice: where the system has none, small pages serve as well.
  (void)madvise(start + before, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
  return start + before;
}

void *cv_allocate(size_t bytes) {
  if (bytes > PTRDIFF_MAX - HUGE_PAGE - 4096) return NULL;
  if (bytes >= LARGE) return allocate_pages(rounded(bytes));
  void *memory = NULL;
  return posix_memalign(&memory, 64, rounded(bytes)) == 0 ? memory : NULL;
}

void cv_deallocate(void *memory, size_t bytes) {
  if (bytes < LARGE) {
    free(memory);
  } else if (memory) {
    munmap(memory, rounded(bytes));
  }
}

bool cv_could_map(size_t count, size_t writable, size_t addresses) {
  void **pieces = calloc(count, 2 * sizeof *pieces);
  if (!pieces) return false;
  const size_t sizes[2] = {writable, addresses};
  const int protections[2] = {PROT_READ | PROT_WRITE, PROT_NONE};
  size_t mapped = 0;
  for (; mapped < 2 * count; mapped++) {
    pieces[mapped] = mmap(NULL, sizes[mapped % 2], protections[mapped % 2],
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pieces[mapped] == MAP_FAILED) break;
  }
  for (size_t i = 0; i < mapped; i++) munmap(pieces[i], sizes[i % 2]);
  free(pieces);
  return mapped == 2 * count;
}
