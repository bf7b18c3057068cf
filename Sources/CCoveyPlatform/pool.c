#define _GNU_SOURCE
#include "CCoveyPlatform.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// Workers look for new work this often before they go to sleep: between two
// stages of a network there is work again within microseconds, and waking a
// sleeping thread costs about as much as a small stage.
enum { SPINS = 4000 };

struct cv_pool {
  pthread_mutex_t mutex;
  pthread_cond_t wake, idle;
  pid_t process;
  int32_t threads;  // workers and the caller

  // The job; written under the mutex while no worker is active.
  cv_task task;
  void *context;
  int32_t count;
  atomic_int next;
  atomic_int active;      // workers that have not finished the current job
  atomic_uint job;        // increases with every job
  atomic_bool stop;

  pthread_t workers[];
};

typedef struct start {
  cv_pool *pool;
  int32_t worker;
} start;

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield");
#endif
}

static void work(cv_pool *pool, int32_t worker) {
  for (;;) {
    int32_t index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
    if (index >= pool->count) return;
    pool->task(pool->context, index, worker);
  }
}

static void *worker_main(void *argument) {
  start given = *(start *)argument;
  free(argument);
  cv_pool *pool = given.pool;
  unsigned seen = 0;
  for (;;) {
    for (int i = 0; i < SPINS; i++) {
      if (atomic_load(&pool->job) != seen || atomic_load(&pool->stop)) break;
      pause_briefly();
    }
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load(&pool->job) == seen && !atomic_load(&pool->stop)) {
      pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    seen = atomic_load(&pool->job);
    bool stop = atomic_load(&pool->stop);
    pthread_mutex_unlock(&pool->mutex);
    if (stop) return NULL;
    work(pool, given.worker);
    if (atomic_fetch_sub(&pool->active, 1) == 1) {
      pthread_mutex_lock(&pool->mutex);
      pthread_cond_signal(&pool->idle);
      pthread_mutex_unlock(&pool->mutex);
    }
  }
}

static void stop_workers(cv_pool *pool, int32_t started) {
  pthread_mutex_lock(&pool->mutex);
  atomic_store(&pool->stop, true);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
  for (int32_t i = 0; i < started; i++) pthread_join(pool->workers[i], NULL);
}

static void destroy(cv_pool *pool) {
  pthread_cond_destroy(&pool->wake);
  pthread_cond_destroy(&pool->idle);
  pthread_mutex_destroy(&pool->mutex);
  free(pool);
}

cv_pool *cv_pool_create(int32_t threads) {
  if (threads < 1) threads = 1;
  cv_pool *pool = calloc(1, sizeof *pool + (size_t)(threads - 1) * sizeof(pthread_t));
  if (!pool) return NULL;
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->idle, NULL);
  pool->process = getpid();
  pool->threads = threads;

  // The program's signals are for the program's threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int32_t started = 0;
  while (started < threads - 1) {
    start *given = malloc(sizeof *given);
    if (!given) break;
    *given = (start){pool, started + 1};
    if (pthread_create(&pool->workers[started], NULL, worker_main, given) != 0) {
      free(given);
      break;
    }
    started++;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (started < threads - 1) {
    stop_workers(pool, started);
    destroy(pool);
    return NULL;
  }
  return pool;
}

void cv_pool_free(cv_pool *pool) {
  if (!pool) return;
  if (pool->process != getpid()) {
    free(pool);  // the workers, and the right to wait for them, are the parent's
    return;
  }
  stop_workers(pool, pool->threads - 1);
  destroy(pool);
}

void cv_pool_run(cv_pool *pool, int32_t count, cv_task task, void *context) {
  if (pool->threads == 1 || count <= 1 || pool->process != getpid()) {
    for (int32_t i = 0; i < count; i++) task(context, i, 0);
    return;
  }
  pthread_mutex_lock(&pool->mutex);
  pool->task = task;
  pool->context = context;
  pool->count = count;
  atomic_store(&pool->next, 0);
  atomic_store(&pool->active, pool->threads - 1);
  atomic_fetch_add(&pool->job, 1);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);

  work(pool, 0);

  for (int i = 0; i < SPINS && atomic_load(&pool->active) != 0; i++) pause_briefly();
  if (atomic_load(&pool->active) == 0) return;
  pthread_mutex_lock(&pool->mutex);
  while (atomic_load(&pool->active) != 0) pthread_cond_wait(&pool->idle, &pool->mutex);
  pthread_mutex_unlock(&pool->mutex);
}

// The cores that a container may use at once, by its quota of time; 0 for no
// limit, or where none can be read (cgroup version 2).
static int32_t core_quota(void) {
  FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
  if (!file) return 0;
  long long quota = 0, period = 0;
  int found = fscanf(file, "%lld %lld", &quota, &period);  // or "max 100000"
  fclose(file);
  if (found != 2 || quota <= 0 || period <= 0) return 0;
  long long cores = (quota + period - 1) / period;
  return cores < 1 << 16 ? (int32_t)cores : 0;
}

int32_t cv_core_count(void) {
  int32_t count = 0;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    count = CPU_COUNT(&set);
  } else {
    count = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
  }
  int32_t quota = core_quota();
  if (quota > 0 && quota < count) count = quota;
  return count > 0 ? count : 1;
}

static pthread_mutex_t process_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static sem_t turns;
static atomic_int turns_at_once;

static void before_fork(void) { pthread_mutex_lock(&process_mutex); }
static void after_fork(void) { pthread_mutex_unlock(&process_mutex); }
static void after_fork_in_child(void) {
  // Those that had a turn are not here to end it.
  if (turns_at_once > 0) sem_init(&turns, 0, (unsigned)turns_at_once);
  pthread_mutex_unlock(&process_mutex);
}
static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork_in_child); }

void cv_process_lock(void) {
  pthread_once(&fork_once, watch_forks);
  pthread_mutex_lock(&process_mutex);
}
void cv_process_unlock(void) { pthread_mutex_unlock(&process_mutex); }

void cv_take_turn(int32_t at_once) {
  if (atomic_load(&turns_at_once) == 0) {
    cv_process_lock();
    if (atomic_load(&turns_at_once) == 0) {
      sem_init(&turns, 0, (unsigned)at_once);
      atomic_store(&turns_at_once, at_once);
    }
    cv_process_unlock();
  }
  while (sem_wait(&turns) != 0) continue;  // a signal came
}
void cv_end_turn(void) { sem_post(&turns); }

int32_t cv_process_id(void) { return (int32_t)getpid(); }
