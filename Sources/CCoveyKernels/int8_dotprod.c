#include "CCoveyKernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define ISA dotprod
#define NAME(x) x##_dotprod
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#define ACC_LANES 4
#define ROWS 4
#define VECS 4
#define ZERO 128
#include "int8_neon.inc"

INLINE A NAME(dot)(A acc, A row, A columns) {
  int8x16_t a = veorq_s8((int8x16_t)row, vdupq_n_s8(-128));
  return (A)vdotq_s32((int32x4_t)acc, a, (int8x16_t)columns);
}

#include "int8.inc"

#endif
