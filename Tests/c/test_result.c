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
/* All in one call: the same as one by one, at a caller's stride, and none beyond. */
static void check_all_objects(const covey_result *result, int32_t expected)
{
    struct { covey_object object; uint8_t beyond[24]; } *all, one;
    const size_t count = (size_t)expected;
    all = take((count + 1) * sizeof *all);
    memset(all, 0x77, (count + 1) * sizeof *all);
    all[0].object.struct_size = sizeof *all;
    size_t found = 99;
    CHECK_OK(covey_result_get_objects(result, &all[0].object, count + 1, &found));
    CHECK_INT(found, count);
    for (size_t i = 0; i < count; i++) {
        memset(&one, 0x33, sizeof one);
        one.object.struct_size = sizeof one;
        CHECK_OK(covey_result_get_object(result, (int32_t)i, &one.object));
        CHECK(memcmp(&one, &all[i], sizeof one) == 0);
    }
    const uint8_t *rest = (const uint8_t *)&all[count];
    for (size_t i = count == 0 ? 4 : 0; i < sizeof *all; i++) CHECK_INT(rest[i], 0x77);
    if (count > 0) {
        found = 99;
        CHECK_STATUS(covey_result_get_objects(result, NULL, 0, &found), COVEY_ERROR_CAPACITY);
        CHECK_INT(found, count);
        found = 99;
        CHECK_STATUS(covey_result_get_objects(result, &all[0].object, count - 1, &found),
                     COVEY_ERROR_CAPACITY);
        CHECK_INT(found, count);
    }
    free(all);
}

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

/* Outlines, exact: filled, they give the mask.  Every side is along an axis,
 * and pixels lie inside where an odd number of sides lies left of them. */
static void check_polygons(const covey_result *result, const uint16_t *labels,
                           const covey_result_info *info, int32_t id)
{
    size_t points = 77, rings = 77;
    covey_status status = covey_result_get_polygons(result, id, 0, NULL, 0, &points,
                                                    NULL, 0, &rings);
    const size_t pixels = (size_t)info->width * (size_t)info->height;
    if (points == 0) {
        CHECK_STATUS(status, COVEY_OK);
        CHECK_INT(rings, 0);
        CHECK_INT(measure(labels, info->width, info->height, id).area, 0);
        return;
    }
    CHECK_STATUS(status, COVEY_ERROR_CAPACITY);
    CHECK(points >= 4 && points <= 4 * pixels && rings >= 1 && rings <= points / 4);
    float *xy = take((2 * points + 1) * sizeof *xy);
    uint32_t *ends = take((rings + 1) * sizeof *ends);
    xy[2 * points] = -7;
    ends[rings] = 0xABCDu;
    size_t found = 0, count = 0;
    CHECK_STATUS(covey_result_get_polygons(result, id, 0, xy, points - 1, &found, ends, rings,
                                           &count), COVEY_ERROR_CAPACITY);
    CHECK(found == points && count == rings);
    CHECK_STATUS(covey_result_get_polygons(result, id, 0, xy, points, &found, ends, rings - 1,
                                           &count), COVEY_ERROR_CAPACITY);
    CHECK(found == points && count == rings);
    CHECK_OK(covey_result_get_polygons(result, id, 0, xy, points, &found, ends, rings, &count));
    CHECK(found == points && count == rings);
    CHECK(xy[2 * points] == -7 && ends[rings] == 0xABCDu);
    CHECK_INT(ends[rings - 1], points);

    uint8_t *inside = take(pixels);
    memset(inside, 0, pixels);
    for (size_t ring = 0, start = 0; ring < rings; start = ends[ring++]) {
        for (size_t i = start; i < ends[ring]; i++) {
            size_t next = i + 1 < ends[ring] ? i + 1 : start;
            CHECK((xy[2 * i] == xy[2 * next]) != (xy[2 * i + 1] == xy[2 * next + 1]));
            if (xy[2 * i] != xy[2 * next]) continue;
            int32_t a = (int32_t)xy[2 * i + 1], b = (int32_t)xy[2 * next + 1];
            for (int32_t y = a < b ? a : b; y < (a < b ? b : a); y++)
                for (int32_t x = (int32_t)xy[2 * i]; x < info->width; x++)
                    inside[(size_t)y * (size_t)info->width + (size_t)x] ^= 1;
        }
    }
    size_t wrong = 0;
    for (size_t i = 0; i < pixels; i++) wrong += inside[i] != (labels[i] == id);
    CHECK_INT(wrong, 0);
    free(inside);

    const float tolerances[] = { 0.5f, 3, 1e30f };
    for (size_t i = 0; i < 3; i++) {
        CHECK_OK(covey_result_get_polygons(result, id, tolerances[i], xy, points, &found, ends,
                                           rings, &count));
        CHECK(found <= points && count == rings && found >= 3 * rings);
    }
    free(xy);
    free(ends);
}

static void check_confidence(const covey_result *result)
{
    int32_t rows = 0, columns = 0;
    const float *confidence = covey_result_get_confidence(result, &rows, &columns);
    if (!CHECK(confidence != NULL && rows > 0 && columns > 0)) return;
    CHECK(covey_result_get_confidence(result, NULL, NULL) == confidence);
    for (int32_t i = 0; i < rows * columns; i++)
        if (!CHECK(confidence[i] >= 0 && confidence[i] <= 1)) break;
}

/* That of the objects is the mean of their patches, where patches are their masks. */
static void check_motion(const covey_result *result, bool shows_patches)
{
    int32_t rows = 0, columns = 0;
    const float *motion = covey_result_get_motion(result, &rows, &columns);
    if (!CHECK(motion != NULL && rows > 0 && columns > 0)) return;
    CHECK(covey_result_get_motion(result, NULL, NULL) == motion);
    covey_result_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_result_get_info(result, &info));
    for (int32_t i = 0; i < 2 * rows * columns; i++)
        if (!CHECK(isfinite(motion[i]) && (info.frame_index > 0 || motion[i] == 0))) break;
    if (!shows_patches || info.width < columns || info.height < rows) return;
    const uint16_t *labels = covey_result_labels(result);
    for (int32_t index = 0; index < info.object_count; index++) {
        covey_object object = { .struct_size = sizeof object };
        CHECK_OK(covey_result_get_object(result, index, &object));
        double x = 0, y = 0;
        int32_t patches = 0;
        for (int32_t i = 0; i < rows * columns; i++) {
            /* The first pixel of the patch. */
            const int32_t row = (i / columns * info.height + rows - 1) / rows;
            const int32_t column = (i % columns * info.width + columns - 1) / columns;
            if (labels[row * info.width + column] != object.id) continue;
            x += motion[2 * i];
            y += motion[2 * i + 1];
            patches++;
        }
        CHECK(patches > 0);
        CHECK(fabs(object.motion_x - x / patches) <= 1e-4 * (1 + fabs(x / patches)));
        CHECK(fabs(object.motion_y - y / patches) <= 1e-4 * (1 + fabs(y / patches)));
    }
}

static void check_result(const covey_result *result, covey_mask mask, float min_region,
                         int64_t *first_frames)
{
    check_confidence(result);
    check_motion(result, mask == COVEY_MASK_NEAREST && min_region <= 0);
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
        if (mask == COVEY_MASK_NEAREST) CHECK_INT(object.first_frame, first_frames[object.id]);
        else CHECK(object.first_frame <= first_frames[object.id]);
    }
    free(seen);
    check_all_objects(result, info.object_count);
    for (int32_t id = 0; id <= info.total_objects; id++) {
        check_rle(result, labels, &info, id);
        check_polygons(result, labels, &info, id);
    }

    /* An id that is nowhere: one run of zeros. */
    uint32_t run[2] = { 0, 0 };
    size_t count = 0;
    for (int32_t id = 65534; id <= 65535; id++) {
        CHECK_OK(covey_result_get_rle(result, id, run, 1, &count));
        CHECK_INT(count, 1);
        CHECK_INT(run[0], pixels);
    }
}

static void test_contents(const subject *subject, covey_output output, covey_mask mask,
                          float min_region)
{
    check_topic("result, output %d, mask %d, regions of %g", output, mask, (double)min_region);
    covey_session_options options = subject->options;
    options.output = output;
    options.mask = mask;
    options.min_region = min_region;
    video video = subject_video(subject, 5, 1);
    covey_session *session = new_session(subject, &options);
    push_video(session, &video);
    CHECK_OK(covey_session_finish(session));
    int64_t *first_frames = take(65536 * sizeof *first_frames);
    for (int i = 0; i < 65536; i++) first_frames[i] = -1;
    covey_result *result = NULL;
    while (covey_session_next(session, &result) == COVEY_OK) {
        check_result(result, mask, min_region, first_frames);
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
    CHECK_STATUS(covey_result_get_objects(NULL, &object, 1, &count), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_objects(result, NULL, 1, &count), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_objects(result, &object, 1, NULL), COVEY_ERROR_ARGUMENT);
    object.struct_size = 0;
    CHECK_STATUS(covey_result_get_objects(result, &object, 1, &count), COVEY_ERROR_ARGUMENT);
    object.struct_size = 5000;
    CHECK_STATUS(covey_result_get_objects(result, &object, 1, &count), COVEY_ERROR_VERSION);
    object.struct_size = sizeof object;
    CHECK_INT(count, 77);
    CHECK(covey_result_labels(NULL) == NULL);
    CHECK(covey_result_labels(result) != NULL);
    CHECK(covey_result_labels(result) == covey_result_labels(result));
    CHECK_STATUS(covey_result_get_rle(NULL, 1, runs, 4, &count), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_rle(result, 1, runs, 4, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_rle(result, 1, NULL, 4, &count), COVEY_ERROR_ARGUMENT);
    float xy[8];
    uint32_t ends[4];
    size_t rings = 77;
    count = 77;
    CHECK_STATUS(covey_result_get_polygons(NULL, 1, 0, xy, 4, &count, ends, 4, &rings),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_polygons(result, 1, 0, xy, 4, NULL, ends, 4, &rings),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_polygons(result, 1, 0, xy, 4, &count, ends, 4, NULL),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_polygons(result, 1, 0, NULL, 4, &count, ends, 4, &rings),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_polygons(result, 1, 0, xy, 4, &count, NULL, 4, &rings),
                 COVEY_ERROR_ARGUMENT);
    const float tolerances[] = { -1, -1e-30f, NAN, INFINITY, -INFINITY };
    for (size_t i = 0; i < 5; i++)
        CHECK_STATUS(covey_result_get_polygons(result, 1, tolerances[i], xy, 4, &count, ends, 4,
                                               &rings), COVEY_ERROR_ARGUMENT);
    CHECK(count == 77 && rings == 77);
    CHECK_OK(covey_result_get_polygons(result, 65535, 0, NULL, 0, &count, NULL, 0, &rings));
    CHECK(count == 0 && rings == 0);
    CHECK(covey_result_get_confidence(NULL, NULL, NULL) == NULL);
    CHECK(covey_result_get_motion(NULL, NULL, NULL) == NULL);
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
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        CHECK_STATUS(covey_result_get_polygons(result, ids[i], 0, xy, 4, &count, ends, 4, &rings),
                     COVEY_ERROR_ARGUMENT);

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
    const covey_mask masks[] = { COVEY_MASK_REFINED, COVEY_MASK_BILINEAR, COVEY_MASK_NEAREST };
    for (size_t i = 0; i < 3; i++) {
        test_contents(subject, COVEY_OUTPUT_CLUSTERS, masks[i], 0);
        test_contents(subject, COVEY_OUTPUT_OBJECTS, masks[i], i == 1 ? 0 : 0.02f);
    }
    test_refused(subject);
}
