// The products under test, one entry each: operands made and packed as the
// network has them, and one call that makes the product.
#include "kernels.h"

#include "CCoveyKernels.h"

#include <cblas.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

// Aligned, for vectors.
static void *memory(size_t bytes) {
  void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!p) abort();
  return p;
}

// ---- fp32: OpenBLAS, as covey's fp32 path calls it ---------------------------

typedef struct sgemm {
  shape shape;
  float *a, *b, *c;  // [count, M, K], [count, N, K], [count, M, N]
} sgemm;

static float *numbers(size_t count) {
  float *x = memory(count * sizeof *x);
  for (size_t i = 0; i < count; i++) x[i] = (float)(i * 2654435761u % 1021) / 1021 - 0.5f;
  return x;
}

static void *sgemm_make(const shape *s) {
  openblas_set_num_threads(1);
  sgemm *w = memory(sizeof *w);
  w->shape = *s;
  w->a = numbers(s->count * s->m * s->k);
  w->b = numbers(s->count * s->n * s->k);
  w->c = numbers(s->count * s->m * s->n);
  return w;
}

static void sgemm_run(void *workspace) {
  const sgemm *w = workspace;
  size_t m = w->shape.m, n = w->shape.n, k = w->shape.k;
  for (size_t i = 0; i < w->shape.count; i++) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)k, 1,
                w->a + i * m * k, (blasint)k, w->b + i * n * k, (blasint)k, 0,
                w->c + i * m * n, (blasint)n);
  }
}

static void sgemm_free(void *workspace) {
  sgemm *w = workspace;
  free(w->a);
  free(w->b);
  free(w->c);
  free(w);
}

// ---- fp32: covey's, of a library without BLAS ---------------------------------

enum { ROWS = 96, KEYS = 320 };  // of a tile, and of a block of keys, as covey cuts them

static void own_run(void *workspace) {
  const sgemm *w = workspace;
  size_t m = w->shape.m, n = w->shape.n, k = w->shape.k;
  for (size_t row = 0; row < m; row += ROWS) {
    size_t rows = m - row < ROWS ? m - row : ROWS;
    cv_products()->multiply(rows, n, k, w->a + row * k, k, 0, w->b, k, 1, 0, w->c + row * n, n);
  }
}

// ---- int8: covey's ------------------------------------------------------------

typedef struct linear {
  shape shape;
  uint8_t *a;                     // [M, K]
  float *a_scale, *b_scale, *c;   // [M], [N], [ROWS, N]: the next pass reads it at once
  int8_t *b;
  int32_t *sums;
  cv_packed packed;
} linear;

static void *linear_make(const shape *s) {
  linear *w = memory(sizeof *w);
  w->shape = *s;
  size_t padded = (s->n + CV_PANEL - 1) / CV_PANEL * CV_PANEL;
  int8_t *weights = memory(s->n * s->k);
  for (size_t i = 0; i < s->n * s->k; i++) weights[i] = (int8_t)(i * 2654435761u % 255) - 127;
  w->a = memory(s->m * s->k);
  for (size_t i = 0; i < s->m * s->k; i++) w->a[i] = (uint8_t)(i * 2654435761u >> 20);
  w->a_scale = numbers(s->m);
  w->b_scale = numbers(2 * padded);
  w->c = memory(ROWS * s->n * sizeof(float));
  w->b = memory(cv_packed_bytes(s->n, s->k));
  w->sums = memory(padded * sizeof *w->sums);
  cv_pack(weights, s->n, s->k, w->b, w->sums);
  free(weights);
  w->packed = (cv_packed){w->b, w->sums, w->b_scale, w->b_scale + padded, s->n, s->k / 4, 128};
  return w;
}

static void linear_run(void *workspace) {
  const linear *w = workspace;
  size_t n = w->shape.n, k = w->shape.k;
  for (size_t row = 0; row < w->shape.m; row += ROWS) {
    size_t rows = w->shape.m - row < ROWS ? w->shape.m - row : ROWS;
    cv_int8()->linear(rows, w->a + row * k, k, w->a_scale + row, &w->packed, 0, w->c, n);
  }
}

static void linear_free(void *workspace) {
  linear *w = workspace;
  free(w->a);
  free(w->a_scale);
  free(w->b_scale);
  free(w->c);
  free(w->b);
  free(w->sums);
  free(w);
}

typedef struct attention {
  shape shape;
  size_t blocks;
  cv_key_block *keys;  // [heads, blocks]
  uint8_t *q;          // [heads, M, K]
  float *q_scale, *o;  // [heads, M], [heads, M, K]
  void *scratch;
} attention;

static void *attention_make(const shape *s) {
  attention *w = memory(sizeof *w);
  w->shape = *s;
  w->blocks = (s->n + KEYS - 1) / KEYS;
  w->keys = memory(s->count * w->blocks * sizeof *w->keys);
  w->q = memory(s->count * s->m * s->k);
  w->q_scale = memory(s->count * s->m * sizeof(float));
  w->o = memory(s->count * s->m * s->k * sizeof(float));
  w->scratch = memory(cv_attend_scratch(ROWS, KEYS));
  float *x = numbers((s->m + s->n) * s->k);
  uint8_t *k = memory(s->n * s->k);
  float *k_scale = memory(s->n * sizeof *k_scale);
  const cv_row_kernels *rows = cv_rows();
  for (size_t head = 0; head < s->count; head++) {
    rows->quantise(x, s->k, s->m, s->k, w->q + head * s->m * s->k, s->k,
                   w->q_scale + head * s->m);
    rows->quantise(x, s->k, s->n, s->k, k, s->k, k_scale);
    for (size_t b = 0; b < w->blocks; b++) {
      size_t first = b * KEYS, count = s->n - first < KEYS ? s->n - first : KEYS;
      size_t padded = (count + CV_PANEL - 1) / CV_PANEL * CV_PANEL;
      int8_t *keys = memory(cv_packed_bytes(count, s->k));
      int8_t *values = memory(cv_packed_bytes(s->k, padded));
      int32_t *key_sums = memory(4 * padded), *value_sums = memory(4 * CV_PANEL);
      float *key_scale = memory(4 * padded), *value_scale = memory(4 * CV_PANEL);
      cv_key_block *block = w->keys + head * w->blocks + b;
      *block = (cv_key_block){keys, key_sums, key_scale, values, value_sums, value_scale,
                              count, 0};
      cv_pack_keys(k + first * s->k, s->k, k_scale + first, 1, count, s->k, keys, key_sums,
                   key_scale, &block->factor_limit);
      rows->pack_values(x + first * s->k, s->k, count, s->k, padded, values, value_sums,
                        value_scale);
    }
  }
  for (size_t i = 0; i < s->count * s->m; i++) w->q_scale[i] /= sqrtf((float)s->k);
  free(x);
  free(k);
  free(k_scale);
  return w;
}

static void attention_run(void *workspace) {
  const attention *w = workspace;
  size_t m = w->shape.m, k = w->shape.k;
  for (size_t row = 0; row < m; row += ROWS) {
    size_t rows = m - row < ROWS ? m - row : ROWS;
    for (size_t head = 0; head < w->shape.count; head++) {
      size_t at = head * m + row;
      cv_int8()->attend(w->keys + head * w->blocks, w->blocks, k, rows, w->q + at * k, k,
                        w->q_scale + at, 1, w->scratch, w->o + at * k, k);
    }
  }
}

static void attention_free(void *workspace) {
  attention *w = workspace;
  for (size_t i = 0; i < w->shape.count * w->blocks; i++) {
    free((void *)w->keys[i].keys);
    free((void *)w->keys[i].key_sums);
    free((void *)w->keys[i].key_scale);
    free((void *)w->keys[i].values);
    free((void *)w->keys[i].value_sums);
    free((void *)w->keys[i].value_scale);
  }
  free(w->keys);
  free(w->q);
  free(w->q_scale);
  free(w->o);
  free(w->scratch);
  free(w);
}

// ---- The table -----------------------------------------------------------------

const product products[] = {
  {"OpenBLAS sgemm", NUMBER_F32, SHAPE_PRODUCT, sgemm_make, sgemm_run, sgemm_free},
  {"covey fp32", NUMBER_F32, SHAPE_PRODUCT, sgemm_make, own_run, sgemm_free},
  {"covey int8", NUMBER_INT8, SHAPE_PRODUCT, linear_make, linear_run, linear_free},
  {"covey int8", NUMBER_INT8, SHAPE_ATTENTION, attention_make, attention_run, attention_free},
};
const size_t product_count = sizeof products / sizeof products[0];
