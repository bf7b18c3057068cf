/* covey_cluster, against the method written out plainly in double. */
#include "check.h"
#include "video.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- The method, as docs/ALGORITHM.md has it ------------------------------------ */

typedef struct list {
    double *maps;       /* [count, M]                                         */
    int     count;
} list;

/* map [M]: the mean over heads of the softmax over all keys. */
static void map_of(const covey_maps *maps, size_t query, double *map)
{
    const size_t channels = (size_t)maps->channels, keys = (size_t)maps->key_count;
    const size_t size = channels / (size_t)maps->heads;
    double *score = take(keys * sizeof *score);
    memset(map, 0, keys * sizeof *map);
    for (size_t head = 0; head < (size_t)maps->heads; head++) {
        const float *q = maps->queries + query * channels + head * size;
        double largest = -INFINITY, sum = 0;
        for (size_t m = 0; m < keys; m++) {
            const float *k = maps->keys + m * channels + head * size;
            double dot = 0;
            for (size_t i = 0; i < size; i++) dot += (double)q[i] * (double)k[i];
            score[m] = dot / sqrt((double)size);
            largest = fmax(largest, score[m]);
        }
        for (size_t m = 0; m < keys; m++) sum += score[m] = exp(score[m] - largest);
        for (size_t m = 0; m < keys; m++) map[m] += score[m] / sum / maps->heads;
    }
    free(score);
}

static double divergence(const double *p, const double *q, size_t keys)
{
    double sum = 0;
    for (size_t m = 0; m < keys; m++) {
        double a = fmax(p[m], 1e-37), b = fmax(q[m], 1e-37);
        sum += (a - b) * (log(a) - log(b));
    }
    return sum;
}

/* Appends to `centres` the unweighted means of what each leader claims. */
static void greedy_merge(const double *maps, int count, size_t keys, double tau, list *centres)
{
    bool *claimed = take((size_t)count * sizeof *claimed);
    memset(claimed, 0, (size_t)count * sizeof *claimed);
    for (int i = 0; i < count; i++) {
        if (claimed[i]) continue;
        double *centre = centres->maps + (size_t)centres->count++ * keys;
        int members = 0;
        memset(centre, 0, keys * sizeof *centre);
        for (int j = i; j < count; j++) {
            const double *map = maps + (size_t)j * keys;
            if (claimed[j] || (j != i && divergence(maps + (size_t)i * keys, map, keys) > tau))
                continue;
            claimed[j] = true;
            members++;
            for (size_t m = 0; m < keys; m++) centre[m] += map[m];
        }
        for (size_t m = 0; m < keys; m++) centre[m] /= members;
    }
    free(claimed);
}

/* m_i: the sum of the maps near map i, made to sum to 1. */
static void mean_shift(const double *maps, int count, size_t keys, double tau, double *shifted)
{
    for (int i = 0; i < count; i++) {
        double *out = shifted + (size_t)i * keys, sum = 0;
        memset(out, 0, keys * sizeof *out);
        for (int j = 0; j < count; j++) {
            const double *map = maps + (size_t)j * keys;
            if (j != i && divergence(maps + (size_t)i * keys, map, keys) > tau) continue;
            for (size_t m = 0; m < keys; m++) out[m] += map[m];
        }
        for (size_t m = 0; m < keys; m++) sum += out[m];
        for (size_t m = 0; m < keys; m++) out[m] /= sum;
    }
}

static int plain_clustering(const covey_maps *maps, int window, double tau, int32_t *labels,
                            double *confidence)
{
    const size_t keys = (size_t)maps->key_count;
    const int patches = maps->patches, rows = maps->frames * patches;
    double *all = take((size_t)rows * keys * sizeof *all);
    double *shifted = take((size_t)rows * keys * sizeof *all);
    list centres = { take((size_t)rows * keys * sizeof(double)), 0 };
    list merged = { take((size_t)rows * keys * sizeof(double)), 0 };
    for (int i = 0; i < rows; i++) map_of(maps, (size_t)i, all + (size_t)i * keys);
    for (int start = 0; start < maps->frames; start += window) {
        int frames = maps->frames - start < window ? maps->frames - start : window;
        const double *part = all + (size_t)(start * patches) * keys;
        mean_shift(part, frames * patches, keys, tau, shifted);
        greedy_merge(shifted, frames * patches, keys, tau, &centres);
    }
    for (;;) {
        merged.count = 0;
        greedy_merge(centres.maps, centres.count, keys, tau, &merged);
        if (merged.count == centres.count) break;
        list old = centres;
        centres = merged;
        merged = old;
    }
    int32_t *number = take((size_t)rows * sizeof *number);
    for (int c = 0; c < centres.count; c++) number[c] = -1;
    for (int i = 0; i < rows; i++) {
        double best = INFINITY, second = INFINITY;
        for (int c = 0; c < centres.count; c++) {
            double distance = divergence(centres.maps + (size_t)c * keys, all + (size_t)i * keys,
                                         keys);
            if (distance < best) {
                second = best;
                best = distance;
                labels[i] = c;
            } else if (distance < second) {
                second = distance;
            }
        }
        confidence[i] = second > 0 && centres.count > 1 ? 1 - best / second : 1;
        number[labels[i]] = 0;
    }
    int clusters = 0;
    for (int c = 0; c < centres.count; c++)
        if (number[c] == 0) number[c] = clusters++;
    for (int i = 0; i < rows; i++) labels[i] = number[labels[i]];
    free(number);
    free(merged.maps);
    free(centres.maps);
    free(shifted);
    free(all);
    return clusters;
}

/* ---- Comparison -------------------------------------------------------------------- */

typedef struct scene {
    covey_maps maps;
    float     *queries, *keys;
} scene;

static float near_zero(uint32_t *random)
{
    return ((float)next_random(random) / (1 << 23) - 1);
}

/* Queries and keys around `kinds` directions far apart, so that no distance is
 * near a threshold and rounding decides nothing. */
static scene make_scene(int32_t frames, int32_t patches, int32_t heads, int32_t size, int64_t keys,
                        int kinds, uint32_t seed)
{
    const int32_t channels = heads * size;
    scene made;
    uint32_t random = seed;
    float *directions = take((size_t)(kinds * channels) * sizeof(float));
    for (int i = 0; i < kinds * channels; i++) directions[i] = 3 * near_zero(&random);
    made.queries = take((size_t)(frames * patches * channels) * sizeof(float));
    made.keys = take((size_t)(keys * channels) * sizeof(float));
    for (int32_t i = 0; i < frames * patches; i++) {
        int kind = (int)(next_random(&random) % (uint32_t)kinds);
        for (int32_t c = 0; c < channels; c++)
            made.queries[i * channels + c] =
                directions[kind * channels + c] + 0.02f * near_zero(&random);
    }
    for (int64_t i = 0; i < keys; i++) {
        int kind = (int)(next_random(&random) % (uint32_t)kinds);
        for (int32_t c = 0; c < channels; c++)
            made.keys[i * channels + c] =
                directions[kind * channels + c] + 0.3f * near_zero(&random);
    }
    free(directions);
    memset(&made.maps, 0, sizeof made.maps);
    made.maps.struct_size = sizeof made.maps;
    made.maps.frames = frames;
    made.maps.patches = patches;
    made.maps.rows = 1;
    made.maps.columns = patches;
    made.maps.channels = channels;
    made.maps.heads = heads;
    made.maps.key_count = keys;
    made.maps.queries = made.queries;
    made.maps.keys = made.keys;
    return made;
}

static void free_scene(scene *scene)
{
    free(scene->queries);
    free(scene->keys);
}

static void test_against_plain(const subject *subject)
{
    const struct {
        int32_t frames, patches, heads, size;
        int64_t keys;
        int     kinds, window;
    } cases[] = {
        { 1, 1, 1, 4, 1, 1, 0 },    { 4, 12, 2, 8, 10, 3, 0 },   { 7, 20, 8, 6, 33, 5, 0 },
        { 5, 9, 3, 16, 21, 4, 1 },  { 6, 15, 1, 24, 64, 6, 4 },  { 3, 40, 4, 8, 17, 2, 64 },
        { 9, 11, 2, 3, 5, 3, 2 },
    };
    int most = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_topic("case %d", (int)i);
        scene scene = make_scene(cases[i].frames, cases[i].patches, cases[i].heads, cases[i].size,
                                 cases[i].keys, cases[i].kinds, 100 + (uint32_t)i);
        const size_t rows = (size_t)(cases[i].frames * cases[i].patches);
        int32_t *labels = take((rows + 1) * sizeof *labels), *plain = take(rows * sizeof *plain);
        float *confidence = take((rows + 1) * sizeof *confidence);
        double *margin = take(rows * sizeof *margin);
        covey_session_options options = subject->options;
        options.mode = COVEY_MODE_REFERENCE;
        options.tau = 0;            /* 1                                      */
        options.window = cases[i].window;
        options.threads = 2;
        int32_t clusters = -1;
        labels[rows] = 4711;
        CHECK_OK(covey_cluster(&scene.maps, &options, labels, confidence, &clusters));
        int expected = plain_clustering(&scene.maps, cases[i].window ? cases[i].window : 3, 1.0,
                                        plain, margin);
        CHECK_INT(clusters, expected);
        CHECK_BYTES(labels, plain, rows * sizeof *labels);
        CHECK_INT(labels[rows], 4711);
        /* Distances are sums of differences of float logarithms: 1e-4 is what
         * 24 bits leave of them here, where they are of the order of 1. */
        for (size_t row = 0; row < rows; row++)
            if (!CHECK_NEAR((double)confidence[row], margin[row], 2e-3)) break;
        if (clusters > most) most = clusters;
        int32_t again = -1;
        CHECK_OK(covey_cluster(&scene.maps, &options, labels, NULL, &again));
        CHECK_INT(again, clusters);
        CHECK_BYTES(labels, plain, rows * sizeof *labels);
        free(labels);
        free(plain);
        free(confidence);
        free(margin);
        free_scene(&scene);
    }
    CHECK(most >= 3);
}

/* ---- Refused ------------------------------------------------------------------------- */

static void check_refused(const covey_maps *maps, const char *part)
{
    int32_t labels[64], clusters = -7;
    float confidence[64];
    CHECK_ERROR(covey_cluster(maps, NULL, labels, confidence, &clusters), COVEY_ERROR_ARGUMENT,
                part);
    CHECK_INT(clusters, -7);
}

static void test_refused(void)
{
    scene scene = make_scene(2, 5, 2, 4, 6, 2, 1);
    int32_t labels[64], clusters;
    check_topic("cluster, NULL");
    CHECK_STATUS(covey_cluster(NULL, NULL, labels, NULL, &clusters), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_cluster(&scene.maps, NULL, NULL, NULL, &clusters), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_cluster(&scene.maps, NULL, labels, NULL, NULL), COVEY_ERROR_ARGUMENT);
    covey_maps maps = scene.maps;
    maps.queries = NULL;
    check_refused(&maps, "queries");
    maps = scene.maps;
    maps.keys = NULL;
    check_refused(&maps, "keys");

    check_topic("cluster, sizes");
    static const int32_t wrong[] = { 0, -1, INT32_MIN };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        maps = scene.maps; maps.frames = wrong[i]; check_refused(&maps, "frames");
        maps = scene.maps; maps.patches = maps.columns = wrong[i]; check_refused(&maps, "patches");
        maps = scene.maps; maps.channels = wrong[i]; check_refused(&maps, "maps.");
        maps = scene.maps; maps.heads = wrong[i]; check_refused(&maps, "heads");
        maps = scene.maps; maps.key_count = wrong[i]; check_refused(&maps, "keys");
    }
    maps = scene.maps; maps.heads = 3; check_refused(&maps, "heads");
    maps = scene.maps; maps.heads = 16; check_refused(&maps, "heads");
    maps = scene.maps; maps.frames = maps.patches = INT32_MAX; check_refused(&maps, "maps");
    maps = scene.maps; maps.key_count = INT64_MAX; check_refused(&maps, "maps.keys");
    maps = scene.maps; maps.key_count = INT64_MIN; check_refused(&maps, "maps.keys");

    check_topic("cluster, struct_size");
    struct { covey_maps maps; uint64_t beyond; } grown;
    memset(&grown, 0, sizeof grown);
    grown.maps = scene.maps;
    grown.maps.struct_size = 0;
    check_refused(&grown.maps, "struct_size");
    grown.maps.struct_size = sizeof grown;
    CHECK_OK(covey_cluster(&grown.maps, NULL, labels, NULL, &clusters));
    grown.beyond = 1;
    CHECK_STATUS(covey_cluster(&grown.maps, NULL, labels, NULL, &clusters), COVEY_ERROR_VERSION);

    check_topic("cluster, not finite");
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t at = 0; at < 2 * 5 * 8; at += 79) {
            float kept = scene.queries[at];
            scene.queries[at] = bad[i];
            check_refused(&scene.maps, "queries");
            scene.queries[at] = kept;
        }
        float kept = scene.keys[47];
        scene.keys[47] = bad[i];
        check_refused(&scene.maps, "keys");
        scene.keys[47] = kept;
    }
    free_scene(&scene);
}

/* ---- Edge mode ------------------------------------------------------------------------ */

/* Left and right half of the frame look different, and nothing else does. */
static scene make_halves(int32_t frames, int32_t rows, int32_t columns)
{
    const size_t count = (size_t)(frames * rows * columns);
    scene pair = make_scene(1, 64, 2, 8, 12, 2, 9), made = make_scene(frames, rows * columns, 2, 8,
                                                                      12, 2, 9);
    /* The first patch is of the one kind; the first that is far from it, of the
     * other. */
    const float *kinds[2] = { pair.queries, NULL };
    for (int i = 1; i < 64 && !kinds[1]; i++) {
        double apart = 0;
        for (int c = 0; c < 16; c++)
            apart += fabs((double)pair.queries[i * 16 + c] - (double)pair.queries[c]);
        if (apart > 4) kinds[1] = pair.queries + i * 16;
    }
    if (!kinds[1]) check_abort("the scene has one kind");
    for (size_t i = 0; i < count; i++)
        memcpy(made.queries + i * 16, kinds[(int32_t)(i % (size_t)columns) >= columns / 2],
               16 * sizeof(float));
    made.maps.rows = rows;
    made.maps.columns = columns;
    free_scene(&pair);
    return made;
}

static void test_edge(const subject *subject)
{
    static const int32_t sizes[][3] = { { 1, 4, 4 }, { 5, 6, 8 }, { 4, 7, 10 }, { 3, 1, 2 } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_topic("edge, %d x %d x %d", sizes[i][0], sizes[i][1], sizes[i][2]);
        scene scene = make_halves(sizes[i][0], sizes[i][1], sizes[i][2]);
        const int32_t columns = sizes[i][2];
        const size_t rows = (size_t)(sizes[i][0] * sizes[i][1] * columns);
        int32_t *labels = take((rows + 1) * sizeof *labels), clusters = -1;
        float *confidence = take((rows + 1) * sizeof *confidence);
        covey_session_options options = subject->options;
        options.tau = 0;
        for (int32_t threads = 1; threads <= 3; threads++) {
            options.threads = threads;
            labels[rows] = 4711;
            confidence[rows] = -3;
            CHECK_OK(covey_cluster(&scene.maps, &options, labels, confidence, &clusters));
            CHECK_INT(clusters, 2);
            size_t wrong = 0;
            for (size_t k = 0; k < rows; k++) {
                wrong += labels[k] != ((int32_t)(k % (size_t)columns) >= columns / 2);
                wrong += !(confidence[k] > 0 && confidence[k] <= 1);
            }
            CHECK_INT(wrong, 0);
            CHECK(labels[rows] == 4711 && confidence[rows] == -3);
        }
        options.max_clusters = 1;
        CHECK_OK(covey_cluster(&scene.maps, &options, labels, NULL, &clusters));
        CHECK_INT(clusters, 1);
        options.max_clusters = 0;
        for (int32_t n = 1; n <= 2; n++) {
            options.target_clusters = n;
            CHECK_OK(covey_cluster(&scene.maps, &options, labels, NULL, &clusters));
            CHECK_INT(clusters, n);
        }

        /* The grid is needed, and must be one of the patches. */
        const int32_t wrong[][2] = { { 0, 0 }, { sizes[i][1], 0 }, { 0, columns },
                                     { sizes[i][1] + 1, columns }, { -sizes[i][1], -columns },
                                     { INT32_MAX, INT32_MAX }, { INT32_MIN, INT32_MIN } };
        for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
            covey_maps maps = scene.maps;
            maps.rows = wrong[k][0];
            maps.columns = wrong[k][1];
            clusters = -7;
            CHECK_ERROR(covey_cluster(&maps, NULL, labels, confidence, &clusters),
                        COVEY_ERROR_ARGUMENT, "rows");
            CHECK_INT(clusters, -7);
        }
        /* A caller from before there were rows and columns. */
        covey_maps old = scene.maps;
        old.struct_size = 48;
        CHECK_ERROR(covey_cluster(&old, NULL, labels, confidence, &clusters),
                    COVEY_ERROR_ARGUMENT, "rows");
        options = subject->options;
        options.mode = COVEY_MODE_REFERENCE;
        options.tau = 0;
        CHECK_OK(covey_cluster(&old, &options, labels, confidence, &clusters));
        CHECK_INT(clusters, 2);
        old.struct_size = 47;
        CHECK_ERROR(covey_cluster(&old, &options, labels, confidence, &clusters),
                    COVEY_ERROR_ARGUMENT, "struct_size");
        free(labels);
        free(confidence);
        free_scene(&scene);
    }
}

/* Finite, but beyond what float can multiply: a status, and labels in range. */
static void test_extreme(void)
{
    static const float scales[] = { 0, 1e-38f, 1e10f, 1e20f, 3e37f };
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        check_topic("cluster, times %g", (double)scales[i]);
        scene scene = make_scene(2, 8, 2, 4, 6, 3, 5);
        for (int k = 0; k < 2 * 8 * 8; k++) scene.queries[k] *= scales[i];
        for (int k = 0; k < 6 * 8; k++) scene.keys[k] *= scales[i];
        int32_t labels[16], clusters = -1;
        float confidence[16];
        covey_status status = covey_cluster(&scene.maps, NULL, labels, confidence, &clusters);
        CHECK(status == COVEY_OK || status == COVEY_ERROR_ARGUMENT);
        for (int k = 0; status == COVEY_OK && k < 16; k++) {
            CHECK(labels[k] >= 0 && labels[k] < clusters);
            CHECK(confidence[k] >= 0 && confidence[k] <= 1);
        }
        if (scales[i] == 0) CHECK_INT(clusters, 1);
        free_scene(&scene);
    }
}

static int32_t always_cancel(void *user_data, covey_stage stage, float fraction)
{
    (void)stage;
    (void)fraction;
    ++*(int *)user_data;
    return 1;
}

static void test_counting_options(void)
{
    scene scene = make_scene(4, 16, 2, 8, 12, 4, 3);
    int32_t labels[64], clusters = -1;
    covey_session_options options;
    covey_session_options_init(&options, sizeof options);
    check_topic("cluster, cancelled");
    int calls = 0;
    options.progress = always_cancel;
    options.user_data = &calls;
    CHECK_STATUS(covey_cluster(&scene.maps, &options, labels, NULL, &clusters),
                 COVEY_ERROR_CANCELLED);
    CHECK_INT(calls, 1);
    options.progress = NULL;
    check_topic("cluster, memory limit");
    options.memory_limit = 100;
    CHECK_ERROR(covey_cluster(&scene.maps, &options, labels, NULL, &clusters), COVEY_ERROR_MEMORY,
                "100");
    options.memory_limit = 0;
    check_topic("cluster, tau");
    options.tau = 1000;
    CHECK_OK(covey_cluster(&scene.maps, &options, labels, NULL, &clusters));
    CHECK_INT(clusters, 1);
    options.tau = NAN;
    CHECK_STATUS(covey_cluster(&scene.maps, &options, labels, NULL, &clusters),
                 COVEY_ERROR_ARGUMENT);
    options.tau = 0;
    options.window = 65;
    CHECK_STATUS(covey_cluster(&scene.maps, &options, labels, NULL, &clusters),
                 COVEY_ERROR_ARGUMENT);
    options.window = 0;
    options.threads = 257;
    CHECK_STATUS(covey_cluster(&scene.maps, &options, labels, NULL, &clusters),
                 COVEY_ERROR_ARGUMENT);
    free_scene(&scene);
}

void test_cluster(const subject *subject)
{
    test_against_plain(subject);
    test_edge(subject);
    test_refused();
    test_extreme();
    test_counting_options();
}
