// The innermost loops, for the CPU they run on.
//
// Row kernels: the loops over the elements of one row that BLAS does not have.
// One source (rows.inc) for all instruction sets: sixteen lanes whatever the width
// of the machine's vectors, and no fused multiply-add, so that every CPU gives the
// same bits.
//
// A row has n elements; rows of a matrix lie `stride` elements apart.
#ifndef CCOVEY_KERNELS_H
#define CCOVEY_KERNELS_H

#include <stddef.h>
#include <stdint.h>

// Below all that GELU gives (-.16997 at -.7518), and its approximation.
#define CV_GELU_LEAST (-.1701f)

enum {
  CV_ISAS = 8,    // instruction sets of one kind of CPU, at most
  CV_PANEL = 64,  // columns beside each other in a packed matrix
  CV_MOST_ROWS = 8,  // of a tile of any instruction set
};

// Which elements of a matrix are dropped: a function of what is here and of the
// element's row and column, so a mask need not be kept.  Numbers are words of
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as
// 1, 2, 3; SC 2011) with the counter (block, row, stream, step).  Sixteen blocks
// decide on 128 columns, in 16 bits each: of columns 128 g + 16 q + l, block
// 16 g + l has word q / 2, whose low half it is where q is even, else the high one.
typedef struct cv_dropout {
  uint32_t key[2];
  uint32_t stream;
  uint32_t step;
  uint32_t threshold;  // dropped where the 16 bits are below; 0: none is, and no number drawn
  float factor;        // of what is kept: 65536 / (65536 - threshold)
} cv_dropout;

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
  // sum x^2 weight
  double (*weighted_square)(const float *x, const float *weight, size_t n);
  // sum [n] += those `count` rows of x whose numbers are given, four at a time.
  void (*add_rows)(const float *x, size_t stride, const uint32_t *rows, size_t count, size_t n,
                   float *sum);
  // How many bits of a and b differ.
  size_t (*differing)(const uint64_t *a, const uint64_t *b, size_t words);

  // Rows of floats to int8 with one scale a row: scale = largest |x| / 127,
  // q = 128 + round(x / scale), ties to even; elements n to q_stride become 128.
  // A row with an infinity or NaN gets that for its scale, and any bytes.
  void (*quantise)(const float *x, size_t x_stride, size_t rows, size_t n,
                   uint8_t *q, size_t q_stride, float *scale);
  // The same of layer_norm(x).
  void (*norm_quantise)(const float *x, size_t x_stride, size_t rows, size_t n,
                        const float *weight, const float *bias, float eps,
                        uint8_t *q, size_t q_stride, float *scale);
  // Of gelu(x): q = round((gelu(x) - CV_GELU_LEAST) / scale) with the scale that
  // takes the largest, or 0 if that is larger, to 255; elements n to q_stride
  // become 0.  Error of gelu at most 3.4e-5, and 7.5e-6 x above 4.5: less than a
  // byte can hold.  An infinity or NaN makes the scale NaN.
  void (*gelu_quantise)(const float *x, size_t x_stride, size_t rows, size_t n,
                        uint8_t *q, size_t q_stride, float *scale);
  // x [rows, n] as the right side of a product over its rows, in int8 with one
  // scale a column: layout, sums and padding as of cv_packed with `padded_rows`,
  // a multiple of four, as inputs.
  void (*pack_values)(const float *x, size_t x_stride, size_t rows, size_t n,
                      size_t padded_rows, int8_t *packed, int32_t *sums, float *scale);

  // For training.  Rows of a matrix with dropout are numbered from `first`; elements
  // that are dropped become 0, others times the factor.
  //
  // In place: dropout(softmax(scale * s)); lse: ln sum exp(scale * s) of each row.
  void (*softmax_dropout)(float *s, size_t stride, size_t rows, size_t n, float scale,
                          const cv_dropout *dropout, uint32_t first, float *lse);
  // One row of the same, from lse: out = weight * dropout(exp(scale * s - lse)), or
  // out += ... where `add`.
  void (*map_add)(const float *s, size_t n, float scale, const cv_dropout *dropout, uint32_t row,
                  float lse, float weight, int add, float *out);
  // With p = exp(scale * s - lse) and y = dropout(p), from d = dL/dy: s becomes y, d
  // becomes dL/ds.
  void (*softmax_backward)(float *s, float *d, size_t stride, size_t rows, size_t n, float scale,
                           const cv_dropout *dropout, uint32_t first, const float *lse);
  // out = dropout(x), or out += ... where `add`; may be in place.
  void (*dropout)(const float *x, size_t x_stride, size_t rows, size_t n,
                  const cv_dropout *dropout, uint32_t first, int add, float *out,
                  size_t out_stride);
  // From dy = dL/dy of layer_norm: dx += dL/dx unless NULL; dweight, dbias [n] +=
  // theirs, over the rows in order.
  void (*layer_norm_backward)(const float *x, size_t x_stride, const float *dy, size_t dy_stride,
                              size_t rows, size_t n, const float *weight, float eps, float *dx,
                              size_t dx_stride, float *dweight, float *dbias);
  // x becomes gelu(x + bias), d = dL/dgelu becomes dL/dx.
  void (*gelu_backward)(float *x, float *d, size_t stride, size_t rows, size_t n,
                        const float *bias);
  // y += factor * x
  void (*add_scaled)(const float *x, size_t n, float factor, float *y);

  // ---- masks.inc ----------------------------------------------------------
  // Polynomials of the second degree of n pixels' colours: the ten coefficients of
  // each, [10, n], lie between `near` (weight 0) and `far` (weight 1): those of
  // r, g, b, 2rr, 2rg, 2rb, 2gg, 2gb, 2bb and the constant, of colours in
  // -1/2...1/2.  `pixels` are bytes, red, then green and blue `plane` further on.
  void (*colour_weights)(const float *near, const float *far, float weight,
                         const uint8_t *pixels, size_t plane, size_t n, float *weights);
  // Where a label's weight, between `near` and `far`, is above the best so far, it
  // becomes the best, and `owners` gets the label.
  void (*contest)(const float *near, const float *far, float weight, uint16_t label, size_t n,
                  float *best, uint16_t *owners);
} cv_row_kernels;

// The kernels for this CPU; chosen once.
const cv_row_kernels *cv_rows(void);
// All that this CPU can run, for tests; returns how many.  The first is the
// portable one.
size_t cv_rows_all(const cv_row_kernels *kernels[CV_ISAS]);

// ---- Products of floats ---------------------------------------------------
//
// For a library without BLAS.  Every instruction set but the portable one fuses
// multiplication and addition, and gives the same bits as the others that do.

typedef struct cv_product_kernels {
  const char *name;  // "portable"; "avx2", "avx512"; "neon"

  // c [m, n] = a b + add * c, where a is [m, k], or [k, m] if transposed, and b
  // [k, n], or [n, k] if transposed.  With add 0 what was in c does not count, were
  // it NaN.  Takes 26 KiB of stack.
  void (*multiply)(size_t m, size_t n, size_t k, const float *a, size_t a_stride,
                   int a_transposed, const float *b, size_t b_stride, int b_transposed, float add,
                   float *c, size_t c_stride);
} cv_product_kernels;

const cv_product_kernels *cv_products(void);
size_t cv_products_all(const cv_product_kernels *kernels[CV_ISAS]);

// ---- int8 products --------------------------------------------------------
//
// Left sides are rows of unsigned bytes, which stand for a byte less some zero,
// right sides signed bytes in panels.  Sums are exact integers, the same on every instruction set;
// what is done with them is fp32 without fused multiply-add, in the same order
// everywhere: so all results are the same bits on every CPU.

// A right side [columns, inputs] in panels of CV_PANEL columns: [panel][group of
// four inputs][column][four], everything padded with zeros.
typedef struct cv_packed {
  const int8_t *values;
  const int32_t *sums;  // of each column's values; these three padded to whole panels
  const float *scale;
  const float *bias;
  size_t columns;
  size_t groups;  // of inputs: ceil(inputs / 4)
  int32_t zero;   // of the left side's bytes: 128, or 0 behind gelu_quantise
} cv_packed;

// The keys and values of one head for a run of tokens.  Keys are a right side
// with the tokens as columns, where the last one fills up the last panel; values
// one with the channels as columns and the tokens, up to a whole panel of keys,
// as inputs.
typedef struct cv_key_block {
  const int8_t *keys;
  const int32_t *key_sums;
  const float *key_scale;
  const int8_t *values;
  const int32_t *value_sums;
  const float *value_scale;
  size_t count;        // tokens
  float factor_limit;  // see cv_pack_keys
} cv_key_block;

typedef struct cv_int8_kernels {
  const char *name;  // "portable"; "ssse3", "avx2", "avxvnni", "avx512vnni",
                     // "avx512vbmi"; "neon", "dotprod", "i8mm"
  size_t rows;       // of its tile: best to give it multiples of so many

  // out [rows, w->columns] = a w^T in floats + bias; or += where `add`.
  // a: [rows] of at least 4 * w->groups bytes; at most 65536, or sums overflow.
  void (*linear)(size_t rows, const uint8_t *a, size_t a_stride, const float *a_scale,
                 const cv_packed *w, int add, float *out, size_t out_stride);
  // o [rows, dim] = softmax(q k^T) v of one head, the softmax's scale in q_scale.
  // Weights are bytes, 255 for the largest in a block (exp_table.h), and what
  // they are divided by is their own sum.
  // At least one block, none of them empty.
  // scratch: cv_attend_scratch(rows, keys) bytes, 64-byte aligned.
  void (*attend)(const cv_key_block *blocks, size_t block_count, size_t dim, size_t rows,
                 const uint8_t *q, size_t q_stride, const float *q_scale, size_t q_scale_stride,
                 void *scratch, float *o, size_t o_stride);
} cv_int8_kernels;

const cv_int8_kernels *cv_int8(void);
size_t cv_int8_all(const cv_int8_kernels *kernels[CV_ISAS]);

// For so many rows, and blocks of up to `keys` keys.
size_t cv_attend_scratch(size_t rows, size_t keys);

// ---- pack.c ---------------------------------------------------------------

// Bytes of the values of a right side.
size_t cv_packed_bytes(size_t columns, size_t inputs);
// w: [columns, inputs], a matrix of weights with the outputs as rows.
void cv_pack(const int8_t *w, size_t columns, size_t inputs, int8_t *packed, int32_t *sums);
// k: [count] rows of dim bytes with 128 added and their scales.  factor_limit is
// what a factor between differences of logits and indices of attend's table may
// be at most, so that no index overflows an int32; NaN where a key is not finite,
// or so large that a logit might not be, which makes attend give NaNs.
void cv_pack_keys(const uint8_t *k, size_t k_stride, const float *scale, size_t scale_stride,
                  size_t count, size_t dim, int8_t *packed, int32_t *sums, float *packed_scale,
                  float *factor_limit);

// ---- finite.c -------------------------------------------------------------

// Index of the first NaN or infinity, n where there is none.
size_t cv_first_not_finite(const float *x, size_t n);
// The same of weights at any address: of 4 and 2 bytes floats, of 1 byte integers, of
// which -128 is bad.
size_t cv_first_bad_weight(const void *values, size_t n, size_t element_bytes);

// ---- checksum.c -----------------------------------------------------------

// CRC-32 of bytes that follow others whose CRC-32 is `before` (0: none); the second
// always by tables, whatever the CPU has.
uint32_t cv_crc32(uint32_t before, const void *bytes, size_t n);
uint32_t cv_crc32_by_tables(uint32_t before, const void *bytes, size_t n);

// Sum of |d - mean d| over a window, d = b - a, the mean rounded; width and height at
// most 16.
uint32_t cv_match(const uint8_t *a, size_t a_stride, const uint8_t *b, size_t b_stride,
                  size_t width, size_t height);
// The same in 1 / 16, with b read `right` / 16 and `down` / 16 of a pixel further, both
// below 16, and interpolated bilinearly.
uint32_t cv_match_between(const uint8_t *a, size_t a_stride, const uint8_t *b, size_t b_stride,
                          size_t width, size_t height, unsigned right, unsigned down);
// half [height / 2, width / 2]: means over 2 x 2 pixels, rounded.
void cv_halve(const uint8_t *picture, size_t width, size_t height, uint8_t *half);

#endif
