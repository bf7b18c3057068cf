#include "CCoveyPlatform.h"

#include <stdlib.h>

void *cv_allocate(size_t bytes) {
  void *memory = NULL;
  if (bytes > PTRDIFF_MAX - 64) return NULL;
  // Whole cache lines, so that vector code may read to the end of the last one.
  size_t rounded = (bytes + 63) / 64 * 64;
  if (rounded == 0) rounded = 64;
  return posix_memalign(&memory, 64, rounded) == 0 ? memory : NULL;
}

void cv_deallocate(void *memory) { free(memory); }
