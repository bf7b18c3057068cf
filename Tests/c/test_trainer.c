/* covey_trainer_*: a whole life, and how each call fails. */
#include "check.h"
#include "folder.h"
#include "video.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { LENGTH = 2, CLIPS = 2, FRAMES = LENGTH * CLIPS };

static covey_trainer_options trainer_options(const subject *subject)
{
    covey_trainer_options options;
    covey_trainer_options_init(&options, sizeof options);
    options.threads = 2;
    options.clip_length = LENGTH;
    options.clips_per_step = CLIPS;
    options.working_height = subject->options.working_height;
    options.working_width = subject->options.working_width;
    options.learning_rate = 1e-3f;
    options.total_steps = 20;
    options.positions = 3;
    options.seed = 5;
    return options;
}

static covey_trainer *new_trainer(const subject *subject, const covey_trainer_options *options)
{
    covey_trainer *trainer = NULL;
    if (covey_trainer_create(subject->model, options, &trainer) < 0)
        check_abort(covey_last_error());
    return trainer;
}

static covey_trainer_info trainer_info(const covey_trainer *trainer)
{
    covey_trainer_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_trainer_get_info(trainer, &info));
    return info;
}

/* The file of its state. */
static uint8_t *state(const covey_trainer *trainer, const folder *folder, size_t *size)
{
    char path[FOLDER_PATH];
    folder_path(folder, "now", path);
    CHECK_OK(covey_trainer_save(trainer, path));
    return read_bytes(path, size);
}

static void check_same(const covey_trainer *a, const covey_trainer *b, bool same,
                       const folder *folder)
{
    size_t sizes[2];
    uint8_t *one = state(a, folder, &sizes[0]), *other = state(b, folder, &sizes[1]);
    CHECK_INT(sizes[0], sizes[1]);
    CHECK((memcmp(one, other, sizes[0]) == 0) == same);
    free(one), free(other);
}

static int32_t count_or_cancel(void *user_data, covey_stage stage, float fraction)
{
    int *calls = user_data;
    CHECK(stage == COVEY_STAGE_ENCODE || stage == COVEY_STAGE_TRAIN);
    CHECK(fraction >= 0 && fraction <= 1);
    return calls[0]++ == calls[1];
}

static void check_life(const subject *subject, const covey_frame *frames, const folder *folder)
{
    check_topic("trainer");
    covey_trainer_options options = trainer_options(subject);
    covey_trainer *trainer = new_trainer(subject, &options);
    covey_trainer_info info = trainer_info(trainer);
    int64_t patches = (int64_t)options.working_height / subject->patch * options.working_width /
                      subject->patch;
    CHECK_INT(info.feature_count,
              LENGTH * (patches + info.has_cls) * subject->info.embed_dim);
    CHECK_INT(info.clip_frames, LENGTH);
    CHECK_INT(info.clips_per_step, CLIPS);
    CHECK_INT(info.total_steps, 20);
    CHECK_INT(info.step, 0);
    CHECK(info.memory > 0 && info.memory_peak >= info.memory);

    /* Frames, or their features: the same bits. */
    covey_train_metrics metrics = { .struct_size = sizeof metrics }, again = metrics;
    covey_trainer *other = new_trainer(subject, &options);
    size_t count = (size_t)info.feature_count;
    float *features = take(CLIPS * count * sizeof *features);
    for (int step = 0; step < 2; step++) {
        CHECK_OK(covey_trainer_step(trainer, frames, FRAMES, &metrics));
        for (int clip = 0; clip < CLIPS; clip++)
            CHECK_OK(covey_trainer_encode(other, frames + clip * LENGTH, LENGTH,
                                          (uint64_t)(step * CLIPS + clip), features + clip * count,
                                          count));
        CHECK_OK(covey_trainer_step_features(other, features, CLIPS * count, &again));
        CHECK_INT(metrics.step, step + 1);
        CHECK(metrics.total_loss > 0 && metrics.gradient_norm > 0);
        CHECK(metrics.total_loss == metrics.semantic_loss + metrics.motion_loss);
        CHECK(metrics.total_loss == again.total_loss);
        CHECK(metrics.gradient_norm == again.gradient_norm);
        CHECK(metrics.learning_rate > 0 && metrics.learning_rate < 1.001e-3);
    }
    check_same(trainer, other, true, folder);

    /* Restored, and on. */
    char path[FOLDER_PATH];
    folder_path(folder, "state", path);
    CHECK_OK(covey_trainer_save(trainer, path));
    CHECK_OK(covey_trainer_step(trainer, frames, FRAMES, NULL));
    options.threads = 1;
    options.start = COVEY_START_RANDOM;
    covey_trainer *resumed = new_trainer(subject, &options);
    CHECK_OK(covey_trainer_restore(resumed, path));
    CHECK_INT(trainer_info(resumed).step, 2);
    check_same(trainer, resumed, false, folder);
    CHECK_OK(covey_trainer_step(resumed, frames, FRAMES, NULL));
    check_same(trainer, resumed, true, folder);

    /* What it has learned, as a model. */
    covey_model *model = NULL;
    covey_model_info of_model = { .struct_size = sizeof of_model };
    CHECK_OK(covey_trainer_export(trainer, 0.5f, &model));
    CHECK_OK(covey_model_get_info(model, &of_model));
    CHECK_NEAR(of_model.tau, 0.5, 0);
    CHECK_INT(of_model.dtype, subject->info.dtype);
    CHECK_INT(of_model.embed_dim, subject->info.embed_dim);
    folder_path(folder, "model", path);
    CHECK_OK(covey_model_save(model, path, COVEY_DTYPE_Q8));
    covey_trainer_free(trainer);    /* before what was made by it */
    covey_session *session = NULL;
    CHECK_OK(covey_session_create(model, &subject->options, &session));
    for (int i = 0; i < FRAMES; i++) CHECK_OK(covey_session_push(session, &frames[i]));
    CHECK_OK(covey_session_finish(session));
    covey_session_free(session);
    covey_model_free(model);

    /* Another seed, other bits. */
    options.seed++;
    trainer = new_trainer(subject, &options);
    CHECK_OK(covey_trainer_step(trainer, frames, FRAMES, &metrics));
    CHECK_OK(covey_trainer_step(trainer, frames, FRAMES, &metrics));
    CHECK(metrics.total_loss != again.total_loss);
    covey_trainer_free(trainer), covey_trainer_free(resumed), covey_trainer_free(other);
    covey_trainer_free(NULL);
    covey_trainer_cancel(NULL);
    free(features);
}

static void check_cancel(const subject *subject, const covey_frame *frames, const folder *folder)
{
    check_topic("trainer, cancelled");
    covey_trainer_options options = trainer_options(subject);
    covey_trainer *plain = new_trainer(subject, &options);
    int calls[2] = { 0, -1 };
    options.progress = count_or_cancel;
    options.user_data = calls;
    covey_trainer *trainer = new_trainer(subject, &options);
    size_t count = (size_t)trainer_info(trainer).feature_count;
    float *features = take(count * sizeof *features);
    for (calls[1] = 0; calls[1] < 6; calls[1]++) {
        calls[0] = 0;
        CHECK_ERROR(covey_trainer_step(trainer, frames, FRAMES, NULL), COVEY_ERROR_CANCELLED, "");
    }
    calls[1] = -1;
    covey_trainer_cancel(trainer);
    CHECK_ERROR(covey_trainer_encode(trainer, frames, LENGTH, 0, features, count),
                COVEY_ERROR_CANCELLED, "");
    CHECK_OK(covey_trainer_encode(trainer, frames, LENGTH, 0, features, count));
    check_same(trainer, plain, true, folder);
    CHECK_OK(covey_trainer_step(trainer, frames, FRAMES, NULL));
    CHECK_OK(covey_trainer_step(plain, frames, FRAMES, NULL));
    check_same(trainer, plain, true, folder);
    covey_trainer_free(trainer), covey_trainer_free(plain);
    free(features);
}

static void check_refused_options(const subject *subject)
{
    check_topic("trainer, options refused");
    covey_trainer_options options = trainer_options(subject), good = options;
    covey_trainer *trainer = NULL;
#define REFUSED(field, value, part)                                                            \
    do {                                                                                       \
        options.field = (value);                                                               \
        CHECK_ERROR(covey_trainer_create(subject->model, &options, &trainer),                  \
                    COVEY_ERROR_ARGUMENT, part);                                               \
        CHECK(trainer == NULL);                                                                \
        options = good;                                                                        \
    } while (0)
    CHECK_ERROR(covey_trainer_create(NULL, NULL, &trainer), COVEY_ERROR_ARGUMENT, "model");
    CHECK_ERROR(covey_trainer_create(subject->model, NULL, NULL), COVEY_ERROR_ARGUMENT,
                "out_trainer");
    REFUSED(struct_size, 8, "struct_size");
    REFUSED(threads, 257, "threads");
    REFUSED(start, (covey_trainer_start)3, "start");
    REFUSED(clip_length, 1, "clip_length");
    REFUSED(clip_length, 17, "clip_length");
    REFUSED(clips_per_step, -1, "clips_per_step");
    REFUSED(total_steps, -1, "total_steps");
    REFUSED(positions, 10000, "positions");
    REFUSED(weigh_both, 2, "weigh_both");
    REFUSED(augmentation, 1, "augmentation");
    REFUSED(working_height, 0, "working_height");
    REFUSED(working_width, subject->patch + 1, "working_width");
    REFUSED(learning_rate, -1e-3f, "learning_rate");
    REFUSED(learning_rate, NAN, "learning_rate");
    REFUSED(weight_decay, 2, "weight_decay");
    REFUSED(clip_norm, INFINITY, "clip_norm");
    REFUSED(attention_dropout, 1, "attention_dropout");
    REFUSED(dropout, NAN, "dropout");
    REFUSED(memory_limit, -1, "memory_limit");
    options.memory_limit = 10000;
    CHECK_ERROR(covey_trainer_create(subject->model, &options, &trainer), COVEY_ERROR_MEMORY,
                "the limit is 10000");
#undef REFUSED
}

static void check_refused_calls(const subject *subject, const covey_frame *frames,
                                const folder *folder)
{
    check_topic("trainer, calls refused");
    covey_trainer_options options = trainer_options(subject);
    covey_trainer *trainer = new_trainer(subject, &options);
    covey_trainer *untouched = new_trainer(subject, &options);
    covey_train_metrics metrics = { .struct_size = sizeof metrics };
    covey_trainer_info info = { .struct_size = sizeof info };
    size_t count = (size_t)trainer_info(trainer).feature_count;
    float *features = take(CLIPS * count * sizeof *features);
    memset(features, 0, CLIPS * count * sizeof *features);
    covey_model *model = NULL;
    char path[FOLDER_PATH];

#define ARGUMENT(call, part) CHECK_ERROR(call, COVEY_ERROR_ARGUMENT, part)
    ARGUMENT(covey_trainer_get_info(NULL, &info), "trainer");
    ARGUMENT(covey_trainer_get_info(trainer, NULL), "info");
    info.struct_size = 8;
    ARGUMENT(covey_trainer_get_info(trainer, &info), "struct_size");
    ARGUMENT(covey_trainer_encode(NULL, frames, LENGTH, 0, features, count), "trainer");
    ARGUMENT(covey_trainer_encode(trainer, NULL, LENGTH, 0, features, count), "frames");
    ARGUMENT(covey_trainer_encode(trainer, frames, LENGTH, 0, NULL, count), "features");
    ARGUMENT(covey_trainer_encode(trainer, frames, LENGTH + 1, 0, features, count), "frame_count");
    ARGUMENT(covey_trainer_encode(trainer, frames, LENGTH, 0, features, count - 1),
             "feature_count");
    ARGUMENT(covey_trainer_step_features(NULL, features, CLIPS * count, NULL), "trainer");
    ARGUMENT(covey_trainer_step_features(trainer, NULL, CLIPS * count, NULL), "features");
    ARGUMENT(covey_trainer_step_features(trainer, features, count, NULL), "feature_count");
    features[7] = NAN;
    ARGUMENT(covey_trainer_step_features(trainer, features, CLIPS * count, NULL), "features[7]");
    features[7] = 0;
    metrics.struct_size = 4;
    ARGUMENT(covey_trainer_step_features(trainer, features, CLIPS * count, &metrics), "metrics");
    ARGUMENT(covey_trainer_step(trainer, frames, FRAMES, &metrics), "metrics");
    ARGUMENT(covey_trainer_step(NULL, frames, FRAMES, NULL), "trainer");
    ARGUMENT(covey_trainer_step(trainer, NULL, FRAMES, NULL), "frames");
    ARGUMENT(covey_trainer_step(trainer, frames, FRAMES - 1, NULL), "frame_count");
    ARGUMENT(covey_trainer_step(trainer, frames, SIZE_MAX, NULL), "frame_count");
    covey_frame wrong[FRAMES];
    memcpy(wrong, frames, sizeof wrong);
    wrong[1].width--;
    ARGUMENT(covey_trainer_step(trainer, wrong, FRAMES, NULL), "frames");
    wrong[1].planes[0] = NULL;
    ARGUMENT(covey_trainer_step(trainer, wrong, FRAMES, NULL), "frames[1]");
    ARGUMENT(covey_trainer_save(NULL, "x"), "trainer");
    ARGUMENT(covey_trainer_save(trainer, NULL), "path");
    ARGUMENT(covey_trainer_restore(NULL, "x"), "trainer");
    ARGUMENT(covey_trainer_restore(trainer, NULL), "path");
    ARGUMENT(covey_trainer_export(NULL, 0, &model), "trainer");
    ARGUMENT(covey_trainer_export(trainer, 0, NULL), "out_model");
    ARGUMENT(covey_trainer_export(trainer, -1, &model), "tau");
    ARGUMENT(covey_trainer_export(trainer, NAN, &model), "tau");

    folder_path(folder, "none", path);
    CHECK_ERROR(covey_trainer_restore(trainer, path), COVEY_ERROR_IO, "none");
    CHECK_ERROR(covey_trainer_restore(trainer, subject->path), COVEY_ERROR_FORMAT,
                "expected covey-training");
    /* Of an untouched trainer: whatever length is cut off, no part of it is taken. */
    size_t size;
    uint8_t *bytes = state(untouched, folder, &size);
    folder_path(folder, "cut", path);
    for (size_t cut = 1; cut < size; cut *= 3) {
        write_bytes(path, bytes, size - cut);
        CHECK_ERROR(covey_trainer_restore(trainer, path), COVEY_ERROR_FORMAT, "cut");
    }
    bytes[size - 100] ^= 64;
    write_bytes(path, bytes, size);
    CHECK_ERROR(covey_trainer_restore(trainer, path), COVEY_ERROR_FORMAT, "damaged");
    free(bytes);
    check_same(trainer, untouched, true, folder);
    free(features);
    covey_trainer_free(trainer), covey_trainer_free(untouched);
}

/* Where there is no room for a state, the one before is left, and nothing else. */
static void check_full_disk(const subject *subject, const covey_frame *frames,
                            const folder *folder)
{
    check_topic("trainer, full disk");
    covey_trainer_options options = trainer_options(subject);
    covey_trainer *trainer = new_trainer(subject, &options);
    size_t size, size_after;
    uint8_t *before = state(trainer, folder, &size);
    int files = folder_count(folder);
    char path[FOLDER_PATH];
    folder_path(folder, "now", path);
    CHECK_OK(covey_trainer_step(trainer, frames, FRAMES, NULL));

    struct rlimit limit, small;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0) check_abort("getrlimit");
    small = limit;
    for (rlim_t part = 0; part < 4; part++) {
        small.rlim_cur = (rlim_t)size * part / 4;
        if (setrlimit(RLIMIT_FSIZE, &small) != 0) check_abort("setrlimit");
        covey_status status = covey_trainer_save(trainer, path);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) check_abort("setrlimit");
        CHECK_STATUS(status, COVEY_ERROR_IO);
        CHECK_INT(folder_count(folder), files);
        uint8_t *after = read_bytes(path, &size_after);
        CHECK(size_after == size && memcmp(after, before, size) == 0);
        free(after);
    }
    signal(SIGXFSZ, handler);
    CHECK_OK(covey_trainer_save(trainer, path));
    free(before);
    covey_trainer_free(trainer);
}

void test_trainer(const subject *subject)
{
    folder folder = make_folder();
    video video = subject_video(subject, FRAMES, 3);
    covey_frame frames[FRAMES];
    for (int i = 0; i < FRAMES; i++) frames[i] = video_frame(&video, i);
    check_life(subject, frames, &folder);
    check_cancel(subject, frames, &folder);
    check_refused_options(subject);
    check_refused_calls(subject, frames, &folder);
    check_full_disk(subject, frames, &folder);
    free_video(&video);
    free_folder(&folder);
}
