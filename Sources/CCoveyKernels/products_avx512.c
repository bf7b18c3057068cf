#include "CCoveyKernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define ISA avx512
#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define FLOAT_LANES 16
#define ROWS 8
#define VECS 2
#include "products_types.inc"

INLINE F NAME(fma)(F sum, float x, F b) {
  return _mm512_fmadd_ps(_mm512_set1_ps(x), b, sum);
}

#include "products.inc"

#endif
