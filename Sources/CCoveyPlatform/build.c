#include "CCoveyPlatform.h"

#define TEXT(number) #number
#define TEXT_OF(number) TEXT(number)

// __VERSION__ of clang ends in the address and commit of its repository.
const char *cv_c_compiler(void) {
#if defined(__clang__)
  return "clang " TEXT_OF(__clang_major__) "." TEXT_OF(__clang_minor__) "." TEXT_OF(
      __clang_patchlevel__);
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "another C compiler";
#endif
}

const char *cv_libc(void) {
#if defined(__GLIBC__)
  return "glibc " TEXT_OF(__GLIBC__) "." TEXT_OF(__GLIBC_MINOR__);
#else
  return "another libc";
#endif
}
