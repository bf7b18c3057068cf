/* Progress and cancelling, by the callback and from another thread. */
#include "check.h"
#include "video.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- Progress ------------------------------------------------------------------ */

typedef struct progress {
    int       calls[5];         /* of each stage                              */
    int       last_stage;
    float     last_fraction;
    bool      bad_stage, bad_fraction, backwards, other_thread;
    pthread_t thread;
    /* What to do about it. */
    int       cancel_stage;     /* 0: never                                   */
    float     cancel_from;      /* fraction                                   */
    int32_t   cancel_with;
} progress;

static int32_t on_progress(void *user_data, covey_stage stage, float fraction)
{
    progress *seen = user_data;
    if (stage < COVEY_STAGE_ENCODE || stage > COVEY_STAGE_ASSIGN) {
        seen->bad_stage = true;
        return 0;
    }
    seen->calls[stage]++;
    if (!(fraction >= 0 && fraction <= 1)) seen->bad_fraction = true;
    if ((int)stage == seen->last_stage && fraction < seen->last_fraction && fraction != 0)
        seen->backwards = true;
    if (!pthread_equal(pthread_self(), seen->thread)) seen->other_thread = true;
    seen->last_stage = (int)stage;
    seen->last_fraction = fraction;
    return (int)stage == seen->cancel_stage && fraction >= seen->cancel_from ? seen->cancel_with
                                                                             : 0;
}

static void start(progress *progress, int cancel_stage, float cancel_from, int32_t cancel_with)
{
    memset(progress, 0, sizeof *progress);
    progress->thread = pthread_self();
    progress->cancel_stage = cancel_stage;
    progress->cancel_from = cancel_from;
    progress->cancel_with = cancel_with;
}

static covey_session_options with_progress(const subject *subject, progress *progress)
{
    covey_session_options options = subject->options;
    options.progress = on_progress;
    options.user_data = progress;
    options.threads = 2;
    return options;
}

static void test_progress(const subject *subject)
{
    check_topic("progress");
    progress progress;
    start(&progress, 0, 0, 0);
    covey_session_options options = with_progress(subject, &progress);
    video video = subject_video(subject, 5, 1);
    covey_session *session = new_session(subject, &options);
    push_video(session, &video);
    CHECK(progress.calls[COVEY_STAGE_ENCODE] >= video.frames);
    CHECK_INT(progress.calls[COVEY_STAGE_CLUSTER], 0);
    CHECK_OK(covey_session_finish(session));
    for (int stage = COVEY_STAGE_ENCODE; stage <= COVEY_STAGE_ASSIGN; stage++)
        CHECK(progress.calls[stage] > 0);
    CHECK(!progress.bad_stage && !progress.bad_fraction && !progress.backwards);
    CHECK(!progress.other_thread);
    CHECK_INT(progress.last_stage, COVEY_STAGE_ASSIGN);
    free(drain(session, &video));
    covey_session_free(session);
    free_video(&video);
}

/* ---- By the callback -------------------------------------------------------------- */

/* Cancels in `stage`, from `fraction` on, and then goes on to the end: the
 * labels are those of a session that was never cancelled. */
static void check_callback_cancel(const subject *subject, const video *video, int stage,
                                  float fraction, int32_t with, const uint16_t *expected)
{
    check_topic("callback cancels stage %d at %g with %d", stage, (double)fraction, with);
    progress progress;
    start(&progress, 0, 0, 0);
    covey_session_options options = with_progress(subject, &progress);
    covey_session *session = new_session(subject, &options);
    covey_result *result = NULL;
    for (int32_t t = 0; t < video->frames; t++) {
        covey_frame frame = video_frame(video, t);
        if (stage == COVEY_STAGE_ENCODE && t % 2 == 1) {
            start(&progress, stage, fraction, with);
            covey_status status = covey_session_push(session, &frame);
            start(&progress, 0, 0, 0);
            /* A frame that was taken all the same is not pushed again. */
            if (!CHECK_STATUS(status, COVEY_ERROR_CANCELLED)) continue;
        }
        CHECK_OK(covey_session_push(session, &frame));
    }
    if (stage != COVEY_STAGE_ENCODE) {
        for (int i = 0; i < 2; i++) {
            start(&progress, stage, fraction, with);
            if (!CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_CANCELLED)) {
                covey_session_free(session);
                return;
            }
            CHECK(progress.calls[stage] > 0);
            CHECK_STATUS(covey_session_next(session, &result), COVEY_AGAIN);
        }
        start(&progress, 0, 0, 0);
    }
    CHECK_OK(covey_session_finish(session));
    uint16_t *labels = drain(session, video);
    CHECK_BYTES(labels, expected, video_size(video) * sizeof *labels);
    free(labels);
    covey_session_free(session);
}

static void test_callback_cancel(const subject *subject)
{
    video video = subject_video(subject, 4, 2);
    uint16_t *expected = run_video(subject, &subject->options, &video);
    for (int stage = COVEY_STAGE_ENCODE; stage <= COVEY_STAGE_ASSIGN; stage++) {
        check_callback_cancel(subject, &video, stage, 0, 1, expected);
        check_callback_cancel(subject, &video, stage, 0, INT32_MIN, expected);
        /* Even at the very end: who says cancel is told that it was. */
        check_callback_cancel(subject, &video, stage, 1, -1, expected);
    }
    check_topic("more frames after a cancelled finish");
    progress progress;
    start(&progress, COVEY_STAGE_CLUSTER, 0, 1);
    covey_session_options options = with_progress(subject, &progress);
    covey_session *session = new_session(subject, &options);
    for (int32_t t = 0; t < video.frames; t++) {
        covey_frame frame = video_frame(&video, t);
        CHECK_OK(covey_session_push(session, &frame));
        if (t == 1) CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_CANCELLED);
    }
    start(&progress, 0, 0, 0);
    CHECK_OK(covey_session_finish(session));
    uint16_t *labels = drain(session, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    free(labels);
    covey_session_free(session);

    check_topic("covey_segment cancelled");
    labels = take(video_size(&video) * sizeof *labels);
    covey_frame frames[4];
    for (int32_t t = 0; t < 4; t++) frames[t] = video_frame(&video, t);
    for (int stage = COVEY_STAGE_ENCODE; stage <= COVEY_STAGE_ASSIGN; stage++) {
        start(&progress, stage, 0, 1);
        CHECK_STATUS(covey_segment(subject->model, &options, frames, 4, labels,
                                   video_size(&video), NULL), COVEY_ERROR_CANCELLED);
    }
    free(labels);
    free(expected);
    free_video(&video);
}

/* ---- From another thread ------------------------------------------------------------ */

static void test_pending_cancel(const subject *subject)
{
    check_topic("cancel before a call");
    video video = subject_video(subject, 3, 1);
    uint16_t *expected = run_video(subject, &subject->options, &video);
    covey_session *session = new_session(subject, &subject->options);
    for (int32_t t = 0; t < video.frames; t++) {
        covey_frame frame = video_frame(&video, t);
        covey_session_cancel(session);
        CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_CANCELLED);
        CHECK_OK(covey_session_push(session, &frame));
    }
    covey_session_cancel(session);
    CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_CANCELLED);
    CHECK_OK(covey_session_finish(session));
    uint16_t *labels = drain(session, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    free(labels);
    /* Reset forgets a cancel that has ended no call. */
    covey_session_cancel(session);
    CHECK_OK(covey_session_reset(session));
    labels = run_session(session, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    free(labels);
    free(expected);
    covey_session_free(session);
    free_video(&video);
}

/* The callback, in the middle of a stage, has another thread call
 * covey_session_cancel(), and waits until that has happened. */
typedef struct canceller {
    covey_session *session;
    sem_t          wanted, done;
    int            stage;       /* 0: none                                    */
    bool           over;
    struct timespec at;
} canceller;

static void *cancel_when_wanted(void *argument)
{
    canceller *canceller = argument;
    for (;;) {
        while (sem_wait(&canceller->wanted) != 0) continue;
        if (canceller->over) return NULL;
        covey_session_cancel(canceller->session);
        sem_post(&canceller->done);
    }
}

static int32_t cancel_elsewhere(void *user_data, covey_stage stage, float fraction)
{
    canceller *canceller = user_data;
    if ((int)stage == canceller->stage && fraction < 1) {
        canceller->stage = 0;
        sem_post(&canceller->wanted);
        while (sem_wait(&canceller->done) != 0) continue;
        clock_gettime(CLOCK_MONOTONIC, &canceller->at);
    }
    return 0;
}

/* A callback that turns on the session it is called from. */
typedef struct intruder {
    covey_session *session;
    covey_frame    frame;
    int            visits, refused;
} intruder;

static int32_t call_back(void *user_data, covey_stage stage, float fraction)
{
    (void)stage;
    (void)fraction;
    intruder *intruder = user_data;
    covey_result *result;
    covey_memory memory = { .struct_size = sizeof memory };
    covey_session *session = intruder->session;
    intruder->visits++;
    intruder->refused += covey_session_push(session, &intruder->frame) == COVEY_ERROR_STATE &&
                         covey_session_finish(session) == COVEY_ERROR_STATE &&
                         covey_session_next(session, &result) == COVEY_ERROR_STATE &&
                         covey_session_reset(session) == COVEY_ERROR_STATE &&
                         covey_session_get_memory(session, &memory) == COVEY_OK;
    return 0;
}

static void test_call_from_callback(const subject *subject)
{
    check_topic("calls from the callback");
    covey_session_options options = subject->options;
    video video = make_video(40, 32, 3, 1);
    uint16_t *expected = run_video(subject, &options, &video);
    intruder intruder = { .frame = video_frame(&video, 0) };
    options.threads = 2;
    options.progress = call_back;
    options.user_data = &intruder;
    covey_session *session = intruder.session = new_session(subject, &options);
    for (int32_t t = 0; t < video.frames; t++) {
        covey_frame frame = video_frame(&video, t);
        CHECK_OK(covey_session_push(session, &frame));
    }
    CHECK_OK(covey_session_finish(session));
    CHECK(intruder.visits > video.frames);
    CHECK_INT(intruder.refused, intruder.visits);
    uint16_t *labels = drain(session, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    covey_session_free(session);
    free(labels);
    free(expected);
    free_video(&video);
}

static double seconds_since(const struct timespec *before)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - before->tv_sec) + 1e-9 * (double)(now.tv_nsec - before->tv_nsec);
}

static void test_thread_cancel(const subject *subject)
{
    /* Large enough to take a while: 24 x 24 patches. */
    covey_session_options options = subject->options;
    int32_t side = (subject->quick ? 8 : 24) * subject->patch;
    options.working_width = options.working_height = side;
    options.threads = 2;
    video video = make_video(side, side, 3, 1);
    uint16_t *expected = run_video(subject, &options, &video);
    canceller canceller = { .session = NULL };
    options.progress = cancel_elsewhere;
    options.user_data = &canceller;
    pthread_t thread;
    covey_session *session = canceller.session = new_session(subject, &options);
    sem_init(&canceller.wanted, 0, 0);
    sem_init(&canceller.done, 0, 0);
    if (pthread_create(&thread, NULL, cancel_when_wanted, &canceller) != 0)
        check_abort("no thread");
    for (int32_t t = 0; t < video.frames; t++) {
        check_topic("another thread cancels push %d", t);
        covey_frame frame = video_frame(&video, t);
        canceller.stage = COVEY_STAGE_ENCODE;
        CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_CANCELLED);
        /* 50 ms as a rule; a crowded machine and checkers are slower. */
        CHECK_NEAR(seconds_since(&canceller.at), 0, subject->quick ? 5 : 0.5);
        CHECK_OK(covey_session_push(session, &frame));
    }
    for (int stage = COVEY_STAGE_CLUSTER; stage <= COVEY_STAGE_ASSIGN; stage++) {
        check_topic("another thread cancels stage %d", stage);
        canceller.stage = stage;
        CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_CANCELLED);
        CHECK_INT(canceller.stage, 0);
        CHECK_NEAR(seconds_since(&canceller.at), 0, subject->quick ? 5 : 0.5);
    }
    canceller.stage = 0;
    canceller.over = true;
    sem_post(&canceller.wanted);
    pthread_join(thread, NULL);
    CHECK_OK(covey_session_finish(session));
    uint16_t *labels = drain(session, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    sem_destroy(&canceller.wanted);
    sem_destroy(&canceller.done);
    covey_session_free(session);
    free(labels);
    free(expected);
    free_video(&video);
}

void test_cancel(const subject *subject)
{
    test_progress(subject);
    test_callback_cancel(subject);
    test_pending_cancel(subject);
    test_call_from_callback(subject);
    test_thread_cancel(subject);
}
