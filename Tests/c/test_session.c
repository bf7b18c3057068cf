/* The life of a session: order of calls, sizes, reset, small and odd videos. */
#include "check.h"
#include "video.h"

#include <stdlib.h>
#include <string.h>

static void test_null(const subject *subject)
{
    check_topic("session, NULL");
    video video = subject_video(subject, 2, 1);
    covey_frame frame = video_frame(&video, 0);
    covey_memory memory = { .struct_size = sizeof memory };
    covey_session *session = NULL;
    covey_result *result = NULL;
    CHECK_STATUS(covey_session_create(NULL, &subject->options, &session), COVEY_ERROR_ARGUMENT);
    CHECK(session == NULL);
    CHECK_STATUS(covey_session_create(subject->model, &subject->options, NULL),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_push(NULL, &frame), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_finish(NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_next(NULL, &result), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_reset(NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_get_memory(NULL, &memory), COVEY_ERROR_ARGUMENT);
    covey_session_cancel(NULL);
    covey_session_free(NULL);

    session = new_session(subject, &subject->options);
    CHECK_STATUS(covey_session_push(session, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_next(session, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_get_memory(session, NULL), COVEY_ERROR_ARGUMENT);
    push_video(session, &video);
    CHECK_OK(covey_session_finish(session));
    CHECK_STATUS(covey_session_next(session, NULL), COVEY_ERROR_ARGUMENT);
    /* The refused call has not swallowed a result. */
    free(drain(session, &video));
    covey_session_free(session);
    free_video(&video);
}

static void test_order(const subject *subject)
{
    check_topic("order of calls");
    video video = subject_video(subject, 4, 2);
    covey_frame frame = video_frame(&video, 0);
    covey_session *session = new_session(subject, &subject->options);
    covey_result *result = NULL;
    CHECK_STATUS(covey_session_next(session, &result), COVEY_AGAIN);
    CHECK(result == NULL);
    CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_STATE);
    CHECK(*covey_last_error() != 0);
    push_video(session, &video);
    CHECK_STATUS(covey_session_next(session, &result), COVEY_AGAIN);
    CHECK(result == NULL);
    CHECK_OK(covey_session_finish(session));
    CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_STATE);
    CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_STATE);
    uint16_t *labels = drain(session, &video);
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(covey_session_next(session, &result), COVEY_END);
        CHECK(result == NULL);
    }
    CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_STATE);
    CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_STATE);
    covey_session_free(session);

    /* None of the calls that were refused has left a trace. */
    uint16_t *expected = run_video(subject, &subject->options, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    free(labels);
    free(expected);
    free_video(&video);
}

static void test_sizes(const subject *subject)
{
    check_topic("frames of two sizes");
    video video = subject_video(subject, 3, 3);
    struct video other = make_video(video.width + 1, video.height, 1, 3);
    struct video turned = make_video(video.height, video.width, 1, 3);
    covey_session *session = new_session(subject, &subject->options);
    covey_frame frame = video_frame(&video, 0);
    CHECK_OK(covey_session_push(session, &frame));
    frame = video_frame(&other, 0);
    CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_ARGUMENT);
    frame = video_frame(&turned, 0);
    CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_ARGUMENT);
    for (int32_t t = 1; t < video.frames; t++) {
        frame = video_frame(&video, t);
        CHECK_OK(covey_session_push(session, &frame));
    }
    CHECK_OK(covey_session_finish(session));
    uint16_t *labels = drain(session, &video);
    uint16_t *expected = run_video(subject, &subject->options, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    covey_session_free(session);
    free(labels);
    free(expected);
    free_video(&video);
    free_video(&other);
    free_video(&turned);
}

static void test_reset(const subject *subject)
{
    video first = subject_video(subject, 5, 1);
    video second = make_video(5 * subject->patch, 9 * subject->patch, 4, 2);
    uint16_t *expected = run_video(subject, &subject->options, &second);
    const size_t bytes = video_size(&second) * sizeof *expected;
    covey_session *session = new_session(subject, &subject->options);

    check_topic("reset of a new session");
    CHECK_OK(covey_session_reset(session));
    check_topic("reset after push");
    push_video(session, &first);
    CHECK_OK(covey_session_reset(session));
    CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_STATE);
    uint16_t *labels = run_session(session, &second);
    CHECK_BYTES(labels, expected, bytes);
    free(labels);
    check_topic("reset after the end");
    CHECK_OK(covey_session_reset(session));
    free(run_session(session, &first));
    check_topic("reset before the results were taken");
    CHECK_OK(covey_session_reset(session));
    push_video(session, &first);
    CHECK_OK(covey_session_finish(session));
    covey_result *result = NULL;
    CHECK_OK(covey_session_next(session, &result));
    covey_result_free(result);
    CHECK_OK(covey_session_reset(session));
    CHECK_STATUS(covey_session_next(session, &result), COVEY_AGAIN);
    labels = run_session(session, &second);
    CHECK_BYTES(labels, expected, bytes);
    covey_session_free(session);
    free(labels);
    free(expected);
    free_video(&first);
    free_video(&second);
}

static void test_lifetimes(const subject *subject)
{
    check_topic("lifetimes");
    video video = subject_video(subject, 3, 3);
    uint16_t *expected = run_video(subject, &subject->options, &video);
    struct subject own = *subject;
    CHECK_OK(covey_model_load(subject->path, NULL, &own.model));
    covey_session *session = new_session(&own, &own.options);
    covey_model_free(own.model);
    push_video(session, &video);
    CHECK_OK(covey_session_finish(session));
    covey_result *results[3] = { NULL, NULL, NULL };
    for (int i = 0; i < 3; i++) CHECK_OK(covey_session_next(session, &results[i]));
    covey_session_free(session);
    const size_t pixels = (size_t)video.width * (size_t)video.height;
    for (int i = 2; i >= 0; i--) {
        CHECK_BYTES(covey_result_labels(results[i]), expected + (size_t)i * pixels,
                    pixels * sizeof *expected);
        covey_result_free(results[i]);
    }
    /* A session that is freed in the middle of things. */
    session = new_session(subject, &subject->options);
    push_video(session, &video);
    covey_session_free(session);
    session = new_session(subject, &subject->options);
    push_video(session, &video);
    CHECK_OK(covey_session_finish(session));
    covey_session_free(session);
    free(expected);
    free_video(&video);
}

/* ---- Small and odd videos --------------------------------------------------- */

static void test_shapes(const subject *subject)
{
    const int32_t p = subject->patch;
    const struct { int32_t width, height, frames, rows, columns; } cases[] = {
        { 8 * p, 6 * p, 1, 6, 8 },      /* one frame                          */
        { p, p, 3, 1, 1 },              /* one patch                          */
        { 1, 1, 2, 1, 1 },              /* one pixel                          */
        { 1, 1, 1, 2, 3 },
        { 200, 1, 2, 1, 5 },
        { 1, 200, 2, 5, 1 },
        { 3 * p - 1, 2 * p + 1, 13, 2, 3 },     /* longer than a key stride   */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_topic("%d frames of %dx%d as %dx%d patches", cases[i].frames, cases[i].width,
                    cases[i].height, cases[i].columns, cases[i].rows);
        covey_session_options options = subject->options;
        options.working_height = cases[i].rows * p;
        options.working_width = cases[i].columns * p;
        options.mask = COVEY_MASK_NEAREST;
        video video = make_video(cases[i].width, cases[i].height, cases[i].frames, 4);
        uint16_t *labels = run_video(subject, &options, &video);
        int32_t clusters = largest_label(labels, video_size(&video));
        CHECK(clusters >= 1 && clusters <= cases[i].rows * cases[i].columns * cases[i].frames);
        /* A pixel takes the label of its patch: floor(x * columns / width). */
        int strange = 0;
        for (int32_t y = 0; y < video.height; y++)
            for (int32_t x = 0; x < video.width; x++) {
                int32_t row = y * cases[i].rows / video.height;
                int32_t column = x * cases[i].columns / video.width;
                int32_t top = (row * video.height + cases[i].rows - 1) / cases[i].rows;
                int32_t left = (column * video.width + cases[i].columns - 1) / cases[i].columns;
                strange += labels[y * video.width + x] != labels[top * video.width + left];
            }
        CHECK_INT(strange, 0);
        free(labels);
        free_video(&video);
    }
}

static void test_still(const subject *subject)
{
    check_topic("the same frame again and again");
    video video = subject_video(subject, 7, 1);
    const size_t pixels = (size_t)video.width * (size_t)video.height;
    for (int32_t t = 1; t < video.frames; t++)
        memcpy(video.pixels + 3 * pixels * (size_t)t, video.pixels, 3 * pixels);
    uint16_t *labels = run_video(subject, &subject->options, &video);
    for (int32_t t = 1; t < video.frames; t++)
        CHECK_BYTES(labels + pixels * (size_t)t, labels, pixels * sizeof *labels);
    free(labels);
    free_video(&video);

    for (int value = 0; value <= 255; value += 255) {
        check_topic("all pixels %d", value);
        covey_session_options options = subject->options;
        video = make_constant_video(5 * subject->patch, 5 * subject->patch, 4, (uint8_t)value);
        labels = run_video(subject, &options, &video);
        for (int32_t t = 1; t < video.frames; t++)
            CHECK_BYTES(labels + video_size(&video) / 4 * (size_t)t, labels,
                        video_size(&video) / 4 * sizeof *labels);
        options.output = COVEY_OUTPUT_OBJECTS;
        options.min_area = 0;
        free(run_video(subject, &options, &video));
        free(labels);
        free_video(&video);
    }
}

/* ---- covey_segment ----------------------------------------------------------- */

static void test_segment(const subject *subject)
{
    check_topic("covey_segment");
    video video = subject_video(subject, 5, 2);
    const size_t size = video_size(&video);
    uint16_t *expected = run_video(subject, &subject->options, &video);
    uint16_t *labels = take((size + 1) * sizeof *labels);
    struct { covey_frame frame; uint64_t beyond; } wide[5];
    covey_frame frames[5];
    memset(wide, 0, sizeof wide);
    for (int32_t t = 0; t < 5; t++) {
        frames[t] = wide[t].frame = video_frame(&video, t);
        wide[t].frame.struct_size = sizeof *wide;
    }
    covey_model *const model = subject->model;
    const covey_session_options *options = &subject->options;
    int32_t count = -1;
    labels[size] = 0xBEEF;
    CHECK_OK(covey_segment(model, options, frames, 5, labels, size, &count));
    CHECK_BYTES(labels, expected, size * sizeof *labels);
    CHECK(count >= largest_label(expected, size));   /* one may have no pixel */
    memset(labels, 0, size * sizeof *labels);
    CHECK_OK(covey_segment(model, options, &wide[0].frame, 5, labels, size + 1, NULL));
    CHECK_BYTES(labels, expected, size * sizeof *labels);
    CHECK_INT(labels[size], 0xBEEF);

    CHECK_STATUS(covey_segment(NULL, options, frames, 5, labels, size, &count),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_segment(model, options, NULL, 5, labels, size, &count),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_segment(model, options, frames, 5, NULL, size, &count),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_segment(model, options, frames, 5, labels, size - 1, &count),
                 COVEY_ERROR_CAPACITY);
    CHECK_STATUS(covey_segment(model, options, frames, INT32_MAX, labels, size, &count),
                 COVEY_ERROR_CAPACITY);
    static const size_t counts[] = { 0, SIZE_MAX / 2, SIZE_MAX };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        CHECK_STATUS(covey_segment(model, options, frames, counts[i], labels, size, &count),
                     COVEY_ERROR_ARGUMENT);
    frames[0].struct_size = 0;
    CHECK_STATUS(covey_segment(model, options, frames, 5, labels, size, &count),
                 COVEY_ERROR_ARGUMENT);
    frames[0].struct_size = sizeof *frames;
    frames[3].width--;
    CHECK_ERROR(covey_segment(model, options, frames, 5, labels, size, &count),
                COVEY_ERROR_ARGUMENT, "3");
    frames[3].width++;
    frames[4].planes[0] = NULL;
    CHECK_STATUS(covey_segment(model, options, frames, 5, labels, size, &count),
                 COVEY_ERROR_ARGUMENT);
    free(labels);
    free(expected);
    free_video(&video);
}

void test_session(const subject *subject)
{
    test_null(subject);
    test_order(subject);
    test_sizes(subject);
    test_reset(subject);
    test_lifetimes(subject);
    test_shapes(subject);
    test_still(subject);
    test_segment(subject);
}
