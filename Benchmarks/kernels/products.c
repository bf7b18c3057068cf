// The products under test, one entry each: operands made and packed as the
// network has them, and one call that makes the product.
#include "kernels.h"

#include <cblas.h>
#include <stdint.h>
#include <stdlib.h>

// ---- fp32: OpenBLAS, as covey's fp32 path calls it ---------------------------

typedef struct sgemm {
  shape shape;
  float *a, *b, *c;  // [count, M, K], [count, N, K], [count, M, N]
} sgemm;

static float *numbers(size_t count) {
  float *x = malloc(count * sizeof *x);
  if (!x) abort();
  for (size_t i = 0; i < count; i++) x[i] = (float)(i * 2654435761u % 1021) / 1021 - 0.5f;
  return x;
}

static void *sgemm_make(const shape *s) {
  openblas_set_num_threads(1);
  sgemm *w = malloc(sizeof *w);
  if (!w) abort();
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

// ---- The table -----------------------------------------------------------------

const product products[] = {
  {"OpenBLAS sgemm", NUMBER_F32, sgemm_make, sgemm_run, sgemm_free},
};
const size_t product_count = sizeof products / sizeof products[0];
