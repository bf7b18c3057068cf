#include "CCoveyKernels.h"

#if defined(__x86_64__)

#define ISA avx2
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2")))
#include "rows.inc"

#endif
