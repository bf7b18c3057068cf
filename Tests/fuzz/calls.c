/* The sequence: what is called, and what is neither a session's nor a trainer's. */
#include "calls.h"
#include "check.h"
#include "folder.h"
#include "gguf.h"
#include "small.h"
#include "target.h"
#include "video.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_CALLS = 96 };

bool came_out(covey_status status, outcome outcome, const char *call)
{
    const bool holds = status == COVEY_OK ? outcome.errors == 0
                     : status < 0         ? ((outcome.errors | outcome.too) & one(status)) != 0
                                          : false;
    if (!holds) fprintf(stderr, "%s: %s, %s\n", call, covey_status_string(status), covey_last_error());
    CHECK(holds);
    if (status < 0) CHECK(is_text(covey_last_error()) && *covey_last_error());
    return status == COVEY_OK;
}

/* ---- What stays from sequence to sequence ---------------------------------------------------- */

static struct {
    uint8_t      bytes[MOST_BYTES];
    size_t       size;
    covey_model *model;
} variants[VARIANTS];
static folder files;
static char state[FOLDER_PATH];

const char *state_file(void) { return state; }
covey_model *lasting_model(int variant) { return variants[variant].model; }

static void remove_all(void)
{
    for (int i = 0; i < VARIANTS; i++) covey_model_free(variants[i].model);
    free_folder(&files);
}

static void prepare(void)
{
    if (variants[0].size > 0) return;
    for (int i = 0; i < VARIANTS; i++) {
        const shape shape = shape_of((uint32_t)i);
        variants[i].size = make_model(&shape, (uint32_t)i, variants[i].bytes, MOST_BYTES);
        CHECK_OK(covey_model_load_memory(variants[i].bytes, variants[i].size, NULL, &variants[i].model));
    }
    files = make_folder();
    folder_path(&files, "state", state);
    atexit(remove_all);
}

/* ---- Models ------------------------------------------------------------------------------------- */

static void load(model *model, call call)
{
    const covey_model_options options = { .struct_size = sizeof options,
                                          .read_into_memory = call.a >> 4 & 1 };
    covey_model_free(model->handle);
    model->variant = call.a % VARIANTS;
    const size_t size = variants[model->variant].size;
    const bool is_cut = call.b % 8 == 0;
    const outcome outcome = { is_cut ? one(COVEY_ERROR_FORMAT) : 0, 0 };
    const covey_status status =
        covey_model_load_memory(variants[model->variant].bytes, is_cut ? size * call.a / 256 : size,
                                &options, &model->handle);
    if (!came_out(status, outcome, "load")) CHECK(model->handle == NULL);
}

static void save(const model *model, call call)
{
    char path[FOLDER_PATH];
    folder_path(&files, "model", path);
    const covey_dtype dtype = (covey_dtype)(call.a % 5);
    outcome outcome = { 0, 0 };
    if (!model->handle || dtype < COVEY_DTYPE_F32 || dtype > COVEY_DTYPE_Q8)
        outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    if (!came_out(covey_model_save(model->handle, path, dtype), outcome, "save")) return;
    covey_model *loaded = NULL;
    CHECK_OK(covey_model_load(path, NULL, &loaded));
    CHECK_INT(examine_model(loaded).dtype, dtype);
    covey_model_free(loaded);
}

static void segment(const model *model, call call)
{
    enum { MOST = 4 };
    static uint16_t labels[MOST * SMALL_HEIGHT * SMALL_WIDTH];
    covey_frame frames[MOST];
    bool refused;
    const int count = 1 + call.a % MOST;
    const covey_session_options options = session_options(call, &refused);
    const size_t pixels = SMALL_HEIGHT * SMALL_WIDTH, room = (size_t)count * pixels - (call.b % 8 == 0);
    outcome outcome = { 0, 0 };
    for (int i = 0; i < count; i++) frames[i] = film_frame(i, SMALL_HEIGHT);
    if (call.b % 8 == 0) outcome.errors |= one(COVEY_ERROR_CAPACITY);
    if (refused || !model->handle) outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    int32_t objects = -1;
    const covey_status status =
        covey_segment(model->handle, &options, frames, (size_t)count, labels, room, &objects);
    if (!came_out(status, outcome, "segment")) return;
    CHECK(objects >= 0);
    uint32_t hash = 0;
    for (int i = 0; i < count; i++) {
        const uint32_t found = hash_bytes(2166136261u, labels + (size_t)i * pixels, pixels * sizeof *labels);
        hash = hash_bytes(hash, &found, sizeof found);
    }
    CHECK_INT(hash, plain_run(model->variant, &options, count, SMALL_HEIGHT, NULL));
}

static void estimate(const model *model, call call)
{
    static const int32_t sizes[] = { 1, 19, 1920, 32768, 0, -1, 32769 };
    enum { MOST = 100000000 };
    static const int64_t counts[] = { 1, 3, 1000, MOST, 0, -1, MOST + 1, INT64_MAX };
    covey_memory memory = { .struct_size = sizeof memory };
    bool refused;
    const covey_session_options options = session_options(call, &refused);
    const int32_t width = sizes[call.a % 7], height = sizes[call.b % 7];
    const int64_t frames = counts[(call.a + call.b) % 8];
    outcome outcome = { 0, 0 };
    if (refused || !model->handle || width < 1 || height < 1 || width > 32768 || height > 32768 ||
        frames < 1 || frames > MOST)
        outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    /* Maps over the keys of so many, or so large, frames can be more than 2^61 bytes. */
    if (frames > 3 && (frames == MOST || width > 1920 || height > 1920))
        outcome.too |= one(COVEY_ERROR_MEMORY);
    const covey_status status =
        covey_estimate_memory(model->handle, &options, width, height, frames, &memory);
    if (!came_out(status, outcome, "estimate_memory")) return;
    CHECK(memory.features > 0 && memory.workspace > 0 && memory.weights > 0 && memory.current == 0);
    CHECK(memory.peak >= memory.features && memory.peak >= memory.workspace);
}

static void encode(const model *model, call call)
{
    const covey_frame frame = small_frame(call.a);
    covey_grid grid = { .struct_size = sizeof grid };
    covey_session_options options;
    covey_session_options_init(&options, sizeof options);
    options.threads = 1;
    covey_status status = covey_encode(model->handle, &options, &frame, NULL, 0, NULL, &grid);
    CHECK_STATUS(status, model->handle ? COVEY_ERROR_CAPACITY : COVEY_ERROR_ARGUMENT);
    if (!model->handle) return;
    const size_t patches = (size_t)(grid.rows * grid.columns), count = patches * (size_t)grid.channels;
    float *keys = take((count + patches) * sizeof *keys);
    const bool wanted = call.b % 2, there = shape_of((uint32_t)model->variant).has_cls;
    const outcome outcome = { wanted && !there ? one(COVEY_ERROR_UNSUPPORTED) : 0, 0 };
    status = covey_encode(model->handle, &options, &frame, keys, count,
                          wanted ? keys + count : NULL, &grid);
    came_out(status, outcome, "encode");
    free(keys);
}

/* ---- Everything else ------------------------------------------------------------------------------ */

static void sink(void *user_data, covey_log_level level, const char *message)
{
    CHECK(user_data == &files && level >= COVEY_LOG_ERROR && level <= COVEY_LOG_DEBUG);
    const size_t length = strlen(message);
    CHECK(is_text(message) && length > 0 && message[length - 1] != '\n');
}

static void call_with_null(void)
{
    covey_result *result = NULL;
    covey_session_free(NULL), covey_model_free(NULL), covey_result_free(NULL), covey_trainer_free(NULL);
    covey_session_cancel(NULL), covey_trainer_cancel(NULL);
    CHECK_STATUS(covey_session_push(NULL, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_finish(NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_next(NULL, &result), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_reset(NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_recut(NULL, 0, 0), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_session_get_tree(NULL, NULL, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_trainer_save(NULL, state), COVEY_ERROR_ARGUMENT);
    CHECK(covey_result_labels(NULL) == NULL && *covey_last_error());
    CHECK(covey_result_get_motion(NULL, NULL, NULL) == NULL);
}

static void look_again(const kept *kept)
{
    if (kept->result) CHECK_INT(examine_result(kept->result, &kept->expected), kept->hash);
}

static void drop(kept *kept)
{
    covey_result_free(kept->result);
    kept->result = NULL;
}

static void call_rest(world *world, call call)
{
    model *model = &world->models[call.which % MODELS];
    kept *kept = &world->results[call.which % RESULTS];
    switch (call.what % 16) {
    case 0: case 1: load(model, call); break;
    case 2:
        covey_model_free(model->handle);
        model->handle = NULL;
        break;
    case 3: save(model, call); break;
    case 4: case 5: segment(model, call); break;
    case 6: estimate(model, call); break;
    case 7: encode(model, call); break;
    case 8: case 9: look_again(kept); break;
    case 10: drop(kept); break;
    case 11: covey_set_log(call.a % 2 ? sink : NULL, &files, (covey_log_level)(call.b % 6)); break;
    case 12: call_with_null(); break;
    default: break;
    }
}

/* Handles may be freed in any order. */
static void free_all(world *world, uint32_t random)
{
    const int count = MODELS + FILMS + RESULTS + 1, first = (int)(random % (uint32_t)count);
    for (int i = 0; i < count; i++) {
        const int at = (first + i) % count;
        if (at < MODELS) covey_model_free(world->models[at].handle);
        else if (at < MODELS + FILMS) free_film(&world->films[at - MODELS]);
        else if (at < MODELS + FILMS + RESULTS) drop(&world->results[at - MODELS - FILMS]);
        else free_training(&world->training);
    }
}

/* Most of the first half of a byte are calls of sessions. */
static void make_call(world *world, call call)
{
    const int kind = call.what >> 4;
    if (kind < 10) call_session(world, call);
    else if (kind < 13) call_trainer(world, call);
    else call_rest(world, call);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    world world = { .saved_variant = -1 };
    prepare();
    unlink(state);
    covey_set_log(NULL, NULL, COVEY_LOG_ERROR);
    load(&world.models[0], (call){ 0, 0, 0, 1 });
    load(&world.models[1], (call){ 0, 0, (uint8_t)(1 + size % 7), 1 });
    for (size_t i = 0; i + sizeof(call) <= size && i < MOST_CALLS * sizeof(call); i += sizeof(call)) {
        call call;
        memcpy(&call, data + i, sizeof call);
        make_call(&world, call);
    }
    free_all(&world, hash_bytes(0, data, size));
    return checked();
}

/* ---- Other sequences --------------------------------------------------------------------------- */

/* Sequences that get far, with something between: a session from its frames to its results, a
 * trainer from its steps to a model. */
static size_t fresh(uint32_t seed, uint8_t *bytes, size_t capacity)
{
    enum { LENGTH = 15 };
    static const uint8_t sequences[3][LENGTH] = {
        { 15, 0, 0, 0, 0, 5, 8, 9, 8, 10, 13, 0, 0, 6, 8 },
        { 15, 0, 0, 0, 0, 7, 0, 0, 0, 5, 8, 11, 9, 9, 8 },
        { 0xAF, 0xA0, 0xA4, 0xA6, 0xA0, 0xA4, 0xA8, 0xA0, 0xAA, 0xA5, 0xA6, 0xAF, 0xA8, 0xA1, 0xAB },
    };
    uint32_t random = seed;
    const uint8_t *plain = sequences[draw(&random) % 3];
    size_t size = 0;
    for (size_t i = 0; i < LENGTH; i++) {
        for (uint32_t k = draw(&random) % 4 == 0 ? 2 : 1; k > 0 && size + 4 <= capacity; k--) {
            const uint32_t numbers = draw(&random);
            const uint8_t other = (uint8_t)(draw(&random) >> 3);
            bytes[size++] = k == 2 ? other : plain[i];
            bytes[size++] = (uint8_t)(k == 2 ? numbers : 0);
            bytes[size++] = (uint8_t)(numbers >> 8 | (plain[i] == 0 ? 8 : 0));
            bytes[size++] = (uint8_t)(numbers >> 16);
        }
    }
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed)
{
    uint32_t random = seed;
    const size_t calls = size / sizeof(call);
    if (calls < 2 || draw(&random) % 64 == 0) return fresh(seed, data, capacity);
    uint8_t *at = data + draw(&random) % calls * sizeof(call);
    uint8_t *other = data + draw(&random) % calls * sizeof(call);
    const uint32_t numbers = draw(&random);
    const bool has_room = size + sizeof(call) <= capacity;
    switch (draw(&random) % 8) {
    case 0: case 1: case 2:         /* another call                              */
        if (!has_room) return size;
        memmove(at + sizeof(call), at, size - (size_t)(at - data));
        memcpy(at, &numbers, sizeof(call));
        return size + sizeof(call);
    case 3:                         /* one once more                             */
        if (!has_room) return size;
        memmove(at + sizeof(call), at, size - (size_t)(at - data));
        memcpy(at, other, sizeof(call));
        return size + sizeof(call);
    case 4:                         /* one less                                  */
        memmove(at, at + sizeof(call), size - (size_t)(at - data) - sizeof(call));
        return size - sizeof(call);
    case 5:                         /* called otherwise                          */
        at[1 + numbers % 3] = (uint8_t)(numbers >> 8);
        return size;
    case 6:                         /* of another kind, or another handle        */
        at[numbers % 2] = (uint8_t)(numbers >> 8);
        return size;
    default:
        return LLVMFuzzerMutate(data, size, capacity);
    }
}
