/* Stands before libc.  Calls fail, and count, where the library makes them, or libc on its
 * behalf (strdup, realpath); OpenBLAS's and the test's own are passed on.
 *
 * Not made to fail: blocks aligned to less than a cache line that the library allocates with
 * posix_memalign, which are Swift's objects.  Embedded Swift cannot do without (covey.h,
 * ERRORS).  They are counted: what is lost of them is a leak as of all others. */
#include "interpose.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const fault_names[FAULTS] = {
    "memory", "thread", "open", "stat", "read", "write", "interrupt", "sync", "close", "rename",
    "random", "mode",
};

/* ---- Who calls --------------------------------------------------------------------- */

typedef struct range {
    uintptr_t start, end;
} range;

static range library, libc;
static const char *library_name;

static int look_at(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    range *found = strstr(info->dlpi_name, library_name) ? &library
                 : strstr(info->dlpi_name, "/libc.so")   ? &libc
                                                         : NULL;
    for (int i = 0; found && i < info->dlpi_phnum; i++) {
        const uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X))
            *found = (range){ start, start + info->dlpi_phdr[i].p_memsz };
    }
    return 0;
}

bool interpose_find(const char *name)
{
    library_name = name;
    dl_iterate_phdr(look_at, NULL);
    return library.end > 0 && libc.end > 0;
}

static bool in(range range, const void *address)
{
    return (uintptr_t)address - range.start < range.end - range.start;
}

#define CALLER __builtin_return_address(0)
#define OURS (in(library, CALLER) || in(libc, CALLER))

/* ---- Which call fails --------------------------------------------------------------- */

static bool armed, fired;
static fault armed_fault;
static int armed_index, counts[FAULTS];

void fault_arm(fault fault, int index)
{
    armed_fault = fault;
    armed_index = index;
    memset(counts, 0, sizeof counts);
    fired = false;
    __atomic_store_n(&armed, true, __ATOMIC_SEQ_CST);
}

bool fault_disarm(void)
{
    __atomic_store_n(&armed, false, __ATOMIC_SEQ_CST);
    return fired;
}

int fault_count(fault fault) { return counts[fault]; }

static bool fails(fault fault, int error)
{
    if (!__atomic_load_n(&armed, __ATOMIC_SEQ_CST)) return false;
    const int index = __atomic_add_fetch(&counts[fault], 1, __ATOMIC_SEQ_CST);
    if (fault != armed_fault || index != armed_index) return false;
    fired = true;
    errno = error;
    return true;
}

/* ---- What is held ----------------------------------------------------------------------- */

enum { SLOTS = 1 << 18 };       /* of the blocks that live                       */
static void *slots[SLOTS];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static long blocks, bytes, mapped, threads;

static size_t place(const void *block) { return ((uintptr_t)block >> 4) * 2654435761u % SLOTS; }

static void *hold(void *block)
{
    if (!block) return NULL;
    pthread_mutex_lock(&slots_lock);
    if (blocks == SLOTS - 1) abort();
    size_t at = place(block);
    while (slots[at]) at = (at + 1) % SLOTS;
    slots[at] = block;
    blocks++;
    bytes += (long)malloc_usable_size(block);
    pthread_mutex_unlock(&slots_lock);
    return block;
}

static void let_go(void *block)
{
    if (!block) return;
    pthread_mutex_lock(&slots_lock);
    size_t at = place(block);
    while (slots[at] && slots[at] != block) at = (at + 1) % SLOTS;
    if (slots[at]) {
        blocks--;
        bytes -= (long)malloc_usable_size(block);
        /* Those behind that would be found no more move up. */
        for (size_t next = (at + 1) % SLOTS; slots[next]; next = (next + 1) % SLOTS) {
            if ((next - place(slots[next])) % SLOTS < (next - at) % SLOTS) continue;
            slots[at] = slots[next];
            at = next;
        }
        slots[at] = NULL;
    }
    pthread_mutex_unlock(&slots_lock);
}

holdings holdings_now(void)
{
    holdings now = { .threads = __atomic_load_n(&threads, __ATOMIC_SEQ_CST) };
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) now.descriptors++;
    if (folder) closedir(folder);
    pthread_mutex_lock(&slots_lock);
    now.blocks = blocks;
    now.bytes = bytes;
    now.mapped = mapped;
    pthread_mutex_unlock(&slots_lock);
    return now;
}

/* ---- Memory -------------------------------------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t number, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

void *malloc(size_t size)
{
    if (!OURS) return __libc_malloc(size);
    return fails(FAULT_MEMORY, ENOMEM) ? NULL : hold(__libc_malloc(size));
}

void *calloc(size_t number, size_t size)
{
    if (!OURS) return __libc_calloc(number, size);
    return fails(FAULT_MEMORY, ENOMEM) ? NULL : hold(__libc_calloc(number, size));
}

void *realloc(void *block, size_t size)
{
    if (!OURS) {
        let_go(block);
        return __libc_realloc(block, size);
    }
    if (fails(FAULT_MEMORY, ENOMEM)) return NULL;
    let_go(block);
    return hold(__libc_realloc(block, size));
}

void free(void *block)
{
    let_go(block);
    __libc_free(block);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    if (OURS && alignment >= 64 && fails(FAULT_MEMORY, ENOMEM)) return ENOMEM;
    void *block = __libc_memalign(alignment, size);
    if (!block) return ENOMEM;
    *out = OURS ? hold(block) : block;
    return 0;
}

void *mmap(void *at, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "mmap");
    if (!OURS) return real(at, size, protection, flags, descriptor, offset);
    if (fails(FAULT_MEMORY, ENOMEM)) return MAP_FAILED;
    void *memory = real(at, size, protection, flags, descriptor, offset);
    if (memory != MAP_FAILED) __atomic_add_fetch(&mapped, (long)((size + 4095) & ~4095ul),
                                                 __ATOMIC_SEQ_CST);
    return memory;
}

int munmap(void *memory, size_t size)
{
    static int (*real)(void *, size_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "munmap");
    int result = real(memory, size);
    if (OURS && result == 0)
        __atomic_sub_fetch(&mapped, (long)((size + 4095) & ~4095ul), __ATOMIC_SEQ_CST);
    return result;
}

/* ---- Threads --------------------------------------------------------------------------------- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    if (OURS && fails(FAULT_THREAD, EAGAIN)) return EAGAIN;
    int result = real(thread, attributes, run, argument);
    if (OURS && result == 0) __atomic_add_fetch(&threads, 1, __ATOMIC_SEQ_CST);
    return result;
}

int pthread_join(pthread_t thread, void **result)
{
    static int (*real)(pthread_t, void **);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_join");
    int error = real(thread, result);
    if (OURS && error == 0) __atomic_sub_fetch(&threads, 1, __ATOMIC_SEQ_CST);
    return error;
}

/* ---- Files --------------------------------------------------------------------------------------- */

/* A function of libc's that fails with `failure` and `error`. */
#define WRAP(kind, error, type, failure, name, parameters, arguments)                 \
    type name parameters                                                              \
    {                                                                                 \
        static type (*real) parameters;                                               \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);                         \
        if (OURS && fails(kind, error)) return failure;                               \
        return real arguments;                                                        \
    }

WRAP(FAULT_STAT, EIO, int, -1, stat, (const char *path, struct stat *out), (path, out))
WRAP(FAULT_STAT, EIO, int, -1, lstat, (const char *path, struct stat *out), (path, out))
WRAP(FAULT_STAT, EIO, int, -1, fstat, (int descriptor, struct stat *out), (descriptor, out))
WRAP(FAULT_SYNC, EIO, int, -1, fsync, (int descriptor), (descriptor))
WRAP(FAULT_RENAME, EIO, int, -1, rename, (const char *from, const char *to), (from, to))
WRAP(FAULT_RENAME, EIO, int, -1, renameat,
     (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(FAULT_RANDOM, ENOSYS, ssize_t, -1, getrandom, (void *out, size_t size, unsigned flags),
     (out, size, flags))
WRAP(FAULT_OPEN, EMFILE, FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode))
WRAP(FAULT_MODE, EPERM, int, -1, fchmod, (int descriptor, mode_t mode), (descriptor, mode))
WRAP(FAULT_MODE, EPERM, int, -1, fchown, (int descriptor, uid_t user, gid_t group),
     (descriptor, user, group))

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    static int (*real)(const char *, int, ...);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "open");
    return OURS && fails(FAULT_OPEN, EMFILE) ? -1 : real(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    static int (*real)(int, const char *, int, ...);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "openat");
    return OURS && fails(FAULT_OPEN, EMFILE) ? -1 : real(folder, path, flags, mode);
}

int close(int descriptor)
{
    static int (*real)(int);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "close");
    int result = real(descriptor);
    return OURS && fails(FAULT_CLOSE, EIO) ? -1 : result;
}

ssize_t read(int descriptor, void *out, size_t size)
{
    static ssize_t (*real)(int, void *, size_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "read");
    if (OURS && (fails(FAULT_READ, EIO) || fails(FAULT_INTERRUPT, EINTR))) return -1;
    return real(descriptor, out, size);
}

ssize_t write(int descriptor, const void *from, size_t size)
{
    static ssize_t (*real)(int, const void *, size_t);
    static __thread bool is_full;
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "write");
    if (OURS && fails(FAULT_INTERRUPT, EINTR)) return -1;
    if (is_full) {      /* the rest of a write of which half was taken        */
        is_full = false;
        errno = ENOSPC;
        return -1;
    }
    if (OURS && fails(FAULT_WRITE, ENOSPC)) {
        if (size < 2) return -1;
        is_full = true;
        size /= 2;
    }
    return real(descriptor, from, size);
}
