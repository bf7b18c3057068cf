#include "CCoveyKernels.h"

#include <string.h>

size_t cv_first_not_finite(const float *x, size_t n) {
  enum { BLOCK = 4096 };
  for (size_t from = 0; from < n; from += BLOCK) {
    size_t to = n - from < BLOCK ? n : from + BLOCK;
    // Blocks without a branch inside run at the speed of memory.
    uint32_t bad = 0;
    for (size_t i = from; i < to; i++) {
      uint32_t bits;
      memcpy(&bits, x + i, sizeof bits);
      bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    if (!bad) continue;
    for (size_t i = from; i < to; i++) {
      uint32_t bits;
      memcpy(&bits, x + i, sizeof bits);
      if ((bits & 0x7f800000u) == 0x7f800000u) return i;
    }
  }
  return n;
}
