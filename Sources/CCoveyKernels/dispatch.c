// Which kernels this CPU runs: the last of those it can.  The environment
// variable COVEY_ISA, one of the names below, names the last to be considered.
#include "CCoveyKernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

extern const cv_row_kernels cv_rows_portable;
extern const cv_int8_kernels cv_int8_portable;
extern const cv_product_kernels cv_products_portable;
#if defined(__x86_64__)
extern const cv_row_kernels cv_rows_avx2, cv_rows_avx512;
extern const cv_int8_kernels cv_int8_ssse3, cv_int8_avx2, cv_int8_avxvnni, cv_int8_avx512vnni,
    cv_int8_avx512vbmi;
extern const cv_product_kernels cv_products_avx2, cv_products_avx512;
#elif defined(__aarch64__)
#include <sys/auxv.h>
extern const cv_int8_kernels cv_int8_neon, cv_int8_dotprod, cv_int8_i8mm;
extern const cv_product_kernels cv_products_neon;
#endif

// An instruction set, and what is made for it; NULL: what the one before has.
typedef struct level {
  const char *name;
  int present;
  const cv_row_kernels *rows;
  const cv_int8_kernels *int8;
  const cv_product_kernels *products;
} level;

static size_t find_levels(level levels[CV_ISAS]) {
  size_t count = 0;
#define LEVEL(...) levels[count++] = (level){__VA_ARGS__}
  LEVEL("portable", 1, &cv_rows_portable, &cv_int8_portable, &cv_products_portable);
#if defined(__x86_64__)
#define HAS(feature) (__builtin_cpu_supports(feature) != 0)
  __builtin_cpu_init();
  int avx2 = HAS("avx2") && HAS("fma");
  int avx512 = avx2 && HAS("avx512f") && HAS("avx512bw") && HAS("avx512dq") && HAS("avx512vl");
  int vnni = avx512 && HAS("avx512vnni");
  LEVEL("ssse3", HAS("ssse3"), NULL, &cv_int8_ssse3, NULL);
  LEVEL("avx2", avx2, &cv_rows_avx2, &cv_int8_avx2, &cv_products_avx2);
  LEVEL("avxvnni", avx2 && HAS("avxvnni"), NULL, &cv_int8_avxvnni, NULL);
  LEVEL("avx512", avx512, &cv_rows_avx512, NULL, &cv_products_avx512);
  LEVEL("avx512vnni", vnni, NULL, &cv_int8_avx512vnni, NULL);
  LEVEL("avx512vbmi", vnni && HAS("avx512vbmi"), NULL, &cv_int8_avx512vbmi, NULL);
#elif defined(__aarch64__)
  // Bits of the kernel's interface: HWCAP_ASIMDDP, HWCAP2_I8MM.
  LEVEL("neon", 1, NULL, &cv_int8_neon, &cv_products_neon);
  LEVEL("dotprod", (getauxval(AT_HWCAP) >> 20) & 1, NULL, &cv_int8_dotprod, NULL);
  LEVEL("i8mm", (getauxval(AT_HWCAP2) >> 13) & 1, NULL, &cv_int8_i8mm, NULL);
#endif
  return count;
}

static const cv_row_kernels *chosen_rows;
static const cv_int8_kernels *chosen_int8;
static const cv_product_kernels *chosen_products;

static void choose(void) {
  level levels[CV_ISAS];
  const char *last = getenv("COVEY_ISA");
  for (size_t i = 0, n = find_levels(levels); i < n; i++) {
    if (levels[i].present) {
      if (levels[i].rows) chosen_rows = levels[i].rows;
      if (levels[i].int8) chosen_int8 = levels[i].int8;
      if (levels[i].products) chosen_products = levels[i].products;
    }
    if (last && strcmp(last, levels[i].name) == 0) break;
  }
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

// For one kind of kernels: those chosen, and all that can run here.
#define KIND(kind, type)                                                            \
  const type *cv_##kind(void) {                                                     \
    pthread_once(&once, choose);                                                    \
    return chosen_##kind;                                                           \
  }                                                                                 \
  size_t cv_##kind##_all(const type *kernels[CV_ISAS]) {                            \
    level levels[CV_ISAS];                                                          \
    size_t count = 0;                                                               \
    for (size_t i = 0, n = find_levels(levels); i < n; i++) {                       \
      if (levels[i].present && levels[i].kind) kernels[count++] = levels[i].kind;   \
    }                                                                               \
    return count;                                                                   \
  }

KIND(rows, cv_row_kernels)
KIND(int8, cv_int8_kernels)
KIND(products, cv_product_kernels)
