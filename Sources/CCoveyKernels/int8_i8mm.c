// Products of two rows and two columns of eight inputs, unsigned by signed.
#include "CCoveyKernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define ISA i8mm
#define NAME(x) x##_i8mm
#define TARGET __attribute__((target("arch=armv8.2-a+i8mm")))
#define ACC_LANES 4
#define ROWS 8
#define VECS 2
#define ZERO 0
#define OWN_TILE
#include "int8_neon.inc"

INLINE uint8x8_t NAME(inputs)(const uint8_t *a, size_t g, size_t groups) {
  if (g + 1 < groups) return vld1_u8(a + 4 * g);
  uint32_t four;
  memcpy(&four, a + 4 * g, 4);
  return vreinterpret_u8_u32(vset_lane_u32(four, vdup_n_u32(0), 0));
}

INLINE void NAME(tile)(A acc[ROWS][VECS], const A start[VECS], const uint8_t *const a[ROWS],
                       const int8_t *b, size_t groups) {
  int32x4_t sums[ROWS / 2][2 * VECS];  // two rows by two columns each
  for (size_t r = 0; r < ROWS / 2; r++) {
    for (size_t c = 0; c < 2 * VECS; c++) sums[r][c] = vdupq_n_s32(0);
  }
  for (size_t g = 0; g < groups; g += 2) {
    int8x16_t columns[2 * VECS];
    for (size_t v = 0; v < VECS; v++) {
      const int8_t *at = b + g * (4 * CV_PANEL) + v * 16;
      int32x4_t near = vreinterpretq_s32_s8(vld1q_s8(at));
      int32x4_t far = g + 1 < groups ? vreinterpretq_s32_s8(vld1q_s8(at + 4 * CV_PANEL))
                                     : vdupq_n_s32(0);
      columns[2 * v] = vreinterpretq_s8_s32(vzip1q_s32(near, far));
      columns[2 * v + 1] = vreinterpretq_s8_s32(vzip2q_s32(near, far));
    }
    for (size_t r = 0; r < ROWS / 2; r++) {
      uint8x16_t rows = vcombine_u8(NAME(inputs)(a[2 * r], g, groups),
                                    NAME(inputs)(a[2 * r + 1], g, groups));
      for (size_t c = 0; c < 2 * VECS; c++) {
        sums[r][c] = vusmmlaq_s32(sums[r][c], rows, columns[c]);
      }
    }
  }
  for (size_t r = 0; r < ROWS / 2; r++) {
    for (size_t v = 0; v < VECS; v++) {
      int32x4_t near = sums[r][2 * v], far = sums[r][2 * v + 1];
      acc[2 * r][v] = start[v] + (A)vcombine_s32(vget_low_s32(near), vget_low_s32(far));
      acc[2 * r + 1][v] = start[v] + (A)vcombine_s32(vget_high_s32(near), vget_high_s32(far));
    }
  }
}

#include "int8.inc"

#endif
