/* Version, status texts, the last error of each thread, the log. */
#include "check.h"
#include "video.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_version(void)
{
    char version[32];
    check_topic("version");
    CHECK_INT(covey_version(), COVEY_VERSION);
    snprintf(version, sizeof version, "%d.%d.%d", COVEY_VERSION_MAJOR, COVEY_VERSION_MINOR,
             COVEY_VERSION_PATCH);
    const char *info = covey_build_info();
    if (!CHECK(info != NULL)) return;
    CHECK(strstr(info, version) != NULL);
    CHECK(strchr(info, '\n') == NULL);
    CHECK(covey_build_info() == info);
    /* All that a bug report needs. */
    const char *const parts[] = { "Swift ", "libc", "row kernels ", "int8 ", "BLAS" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        CHECK(strstr(info, parts[i]) != NULL);
    const char *compiler = strstr(info, "clang ") ? strstr(info, "clang ") : strstr(info, "gcc ");
    if (CHECK(compiler != NULL)) {
        int major = 0;
        CHECK(sscanf(compiler, "%*[a-z] %d.", &major) == 1 && major > 0);
    }
#if defined(__x86_64__)
    CHECK(strstr(info, ", x86-64, ") != NULL);
#elif defined(__aarch64__)
    CHECK(strstr(info, ", AArch64, ") != NULL);
#endif
}

static void test_status_strings(void)
{
    check_topic("status strings");
    for (int a = COVEY_ERROR_STATE; a <= COVEY_END; a++) {
        const char *text = covey_status_string((covey_status)a);
        if (!CHECK(text != NULL && *text != 0)) continue;
        CHECK(strcmp(text, "unknown status") != 0);
        for (const char *c = text; *c; c++) CHECK(*c < 'A' || *c > 'Z');
        for (int b = COVEY_ERROR_STATE; b < a; b++)
            CHECK(strcmp(text, covey_status_string((covey_status)b)) != 0);
        CHECK(covey_status_string((covey_status)a) == text);
    }
    CHECK_TEXT(covey_status_string(COVEY_ERROR_MEMORY), "out of memory");
    const int unknown[] = { 3, 99, -11, -1000, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK_TEXT(covey_status_string((covey_status)unknown[i]), "unknown status");
}

/* Every number from before the first to behind the last has the name that it has in
 * covey.h, or none. */
#define CHECK_NAMES(function, type, ...) do { \
    const char *const names[] = { "unknown", __VA_ARGS__, "unknown" }; \
    const int behind = (int)(sizeof names / sizeof *names); \
    for (int number = -1; number < behind + 1; number++) { \
        const int known = number + SHIFT_##type; \
        CHECK_TEXT(function((type)number), \
                   known > 0 && known < behind ? names[known] : "unknown"); \
    } \
} while (0)
/* By how much the number is less than its place. */
#define SHIFT_covey_log_level 0
#define SHIFT_covey_dtype 0
#define SHIFT_covey_pixel_format 0
#define SHIFT_covey_stage 0
#define SHIFT_covey_mode 1

static void test_names(void)
{
    check_topic("names of enumerators");
    CHECK_NAMES(covey_log_level_string, covey_log_level, "error", "warning", "info", "debug");
    CHECK_NAMES(covey_dtype_string, covey_dtype, "f32", "f16", "q8");
    CHECK_NAMES(covey_pixel_format_string, covey_pixel_format, "rgb8", "bgr8", "rgba8", "bgra8",
                "gray8", "i420", "nv12", "yuyv", "p010");
    CHECK_NAMES(covey_stage_string, covey_stage, "encode", "cluster", "merge", "assign", "train");
    CHECK_NAMES(covey_mode_string, covey_mode, "edge", "reference");
    CHECK(covey_mode_string(COVEY_MODE_EDGE) == covey_mode_string(COVEY_MODE_EDGE));
}

/* ---- Last error ---------------------------------------------------------- */

static void *fresh_thread(void *argument)
{
    const subject *subject = argument;
    covey_model *model;
    CHECK_TEXT(covey_last_error(), "");
    CHECK_ERROR(covey_model_load("no/such/file-b", NULL, &model), COVEY_ERROR_IO, "file-b");
    /* A call that does not fail leaves it. */
    covey_model_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_model_get_info(subject->model, &info));
    CHECK(strstr(covey_last_error(), "file-b") != NULL);
    return NULL;
}

static void test_last_error(const subject *subject)
{
    check_topic("last error");
    covey_model *model = NULL;
    pthread_t thread;
    CHECK_ERROR(covey_model_load("no/such/file-a", NULL, &model), COVEY_ERROR_IO, "file-a");
    if (pthread_create(&thread, NULL, fresh_thread, (void *)subject) != 0)
        check_abort("no thread");
    pthread_join(thread, NULL);
    CHECK(strstr(covey_last_error(), "file-a") != NULL);

    /* Long text must not overrun the place it is kept in. */
    size_t length = 100000;
    char *path = take(length + 1);
    memset(path, 'x', length);
    path[length] = 0;
    CHECK_STATUS(covey_model_load(path, NULL, &model), COVEY_ERROR_IO);
    CHECK(strlen(covey_last_error()) > 0 && strlen(covey_last_error()) < length);
    free(path);
    /* Bytes that are no UTF-8 must neither trap nor be lost to an endless loop. */
    CHECK_STATUS(covey_model_load("no/\xff\xfe\x80\x80", NULL, &model), COVEY_ERROR_IO);
    CHECK(strlen(covey_last_error()) > 0);
}

/* ---- Log ------------------------------------------------------------------ */

typedef struct log_record {
    int       count[5];
    bool      trailing_newline, other_thread, bad_level;
    pthread_t thread;
} log_record;

static void record_log(void *user_data, covey_log_level level, const char *message)
{
    log_record *record = user_data;
    size_t length = strlen(message);
    if (level < COVEY_LOG_ERROR || level > COVEY_LOG_DEBUG) record->bad_level = true;
    else record->count[level]++;
    if (length == 0 || message[length - 1] == '\n') record->trailing_newline = true;
    if (!pthread_equal(record->thread, pthread_self())) record->other_thread = true;
}

static log_record log_of_a_run(const subject *subject, covey_log_level level)
{
    log_record record = { .thread = pthread_self() };
    covey_session_options options = subject->options;
    covey_model *model = NULL;
    options.threads = 2;
    covey_set_log(record_log, &record, level);
    CHECK_STATUS(covey_model_load("no/such/file", NULL, &model), COVEY_ERROR_IO);
    CHECK_OK(covey_model_load(subject->path, NULL, &model));
    covey_model_free(model);
    video video = subject_video(subject, 3, 1);
    free(run_video(subject, &options, &video));
    free_video(&video);
    covey_set_log(NULL, NULL, COVEY_LOG_DEBUG);
    CHECK(!record.bad_level);
    CHECK(!record.trailing_newline);
    CHECK(!record.other_thread);
    return record;
}

static void test_log(const subject *subject)
{
    check_topic("log");
    log_record all = log_of_a_run(subject, COVEY_LOG_DEBUG);
    CHECK(all.count[1] + all.count[2] + all.count[3] + all.count[4] > 0);
    for (int level = COVEY_LOG_ERROR; level <= COVEY_LOG_DEBUG; level++) {
        log_record some = log_of_a_run(subject, (covey_log_level)level);
        for (int i = 1; i <= 4; i++) CHECK_INT(some.count[i], i <= level ? all.count[i] : 0);
    }
    /* Nothing arrives any more once the sink is gone. */
    log_record silent = { .thread = pthread_self() };
    covey_set_log(record_log, &silent, COVEY_LOG_DEBUG);
    covey_set_log(NULL, &silent, COVEY_LOG_DEBUG);
    covey_model *model = NULL;
    CHECK_STATUS(covey_model_load("no/such/file", NULL, &model), COVEY_ERROR_IO);
    CHECK_INT(silent.count[1] + silent.count[2] + silent.count[3] + silent.count[4], 0);
    /* A level that is none must not crash; what it lets through is not said. */
    covey_set_log(record_log, &silent, (covey_log_level)99);
    covey_set_log(record_log, &silent, (covey_log_level)-1);
    covey_set_log(NULL, NULL, (covey_log_level)0);
}

void test_status(const subject *subject)
{
    test_version();
    test_status_strings();
    test_names();
    test_last_error(subject);
    test_log(subject);
}
