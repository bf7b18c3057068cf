/* Results while frames are pushed. */
#include "check.h"
#include "video.h"

#include <stdlib.h>
#include <string.h>

static covey_session_options streaming(const subject *subject, int32_t window)
{
    covey_session_options options = subject->options;
    options.streaming = 1;
    options.window = window;
    return options;
}

/* Takes the results there are, from frame `*next` on, into `labels`. */
static covey_status take_results(covey_session *session, const covey_session_options *options,
                                 const video *video, int64_t *next, uint16_t *labels)
{
    const size_t pixels = (size_t)video->width * (size_t)video->height;
    covey_result *result = NULL;
    covey_status status;
    while ((status = covey_session_next(session, &result)) == COVEY_OK) {
        covey_result_info info = { .struct_size = sizeof info };
        CHECK_OK(covey_result_get_info(result, &info));
        CHECK_INT(info.frame_index, *next);
        CHECK_INT(info.timestamp, 1000 + 40 * *next);
        CHECK(info.width == video->width && info.height == video->height);
        CHECK(info.mode == COVEY_MODE_EDGE && info.streaming == 1);
        CHECK_INT(info.window, options->window);
        CHECK_INT(info.query_pool, options->query_pool);
        CHECK_INT(info.key_budget, options->key_budget ? options->key_budget : 8);
        CHECK(info.tau == options->tau);
        CHECK(info.total_objects >= info.object_count && info.total_clusters >= 1);
        const uint16_t *map = covey_result_labels(result);
        CHECK(largest_label(map, pixels) <= info.total_objects);
        if (CHECK(*next < video->frames))
            memcpy(labels + (size_t)*next * pixels, map, pixels * sizeof *labels);
        covey_result_free(result);
        ++*next;
    }
    CHECK(result == NULL);
    return status;
}

static uint16_t *run_stream(const subject *subject, const covey_session_options *options,
                            const video *video)
{
    covey_session *session = new_session(subject, options);
    uint16_t *labels = take(video_size(video) * sizeof *labels);
    int64_t next = 0;
    CHECK_STATUS(take_results(session, options, video, &next, labels), COVEY_AGAIN);
    for (int32_t t = 0; t < video->frames; t++) {
        covey_frame frame = video_frame(video, t);
        CHECK_OK(covey_session_push(session, &frame));
        CHECK_STATUS(take_results(session, options, video, &next, labels), COVEY_AGAIN);
        /* As windows fill: at most so many frames late. */
        CHECK_INT(next, (t + 1) / options->window * options->window);
    }
    CHECK_OK(covey_session_finish(session));
    CHECK_STATUS(take_results(session, options, video, &next, labels), COVEY_END);
    CHECK_INT(next, video->frames);
    CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_STATE);
    covey_frame frame = video_frame(video, 0);
    CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_STATE);
    covey_session_free(session);
    return labels;
}

static void test_windows(const subject *subject)
{
    static const int32_t windows[] = { 1, 2, 3, 5, 64 };
    video video = subject_video(subject, 8, 1);
    const size_t size = video_size(&video);
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        check_topic("stream, window %d", windows[i]);
        covey_session_options options = streaming(subject, windows[i]);
        uint16_t *labels = run_stream(subject, &options, &video);
        size_t zeros = 0;
        for (size_t k = 0; k < size; k++) zeros += labels[k] == 0;
        CHECK_INT(zeros, 0);
        /* Taken at the end, and by several threads: the same. */
        options.threads = 3;
        uint16_t *late = run_video(subject, &options, &video);
        CHECK_BYTES(late, labels, size * sizeof *labels);
        free(late);

        covey_frame frames[8];
        for (int32_t t = 0; t < 8; t++) frames[t] = video_frame(&video, t);
        uint16_t *at_once = take((size + 1) * sizeof *at_once);
        int32_t count = -1;
        at_once[size] = 0xBEEF;
        CHECK_OK(covey_segment(subject->model, &options, frames, 8, at_once, size, &count));
        CHECK_BYTES(at_once, labels, size * sizeof *labels);
        CHECK(count >= largest_label(labels, size) && count <= 65535);
        CHECK_INT(at_once[size], 0xBEEF);
        free(at_once);
        free(labels);
    }
    check_topic("stream of objects");
    covey_session_options options = streaming(subject, 3);
    options.output = COVEY_OUTPUT_OBJECTS;
    options.min_area = 0;
    options.max_objects = 2;
    uint16_t *labels = run_stream(subject, &options, &video);
    free(labels);
    check_topic("stream of at most so many");
    options = streaming(subject, 2);
    options.max_clusters = 2;
    options.bank_clusters = 3;
    options.key_budget = 1;
    options.key_stride = 1;
    labels = run_stream(subject, &options, &video);
    free(labels);
    free_video(&video);
}

static int32_t cancel_at(void *user_data, covey_stage stage, float fraction)
{
    int32_t *wanted = user_data;
    (void)fraction;
    return (int32_t)stage == *wanted;
}

static void test_failing_window(const subject *subject)
{
    video video = subject_video(subject, 7, 2);
    covey_session_options options = streaming(subject, 3);
    uint16_t *expected = run_stream(subject, &options, &video);
    static const covey_stage stages[] = { COVEY_STAGE_ENCODE, COVEY_STAGE_CLUSTER,
                                          COVEY_STAGE_ASSIGN };
    for (size_t i = 0; i < 3; i++) {
        check_topic("stream, cancelled in stage %d", (int)stages[i]);
        int32_t wanted = 0, cancelled = 0;
        options.progress = cancel_at;
        options.user_data = &wanted;
        covey_session *session = new_session(subject, &options);
        for (int32_t t = 0; t < video.frames; t++) {
            covey_frame frame = video_frame(&video, t);
            wanted = (int32_t)stages[i];
            covey_status status = covey_session_push(session, &frame);
            wanted = 0;
            if (status == COVEY_OK) continue;
            CHECK_INT(status, COVEY_ERROR_CANCELLED);
            cancelled++;
            CHECK_OK(covey_session_push(session, &frame));
        }
        CHECK_INT(cancelled, stages[i] == COVEY_STAGE_ENCODE ? 7 : 2);
        if (stages[i] != COVEY_STAGE_ENCODE) {
            wanted = (int32_t)stages[i];
            CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_CANCELLED);
            wanted = 0;
        }
        CHECK_OK(covey_session_finish(session));
        uint16_t *labels = drain(session, &video);
        CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
        free(labels);
        covey_session_free(session);
    }
    free(expected);
    free_video(&video);
}

static void test_stream_life(const subject *subject)
{
    check_topic("stream, reset and free");
    video video = subject_video(subject, 4, 1);
    struct video other = make_video(5 * subject->patch, 9 * subject->patch, 5, 2);
    covey_session_options options = streaming(subject, 3);
    uint16_t *expected = run_video(subject, &options, &other);
    covey_session *session = new_session(subject, &options);
    CHECK_STATUS(covey_session_finish(session), COVEY_ERROR_STATE);
    push_video(session, &video);
    covey_frame frame = video_frame(&other, 0);
    CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_ARGUMENT);
    CHECK_OK(covey_session_reset(session));
    covey_memory memory = { .struct_size = sizeof memory };
    CHECK_OK(covey_session_get_memory(session, &memory));
    CHECK_INT(memory.current, 0);
    covey_result *result = NULL;
    CHECK_STATUS(covey_session_next(session, &result), COVEY_AGAIN);
    uint16_t *labels = run_session(session, &other);
    CHECK_BYTES(labels, expected, video_size(&other) * sizeof *labels);
    free(labels);
    covey_session_free(session);
    /* Freed with results and a part of a window inside. */
    session = new_session(subject, &options);
    push_video(session, &video);
    covey_session_free(session);
    free(expected);
    free_video(&other);
    free_video(&video);
}

/* What was used is in the result, old callers or not. */
static void test_info(const subject *subject)
{
    check_topic("info");
    video video = subject_video(subject, 2, 1);
    for (int mode = 0; mode < 2; mode++) {
        covey_session_options options = subject->options;
        options.mode = mode ? COVEY_MODE_REFERENCE : COVEY_MODE_EDGE;
        options.query_pool = options.key_pool = options.key_stride = options.window = 0;
        covey_session *session = new_session(subject, &options);
        push_video(session, &video);
        CHECK_OK(covey_session_finish(session));
        covey_result *result = NULL;
        CHECK_OK(covey_session_next(session, &result));
        covey_result_info info = { .struct_size = sizeof info };
        CHECK_OK(covey_result_get_info(result, &info));
        CHECK(info.mode == options.mode && info.streaming == 0);
        CHECK_INT(info.window, subject->info.window);
        CHECK_INT(info.key_stride, subject->info.key_stride);
        CHECK_INT(info.key_pool, mode ? 1 : subject->info.key_pool);
        CHECK_INT(info.query_pool, mode ? 1 : 4);
        if (mode) CHECK(info.key_budget >= 1000000);
        else CHECK_INT(info.key_budget, 8);
        CHECK(info.tau == options.tau);
        covey_result_info old;
        memset(&old, 0x5A, sizeof old);
        old.struct_size = 48;
        CHECK_OK(covey_result_get_info(result, &old));
        CHECK_INT(old.total_clusters, info.total_clusters);
        CHECK_INT(old.key_stride, 0x5A5A5A5A);
        CHECK_INT(old.streaming, 0x5A5A5A5A);
        old.struct_size = 47;
        CHECK_STATUS(covey_result_get_info(result, &old), COVEY_ERROR_ARGUMENT);
        covey_result_free(result);
        covey_session_free(session);
    }
    free_video(&video);
}

void test_stream(const subject *subject)
{
    test_windows(subject);
    test_failing_window(subject);
    test_stream_life(subject);
    test_info(subject);
}
