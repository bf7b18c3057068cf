/*
 * segment.c - video in, one mask per frame out.
 *
 *     ./segment models/covey-nano.gguf frames/ masks/
 *     ffmpeg -i video.mp4 -pix_fmt yuv420p -f yuv4mpegpipe - | \
 *       ./segment models/covey-nano.gguf - masks/
 *
 * Reads a folder of PNG frames in the order of their names, or YUV4MPEG2 from
 * standard input, and writes 8-bit indexed PNGs in the colours of the PASCAL
 * VOC and DAVIS data sets: the index of a pixel is the id of its object, and
 * index 0 is background.
 *
 * From the top of the repository, after `make lib`:
 *
 *     cc -std=c99 Examples/segment.c -IInclude -Lbuild -lcovey -lpng \
 *        -Wl,-rpath,$PWD/build -o segment
 *
 * main() is last, and shows the whole use of the library; what stands before it
 * is for options, PNG and YUV4MPEG2.
 */
#define _POSIX_C_SOURCE 200809L

#include <covey.h>

#include <png.h>

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_SIDE = 32768,   /* of a covey_frame                                  */
    MAX_WORKING_SIDE = 8192,    /* what the library accepts                  */
    MAX_ID = 255,       /* of an 8-bit mask                                  */
    MESSAGE_SIZE = 200  /* what libpng has to say                            */
};

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("segment: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory) fail("out of memory (%zu x %zu bytes)", count, size);
    return memory;
}

static char *join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + 1 + strlen(name) + 1;
    char *path = allocate(size, 1);
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

/* ---- Options ------------------------------------------------------------- */

typedef struct arguments {
    const char *model, *input, *output;
    covey_session_options options;
} arguments;

static const char usage[] =
    "usage: segment MODEL INPUT_DIR OUTPUT_DIR [options]\n"
    "       segment MODEL - OUTPUT_DIR [options]     YUV4MPEG2 on standard input\n"
    "\n"
    "  --working-size HxW   height and width frames are resized to before they are\n"
    "                       looked at, multiples of the model's patch size; 0x0: the\n"
    "                       model's; one of them 0: from the other, keeping the aspect\n"
    "  --tau X              clustering threshold, above 0: larger gives fewer objects\n"
    "  --clusters           write every cluster, background too, as ids 1, 2, ...\n"
    "  --nearest            every pixel as its patch: quicker, and coarse\n"
    "  --reference          cluster as the paper's code does it: much slower\n"
    "  --memory-limit N     bytes, or with K, M or G\n"
    "  --threads N          0, the default: one per core\n";

static void fail_usage(const char *format, const char *text)
{
    fputs("segment: ", stderr);
    fprintf(stderr, format, text);
    fprintf(stderr, "\n%s", usage);
    exit(2);
}

/* Digits, and what follows them in *end; -1 where there are none or too many. */
static int64_t parse_number(const char *text, char **end)
{
    if (*text < '0' || *text > '9') return -1;
    errno = 0;
    long long number = strtoll(text, end, 10);
    return errno ? -1 : number;
}

static int32_t parse_threads(const char *text)
{
    char *end;
    int64_t number = parse_number(text, &end);
    if (number < 0 || number > 256 || *end) fail_usage("--threads takes 0 to 256, not '%s'", text);
    return (int32_t)number;
}

static int64_t parse_bytes(const char *text)
{
    static const char suffixes[] = "KMG";
    char *end;
    int64_t bytes = parse_number(text, &end);
    const char *suffix = bytes >= 0 && *end ? strchr(suffixes, *end) : NULL;
    int shift = 0;
    if (suffix) {
        shift = 10 * (int)(suffix - suffixes + 1);
        end++;
    }
    if (bytes < 0 || *end || bytes > INT64_MAX >> shift)
        fail_usage("--memory-limit takes bytes, such as 800M, not '%s'", text);
    return bytes << shift;
}

static void parse_size(const char *text, int32_t *height, int32_t *width)
{
    char *end;
    int64_t number[2] = { parse_number(text, &end), -1 };
    if (number[0] >= 0 && *end == 'x') number[1] = parse_number(end + 1, &end);
    for (int i = 0; i < 2; i++)
        if (number[i] < 0 || number[i] > MAX_WORKING_SIDE || *end)
            fail_usage("--working-size takes HEIGHTxWIDTH, such as 320x480, not '%s'", text);
    *height = (int32_t)number[0];
    *width = (int32_t)number[1];
}

static float parse_float(const char *text)
{
    char *end;
    float number = strtof(text, &end);
    /* Not the other way round: nan is neither. */
    if (end == text || *end || !(number > 0 && number <= 1000))
        fail_usage("--tau takes a number above 0, at most 1000, not '%s'", text);
    return number;
}

static arguments parse_arguments(int argc, char **argv)
{
    arguments given = { 0 };
    const char *places[3] = { NULL, NULL, NULL };
    int found = 0;

    covey_session_options_init(&given.options, sizeof given.options);
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--help") == 0) {
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        } else if (strcmp(name, "--clusters") == 0) {
            given.options.output = COVEY_OUTPUT_CLUSTERS;
        } else if (strcmp(name, "--reference") == 0) {
            given.options.mode = COVEY_MODE_REFERENCE;
        } else if (strcmp(name, "--nearest") == 0) {
            given.options.mask = COVEY_MASK_NEAREST;
        } else if (strncmp(name, "--", 2) == 0) {
            const char *value = ++i < argc ? argv[i] : NULL;
            if (!value) fail_usage("%s: unknown, or lacks its value", name);
            if (strcmp(name, "--threads") == 0)
                given.options.threads = parse_threads(value);
            else if (strcmp(name, "--tau") == 0)
                given.options.tau = parse_float(value);
            else if (strcmp(name, "--memory-limit") == 0)
                given.options.memory_limit = parse_bytes(value);
            else if (strcmp(name, "--working-size") == 0)
                parse_size(value, &given.options.working_height,
                           &given.options.working_width);
            else
                fail_usage("%s: unknown option", name);
        } else if (found < 3) {
            places[found++] = name;
        } else {
            fail_usage("%s: one argument too many", name);
        }
    }
    if (found < 3) fail_usage("%s", "a model, an input and an output are needed");
    given.model = places[0];
    given.input = places[1];
    given.output = places[2];
    /* More objects than an 8-bit mask has ids for would be of no use here. */
    given.options.max_objects = MAX_ID;
    return given;
}

/* ---- PNG ----------------------------------------------------------------- */

/*
 * libpng reports errors by longjmp().  A local variable that changes between
 * setjmp() and longjmp() is undefined afterwards, so the functions with a
 * setjmp() in them change none: all they fill lives in structs of the caller.
 */
typedef struct picture {
    uint8_t   *pixels;      /* RGB, height x width x 3                       */
    png_bytep *rows;        /* where each row of it starts                   */
    int32_t    width, height;
} picture;

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

static void free_picture(picture *image)
{
    free(image->pixels);
    free(image->rows);
}

/* Every kind of PNG becomes 8-bit RGB: palettes are looked up, gray is spread
 * over three channels, 16 bits are scaled to 8, alpha is dropped. */
static bool decode_png(png_structp png, png_infop info, FILE *file, picture *image)
{
    if (setjmp(png_jmpbuf(png))) return false;
    png_init_io(png, file);
    png_read_info(png, info);
    if (png_get_image_width(png, info) > MAX_SIDE || png_get_image_height(png, info) > MAX_SIDE)
        png_error(png, "more than 32768 pixels wide or high");
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);

    image->width = (int32_t)png_get_image_width(png, info);
    image->height = (int32_t)png_get_image_height(png, info);
    size_t row_bytes = (size_t)image->width * 3;
    if (png_get_rowbytes(png, info) != row_bytes) png_error(png, "cannot be read as RGB");
    image->pixels = malloc((size_t)image->height * row_bytes);
    image->rows = malloc((size_t)image->height * sizeof *image->rows);
    if (!image->pixels || !image->rows) png_error(png, "out of memory");
    for (int32_t y = 0; y < image->height; y++)
        image->rows[y] = image->pixels + (size_t)y * row_bytes;
    png_read_image(png, image->rows);
    png_read_end(png, NULL);
    return true;
}

static void read_png(const char *path, picture *image)
{
    char trouble[MESSAGE_SIZE] = "";
    png_byte signature[8];
    FILE *file = fopen(path, "rb");
    if (!file) fail("%s: %s", path, strerror(errno));
    if (fread(signature, 1, sizeof signature, file) != sizeof signature ||
        png_sig_cmp(signature, 0, sizeof signature) != 0)
        fail("%s: not a PNG file", path);
    rewind(file);

    png_structp png =
        png_create_read_struct(PNG_LIBPNG_VER_STRING, trouble, on_png_error, on_png_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) fail("out of memory");
    bool done = decode_png(png, info, file, image);
    png_destroy_read_struct(&png, &info, NULL);
    fclose(file);
    if (!done) fail("%s: %s", path, trouble);
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

static void write_mask(const char *path, const uint16_t *labels, int32_t width, int32_t height)
{
    char trouble[MESSAGE_SIZE] = "";
    FILE *file = fopen(path, "wb");
    if (!file) fail("%s: %s", path, strerror(errno));
    png_structp png =
        png_create_write_struct(PNG_LIBPNG_VER_STRING, trouble, on_png_error, on_png_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) fail("out of memory");
    png_bytep row = allocate((size_t)width, 1);
    bool done = encode_png(png, info, file, labels, width, height, row);
    free(row);
    png_destroy_write_struct(&png, &info);
    if (fclose(file) != 0 && done) {
        snprintf(trouble, sizeof trouble, "%s", strerror(errno));
        done = false;
    }
    if (!done) {
        remove(path);
        fail("%s: %s", path, trouble);
    }
}

/* ---- A folder of PNGs ---------------------------------------------------- */

static int is_png_name(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && dot != entry->d_name && strcasecmp(dot, ".png") == 0;
}

/* Byte order whatever the locale: 00002.png before 00010.png everywhere. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void push(covey_session *session, const covey_frame *frame)
{
    if (covey_session_push(session, frame) < 0)
        fail("frame %lld: %s", (long long)frame->timestamp, covey_last_error());
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\rread %lld frames", (long long)frame->timestamp + 1);
}

static void push_folder(covey_session *session, const char *folder, struct dirent **names,
                        int count)
{
    int32_t width = 0, height = 0;
    for (int i = 0; i < count; i++) {
        picture image = { 0 };
        char *path = join(folder, names[i]->d_name);
        read_png(path, &image);
        if (i == 0) {
            width = image.width;
            height = image.height;
        }
        if (image.width != width || image.height != height)
            fail("%s is %dx%d, but %s is %dx%d: all frames of a video have one size", path,
                 image.width, image.height, names[0]->d_name, width, height);

        covey_frame frame = { .struct_size = sizeof frame, .format = COVEY_PIXEL_RGB8 };
        frame.width = width;
        frame.height = height;
        frame.planes[0] = image.pixels;
        frame.timestamp = i;
        push(session, &frame);
        free_picture(&image);
        free(path);
    }
}

/* ---- YUV4MPEG2 ----------------------------------------------------------- */

/* A line of a YUV4MPEG2 stream, without its newline; false at the end. */
static bool read_line(FILE *file, char *line, size_t capacity)
{
    size_t length = 0;
    int byte;
    while ((byte = getc(file)) != EOF && byte != '\n') {
        if (length + 1 >= capacity) fail("standard input: not YUV4MPEG2, or damaged");
        line[length++] = (char)byte;
    }
    line[length] = 0;
    if (ferror(file)) fail("standard input: %s", strerror(errno));
    return byte != EOF || length > 0;
}

/* 0, which is refused, for what is no number in range. */
static int32_t parse_side(const char *text)
{
    char *end;
    int64_t side = parse_number(text, &end);
    return side > 0 && side <= MAX_SIDE && *end == 0 ? (int32_t)side : 0;
}

static void read_y4m_header(FILE *file, covey_frame *frame)
{
    char line[1024];
    const char *colour = "420";
    if (!read_line(file, line, sizeof line) || strncmp(line, "YUV4MPEG2 ", 10) != 0)
        fail("standard input is not YUV4MPEG2; make it with\n"
             "  ffmpeg -i VIDEO -pix_fmt yuv420p -f yuv4mpegpipe -");
    for (char *field = strtok(line + 10, " "); field; field = strtok(NULL, " ")) {
        if (*field == 'W') frame->width = parse_side(field + 1);
        if (*field == 'H') frame->height = parse_side(field + 1);
        if (*field == 'C') colour = field + 1;
        if (strcmp(field, "XCOLORRANGE=FULL") == 0)
            fputs("segment: full-range colours are read as limited-range ones; better:\n"
                  "  ffmpeg -i VIDEO -vf scale=out_range=tv -pix_fmt yuv420p -f yuv4mpegpipe -\n",
                  stderr);
    }
    /* The variants of 4:2:0 differ in where between the pixels chroma was
     * measured: nothing that shows at the size the model works at. */
    if (strcmp(colour, "420") == 0 || strcmp(colour, "420jpeg") == 0 ||
        strcmp(colour, "420mpeg2") == 0 || strcmp(colour, "420paldv") == 0)
        frame->format = COVEY_PIXEL_I420;
    else if (strcmp(colour, "mono") == 0)
        frame->format = COVEY_PIXEL_GRAY8;
    else
        fail("standard input has the colour format '%s'; 8-bit 4:2:0 and mono are read:\n"
             "  ffmpeg -i VIDEO -pix_fmt yuv420p -f yuv4mpegpipe -", colour);
    if (frame->width < 1 || frame->height < 1)
        fail("standard input: frames must be 1 to %d pixels wide and high", MAX_SIDE);
}

static int push_y4m(covey_session *session, FILE *file)
{
    covey_frame frame = { .struct_size = sizeof frame };
    char line[1024];
    int count = 0;

    read_y4m_header(file, &frame);
    size_t luma = (size_t)frame.width * (size_t)frame.height;
    size_t chroma = (size_t)((frame.width + 1) / 2) * (size_t)((frame.height + 1) / 2);
    size_t size = frame.format == COVEY_PIXEL_I420 ? luma + 2 * chroma : luma;
    uint8_t *bytes = allocate(size, 1);
    frame.planes[0] = bytes;
    if (frame.format == COVEY_PIXEL_I420) {
        frame.planes[1] = bytes + luma;
        frame.planes[2] = bytes + luma + chroma;
    }
    for (; read_line(file, line, sizeof line); count++) {
        if (strncmp(line, "FRAME", 5) != 0)
            fail("standard input: no frame header at frame %d", count);
        if (fread(bytes, 1, size, file) != size)
            fail("standard input ends in the middle of frame %d", count);
        frame.timestamp = count;
        push(session, &frame);
    }
    free(bytes);
    return count;
}

/* ---- Output -------------------------------------------------------------- */

static void make_folder(const char *output, const char *input)
{
    struct stat out, in;
    if (mkdir(output, 0777) != 0 && errno != EEXIST) fail("%s: %s", output, strerror(errno));
    if (stat(output, &out) != 0) fail("%s: %s", output, strerror(errno));
    if (!S_ISDIR(out.st_mode)) fail("%s: not a folder", output);
    if (stat(input, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        fail("%s: the masks would overwrite the frames; name another folder", output);
}

static int32_t show_progress(void *user_data, covey_stage stage, float fraction)
{
    static const char *const names[] = { "", "encode", "cluster", "merge", "assign" };
    (void)user_data;
    if (stage != COVEY_STAGE_ENCODE && stage <= COVEY_STAGE_ASSIGN && isatty(STDERR_FILENO))
        fprintf(stderr, "\r%-8s %3.0f %%          ", names[stage], 100.0 * (double)fraction);
    return 0;
}

/* Writes the mask of one frame and returns the number of objects of the video. */
static int32_t write_result(const covey_result *result, const char *folder, struct dirent **names)
{
    covey_result_info info = { .struct_size = sizeof info };
    char number[32];
    if (covey_result_get_info(result, &info) < 0) fail("%s", covey_last_error());
    if (info.total_objects > MAX_ID)
        fail("%d ids, but an 8-bit mask has %d; a larger --tau gives fewer", info.total_objects,
             MAX_ID);
    snprintf(number, sizeof number, "%05lld.png", (long long)info.frame_index);
    char *path = join(folder, names ? names[info.frame_index]->d_name : number);
    write_mask(path, covey_result_labels(result), info.width, info.height);
    free(path);
    return info.total_objects;
}

/* ---- The whole ----------------------------------------------------------- */

int main(int argc, char **argv)
{
    arguments given = parse_arguments(argc, argv);
    bool from_folder = strcmp(given.input, "-") != 0;
    struct dirent **names = NULL;
    int count = 0;
    int32_t objects = 0;
    covey_model *model;
    covey_session *session;
    covey_result *result;
    covey_status status;

    if (from_folder) {
        count = scandir(given.input, &names, is_png_name, by_name);
        if (count < 0) fail("%s: %s", given.input, strerror(errno));
        if (count == 0) fail("%s: no PNG files in this folder", given.input);
    }
    given.options.progress = show_progress;
    if (covey_model_load(given.model, NULL, &model) < 0) fail("%s", covey_last_error());
    if (covey_session_create(model, &given.options, &session) < 0)
        fail("%s", covey_last_error());
    make_folder(given.output, given.input);

    if (from_folder) push_folder(session, given.input, names, count);
    else count = push_y4m(session, stdin);
    if (count == 0) fail("standard input: no frames");
    if (covey_session_finish(session) < 0) fail("%s", covey_last_error());

    while ((status = covey_session_next(session, &result)) == COVEY_OK) {
        objects = write_result(result, given.output, names);
        covey_result_free(result);
    }
    if (status < 0) fail("%s", covey_last_error());
    if (isatty(STDERR_FILENO)) fputc('\r', stderr);
    fprintf(stderr, "%d frames, %d %s -> %s\n", count, objects,
            given.options.output == COVEY_OUTPUT_CLUSTERS ? "clusters" : "objects",
            given.output);

    covey_session_free(session);
    covey_model_free(model);
    for (int i = 0; from_folder && i < count; i++) free(names[i]);
    free(names);
    return EXIT_SUCCESS;
}
