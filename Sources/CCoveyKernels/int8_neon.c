// Products of signed bytes: two to a 16-bit sum, which they cannot overflow
// (2 * 128 * 127), then pairs of those to 32 bits.
#include "CCoveyKernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define ISA neon
#define NAME(x) x##_neon
#define TARGET
#define ACC_LANES 4
#define ROWS 4
#define VECS 2
#define ZERO 128
#define OWN_TILE
#include "int8_neon.inc"

INLINE void NAME(tile)(A acc[ROWS][VECS], const A start[VECS], const uint8_t *const a[ROWS],
                       const int8_t *b, size_t groups) {
  // Two columns in each register: their even and odd pairs of inputs.
  int32x4_t low[ROWS][VECS], high[ROWS][VECS];
  for (size_t r = 0; r < ROWS; r++) {
    for (size_t v = 0; v < VECS; v++) low[r][v] = high[r][v] = vdupq_n_s32(0);
  }
  for (size_t g = 0; g < groups; g += 2) {
    size_t next = g + 1 < groups ? g + 1 : g;
    int8x16_t near[VECS], far[VECS];
    for (size_t v = 0; v < VECS; v++) {
      near[v] = vld1q_s8(b + g * (4 * CV_PANEL) + v * 16);
      far[v] = next > g ? vld1q_s8(b + next * (4 * CV_PANEL) + v * 16) : vdupq_n_s8(0);
    }
    for (size_t r = 0; r < ROWS; r++) {
      uint32_t four[2];
      memcpy(four, a[r] + 4 * g, 4);
      memcpy(four + 1, a[r] + 4 * next, 4);
      int8x8_t first = vreinterpret_s8_u32(vdup_n_u32(four[0] ^ 0x80808080u));
      int8x8_t second = vreinterpret_s8_u32(vdup_n_u32(four[1] ^ 0x80808080u));
      for (size_t v = 0; v < VECS; v++) {
        int16x8_t pairs = vmull_s8(vget_low_s8(near[v]), first);
        pairs = vmlal_s8(pairs, vget_low_s8(far[v]), second);
        low[r][v] = vpadalq_s16(low[r][v], pairs);
        pairs = vmull_s8(vget_high_s8(near[v]), first);
        pairs = vmlal_s8(pairs, vget_high_s8(far[v]), second);
        high[r][v] = vpadalq_s16(high[r][v], pairs);
      }
    }
  }
  for (size_t r = 0; r < ROWS; r++) {
    for (size_t v = 0; v < VECS; v++) acc[r][v] = start[v] + (A)vpaddq_s32(low[r][v], high[r][v]);
  }
}

#include "int8.inc"

#endif
