/* fork(): in the child, beside another thread, in a callback, and where nothing more is allowed. */
#include "check.h"
#include "video.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* In a child: a session made before the fork works on, and one of its own, too. */
static int in_child(const subject *subject, covey_session *inherited, const video *video,
                    const uint16_t *expected)
{
    alarm(60);
    for (int32_t t = 1; t < video->frames; t++) {
        covey_frame frame = video_frame(video, t);
        if (covey_session_push(inherited, &frame) != COVEY_OK) return 2;
    }
    if (covey_session_finish(inherited) != COVEY_OK) return 3;
    uint16_t *labels = drain(inherited, video);
    bool same = memcmp(labels, expected, video_size(video) * sizeof *labels) == 0;
    free(labels);
    covey_session_free(inherited);
    covey_session_options options = subject->options;
    options.threads = 2;
    labels = run_video(subject, &options, video);
    same = memcmp(labels, expected, video_size(video) * sizeof *labels) == 0 && same;
    free(labels);
    return same ? 0 : 4;
}

static void test_child(const subject *subject)
{
    check_topic("fork");
    video video = subject_video(subject, 4, 1);
    covey_session_options options = subject->options;
    options.threads = 3;
    uint16_t *expected = run_video(subject, &options, &video);
    covey_session *session = new_session(subject, &options);
    covey_frame frame = video_frame(&video, 0);
    CHECK_OK(covey_session_push(session, &frame));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(in_child(subject, session, &video, expected));
    if (child < 0) check_abort("no process");
    for (int32_t t = 1; t < video.frames; t++) {
        frame = video_frame(&video, t);
        CHECK_OK(covey_session_push(session, &frame));
    }
    CHECK_CHILD(child);
    CHECK_OK(covey_session_finish(session));
    uint16_t *labels = drain(session, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    covey_session_free(session);
    free(labels);
    free(expected);
    free_video(&video);
}

/* ---- A child that may have nothing more --------------------------------------------- */

/* No thread can be started, as in a sandbox. */
static void allow_no_threads(void)
{
    const struct rlimit limit = { 1, 1 };
    if (setrlimit(RLIMIT_NPROC, &limit) != 0) _exit(30);
    if (geteuid() == 0 && setuid(65534) != 0) _exit(31);     /* root has no such limit */
}

/* Of memory no more than a small network's, 16 MiB: nothing of OpenBLAS's 128 MiB. */
static void allow_little_memory(void)
{
    struct rlimit limit;
    limit.rlim_cur = limit.rlim_max = (rlim_t)data_size() + (16 << 20);
    if (setrlimit(RLIMIT_DATA, &limit) != 0) _exit(32);
}

/* One thread is enough; more are refused, with a status. */
static int in_poor_child(const subject *subject, covey_session *inherited, const video *video,
                         const uint16_t *expected, void (*limit)(void))
{
    alarm(60);
    limit();
    covey_session_options options = subject->options;
    if (limit == allow_no_threads) {
        covey_session *session = NULL;
        options.threads = 2;
        if (covey_session_create(subject->model, &options, &session) != COVEY_ERROR_MEMORY)
            return 1;
    }
    options.threads = 1;
    if (inherited) {
        covey_frame frame = video_frame(video, 0);
        if (covey_session_push(inherited, &frame) != COVEY_OK) return 2;
        if (covey_session_finish(inherited) != COVEY_OK) return 3;
        covey_session_free(inherited);
    }
    uint16_t *labels = run_video(subject, &options, video);
    bool same = memcmp(labels, expected, video_size(video) * sizeof *labels) == 0;
    free(labels);
    return same ? 0 : 4;
}

static void test_poor_child(const subject *subject)
{
    static void (*const limits[])(void) = { allow_no_threads, allow_little_memory };
    static const char *const names[] = { "no threads", "little memory" };
    video video = subject_video(subject, 3, 1);
    covey_session_options options = subject->options;
    uint16_t *expected = run_video(subject, &options, &video);
    options.threads = 3;
    for (int i = 0; i < 2; i++) {
        check_topic("fork, then %s", names[i]);
        covey_session *session = new_session(subject, &options);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) _exit(in_poor_child(subject, session, &video, expected, limits[i]));
        if (child < 0) check_abort("no process");
        CHECK_CHILD(child);
        covey_session_free(session);
    }
    free(expected);
    free_video(&video);
}

/* ---- Beside another thread ------------------------------------------------------------ */

static void drop_message(void *user_data, covey_log_level level, const char *message)
{
    (void)user_data;
    (void)level;
    (void)message;
}

typedef struct beside {
    const subject *subject;
    atomic_bool    stop;
    int            what, wrong;
} beside;

/* What takes locks of the process, over and over. */
static void *keep_busy(void *argument)
{
    beside *beside = argument;
    video video = subject_video(beside->subject, 1, 1);
    covey_session *session = new_session(beside->subject, &beside->subject->options);
    covey_frame frame = video_frame(&video, 0);
    while (!atomic_load(&beside->stop)) {
        covey_model *model = NULL;
        if (beside->what == 0) covey_set_log(drop_message, NULL, COVEY_LOG_DEBUG);
        if (beside->what == 1)
            beside->wrong += covey_model_load(NULL, NULL, &model) != COVEY_ERROR_ARGUMENT;
        if (beside->what == 2) {
            beside->wrong += covey_session_push(session, &frame) != COVEY_OK;
            beside->wrong += covey_session_reset(session) != COVEY_OK;
        }
    }
    covey_session_free(session);
    free_video(&video);
    return NULL;
}

static int beside_in_child(const subject *subject, const video *video)
{
    alarm(20);
    covey_model *model = NULL;
    if (covey_model_load("/nonexistent", NULL, &model) != COVEY_ERROR_IO) return 1;
    covey_set_log(NULL, NULL, COVEY_LOG_ERROR);
    covey_session *session = new_session(subject, &subject->options);
    covey_frame frame = video_frame(video, 0);
    if (covey_session_push(session, &frame) != COVEY_OK) return 2;
    covey_session_free(session);
    return 0;
}

static void test_beside(const subject *subject)
{
    static const char *const names[] = { "sets the log sink", "fails", "multiplies" };
    enum { FORKS = 150 };
    video video = subject_video(subject, 1, 1);
    for (int what = 0; what < 3; what++) {
        beside beside = { .subject = subject, .what = what };
        pthread_t thread;
        check_topic("fork while another thread %s", names[what]);
        if (pthread_create(&thread, NULL, keep_busy, &beside) != 0) check_abort("no thread");
        fflush(stdout);
        bool well = true;
        for (int i = 0; i < FORKS && well; i++) {
            pid_t child = fork();
            if (child == 0) _exit(beside_in_child(subject, &video));
            if (child < 0) check_abort("no process");
            well = CHECK_CHILD(child);
        }
        atomic_store(&beside.stop, true);
        pthread_join(thread, NULL);
        CHECK_INT(beside.wrong, 0);
    }
    covey_set_log(NULL, NULL, COVEY_LOG_ERROR);
    free_video(&video);
}

/* ---- In a callback ---------------------------------------------------------------------- */

typedef struct forking {
    int  at, calls;         /* forks at this call of the progress callback     */
    bool in_child;
    pid_t child;
} forking;

static int32_t fork_in_progress(void *user_data, covey_stage stage, float fraction)
{
    forking *forking = user_data;
    (void)stage;
    (void)fraction;
    if (forking->calls++ != forking->at) return 0;
    fflush(stdout);
    forking->child = fork();
    if (forking->child < 0) check_abort("no process");
    forking->in_child = forking->child == 0;
    if (forking->in_child) alarm(60);
    return 0;
}

/* The call that was in progress ends in the child, and the session can be used on. */
static int after_callback(covey_status status, covey_session *session, const video *video,
                          int32_t pushed, const uint16_t *expected)
{
    if (status != COVEY_ERROR_STATE) return 1;
    if (!strstr(covey_last_error(), "fork")) return 2;
    for (int32_t t = pushed; t < video->frames; t++) {
        covey_frame frame = video_frame(video, t);
        if (covey_session_push(session, &frame) != COVEY_OK) return 3;
    }
    if (covey_session_finish(session) != COVEY_OK) return 4;
    uint16_t *labels = drain(session, video);
    bool same = memcmp(labels, expected, video_size(video) * sizeof *labels) == 0;
    free(labels);
    covey_session_free(session);
    return same ? 0 : 5;
}

static void test_callback(const subject *subject)
{
    video video = subject_video(subject, 3, 1);
    covey_session_options options = subject->options;
    uint16_t *expected = run_video(subject, &options, &video);
    options.progress = fork_in_progress;
    bool forks = true;
    for (int32_t threads = 1; threads <= (subject->quick ? 1 : 4); threads += 3) {
        options.threads = threads;
        forks = true;
        for (int at = 0; forks && at < (subject->quick ? 3 : 60); at++) {
            check_topic("fork in callback %d, %d threads", at, threads);
            forking forking = { .at = at };
            options.user_data = &forking;
            covey_session *session = new_session(subject, &options);
            covey_status status = COVEY_OK;
            int32_t pushed = 0;
            while (status == COVEY_OK && pushed < video.frames) {
                covey_frame frame = video_frame(&video, pushed);
                status = covey_session_push(session, &frame);
                pushed += status == COVEY_OK;
            }
            if (status == COVEY_OK) status = covey_session_finish(session);
            if (forking.in_child)
                _exit(after_callback(status, session, &video, pushed, expected));
            forks = forking.child > 0;
            if (forks) CHECK_CHILD(forking.child);
            CHECK_STATUS(status, COVEY_OK);
            uint16_t *labels = drain(session, &video);
            CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
            free(labels);
            covey_session_free(session);
        }
        CHECK(subject->quick || !forks);
    }
    free(expected);
    free_video(&video);
}

/* The other calls that report progress: each at its first report, at its second, and so on. */
typedef covey_status (*reporting)(const subject *subject, const video *video, forking *forking);

static covey_status encode(const subject *subject, const video *video, forking *forking)
{
    covey_session_options options = subject->options;
    options.threads = 4;
    if (forking) options.progress = fork_in_progress;
    options.user_data = forking;
    const size_t count = 48 * (size_t)subject->info.embed_dim;
    float *keys = take(count * sizeof *keys);
    covey_grid grid = { .struct_size = sizeof grid };
    covey_frame frame = video_frame(video, 0);
    covey_status status =
        covey_encode(subject->model, &options, &frame, keys, count, NULL, &grid);
    free(keys);
    return status;
}

static covey_status segment(const subject *subject, const video *video, forking *forking)
{
    covey_session_options options = subject->options;
    options.threads = 4;
    options.streaming = 1;
    if (forking) options.progress = fork_in_progress;
    options.user_data = forking;
    covey_frame frames[3];
    for (int32_t t = 0; t < 3; t++) frames[t] = video_frame(video, t);
    uint16_t *labels = take(video_size(video) * sizeof *labels);
    covey_status status = covey_segment(subject->model, &options, frames, 3, labels,
                                        video_size(video), NULL);
    free(labels);
    return status;
}

static covey_status train(const subject *subject, const video *video, forking *forking)
{
    covey_trainer_options options;
    covey_trainer_options_init(&options, sizeof options);
    options.threads = 4;
    options.clip_length = 3;
    options.working_height = subject->options.working_height;
    options.working_width = subject->options.working_width;
    if (forking) options.progress = fork_in_progress;
    options.user_data = forking;
    covey_frame frames[3];
    for (int32_t t = 0; t < 3; t++) frames[t] = video_frame(video, t);
    covey_trainer *trainer = NULL;
    covey_status status = covey_trainer_create(subject->model, &options, &trainer);
    if (status == COVEY_OK) status = covey_trainer_step(trainer, frames, 3, NULL);
    /* The step was not made, and can be. */
    if (forking && forking->in_child && status == COVEY_ERROR_STATE) {
        if (covey_trainer_step(trainer, frames, 3, NULL) != COVEY_OK) status = COVEY_OK;
    }
    covey_trainer_free(trainer);
    return status;
}

static void test_callbacks(const subject *subject)
{
    static const reporting calls[] = { encode, segment, train };
    video video = subject_video(subject, 3, 1);
    for (int i = 0; i < 3; i++) {
        bool forks = true;
        for (int at = 0; forks && at < 60; at++) {
            check_topic("fork in callback %d of call %d", at, i);
            forking forking = { .at = at };
            covey_status status = calls[i](subject, &video, &forking);
            if (forking.in_child)
                _exit(status != COVEY_ERROR_STATE ? 1 : calls[i](subject, &video, NULL) ? 2 : 0);
            CHECK_OK(status);
            forks = forking.child > 0;
            if (forks) CHECK_CHILD(forking.child);
            else CHECK(at > 0);
        }
        CHECK(!forks);
    }
    free_video(&video);
}

void test_fork(const subject *subject)
{
    test_child(subject);
    test_callback(subject);
    /* A checker takes for lost what threads had that are not in the child. */
    if (subject->quick) return;
    test_callbacks(subject);
    test_poor_child(subject);
    test_beside(subject);
}
