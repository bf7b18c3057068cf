#include "CCoveyPlatform.h"

#include <pthread.h>

// What fork() leaves of the library in the child: the forking thread alone, and all
// locks as they were.  So the lock is taken before, and free on both sides after.
static pthread_mutex_t process_mutex = PTHREAD_MUTEX_INITIALIZER;
static int32_t depth, made;

static void before_fork(void) { pthread_mutex_lock(&process_mutex); }
static void in_parent(void) {
  made++;
  pthread_mutex_unlock(&process_mutex);
}
static void in_child(void) {
  depth++;
  pthread_mutex_unlock(&process_mutex);
}

// As the library is loaded: whichever call comes first may be in progress at a fork.
__attribute__((constructor)) static void watch_forks(void) {
  pthread_atfork(before_fork, in_parent, in_child);
}

void cv_process_lock(void) { pthread_mutex_lock(&process_mutex); }
void cv_process_unlock(void) { pthread_mutex_unlock(&process_mutex); }
int32_t cv_fork_depth(void) { return depth; }
int32_t cv_forks_made(void) { return made; }
