/*
 * encode.c - seconds and memory of covey's encoder.
 *
 *     encode MODEL [--width W --height H] [--threads N]
 *            [--warm-up N] [--repetitions N] [--frame FILE]
 *            [--serve | --keys FILE | --save-f32 FILE]
 *
 * Pushes frames of exactly the working size into a session: the resampler
 * (which then only converts), the vision transformer, and the queries of the
 * spatio-temporal block, slightly more than the keys of the last block that
 * other programs are asked for.  Prints the median and least seconds of a push,
 * and VmHWM of /proc after the first one: the most memory that the process has
 * held for a frame, without Python (a session then keeps the features of each).
 *
 * --frame: raw RGB8, H x W x 3 bytes; else a pattern.  --keys: write the keys
 * of the last block, float32 [N, C], as covey_encode gives them, and do nothing
 * else.  --save-f32: write the model with its weights as floats, and do nothing else.
 * --serve: for every line "time" on standard input, as many frames untimed as
 * --warm-up says, then one timed, whose seconds are written; for "peak", VmHWM
 * in MB.
 */
#define _POSIX_C_SOURCE 200809L

#include <covey.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    LINE_SIZE = 128,
    /* A session keeps the queries of all its frames (docs/ALGORITHM.md), so it
     * is emptied after so many: what is measured is the encoder. */
    FRAMES_KEPT = 4
};

typedef struct settings {
    const char *model, *frame, *keys, *floats;
    int width, height, threads, warm_up, repetitions, serve;
} settings;

typedef struct bench {
    covey_session *session;
    covey_frame frame;
    int pushed;             /* since the session was last empty              */
    double peak;            /* MB, after the first frame                     */
} bench;

static void fail(const char *what, const char *message)
{
    fprintf(stderr, "encode: %s: %s\n", what, message);
    exit(EXIT_FAILURE);
}

static void check(covey_status status, const char *what)
{
    if (status < 0) fail(what, covey_last_error());
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Peak resident memory in MB of 1e6 bytes; 0 where /proc does not tell. */
static double peak_mb(void)
{
    char line[LINE_SIZE];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
    fclose(file);
    return (double)kib * 1024 / 1e6;
}

static int integer(const char *option, const char *text)
{
    char *end;
    long value = text ? strtol(text, &end, 10) : 0;
    if (!text || *end || end == text || value < 0 || value > 1000000)
        fail(option, "expected a number");
    return (int)value;
}

static settings parse(int count, char **arguments)
{
    settings s = { .threads = 1, .warm_up = 1, .repetitions = 5 };
    for (int i = 1; i < count; i++) {
        const char *option = arguments[i];
        const char *value = i + 1 < count ? arguments[i + 1] : NULL;
        if (strcmp(option, "--serve") == 0) { s.serve = 1; continue; }
        if (option[0] != '-') { s.model = option; continue; }
        if (strcmp(option, "--width") == 0) s.width = integer(option, value);
        else if (strcmp(option, "--height") == 0) s.height = integer(option, value);
        else if (strcmp(option, "--threads") == 0) s.threads = integer(option, value);
        else if (strcmp(option, "--warm-up") == 0) s.warm_up = integer(option, value);
        else if (strcmp(option, "--repetitions") == 0) s.repetitions = integer(option, value);
        else if (strcmp(option, "--frame") == 0) s.frame = value;
        else if (strcmp(option, "--keys") == 0) s.keys = value;
        else if (strcmp(option, "--save-f32") == 0) s.floats = value;
        else fail(option, "no such option");
        if (!value) fail(option, "expected a value");
        i++;
    }
    if (!s.model) fail("MODEL", "name a weight file");
    return s;
}

static uint8_t *pixels(const settings *s)
{
    size_t size = (size_t)s->width * (size_t)s->height * 3;
    uint8_t *data = malloc(size);
    if (!data) fail("frame", "out of memory");
    if (!s->frame) {
        for (size_t i = 0; i < size; i++) data[i] = (uint8_t)(i * i / 7 % 251);
        return data;
    }
    FILE *file = fopen(s->frame, "rb");
    if (!file) fail(s->frame, "cannot be opened");
    if (fread(data, 1, size, file) != size || fgetc(file) != EOF)
        fail(s->frame, "expected height x width x 3 bytes");
    fclose(file);
    return data;
}

static void write_keys(const covey_model *model, const covey_session_options *options,
                       const covey_frame *frame, const char *path)
{
    covey_grid grid = { .struct_size = sizeof grid };
    if (covey_encode(model, options, frame, NULL, 0, NULL, &grid) != COVEY_ERROR_CAPACITY)
        fail("keys", covey_last_error());
    size_t count = (size_t)grid.rows * (size_t)grid.columns * (size_t)grid.channels;
    float *keys = malloc(count * sizeof *keys);
    if (!keys) fail("keys", "out of memory");
    check(covey_encode(model, options, frame, keys, count, NULL, &grid), "keys");
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(keys, sizeof *keys, count, file) != count || fclose(file))
        fail(path, "cannot be written");
    free(keys);
}

static double push(bench *b)
{
    double start = now();
    check(covey_session_push(b->session, &b->frame), "push");
    double seconds = now() - start;
    b->pushed++;
    if (b->peak == 0) b->peak = peak_mb();
    return seconds;
}

/* Empties a session that has become long.  The next push makes the encoder anew,
 * so it is one that is not timed. */
static void renew(bench *b)
{
    if (b->pushed < FRAMES_KEPT) return;
    check(covey_session_reset(b->session), "reset");
    b->pushed = 0;
    push(b);
}

static double timed(bench *b, int warm_up)
{
    renew(b);
    for (int i = 0; i < warm_up; i++) push(b);
    return push(b);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(bench *b, int repetitions)
{
    double *seconds = malloc((size_t)repetitions * sizeof *seconds);
    if (!seconds) fail("repetitions", "out of memory");
    for (int i = 0; i < repetitions; i++) seconds[i] = timed(b, 0);
    qsort(seconds, (size_t)repetitions, sizeof *seconds, ascending);
    if (repetitions > 0) {
        int half = repetitions / 2;
        double median = repetitions % 2 ? seconds[half]
                                        : (seconds[half - 1] + seconds[half]) / 2;
        printf("median %.6f s, least %.6f s, of %d pushes; ", median, seconds[0], repetitions);
    }
    printf("peak %.1f MB\n", b->peak);
    free(seconds);
}

static void serve(bench *b, int warm_up)
{
    char line[LINE_SIZE];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "time\n") == 0) printf("%.9f\n", timed(b, warm_up));
        else if (strcmp(line, "peak\n") == 0) printf("%.3f\n", b->peak);
        else fail("serve", "expected time or peak");
        fflush(stdout);
    }
}

int main(int count, char **arguments)
{
    settings s = parse(count, arguments);
    covey_model *model;
    covey_model_info info = { .struct_size = sizeof info };
    check(covey_model_load(s.model, NULL, &model), s.model);
    check(covey_model_get_info(model, &info), s.model);
    if (s.floats) {
        check(covey_model_save(model, s.floats, COVEY_DTYPE_F32), s.floats);
        covey_model_free(model);
        return EXIT_SUCCESS;
    }
    if (!s.width) s.width = info.working_width;
    if (!s.height) s.height = info.working_height;

    covey_session_options options;
    covey_session_options_init(&options, sizeof options);
    options.threads = s.threads;
    options.working_width = s.width;
    options.working_height = s.height;
    uint8_t *data = pixels(&s);
    bench b = { .frame = {
        .struct_size = sizeof b.frame, .format = COVEY_PIXEL_RGB8,
        .width = s.width, .height = s.height, .planes = { data } } };

    if (s.keys) {
        write_keys(model, &options, &b.frame, s.keys);
    } else {
        check(covey_session_create(model, &options, &b.session), "session");
        do push(&b); while (b.pushed < s.warm_up);
        if (s.serve) serve(&b, s.warm_up);
        else measure(&b, s.repetitions);
        covey_session_free(b.session);
    }
    covey_model_free(model);
    free(data);
    return EXIT_SUCCESS;
}
