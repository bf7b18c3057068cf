// Without VNNI the product of bytes adds pairs in 16 bits, which two products of
// up to 255 * 127 would overflow.  So the left side is made signed, and its sign
// given to the right: 2 * 128 * 127 fits.
#include "CCoveyKernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define ISA avx2
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2")))
#define ACC_LANES 8
#define ROWS 4
#define VECS 2
#define ZERO 128
#define TABLE_IN_MEMORY
#include "int8_types.inc"

INLINE A NAME(dot)(A acc, A row, A columns) {
  __m256i a = _mm256_xor_si256((__m256i)row, _mm256_set1_epi8(-128));
  __m256i pairs =
      _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8((__m256i)columns, a));
  return acc + (A)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

#include "int8.inc"

#endif
