// Which kernels this CPU runs: the last of those it can.  The environment
// variable COVEY_ISA, one of the names below, names the last to be considered.
#include "CCoveyKernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

extern const cv_row_kernels cv_rows_portable;
extern const cv_int8_kernels cv_int8_portable;
#if defined(__x86_64__)
extern const cv_row_kernels cv_rows_avx2, cv_rows_avx512;
extern const cv_int8_kernels cv_int8_ssse3, cv_int8_avx2, cv_int8_avxvnni, cv_int8_avx512vnni,
    cv_int8_avx512vbmi;
#elif defined(__aarch64__)
#include <sys/auxv.h>
extern const cv_int8_kernels cv_int8_neon, cv_int8_dotprod, cv_int8_i8mm;
#endif

// An instruction set, and what is made for it; NULL: what the one before has.
typedef struct level {
  const char *name;
  int present;
  const cv_row_kernels *rows;
  const cv_int8_kernels *int8;
} level;

static size_t find_levels(level levels[CV_ISAS]) {
  size_t count = 0;
#define LEVEL(...) levels[count++] = (level){__VA_ARGS__}
  LEVEL("portable", 1, &cv_rows_portable, &cv_int8_portable);
#if defined(__x86_64__)
#define HAS(feature) (__builtin_cpu_supports(feature) != 0)
  __builtin_cpu_init();
  int avx512 = HAS("avx512f") && HAS("avx512bw") && HAS("avx512dq") && HAS("avx512vl");
  int vnni = avx512 && HAS("avx512vnni");
  LEVEL("ssse3", HAS("ssse3"), NULL, &cv_int8_ssse3);
  LEVEL("avx2", HAS("avx2"), &cv_rows_avx2, &cv_int8_avx2);
  LEVEL("avxvnni", HAS("avx2") && HAS("avxvnni"), NULL, &cv_int8_avxvnni);
  LEVEL("avx512", avx512, &cv_rows_avx512, NULL);
  LEVEL("avx512vnni", vnni, NULL, &cv_int8_avx512vnni);
  LEVEL("avx512vbmi", vnni && HAS("avx512vbmi"), NULL, &cv_int8_avx512vbmi);
#elif defined(__aarch64__)
  // Bits of the kernel's interface: HWCAP_ASIMDDP, HWCAP2_I8MM.
  LEVEL("neon", 1, NULL, &cv_int8_neon);
  LEVEL("dotprod", (getauxval(AT_HWCAP) >> 20) & 1, NULL, &cv_int8_dotprod);
  LEVEL("i8mm", (getauxval(AT_HWCAP2) >> 13) & 1, NULL, &cv_int8_i8mm);
#endif
  return count;
}

size_t cv_rows_all(const cv_row_kernels *kernels[CV_ISAS]) {
  level levels[CV_ISAS];
  size_t count = 0;
  for (size_t i = 0, n = find_levels(levels); i < n; i++) {
    if (levels[i].present && levels[i].rows) kernels[count++] = levels[i].rows;
  }
  return count;
}

size_t cv_int8_all(const cv_int8_kernels *kernels[CV_ISAS]) {
  level levels[CV_ISAS];
  size_t count = 0;
  for (size_t i = 0, n = find_levels(levels); i < n; i++) {
    if (levels[i].present && levels[i].int8) kernels[count++] = levels[i].int8;
  }
  return count;
}

static const cv_row_kernels *chosen_rows;
static const cv_int8_kernels *chosen_int8;

static void choose(void) {
  level levels[CV_ISAS];
  const char *last = getenv("COVEY_ISA");
  for (size_t i = 0, n = find_levels(levels); i < n; i++) {
    if (levels[i].present && levels[i].rows) chosen_rows = levels[i].rows;
    if (levels[i].present && levels[i].int8) chosen_int8 = levels[i].int8;
    if (last && strcmp(last, levels[i].name) == 0) break;
  }
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

const cv_row_kernels *cv_rows(void) {
  pthread_once(&once, choose);
  return chosen_rows;
}

const cv_int8_kernels *cv_int8(void) {
  pthread_once(&once, choose);
  return chosen_int8;
}
