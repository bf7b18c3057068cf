#include "CCoveyKernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define ISA avx2
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define FLOAT_LANES 8
#define ROWS 6
#define VECS 2
#include "products_types.inc"

INLINE F NAME(fma)(F sum, float x, F b) {
  return _mm256_fmadd_ps(_mm256_set1_ps(x), b, sum);
}

#include "products.inc"

#endif
