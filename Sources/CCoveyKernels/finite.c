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

// At any address, in blocks as above.
#define FIRST_WHERE(name, type, expression)                                         \
  static size_t name(const uint8_t *bytes, size_t n) {                             \
    enum { BLOCK = 4096 };                                                         \
    for (size_t from = 0; from < n; from += BLOCK) {                               \
      size_t to = n - from < BLOCK ? n : from + BLOCK;                             \
      type bad = 0, x;                                                             \
      for (size_t i = from; i < to; i++) {                                         \
        memcpy(&x, bytes + i * sizeof x, sizeof x);                                \
        bad |= (type)(expression);                                                 \
      }                                                                            \
      if (!bad) continue;                                                          \
      for (size_t i = from; i < to; i++) {                                         \
        memcpy(&x, bytes + i * sizeof x, sizeof x);                                \
        if (expression) return i;                                                  \
      }                                                                            \
    }                                                                              \
    return n;                                                                      \
  }

FIRST_WHERE(first_f32, uint32_t, (x & 0x7F800000u) == 0x7F800000u)
FIRST_WHERE(first_f16, uint16_t, (x & 0x7C00u) == 0x7C00u)
FIRST_WHERE(first_i8, uint8_t, x == 0x80u)

size_t cv_first_bad_weight(const void *values, size_t n, size_t element_bytes) {
  switch (element_bytes) {
    case 4: return first_f32(values, n);
    case 2: return first_f16(values, n);
    default: return first_i8(values, n);
  }
}
