#include "CCoveyPlatform.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ERROR_CAPACITY = 1024 };

// A key and not _Thread_local: thread-locals of a shared library need the
// dynamic loader as a further dependency, and may not fit where programs load
// the library late.
static pthread_key_t error_key;
static bool error_key_made;

static void make_error_key(void) { error_key_made = pthread_key_create(&error_key, free) == 0; }

static char *error_text(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_error_key);
  return error_key_made ? pthread_getspecific(error_key) : NULL;
}

void cv_error_set(const char *utf8, size_t length) {
  char *text = error_text();
  if (!text) {
    if (!error_key_made) return;
    text = malloc(ERROR_CAPACITY);
    // Without memory for the message there is still the status.
    if (!text || pthread_setspecific(error_key, text) != 0) {
      free(text);
      return;
    }
  }
  if (length >= ERROR_CAPACITY) {
    length = ERROR_CAPACITY - 1;
    // Cut between characters, not inside one.
    while (length > 0 && ((unsigned char)utf8[length] & 0xC0) == 0x80) length--;
  }
  memcpy(text, utf8, length);
  text[length] = 0;
}

const char *cv_error_get(void) {
  const char *text = error_text();
  return text ? text : "";
}

// Programs may have set a locale whose decimal point is a comma.
static size_t with_point(char *text, int length) {
  for (int i = 0; i < length; i++) {
    if (text[i] == ',') text[i] = '.';
  }
  return (size_t)length;
}

size_t cv_format_double(double value, char *text, size_t capacity) {
  // The shortest of 15 to 17 digits that reads back as the same number.
  for (int digits = 15; digits <= 17; digits++) {
    int length = snprintf(text, capacity, "%.*g", digits, value);
    if (length < 0 || (size_t)length >= capacity) return 0;
    if (digits == 17 || strtod(text, NULL) == value) return with_point(text, length);
  }
  return 0;
}

size_t cv_format_float(float value, char *text, size_t capacity) {
  for (int digits = 6; digits <= 9; digits++) {
    int length = snprintf(text, capacity, "%.*g", digits, (double)value);
    if (length < 0 || (size_t)length >= capacity) return 0;
    if (digits == 9 || strtof(text, NULL) == value) return with_point(text, length);
  }
  return 0;
}

// Under the process's lock, which is whole across fork().
static cv_log log_sink;
static void *log_user_data;
static int32_t log_level;

void cv_log_set(cv_log log, void *user_data, int32_t level) {
  cv_process_lock();
  log_sink = log;
  log_user_data = user_data;
  log_level = level;
  cv_process_unlock();
}

bool cv_log_wants(int32_t level) {
  cv_process_lock();
  bool wants = log_sink != NULL && level <= log_level;
  cv_process_unlock();
  return wants;
}

void cv_log_send(int32_t level, const char *message) {
  cv_process_lock();
  cv_log sink = level <= log_level ? log_sink : NULL;
  void *user_data = log_user_data;
  cv_process_unlock();
  // Called without the lock, so that a sink may set another one.
  if (sink) sink(user_data, level, message);
}

int32_t cv_number_after(const char *text, const char *name) {
  const char *found = strstr(text, name);
  if (!found) return 0;
  long number = strtol(found + strlen(name), NULL, 10);
  return number > 0 && number < INT32_MAX ? (int32_t)number : 0;
}
