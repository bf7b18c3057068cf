#include "CCoveyKernels.h"

#include <string.h>

size_t cv_packed_bytes(size_t columns, size_t inputs) {
  return (columns + CV_PANEL - 1) / CV_PANEL * CV_PANEL * ((inputs + 3) / 4 * 4);
}

size_t cv_attend_scratch(size_t rows, size_t keys) {
  size_t padded_rows = (rows + 15) / 16 * 16;
  size_t padded_keys = (keys + CV_PANEL - 1) / CV_PANEL * CV_PANEL;
  return 6 * padded_rows * sizeof(float) + CV_MOST_ROWS * padded_keys * sizeof(float) +
         rows * padded_keys;
}

static int32_t sum(const int8_t *x, size_t n) {
  int32_t total = 0;
  for (size_t i = 0; i < n; i++) total += x[i];
  return total;
}

void cv_pack(const int8_t *w, size_t columns, size_t inputs, int8_t *packed, int32_t *sums) {
  size_t whole = inputs / 4, groups = (inputs + 3) / 4;
  for (size_t column = 0; column < columns; column++, w += inputs) {
    int8_t *out = packed + column / CV_PANEL * (4 * CV_PANEL * groups) + column % CV_PANEL * 4;
    for (size_t g = 0; g < whole; g++) memcpy(out + g * (4 * CV_PANEL), w + 4 * g, 4);
    if (whole < groups) {
      memset(out + whole * (4 * CV_PANEL), 0, 4);
      memcpy(out + whole * (4 * CV_PANEL), w + 4 * whole, inputs - 4 * whole);
    }
    sums[column] = sum(w, inputs);
  }
  for (size_t column = columns; column % CV_PANEL != 0; column++) {
    int8_t *out = packed + column / CV_PANEL * (4 * CV_PANEL * groups) + column % CV_PANEL * 4;
    for (size_t g = 0; g < groups; g++) memset(out + g * (4 * CV_PANEL), 0, 4);
    sums[column] = 0;
  }
}

void cv_pack_keys(const uint8_t *k, size_t k_stride, const float *scale, size_t scale_stride,
                  size_t count, size_t dim, int8_t *packed, int32_t *sums, float *packed_scale,
                  float *factor_limit) {
  size_t groups = (dim + 3) / 4;
  float most = 0;
  for (size_t column = 0; column < (count + CV_PANEL - 1) / CV_PANEL * CV_PANEL; column++) {
    size_t token = column < count ? column : count - 1;
    const uint8_t *row = k + token * k_stride;
    int8_t *out = packed + column / CV_PANEL * (4 * CV_PANEL * groups) + column % CV_PANEL * 4;
    int32_t total = 0;
    for (size_t i = 0; i < 4 * groups; i++) total += row[i];
    for (size_t g = 0; g < groups; g++) {
      uint32_t four;
      memcpy(&four, row + 4 * g, 4);
      four ^= 0x80808080u;  // less 128, as signed bytes
      memcpy(out + g * (4 * CV_PANEL), &four, 4);
    }
    sums[column] = total - 128 * (int32_t)(4 * groups);
    float one = packed_scale[column] = scale[token * scale_stride];
    if (one > most || one != one) most = one;  // a NaN stays
  }
  // |q k| <= 128 * 127 * dim; a difference is twice that at most.
  float range = 2.0f * 128.0f * 127.0f * (float)(4 * groups) * most;
  // NaN where the range is no number or infinite.
  *factor_limit = range == 0 ? 1.0f : 1073741824.0f / range + (range - range);
}
