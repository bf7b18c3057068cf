#include "CCoveyKernels.h"

#define ISA portable
#define NAME(x) x##_portable
#define TARGET 
#include "rows.inc"
