#include "CCoveyKernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define ISA neon
#define NAME(x) x##_neon
#define TARGET
#define FLOAT_LANES 4
#define ROWS 8
#define VECS 2
#define OWN_TILE
#include "products_types.inc"

// Four inputs of a row are loaded at once, and each multiplied from its lane.
INLINE void NAME(product_tile)(F sums[ROWS][VECS], const float *const a[ROWS], const float *panel,
                               size_t k) {
  EACH_ROW { EACH_VEC sums[r][v] = (F){0}; }
  size_t p = 0;
#define INPUT(lane)                                                        \
  {                                                                        \
    F b[VECS];                                                             \
    EACH_VEC b[v] = vld1q_f32(panel + lane * COLUMNS + v * FLOAT_LANES);   \
    EACH_ROW { EACH_VEC sums[r][v] = vfmaq_laneq_f32(sums[r][v], b[v], x[r], lane); } \
  }
  for (; p + 4 <= k; p += 4, panel += 4 * COLUMNS) {
    F x[ROWS];
    EACH_ROW x[r] = vld1q_f32(a[r] + p);
    INPUT(0) INPUT(1) INPUT(2) INPUT(3)
  }
  for (; p < k; p++, panel += COLUMNS) {
    EACH_ROW {
      EACH_VEC sums[r][v] =
          vfmaq_n_f32(sums[r][v], vld1q_f32(panel + v * FLOAT_LANES), a[r][p]);
    }
  }
}

#include "products.inc"

#endif
