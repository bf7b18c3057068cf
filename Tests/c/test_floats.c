/* Hosts whose numbers trap, round otherwise, or lose what is subnormal. */
#include "check.h"
#include "video.h"
#include "folder.h"

#include <fenv.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

typedef struct outcome {
    size_t    count;
    float    *keys;
    uint16_t *labels, *streamed;
    double    loss;
} outcome;

static outcome run_all(const subject *subject, const video *video)
{
    outcome found;
    covey_session_options options = subject->options;
    covey_frame frame = video_frame(video, 0);
    covey_grid grid = { .struct_size = sizeof grid };
    options.threads = 2;
    found.count = 8 * 6 * (size_t)subject->info.embed_dim;
    found.keys = take(found.count * sizeof(float));
    CHECK_OK(covey_encode(subject->model, &options, &frame, found.keys, found.count, NULL, &grid));
    found.labels = run_video(subject, &options, video);
    options.streaming = 1;
    found.streamed = run_video(subject, &options, video);

    covey_trainer_options training;
    covey_trainer_options_init(&training, sizeof training);
    training.working_width = 8 * subject->patch;
    training.working_height = 6 * subject->patch;
    training.threads = 2;
    covey_trainer *trainer = NULL;
    covey_train_metrics metrics = { .struct_size = sizeof metrics };
    covey_frame frames[3];
    for (int32_t t = 0; t < 3; t++) frames[t] = video_frame(video, t);
    CHECK_OK(covey_trainer_create(subject->model, &training, &trainer));
    CHECK_OK(covey_trainer_step(trainer, frames, 3, &metrics));
    covey_model *adapted = NULL;
    CHECK_OK(covey_trainer_export(trainer, 0, &adapted));
    covey_model_free(adapted);
    covey_trainer_free(trainer);
    found.loss = metrics.total_loss;

    folder folder = make_folder();
    char path[FOLDER_PATH];
    folder_path(&folder, "q8.gguf", path);
    CHECK_OK(covey_model_save(subject->model, path, COVEY_DTYPE_Q8));
    CHECK_OK(covey_model_load(path, NULL, &adapted));
    covey_model_free(adapted);
    free_folder(&folder);
    return found;
}

static void free_outcome(outcome *found)
{
    free(found->keys);
    free(found->labels);
    free(found->streamed);
}

/* Runs everything in the environment as it is now, and looks whether it stays. */
static void run_here(const subject *subject, const video *video, const outcome *expected)
{
    fenv_t before, after;
    memset(&before, 0, sizeof before);
    memset(&after, 0, sizeof after);
    fegetenv(&before);
    outcome found = run_all(subject, video);
    fegetenv(&after);
    fesetenv(FE_DFL_ENV);       /* the checks are not to trap */
    CHECK_BYTES(&after, &before, sizeof before);
    CHECK_BYTES(found.keys, expected->keys, found.count * sizeof(float));
    CHECK_BYTES(found.labels, expected->labels, video_size(video) * sizeof(uint16_t));
    CHECK_BYTES(found.streamed, expected->streamed, video_size(video) * sizeof(uint16_t));
    CHECK(found.loss == expected->loss);
    free_outcome(&found);
}

void test_floats(const subject *subject)
{
    check_topic("floating point as usual");
    video video = subject_video(subject, 4, 1);
    fesetenv(FE_DFL_ENV);
    outcome expected = run_all(subject, &video);

    /* Processors without traps say so. */
    static const int traps[] = { FE_INVALID, FE_DIVBYZERO, FE_OVERFLOW, FE_UNDERFLOW, FE_INEXACT };
    const size_t count = subject->quick ? 1 : sizeof traps / sizeof *traps;
    for (size_t i = 0; i < count; i++) {
        check_topic("trap %d", traps[i]);
        if (feenableexcept(traps[i]) == -1) continue;
        run_here(subject, &video, &expected);
    }
    static const int roundings[] = { FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
    for (size_t i = 0; i < (subject->quick ? 0 : sizeof roundings / sizeof *roundings); i++) {
        check_topic("rounding %d", roundings[i]);
        if (!CHECK_INT(fesetround(roundings[i]), 0)) continue;
        run_here(subject, &video, &expected);
    }
#if defined(__SSE__)
    check_topic("subnormal numbers are zero");
    _mm_setcsr(_mm_getcsr() | 0x8040);
    run_here(subject, &video, &expected);
#endif
    check_topic("a flag that the host has raised");
    feraiseexcept(FE_INVALID);
    run_here(subject, &video, &expected);
    free_outcome(&expected);
    free_video(&video);
}
