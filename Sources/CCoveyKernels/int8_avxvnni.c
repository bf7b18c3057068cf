#include "CCoveyKernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define ISA avxvnni
#define NAME(x) x##_avxvnni
#define TARGET __attribute__((target("avx2,avxvnni")))
#define ACC_LANES 8
#define ROWS 6
#define VECS 2
#define ZERO 0
#define TABLE_IN_MEMORY
#include "int8_types.inc"

INLINE A NAME(dot)(A acc, A row, A columns) {
  return (A)_mm256_dpbusd_avx_epi32((__m256i)acc, (__m256i)row, (__m256i)columns);
}

#include "int8.inc"

#endif
