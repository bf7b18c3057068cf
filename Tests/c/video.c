#include "video.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

void *take(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) check_abort("no memory for the test itself");
    return memory;
}

uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

video make_video(int32_t width, int32_t height, int32_t frames, uint32_t seed)
{
    video made = { width, height, frames, NULL };
    made.pixels = take(3 * video_size(&made));
    uint8_t *pixel = made.pixels;
    uint32_t noise = seed;
    int32_t across = (int32_t)(seed % 3) + 1;
    for (int32_t t = 0; t < frames; t++) {
        for (int32_t y = 0; y < height; y++) {
            for (int32_t x = 0; x < width; x++, pixel += 3) {
                /* Shapes are laid out in 64ths of the frame. */
                int32_t u = x * 64 / width, v = y * 64 / height;
                int32_t du = u - (12 + t * across) % 64, dv = v - 20;
                bool disc = du * du + dv * dv < 12 * 12;
                int32_t left = (44 + 62 * t) % 64;
                bool square = u >= left && u < left + 20 && v >= 36 && v < 58;
                int32_t grain = (int32_t)(next_random(&noise) % 16);
                int32_t stripes = (x / 3 + y / 5) % 2 * 24;
                pixel[0] = (uint8_t)(square ? 220 - stripes : disc ? 30 + grain : 90 + grain);
                pixel[1] = (uint8_t)(square ? 200 - grain : disc ? 20 + stripes : 130 + grain);
                pixel[2] = (uint8_t)(square ? 20 + grain : disc ? 200 + grain : 80 + grain);
            }
        }
    }
    return made;
}

video make_constant_video(int32_t width, int32_t height, int32_t frames, uint8_t value)
{
    video made = { width, height, frames, NULL };
    made.pixels = take(3 * video_size(&made));
    memset(made.pixels, value, 3 * video_size(&made));
    return made;
}

void free_video(video *video)
{
    free(video->pixels);
    video->pixels = NULL;
}

size_t video_size(const video *video)
{
    return (size_t)video->frames * (size_t)video->height * (size_t)video->width;
}

covey_frame video_frame(const video *video, int32_t index)
{
    covey_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.format = COVEY_PIXEL_RGB8;
    frame.width = video->width;
    frame.height = video->height;
    frame.planes[0] =
        video->pixels + 3 * (size_t)index * (size_t)video->width * (size_t)video->height;
    frame.timestamp = 1000 + 40 * (int64_t)index;
    return frame;
}

covey_session *new_session(const subject *subject, const covey_session_options *options)
{
    covey_session *session = NULL;
    if (!CHECK_OK(covey_session_create(subject->model, options, &session)) || !session)
        check_abort("no session");
    return session;
}

void push_video(covey_session *session, const video *video)
{
    for (int32_t t = 0; t < video->frames; t++) {
        covey_frame frame = video_frame(video, t);
        CHECK_OK(covey_session_push(session, &frame));
    }
}

uint16_t *drain(covey_session *session, const video *video)
{
    size_t pixels = (size_t)video->width * (size_t)video->height;
    uint16_t *labels = take(video_size(video) * sizeof *labels);
    memset(labels, 0xFF, video_size(video) * sizeof *labels);
    covey_status status;
    covey_result *result = NULL;
    int32_t count = 0;
    while ((status = covey_session_next(session, &result)) == COVEY_OK) {
        covey_result_info info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        CHECK_OK(covey_result_get_info(result, &info));
        CHECK_INT(info.frame_index, count);
        CHECK_INT(info.timestamp, 1000 + 40 * (int64_t)count);
        CHECK_INT(info.width, video->width);
        CHECK_INT(info.height, video->height);
        if (count < video->frames && info.width == video->width && info.height == video->height)
            memcpy(labels + (size_t)count * pixels, covey_result_labels(result),
                   pixels * sizeof *labels);
        covey_result_free(result);
        result = NULL;
        count++;
    }
    CHECK_STATUS(status, COVEY_END);
    CHECK_INT(count, video->frames);
    return labels;
}

uint16_t *run_session(covey_session *session, const video *video)
{
    push_video(session, video);
    CHECK_OK(covey_session_finish(session));
    return drain(session, video);
}

uint16_t *run_video(const subject *subject, const covey_session_options *options,
                    const video *video)
{
    covey_session *session = new_session(subject, options);
    uint16_t *labels = run_session(session, video);
    covey_session_free(session);
    return labels;
}

int32_t largest_label(const uint16_t *labels, size_t count)
{
    int32_t largest = 0;
    for (size_t i = 0; i < count; i++)
        if (labels[i] > largest) largest = labels[i];
    return largest;
}

video subject_video(const subject *subject, int32_t frames, uint32_t seed)
{
    return make_video(8 * subject->patch + 7, 6 * subject->patch, frames, seed);
}

static float find_tau(const subject *subject)
{
    video video = subject_video(subject, 6, 1);
    float found = 0;
    /* Down from where all is one. */
    for (float tau = 8; tau > 1e-6f && found == 0; tau *= 0.45f) {
        covey_session_options options = subject->options;
        options.tau = tau;
        uint16_t *labels = run_video(subject, &options, &video);
        int32_t clusters = largest_label(labels, video_size(&video));
        if (clusters > 200) check_abort("no tau gives 3 to 200 clusters");
        if (clusters >= 3) found = tau;
        free(labels);
    }
    if (found == 0) check_abort("no tau gives 3 clusters");
    free_video(&video);
    return found;
}

subject open_subject(const char *path, bool quick)
{
    subject opened;
    memset(&opened, 0, sizeof opened);
    opened.path = path;
    opened.quick = quick;
    if (!CHECK_OK(covey_model_load(path, NULL, &opened.model)) || !opened.model)
        check_abort("no model");
    opened.info.struct_size = sizeof opened.info;
    CHECK_OK(covey_model_get_info(opened.model, &opened.info));
    opened.patch = opened.info.patch_size;
    if (opened.patch < 1) check_abort("no patch size");
    covey_session_options_init(&opened.options, sizeof opened.options);
    opened.options.working_width = 8 * opened.patch;
    opened.options.working_height = 6 * opened.patch;
    opened.options.threads = 1;
    opened.options.output = COVEY_OUTPUT_CLUSTERS;
    opened.options.min_area = -1;
    opened.options.query_pool = 1;
    opened.options.mask = COVEY_MASK_NEAREST;    /* every cluster has its pixels */
    opened.options.tau = find_tau(&opened);
    opened.options.mask = COVEY_MASK_REFINED;
    return opened;
}

void close_subject(subject *subject)
{
    covey_model_free(subject->model);
    subject->model = NULL;
}
