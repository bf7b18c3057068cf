/* Frames: formats, strides, and what is refused. */
#include "check.h"
#include "video.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- The same picture in every format ---------------------------------------- */

typedef struct yuv {
    int y, u, v;
} yuv;

/* BT.601, limited range, of the middle pixel of each 2 x 2 block: all five
 * formats with chroma then hold the same picture. */
static yuv block_yuv(const video *video, int32_t x, int32_t y)
{
    const uint8_t *rgb = video->pixels + 3 * ((size_t)y * (size_t)video->width + (size_t)x);
    double r = rgb[0], g = rgb[1], b = rgb[2];
    yuv value;
    value.y = (int)lround(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255);
    value.u = (int)lround(128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255);
    value.v = (int)lround(128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255);
    return value;
}

static int to_byte(double value)
{
    return value < 0 ? 0 : value > 255 ? 255 : (int)lround(value);
}

static void yuv_to_rgb(yuv value, uint8_t *rgb)
{
    double y = 255.0 / 219 * (value.y - 16), u = value.u - 128.0, v = value.v - 128.0;
    rgb[0] = (uint8_t)to_byte(y + 1.402 * 255 / 224 * v);
    rgb[1] = (uint8_t)to_byte(y - (0.114 * 1.772 * u + 0.299 * 1.402 * v) / 0.587 * 255 / 224);
    rgb[2] = (uint8_t)to_byte(y + 1.772 * 255 / 224 * u);
}

enum { PADDING = 13, PLANE_CAPACITY = 3 };

/* A frame in memory of its own. */
typedef struct picture {
    covey_frame frame;
    uint8_t    *bytes[PLANE_CAPACITY];
} picture;

static int plane_count(covey_pixel_format format)
{
    return format == COVEY_PIXEL_I420 ? 3
        : format == COVEY_PIXEL_NV12 || format == COVEY_PIXEL_P010 ? 2 : 1;
}

static size_t row_bytes(covey_pixel_format format, int plane, int32_t width)
{
    const size_t pixels = (size_t)width, chroma = (pixels + 1) / 2;
    switch (format) {
    case COVEY_PIXEL_RGB8: case COVEY_PIXEL_BGR8: return 3 * pixels;
    case COVEY_PIXEL_RGBA8: case COVEY_PIXEL_BGRA8: return 4 * pixels;
    case COVEY_PIXEL_I420: return plane == 0 ? pixels : chroma;
    case COVEY_PIXEL_NV12: return plane == 0 ? pixels : 2 * chroma;
    case COVEY_PIXEL_YUYV: return 4 * chroma;
    case COVEY_PIXEL_P010: return plane == 0 ? 2 * pixels : 4 * chroma;
    default: return pixels;
    }
}

static void write_pixel(picture *picture, covey_pixel_format format, int32_t x, int32_t y,
                        const uint8_t *rgb, yuv value)
{
    uint8_t *rows[3] = { NULL, NULL, NULL };
    for (int i = 0; i < plane_count(format); i++) {
        int32_t row = i == 0 ? y : y / 2;
        rows[i] = (uint8_t *)picture->frame.planes[i] + row * picture->frame.strides[i];
    }
    switch (format) {
    case COVEY_PIXEL_RGB8: memcpy(rows[0] + 3 * x, rgb, 3); break;
    case COVEY_PIXEL_RGBA8:
        memcpy(rows[0] + 4 * x, rgb, 3);
        rows[0][4 * x + 3] = (uint8_t)(x * y);
        break;
    case COVEY_PIXEL_BGR8: case COVEY_PIXEL_BGRA8: {
        int32_t step = format == COVEY_PIXEL_BGR8 ? 3 : 4;
        for (int i = 0; i < 3; i++) rows[0][step * x + i] = rgb[2 - i];
        break;
    }
    case COVEY_PIXEL_GRAY8: rows[0][x] = rgb[0]; break;
    case COVEY_PIXEL_I420:
        rows[0][x] = (uint8_t)value.y;
        rows[1][x / 2] = (uint8_t)value.u;
        rows[2][x / 2] = (uint8_t)value.v;
        break;
    case COVEY_PIXEL_NV12:
        rows[0][x] = (uint8_t)value.y;
        rows[1][x / 2 * 2] = (uint8_t)value.u;
        rows[1][x / 2 * 2 + 1] = (uint8_t)value.v;
        break;
    case COVEY_PIXEL_YUYV:
        rows[0][2 * x] = (uint8_t)value.y;
        rows[0][x / 2 * 4 + 1] = (uint8_t)value.u;
        rows[0][x / 2 * 4 + 3] = (uint8_t)value.v;
        break;
    case COVEY_PIXEL_P010: {
        /* What is a byte elsewhere is the high byte of a word. */
        uint8_t luma[] = { 0, (uint8_t)value.y };
        uint8_t chroma[] = { 0, (uint8_t)value.u, 0, (uint8_t)value.v };
        memcpy(rows[0] + 2 * x, luma, sizeof luma);
        memcpy(rows[1] + x / 2 * 4, chroma, sizeof chroma);
        break;
    }
    }
}

/* The first frame of the video.  `layout` 0: rows without padding and strides
 * of 0; 1: padded; -1: padded and bottom-up. */
static picture make_picture(const video *video, covey_pixel_format format, int layout)
{
    picture made;
    memset(&made, 0, sizeof made);
    made.frame = video_frame(video, 0);
    made.frame.format = format;
    made.frame.planes[0] = NULL;
    for (int i = 0; i < plane_count(format); i++) {
        size_t rows = (size_t)(i == 0 ? video->height : (video->height + 1) / 2);
        size_t stride = row_bytes(format, i, video->width) + (layout ? PADDING : 0);
        /* Bytes that belong to nobody are not the same everywhere; none stands
         * behind the last row, so that reading beyond it is noticed. */
        size_t size = stride * rows - (layout == 1 ? PADDING : 0);
        made.bytes[i] = take(size);
        memset(made.bytes[i], layout == 1 ? 0x5A : 0xA7, size);
        made.frame.planes[i] = made.bytes[i] + (layout < 0 ? stride * (rows - 1) : 0);
        made.frame.strides[i] = layout < 0 ? -(ptrdiff_t)stride : (ptrdiff_t)stride;
    }
    for (int32_t y = 0; y < video->height; y++)
        for (int32_t x = 0; x < video->width; x++)
            write_pixel(&made, format, x, y,
                        video->pixels + 3 * ((size_t)y * (size_t)video->width + (size_t)x),
                        block_yuv(video, x / 2 * 2, y / 2 * 2));
    if (layout == 0) memset(made.frame.strides, 0, sizeof made.frame.strides);
    return made;
}

static void free_picture(picture *picture)
{
    for (int i = 0; i < PLANE_CAPACITY; i++) free(picture->bytes[i]);
}

static size_t key_count(const subject *subject)
{
    return 48 * (size_t)subject->info.embed_dim;
}

static float *encode(const subject *subject, const covey_frame *frame)
{
    covey_grid grid = { .struct_size = sizeof grid };
    float *keys = take(key_count(subject) * sizeof *keys);
    memset(keys, 0, key_count(subject) * sizeof *keys);
    CHECK_OK(covey_encode(subject->model, &subject->options, frame, keys, key_count(subject), NULL,
                          &grid));
    CHECK_INT(grid.rows * grid.columns * grid.channels, key_count(subject));
    return keys;
}

static double largest_difference(const float *a, const float *b, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    return largest;
}

static void check_layouts(const subject *subject, const video *video, covey_pixel_format format,
                          const float *expected)
{
    for (int layout = -1; layout <= 1; layout++) {
        check_topic("%dx%d, format %d, layout %d", video->width, video->height, format, layout);
        picture picture = make_picture(video, format, layout);
        float *keys = encode(subject, &picture.frame);
        CHECK_BYTES(keys, expected, key_count(subject) * sizeof *keys);
        free(keys);
        free_picture(&picture);
    }
}

static void test_formats(const subject *subject, int32_t width, int32_t height)
{
    static const covey_pixel_format rgb[] = { COVEY_PIXEL_RGB8, COVEY_PIXEL_BGR8,
                                              COVEY_PIXEL_RGBA8, COVEY_PIXEL_BGRA8 };
    static const covey_pixel_format chroma[] = { COVEY_PIXEL_I420, COVEY_PIXEL_NV12,
                                                 COVEY_PIXEL_YUYV, COVEY_PIXEL_P010 };
    video video = make_video(width, height, 1, 3);
    const size_t pixels = video_size(&video);

    covey_frame frame = video_frame(&video, 0);
    float *expected = encode(subject, &frame);
    for (size_t i = 0; i < sizeof rgb / sizeof *rgb; i++)
        check_layouts(subject, &video, rgb[i], expected);

    /* Those with chroma give the same bits, and nearly what RGB gives that
     * was converted here and rounded to bytes: half a step of 255 in a value is
     * small beside a whole step in everything, which is the scale used. */
    picture picture = make_picture(&video, COVEY_PIXEL_I420, 0);
    float *from_yuv = encode(subject, &picture.frame);
    free_picture(&picture);
    for (size_t i = 0; i < sizeof chroma / sizeof *chroma; i++)
        if (chroma[i] != COVEY_PIXEL_YUYV || width % 2 == 0)
            check_layouts(subject, &video, chroma[i], from_yuv);
    check_topic("%dx%d, I420 against RGB", width, height);
    struct video converted = make_constant_video(width, height, 1, 0);
    struct video shifted = make_constant_video(width, height, 1, 0);
    for (size_t i = 0; i < pixels; i++) {
        int32_t x = (int32_t)(i % (size_t)width) / 2 * 2, y = (int32_t)(i / (size_t)width) / 2 * 2;
        yuv_to_rgb(block_yuv(&video, x, y), converted.pixels + 3 * i);
        for (int c = 0; c < 3; c++)
            shifted.pixels[3 * i + (size_t)c] =
                (uint8_t)(converted.pixels[3 * i + (size_t)c] + (c == 0 ? 4 : -4));
    }
    frame = video_frame(&converted, 0);
    float *from_rgb = encode(subject, &frame);
    frame = video_frame(&shifted, 0);
    float *from_shifted = encode(subject, &frame);
    double found = largest_difference(from_yuv, from_rgb, key_count(subject));
    double step = largest_difference(from_shifted, from_rgb, key_count(subject));
    CHECK(step > 0);
    CHECK_NEAR(found, 0, step);
    CHECK(largest_difference(from_yuv, expected, key_count(subject)) > 0);
    free(from_shifted);
    free(from_rgb);
    free(from_yuv);
    free(expected);

    /* Gray is RGB with three equal values. */
    for (size_t i = 0; i < pixels; i++)
        video.pixels[3 * i + 1] = video.pixels[3 * i + 2] = video.pixels[3 * i];
    frame = video_frame(&video, 0);
    expected = encode(subject, &frame);
    check_layouts(subject, &video, COVEY_PIXEL_GRAY8, expected);
    free(expected);
    free_video(&converted);
    free_video(&shifted);
    free_video(&video);
}

/* ---- Refused ------------------------------------------------------------------ */

static covey_session *refusing;     /* every frame must be refused by it      */

static void check_refused(const covey_frame *frame, const char *part)
{
    CHECK_ERROR(covey_session_push(refusing, frame), COVEY_ERROR_ARGUMENT, part);
}

static void test_refused(const subject *subject)
{
    video video = make_video(6 * subject->patch, 4 * subject->patch, 1, 1);
    refusing = new_session(subject, &subject->options);
    static const int formats[] = { 0, 10, 99, -1, INT32_MAX };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        check_topic("format %d", formats[i]);
        covey_frame frame = video_frame(&video, 0);
        frame.format = (covey_pixel_format)formats[i];
        check_refused(&frame, "format");
    }
    static const int32_t sizes[] = { 0, -1, 32769, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_topic("size %d", sizes[i]);
        covey_frame frame = video_frame(&video, 0);
        frame.width = sizes[i];
        check_refused(&frame, "width");
        frame = video_frame(&video, 0);
        frame.height = sizes[i];
        check_refused(&frame, "height");
    }
    for (int format = COVEY_PIXEL_RGB8; format <= COVEY_PIXEL_P010; format++) {
        const covey_pixel_format pixels = (covey_pixel_format)format;
        picture picture = make_picture(&video, pixels, 1);
        for (int plane = 0; plane < plane_count(pixels); plane++) {
            check_topic("format %d, plane %d", format, plane);
            covey_frame frame = picture.frame;
            frame.planes[plane] = NULL;
            check_refused(&frame, "planes");
            const ptrdiff_t row = (ptrdiff_t)row_bytes(pixels, plane, video.width);
            const ptrdiff_t wrong[] = { row - 1, -(row - 1), 1, -1, PTRDIFF_MAX, PTRDIFF_MIN };
            for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                frame = picture.frame;
                frame.strides[plane] = wrong[i];
                check_refused(&frame, "strides");
            }
        }
        free_picture(&picture);
    }
    check_topic("YUYV of odd width");
    picture picture = make_picture(&video, COVEY_PIXEL_YUYV, 0);
    picture.frame.width--;
    check_refused(&picture.frame, "width");
    free_picture(&picture);

    check_topic("frame struct_size");
    struct { covey_frame frame; uint8_t beyond[16]; } grown;
    memset(&grown, 0, sizeof grown);
    grown.frame = video_frame(&video, 0);
    grown.frame.struct_size = 0;
    check_refused(&grown.frame, "struct_size");
    grown.frame.struct_size = 3;
    check_refused(&grown.frame, "struct_size");
    grown.frame.struct_size = sizeof grown;
    grown.beyond[15] = 1;
    CHECK_STATUS(covey_session_push(refusing, &grown.frame), COVEY_ERROR_VERSION);
    grown.beyond[15] = 0;

    /* After all that, the first frame that is taken is frame 0. */
    check_topic("after refused frames");
    CHECK_OK(covey_session_push(refusing, &grown.frame));
    CHECK_OK(covey_session_finish(refusing));
    uint16_t *labels = drain(refusing, &video);
    uint16_t *expected = run_video(subject, &subject->options, &video);
    CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
    free(labels);
    free(expected);
    covey_session_free(refusing);
    free_video(&video);
}

/* The largest sides, thin so that little memory is needed. */
static void test_largest(const subject *subject)
{
    for (int upright = 0; upright <= 1; upright++) {
        check_topic("largest %s", upright ? "height" : "width");
        video video = upright ? make_video(2, 32768, 1, 1) : make_video(32768, 2, 1, 1);
        covey_session_options options = subject->options;
        uint16_t *labels = run_video(subject, &options, &video);
        CHECK(largest_label(labels, video_size(&video)) >= 1);
        free(labels);
        free_video(&video);
    }
}

void test_frames(const subject *subject)
{
    test_formats(subject, 8 * subject->patch, 6 * subject->patch);
    test_formats(subject, 5 * subject->patch + 3, 7 * subject->patch + 5);
    test_formats(subject, 34, 21);
    test_refused(subject);
    test_largest(subject);
}
