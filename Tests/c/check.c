#include "check.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char topic[200] = "";
static int passed, failed;

static bool count(bool holds, const char *file, int line, const char *format, ...)
{
    pthread_mutex_lock(&lock);
    if (holds) {
        passed++;
    } else {
        const char *name = strrchr(file, '/');
        va_list arguments;
        failed++;
        printf("%s:%d: %s%s", name ? name + 1 : file, line, topic, *topic ? ": " : "");
        va_start(arguments, format);
        vprintf(format, arguments);
        va_end(arguments);
        printf("\n");
        fflush(stdout);
    }
    pthread_mutex_unlock(&lock);
    return holds;
}

bool check_true(bool condition, const char *text, const char *file, int line)
{
    return count(condition, file, line, "does not hold: %s", text);
}

bool check_int(int64_t found, int64_t expected, const char *text, const char *file, int line)
{
    return count(found == expected, file, line, "%s: expected %lld, found %lld", text,
                 (long long)expected, (long long)found);
}

bool check_text(const char *found, const char *expected, const char *text, const char *file,
                int line)
{
    bool holds = found && strcmp(found, expected) == 0;
    return count(holds, file, line, "%s: expected \"%s\", found \"%s\"", text, expected,
                 found ? found : "NULL");
}

bool check_near(double found, double expected, double tolerance, const char *text,
                const char *file, int line)
{
    bool holds = fabs(found - expected) <= tolerance;
    return count(holds, file, line, "%s: expected %.9g +- %.3g, found %.9g", text, expected,
                 tolerance, found);
}

bool check_status(covey_status found, covey_status expected, const char *text, const char *file,
                  int line)
{
    return count(found == expected, file, line, "%s: expected %d (%s), found %d (%s)%s%s", text,
                 (int)expected, covey_status_string(expected), (int)found,
                 covey_status_string(found), found < 0 ? ": " : "",
                 found < 0 ? covey_last_error() : "");
}

bool check_error(covey_status found, covey_status expected, const char *part, const char *text,
                 const char *file, int line)
{
    if (!check_status(found, expected, text, file, line)) return false;
    bool holds = strstr(covey_last_error(), part) != NULL;
    return count(holds, file, line, "%s: expected a message with \"%s\", found \"%s\"", text,
                 part, covey_last_error());
}

bool check_bytes(const void *found, const void *expected, size_t size, const char *text,
                 const char *file, int line)
{
    const unsigned char *a = found, *b = expected;
    size_t first = 0, different = 0;
    for (size_t i = size; i-- > 0;) {
        if (a[i] == b[i]) continue;
        first = i;
        different++;
    }
    return count(different == 0, file, line,
                 "%s: %zu of %zu bytes differ, first at %zu: expected %d, found %d", text,
                 different, size, first, size ? b[first] : 0, size ? a[first] : 0);
}

int exit_code(int process)
{
    int status;
    while (waitpid(process, &status, 0) < 0)
        if (errno != EINTR) return -1000;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

bool check_child(int process, const char *text, const char *file, int line)
{
    int code = exit_code(process);
    return count(code == 0, file, line, "%s: expected to end well, found %s %d", text,
                 code < 0 ? "signal" : "exit status", code < 0 ? -code : code);
}

void check_topic(const char *format, ...)
{
    va_list arguments;
    pthread_mutex_lock(&lock);
    va_start(arguments, format);
    vsnprintf(topic, sizeof topic, format, arguments);
    va_end(arguments);
    pthread_mutex_unlock(&lock);
}

void check_abort(const char *what)
{
    printf("%s%s%s\n", topic, *topic ? ": " : "", what);
    printf("%d passed, %d failed, not finished\n", passed, failed + 1);
    fflush(stdout);
    _Exit(1);
}

size_t data_size(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long kibibytes = 0;
    while (file && kibibytes == 0 && fgets(line, sizeof line, file))
        sscanf(line, "VmData: %lu", &kibibytes);
    if (kibibytes == 0) check_abort("/proc/self/status has no VmData");
    fclose(file);
    return kibibytes * 1024;
}

int check_passed(void) { return passed; }
int check_failed(void) { return failed; }
