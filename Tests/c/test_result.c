/* Results: information, objects and run lengths, against the labels. */
#include "check.h"
#include "video.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the labels of one frame say about one id, pixel by pixel. */
typedef struct region {
    int64_t area, sum_x, sum_y;
    int32_t left, top, right, bottom;
} region;

static region measure(const uint16_t *labels, int32_t width, int32_t height, int32_t id)
{
    region region = { 0, 0, 0, INT32_MAX, INT32_MAX, -1, -1 };
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            if (labels[(size_t)y * (size_t)width + (size_t)x] != id) continue;
            region.area++;
            region.sum_x += x;
            region.sum_y += y;
            if (x < region.left) region.left = x;
            if (x > region.right) region.right = x;
            if (y < region.top) region.top = y;
            region.bottom = y;
        }
    }
    return region;
}

static void check_object(const covey_object *object, const uint16_t *labels,
                         const covey_result_info *info)
{
    CHECK(object->id >= 1 && object->id <= info->total_objects);
    region region = measure(labels, info->width, info->height, object->id);
    if (!CHECK(region.area > 0)) return;
    CHECK_INT(object->area, region.area);
    CHECK_INT(object->x, region.left);
    CHECK_INT(object->y, region.top);
    CHECK_INT(object->width, region.right - region.left + 1);
    CHECK_INT(object->height, region.bottom - region.top + 1);
    /* Float: 24 bits of up to `width`. */
    CHECK_NEAR((double)object->centroid_x, (double)region.sum_x / (double)region.area,
               1e-6 * info->width);
    CHECK_NEAR((double)object->centroid_y, (double)region.sum_y / (double)region.area,
               1e-6 * info->height);
    CHECK(object->confidence >= 0 && object->confidence <= 1);
    CHECK(object->objectness >= 0 && object->objectness <= 1);
    CHECK(object->first_frame >= 0 && object->first_frame <= info->frame_index);
}

/* Run lengths, column by column, starting with zeros: drawn again, they give
 * the mask. */
static void check_rle(const covey_result *result, const uint16_t *labels,
                      const covey_result_info *info, int32_t id)
{
    size_t needed = 0, count = 0;
    const size_t pixels = (size_t)info->width * (size_t)info->height;
    covey_status status = covey_result_get_rle(result, id, NULL, 0, &needed);
    CHECK_STATUS(status, COVEY_ERROR_CAPACITY);
    if (!CHECK(needed >= 1 && needed <= pixels + 1)) return;
    uint32_t *runs = take((needed + 1) * sizeof *runs);
    memset(runs, 0xFF, (needed + 1) * sizeof *runs);
    if (needed > 1) {
        CHECK_STATUS(covey_result_get_rle(result, id, runs, needed - 1, &count),
                     COVEY_ERROR_CAPACITY);
        CHECK_INT(count, needed);
        for (size_t i = 0; i <= needed; i++)
            if (!CHECK_INT(runs[i], UINT32_MAX)) break;
    }
    CHECK_OK(covey_result_get_rle(result, id, runs, needed, &count));
    CHECK_INT(count, needed);
    CHECK_INT(runs[needed], UINT32_MAX);
    CHECK_OK(covey_result_get_rle(result, id, runs, needed + 1, &count));
    CHECK_INT(count, needed);
    CHECK_INT(runs[needed], UINT32_MAX);

    size_t at = 0, wrong = 0;
    for (size_t run = 0; run < count; run++) {
        if (run > 0) CHECK(runs[run] > 0);
        for (uint32_t i = 0; i < runs[run] && at < pixels; i++, at++) {
            size_t x = at / (size_t)info->height, y = at % (size_t)info->height;
            wrong += (labels[y * (size_t)info->width + x] == id) != (run % 2 == 1);
        }
    }
    CHECK_INT(at, pixels);
    CHECK_INT(wrong, 0);
    free(runs);
}

static void check_result(const covey_result *result, int64_t *first_frames)
{
    covey_result_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_result_get_info(result, &info));
    const uint16_t *labels = covey_result_labels(result);
    const size_t pixels = (size_t)info.width * (size_t)info.height;
    CHECK(info.total_clusters >= info.total_objects);
    int32_t present = 0;
    for (int32_t id = 1; id <= info.total_objects; id++)
        present += measure(labels, info.width, info.height, id).area > 0;
    CHECK_INT(info.object_count, present);
    CHECK(largest_label(labels, pixels) <= info.total_objects);

    int64_t before = INT64_MAX;
    uint8_t *seen = take((size_t)info.total_objects + 1);
    memset(seen, 0, (size_t)info.total_objects + 1);
    for (int32_t i = 0; i < info.object_count; i++) {
        covey_object object = { .struct_size = sizeof object };
        CHECK_OK(covey_result_get_object(result, i, &object));
        check_object(&object, labels, &info);
        CHECK(object.area <= before);
        before = object.area;
        if (object.id < 1 || object.id > info.total_objects) continue;
        CHECK_INT(seen[object.id], 0);
        seen[object.id] = 1;
        /* Where a frame comes in order, the id was first seen there or before. */
        if (first_frames[object.id] < 0) first_frames[object.id] = info.frame_index;
        CHECK_INT(object.first_frame, first_frames[object.id]);
    }
    free(seen);
    for (int32_t id = 0; id <= info.total_objects; id++) check_rle(result, labels, &info, id);

    /* An id that is nowhere: one run of zeros. */
    uint32_t run[2] = { 0, 0 };
    size_t count = 0;
    for (int32_t id = 65534; id <= 65535; id++) {
        CHECK_OK(covey_result_get_rle(result, id, run, 1, &count));
        CHECK_INT(count, 1);
        CHECK_INT(run[0], pixels);
    }
}

static void test_contents(const subject *subject, covey_output output)
{
    check_topic("result, output %d", output);
    covey_session_options options = subject->options;
    options.output = output;
    video video = subject_video(subject, 5, 1);
    covey_session *session = new_session(subject, &options);
    push_video(session, &video);
    CHECK_OK(covey_session_finish(session));
    int64_t *first_frames = take(65536 * sizeof *first_frames);
    for (int i = 0; i < 65536; i++) first_frames[i] = -1;
    covey_result *result = NULL;
    while (covey_session_next(session, &result) == COVEY_OK) {
        check_result(result, first_frames);
        covey_result_free(result);
    }
    free(first_frames);
    covey_session_free(session);
    free_video(&video);
}

static void test_refused(const subject *subject)
{
    check_topic("result, refused");
    video video = subject_video(subject, 1, 1);
    covey_session *session = new_session(subject, &subject->options);
    push_video(session, &video);
    CHECK_OK(covey_session_finish(session));
    covey_result *result = NULL;
    CHECK_OK(covey_session_next(session, &result));
    covey_session_free(session);
    covey_result_info info = { .struct_size = sizeof info };
    covey_object object = { .struct_size = sizeof object };
    uint32_t runs[4];
    size_t count = 77;
    CHECK_STATUS(covey_result_get_info(NULL, &info), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_info(result, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_object(NULL, 0, &object), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_object(result, 0, NULL), COVEY_ERROR_ARGUMENT);
    CHECK(covey_result_labels(NULL) == NULL);
    CHECK(covey_result_labels(result) != NULL);
    CHECK(covey_result_labels(result) == covey_result_labels(result));
    CHECK_STATUS(covey_result_get_rle(NULL, 1, runs, 4, &count), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_rle(result, 1, runs, 4, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_rle(result, 1, NULL, 4, &count), COVEY_ERROR_ARGUMENT);
    covey_result_free(NULL);

    CHECK_OK(covey_result_get_info(result, &info));
    const int32_t outside[] = { info.object_count, -1, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        CHECK_STATUS(covey_result_get_object(result, outside[i], &object), COVEY_ERROR_ARGUMENT);
        CHECK_INT(object.area, 0);
    }
    const int32_t ids[] = { -1, 65536, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        CHECK_STATUS(covey_result_get_rle(result, ids[i], runs, 4, &count), COVEY_ERROR_ARGUMENT);

    struct { covey_result_info info; uint8_t beyond[8]; } large_info;
    struct { covey_object object; uint8_t beyond[8]; } large_object;
    memset(&large_info, 0x33, sizeof large_info);
    memset(&large_object, 0x33, sizeof large_object);
    large_info.info.struct_size = sizeof large_info;
    large_object.object.struct_size = sizeof large_object;
    CHECK_OK(covey_result_get_info(result, &large_info.info));
    CHECK_OK(covey_result_get_object(result, 0, &large_object.object));
    for (int i = 0; i < 8; i++) CHECK(large_info.beyond[i] == 0 && large_object.beyond[i] == 0);
    CHECK_INT(large_info.info.width, video.width);
    large_info.info.struct_size = large_object.object.struct_size = 0;
    CHECK_STATUS(covey_result_get_info(result, &large_info.info), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_object(result, 0, &large_object.object), COVEY_ERROR_ARGUMENT);
    covey_result_free(result);
    free_video(&video);
}

void test_result(const subject *subject)
{
    test_contents(subject, COVEY_OUTPUT_CLUSTERS);
    test_contents(subject, COVEY_OUTPUT_OBJECTS);
    test_refused(subject);
}
