#include "CCoveyKernels.h"

#define ISA portable
#define NAME(x) x##_portable
#define TARGET
#define FLOAT_LANES 4
#define ROWS 4
#define VECS 2
#include "products_types.inc"

INLINE F NAME(fma)(F sum, float x, F b) { return sum + x * b; }

#include "products.inc"
