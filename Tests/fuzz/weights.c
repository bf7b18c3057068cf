/* Weight files: loaded or refused, and what is loaded is used for all there is. */
#include "check.h"
#include "examine.h"
#include "folder.h"
#include "mutate.h"
#include "small.h"
#include "target.h"

#include <stdlib.h>
#include <string.h>

static size_t fresh(uint32_t seed, uint8_t *bytes, size_t capacity)
{
    const shape shape = shape_of(seed);
    return make_model(&shape, seed, bytes, capacity);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed)
{
    return mutate_file(data, size, capacity, seed, fresh);
}

enum { FRAMES = 3 };

/* The labels of all frames of a session; it can be cut again. */
static uint32_t drain(covey_session *session, uint32_t before)
{
    covey_result *result = NULL;
    covey_status status;
    int64_t index = 0;
    while ((status = covey_session_next(session, &result)) == COVEY_OK) {
        const expected_result expected = { index, 1000 + index, SMALL_WIDTH, SMALL_HEIGHT };
        const uint32_t found = examine_result(result, &expected);
        before = hash_bytes(before, &found, sizeof found);
        covey_result_free(result);
        index++;
    }
    CHECK_STATUS(status, COVEY_END);
    CHECK_INT(index, FRAMES);
    return before;
}

static uint32_t film(covey_model *model, const covey_model_info *info, uint32_t choice)
{
    covey_session_options options;
    covey_session *session = NULL;
    covey_session_options_init(&options, sizeof options);
    options.threads = 1;
    options.working_height = 2 * info->patch_size;
    options.working_width = 3 * info->patch_size;
    options.output = (covey_output)(choice % 3);
    options.mode = (covey_mode)(choice / 4 % 2);
    options.affinity = (covey_affinity)(choice / 8 % 3);
    options.mask = (covey_mask)(choice / 32 % 3);
    options.query_pool = options.mode == COVEY_MODE_EDGE ? 1 : 0;
    CHECK_OK(covey_session_create(model, &options, &session));
    covey_status status = COVEY_OK;
    for (int i = 0; i < FRAMES && status == COVEY_OK; i++) {
        const covey_frame frame = small_frame(i);
        status = covey_session_push(session, &frame);
    }
    if (status == COVEY_OK) status = covey_session_finish(session);
    /* Weights that are finite can be too large. */
    if (status != COVEY_OK) CHECK_ERROR(status, COVEY_ERROR_FORMAT, "the weights seem damaged");
    uint32_t found = 0;
    if (status == COVEY_OK) {
        found = drain(session, found);
        const bool edge = options.mode == COVEY_MODE_EDGE;
        CHECK_STATUS(covey_session_recut(session, 0, 2), edge ? COVEY_OK : COVEY_ERROR_UNSUPPORTED);
        if (edge) found = drain(session, found);
    }
    covey_session_free(session);
    return found;
}

/* Saved, and the same model when it is loaded. */
static void save(const covey_model *model, const covey_model_info *info, uint32_t choice)
{
    static const covey_dtype dtypes[] = { COVEY_DTYPE_F32, COVEY_DTYPE_F16, COVEY_DTYPE_Q8 };
    const covey_dtype dtype = choice / 128 % 2 ? info->dtype : dtypes[choice / 256 % 3];
    folder folder = make_folder();
    char path[FOLDER_PATH], second[FOLDER_PATH];
    folder_path(&folder, "saved", path);
    folder_path(&folder, "again", second);
    covey_status status = covey_model_save(model, path, dtype);
    if (status == COVEY_OK) {
        covey_model *loaded = NULL;
        if (CHECK_OK(covey_model_load(path, NULL, &loaded))) {
            const covey_model_info now = examine_model(loaded);
            CHECK_INT(now.dtype, dtype);
            CHECK_INT(now.parameter_count, info->parameter_count);
            if (dtype == info->dtype)
                CHECK_INT(film(loaded, &now, choice), film((covey_model *)model, info, choice));
            CHECK_OK(covey_model_save(loaded, second, dtype));
            size_t size = 0, size_again = 0;
            uint8_t *bytes = read_bytes(path, &size), *bytes_again = read_bytes(second, &size_again);
            if (CHECK_INT(size_again, size)) CHECK_BYTES(bytes_again, bytes, size);
            free(bytes);
            free(bytes_again);
        }
        covey_model_free(loaded);
    } else {
        /* Too large for the type. */
        CHECK_STATUS(status, COVEY_ERROR_ARGUMENT);
        CHECK(dtype != COVEY_DTYPE_F32 && *covey_last_error());
        CHECK_INT(folder_count(&folder), 0);
    }
    free_folder(&folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint32_t choice = hash_bytes(2166136261u, data, size);
    covey_model *model = NULL;
    covey_model_options options = { .struct_size = sizeof options };
    options.read_into_memory = choice >> 16 & 1;
    options.skip_checksum = (choice >> 17 & 7) == 0;
    /* Its ends are known to the sanitizer. */
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes) check_abort("no memory");
    memcpy(bytes, data, size);
    covey_status status = covey_model_load_memory(bytes, size, &options, &model);
    if (status == COVEY_OK) {
        if (options.read_into_memory) memset(bytes, 0xEE, size);
        const covey_model_info info = examine_model(model);
        film(model, &info, choice);
        if (!options.skip_checksum) save(model, &info, choice);
    } else {
        CHECK(status == COVEY_ERROR_FORMAT || status == COVEY_ERROR_VERSION ||
              status == COVEY_ERROR_UNSUPPORTED);
        CHECK(model == NULL && is_text(covey_last_error()) && *covey_last_error());
    }
    covey_model_free(model);
    free(bytes);
    return checked();
}
