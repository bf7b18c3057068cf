/* Session options: sizes of the struct, ranges, and what they do. */
#include "check.h"
#include "video.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Out of range ---------------------------------------------------------- */

typedef struct wrong_value {
    const char *field;
    size_t      offset;
    int64_t     integer;    /* of the size of the field                       */
    float       number;     /* where `is_float`                               */
    bool        is_float;
    double      wide;       /* of a double                                    */
} wrong_value;

#define INTEGER(field, value) { #field, offsetof(covey_session_options, field), value, 0, false, 0 }
#define NUMBER(field, value) { #field, offsetof(covey_session_options, field), 0, value, true, 0 }
#define DOUBLE(field, value) { #field, offsetof(covey_session_options, field), 0, 0, true, value }

static const wrong_value wrong_values[] = {
    INTEGER(threads, -1),        INTEGER(threads, 257),          INTEGER(threads, INT32_MIN),
    INTEGER(threads, INT32_MAX), INTEGER(working_height, -1),    INTEGER(working_height, -64),
    INTEGER(working_width, -1),  INTEGER(working_width, -64),    INTEGER(working_width, INT32_MIN),
    INTEGER(window, -1),         INTEGER(window, 65),            INTEGER(window, INT32_MIN),
    INTEGER(key_stride, -1),     INTEGER(key_stride, 10001),     INTEGER(key_stride, INT32_MAX),
    INTEGER(key_pool, -1),       INTEGER(key_pool, 65),          INTEGER(key_pool, INT32_MAX),
    INTEGER(key_rounding, 3),    INTEGER(key_rounding, 99),      INTEGER(key_rounding, -1),
    INTEGER(output, 3),          INTEGER(output, 99),            INTEGER(output, -1),
    INTEGER(mode, 2),            INTEGER(mode, -1),              INTEGER(mode, INT32_MAX),
    INTEGER(streaming, 2),       INTEGER(streaming, -1),         INTEGER(streaming, INT32_MIN),
    INTEGER(query_pool, -1),     INTEGER(query_pool, 65),        INTEGER(query_pool, INT32_MAX),
    INTEGER(key_budget, -1),     INTEGER(key_budget, 1000001),   INTEGER(key_budget, INT32_MIN),
    INTEGER(target_clusters, -1),          INTEGER(target_clusters, 1025),
    INTEGER(target_clusters, INT32_MAX),   INTEGER(max_clusters, -1),
    INTEGER(max_clusters, 65536),          INTEGER(max_clusters, INT32_MIN),
    INTEGER(bank_clusters, -1),  INTEGER(bank_clusters, 1025),   INTEGER(bank_clusters, INT32_MAX),
    INTEGER(mask, 3),            INTEGER(mask, INT32_MAX),       INTEGER(mask, -1),
    NUMBER(min_region, 1),       NUMBER(min_region, 1.5f),       NUMBER(min_region, NAN),
    NUMBER(min_region, INFINITY),
    INTEGER(keep_shots, 2),      INTEGER(keep_shots, -1),        INTEGER(keep_shots, INT32_MIN),
    INTEGER(affinity, 3),        INTEGER(affinity, 99),          INTEGER(affinity, -1),
    INTEGER(max_objects, -1),    INTEGER(max_objects, 65536),    INTEGER(max_objects, INT32_MIN),
    INTEGER(memory_limit, -1),   INTEGER(memory_limit, INT64_MIN),
    NUMBER(tau, -1e-6f),         NUMBER(tau, 1000.001f),         NUMBER(tau, NAN),
    NUMBER(tau, INFINITY),       NUMBER(tau, -INFINITY),
    NUMBER(min_area, 1),         NUMBER(min_area, 1.5f),         NUMBER(min_area, NAN),
    NUMBER(min_area, INFINITY),
    DOUBLE(least_objectness, -0.001), DOUBLE(least_objectness, 1),
    DOUBLE(least_objectness, NAN),    DOUBLE(least_objectness, INFINITY),
};

static covey_session_options with_wrong_value(const subject *subject, const wrong_value *wrong)
{
    covey_session_options options = subject->options;
    uint8_t *field = (uint8_t *)&options + wrong->offset;
    int32_t narrow = (int32_t)wrong->integer;
    if (wrong->offset == offsetof(covey_session_options, least_objectness))
        memcpy(field, &wrong->wide, sizeof wrong->wide);
    else if (wrong->is_float) memcpy(field, &wrong->number, sizeof wrong->number);
    else if (wrong->offset == offsetof(covey_session_options, memory_limit))
        memcpy(field, &wrong->integer, sizeof wrong->integer);
    else memcpy(field, &narrow, sizeof narrow);
    return options;
}

/* Every function that takes options refuses the same ones. */
static void check_refused(const subject *subject, const covey_session_options *options,
                          covey_status expected, const char *part)
{
    video video = subject_video(subject, 1, 1);
    covey_frame frame = video_frame(&video, 0);
    covey_session *session = NULL;
    covey_memory memory = { .struct_size = sizeof memory };
    covey_grid grid = { .struct_size = sizeof grid };
    uint16_t *labels = take(video_size(&video) * sizeof *labels);
    size_t channels = (size_t)subject->info.embed_dim, capacity = 64 * channels;
    float *keys = take(capacity * sizeof *keys), *queries = take(channels * sizeof *queries);
    memset(keys, 0, capacity * sizeof *keys);

    CHECK_ERROR(covey_session_create(subject->model, options, &session), expected, part);
    CHECK(session == NULL);
    CHECK_ERROR(covey_estimate_memory(subject->model, options, video.width, video.height, 4,
                                      &memory), expected, part);
    CHECK_ERROR(covey_segment(subject->model, options, &frame, 1, labels, video_size(&video), NULL),
                expected, part);
    CHECK_ERROR(covey_encode(subject->model, options, &frame, keys, capacity, NULL, &grid),
                expected, part);
    CHECK_ERROR(covey_correlate(subject->model, options, keys, 1, queries, NULL), expected, part);
    free(labels);
    free(keys);
    free(queries);
    free_video(&video);
}

static void test_ranges(const subject *subject)
{
    for (size_t i = 0; i < sizeof wrong_values / sizeof *wrong_values; i++) {
        const wrong_value *wrong = &wrong_values[i];
        check_topic("%s = %lld or %g", wrong->field, (long long)wrong->integer,
                    (double)wrong->number);
        covey_session_options options = with_wrong_value(subject, wrong);
        check_refused(subject, &options, COVEY_ERROR_ARGUMENT, wrong->field);
    }
    if (subject->patch > 1) {
        check_topic("working size is no multiple of the patch size");
        covey_session_options options = subject->options;
        options.working_width = 8 * subject->patch + 1;
        check_refused(subject, &options, COVEY_ERROR_ARGUMENT, "working");
        options = subject->options;
        options.working_height = subject->patch - 1;
        check_refused(subject, &options, COVEY_ERROR_ARGUMENT, "working");
    }
    check_topic("what only the edge mode has");
    for (int i = 0; i < 4; i++) {
        covey_session_options options = subject->options;
        options.mode = COVEY_MODE_REFERENCE;
        if (i == 0) options.streaming = 1;
        if (i == 1) options.query_pool = 4;
        if (i == 2) options.target_clusters = 3;
        if (i == 3) options.max_clusters = 3;
        static const char *const fields[] = { "streaming", "query_pool", "target_clusters",
                                              "max_clusters" };
        check_refused(subject, &options, COVEY_ERROR_ARGUMENT, fields[i]);
        CHECK(strstr(covey_last_error(), "reference") != NULL);
    }
    check_topic("a stream of so many clusters");
    covey_session_options both = subject->options;
    both.streaming = 1;
    both.target_clusters = 5;
    check_refused(subject, &both, COVEY_ERROR_ARGUMENT, "target_clusters");
    check_topic("enormous working size");
    covey_session_options options = subject->options;
    options.working_width = options.working_height = INT32_MAX / subject->patch * subject->patch;
    covey_session *session = NULL;
    covey_status status = covey_session_create(subject->model, &options, &session);
    CHECK(status == COVEY_ERROR_ARGUMENT || status == COVEY_ERROR_MEMORY);
    covey_session_free(session);
}

static void test_limits_themselves(const subject *subject)
{
    check_topic("largest values");
    covey_session_options options = subject->options;
    options.window = 64;
    options.key_stride = 10000;
    options.key_pool = 64;
    options.key_rounding = COVEY_KEYS_FLOOR;
    options.tau = 1000;
    options.max_objects = 65535;
    options.min_area = 0.999f;
    options.memory_limit = INT64_MAX;
    options.query_pool = 64;
    options.key_budget = 1000000;
    options.max_clusters = 65535;
    options.bank_clusters = 1024;
    video video = subject_video(subject, 3, 1);
    uint16_t *labels = run_video(subject, &options, &video);
    CHECK_INT(largest_label(labels, video_size(&video)), 1);
    free(labels);
    options.streaming = 1;
    labels = run_video(subject, &options, &video);
    CHECK_INT(largest_label(labels, video_size(&video)), 1);
    free(labels);
    options.streaming = 0;
    options.target_clusters = 1024;
    free(run_video(subject, &options, &video));
    options.target_clusters = 0;
    options.threads = subject->quick ? 8 : 256;
    labels = run_video(subject, &options, &video);
    CHECK_INT(largest_label(labels, video_size(&video)), 1);
    free(labels);
    free_video(&video);
}

/* ---- The struct ------------------------------------------------------------ */

static void test_struct_sizes(const subject *subject)
{
    check_topic("options struct_size");
    struct {
        covey_session_options options;
        uint8_t               beyond[24];
    } grown;
    covey_session *session = NULL;
    memset(&grown, 0, sizeof grown);
    check_refused(subject, &grown.options, COVEY_ERROR_ARGUMENT, "struct_size");
    grown.options.struct_size = 3;
    check_refused(subject, &grown.options, COVEY_ERROR_ARGUMENT, "struct_size");
    grown.options = subject->options;
    grown.options.struct_size = sizeof grown;
    CHECK_OK(covey_session_create(subject->model, &grown.options, &session));
    covey_session_free(session);
    for (size_t i = 0; i < sizeof grown.beyond; i += sizeof grown.beyond - 1) {
        grown.beyond[i] = 1;
        check_topic("options with byte %d beyond", (int)i);
        check_refused(subject, &grown.options, COVEY_ERROR_VERSION, "");
        grown.beyond[i] = 0;
    }
    /* Callers as old as can be, and those before the modes. */
    for (uint32_t size = 72; size <= 80; size += 8) {
        check_topic("options of %u bytes", size);
        grown.options = subject->options;
        memset((uint8_t *)&grown.options + size, 0xFF, sizeof grown - size);
        grown.options.struct_size = size;
        session = NULL;
        CHECK_OK(covey_session_create(subject->model, &grown.options, &session));
        covey_session_free(session);
    }
    grown.options = subject->options;
    grown.options.struct_size = 71;
    check_refused(subject, &grown.options, COVEY_ERROR_ARGUMENT, "struct_size");
    grown.options = subject->options;
    /* What is beyond struct_size is not looked at. */
    memset(grown.beyond, 0xFF, sizeof grown.beyond);
    grown.options.struct_size = sizeof grown.options;
    session = NULL;
    CHECK_OK(covey_session_create(subject->model, &grown.options, &session));
    covey_session_free(session);
}

static void test_init(void)
{
    check_topic("options_init");
    union {
        covey_session_options options;
        uint8_t               bytes[2 * sizeof(covey_session_options)];
    } place;
    for (size_t size = sizeof(uint32_t); size <= sizeof place; size += 4) {
        memset(&place, 0xCD, sizeof place);
        covey_session_options_init(&place.options, size);
        CHECK_INT(place.options.struct_size, size);
        for (size_t i = 4; i < sizeof place; i++)
            if (!CHECK_INT(place.bytes[i], i < size ? 0 : 0xCD)) break;
    }
    /* No room even for struct_size: nothing may be written beyond. */
    for (size_t size = 0; size < sizeof(uint32_t); size++) {
        memset(&place, 0xCD, sizeof place);
        covey_session_options_init(&place.options, size);
        for (size_t i = size; i < sizeof place; i++)
            if (!CHECK_INT(place.bytes[i], 0xCD)) break;
    }
    covey_session_options_init(NULL, sizeof place.options);

    check_topic("other inits");
    covey_frame frame;
    covey_object object;
    covey_result_info info;
    memset(&frame, 0xCD, sizeof frame);
    memset(&object, 0xCD, sizeof object);
    memset(&info, 0xCD, sizeof info);
    covey_frame_init(&frame, sizeof frame);
    covey_object_init(&object, sizeof object);
    covey_result_info_init(&info, sizeof info);
    CHECK(frame.struct_size == sizeof frame && object.struct_size == sizeof object &&
          info.struct_size == sizeof info);
    frame.struct_size = object.struct_size = info.struct_size = 0;
    for (size_t i = 0; i < sizeof frame; i++) CHECK_INT(((uint8_t *)&frame)[i], 0);
    for (size_t i = 0; i < sizeof object; i++) CHECK_INT(((uint8_t *)&object)[i], 0);
    for (size_t i = 0; i < sizeof info; i++) CHECK_INT(((uint8_t *)&info)[i], 0);
    covey_frame_init(NULL, sizeof frame);
    covey_object_init(NULL, sizeof object);
    covey_result_info_init(NULL, sizeof info);
}

/* ---- What they do ---------------------------------------------------------- */

static void test_defaults(const subject *subject)
{
    check_topic("defaults");
    /* Zero is the model's value: naming that value changes nothing. */
    covey_session_options named = subject->options, zero = subject->options;
    zero.tau = 0;
    zero.window = zero.key_stride = zero.key_pool = 0;
    named.tau = subject->info.tau;
    named.window = subject->info.window;
    named.key_stride = subject->info.key_stride;
    named.key_pool = subject->info.key_pool;
    zero.query_pool = 0;
    named.query_pool = 4;
    named.key_budget = 8;
    named.bank_clusters = 64;
    video video = subject_video(subject, 5, 4);
    uint16_t *a = run_video(subject, &zero, &video), *b = run_video(subject, &named, &video);
    CHECK_BYTES(a, b, video_size(&video) * sizeof *a);
    free(a);
    free(b);
    check_topic("defaults of the reference mode");
    zero.mode = named.mode = COVEY_MODE_REFERENCE;
    named.tau = subject->info.reference_tau;
    named.key_rounding = COVEY_KEYS_FLOOR;
    named.query_pool = named.key_pool = 1;
    named.key_budget = 1000000;
    a = run_video(subject, &zero, &video);
    b = run_video(subject, &named, &video);
    CHECK_BYTES(a, b, video_size(&video) * sizeof *a);
    free(a);
    free(b);

    /* No options at all, on frames that are small beside the model's size. */
    covey_grid grid = { .struct_size = sizeof grid };
    covey_frame frame = video_frame(&video, 0);
    const int32_t rows = subject->info.working_height / subject->patch;
    const int32_t columns = subject->info.working_width / subject->patch;
    CHECK_STATUS(covey_encode(subject->model, NULL, &frame, NULL, 0, NULL, &grid),
                 COVEY_ERROR_CAPACITY);
    CHECK_INT(grid.rows, rows);
    CHECK_INT(grid.columns, columns);
    free_video(&video);

    check_topic("upright frames");
    video = make_video(3 * subject->patch, 5 * subject->patch, 1, 1);
    frame = video_frame(&video, 0);
    CHECK_STATUS(covey_encode(subject->model, NULL, &frame, NULL, 0, NULL, &grid),
                 COVEY_ERROR_CAPACITY);
    CHECK_INT(grid.rows, rows > columns ? rows : columns);
    CHECK_INT(grid.columns, rows > columns ? columns : rows);

    check_topic("one side given");
    covey_session_options options = subject->options;
    options.working_height = 10 * subject->patch;
    options.working_width = 0;
    CHECK_STATUS(covey_encode(subject->model, &options, &frame, NULL, 0, NULL, &grid),
                 COVEY_ERROR_CAPACITY);
    CHECK_INT(grid.rows, 10);
    CHECK_INT(grid.columns, 6);
    options.working_width = 6 * subject->patch;
    options.working_height = 0;
    CHECK_STATUS(covey_encode(subject->model, &options, &frame, NULL, 0, NULL, &grid),
                 COVEY_ERROR_CAPACITY);
    CHECK_INT(grid.rows, 10);
    CHECK_INT(grid.columns, 6);
    free_video(&video);
}

/* The frames' own size: to the nearest number of patches, of which there is always one. */
static void test_size_of_frames(const subject *subject)
{
    const int32_t patch = subject->patch;
    const int32_t sizes[][4] = {        /* height, width; rows, columns              */
        { 5 * patch, 3 * patch, 5, 3 },
        { 4 * patch + (patch - 1) / 2, 2 * patch + patch / 2 + 1, 4, 3 },
        { 1, 7 * patch, 1, 7 },
    };
    covey_session_options options = subject->options;
    options.working_height = options.working_width = -1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_topic("working size of frames of %d x %d", sizes[i][0], sizes[i][1]);
        video video = make_video(sizes[i][1], sizes[i][0], 3, 1);
        covey_frame frame = video_frame(&video, 0);
        covey_grid grid = { .struct_size = sizeof grid };
        CHECK_STATUS(covey_encode(subject->model, &options, &frame, NULL, 0, NULL, &grid),
                     COVEY_ERROR_CAPACITY);
        CHECK_INT(grid.rows, sizes[i][2]);
        CHECK_INT(grid.columns, sizes[i][3]);

        covey_session_options named = options;
        named.working_height = grid.rows * patch;
        named.working_width = grid.columns * patch;
        uint16_t *found = run_video(subject, &options, &video);
        uint16_t *expected = run_video(subject, &named, &video);
        CHECK_BYTES(found, expected, video_size(&video) * sizeof *found);
        covey_memory estimate = { .struct_size = sizeof estimate }, same = estimate;
        CHECK_OK(covey_estimate_memory(subject->model, &options, video.width, video.height, 3, &estimate));
        CHECK_OK(covey_estimate_memory(subject->model, &named, video.width, video.height, 3, &same));
        CHECK_INT(estimate.peak, same.peak);
        free(found);
        free(expected);
        free_video(&video);
    }
    /* What a trainer learns from has one size. */
    covey_trainer_options training;
    covey_trainer *trainer = NULL;
    covey_trainer_options_init(&training, sizeof training);
    training.working_height = training.working_width = -1;
    CHECK_ERROR(covey_trainer_create(subject->model, &training, &trainer), COVEY_ERROR_ARGUMENT,
                "working_height");
}

static void test_effects(const subject *subject)
{
    video video = subject_video(subject, 6, 1);
    const size_t size = video_size(&video);
    covey_session_options options = subject->options;
    options.mask = COVEY_MASK_NEAREST;      /* every cluster keeps its pixels */

    check_topic("clusters");
    uint16_t *labels = run_video(subject, &options, &video);
    const int32_t clusters = largest_label(labels, size);
    uint8_t *seen = take((size_t)clusters + 1);
    memset(seen, 0, (size_t)clusters + 1);
    for (size_t i = 0; i < size; i++) seen[labels[i]] = 1;
    CHECK_INT(seen[0], 0);
    for (int32_t id = 1; id <= clusters; id++) CHECK_INT(seen[id], 1);
    free(seen);

    check_topic("objects");
    options.output = COVEY_OUTPUT_OBJECTS;
    uint16_t *objects = run_video(subject, &options, &video);
    const int32_t count = largest_label(objects, size);
    /* Ids are 1, 2, ... and each is somewhere. */
    seen = take((size_t)count + 1);
    memset(seen, 0, (size_t)count + 1);
    for (size_t i = 0; i < size; i++) seen[objects[i]] = 1;
    for (int32_t id = 1; id <= count; id++) CHECK_INT(seen[id], 1);
    free(seen);

    check_topic("max_objects");
    for (int32_t most = 1; most <= 2; most++) {
        options.max_objects = most;
        uint16_t *few = run_video(subject, &options, &video);
        CHECK_INT(largest_label(few, size), most < count ? most : count);
        free(few);
    }
    check_topic("min_area");
    options.max_objects = 0;
    options.min_area = 0.9999f;
    uint16_t *none = run_video(subject, &options, &video);
    CHECK_INT(largest_label(none, size), 0);
    free(none);

    check_topic("key_rounding");
    options = subject->options;
    options.key_stride = 3;         /* 6 frames: the same two keys            */
    uint16_t *ceiling = run_video(subject, &options, &video);
    options.key_rounding = COVEY_KEYS_FLOOR;
    uint16_t *floor = run_video(subject, &options, &video);
    CHECK_BYTES(floor, ceiling, size * sizeof *floor);
    free(floor);
    free(ceiling);
    /* 6 frames, one key or two: what 0 stands for is the mode's to say. */
    options.key_stride = 4;
    for (int reference = 0; reference < 2; reference++) {
        options.mode = reference ? COVEY_MODE_REFERENCE : COVEY_MODE_EDGE;
        options.key_rounding = COVEY_KEYS_CEIL;
        uint16_t *left_open = run_video(subject, &options, &video);
        options.key_rounding = reference ? COVEY_KEYS_FLOOR : COVEY_KEYS_CEIL_ALWAYS;
        uint16_t *named = run_video(subject, &options, &video);
        CHECK_BYTES(left_open, named, size * sizeof *named);
        free(left_open);
        free(named);
    }

    check_topic("max_clusters and target_clusters");
    for (int32_t n = 1; n <= 3; n++) {
        options = subject->options;
        options.max_clusters = n;
        uint16_t *some = run_video(subject, &options, &video);
        CHECK(largest_label(some, size) <= n);
        free(some);
        options.max_clusters = 0;
        options.target_clusters = n;
        some = run_video(subject, &options, &video);
        CHECK(largest_label(some, size) <= n && largest_label(some, size) >= 1);
        free(some);
    }
    check_topic("affinity");
    options = subject->options;
    uint16_t *plain = run_video(subject, &options, &video);
    options.affinity = COVEY_AFFINITY_CORRELATOR;
    uint16_t *again = run_video(subject, &options, &video);
    CHECK_BYTES(again, plain, size * sizeof *again);
    free(again);
    for (int32_t other = COVEY_AFFINITY_FEATURES; other <= COVEY_AFFINITY_ATTENTION; other++) {
        options.affinity = (covey_affinity)other;
        again = run_video(subject, &options, &video);
        CHECK(largest_label(again, size) >= 1);
        free(again);
    }
    /* A caller of version 0.1 has no such field: what lies there is his. */
    options = subject->options;
    options.struct_size = offsetof(covey_session_options, affinity);
    memset(&options.affinity, 0x5A, sizeof options.affinity);
    again = run_video(subject, &options, &video);
    CHECK_BYTES(again, plain, size * sizeof *again);
    free(again);
    free(plain);

    check_topic("window");
    options = subject->options;
    options.window = 1;
    options.key_pool = 2;
    uint16_t *single = run_video(subject, &options, &video);
    CHECK(largest_label(single, size) >= 1);
    free(single);
    free(objects);
    free(labels);
    free_video(&video);
}

void test_options(const subject *subject)
{
    test_init();
    test_ranges(subject);
    test_limits_themselves(subject);
    test_struct_sizes(subject);
    test_defaults(subject);
    test_size_of_frames(subject);
    test_effects(subject);
}
