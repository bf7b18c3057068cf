// CRC-32 as zlib, PNG and Ethernet have it: polynomial 0x04C11DB7 reflected, start
// and end inverted.  Three ways to the same number: by tables, eight bytes a step
// (Kounavis and Berry, "Novel table lookup-based algorithms for high-performance CRC
// generation", 2008); with carry-less products, by folding 64 bytes a step (Gopal et
// al., "Fast CRC computation for generic polynomials using PCLMULQDQ", 2009); with
// AArch64's instruction for this polynomial.
#include "CCoveyKernels.h"

#include <pthread.h>
#include <string.h>

// tables[t][b]: of the byte b and t zero bytes behind it.
static uint32_t tables[8][256];

static void make_tables(void) {
  for (uint32_t index = 0; index < 256; index++) {
    uint32_t remainder = index;
    for (int bit = 0; bit < 8; bit++) {
      remainder = (remainder >> 1) ^ (remainder & 1 ? 0xEDB88320u : 0);
    }
    tables[0][index] = remainder;
  }
  for (int t = 1; t < 8; t++) {
    for (int index = 0; index < 256; index++) {
      uint32_t before = tables[t - 1][index];
      tables[t][index] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
}

// `state` is the checksum inverted.
static uint32_t by_tables(uint32_t state, const uint8_t *bytes, size_t n) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_tables);
  for (; n >= 8; n -= 8, bytes += 8) {
    uint32_t low, high;
    memcpy(&low, bytes, 4);
    memcpy(&high, bytes + 4, 4);
    low ^= state;
    state = tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^ tables[5][low >> 16 & 0xFF] ^
            tables[4][low >> 24] ^ tables[3][high & 0xFF] ^ tables[2][high >> 8 & 0xFF] ^
            tables[1][high >> 16 & 0xFF] ^ tables[0][high >> 24];
  }
  for (; n > 0; n--, bytes++) state = (state >> 8) ^ tables[0][(state ^ *bytes) & 0xFF];
  return state;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("pclmul,sse4.1")))

static int is_present(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("pclmul") != 0 && __builtin_cpu_supports("sse4.1") != 0;
}

// x moved on by as many bits as the factors stand for, and what is there added.
TARGET static __m128i folded(__m128i x, __m128i factors, __m128i there) {
  __m128i low = _mm_clmulepi64_si128(x, factors, 0x00);
  __m128i high = _mm_clmulepi64_si128(x, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

TARGET static uint32_t by_instruction(uint32_t state, const uint8_t *bytes, size_t n) {
  if (n < 64) return by_tables(state, bytes, n);
  // x^(b + 32) and x^(b - 32) modulo the polynomial, reflected, for b bits.
  const __m128i by_512 = _mm_set_epi64x(0x1C6E41596, 0x154442BD4);
  const __m128i by_128 = _mm_set_epi64x(0x0CCAA009E, 0x1751997D0);
  __m128i x[4];
  for (int i = 0; i < 4; i++) x[i] = _mm_loadu_si128((const __m128i *)(bytes + 16 * i));
  x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)state));
  for (bytes += 64, n -= 64; n >= 64; bytes += 64, n -= 64) {
    for (int i = 0; i < 4; i++) {
      x[i] = folded(x[i], by_512, _mm_loadu_si128((const __m128i *)(bytes + 16 * i)));
    }
  }
  for (int i = 1; i < 4; i++) x[0] = folded(x[0], by_128, x[i]);
  for (; n >= 16; bytes += 16, n -= 16) {
    x[0] = folded(x[0], by_128, _mm_loadu_si128((const __m128i *)bytes));
  }
  // These 16 bytes leave the remainder that all before them do.
  uint8_t rest[16];
  _mm_storeu_si128((__m128i *)rest, x[0]);
  return by_tables(by_tables(0, rest, sizeof rest), bytes, n);
}

#elif defined(__aarch64__)

#include <arm_acle.h>
#include <sys/auxv.h>

// HWCAP_CRC32.
static int is_present(void) { return (getauxval(AT_HWCAP) >> 7) & 1; }

__attribute__((target("+crc"))) static uint32_t by_instruction(
    uint32_t state, const uint8_t *bytes, size_t n) {
  for (; n >= 8; n -= 8, bytes += 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    state = __crc32d(state, word);
  }
  for (; n > 0; n--, bytes++) state = __crc32b(state, *bytes);
  return state;
}

#else

static int is_present(void) { return 0; }

static uint32_t by_instruction(uint32_t state, const uint8_t *bytes, size_t n) {
  return by_tables(state, bytes, n);
}

#endif

uint32_t cv_crc32(uint32_t before, const void *bytes, size_t n) {
  return ~(is_present() ? by_instruction : by_tables)(~before, bytes, n);
}

uint32_t cv_crc32_by_tables(uint32_t before, const void *bytes, size_t n) {
  return ~by_tables(~before, bytes, n);
}
