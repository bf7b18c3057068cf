// The kernel table: what the machine can do at most, and what the products of
// the network reach of it.
#ifndef KERNELS_H
#define KERNELS_H

#include <stddef.h>

typedef enum number_type { NUMBER_F32, NUMBER_INT8 } number_type;

// ---- peaks.c ---------------------------------------------------------------

typedef struct peak {
  const char *name;         // "avx512-vnni"
  number_type type;
  double operations;        // in one call of `run` for one unit of `rounds`
  void (*run)(size_t rounds);
  int at_avx2;              // 1: counts where the kernels are limited to AVX2
} peak;

// What this CPU can run; returns how many.
size_t peaks_of_this_cpu(const peak **out, size_t capacity);

// ---- products.c ------------------------------------------------------------

// C [M, N] = A [M, K] B; or attention of `count` heads: scores [M, N] with K
// channels, softmax, and the product of that with the values.
typedef enum shape_kind { SHAPE_PRODUCT, SHAPE_ATTENTION } shape_kind;

typedef struct shape {
  const char *name;
  size_t m, n, k, count;
  shape_kind kind;
} shape;

// A product under test.  make returns a workspace with its operands for the
// shape, packed as the network has them; run makes all of it once.
typedef struct product {
  const char *name;
  number_type type;
  shape_kind kind;
  void *(*make)(const shape *shape);
  void (*run)(void *workspace);
  void (*free)(void *workspace);
} product;

extern const product products[];
extern const size_t product_count;

#endif
