#include "CCoveyPlatform.h"

#include <fenv.h>

_Static_assert(sizeof(fenv_t) <= sizeof(cv_float_environment), "the environment is larger");

void cv_floats_default(cv_float_environment *before) {
  fegetenv((fenv_t *)before);
  fesetenv(FE_DFL_ENV);
}

void cv_floats_restore(const cv_float_environment *before) {
  fesetenv((const fenv_t *)before);
}
