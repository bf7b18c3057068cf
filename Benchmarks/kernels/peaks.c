// Register-only loops of the instructions that matrix products are made of: more
// than these no kernel can reach.  Twelve independent chains cover the latency
// of four cycles at two instructions a cycle, with some to spare.
//
// The operands go through an empty asm statement in every round, and the chains
// before the first: the compiler may not take anything out of the loop, make the
// loop shorter, or see that all chains are the same.
#include "kernels.h"

#include <stdint.h>

enum { CHAINS = 12 };

// One step of each chain, spelled out: arrays of registers would depend on
// unrolling.
#define EACH(STEP) \
  STEP(c0) STEP(c1) STEP(c2) STEP(c3) STEP(c4) STEP(c5) \
  STEP(c6) STEP(c7) STEP(c8) STEP(c9) STEP(c10) STEP(c11)
#define DECLARE(TYPE, ZERO) \
  TYPE c0 = ZERO, c1 = ZERO, c2 = ZERO, c3 = ZERO, c4 = ZERO, c5 = ZERO, \
       c6 = ZERO, c7 = ZERO, c8 = ZERO, c9 = ZERO, c10 = ZERO, c11 = ZERO;
#define KEEP_STEP(c) KEEP(c);
#define LOOP(STEP) \
  EACH(KEEP_STEP) \
  for (size_t i = 0; i < rounds; i++) { KEEP(a); KEEP(b); EACH(STEP) } \
  EACH(KEEP_STEP)

#if defined(__x86_64__)
#include <immintrin.h>

#define KEEP(x) __asm__ volatile("" : "+v"(x))

__attribute__((target("avx512f,avx512bw,avx512vnni"))) static void vnni512(size_t rounds) {
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  DECLARE(__m512i, _mm512_setzero_si512())
#define STEP(c) c = _mm512_dpbusd_epi32(c, a, b);
  LOOP(STEP)
#undef STEP
}

// EVEX with 256 bits: where wide vectors cost clock.
__attribute__((target("avx512f,avx512vl,avx512vnni"))) static void vnni256(size_t rounds) {
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  DECLARE(__m256i, _mm256_setzero_si256())
#define STEP(c) c = _mm256_dpbusd_epi32(c, a, b);
  LOOP(STEP)
#undef STEP
}

// KEEP's "v" may name registers that only AVX-512 has; here it cannot, as the
// target is without.
__attribute__((target("avx2,avxvnni"))) static void avxvnni(size_t rounds) {
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  DECLARE(__m256i, _mm256_setzero_si256())
#define STEP(c) c = _mm256_dpbusd_avx_epi32(c, a, b);
  LOOP(STEP)
#undef STEP
}

__attribute__((target("avx2"))) static void maddubs(size_t rounds) {
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  DECLARE(__m256i, _mm256_setzero_si256())
  // The product of a and b would be made once for all chains: each has its own b.
#define STEP(c) \
  { \
    __m256i own = b; \
    KEEP(own); \
    c = _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, own), ones)); \
  }
  LOOP(STEP)
#undef STEP
}

__attribute__((target("avx512f"))) static void fma512(size_t rounds) {
  __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-3f);
  DECLARE(__m512, _mm512_setzero_ps())
#define STEP(c) c = _mm512_fmadd_ps(a, b, c);
  LOOP(STEP)
#undef STEP
}

__attribute__((target("avx2,fma"))) static void fma256(size_t rounds) {
  __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-3f);
  DECLARE(__m256, _mm256_setzero_ps())
#define STEP(c) c = _mm256_fmadd_ps(a, b, c);
  LOOP(STEP)
#undef STEP
}

// Operations of a round: chains, lanes of 32 bits, and for int8 four products
// and four sums to a lane.
static const peak all[] = {
  {"avx512-vnni", NUMBER_INT8, CHAINS * 16 * 8, vnni512, 0},
  {"avx512vl-vnni", NUMBER_INT8, CHAINS * 8 * 8, vnni256, 0},
  {"avx-vnni", NUMBER_INT8, CHAINS * 8 * 8, avxvnni, 0},
  {"avx2", NUMBER_INT8, CHAINS * 8 * 8, maddubs, 1},
  {"avx512-fma", NUMBER_F32, CHAINS * 16 * 2, fma512, 0},
  {"avx2-fma", NUMBER_F32, CHAINS * 8 * 2, fma256, 1},
};

// AVX-VNNI by CPUID: the names that __builtin_cpu_supports takes differ between
// compilers.
#include <cpuid.h>
static int has_avxvnni(void) {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

static int runs(const peak *p) {
  __builtin_cpu_init();
  int avx2 = __builtin_cpu_supports("avx2") != 0;
  int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl");
  if (p->run == vnni512 || p->run == vnni256) {
    return avx512 && __builtin_cpu_supports("avx512vnni");
  }
  if (p->run == fma512) return avx512;
  if (p->run == avxvnni) return avx2 && has_avxvnni();
  if (p->run == fma256) return avx2 && __builtin_cpu_supports("fma");
  return avx2;
}

#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>

#define KEEP(x) __asm__ volatile("" : "+w"(x))
#define SDOT(c) c = vdotq_s32(c, a, b);
#define SMMLA(c) c = vmmlaq_s32(c, a, b);
#define FMLA(c) c = vfmaq_f32(c, a, b);

__attribute__((target("arch=armv8.2-a+dotprod"))) static void dotprod(size_t rounds) {
  int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
  DECLARE(int32x4_t, vdupq_n_s32(0))
  LOOP(SDOT)
}

__attribute__((target("arch=armv8.2-a+i8mm"))) static void i8mm(size_t rounds) {
  int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
  DECLARE(int32x4_t, vdupq_n_s32(0))
  LOOP(SMMLA)
}

static void neon_fma(size_t rounds) {
  float32x4_t a = vdupq_n_f32(0.999f), b = vdupq_n_f32(1e-3f);
  DECLARE(float32x4_t, vdupq_n_f32(0))
  LOOP(FMLA)
}

static const peak all[] = {
  {"neon-i8mm", NUMBER_INT8, CHAINS * 4 * 16, i8mm, 0},
  {"neon-dotprod", NUMBER_INT8, CHAINS * 4 * 8, dotprod, 0},
  {"neon-fma", NUMBER_F32, CHAINS * 4 * 2, neon_fma, 0},
};

static int runs(const peak *p) {
  // HWCAP_ASIMDDP, HWCAP2_I8MM of the kernel's interface.
  if (p->run == dotprod) return (getauxval(AT_HWCAP) >> 20 & 1) != 0;
  if (p->run == i8mm) return (getauxval(AT_HWCAP2) >> 13 & 1) != 0;
  return 1;
}

#else
static void scalar(size_t rounds) {
  volatile float sum = 0;
  for (size_t i = 0; i < rounds; i++) sum = sum + 0.5f;
}
static const peak all[] = {{"scalar", NUMBER_F32, 1, scalar, 0}};
static int runs(const peak *p) { return p != NULL; }
#endif

size_t peaks_of_this_cpu(const peak **out, size_t capacity) {
  size_t count = 0;
  for (size_t i = 0; i < sizeof all / sizeof all[0] && count < capacity; i++) {
    if (runs(&all[i])) out[count++] = &all[i];
  }
  return count;
}
