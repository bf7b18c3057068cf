#include "CCoveyKernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define ISA avx512vnni
#define NAME(x) x##_avx512vnni
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define TABLE_IN_MEMORY
#include "int8_avx512.inc"

#endif
