#define _GNU_SOURCE
#include "CCoveyPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
  int folder;
  char *name;            // in the folder, in the end
  char temporary[NAME_MAX + 1];  // until then
};

static void writer_free(cv_writer *writer) {
  if (writer->folder >= 0) close(writer->folder);
  free(writer->name);
  free(writer);
}

// The name's first bytes, a dot and eight digits, never longer than a name may be.
static int open_temporary(cv_writer *writer, mode_t mode) {
  enum { SUFFIX = 9 };
  size_t length = strlen(writer->name);
  if (length > NAME_MAX) return ENAMETOOLONG;
  if (length > NAME_MAX - SUFFIX) {
    length = NAME_MAX - SUFFIX;
    // Cut between characters, not inside one.
    while (length > 0 && ((unsigned char)writer->name[length] & 0xC0) == 0x80) length--;
  }
  memcpy(writer->temporary, writer->name, length);
  for (int attempt = 0; attempt < 100; attempt++) {
    uint32_t number = 0;
    arc4random_buf(&number, sizeof number);
    snprintf(writer->temporary + length, SUFFIX + 1, ".%08x", (unsigned)number);
    // Not mkostemp, whose files are for their owner only.
    writer->descriptor = openat(writer->folder, writer->temporary,
                                O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (writer->descriptor >= 0) return 0;
    if (errno != EEXIST) return errno;
  }
  return EEXIST;
}

// The folder by a descriptor: where the path is as long as one may be, there is no room
// in it for the longer name of the temporary file.
static int open_folder(cv_writer *writer, const char *path) {
  char *folder = strdup(path);
  if (!folder) return ENOMEM;
  char *slash = strrchr(folder, '/');
  writer->name = strdup(slash ? slash + 1 : folder);
  if (slash) slash[slash == folder] = 0;  // of "/name" the slash stays
  int result = writer->name ? 0 : ENOMEM;
  if (result == 0) {
    writer->folder = open(slash ? folder : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (writer->folder < 0) result = errno;
  }
  free(folder);
  return result;
}

int cv_writer_open(const char *given, cv_writer **out) {
  *out = NULL;
  struct stat status;
  const bool exists = stat(given, &status) == 0;
  if (!exists && errno != ENOENT) return errno;
  if (exists && !S_ISREG(status.st_mode)) {
    return S_ISDIR(status.st_mode) ? EISDIR : EINVAL;  // never replace a device
  }
  // A link stays, and what it leads to is replaced.
  struct stat link;
  char *path = NULL;
  if (lstat(given, &link) == 0) {
    if (S_ISLNK(link.st_mode) && !(path = realpath(given, NULL))) return errno;  // to nowhere
  } else if (errno != ENOENT) {
    return errno;
  }
  cv_writer *writer = calloc(1, sizeof *writer);
  int result = writer ? 0 : ENOMEM;
  if (writer) writer->folder = writer->descriptor = -1;
  if (result == 0) result = open_folder(writer, path ? path : given);
  free(path);
  if (result == 0) result = open_temporary(writer, exists ? status.st_mode & 0777 : 0666);
  if (result == 0 && exists) {
    // The mode of the file that is replaced, whatever the umask; its owner where the
    // system lets us.
    struct stat made;
    if (fstat(writer->descriptor, &made) == 0 &&
        (made.st_uid != status.st_uid || made.st_gid != status.st_gid)) {
      if (fchown(writer->descriptor, status.st_uid, status.st_gid) != 0) errno = 0;
    }
    (void)fchmod(writer->descriptor, status.st_mode & 0777);
  }
  if (result == 0) {
    *out = writer;
  } else if (writer) {
    writer_free(writer);
  }
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

static void discard(cv_writer *writer) {
  unlinkat(writer->folder, writer->temporary, 0);
  writer_free(writer);
}

void cv_writer_abandon(cv_writer *writer) {
  close(writer->descriptor);
  discard(writer);
}

// The new name must survive a power cut too; where folders cannot be flushed,
// nothing can be done about it.
static void flush_folder(const cv_writer *writer) {
  int descriptor = openat(writer->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

int cv_writer_commit(cv_writer *writer) {
  int result = fsync(writer->descriptor) == 0 || errno == EINVAL ? 0 : errno;
  if (close(writer->descriptor) != 0 && result == 0) result = errno;
  if (result == 0 &&
      renameat(writer->folder, writer->temporary, writer->folder, writer->name) != 0) {
    result = errno;
  }
  if (result != 0) {
    discard(writer);
    return result;
  }
  flush_folder(writer);
  writer_free(writer);
  return 0;
}

void cv_errno_text(int number, char *text, size_t capacity) {
#if defined(__GLIBC__)
  const char *found = strerror_r(number, text, capacity);
  if (found != text) snprintf(text, capacity, "%s", found);
#else
  if (strerror_r(number, text, capacity) != 0) snprintf(text, capacity, "error %d", number);
#endif
}
