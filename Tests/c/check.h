/* Checks that count, and say what was expected and what was found. */
#ifndef CHECK_H
#define CHECK_H

#include <covey.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECK(condition) check_true((condition), #condition, __FILE__, __LINE__)
#define CHECK_INT(found, expected) \
    check_int((int64_t)(found), (int64_t)(expected), #found, __FILE__, __LINE__)
#define CHECK_TEXT(found, expected) check_text((found), (expected), #found, __FILE__, __LINE__)
/* |found - expected| <= tolerance; fails for NaN. */
#define CHECK_NEAR(found, expected, tolerance) \
    check_near((found), (expected), (tolerance), #found, __FILE__, __LINE__)
#define CHECK_STATUS(call, expected) check_status((call), (expected), #call, __FILE__, __LINE__)
#define CHECK_OK(call) CHECK_STATUS(call, COVEY_OK)
/* The call fails with this status, and its message names `part`. */
#define CHECK_ERROR(call, expected, part) \
    check_error((call), (expected), (part), #call, __FILE__, __LINE__)
#define CHECK_BYTES(found, expected, size) \
    check_bytes((found), (expected), (size), #found, __FILE__, __LINE__)
/* For a child after fork(): it must have ended by itself, with exit status 0. */
#define CHECK_CHILD(process) check_child((process), #process, __FILE__, __LINE__)

/* All return whether the check passed. */
bool check_true(bool condition, const char *text, const char *file, int line);
bool check_int(int64_t found, int64_t expected, const char *text, const char *file, int line);
bool check_text(const char *found, const char *expected, const char *text, const char *file,
                int line);
bool check_near(double found, double expected, double tolerance, const char *text,
                const char *file, int line);
bool check_status(covey_status found, covey_status expected, const char *text, const char *file,
                  int line);
bool check_error(covey_status found, covey_status expected, const char *part, const char *text,
                 const char *file, int line);
bool check_bytes(const void *found, const void *expected, size_t size, const char *text,
                 const char *file, int line);
bool check_child(int process, const char *text, const char *file, int line);

/* Waits for a child; its exit status, or minus the signal that ended it. */
int exit_code(int process);

/* Bytes of private writable memory: what RLIMIT_DATA limits.  (RLIMIT_AS would
 * leave malloc the address space that it has reserved for other threads.) */
size_t data_size(void);

/* Names what the following checks are about, in their messages. */
void check_topic(const char *format, ...);
/* The tests cannot go on. */
void check_abort(const char *what);
int check_passed(void);
int check_failed(void);

#endif
