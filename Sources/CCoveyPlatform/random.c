#define _GNU_SOURCE
#include <stddef.h>
#include <sys/random.h>

// Swift's runtime seeds its hashing with arc4random_buf, which glibc has only
// since 2.36.  This one, hidden, lets the library load on older systems.
void arc4random_buf(void *bytes, size_t count) {
  unsigned char *next = bytes;
  while (count > 0) {
    ssize_t got = getrandom(next, count, 0);
    if (got <= 0) continue;  // interrupted
    next += got;
    count -= (size_t)got;
  }
}
