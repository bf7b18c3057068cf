#define _GNU_SOURCE
#include "CCoveyPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void arc4random_buf(void *bytes, size_t count);  // random.c

static int read_whole(int descriptor, void *bytes, size_t size) {
  size_t done = 0;
  while (done < size) {
    ssize_t got = read(descriptor, (char *)bytes + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EIO;  // shorter than stat said: changed meanwhile
    done += (size_t)got;
  }
  return 0;
}

int cv_file_open(const char *path, bool copy, cv_file *file) {
  *file = (cv_file){0};
  // O_NONBLOCK: opening a FIFO must not hang; it is refused below.
  int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return errno;
  struct stat status;
  int result = fstat(descriptor, &status) == 0 ? 0 : errno;
  if (result == 0 && !S_ISREG(status.st_mode)) {
    result = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
  }
  if (result == 0 && status.st_size > 0) {
    size_t size = (size_t)status.st_size;
    if (copy) {
      void *bytes = cv_allocate(size);
      result = bytes ? read_whole(descriptor, bytes, size) : ENOMEM;
      if (result == 0) {
        *file = (cv_file){bytes, size, false};
      } else {
        cv_deallocate(bytes, size);
      }
    } else {
      void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
      if (bytes == MAP_FAILED) {
        result = errno;
      } else {
        *file = (cv_file){bytes, size, true};
      }
    }
  }
  close(descriptor);
  return result;
}

void cv_file_close(cv_file *file) {
  if (file->bytes) {
    if (file->mapped) {
      munmap((void *)file->bytes, file->size);
    } else {
      cv_deallocate((void *)file->bytes, file->size);
    }
  }
  *file = (cv_file){0};
}

void cv_file_drop_pages(const cv_file *file) {
  if (file->mapped) (void)madvise((void *)file->bytes, file->size, MADV_DONTNEED);
}

struct cv_writer {
  int descriptor;
  char *path;       // the name in the end
  char *temporary;  // the name until then
};

static void writer_free(cv_writer *writer) {
  free(writer->path);
  free(writer->temporary);
  free(writer);
}

int cv_writer_open(const char *path, cv_writer **out) {
  *out = NULL;
  struct stat status;
  if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
    return S_ISDIR(status.st_mode) ? EISDIR : EINVAL;  // never replace a device
  }
  cv_writer *writer = calloc(1, sizeof *writer);
  if (!writer) return ENOMEM;
  writer->path = strdup(path);
  if (!writer->path || asprintf(&writer->temporary, "%s.%08x", path, 0u) < 0) {
    writer->temporary = NULL;
    writer_free(writer);
    return ENOMEM;
  }
  // Not mkostemp, whose files are for their owner only.
  char *suffix = writer->temporary + strlen(writer->temporary) - 8;
  for (int attempt = 0; attempt < 100; attempt++) {
    uint32_t number = 0;
    arc4random_buf(&number, sizeof number);
    snprintf(suffix, 9, "%08x", (unsigned)number);
    writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (writer->descriptor >= 0) {
      *out = writer;
      return 0;
    }
    if (errno != EEXIST) break;
  }
  int result = errno;
  writer_free(writer);
  return result;
}

int cv_writer_write(cv_writer *writer, const void *bytes, size_t size) {
  size_t done = 0;
  while (done < size) {
    ssize_t put = write(writer->descriptor, (const char *)bytes + done, size - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno;
    done += (size_t)put;
  }
  return 0;
}

void cv_writer_abandon(cv_writer *writer) {
  close(writer->descriptor);
  unlink(writer->temporary);
  writer_free(writer);
}

// The new name must survive a power cut too; where folders cannot be flushed,
// nothing can be done about it.
static void flush_folder(const char *path) {
  char *folder = strdup(path);
  if (!folder) return;
  char *slash = strrchr(folder, '/');
  if (slash == folder) slash[1] = 0; else if (slash) *slash = 0;
  int descriptor = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    fsync(descriptor);
    close(descriptor);
  }
  free(folder);
}

int cv_writer_commit(cv_writer *writer) {
  int result = fsync(writer->descriptor) == 0 || errno == EINVAL ? 0 : errno;
  if (close(writer->descriptor) != 0 && result == 0) result = errno;
  if (result == 0 && rename(writer->temporary, writer->path) != 0) result = errno;
  if (result == 0) {
    flush_folder(writer->path);
  } else {
    unlink(writer->temporary);
  }
  writer_free(writer);
  return result;
}

void cv_errno_text(int number, char *text, size_t capacity) {
#if defined(__GLIBC__)
  const char *found = strerror_r(number, text, capacity);
  if (found != text) snprintf(text, capacity, "%s", found);
#else
  if (strerror_r(number, text, capacity) != 0) snprintf(text, capacity, "error %d", number);
#endif
}
