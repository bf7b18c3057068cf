#include "examine.h"

#include "check.h"
#include "small.h"
#include "video.h"

#include <math.h>
#include <stdlib.h>

/* ---- Models ----------------------------------------------------------------------- */

bool is_text(const char *text)
{
    for (const uint8_t *at = (const uint8_t *)text; *at;) {
        const int more = *at < 0x80 ? 0 : *at < 0xC2 ? -1 : *at < 0xE0 ? 1 : *at < 0xF0 ? 2
                       : *at < 0xF5                                          ? 3
                                                                             : -1;
        if (more < 0) return false;
        at++;
        for (int i = 0; i < more; i++, at++)
            if ((*at & 0xC0) != 0x80) return false;
    }
    return true;
}

covey_model_info examine_model(const covey_model *model)
{
    covey_model_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_model_get_info(model, &info));
    CHECK(is_text(info.name));
    CHECK(info.patch_size >= 1 && info.embed_dim >= 8 && info.depth >= 1 && info.heads >= 1);
    CHECK(info.parameter_count > 0 && info.weight_bytes > 0 && info.tau > 0 && info.reference_tau > 0);
    for (size_t i = 0; i < covey_model_metadata_count(model); i++) {
        const char *key = NULL, *value = NULL;
        CHECK_OK(covey_model_metadata_at(model, i, &key, &value));
        CHECK(*key && is_text(key) && is_text(value));
    }
    int64_t bytes = 0;
    for (size_t i = 0; i < covey_model_tensor_count(model); i++) {
        covey_tensor_info tensor = { .struct_size = sizeof tensor };
        CHECK_OK(covey_model_tensor_at(model, i, &tensor));
        int64_t size = tensor.dtype == COVEY_DTYPE_F32 ? 4 : tensor.dtype == COVEY_DTYPE_F16 ? 2 : 1;
        for (int k = 0; k < tensor.dimension_count; k++) size *= tensor.sizes[k];
        CHECK_INT(tensor.bytes, size);
        CHECK(*tensor.name && is_text(tensor.name));
        bytes += size;
    }
    CHECK_INT(bytes, info.weight_bytes);
    return info;
}

/* ---- Results ---------------------------------------------------------------------- */

static bool is_fraction(float value) { return value >= 0 && value <= 1; }

/* The runs of an id are those of the labels, column by column. */
static void examine_runs(const covey_result *result, int32_t id, const covey_result_info *info)
{
    const uint16_t *labels = covey_result_labels(result);
    size_t count = 0, again = 0, at = 0;
    covey_status status = covey_result_get_rle(result, id, NULL, 0, &count);
    CHECK_STATUS(status, COVEY_ERROR_CAPACITY);
    uint32_t *counts = take((count + 1) * sizeof *counts);
    if (count > 1) CHECK_STATUS(covey_result_get_rle(result, id, counts, count - 1, &again),
                                COVEY_ERROR_CAPACITY);
    CHECK_OK(covey_result_get_rle(result, id, counts, count, &again));
    CHECK_INT(again, count);
    for (size_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < counts[i]; k++, at++) {
            const size_t x = at / (size_t)info->height, y = at % (size_t)info->height;
            if (x >= (size_t)info->width ||
                (labels[y * (size_t)info->width + x] == id) != (i % 2 == 1)) {
                CHECK(!"a run is not of the labels");
                i = count;
                break;
            }
        }
    }
    CHECK_INT(at, (size_t)info->width * (size_t)info->height);
    free(counts);
}

/* The exact outline encloses as many pixels as have the id. */
static void examine_outline(const covey_result *result, int32_t id, int64_t area)
{
    size_t points = 0, rings = 0;
    float none;
    uint32_t end;
    covey_status status = covey_result_get_polygons(result, id, 0, NULL, 0, &points, NULL, 0, &rings);
    CHECK_STATUS(status, area > 0 ? COVEY_ERROR_CAPACITY : COVEY_OK);
    float *xy = points ? take(2 * points * sizeof *xy) : &none;
    uint32_t *ends = rings ? take(rings * sizeof *ends) : &end;
    CHECK_OK(covey_result_get_polygons(result, id, 0, xy, points, &points, ends, rings, &rings));
    double twice = 0;
    for (size_t ring = 0, start = 0; ring < rings; start = ends[ring++]) {
        for (size_t i = start; i < ends[ring]; i++) {
            const size_t next = i + 1 < ends[ring] ? i + 1 : start;
            twice += (double)xy[2 * i] * (double)xy[2 * next + 1] -
                     (double)xy[2 * next] * (double)xy[2 * i + 1];
        }
    }
    CHECK_NEAR(fabs(twice), 2.0 * (double)area, 1e-3);
    CHECK_OK(covey_result_get_polygons(result, id, 1.5f, xy, points, &points, ends, rings, &rings));
    if (xy != &none) free(xy);
    if (ends != &end) free(ends);
}

static void examine_objects(const covey_result *result, const covey_result_info *info,
                            const int64_t *areas)
{
    int64_t before = INT64_MAX;
    for (int32_t i = 0; i < info->object_count; i++) {
        covey_object object = { .struct_size = sizeof object };
        CHECK_OK(covey_result_get_object(result, i, &object));
        if (!CHECK(object.id >= 1 && object.id <= info->total_objects && object.area > 0)) return;
        CHECK_INT(object.area, areas[object.id]);
        CHECK(object.area <= before);
        before = object.area;
        CHECK(object.x >= 0 && object.width > 0 && object.x + object.width <= info->width);
        CHECK(object.y >= 0 && object.height > 0 && object.y + object.height <= info->height);
        CHECK(object.centroid_x >= (float)object.x &&
              object.centroid_x <= (float)(object.x + object.width));
        CHECK(is_fraction(object.confidence) && is_fraction(object.objectness));
        CHECK(isfinite(object.motion_x) && isfinite(object.motion_y));
        CHECK(object.first_frame >= 0);
        examine_outline(result, object.id, object.area);
    }
    covey_object object = { .struct_size = sizeof object };
    CHECK_STATUS(covey_result_get_object(result, info->object_count, &object), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_result_get_object(result, -1, &object), COVEY_ERROR_ARGUMENT);
}

uint32_t examine_result(const covey_result *result, const expected_result *expected)
{
    covey_result_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_result_get_info(result, &info));
    CHECK_INT(info.frame_index, expected->frame_index);
    CHECK_INT(info.timestamp, expected->timestamp);
    CHECK_INT(info.width, expected->width);
    CHECK_INT(info.height, expected->height);
    CHECK(info.tau >= 0);       /* refuses NaN */
    CHECK(info.total_objects >= info.object_count && info.total_objects <= 65535);

    const uint16_t *labels = covey_result_labels(result);
    const size_t pixels = (size_t)info.width * (size_t)info.height;
    static int64_t areas[65536];
    int32_t different = 0;
    for (size_t i = 0; i < pixels; i++) areas[labels[i]] = 0;
    for (size_t i = 0; i < pixels; i++)
        different += areas[labels[i]]++ == 0 && labels[i] > 0;
    CHECK_INT(different, info.object_count);
    examine_objects(result, &info, areas);
    examine_runs(result, labels[0], &info);

    int32_t rows = 0, columns = 0;
    const float *confidence = covey_result_get_confidence(result, &rows, &columns);
    const float *motion = covey_result_get_motion(result, &rows, &columns);
    CHECK(rows > 0 && columns > 0);
    for (int32_t i = 0; i < rows * columns; i++)
        if (!CHECK(is_fraction(confidence[i]) && isfinite(motion[2 * i]) && isfinite(motion[2 * i + 1])))
            break;
    return hash_bytes(2166136261u, labels, pixels * sizeof *labels);
}
