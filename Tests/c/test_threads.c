/* Thread counts, several threads with one model, OpenBLAS's setting. */
#include "check.h"
#include "video.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_thread_counts(const subject *subject)
{
    /* Odd sizes, so that tiles do not come out even. */
    covey_session_options options = subject->options;
    options.working_width = 13 * subject->patch;
    options.working_height = 11 * subject->patch;
    video video = make_video(101, 83, subject->quick ? 3 : 12, 1);
    covey_frame frame = video_frame(&video, 0);
    const size_t count = 13 * 11 * (size_t)subject->info.embed_dim;
    uint16_t *expected = run_video(subject, &options, &video);
    float *expected_keys = take(count * sizeof(float)), *keys = take(count * sizeof(float));
    covey_grid grid = { .struct_size = sizeof grid };
    CHECK_OK(covey_encode(subject->model, &options, &frame, expected_keys, count, NULL, &grid));
    const int32_t threads[] = { 2, 3, 4, 7, 0 };
    const size_t tries = subject->quick ? 2 : sizeof threads / sizeof *threads;
    for (size_t i = 0; i < tries; i++) {
        check_topic("%d threads", threads[i]);
        options.threads = threads[i];
        uint16_t *labels = run_video(subject, &options, &video);
        CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
        free(labels);
        CHECK_OK(covey_encode(subject->model, &options, &frame, keys, count, NULL, &grid));
        CHECK_BYTES(keys, expected_keys, count * sizeof(float));
    }
    free(keys);
    free(expected_keys);
    free(expected);
    free_video(&video);
}

/* ---- One model, several threads ---------------------------------------------- */

typedef struct user {
    const subject *subject;
    int            number;
    video          video;
    uint16_t      *expected;
} user;

static void *use_model(void *argument)
{
    user *user = argument;
    covey_session_options options = user->subject->options;
    for (int round = 0; round < (user->subject->quick ? 1 : 3); round++) {
        options.threads = 1 + (user->number + round) % 3;
        uint16_t *labels = run_video(user->subject, &options, &user->video);
        CHECK_BYTES(labels, user->expected, video_size(&user->video) * sizeof *labels);
        free(labels);
        covey_model *model = NULL;
        char path[64];
        snprintf(path, sizeof path, "no/such/file-%d-%d", user->number, round);
        CHECK_ERROR(covey_model_load(path, NULL, &model), COVEY_ERROR_IO, path);
    }
    return NULL;
}

static void test_shared_model(const subject *subject)
{
    enum { USERS = 4 };
    check_topic("several threads use one model");
    user users[USERS];
    pthread_t threads[USERS];
    for (int i = 0; i < USERS; i++) {
        users[i].subject = subject;
        users[i].number = i;
        users[i].video = subject_video(subject, 3 + i, (uint32_t)i);
        users[i].expected = run_video(subject, &subject->options, &users[i].video);
    }
    for (int i = 0; i < USERS; i++)
        if (pthread_create(&threads[i], NULL, use_model, &users[i]) != 0) check_abort("no thread");
    for (int i = 0; i < USERS; i++) {
        pthread_join(threads[i], NULL);
        free(users[i].expected);
        free_video(&users[i].video);
    }
}

/* A session may go from thread to thread. */
typedef struct errand {
    covey_session *session;
    const video   *video;
    uint16_t      *labels;
} errand;

static void *finish_elsewhere(void *argument)
{
    errand *errand = argument;
    CHECK_OK(covey_session_finish(errand->session));
    errand->labels = drain(errand->session, errand->video);
    return NULL;
}

static void test_handed_over(const subject *subject)
{
    check_topic("a session handed to another thread");
    video video = subject_video(subject, 4, 2);
    covey_session_options options = subject->options;
    options.threads = 2;
    uint16_t *expected = run_video(subject, &options, &video);
    errand errand = { new_session(subject, &options), &video, NULL };
    pthread_t thread;
    push_video(errand.session, &video);
    if (pthread_create(&thread, NULL, finish_elsewhere, &errand) != 0) check_abort("no thread");
    pthread_join(thread, NULL);
    CHECK_BYTES(errand.labels, expected, video_size(&video) * sizeof *expected);
    covey_session_free(errand.session);
    free(errand.labels);
    free(expected);
    free_video(&video);
}

/* ---- OpenBLAS -------------------------------------------------------------------- */

static int (*blas_threads)(void);

static int32_t look_at_blas(void *user_data, covey_stage stage, float fraction)
{
    int *most = user_data;
    (void)stage;
    (void)fraction;
    if (blas_threads() > *most) *most = blas_threads();
    return 0;
}

static void test_blas_setting(const subject *subject)
{
    check_topic("OpenBLAS's thread count");
    if (strstr(covey_build_info(), "no BLAS")) return;
    void *get = dlsym(RTLD_DEFAULT, "openblas_get_num_threads");
    void *set = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
    if (!CHECK(get && set)) return;
    void (*set_threads)(int);
    memcpy(&blas_threads, &get, sizeof get);
    memcpy(&set_threads, &set, sizeof set);
    const int before = blas_threads();
    for (int count = 1; count <= 2; count++) {
        set_threads(count);
        const int asked = blas_threads();   /* some builds know only one      */
        int most = 0;
        covey_session_options options = subject->options;
        options.progress = look_at_blas;
        options.user_data = &most;
        video video = subject_video(subject, 3, 1);
        covey_session *session = new_session(subject, &options);
        push_video(session, &video);
        CHECK_INT(blas_threads(), asked);
        CHECK_OK(covey_session_finish(session));
        CHECK_INT(blas_threads(), asked);
        CHECK_INT(most, 1);
        /* Also after a call that was refused or cancelled. */
        covey_session_cancel(session);
        CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_STATE);
        CHECK_INT(blas_threads(), asked);
        covey_session_free(session);
        free_video(&video);
    }
    set_threads(before);
}

void test_threads(const subject *subject)
{
    test_thread_counts(subject);
    test_shared_model(subject);
    test_handed_over(subject);
    test_blas_setting(subject);
}
