/* Videos made up for the tests, and the shortest way from one to its labels. */
#ifndef VIDEO_H
#define VIDEO_H

#include <covey.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RGB, [frames, height, width, 3]. */
typedef struct video {
    int32_t  width, height, frames;
    uint8_t *pixels;
} video;

/* A textured disc and a square that move over a texture. */
video make_video(int32_t width, int32_t height, int32_t frames, uint32_t seed);
/* All pixels of all frames of one value. */
video make_constant_video(int32_t width, int32_t height, int32_t frames, uint8_t value);
void free_video(video *video);
covey_frame video_frame(const video *video, int32_t index);
/* Pixels of the whole: frames x height x width. */
size_t video_size(const video *video);

/* What the tests run with: the model, and options under which it tells parts
 * of these videos apart. */
typedef struct subject {
    const char           *path;     /* of the weight file                     */
    covey_model          *model;
    covey_model_info      info;
    covey_session_options options;  /* 8 x 6 patches, every one for itself,
                                     * every cluster an id                    */
    int32_t               patch;
    bool                  quick;
} subject;

/* Loads, and looks for a tau by which a made-up video has 3 to 200 clusters:
 * with one cluster, or one for every patch, equal labels would mean little. */
subject open_subject(const char *path, bool quick);
void close_subject(subject *subject);
/* 64 x 48 pixels for a patch of 8; at the working size, or 7 pixels larger. */
video subject_video(const subject *subject, int32_t frames, uint32_t seed);

covey_session *new_session(const subject *subject, const covey_session_options *options);
/* Pushes all frames. */
void push_video(covey_session *session, const video *video);
/* The labels of all frames of a session that has been finished, to be freed;
 * checks the order and the number of the results. */
uint16_t *drain(covey_session *session, const video *video);
/* push, finish, drain. */
uint16_t *run_session(covey_session *session, const video *video);
/* The same in a session of its own. */
uint16_t *run_video(const subject *subject, const covey_session_options *options,
                    const video *video);
int32_t largest_label(const uint16_t *labels, size_t count);

/* malloc that ends the test where there is no memory. */
void *take(size_t bytes);
/* 24 pseudo-random bits, the same everywhere. */
uint32_t next_random(uint32_t *state);

/* The tests, by theme. */
void test_status(const subject *subject);
void test_model(const subject *subject);
void test_files(const subject *subject);
void test_options(const subject *subject);
void test_session(const subject *subject);
void test_frames(const subject *subject);
void test_cancel(const subject *subject);
void test_threads(const subject *subject);
void test_fork(const subject *subject);
void test_floats(const subject *subject);
void test_memory(const subject *subject);
void test_result(const subject *subject);
void test_stages(const subject *subject);
void test_training(const subject *subject);
void test_trainer(const subject *subject);
void test_cluster(const subject *subject);
void test_tree(const subject *subject);
void test_stream(const subject *subject);
void test_shots(const subject *subject);

#endif
