// Products in plain C, for every CPU.
#include "CCoveyKernels.h"

#define ISA portable
#define NAME(x) x##_portable
#define TARGET
#define ACC_LANES 4
#define ROWS 4
#define VECS 1
#define ZERO 0
#define TABLE_IN_MEMORY
#include "int8_types.inc"

INLINE A NAME(dot)(A acc, A row, A columns) {
  uint8_t a[4 * ACC_LANES];
  int8_t b[4 * ACC_LANES];
  memcpy(a, &row, sizeof a);
  memcpy(b, &columns, sizeof b);
  for (size_t i = 0; i < ACC_LANES; i++) {
    for (size_t j = 4 * i; j < 4 * i + 4; j++) acc[i] += a[j] * b[j];
  }
  return acc;
}

#include "int8.inc"
