#include "CCoveyKernels.h"

#include <pthread.h>

extern const cv_row_kernels cv_rows_portable;
#if defined(__x86_64__)
extern const cv_row_kernels cv_rows_avx2, cv_rows_avx512;
#endif

size_t cv_rows_all(const cv_row_kernels *kernels[4]) {
  size_t count = 0;
  kernels[count++] = &cv_rows_portable;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) kernels[count++] = &cv_rows_avx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    kernels[count++] = &cv_rows_avx512;
  }
#endif
  return count;
}

static const cv_row_kernels *chosen;

static void choose(void) {
  const cv_row_kernels *all[4];
  chosen = all[cv_rows_all(all) - 1];
}

const cv_row_kernels *cv_rows(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, choose);
  return chosen;
}
