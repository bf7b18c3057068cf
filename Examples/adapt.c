/*
 * adapt.c - a model adapts to a video, without labels, then segments it.
 *
 *     ffmpeg -i video.mp4 -pix_fmt yuv420p -f yuv4mpegpipe - | \
 *       ./adapt models/covey-nano.gguf masks/ -n 300 -o adapted.gguf
 *
 * Reads YUV4MPEG2 from standard input and keeps the frames in memory; trains
 * the spatio-temporal block on clips of three of them, drawn at random; and
 * writes one 8-bit indexed PNG per frame, as segment.c does, with the block as
 * it is then.
 *
 * From the top of the repository, after `make lib`:
 *
 *     cc -std=c99 Examples/adapt.c -IInclude -Lbuild -lcovey -lpng \
 *        -Wl,-rpath,$PWD/build -o adapt
 */
#define _POSIX_C_SOURCE 200809L

#include <covey.h>

#include <png.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MAX_SIDE = 32768,   /* of a covey_frame                                  */
    MAX_ID = 255,       /* of an 8-bit mask                                  */
    MAX_GAP = 4,        /* between the frames of a clip                      */
    CLIP = 3,           /* frames of a clip                                  */
    REPORTS = 20,       /* lines about the losses                            */
    MESSAGE_SIZE = 200  /* what libpng has to say                            */
};

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("adapt: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

/* ---- Options ------------------------------------------------------------- */

typedef struct arguments {
    const char *model, *output;
    const char *adapted;        /* -o; may be NULL                           */
    long        steps, frames;
    covey_trainer_options options;
} arguments;

static const char usage[] =
    "usage: adapt MODEL OUTPUT_DIR [options]     YUV4MPEG2 on standard input\n"
    "\n"
    "  -n N            steps of training; 200 without\n"
    "  -o FILE         write the adapted model\n"
    "  --frames N      read no more than N frames; 0, the default: all\n"
    "  --rate X        learning rate at the beginning; 1e-4 without\n"
    "  --identity      begin with a block that compares the features themselves\n"
    "  --seed N        of all that is drawn at random; 0 without\n"
    "  --threads N     0, the default: one per core\n";

static void fail_usage(const char *format, const char *text)
{
    fputs("adapt: ", stderr);
    fprintf(stderr, format, text);
    fprintf(stderr, "\n%s", usage);
    exit(2);
}

static long parse_number(const char *name, const char *text, long least, long most)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end || errno || number < least || number > most) {
        fprintf(stderr, "adapt: %s takes %ld to %ld, not '%s'\n%s", name, least, most, text,
                usage);
        exit(2);
    }
    return number;
}

static float parse_rate(const char *text)
{
    char *end;
    float number = strtof(text, &end);
    /* Not the other way round: nan is neither. */
    if (end == text || *end || !(number > 0 && number <= 1))
        fail_usage("--rate takes a number above 0, at most 1, not '%s'", text);
    return number;
}

static arguments parse_arguments(int argc, char **argv)
{
    arguments given = { .steps = 200 };
    covey_trainer_options_init(&given.options, sizeof given.options);
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--help") == 0) {
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        } else if (strcmp(name, "--identity") == 0) {
            given.options.start = COVEY_START_IDENTITY;
        } else if (name[0] == '-') {
            const char *value = ++i < argc ? argv[i] : NULL;
            if (!value) fail_usage("%s: unknown, or lacks its value", name);
            if (strcmp(name, "-n") == 0)
                given.steps = parse_number(name, value, 1, 10000000);
            else if (strcmp(name, "-o") == 0)
                given.adapted = value;
            else if (strcmp(name, "--frames") == 0)
                given.frames = parse_number(name, value, 0, 10000000);
            else if (strcmp(name, "--rate") == 0)
                given.options.learning_rate = parse_rate(value);
            else if (strcmp(name, "--seed") == 0)
                given.options.seed = (uint64_t)parse_number(name, value, 0, 2147483647);
            else if (strcmp(name, "--threads") == 0)
                given.options.threads = (int32_t)parse_number(name, value, 0, 256);
            else
                fail_usage("%s: unknown option", name);
        } else if (!given.model) {
            given.model = name;
        } else if (!given.output) {
            given.output = name;
        } else {
            fail_usage("%s: one argument too many", name);
        }
    }
    if (!given.output) fail_usage("%s", "a model and an output are needed");
    given.options.clip_length = CLIP;
    given.options.total_steps = (int32_t)given.steps;
    return given;
}

/* ---- YUV4MPEG2 ----------------------------------------------------------- */

typedef struct film {
    covey_frame  frame;         /* format and size of all                    */
    uint8_t    **frames;        /* bytes of each: Y, then U, then V          */
    long         count;
} film;

static covey_frame film_frame(const film *film, long index)
{
    covey_frame frame = film->frame;
    size_t luma = (size_t)frame.width * (size_t)frame.height;
    size_t chroma = (size_t)((frame.width + 1) / 2) * (size_t)((frame.height + 1) / 2);
    frame.timestamp = index;
    frame.planes[0] = film->frames[index];
    if (frame.format == COVEY_PIXEL_I420) {
        frame.planes[1] = frame.planes[0] + luma;
        frame.planes[2] = frame.planes[1] + chroma;
    }
    return frame;
}

static bool read_line(char *line, size_t capacity)
{
    if (!fgets(line, (int)capacity, stdin)) return false;
    size_t length = strlen(line);
    if (length == 0 || line[length - 1] != '\n')
        fail("standard input: not YUV4MPEG2, or damaged");
    line[length - 1] = 0;
    return true;
}

static int32_t parse_side(const char *text)
{
    char *end;
    errno = 0;
    long side = strtol(text, &end, 10);
    return errno == 0 && *end == 0 && side > 0 && side <= MAX_SIDE ? (int32_t)side : 0;
}

static void read_header(covey_frame *frame)
{
    static const char *const known[] = { "420", "420jpeg", "420mpeg2", "420paldv" };
    char line[1024];
    const char *colour = known[0];
    memset(frame, 0, sizeof *frame);
    frame->struct_size = sizeof *frame;
    if (!read_line(line, sizeof line) || strncmp(line, "YUV4MPEG2 ", 10) != 0)
        fail("standard input is not YUV4MPEG2; make it with\n"
             "  ffmpeg -i VIDEO -pix_fmt yuv420p -f yuv4mpegpipe -");
    for (char *field = strtok(line + 10, " "); field; field = strtok(NULL, " ")) {
        if (*field == 'W') frame->width = parse_side(field + 1);
        if (*field == 'H') frame->height = parse_side(field + 1);
        if (*field == 'C') colour = field + 1;
    }
    if (strcmp(colour, "mono") == 0) frame->format = COVEY_PIXEL_GRAY8;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(colour, known[i]) == 0) frame->format = COVEY_PIXEL_I420;
    if (!frame->format)
        fail("standard input has the colour format '%s'; 8-bit 4:2:0 and mono are read", colour);
    if (frame->width < 1 || frame->height < 1)
        fail("standard input: frames must be 1 to %d pixels wide and high", MAX_SIDE);
}

/* All frames, or the first `most`. */
static film read_film(long most)
{
    film film = { .count = 0 };
    char line[1024];
    read_header(&film.frame);
    size_t luma = (size_t)film.frame.width * (size_t)film.frame.height;
    size_t chroma =
        (size_t)((film.frame.width + 1) / 2) * (size_t)((film.frame.height + 1) / 2);
    size_t size = film.frame.format == COVEY_PIXEL_I420 ? luma + 2 * chroma : luma;
    while ((most == 0 || film.count < most) && read_line(line, sizeof line)) {
        if (strncmp(line, "FRAME", 5) != 0)
            fail("standard input: no frame header at frame %ld", film.count);
        if (film.count % 64 == 0) {
            film.frames =
                realloc(film.frames, (size_t)(film.count + 64) * sizeof *film.frames);
            if (!film.frames) fail("out of memory");
        }
        uint8_t *bytes = malloc(size);
        if (!bytes) fail("no memory for frame %ld; --frames limits them", film.count);
        if (fread(bytes, 1, size, stdin) != size)
            fail("standard input ends in the middle of frame %ld", film.count);
        film.frames[film.count++] = bytes;
    }
    if (film.count == 0) fail("standard input: no frames");
    return film;
}

static void free_film(film *film)
{
    for (long i = 0; i < film->count; i++) free(film->frames[i]);
    free(film->frames);
}

/* ---- Training ------------------------------------------------------------ */

/* 0 to limit - 1, well enough. */
static long draw(uint64_t *state, long limit)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (long)((*state >> 33) % (uint64_t)limit);
}

/* Frames at -gap, 0 and gap about a centre, nearer to each other in a short film;
 * of one with fewer than three the same frame three times. */
static void draw_clip(const film *film, uint64_t *state, covey_frame clip[CLIP])
{
    long gap = 1 + draw(state, MAX_GAP), centre = draw(state, film->count);
    if (gap > (film->count - 1) / 2) gap = (film->count - 1) / 2;
    if (centre < gap) centre = gap;
    if (centre > film->count - 1 - gap) centre = film->count - 1 - gap;
    for (int i = 0; i < CLIP; i++) clip[i] = film_frame(film, centre + (i - 1) * gap);
}

/* The model with a block adapted to the film. */
static covey_model *adapt(const covey_model *model, const film *film, const arguments *given)
{
    covey_trainer *trainer;
    covey_model *adapted;
    covey_train_metrics metrics = { .struct_size = sizeof metrics };
    covey_frame clip[CLIP];
    uint64_t state = given->options.seed + 1;
    double semantic = 0, motion = 0;
    long since = 0;     /* the last report                                   */

    if (covey_trainer_create(model, &given->options, &trainer) < 0) fail("%s", covey_last_error());
    for (long step = 1; step <= given->steps; step++) {
        draw_clip(film, &state, clip);
        if (covey_trainer_step(trainer, clip, CLIP, &metrics) < 0) fail("%s", covey_last_error());
        semantic += metrics.semantic_loss;
        motion += metrics.motion_loss;
        since++;
        if (step * REPORTS / given->steps == (step - 1) * REPORTS / given->steps) continue;
        printf("step %ld of %ld: semantic %.4f, motion %.4f\n", step, given->steps,
               semantic / (double)since, motion / (double)since);
        fflush(stdout);
        semantic = motion = 0;
        since = 0;
    }
    if (covey_trainer_export(trainer, 0, &adapted) < 0) fail("%s", covey_last_error());
    covey_trainer_free(trainer);
    return adapted;
}

/* ---- Masks --------------------------------------------------------------- */

static void on_png_error(png_structp png, png_const_charp message)
{
    snprintf(png_get_error_ptr(png), MESSAGE_SIZE, "%s", message);
    png_longjmp(png, 1);
}

static void on_png_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* The colour of id n: its bits, dealt to red, green and blue in turn, from the
 * highest bit of each downwards. */
static void make_palette(png_color palette[MAX_ID + 1])
{
    for (int id = 0; id <= MAX_ID; id++) {
        png_color colour = { 0, 0, 0 };
        for (int rest = id, bit = 7; rest; rest >>= 3, bit--) {
            colour.red = (png_byte)(colour.red | (rest & 1) << bit);
            colour.green = (png_byte)(colour.green | (rest >> 1 & 1) << bit);
            colour.blue = (png_byte)(colour.blue | (rest >> 2 & 1) << bit);
        }
        palette[id] = colour;
    }
}

/* libpng reports errors by longjmp(): what changes after setjmp() would be
 * undefined, so nothing of this function does. */
static bool encode_png(png_structp png, png_infop info, FILE *file, const uint16_t *labels,
                       int32_t width, int32_t height, png_bytep row)
{
    png_color palette[MAX_ID + 1];
    make_palette(palette);
    if (setjmp(png_jmpbuf(png))) return false;
    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_PALETTE,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_PLTE(png, info, palette, MAX_ID + 1);
    png_write_info(png, info);
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++)
            row[x] = (png_byte)labels[(size_t)y * (size_t)width + (size_t)x];
        png_write_row(png, row);
    }
    png_write_end(png, info);
    return true;
}

static void write_mask(const char *folder, const covey_result *result)
{
    char trouble[MESSAGE_SIZE] = "", path[4096];
    covey_result_info of = { .struct_size = sizeof of };
    if (covey_result_get_info(result, &of) < 0) fail("%s", covey_last_error());
    if (snprintf(path, sizeof path, "%s/%05lld.png", folder, (long long)of.frame_index) >=
        (int)sizeof path)
        fail("%s: too long", folder);
    FILE *file = fopen(path, "wb");
    if (!file) fail("%s: %s", path, strerror(errno));
    png_structp png =
        png_create_write_struct(PNG_LIBPNG_VER_STRING, trouble, on_png_error, on_png_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    png_bytep row = malloc((size_t)of.width);
    if (!info || !row) fail("out of memory");
    bool done =
        encode_png(png, info, file, covey_result_labels(result), of.width, of.height, row);
    free(row);
    png_destroy_write_struct(&png, &info);
    if (fclose(file) != 0 || !done) {
        remove(path);
        fail("%s: %s", path, done ? strerror(errno) : trouble);
    }
}

static void segment(covey_model *model, const film *film, const arguments *given)
{
    covey_session_options options;
    covey_session *session;
    covey_result *result;
    covey_status status;

    covey_session_options_init(&options, sizeof options);
    options.threads = given->options.threads;
    options.max_objects = MAX_ID;
    if (covey_session_create(model, &options, &session) < 0) fail("%s", covey_last_error());
    for (long i = 0; i < film->count; i++) {
        covey_frame frame = film_frame(film, i);
        if (covey_session_push(session, &frame) < 0) fail("frame %ld: %s", i, covey_last_error());
    }
    if (covey_session_finish(session) < 0) fail("%s", covey_last_error());
    while ((status = covey_session_next(session, &result)) == COVEY_OK) {
        write_mask(given->output, result);
        covey_result_free(result);
    }
    if (status < 0) fail("%s", covey_last_error());
    covey_session_free(session);
}

int main(int argc, char **argv)
{
    arguments given = parse_arguments(argc, argv);
    covey_model *model;
    if (covey_model_load(given.model, NULL, &model) < 0) fail("%s", covey_last_error());
    if (mkdir(given.output, 0777) != 0 && errno != EEXIST)
        fail("%s: %s", given.output, strerror(errno));
    film film = read_film(given.frames);

    covey_model *adapted = adapt(model, &film, &given);
    covey_model_info info = { .struct_size = sizeof info };
    if (covey_model_get_info(adapted, &info) < 0 ||
        (given.adapted && covey_model_save(adapted, given.adapted, info.dtype) < 0))
        fail("%s", covey_last_error());
    segment(adapted, &film, &given);
    printf("%ld frames -> %s\n", film.count, given.output);

    covey_model_free(adapted);
    covey_model_free(model);
    free_film(&film);
    return EXIT_SUCCESS;
}
