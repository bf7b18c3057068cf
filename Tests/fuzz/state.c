/* States of a training: restored or refused; what was refused has changed nothing, and what was
 * restored is the same again when it is saved. */
#include "check.h"
#include "examine.h"
#include "folder.h"
#include "gguf.h"
#include "mutate.h"
#include "small.h"
#include "target.h"
#include "video.h"

#include <stdlib.h>
#include <string.h>

/* Made once: the model, the features of a clip, and where files are. */
static covey_model *model;
static float *features;
static size_t feature_count;
static folder files;
static char given[FOLDER_PATH], before[FOLDER_PATH], after[FOLDER_PATH];

static covey_trainer *make_trainer(void)
{
    covey_trainer_options options;
    covey_trainer *trainer = NULL;
    covey_trainer_options_init(&options, sizeof options);
    options.threads = 1;
    options.clip_length = 2;
    options.positions = 2;
    options.total_steps = 10;
    options.seed = 5;
    if (!CHECK_OK(covey_trainer_create(model, &options, &trainer))) check_abort("no trainer");
    return trainer;
}

static void remove_files(void)
{
    free_folder(&files);
    free(features);
    covey_model_free(model);
}

static void prepare(void)
{
    static uint8_t bytes[MOST_BYTES];
    if (model) return;
    const shape shape = shape_of(0);
    const size_t size = make_model(&shape, 0, bytes, sizeof bytes);
    if (!CHECK_OK(covey_model_load_memory(bytes, size, NULL, &model))) check_abort("no model");
    files = make_folder();
    folder_path(&files, "given", given);
    folder_path(&files, "before", before);
    folder_path(&files, "after", after);
    covey_trainer *trainer = make_trainer();
    covey_trainer_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_trainer_get_info(trainer, &info));
    feature_count = (size_t)info.feature_count;
    features = take(feature_count * sizeof *features);
    const covey_frame frames[2] = { small_frame(0), small_frame(1) };
    CHECK_OK(covey_trainer_encode(trainer, frames, 2, 1, features, feature_count));
    covey_trainer_free(trainer);
    atexit(remove_files);
}

static covey_status step(covey_trainer *trainer)
{
    return covey_trainer_step_features(trainer, features, feature_count, NULL);
}

/* The state of a trainer as it goes on, after so many steps. */
static size_t fresh(uint32_t seed, uint8_t *bytes, size_t capacity)
{
    prepare();
    covey_trainer *trainer = make_trainer();
    for (uint32_t i = 0; i < seed % 4; i++) CHECK_OK(step(trainer));
    CHECK_OK(covey_trainer_save(trainer, given));
    covey_trainer_free(trainer);
    size_t size;
    uint8_t *found = read_bytes(given, &size);
    if (size > capacity) check_abort("a state is larger than the inputs");
    memcpy(bytes, found, size);
    free(found);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed)
{
    return mutate_file(data, size, capacity, seed, fresh);
}

static void check_same_files(void)
{
    size_t size, size_before;
    uint8_t *bytes = read_bytes(after, &size), *bytes_before = read_bytes(before, &size_before);
    if (CHECK_INT(size, size_before)) CHECK_BYTES(bytes, bytes_before, size);
    free(bytes);
    free(bytes_before);
}

static int64_t steps(const covey_trainer *trainer)
{
    covey_trainer_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_trainer_get_info(trainer, &info));
    return info.step;
}

/* Both are in the same state, and both go on the same way. */
static void go_on(covey_trainer *trainer, covey_trainer *other)
{
    const int64_t made = steps(trainer);
    const covey_status status = step(trainer);
    CHECK_STATUS(step(other), status);
    if (status != COVEY_OK) {
        /* The losses are not finite: the step has not been made. */
        CHECK_STATUS(status, COVEY_ERROR_ARGUMENT);
        CHECK_INT(steps(trainer), made);
    } else {
        CHECK_INT(steps(trainer), made + 1);
    }
    const covey_status saved = covey_trainer_save(trainer, before);
    CHECK_STATUS(covey_trainer_save(other, after), saved);
    covey_model *exported = NULL;
    if (saved == COVEY_OK) {
        check_same_files();
        CHECK_OK(covey_trainer_export(trainer, 0, &exported));
        examine_model(exported);
    } else {
        CHECK_STATUS(saved, COVEY_ERROR_STATE);
        CHECK_STATUS(covey_trainer_export(trainer, 0, &exported), COVEY_ERROR_STATE);
    }
    covey_model_free(exported);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prepare();
    covey_trainer *trainer = make_trainer();
    CHECK_OK(step(trainer));
    CHECK_OK(covey_trainer_save(trainer, before));
    write_bytes(given, data, size);
    const covey_status status = covey_trainer_restore(trainer, given);
    if (status == COVEY_OK) {
        covey_trainer *other = make_trainer();
        CHECK_OK(covey_trainer_save(trainer, before));
        CHECK_OK(covey_trainer_restore(other, before));
        CHECK_OK(covey_trainer_save(other, after));
        check_same_files();
        go_on(trainer, other);
        covey_trainer_free(other);
    } else {
        CHECK(status == COVEY_ERROR_FORMAT || status == COVEY_ERROR_VERSION ||
              status == COVEY_ERROR_UNSUPPORTED || status == COVEY_ERROR_ARGUMENT);
        CHECK(is_text(covey_last_error()));
        CHECK(strncmp(covey_last_error(), given, strlen(given)) == 0);
        CHECK_INT(steps(trainer), 1);
        CHECK_OK(covey_trainer_save(trainer, after));
        check_same_files();
    }
    covey_trainer_free(trainer);
    return checked();
}
