/* covey_train_gradients and covey_train_apply: what the checks against PyTorch do not
 * see, which is how they fail. */
#include "check.h"
#include "video.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = 2, PATCHES = 60, CHANNELS = 16, HIDDEN = 32 };
enum {
    WEIGHTS = 4 * CHANNELS * CHANNELS + 2 * CHANNELS * HIDDEN + HIDDEN + 6 * CHANNELS,
    FEATURES = FRAMES * (PATCHES + 1) * CHANNELS
};

static float *numbers(size_t count, uint32_t seed, float size)
{
    float *made = take(count * sizeof *made);
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        made[i] = size * ((float)(seed >> 8) / 8388608 - 1);
    }
    return made;
}

void test_training(const subject *subject)
{
    (void)subject;
    float *weights = numbers(WEIGHTS, 1, 0.3f), *features = numbers(FEATURES, 2, 1);
    float *gradients = take(WEIGHTS * sizeof *gradients);
    const int32_t positions[3] = { 0, 31, 59 };
    covey_train_clip clip = {
        .struct_size = sizeof clip, .frames = FRAMES, .patches = PATCHES, .channels = CHANNELS,
        .heads = 2, .hidden = HIDDEN, .position_count = 3, .features = features,
        .positions = positions };
    covey_train_options options = { .struct_size = sizeof options, .threads = 2, .seed = 7 };
    covey_train_losses losses = { .struct_size = sizeof losses };

    check_topic("training");
    CHECK_OK(covey_train_gradients(&clip, &options, weights, WEIGHTS, gradients, &losses));
    CHECK(losses.semantic > 0 && losses.motion > 0 && losses.peak_bytes > 0);
    size_t set = 0, odd = 0;
    for (size_t i = 0; i < WEIGHTS; i++) {
        set += gradients[i] != 0;
        odd += !isfinite(gradients[i]);
    }
    CHECK(set > WEIGHTS / 2);
    CHECK_INT(odd, 0);
    covey_train_losses again = { .struct_size = sizeof again };
    CHECK_OK(covey_train_gradients(&clip, &options, weights, WEIGHTS, gradients, &again));
    CHECK(again.semantic == losses.semantic && again.motion == losses.motion);

    covey_train_update update = {
        .struct_size = sizeof update, .channels = CHANNELS, .heads = 2, .hidden = HIDDEN,
        .learning_rate = 1e-3, .weight_decay = 0.1 };
    float *first = numbers(WEIGHTS, 0, 0), *second = numbers(WEIGHTS, 0, 0);
    double norm = 0;
    CHECK_OK(covey_train_apply(&update, weights, gradients, first, second, WEIGHTS, &norm));
    CHECK(norm > 0);
    CHECK_OK(covey_train_gradients(&clip, NULL, weights, WEIGHTS, gradients, &again));
    CHECK(again.semantic != losses.semantic);

    check_topic("training, refused");
#define GRADIENTS() covey_train_gradients(&clip, &options, weights, WEIGHTS, gradients, &losses)
#define REFUSED(field, value, part)                          \
    do {                                                     \
        covey_train_clip clip_before = clip;                 \
        covey_train_options options_before = options;        \
        field = (value);                                     \
        CHECK_ERROR(GRADIENTS(), COVEY_ERROR_ARGUMENT, part); \
        clip = clip_before;                                  \
        options = options_before;                            \
    } while (0)
    CHECK_ERROR(covey_train_gradients(NULL, NULL, weights, WEIGHTS, gradients, &losses),
                COVEY_ERROR_ARGUMENT, "clip");
    CHECK_ERROR(covey_train_gradients(&clip, NULL, NULL, WEIGHTS, gradients, &losses),
                COVEY_ERROR_ARGUMENT, "weights");
    CHECK_ERROR(covey_train_gradients(&clip, NULL, weights, WEIGHTS, NULL, &losses),
                COVEY_ERROR_ARGUMENT, "gradients");
    CHECK_ERROR(covey_train_gradients(&clip, NULL, weights, WEIGHTS, gradients, NULL),
                COVEY_ERROR_ARGUMENT, "losses");
    CHECK_ERROR(covey_train_gradients(&clip, NULL, weights, WEIGHTS - 1, gradients, &losses),
                COVEY_ERROR_ARGUMENT, "weight_count");
    REFUSED(clip.struct_size, 0, "struct_size");
    REFUSED(options.struct_size, 8, "struct_size");
    REFUSED(clip.features, NULL, "clip.features");
    REFUSED(clip.frames, 0, "frames");
    REFUSED(clip.patches, 0, "patches");
    REFUSED(clip.patches, INT32_MAX, "patches");
    REFUSED(clip.channels, INT32_MAX, "channels");
    REFUSED(clip.heads, -2, "heads");
    REFUSED(clip.hidden, 0, "hidden");
    REFUSED(clip.layer_norm_eps, NAN, "epsilon");
    REFUSED(clip.position_count, 0, "positions");
    REFUSED(clip.position_count, PATCHES + 1, "positions");
    REFUSED(options.threads, -1, "threads");
    REFUSED(options.attention_dropout, NAN, "dropout");
    REFUSED(options.dropout, 1, "dropout");
    REFUSED(options.motion_negatives, -3, "negatives");
    REFUSED(options.memory_limit, -1, "memory_limit");
    options.memory_limit = 50000;
    CHECK_ERROR(GRADIENTS(), COVEY_ERROR_MEMORY, "the limit is 50000");
    options.memory_limit = 0;
    weights[3] = INFINITY;
    CHECK_ERROR(GRADIENTS(), COVEY_ERROR_ARGUMENT, "weights[3]");
    weights[3] = 1;
    update.learning_rate = NAN;
    CHECK_ERROR(covey_train_apply(&update, weights, gradients, first, second, WEIGHTS, NULL),
                COVEY_ERROR_ARGUMENT, "learning_rate");
    update.learning_rate = 0;
    update.step = INT32_MAX;
    CHECK_ERROR(covey_train_apply(&update, weights, gradients, first, second, WEIGHTS, NULL),
                COVEY_ERROR_ARGUMENT, "step");
    free(second), free(first), free(gradients), free(features), free(weights);
}
