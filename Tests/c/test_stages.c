/* covey_encode and covey_correlate. */
#include "check.h"
#include "video.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *encode_frame(const subject *subject, const covey_session_options *options,
                           const covey_frame *frame, size_t count)
{
    covey_grid grid = { .struct_size = sizeof grid };
    float *keys = take(count * sizeof *keys);
    CHECK_OK(covey_encode(subject->model, options, frame, keys, count, NULL, &grid));
    return keys;
}

static void test_encode(const subject *subject)
{
    check_topic("encode");
    video video = subject_video(subject, 2, 1);
    covey_frame frame = video_frame(&video, 0);
    const covey_session_options *options = &subject->options;
    covey_model *const model = subject->model;
    const size_t channels = (size_t)subject->info.embed_dim, count = 48 * channels;
    float *keys = take((count + 1) * sizeof *keys);
    covey_grid grid = { .struct_size = sizeof grid };

    for (size_t i = 0; i <= count; i++) keys[i] = -12345;
    CHECK_STATUS(covey_encode(model, options, &frame, keys, count - 1, NULL, &grid),
                 COVEY_ERROR_CAPACITY);
    CHECK_INT(grid.rows, 6);
    CHECK_INT(grid.columns, 8);
    CHECK_INT(grid.channels, channels);
    CHECK(keys[0] == -12345);
    memset(&grid, 0, sizeof grid);
    grid.struct_size = sizeof grid;
    CHECK_STATUS(covey_encode(model, options, &frame, NULL, 0, NULL, &grid),
                 COVEY_ERROR_CAPACITY);
    CHECK_INT(grid.rows, 6);
    CHECK_OK(covey_encode(model, options, &frame, keys, count, NULL, &grid));
    CHECK(keys[count] == -12345);
    size_t odd = 0, same = 0;
    for (size_t i = 0; i < count; i++) {
        odd += !isfinite(keys[i]) || keys[i] == -12345;
        same += i >= channels && keys[i] == keys[i - channels];
    }
    CHECK_INT(odd, 0);
    CHECK(same < count / 2);

    /* The same again: the same bits; another frame: others. */
    float *again = encode_frame(subject, options, &frame, count);
    CHECK_BYTES(again, keys, count * sizeof *keys);
    free(again);
    frame = video_frame(&video, 1);
    again = encode_frame(subject, options, &frame, count);
    CHECK(memcmp(again, keys, count * sizeof *keys) != 0);
    free(again);

    check_topic("encode, refused");
    CHECK_STATUS(covey_encode(NULL, options, &frame, keys, count, NULL, &grid),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_encode(model, options, NULL, keys, count, NULL, &grid),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_encode(model, options, &frame, NULL, count, NULL, &grid),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_encode(model, options, &frame, keys, count, NULL, NULL),
                 COVEY_ERROR_ARGUMENT);
    grid.struct_size = 0;
    CHECK_STATUS(covey_encode(model, options, &frame, keys, count, NULL, &grid),
                 COVEY_ERROR_ARGUMENT);
    grid.struct_size = sizeof grid;
    frame.width = 0;
    CHECK_STATUS(covey_encode(model, options, &frame, keys, count, NULL, &grid),
                 COVEY_ERROR_ARGUMENT);

    check_topic("saliency");
    frame = video_frame(&video, 0);
    float saliency[49];
    for (int i = 0; i < 49; i++) saliency[i] = -1;
    covey_status status = covey_encode(model, options, &frame, keys, count, saliency, &grid);
    if (subject->info.has_cls_saliency) {
        CHECK_OK(status);
        double sum = 0;
        for (int i = 0; i < 48; i++) {
            CHECK(saliency[i] >= 0);
            sum += (double)saliency[i];
        }
        /* Of a softmax over the patches and the CLS token itself. */
        CHECK(sum > 0 && sum <= 1.00001);
        CHECK(saliency[48] == -1);
    } else {
        CHECK_STATUS(status, COVEY_ERROR_UNSUPPORTED);
        CHECK(saliency[0] == -1);
    }
    free(keys);
    free_video(&video);
}

/* ---- Correlate --------------------------------------------------------------- */

static double scale_of(const float *values, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)values[i]));
    return largest;
}

static double difference(const float *a, const float *b, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double apart = fabs((double)a[i] - (double)b[i]);
        if (!(apart <= largest)) largest = apart;
    }
    return largest;
}

static void test_correlate(const subject *subject)
{
    check_topic("correlate");
    enum { ROWS = 37 };
    const size_t channels = (size_t)subject->info.embed_dim, count = ROWS * channels;
    covey_model *const model = subject->model;
    const covey_session_options *options = &subject->options;
    float *features = take(count * sizeof(float)), *moved = take(count * sizeof(float));
    float *queries = take(count * sizeof(float)), *keys = take(count * sizeof(float));
    float *other = take(count * sizeof(float));
    uint32_t random = 9;
    for (size_t i = 0; i < count; i++) {
        features[i] = (float)next_random(&random) / (1 << 22) - 2;
        /* Layer norm takes out the mean and the scale of each row. */
        moved[i] = 3 * features[i] + (float)(i / channels);
    }
    CHECK_OK(covey_correlate(model, options, features, ROWS, queries, keys));
    const double scale = fmax(scale_of(queries, count), scale_of(keys, count));
    CHECK(scale > 0);
    CHECK(difference(queries, keys, count) > 1e-3 * scale);

    CHECK_OK(covey_correlate(model, options, features, ROWS, other, NULL));
    CHECK_BYTES(other, queries, count * sizeof(float));
    CHECK_OK(covey_correlate(model, options, features, ROWS, NULL, other));
    CHECK_BYTES(other, keys, count * sizeof(float));
    CHECK_OK(covey_correlate(model, NULL, features, ROWS, other, NULL));
    CHECK_BYTES(other, queries, count * sizeof(float));
    /* Rounding of sums of `channels` terms, and eps = 1e-5 beside a variance
     * above 1. */
    CHECK_OK(covey_correlate(model, options, moved, ROWS, other, NULL));
    CHECK_NEAR(difference(other, queries, count), 0, 1e-4 * scale);
    /* Rows know nothing of each other. */
    for (size_t row = 0; row < ROWS; row += 9) {
        CHECK_OK(covey_correlate(model, options, features + row * channels, 1, other, NULL));
        CHECK_NEAR(difference(other, queries + row * channels, channels), 0, 1e-5 * scale);
    }
    /* In place would read what it has written; apart from that, twice is once. */
    CHECK_OK(covey_correlate(model, options, features, ROWS, queries, other));
    CHECK_BYTES(other, keys, count * sizeof(float));

    check_topic("correlate, refused");
    CHECK_STATUS(covey_correlate(NULL, options, features, ROWS, queries, keys),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_correlate(model, options, NULL, ROWS, queries, keys), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_correlate(model, options, features, SIZE_MAX / 2, queries, keys),
                 COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_correlate(model, options, features, SIZE_MAX, queries, keys),
                 COVEY_ERROR_ARGUMENT);
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        features[count - 1] = bad[i];
        CHECK_STATUS(covey_correlate(model, options, features, ROWS, queries, keys),
                     COVEY_ERROR_ARGUMENT);
    }
    /* Finite, however large: whatever comes out, the call ends. */
    for (size_t i = 0; i < count; i++) features[i] = i % 2 ? 3e38f : -3e38f;
    covey_status status = covey_correlate(model, options, features, ROWS, queries, keys);
    CHECK(status == COVEY_OK || status == COVEY_ERROR_ARGUMENT);
    free(features);
    free(moved);
    free(queries);
    free(keys);
    free(other);
}

void test_stages(const subject *subject)
{
    test_encode(subject);
    test_correlate(subject);
}
