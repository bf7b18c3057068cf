// What the core needs of the operating system, and Swift alone cannot do or
// cannot do without a chance to fail: memory that may be refused, files,
// threads, thread-local text, clock, CPU count.  Prefix cv_: not exported.
#ifndef CCOVEY_PLATFORM_H
#define CCOVEY_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- memory.c -------------------------------------------------------------

// 64-byte aligned, not initialised; NULL where the system refuses.
void *cv_allocate(size_t bytes);
// `bytes` as they were asked for.
void cv_deallocate(void *memory, size_t bytes);
// Whether the system would give `count` times so many bytes to write to, and
// addresses for so many more, each in one piece.  Nothing is kept.
bool cv_could_map(size_t count, size_t writable, size_t addresses);

// ---- files.c --------------------------------------------------------------

typedef struct cv_file {
  const void *bytes;
  size_t size;
  bool mapped;  // else allocated
} cv_file;

// Maps (or reads, where `copy`) a regular file for reading.  0 or an errno;
// EISDIR for folders, EINVAL for other things that are no regular file.  An
// empty file gives bytes NULL and size 0.
int cv_file_open(const char *path, bool copy, cv_file *file);
void cv_file_close(cv_file *file);
// Of a mapped file: its pages leave memory until they are read again.
void cv_file_drop_pages(const cv_file *file);

// A file that appears under its name whole, or not at all: bytes go to a new
// file beside it, which is flushed to disk and renamed over it by commit.  Of a file
// that is replaced the mode stays, of a symbolic link the link.
typedef struct cv_writer cv_writer;
int cv_writer_open(const char *path, cv_writer **writer);
int cv_writer_write(cv_writer *writer, const void *bytes, size_t size);
// Both end the writer.  0 or an errno; after a failure nothing is left behind.
int cv_writer_commit(cv_writer *writer);
void cv_writer_abandon(cv_writer *writer);

// The system's text for an errno, into `text`, always terminated.
void cv_errno_text(int number, char *text, size_t capacity);

// ---- pool.c ---------------------------------------------------------------

typedef struct cv_pool cv_pool;
// `worker` is 0 on the calling thread, up to threads - 1 elsewhere.
typedef void (*cv_task)(void *context, int32_t index, int32_t worker);

// `threads` includes the caller's.  NULL where threads or memory are refused.
cv_pool *cv_pool_create(int32_t threads);
void cv_pool_free(cv_pool *pool);
// Runs task 0 ..< count, in any order, and returns when all are done.  In a
// child after fork() everything runs on the calling thread; where a task has forked,
// it returns there without what the workers had in hand.
void cv_pool_run(cv_pool *pool, int32_t count, cv_task task, void *context);
// Cores this process may run on, and has the time of: at least 1.
int32_t cv_core_count(void);
// The least that a control group of this process, or one above it, gives of CPU time, in cores,
// rounded up; 0: no bound.  `groups`: /proc/self/cgroup; `root`: /sys/fs/cgroup.
int32_t cv_core_quota(const char *groups, const char *root);

// Whether the system would start so many more threads.  None is kept.
bool cv_could_start(int32_t threads);

// At most `at_once` threads of the process have a turn; others wait for theirs.  The number
// is the same in all calls of a process.
void cv_take_turn(int32_t at_once);
void cv_end_turn(int32_t at_once);

// ---- fork.c ---------------------------------------------------------------

// One mutex for what the process shares: the log sink, the settings of OpenBLAS.
// Whole across fork(), and so never held while anything of the caller's runs.
void cv_process_lock(void);
void cv_process_unlock(void);
// Forks between the process that loaded the library and this one: 0 in that one.
int32_t cv_fork_depth(void);
// Children that this process, and those it descends from, have forked.
int32_t cv_forks_made(void);

// ---- text.c ---------------------------------------------------------------

// The thread's last error.
void cv_error_set(const char *utf8, size_t length);
const char *cv_error_get(void);
// The shortest decimal that reads back as the same number; returns its length,
// 0 where it does not fit.
size_t cv_format_double(double value, char *text, size_t capacity);
size_t cv_format_float(float value, char *text, size_t capacity);
// The whole number that follows `name` in `text`; 0 where there is none.
int32_t cv_number_after(const char *text, const char *name);

typedef void (*cv_log)(void *user_data, int32_t level, const char *message);
void cv_log_set(cv_log log, void *user_data, int32_t level);
bool cv_log_wants(int32_t level);
void cv_log_send(int32_t level, const char *message);

// ---- build.c --------------------------------------------------------------

// Static text: "clang 21.0.0", the compiler of the C parts, kernels included;
// "glibc 2.36", the library that they were built with.
const char *cv_c_compiler(void);
const char *cv_libc(void);

// ---- floats.c -------------------------------------------------------------

// The thread's floating-point environment.
typedef struct cv_float_environment {
  uint64_t words[8];
} cv_float_environment;
// Rounding to the nearest, no traps, subnormal numbers as they are; the environment
// found is kept, and put back, flags and all, by the second.
void cv_floats_default(cv_float_environment *before);
void cv_floats_restore(const cv_float_environment *before);

// ---- clock.c --------------------------------------------------------------

int64_t cv_clock_nanoseconds(void);  // monotonic

#endif
