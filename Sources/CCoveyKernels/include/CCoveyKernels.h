// Row kernels in fp32: the loops over the elements of one row that BLAS does
// not have.  One source (rows.inc) for all instruction sets: sixteen lanes
// whatever the width of the machine's vectors, and no fused multiply-add, so
// that every CPU gives the same bits.
//
// A row has n elements; rows of a matrix lie `stride` elements apart.
#ifndef CCOVEY_KERNELS_H
#define CCOVEY_KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef struct cv_row_kernels {
  const char *name;  // "portable", "avx2", "avx512"

  // y = (x - mean) / sqrt(variance + eps) * weight + bias, for each row; the
  // variance is the biased one.
  void (*layer_norm)(const float *x, size_t x_stride, size_t rows, size_t n,
                     const float *weight, const float *bias, float eps,
                     float *y, size_t y_stride);
  // In place: softmax(scale * s) of each row.  exp is within 2 ulp down to
  // exp(-60), and 0 below.  A row with a NaN, or whose largest is infinite,
  // becomes NaNs.
  void (*softmax)(float *s, size_t stride, size_t rows, size_t n, float scale);
  // out = weight * softmax(scale * s), or out += ... where `add`; s is
  // overwritten.
  void (*softmax_mean)(float *s, size_t s_stride, size_t rows, size_t n, float scale,
                       float weight, int add, float *out, size_t out_stride);
  // x = gelu(x + bias), gelu(x) = x Phi(x) with the exact Phi (erf): absolute
  // error of Phi at most 4e-7 (Abramowitz and Stegun 7.1.26: 0.75e-7; the rest
  // is rounding).
  void (*bias_gelu)(float *x, size_t stride, size_t rows, size_t n, const float *bias);
  // x += bias
  void (*bias_add)(float *x, size_t stride, size_t rows, size_t n, const float *bias);
  // l = ln(max(p, floor)), within 2 ulp or 1e-7, whichever is larger; floor at
  // least 1e-37.
  void (*log_rows)(const float *p, size_t p_stride, size_t rows, size_t n, float floor,
                   float *l, size_t l_stride);
  // x -= row, for each row
  void (*subtract)(float *x, size_t stride, size_t rows, size_t n, const float *row);
  // sum += x
  void (*accumulate)(const float *x, size_t n, float *sum);
  // x *= factor
  void (*scale)(float *x, size_t n, float factor);
  // sum x
  double (*sum)(const float *x, size_t n);
  // sum x y
  double (*dot)(const float *x, const float *y, size_t n);
  // sum (p - q)(lp - lq): Jeffreys divergence, where lp and lq are logarithms
  // of p and q that may both be shifted by the same row.  No cancellation: no
  // term is negative.
  double (*jeffreys)(const float *p, const float *lp, const float *q, const float *lq, size_t n);
} cv_row_kernels;

// The kernels for this CPU; chosen once.
const cv_row_kernels *cv_rows(void);
// All that this CPU can run, for tests; returns how many.  The first is the
// portable one.
size_t cv_rows_all(const cv_row_kernels *kernels[4]);

// ---- finite.c -------------------------------------------------------------

// Index of the first NaN or infinity, n where there is none.
size_t cv_first_not_finite(const float *x, size_t n);

#endif
