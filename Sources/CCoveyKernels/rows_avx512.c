#include "CCoveyKernels.h"

#if defined(__x86_64__)

#define ISA avx512
#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#include "rows.inc"

#endif
