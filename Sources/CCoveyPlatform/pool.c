#define _GNU_SOURCE
#include "CCoveyPlatform.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

// Workers look for new work this often before they go to sleep: between two
// stages of a network there is work again within microseconds, and waking a
// sleeping thread costs about as much as a small stage.
enum { SPINS = 4000 };

struct cv_pool {
  pthread_mutex_t mutex;
  pthread_cond_t wake, idle;
  int32_t fork_depth;     // of the process that it was made in
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
  pool->fork_depth = cv_fork_depth();
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
  if (pool->fork_depth != cv_fork_depth()) {
    free(pool);  // the workers, and the right to wait for them, are the parent's
    return;
  }
  stop_workers(pool, pool->threads - 1);
  destroy(pool);
}

void cv_pool_run(cv_pool *pool, int32_t count, cv_task task, void *context) {
  if (pool->threads == 1 || count <= 1 || pool->fork_depth != cv_fork_depth()) {
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
  // The task has forked, and this is the child: the workers are the parent's.
  if (pool->fork_depth != cv_fork_depth()) return;

  for (int i = 0; i < SPINS && atomic_load(&pool->active) != 0; i++) pause_briefly();
  if (atomic_load(&pool->active) == 0) return;
  pthread_mutex_lock(&pool->mutex);
  while (atomic_load(&pool->active) != 0) pthread_cond_wait(&pool->idle, &pool->mutex);
  pthread_mutex_unlock(&pool->mutex);
}

static void *wait_for_lock(void *argument) {
  pthread_mutex_lock(argument);
  pthread_mutex_unlock(argument);
  return NULL;
}

bool cv_could_start(int32_t threads) {
  if (threads < 1) return true;
  pthread_t *started = calloc((size_t)threads, sizeof *started);
  if (!started) return false;
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_mutex_lock(&gate);  // so that they are there at the same time
  int32_t count = 0;
  while (count < threads && pthread_create(&started[count], NULL, wait_for_lock, &gate) == 0)
    count++;
  pthread_mutex_unlock(&gate);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  for (int32_t i = 0; i < count; i++) pthread_join(started[i], NULL);
  free(started);
  return count == threads;
}

// Only who finds no turn free waits, and so the semaphore starts at 0, before anyone could
// wait: it is not for the first call to make.
static atomic_int turns_wanted;
static sem_t turns;

__attribute__((constructor)) static void make_turns(void) { sem_init(&turns, 0, 0); }

void cv_take_turn(int32_t at_once) {
  if (atomic_fetch_add(&turns_wanted, 1) < at_once) return;
  while (sem_wait(&turns) != 0) continue;  // a signal came
}

void cv_end_turn(int32_t at_once) {
  if (atomic_fetch_sub(&turns_wanted, 1) > at_once) sem_post(&turns);
}
