#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/random.h>

#include "CCoveyPlatform.h"

void arc4random_buf(void *bytes, size_t count);

// Swift's runtime seeds its hashing with arc4random_buf, which glibc has only
// since 2.36.  This one, hidden, lets the library load on older systems.  Good
// for seeds and names, not for secrets: where the system's source is closed off,
// the clock has to do.
void arc4random_buf(void *bytes, size_t count) {
  unsigned char *next = bytes;
  while (count > 0) {
    ssize_t got = getrandom(next, count, 0);
    if (got > 0) {
      next += got;
      count -= (size_t)got;
    } else if (errno != EINTR) {
      break;
    }
  }
  uint64_t state = (uint64_t)cv_clock_nanoseconds() ^ (uint64_t)(uintptr_t)bytes;
  for (; count > 0; count--) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    *next++ = (unsigned char)(state >> 56);
  }
}
