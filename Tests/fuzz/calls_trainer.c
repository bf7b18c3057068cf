/* A trainer. */
#include "calls.h"
#include "check.h"
#include "small.h"
#include "video.h"

#include <stdlib.h>
#include <string.h>

static int32_t progress(void *user_data, covey_stage stage, float fraction)
{
    training *training = user_data;
    caller *caller = &training->caller;
    CHECK(stage == COVEY_STAGE_ENCODE || stage == COVEY_STAGE_TRAIN);
    CHECK(fraction >= 0 && fraction <= 1);
    if (caller->behaviour == CALLS_BACK) {
        const covey_frame frames[2] = { small_frame(0), small_frame(1) };
        covey_model *model = NULL;
        covey_trainer_info info = { .struct_size = sizeof info };
        CHECK_STATUS(covey_trainer_step(training->trainer, frames, 2, NULL), COVEY_ERROR_STATE);
        CHECK_STATUS(covey_trainer_save(training->trainer, state_file()), COVEY_ERROR_STATE);
        CHECK_STATUS(covey_trainer_restore(training->trainer, state_file()), COVEY_ERROR_STATE);
        CHECK_STATUS(covey_trainer_export(training->trainer, 0, &model), COVEY_ERROR_STATE);
        CHECK_OK(covey_trainer_get_info(training->trainer, &info));
    }
    if (++caller->calls % caller->answer_at != 0) return 0;
    if (caller->behaviour == CANCELS) covey_trainer_cancel(training->trainer);
    caller->has_refused = caller->behaviour == CANCELS || caller->behaviour == SAYS_NO;
    return caller->behaviour == SAYS_NO;
}

void free_training(training *training)
{
    covey_trainer_free(training->trainer);
    memset(training, 0, sizeof *training);
}

static void create(world *world, call call)
{
    training *training = &world->training;
    const model *model = &world->models[call.which % MODELS];
    covey_trainer_options options;
    outcome outcome = { 0, 0 };
    free_training(training);
    covey_trainer_options_init(&options, sizeof options);
    options.threads = 1 + (call.a & 1);
    options.clip_length = 2;
    options.positions = 2;
    options.start = (covey_trainer_start)(call.a % 13 == 0 ? 3 : call.a % 3);
    options.progress = progress;
    options.user_data = training;
    if (call.b >> 6 == 3) options.memory_limit = 1000 << (call.b & 15);
    if (call.a >> 3 == 31) options.clip_length = 17;
    training->variant = model->variant;
    training->is_limited = options.memory_limit > 0;
    training->caller.behaviour = (behaviour)(call.b & 3);
    training->caller.answer_at = 1 + (call.b >> 2 & 7);
    if (!model->handle || options.start > COVEY_START_RANDOM || options.clip_length > 16)
        outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    if (training->is_limited) outcome.too |= one(COVEY_ERROR_MEMORY);
    if (!came_out(covey_trainer_create(model->handle, &options, &training->trainer), outcome,
                  "trainer_create"))
        CHECK(training->trainer == NULL);
}

static void begin(training *training, outcome *outcome)
{
    training->caller.has_refused = false;
    if (training->is_cancelled) outcome->errors |= one(COVEY_ERROR_CANCELLED);
    if (training->is_limited) outcome->too |= one(COVEY_ERROR_MEMORY);
}

/* A cancel that another error forestalled ends the next call. */
static bool end(training *training, covey_status status, outcome outcome, const char *name)
{
    if (training->caller.has_refused) outcome.errors |= one(COVEY_ERROR_CANCELLED);
    if (status == COVEY_ERROR_CANCELLED) training->is_cancelled = false;
    else if (training->caller.behaviour == CANCELS) training->is_cancelled |= training->caller.has_refused;
    return came_out(status, outcome, name);
}

static covey_trainer_info info_of(const training *training)
{
    covey_trainer_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_trainer_get_info(training->trainer, &info));
    CHECK_INT(info.step, training->steps);
    CHECK(info.memory_peak >= info.memory && info.memory > 0 && info.clip_frames == 2);
    return info;
}

static void step(training *training, call call)
{
    covey_frame frames[2] = { small_frame(call.b), small_frame(call.b + 1) };
    covey_train_metrics metrics = { .struct_size = sizeof metrics };
    size_t count = 2;
    outcome outcome = { 0, 0 };
    begin(training, &outcome);
    switch (call.a % 16) {
    case 0: count = 1; break;
    case 1: frames[1].height--; break;
    case 2: metrics.struct_size = 1; break;
    case 3: frames[1].width = -1; break;
    }
    if (call.a % 16 < 4) outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    if (end(training, covey_trainer_step(training->trainer, frames, count, &metrics), outcome, "step"))
        CHECK_INT(metrics.step, ++training->steps);
    info_of(training);
}

static void encode_and_step(training *training, call call)
{
    const covey_frame frames[2] = { small_frame(call.b), small_frame(call.b + 1) };
    const size_t count = (size_t)info_of(training).feature_count;
    float *features = take(count * sizeof *features);
    outcome outcome = { 0, 0 };
    begin(training, &outcome);
    if (call.a % 8 == 0) outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    covey_status status = covey_trainer_encode(training->trainer, frames, 2, call.b, features,
                                               count - (call.a % 8 == 0));
    if (end(training, status, outcome, "encode")) {
        outcome.errors = outcome.too = 0;
        begin(training, &outcome);
        status = covey_trainer_step_features(training->trainer, features, count, NULL);
        if (end(training, status, outcome, "step_features")) training->steps++;
    }
    info_of(training);
    free(features);
}

static void save(world *world)
{
    CHECK_OK(covey_trainer_save(world->training.trainer, state_file()));
    world->saved_variant = world->training.variant;
    world->saved_steps = world->training.steps;
}

static void restore(world *world)
{
    training *training = &world->training;
    outcome outcome = { 0, 0 };
    if (world->saved_variant < 0) outcome.errors |= one(COVEY_ERROR_IO);
    else if (world->saved_variant != training->variant) outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    if (came_out(covey_trainer_restore(training->trainer, state_file()), outcome, "restore"))
        training->steps = world->saved_steps;
    info_of(training);
}

static void export(const training *training, call call)
{
    static const float taus[] = { 0, 0.5f, 1000, -1 };
    const float tau = taus[call.a % 4];
    covey_model *model = NULL;
    const outcome outcome = { tau < 0 ? one(COVEY_ERROR_ARGUMENT) : 0, 0 };
    if (came_out(covey_trainer_export(training->trainer, tau, &model), outcome, "export"))
        examine_model(model);
    covey_model_free(model);
}

void call_trainer(world *world, call call)
{
    training *training = &world->training;
    if (!training->trainer || call.what % 16 == 15) {
        create(world, call);
        return;
    }
    switch (call.what % 16) {
    case 0: case 1: case 2: case 3: step(training, call); break;
    case 4: case 5: encode_and_step(training, call); break;
    case 6: case 7: save(world); break;
    case 8: case 9: restore(world); break;
    case 10: case 11: export(training, call); break;
    case 12: case 13:
        covey_trainer_cancel(training->trainer);
        training->is_cancelled = true;
        break;
    default: free_training(training);
    }
}
