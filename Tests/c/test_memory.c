/* Estimates, limits of the session, and a system that gives no more memory. */
#include "check.h"
#include "video.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static covey_memory empty_memory(void)
{
    covey_memory memory;
    memset(&memory, 0, sizeof memory);
    memory.struct_size = sizeof memory;
    return memory;
}

static void test_refused(const subject *subject)
{
    check_topic("estimate, refused");
    covey_model *const model = subject->model;
    const covey_session_options *options = &subject->options;
    covey_memory memory = empty_memory();
    CHECK_STATUS(covey_estimate_memory(NULL, options, 64, 48, 5, &memory), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_estimate_memory(model, options, 64, 48, 5, NULL), COVEY_ERROR_ARGUMENT);
    static const int32_t sides[] = { 0, -1, 32769, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        CHECK_STATUS(covey_estimate_memory(model, options, sides[i], 48, 5, &memory),
                     COVEY_ERROR_ARGUMENT);
        CHECK_STATUS(covey_estimate_memory(model, options, 64, sides[i], 5, &memory),
                     COVEY_ERROR_ARGUMENT);
    }
    static const int64_t counts[] = { 0, -1, INT64_MIN };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        CHECK_STATUS(covey_estimate_memory(model, options, 64, 48, counts[i], &memory),
                     COVEY_ERROR_ARGUMENT);
    /* More than there is, but not more than can be said; or refused. */
    covey_status status = covey_estimate_memory(model, NULL, 32768, 32768, INT64_MAX, &memory);
    CHECK(status == COVEY_ERROR_ARGUMENT || (status == COVEY_OK && memory.peak > 0));
    CHECK_OK(covey_estimate_memory(model, NULL, 1920, 1080, 1000000, &memory));
    CHECK(memory.features > (int64_t)1 << 30 && memory.peak > memory.features);
    /* The largest sessions there can be: numbers, until they cannot be said. */
    covey_session_options vast = *options;
    vast.working_width = vast.working_height = 8192 / subject->patch * subject->patch;
    vast.mode = COVEY_MODE_REFERENCE;
    vast.window = 64;
    vast.key_stride = vast.key_pool = 1;
    bool refused = false;
    int64_t last = 0;
    for (int64_t frames = 1; frames <= 100000000; frames += frames / 7 + 1) {
        status = covey_estimate_memory(model, &vast, 32768, 32768, frames, &memory);
        if (status == COVEY_ERROR_MEMORY) {
            refused = true;
            continue;
        }
        CHECK_OK(status);
        CHECK(!refused && memory.peak > last);
        last = memory.peak;
    }
    CHECK(refused);
    memory.struct_size = 0;
    CHECK_STATUS(covey_estimate_memory(model, options, 64, 48, 5, &memory), COVEY_ERROR_ARGUMENT);

    check_topic("get_memory, larger struct");
    struct { covey_memory memory; uint8_t beyond[8]; } grown;
    covey_session *session = new_session(subject, options);
    memset(&grown, 0x77, sizeof grown);
    grown.memory.struct_size = sizeof grown;
    CHECK_OK(covey_session_get_memory(session, &grown.memory));
    CHECK_INT(grown.memory.current, 0);
    for (size_t i = 0; i < sizeof grown.beyond; i++) CHECK_INT(grown.beyond[i], 0);
    grown.memory.struct_size = 0;
    CHECK_STATUS(covey_session_get_memory(session, &grown.memory), COVEY_ERROR_ARGUMENT);
    covey_session_free(session);
}

/* ---- The estimate is an upper bound -------------------------------------------- */

static void check_estimate(const subject *subject, const covey_session_options *options,
                           const video *video)
{
    covey_memory estimate = empty_memory(), used = empty_memory();
    CHECK_OK(covey_estimate_memory(subject->model, options, video->width, video->height,
                                   video->frames, &estimate));
    CHECK_INT(estimate.peak, estimate.features + estimate.workspace);
    CHECK_INT(estimate.current, 0);
    CHECK(estimate.weights > 0);
    covey_session *session = new_session(subject, options);
    int64_t last = 0;
    for (int32_t t = 0; t < video->frames; t++) {
        covey_frame frame = video_frame(video, t);
        CHECK_OK(covey_session_push(session, &frame));
        CHECK_OK(covey_session_get_memory(session, &used));
        CHECK(used.features > last);
        CHECK(used.current >= used.features && used.peak >= used.current);
        last = used.features;
    }
    CHECK_OK(covey_session_finish(session));
    CHECK_OK(covey_session_get_memory(session, &used));
    CHECK(used.features <= estimate.features);
    CHECK(used.peak <= estimate.peak);
    /* An upper bound that says nothing is none.  (There is room for a
     * prototype, and a centre, for every block; these videos have one cluster.) */
    CHECK(used.peak >= estimate.peak / 16);
    CHECK_INT(used.weights, estimate.weights);
    free(drain(session, video));
    CHECK_OK(covey_session_reset(session));
    CHECK_OK(covey_session_get_memory(session, &used));
    CHECK_INT(used.current, 0);
    CHECK_INT(used.features, 0);
    covey_session_free(session);

    /* With a limit of just the estimate all of it runs. */
    covey_session_options limited = *options;
    limited.memory_limit = estimate.peak;
    free(run_video(subject, &limited, video));
}

static void test_estimate(const subject *subject)
{
    const int32_t p = subject->patch;
    const struct { int32_t rows, columns, frames, threads, pool, stride; } cases[] = {
        { 6, 8, 1, 1, 1, 0 }, { 6, 8, 13, 1, 1, 3 }, { 9, 7, 5, 4, 2, 2 }, { 1, 1, 4, 2, 1, 1 },
        { 14, 5, 22, 2, 4, 10 }, { 5, 5, 7, 3, 64, 1 },
    };
    const size_t tries = subject->quick ? 4 : sizeof cases / sizeof *cases;
    for (size_t i = 0; i < tries; i++) {
        check_topic("estimate of case %d", (int)i);
        covey_session_options options = subject->options;
        options.tau = 1000;     /* few centres: what the estimate is for      */
        options.working_height = cases[i].rows * p;
        options.working_width = cases[i].columns * p;
        options.threads = cases[i].threads;
        options.key_pool = cases[i].pool;
        options.key_stride = cases[i].stride;
        video video = make_video(cases[i].columns * p, cases[i].rows * 2 * p, cases[i].frames, 1);
        check_estimate(subject, &options, &video);
        free_video(&video);
    }
}

/* ---- memory_limit ------------------------------------------------------------------ */

static bool has_digit(const char *text) { return strpbrk(text, "0123456789") != NULL; }

static void test_limit(const subject *subject)
{
    check_topic("memory limit of one byte");
    covey_session_options options = subject->options;
    options.tau = 1000;
    options.memory_limit = 1;
    video video = subject_video(subject, 2, 1);
    covey_frame frame = video_frame(&video, 0);
    covey_session *session = new_session(subject, &options);
    for (int i = 0; i < 3; i++) {
        CHECK_ERROR(covey_session_push(session, &frame), COVEY_ERROR_MEMORY, "limit is 1");
        CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_STATE);
    }
    covey_session_free(session);
    float *keys = take(48 * (size_t)subject->info.embed_dim * sizeof *keys);
    covey_grid grid = { .struct_size = sizeof grid };
    CHECK_STATUS(covey_encode(subject->model, &options, &frame, keys,
                              48 * (size_t)subject->info.embed_dim, NULL, &grid),
                 COVEY_ERROR_MEMORY);
    free(keys);

    /* Enough for two frames: a long video is refused somewhere, in push or in
     * finish, and the session then serves for a short one. */
    check_topic("memory limit for two frames");
    covey_memory memory = empty_memory();
    CHECK_OK(covey_estimate_memory(subject->model, &options, video.width, video.height, 2,
                                   &memory));
    options.memory_limit = memory.peak;
    uint16_t *expected = run_video(subject, &options, &video);
    session = new_session(subject, &options);
    struct video endless = subject_video(subject, 1, 1);
    covey_status status = COVEY_OK;
    for (int t = 0; t < 10000 && status == COVEY_OK; t++) {
        frame = video_frame(&endless, 0);
        status = covey_session_push(session, &frame);
    }
    CHECK_STATUS(status, COVEY_ERROR_MEMORY);
    CHECK(has_digit(covey_last_error()));
    CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_MEMORY);
    CHECK_OK(covey_session_get_memory(session, &memory));
    CHECK(memory.peak <= options.memory_limit);
    covey_result *result = NULL;
    status = covey_session_finish(session);
    CHECK(status == COVEY_OK || status == COVEY_ERROR_MEMORY);
    if (status != COVEY_OK) CHECK_STATUS(covey_session_next(session, &result), COVEY_AGAIN);
    CHECK_OK(covey_session_reset(session));
    uint16_t *labels = run_session(session, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    free(labels);
    free(expected);
    covey_session_free(session);
    free_video(&endless);
    free_video(&video);
}

/* Every limit, up to what suffices: each stage is refused once, and afterwards
 * the session goes on where it was. */
static void test_every_limit(const subject *subject)
{
    video video = subject_video(subject, 12, 1);
    covey_session_options options = subject->options;
    covey_memory memory = empty_memory();
    options.mode = COVEY_MODE_REFERENCE;
    options.window = 12;        /* so that finish needs more than push        */
    options.key_stride = options.key_pool = 1;
    covey_session *session = new_session(subject, &options);
    push_video(session, &video);
    CHECK_OK(covey_session_finish(session));
    CHECK_OK(covey_session_get_memory(session, &memory));
    covey_session_free(session);
    const int64_t enough = memory.peak, steps = subject->quick ? 5 : 60;
    int refused_pushes = 0, refused_finishes = 0;
    for (int64_t i = 1; i <= steps; i++) {
        options.memory_limit = enough * i * i / (steps * steps);    /* dense below */
        check_topic("memory limit %lld of %lld", (long long)options.memory_limit,
                    (long long)enough);
        session = new_session(subject, &options);
        covey_status status = COVEY_OK;
        for (int32_t t = 0; t < video.frames && status == COVEY_OK; t++) {
            covey_frame frame = video_frame(&video, t);
            status = covey_session_push(session, &frame);
            CHECK(status == COVEY_OK || status == COVEY_ERROR_MEMORY);
        }
        refused_pushes += status != COVEY_OK;
        if (status == COVEY_OK) {
            status = covey_session_finish(session);
            CHECK(status == COVEY_OK || status == COVEY_ERROR_MEMORY);
            refused_finishes += status != COVEY_OK;
        }
        if (status != COVEY_OK) CHECK(has_digit(covey_last_error()));
        CHECK_OK(covey_session_get_memory(session, &memory));
        CHECK(memory.peak <= options.memory_limit);
        if (i == steps) CHECK_OK(status);
        covey_session_free(session);
    }
    check_topic("memory limits");
    CHECK(refused_pushes > 0);
    CHECK(refused_finishes > 0);
    free_video(&video);
}

/* A refused push gives back all it had: the heap does not grow with refusals. */
static void test_no_leak(const subject *subject)
{
    enum { ROUNDS = 400 };
    video video = subject_video(subject, 1, 1);
    covey_frame frame = video_frame(&video, 0);
    covey_session_options options = subject->options;
    covey_memory memory = empty_memory();
    covey_session *session = new_session(subject, &options);
    CHECK_OK(covey_session_push(session, &frame));
    CHECK_OK(covey_session_get_memory(session, &memory));
    covey_session_free(session);
    int refused = 0;
    for (int64_t i = 1; i <= 40; i++) {
        options.memory_limit = memory.peak * i / 40 - 1;
        check_topic("refused at %lld of %lld", (long long)options.memory_limit,
                    (long long)memory.peak);
        session = new_session(subject, &options);
        int wrong = covey_session_push(session, &frame) != COVEY_ERROR_MEMORY;
        /* Less than a byte a push; once in a while other parts of the heap come and go, but
         * what leaks does so every time. */
        bool grew = true;
        for (int attempt = 0; attempt < 4 && grew; attempt++) {
            const size_t before = mallinfo2().uordblks;
            for (int round = 0; round < ROUNDS; round++)
                wrong += covey_session_push(session, &frame) != COVEY_ERROR_MEMORY;
            grew = mallinfo2().uordblks >= before + ROUNDS;
        }
        CHECK(!grew);
        CHECK_INT(wrong, 0);
        refused += wrong == 0;
        covey_session_free(session);
    }
    CHECK_INT(refused, 40);
    free_video(&video);
}

/* ---- A system without memory --------------------------------------------------------- */

enum { LIMITED_DONE = 0, LIMITED_REFUSED = 10, LIMITED_WRONG = 20 };

/* In a child: a video with `allowed` bytes of memory beyond what is in use.
 * What the loader and OpenBLAS need once has been taken before. */
static int with_little_memory(const subject *subject, const covey_session_options *options,
                              const video *video, size_t allowed)
{
    alarm(120);
    struct rlimit limit;
    covey_session *session = new_session(subject, options);
    limit.rlim_cur = limit.rlim_max = data_size() + allowed;
    if (setrlimit(RLIMIT_DATA, &limit) != 0) return LIMITED_WRONG;
    covey_status status = COVEY_OK;
    for (int32_t t = 0; t < video->frames && status == COVEY_OK; t++) {
        covey_frame frame = video_frame(video, t);
        status = covey_session_push(session, &frame);
    }
    if (status == COVEY_OK) status = covey_session_finish(session);
    covey_result *result = NULL;
    while (status == COVEY_OK && (status = covey_session_next(session, &result)) == COVEY_OK)
        covey_result_free(result);
    bool said = status >= 0 || *covey_last_error() != 0;
    covey_session_free(session);
    if (status == COVEY_END) return LIMITED_DONE;
    return status == COVEY_ERROR_MEMORY && said ? LIMITED_REFUSED : LIMITED_WRONG;
}

static void test_little_memory(const subject *subject)
{
    /* Large enough that what is refused are buffers of covey, megabytes each. */
    video small = subject_video(subject, 3, 1), video = make_video(1280, 960, 3, 1);
    covey_session_options options = subject->options;
    options.key_pool = 1;
    options.tau = 1000;
    free(run_video(subject, &options, &small));
    options.working_width = options.working_height = 28 * subject->patch;
    malloc_trim(0);
    int done = 0, refused = 0;
    for (size_t kibibytes = 64; kibibytes <= 2048 * 1024 && done < 2; kibibytes += kibibytes / 2) {
        check_topic("%zu KiB of memory", kibibytes);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) _exit(with_little_memory(subject, &options, &video, kibibytes * 1024));
        if (child < 0) check_abort("no process");
        int code = exit_code(child);
        CHECK_INT(code, code == LIMITED_DONE ? LIMITED_DONE : LIMITED_REFUSED);
        done += code == LIMITED_DONE;
        refused += code == LIMITED_REFUSED;
    }
    check_topic("limits of the system");
    CHECK_INT(done, 2);
    CHECK(refused >= 5);
    free_video(&small);
    free_video(&video);
}

void test_memory(const subject *subject)
{
    test_refused(subject);
    test_estimate(subject);
    test_limit(subject);
    test_every_limit(subject);
    if (!subject->quick) test_no_leak(subject);
    if (!subject->quick) test_little_memory(subject);
}
