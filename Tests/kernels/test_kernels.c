/* The kernels of every instruction set that this CPU has, against the portable
 * ones, bit for bit; and the portable int8 product against a plain loop.
 *
 *     test_kernels [NAME...]
 *
 * NAMEs are the int8 sets that must be found, in this order.  Every array is an
 * allocation of just what the interface asks for, so that valgrind and the
 * sanitizers see any access beyond it.
 */
#include "CCoveyKernels.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of all results, on any CPU.  It changes with the algorithms, and with the shapes
 * below: a run prints the new one. */
#define DIGEST 0xf08e2bc3cc3a6feau
#define FUSED_DIGEST 0xac159f9e788d60u

static int failures;

static void fail(const char *kernel, const char *what, const char *shape)
{
    fprintf(stderr, "%s: %s: %s\n", kernel, what, shape);
    failures++;
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) {
        perror("test_kernels");
        exit(2);
    }
    memset(memory, 0xa5, bytes);
    return memory;
}

/* What the interface wants in whole cache lines. */
static void *allocate_lines(size_t bytes)
{
    void *memory = NULL;
    if (posix_memalign(&memory, 64, bytes ? bytes : 1)) exit(2);
    memset(memory, 0xa5, bytes);
    return memory;
}

/* Vigna's SplitMix64. */
static uint64_t state = 1;

static uint64_t random_bits(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static float uniform(float low, float high)
{
    return low + (high - low) * (float)(random_bits() >> 40) * 0x1p-24f;
}

static float *random_floats(size_t count, float size)
{
    float *x = allocate(count * sizeof *x);
    for (size_t i = 0; i < count; i++) x[i] = uniform(-size, size);
    return x;
}

/* Of all that the portable kernels give: the same on every kind of CPU.  And of what
 * those sets of products give that fuse multiplication and addition. */
static uint64_t digest = 0xcbf29ce484222325u, fused_digest = 0xcbf29ce484222325u;

static void digest_into(uint64_t *of, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) *of = (*of ^ bytes[i]) * 0x100000001b3u;
}

static void digest_bytes(const void *data, size_t size)
{
    digest_into(&digest, data, size);
}

/* The same bits, where NaNs are all the same. */
static bool equal(const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) return false;
    }
    return true;
}

/* ---- linear --------------------------------------------------------------- */

enum fill { RANDOM, LARGEST, OPPOSITE, FILLS };

static void test_linear(const cv_int8_kernels *kernels[], size_t count, size_t rows, size_t inputs,
                        size_t columns, enum fill fill, bool add)
{
    size_t padded = (columns + CV_PANEL - 1) / CV_PANEL * CV_PANEL;
    size_t bytes = (inputs + 3) / 4 * 4, stride = bytes + 5, out_stride = columns + 3;
    char shape[100];
    snprintf(shape, sizeof shape, "linear %zux%zux%zu, fill %d, add %d", rows, inputs, columns,
             fill, add);

    int8_t *w = allocate(columns * inputs);
    for (size_t i = 0; i < columns * inputs; i++) {
        w[i] = fill == RANDOM     ? (int8_t)((int)(random_bits() % 255) - 127)
               : fill == LARGEST ? 127
                                  : (i / inputs % 2 ? -127 : 127);
    }
    int8_t *packed = allocate_lines(cv_packed_bytes(columns, inputs));
    int32_t *sums = allocate(padded * sizeof *sums);
    cv_pack(w, columns, inputs, packed, sums);
    float *scale = random_floats(padded, 0.01f), *bias = random_floats(padded, 2);
    int zero = fill == RANDOM && add ? 0 : 128;
    cv_packed right = {packed, sums, scale, bias, columns, bytes / 4, zero};

    uint8_t *a = allocate((rows - 1) * stride + bytes);
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < bytes; i++) {
            a[row * stride + i] = fill == RANDOM     ? (uint8_t)random_bits()
                                  : fill == LARGEST ? 255
                                                     : (uint8_t)(row % 2 ? 0 : 255);
        }
    }
    float *a_scale = random_floats(rows, 0.02f);
    size_t size = (rows - 1) * out_stride + columns;
    float *before = random_floats(size, 1);
    float *expected = allocate(size * sizeof *expected);
    float *found = allocate(size * sizeof *found);

    memcpy(expected, before, size * sizeof *expected);
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < columns; column++) {
            int64_t sum = 0;
            for (size_t i = 0; i < inputs; i++)
                sum += (a[row * stride + i] - zero) * w[column * inputs + i];
            float y = (float)sum * scale[column] * a_scale[row] + bias[column];
            float *target = expected + row * out_stride + column;
            *target = add ? *target + y : y;
        }
    }
    digest_bytes(expected, size * sizeof *expected);
    for (size_t k = 0; k < count; k++) {
        memcpy(found, before, size * sizeof *found);
        kernels[k]->linear(rows, a, stride, a_scale, &right, add, found, out_stride);
        if (memcmp(found, expected, size * sizeof *found) != 0)
            fail(kernels[k]->name, "differs from the plain loop", shape);
    }
    free(found), free(expected), free(before), free(a_scale), free(a);
    free(bias), free(scale), free(sums), free(packed), free(w);
}

/* ---- attend --------------------------------------------------------------- */

/* A head's keys and values in blocks, as inference packs them. */
static cv_key_block *make_blocks(const cv_row_kernels *rows, const float *k, const float *v,
                                 size_t tokens, size_t dim, size_t block_tokens)
{
    size_t count = (tokens + block_tokens - 1) / block_tokens, bytes = (dim + 3) / 4 * 4;
    cv_key_block *blocks = allocate(count * sizeof *blocks);
    uint8_t *q = allocate(block_tokens * bytes);
    float *scale = allocate(block_tokens * sizeof *scale);
    for (size_t b = 0; b < count; b++) {
        size_t first = b * block_tokens;
        size_t live = tokens - first < block_tokens ? tokens - first : block_tokens;
        size_t keys = (live + CV_PANEL - 1) / CV_PANEL * CV_PANEL;
        size_t columns = (dim + CV_PANEL - 1) / CV_PANEL * CV_PANEL;
        int8_t *packed_keys = allocate_lines(cv_packed_bytes(keys, dim));
        int32_t *key_sums = allocate(keys * sizeof *key_sums);
        float *key_scale = allocate(keys * sizeof *key_scale);
        int8_t *values = allocate_lines(cv_packed_bytes(dim, keys));
        int32_t *value_sums = allocate(columns * sizeof *value_sums);
        float *value_scale = allocate(columns * sizeof *value_scale);
        float limit;
        rows->quantise(k + first * dim, dim, live, dim, q, bytes, scale);
        cv_pack_keys(q, bytes, scale, 1, live, dim, packed_keys, key_sums, key_scale, &limit);
        rows->pack_values(v + first * dim, dim, live, dim, keys, values, value_sums, value_scale);
        blocks[b] = (cv_key_block){packed_keys, key_sums,    key_scale, values,
                                   value_sums,  value_scale, live,      limit};
    }
    free(scale), free(q);
    return blocks;
}

static void free_blocks(cv_key_block *blocks, size_t count)
{
    for (size_t b = 0; b < count; b++) {
        free((void *)blocks[b].keys), free((void *)blocks[b].key_sums);
        free((void *)blocks[b].key_scale), free((void *)blocks[b].values);
        free((void *)blocks[b].value_sums), free((void *)blocks[b].value_scale);
    }
    free(blocks);
}

/* `size` of queries and keys: 1 gives weights of all sizes, 300 one key alone.
 * `odd` becomes one number of the keys. */
static void test_attend(const cv_int8_kernels *kernels[], size_t count, size_t rows, size_t tokens,
                        size_t dim, size_t block_tokens, float size, float odd)
{
    const cv_row_kernels *portable[CV_ISAS];
    cv_rows_all(portable);
    char shape[100];
    snprintf(shape, sizeof shape, "attend %zu rows, %zu tokens, dim %zu, blocks of %zu, %g, %g",
             rows, tokens, dim, block_tokens, size, odd);
    size_t bytes = (dim + 3) / 4 * 4, stride = bytes + 4, o_stride = dim + 2;
    size_t block_count = (tokens + block_tokens - 1) / block_tokens;

    float *k = random_floats(tokens * dim, size), *v = random_floats(tokens * dim, 1);
    float *queries = random_floats(rows * dim, size);
    if (odd != 0) k[(tokens - 1) * dim] = odd;
    cv_key_block *blocks = make_blocks(portable[0], k, v, tokens, dim, block_tokens);
    uint8_t *q = allocate((rows - 1) * stride + bytes);
    float *q_scale = allocate((2 * rows - 1) * sizeof *q_scale);
    for (size_t row = 0; row < rows; row++) {
        portable[0]->quantise(queries + row * dim, dim, 1, dim, q + row * stride, bytes,
                              q_scale + 2 * row);
    }
    size_t total = (rows - 1) * o_stride + dim;
    float *expected = allocate(total * sizeof *expected);
    float *found = allocate(total * sizeof *found);
    void *scratch = allocate_lines(cv_attend_scratch(rows, block_tokens));
    for (size_t i = 0; i < count; i++) {
        float *o = i == 0 ? expected : found;
        for (size_t j = 0; j < total; j++) o[j] = -77;
        kernels[i]->attend(blocks, block_count, dim, rows, q, stride, q_scale, 2, scratch, o,
                           o_stride);
        for (size_t row = 0; row < rows; row++) {
            for (size_t j = 0; j < dim; j++) {
                /* Means of values: within them, but for their rounding to bytes. */
                float y = o[row * o_stride + j];
                if (odd == 0 ? !(fabsf(y) <= 1.00001f) : !isnan(y)) {
                    fail(kernels[i]->name, odd == 0 ? "no mean of the values" : "no NaN", shape);
                    row = rows - 1;
                    break;
                }
            }
        }
        if (i > 0 && !equal(found, expected, total)) fail(kernels[i]->name, "other bits", shape);
    }
    /* NaNs differ in their signs. */
    if (odd == 0) digest_bytes(expected, total * sizeof *expected);
    for (size_t row = 0; row + 1 < rows; row++) {
        for (size_t j = dim; j < o_stride; j++) {
            if (expected[row * o_stride + j] != -77) fail("portable", "wrote beside a row", shape);
        }
    }
    free(scratch), free(found), free(expected), free(q_scale), free(q);
    free_blocks(blocks, block_count);
    free(queries), free(v), free(k);
}

/* ---- Rows ----------------------------------------------------------------- */

static void test_rows(const cv_row_kernels *kernels[], size_t count, size_t rows, size_t n)
{
    size_t bytes = (n + 3) / 4 * 4, padded = (n + CV_PANEL - 1) / CV_PANEL * CV_PANEL;
    size_t keys = (rows + 3) / 4 * 4;
    char shape[60];
    snprintf(shape, sizeof shape, "%zu rows of %zu", rows, n);
    float *x = random_floats(rows * n, 4), *weight = random_floats(n, 2);
    float *bias = random_floats(n, 1);
    /* What the kernels of one set give. */
    struct result {
        uint8_t *bytes[3];
        float *scales[3], *value_scale;
        int8_t *values;
        int32_t *sums;
    } results[CV_ISAS];
    for (size_t k = 0; k < count; k++) {
        struct result *r = results + k;
        for (size_t i = 0; i < 3; i++) {
            r->bytes[i] = allocate(rows * bytes);
            r->scales[i] = allocate(rows * sizeof **r->scales);
        }
        r->value_scale = allocate(padded * sizeof *x);
        r->values = allocate_lines(cv_packed_bytes(n, keys));
        r->sums = allocate(padded * sizeof *r->sums);
        kernels[k]->norm_quantise(x, n, rows, n, weight, bias, 1e-6f, r->bytes[0], bytes,
                                  r->scales[0]);
        kernels[k]->gelu_quantise(x, n, rows, n, r->bytes[1], bytes, r->scales[1]);
        kernels[k]->quantise(x, n, rows, n, r->bytes[2], bytes, r->scales[2]);
        kernels[k]->pack_values(x, n, rows, n, keys, r->values, r->sums, r->value_scale);
        bool same = true;
        for (size_t i = 0; i < 3; i++) {
            same &= memcmp(r->bytes[i], results[0].bytes[i], rows * bytes) == 0;
            same &= equal(r->scales[i], results[0].scales[i], rows);
        }
        same &= equal(r->value_scale, results[0].value_scale, padded);
        same &= memcmp(r->values, results[0].values, cv_packed_bytes(n, keys)) == 0;
        same &= memcmp(r->sums, results[0].sums, padded * sizeof *r->sums) == 0;
        if (!same) fail(kernels[k]->name, "other bits", shape);
        if (k > 0) continue;
        for (size_t i = 0; i < 3; i++) {
            digest_bytes(r->bytes[i], rows * bytes);
            digest_bytes(r->scales[i], rows * sizeof **r->scales);
        }
        digest_bytes(r->values, cv_packed_bytes(n, keys));
        digest_bytes(r->value_scale, padded * sizeof *x);
    }
    for (size_t k = 0; k < count; k++) {
        struct result *r = results + k;
        for (size_t i = 0; i < 3; i++) free(r->bytes[i]), free(r->scales[i]);
        free(r->value_scale), free(r->values), free(r->sums);
    }
    free(bias), free(weight), free(x);
}

/* ---- Products of floats --------------------------------------------------- */

/* Against sums in double: |error| <= (k + 2) 2^-24 sum |a b|, whatever the order of the
 * sum; observed at most .3 of that.  Sets that fuse give the same bits. */
static void test_products(const cv_product_kernels *kernels[], size_t count, size_t m, size_t n,
                          size_t k, bool a_transposed, bool b_transposed, float add)
{
    char shape[100];
    snprintf(shape, sizeof shape, "product %zu x %zu x %zu%s%s, add %g", m, n, k,
             a_transposed ? ", left side transposed" : "",
             b_transposed ? ", right side transposed" : "", add);
    size_t a_stride = (a_transposed ? m : k) + 3, b_stride = (b_transposed ? k : n) + 1;
    size_t c_stride = n + 2;
    /* The last row is not padded: nothing may be read behind it. */
    float *a = random_floats((a_transposed ? k : m) * a_stride - 3, 1);
    float *b = random_floats((b_transposed ? n : k) * b_stride - 1, 1);
    float *before = random_floats(m * c_stride - 2, 1), *first = NULL;
    if (add == 0) before[0] = NAN;
    for (size_t set = 0; set < count; set++) {
        float *c = allocate((m * c_stride - 2) * sizeof *c);
        memcpy(c, before, (m * c_stride - 2) * sizeof *c);
        kernels[set]->multiply(m, n, k, a, a_stride, a_transposed, b, b_stride, b_transposed, add,
                               c, c_stride);
        double worst = 0;
        for (size_t i = 0; i < m; i++) {
            for (size_t j = 0; j < n; j++) {
                double sum = 0, size = 0;
                if (add != 0) {
                    sum = (double)add * (double)before[i * c_stride + j];
                    size = fabs(sum);
                }
                for (size_t p = 0; p < k; p++) {
                    double x = a[a_transposed ? p * a_stride + i : i * a_stride + p];
                    double y = b[b_transposed ? j * b_stride + p : p * b_stride + j];
                    sum += x * y;
                    size += fabs(x * y);
                }
                double error = fabs((double)c[i * c_stride + j] - sum);
                double share = error / ((double)(k + 2) * 0x1p-24 * size + 1e-30);
                if (!(share <= worst)) worst = share;
            }
            for (size_t j = n; j < c_stride && i + 1 < m; j++)
                if (c[i * c_stride + j] != before[i * c_stride + j])
                    fail(kernels[set]->name, "written beside the matrix", shape);
        }
        if (!(worst <= 1)) fail(kernels[set]->name, "wrong", shape);
        if (set == 0) {
            free(c);  /* the portable one does not fuse */
        } else if (!first) {
            first = c;
            digest_into(&fused_digest, c, (m * c_stride - 2) * sizeof *c);
        } else {
            if (!equal(c, first, m * c_stride - 2)) fail(kernels[set]->name, "other bits", shape);
            free(c);
        }
    }
    free(first), free(before), free(b), free(a);
}

/* Against one bit at a time: below, at and beyond the blocks of every way, at every
 * address, in one piece and in two. */
static void test_checksum(void)
{
    enum { MOST = 400 };
    for (size_t start = 0; start < 16; start++)
        for (size_t n = 0; n <= MOST; n++) {
            uint8_t *bytes = allocate(start + n);
            uint32_t expected = 0xffffffffu;
            for (size_t i = 0; i < n; i++) {
                bytes[start + i] = (uint8_t)random_bits();
                expected ^= bytes[start + i];
                for (int bit = 0; bit < 8; bit++)
                    expected = expected >> 1 ^ (expected & 1 ? 0xedb88320u : 0);
            }
            expected = ~expected;
            size_t split = n * start / 16;
            uint32_t first = cv_crc32(0, bytes + start, split);
            if (cv_crc32(0, bytes + start, n) != expected ||
                cv_crc32(first, bytes + start + split, n - split) != expected)
                fail("checksum", "not that of one bit at a time", "");
            if (cv_crc32_by_tables(0, bytes + start, n) != expected)
                fail("checksum", "by tables", "");
            free(bytes);
        }
}

int main(int argc, char **argv)
{
    const cv_int8_kernels *int8[CV_ISAS];
    const cv_row_kernels *rows[CV_ISAS];
    size_t count = cv_int8_all(int8), row_count = cv_rows_all(rows);

    bool expected = argc < 2 || (size_t)argc == count + 1;
    for (size_t i = 0; expected && argc > 1 && i < count; i++)
        expected = strcmp(argv[i + 1], int8[i]->name) == 0;
    if (!expected || strcmp(int8[0]->name, "portable") != 0) fail("found", "other sets", "");
    for (size_t i = 0; i < count; i++) {
        if (int8[i]->rows > CV_MOST_ROWS) fail(int8[i]->name, "rows", "more than CV_MOST_ROWS");
    }

    static const size_t linear[][3] = {
        {1, 1, 1},   {2, 3, 5},    {3, 4, 63},   {4, 5, 64},   {5, 13, 65},  {6, 63, 17},
        {7, 64, 80}, {8, 65, 128}, {9, 66, 129}, {15, 67, 33}, {97, 96, 48}, {13, 1536, 20},
    };
    for (size_t i = 0; i < sizeof linear / sizeof *linear; i++) {
        for (int fill = 0; fill < FILLS; fill++) {
            test_linear(int8, count, linear[i][0], linear[i][1], linear[i][2], fill, false);
            test_linear(int8, count, linear[i][0], linear[i][1], linear[i][2], fill, true);
        }
    }
    static const size_t attend[][4] = {
        {1, 1, 1, 64},      {2, 5, 12, 64},    {3, 63, 13, 64},   {4, 64, 16, 64},
        {5, 65, 20, 64},    {6, 65, 24, 128},  {7, 129, 32, 64},  {8, 320, 64, 320},
        {9, 321, 64, 320},  {13, 321, 80, 192}, {17, 200, 128, 128}, {96, 130, 64, 64},
    };
    static const float sizes[] = {0, 1, 30, 3000};
    for (size_t i = 0; i < sizeof attend / sizeof *attend; i++) {
        const size_t *a = attend[i];
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            test_attend(int8, count, a[0], a[1], a[2], a[3], sizes[s], 0);
        /* A key that is no number shows in all that is made of it. */
        test_attend(int8, count, a[0], a[1], a[2], a[3], 1, NAN);
        test_attend(int8, count, a[0], a[1], a[2], a[3], 1, INFINITY);
        test_attend(int8, count, a[0], a[1], a[2], a[3], 1, 3e38f);
    }
    static const size_t shapes[][2] = {{1, 1},  {2, 3},  {3, 15}, {4, 16},
                                       {5, 17}, {7, 64}, {3, 200}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        test_rows(rows, row_count, shapes[i][0], shapes[i][1]);

    const cv_product_kernels *products[CV_ISAS];
    size_t product_count = cv_products_all(products);
    static const size_t factors[][3] = {
        {1, 1, 1},     {1, 7, 3},     {5, 1, 9},      {3, 5, 1},      {4, 8, 192},  {6, 16, 4},
        {8, 32, 193},  {17, 13, 19},  {64, 64, 64},   {33, 257, 65},  {7, 31, 191}, {9, 33, 385},
        {96, 401, 64}, {2, 3, 1000},
    };
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        for (int kind = 0; kind < 12; kind++) {
            static const float adds[] = {0, 1, -.5f};
            const size_t *f = factors[i];
            test_products(products, product_count, f[0], f[1], f[2], kind & 1, kind & 2,
                          adds[kind / 4]);
        }
    }
    if (product_count > 1 && fused_digest != FUSED_DIGEST) {
        char found[32];
        snprintf(found, sizeof found, "%#llx", (unsigned long long)fused_digest);
        fail("products", "not the bits of other CPUs", found);
    }

    test_checksum();

    if (digest != DIGEST) {
        char found[32];
        snprintf(found, sizeof found, "%#llx", (unsigned long long)digest);
        fail("portable", "not the bits of other CPUs", found);
    }

    printf("kernels:");
    for (size_t i = 0; i < count; i++) printf(" %s", int8[i]->name);
    printf("; rows:");
    for (size_t i = 0; i < row_count; i++) printf(" %s", rows[i]->name);
    printf("; products:");
    for (size_t i = 0; i < product_count; i++) printf(" %s", products[i]->name);
    if (failures) printf("; %d failures\n", failures);
    else printf("; all the same bits\n");
    return failures ? 1 : 0;
}
