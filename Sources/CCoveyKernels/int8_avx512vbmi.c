// As int8_avx512vnni.c, with the table of attention's weights in registers.
#include "CCoveyKernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define ISA avx512vbmi
#define NAME(x) x##_avx512vbmi
#define TARGET \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")))
#include "int8_avx512.inc"

#endif
