// As int8_avx2.c, for CPUs that have half of its width only.
#include "CCoveyKernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define ISA ssse3
#define NAME(x) x##_ssse3
#define TARGET __attribute__((target("ssse3")))
#define ACC_LANES 4
#define ROWS 4
#define VECS 2
#define ZERO 128
#define TABLE_IN_MEMORY
#include "int8_types.inc"

INLINE A NAME(dot)(A acc, A row, A columns) {
  __m128i a = _mm_xor_si128((__m128i)row, _mm_set1_epi8(-128));
  __m128i pairs = _mm_maddubs_epi16(_mm_abs_epi8(a), _mm_sign_epi8((__m128i)columns, a));
  return acc + (A)_mm_madd_epi16(pairs, _mm_set1_epi16(1));
}

#include "int8.inc"

#endif
