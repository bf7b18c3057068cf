/* Loading, information, metadata and saving of models. */
#include "check.h"
#include "video.h"
#include "folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_null(const subject *subject)
{
    check_topic("model, NULL");
    covey_model *model = (covey_model *)0x1;
    const char *key, *value;
    covey_model_info info = { .struct_size = sizeof info };
    CHECK_STATUS(covey_model_load(NULL, NULL, &model), COVEY_ERROR_ARGUMENT);
    CHECK(model == NULL || model == (covey_model *)0x1);
    CHECK_STATUS(covey_model_load(subject->path, NULL, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_load_memory(NULL, 100, NULL, &model), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_load_memory("GGUF", 4, NULL, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_get_info(NULL, &info), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_get_info(subject->model, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_INT(covey_model_metadata_count(NULL), 0);
    CHECK_STATUS(covey_model_metadata_at(NULL, 0, &key, &value), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_metadata_at(subject->model, 0, NULL, &value), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_metadata_at(subject->model, 0, &key, NULL), COVEY_ERROR_ARGUMENT);
    covey_tensor_info tensor = { .struct_size = sizeof tensor };
    CHECK_INT(covey_model_tensor_count(NULL), 0);
    CHECK_STATUS(covey_model_tensor_at(NULL, 0, &tensor), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_tensor_at(subject->model, 0, NULL), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_save(NULL, "x.gguf", COVEY_DTYPE_F32), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_save(subject->model, NULL, COVEY_DTYPE_F32), COVEY_ERROR_ARGUMENT);
    CHECK(access("x.gguf", F_OK) != 0);
    covey_model_free(NULL);
}

static void test_info(const subject *subject)
{
    check_topic("model info");
    const covey_model_info *info = &subject->info;
    CHECK(info->dtype == COVEY_DTYPE_F32 || info->dtype == COVEY_DTYPE_F16 ||
          info->dtype == COVEY_DTYPE_Q8);
    CHECK(info->patch_size >= 1 && info->embed_dim >= 1 && info->depth >= 1 && info->heads >= 1);
    CHECK_INT(info->embed_dim % info->heads, 0);
    CHECK_INT(info->embed_dim % info->correlator_heads, 0);
    CHECK(info->position_grid >= 1);
    CHECK(info->has_cls_saliency == 0 || info->has_cls_saliency == 1);
    CHECK_INT(info->working_height % info->patch_size, 0);
    CHECK_INT(info->working_width % info->patch_size, 0);
    CHECK(info->window >= 1 && info->key_stride >= 1 && info->key_pool >= 1 && info->tau > 0);
    CHECK(info->reference_tau > 0);
    CHECK(info->parameter_count > 0);
    CHECK(info->weight_bytes >= (info->dtype == COVEY_DTYPE_Q8 ? 1 : 2) * info->parameter_count);
    CHECK(info->weight_bytes <= 4 * info->parameter_count + (1 << 20));
    CHECK(info->name != NULL);
}

/* An output struct may be smaller or larger than the one of the library. */
static void test_info_sizes(const subject *subject)
{
    check_topic("model info sizes");
    union {
        covey_model_info info;
        uint8_t          bytes[2 * sizeof(covey_model_info)];
    } out;
    const uint32_t known = sizeof(covey_model_info);

    out.info.struct_size = 0;
    CHECK_STATUS(covey_model_get_info(subject->model, &out.info), COVEY_ERROR_ARGUMENT);
    out.info.struct_size = 4097;
    CHECK_STATUS(covey_model_get_info(subject->model, &out.info), COVEY_ERROR_VERSION);
    out.info.struct_size = UINT32_MAX / 2 + 1;
    CHECK_STATUS(covey_model_get_info(subject->model, &out.info), COVEY_ERROR_VERSION);

    for (uint32_t size = 1; size <= sizeof out; size++) {
        memset(&out, 0xAB, sizeof out);
        out.info.struct_size = size;
        covey_status status = covey_model_get_info(subject->model, &out.info);
        if (size >= known) CHECK_OK(status);
        else CHECK(status == COVEY_OK || status == COVEY_ERROR_ARGUMENT);
        if (status == COVEY_OK) {
            CHECK_INT(out.info.struct_size, size);
            if (size >= known) CHECK_INT(out.info.patch_size, subject->info.patch_size);
            for (uint32_t i = known; i < size; i++)
                if (!CHECK_INT(out.bytes[i], 0)) break;
        }
        for (size_t i = size < 4 ? 4 : size; i < sizeof out; i++)
            if (!CHECK_INT(out.bytes[i], 0xAB)) break;
    }
}

static void test_load_options(const subject *subject)
{
    check_topic("load options");
    struct {
        covey_model_options options;
        uint64_t            beyond;
    } grown;
    covey_model *model = NULL;
    for (int copy = 0; copy <= 1; copy++) {
        for (int skip = 0; skip <= 1; skip++) {
            memset(&grown, 0, sizeof grown);
            grown.options.struct_size = sizeof(covey_model_options);
            grown.options.read_into_memory = copy;
            grown.options.skip_checksum = skip;
            CHECK_OK(covey_model_load(subject->path, &grown.options, &model));
            covey_model_free(model);
        }
    }
    memset(&grown, 0, sizeof grown);
    CHECK_STATUS(covey_model_load(subject->path, &grown.options, &model), COVEY_ERROR_ARGUMENT);
    grown.options.struct_size = 3;
    CHECK_STATUS(covey_model_load(subject->path, &grown.options, &model), COVEY_ERROR_ARGUMENT);
    grown.options.struct_size = sizeof grown;
    CHECK_OK(covey_model_load(subject->path, &grown.options, &model));
    covey_model_free(model);
    model = NULL;
    grown.beyond = (uint64_t)1 << 56;
    CHECK_STATUS(covey_model_load(subject->path, &grown.options, &model), COVEY_ERROR_VERSION);
    CHECK(model == NULL);
}

static void test_metadata(const subject *subject)
{
    check_topic("metadata");
    size_t count = covey_model_metadata_count(subject->model);
    bool architecture = false, mean = false, patch = false;
    char number[16];
    snprintf(number, sizeof number, "%d", subject->patch);
    CHECK(count >= 10);
    for (size_t i = 0; i < count; i++) {
        const char *key = NULL, *value = NULL;
        CHECK_OK(covey_model_metadata_at(subject->model, i, &key, &value));
        if (!CHECK(key && value)) continue;
        CHECK(*key != 0);
        if (strcmp(key, "general.architecture") == 0)
            architecture = CHECK_TEXT(value, "covey");
        if (strcmp(key, "covey.vit.patch_size") == 0) patch = CHECK_TEXT(value, number);
        if (strcmp(key, "covey.input.mean") == 0) {
            float rgb[3];
            mean = CHECK_INT(sscanf(value, "[%f, %f, %f]", rgb, rgb + 1, rgb + 2), 3);
        }
    }
    CHECK(architecture && mean && patch);
    const char *key = "before", *value = "before";
    const size_t outside[] = { count, count + 1, SIZE_MAX, SIZE_MAX / 2 + 1 };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        CHECK_STATUS(covey_model_metadata_at(subject->model, outside[i], &key, &value),
                     COVEY_ERROR_ARGUMENT);
}

static bool has_key(const covey_model *model, const char *wanted)
{
    const char *key, *value;
    for (size_t i = 0; i < covey_model_metadata_count(model); i++)
        if (covey_model_metadata_at(model, i, &key, &value) == COVEY_OK &&
            strcmp(key, wanted) == 0)
            return true;
    return false;
}

/* ---- Tensors --------------------------------------------------------------- */

static bool is_scale(const char *name)
{
    const size_t length = strlen(name);
    return length > 6 && strcmp(name + length - 6, ".scale") == 0;
}

/* What the tensors are, one by one, fits what the model is as a whole. */
static void test_tensors_of(const covey_model *model, bool errors_known)
{
    static const int32_t element[] = { 0, 4, 2, 1 };
    covey_model_info info = { .struct_size = sizeof info };
    covey_tensor_info tensor, scale;
    CHECK_OK(covey_model_get_info(model, &info));
    int64_t parameters = 0, bytes = 0, matrices = 0, scales = 0;
    const size_t count = covey_model_tensor_count(model);
    CHECK(count >= 10);
    for (size_t i = 0; i < count; i++) {
        memset(&tensor, 0xAB, sizeof tensor);
        tensor.struct_size = sizeof tensor;
        if (!CHECK_OK(covey_model_tensor_at(model, i, &tensor))) return;
        if (!CHECK(tensor.name != NULL && *tensor.name != 0)) return;
        if (!CHECK(tensor.dimension_count >= 1 && tensor.dimension_count <= 4)) return;
        /* Of a model of int8, the correlator's queries and keys stay F16. */
        CHECK(tensor.dtype == COVEY_DTYPE_F32 || tensor.dtype == info.dtype ||
              (info.dtype == COVEY_DTYPE_Q8 && tensor.dtype == COVEY_DTYPE_F16 &&
               strcmp(tensor.name, "correlator.attn.qkv.weight") == 0));
        int64_t numbers = 1;
        for (int j = 0; j < 4; j++) {
            if (j < tensor.dimension_count) numbers *= tensor.sizes[j];
            else CHECK_INT(tensor.sizes[j], 0);
        }
        CHECK_INT(tensor.bytes, numbers * element[tensor.dtype]);
        bytes += tensor.bytes;
        parameters += is_scale(tensor.name) ? 0 : numbers;
        scales += is_scale(tensor.name);
        if (strcmp(tensor.name, "encoder.patch_embed.proj.weight") == 0) {
            CHECK_INT(tensor.dimension_count, 4);
            CHECK_INT(tensor.sizes[0], info.embed_dim);
            CHECK_INT(tensor.sizes[1], 3);
            CHECK_INT(tensor.sizes[3], info.patch_size);
        }
        if (strcmp(tensor.name, "correlator.attn.qkv.weight") == 0) {
            CHECK_INT(tensor.dimension_count, 2);
            CHECK_INT(tensor.sizes[0], 3 * info.embed_dim);
            CHECK_INT(tensor.sizes[1], info.embed_dim);
            /* Int8 models keep it in halves. */
            CHECK_INT(tensor.dtype, info.dtype == COVEY_DTYPE_Q8 ? COVEY_DTYPE_F16 : info.dtype);
        }
        if (tensor.dtype != COVEY_DTYPE_Q8 || !errors_known) {
            CHECK(tensor.quantization_error < 0);
        } else {
            /* Half a step in 127 at most, on the average far less. */
            CHECK(tensor.quantization_error > 0 && tensor.quantization_error < 0.05f);
        }
        if (tensor.dtype != COVEY_DTYPE_Q8) continue;
        matrices++;
        /* As covey writes it, the scale is next. */
        scale.struct_size = sizeof scale;
        if (!CHECK_OK(covey_model_tensor_at(model, i + 1, &scale))) return;
        CHECK(is_scale(scale.name) && strncmp(scale.name, tensor.name, strlen(tensor.name)) == 0);
        CHECK_INT(scale.dimension_count, 1);
        CHECK_INT(scale.sizes[0], tensor.sizes[0]);
        CHECK_INT(scale.dtype, COVEY_DTYPE_F32);
    }
    CHECK_INT(parameters, info.parameter_count);
    CHECK_INT(bytes, info.weight_bytes);
    CHECK_INT(scales, matrices);
    CHECK_INT(matrices > 0, info.dtype == COVEY_DTYPE_Q8);

    const size_t outside[] = { count, count + 1, SIZE_MAX, SIZE_MAX / 2 + 1 };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        CHECK_ERROR(covey_model_tensor_at(model, outside[i], &tensor), COVEY_ERROR_ARGUMENT,
                    "index");
}

static void test_tensors(const subject *subject)
{
    check_topic("tensors");
    test_tensors_of(subject->model, has_key(subject->model, "covey.quantization.error"));
    union {
        covey_tensor_info info;
        uint8_t           bytes[2 * sizeof(covey_tensor_info)];
    } out;
    const uint32_t known = sizeof(covey_tensor_info);
    for (uint32_t size = 0; size <= sizeof out; size++) {
        memset(&out, 0xAB, sizeof out);
        out.info.struct_size = size;
        covey_status status = covey_model_tensor_at(subject->model, 0, &out.info);
        if (!CHECK_INT(status, size < known ? COVEY_ERROR_ARGUMENT : COVEY_OK)) break;
        CHECK_INT(out.info.struct_size, size);
        if (status == COVEY_OK) CHECK(out.info.name != NULL && out.info.bytes > 0);
        /* What only the caller knows is zero, what is beyond untouched. */
        for (uint32_t i = size < known ? 4 : known; i < sizeof out; i++)
            if (!CHECK_INT(out.bytes[i], status == COVEY_OK && i < size ? 0 : 0xAB)) break;
    }
    out.info.struct_size = 4097;
    CHECK_STATUS(covey_model_tensor_at(subject->model, 0, &out.info), COVEY_ERROR_VERSION);
}

/* ---- Saving ---------------------------------------------------------------- */

static void test_round_trip(const subject *subject)
{
    folder folder = make_folder();
    char path[FOLDER_PATH];
    video video = subject_video(subject, 4, 2);
    /* Refined masks show what rounding does to weights; labels do not. */
    covey_session_options options = subject->options;
    options.mask = COVEY_MASK_NEAREST;
    uint16_t *expected = run_video(subject, &options, &video);
    static const char *const names[] = { "", "f32.gguf", "f16.gguf", "q8.gguf" };
    for (int dtype = COVEY_DTYPE_F32; dtype <= COVEY_DTYPE_Q8; dtype++) {
        check_topic("save as %d", dtype);
        struct subject saved = *subject;
        saved.info.struct_size = sizeof saved.info;
        folder_path(&folder, names[dtype], path);
        CHECK_OK(covey_model_save(subject->model, path, (covey_dtype)dtype));
        if (!CHECK_OK(covey_model_load(path, NULL, &saved.model))) continue;
        CHECK_OK(covey_model_get_info(saved.model, &saved.info));
        CHECK_INT(saved.info.dtype, dtype);
        CHECK_INT(saved.info.parameter_count, subject->info.parameter_count);
        /* What the library writes has a checksum, if the file had none; the errors
         * of quantising belong to int8 files. */
        const bool had_errors = has_key(subject->model, "covey.quantization.error");
        const bool has_errors =
            dtype == COVEY_DTYPE_Q8 && (had_errors || subject->info.dtype != COVEY_DTYPE_Q8);
        CHECK_INT(covey_model_metadata_count(saved.model),
                  covey_model_metadata_count(subject->model) +
                      !has_key(subject->model, "covey.checksum.crc32") - had_errors + has_errors);
        CHECK(has_key(saved.model, "covey.checksum.crc32"));
        CHECK_INT(has_key(saved.model, "covey.quantization.error"), has_errors);
        test_tensors_of(saved.model, has_errors);
        CHECK_TEXT(saved.info.name, subject->info.name);
        CHECK(saved.info.tau == subject->info.tau);
        /* Nothing is lost where the type stays or grows; but a model of int8
         * rounds activations too, as its numbers in F32 do not. */
        if (dtype == (int)subject->info.dtype ||
            (dtype == COVEY_DTYPE_F32 && subject->info.dtype != COVEY_DTYPE_Q8)) {
            uint16_t *labels = run_video(&saved, &options, &video);
            CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
            free(labels);
        }
        covey_model_free(saved.model);
    }
    /* A file that is in use may be replaced: the model keeps what it mapped. */
    check_topic("save over itself");
    struct subject mapped = *subject;
    folder_path(&folder, "f32.gguf", path);
    if (CHECK_OK(covey_model_load(path, NULL, &mapped.model))) {
        uint16_t *before = run_video(&mapped, &options, &video);
        CHECK_OK(covey_model_save(mapped.model, path, COVEY_DTYPE_F16));
        uint16_t *labels = run_video(&mapped, &options, &video);
        CHECK_BYTES(labels, before, video_size(&video) * sizeof *labels);
        free(before);
        free(labels);
        covey_model_free(mapped.model);
    }
    CHECK_INT(folder_count(&folder), 3);
    free(expected);
    free_video(&video);
    free_folder(&folder);
}

/* Names as long as the system takes them, paths too. */
static void test_save_names(const subject *subject)
{
    folder folder = make_folder();
    char path[FOLDER_PATH], name[257];
    for (int length = 240; length <= 256; length++) {
        for (int wide = 0; wide <= 1; wide++) {
            check_topic("save, a name of %d bytes%s", length, wide ? " in UTF-8" : "");
            memset(name, 'a', sizeof name);
            for (int i = 0; wide && i + 1 < length; i += 2) memcpy(name + i, "\xC3\xA9", 2);
            name[length] = 0;
            folder_path(&folder, name, path);
            covey_status status = covey_model_save(subject->model, path, COVEY_DTYPE_F32);
            CHECK_STATUS(status, length <= 255 ? COVEY_OK : COVEY_ERROR_IO);
            if (status == COVEY_OK) CHECK_INT(remove(path), 0);
            CHECK_INT(folder_count(&folder), 0);
        }
    }
    check_topic("save, a path of the greatest length");
    static const char filler[] = "./";
    char longest[4096];
    size_t at = (size_t)snprintf(longest, sizeof longest, "%s/", folder.path);
    while (at < 4095 - 2) at += (size_t)snprintf(longest + at, sizeof longest - at, "%s", filler);
    while (at < 4095) longest[at++] = 'm';
    longest[at] = 0;
    CHECK_OK(covey_model_save(subject->model, longest, COVEY_DTYPE_F32));
    CHECK_INT(remove(longest), 0);

    check_topic("save, a name without a folder");
    char here[FOLDER_PATH];
    if (!getcwd(here, sizeof here) || chdir(folder.path) != 0) check_abort("no folder");
    CHECK_OK(covey_model_save(subject->model, "m", COVEY_DTYPE_F32));
    CHECK_INT(folder_count(&folder), 1);
    if (chdir(here) != 0) check_abort("no folder");
    free_folder(&folder);
}

/* A file that is replaced keeps its mode; a link stays, and leads to the new file. */
static void test_save_over(const subject *subject)
{
    folder folder = make_folder();
    char path[FOLDER_PATH], link[FOLDER_PATH];
    struct stat status;
    folder_path(&folder, "file", path);
    folder_path(&folder, "link", link);
    const mode_t mask = umask(022);
    check_topic("save, the mode of a new file");
    CHECK_OK(covey_model_save(subject->model, path, COVEY_DTYPE_F32));
    CHECK(stat(path, &status) == 0 && (status.st_mode & 0777) == 0644);
    static const mode_t modes[] = { 0600, 0640, 0444, 0666, 0777, 0200 };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        check_topic("save over a file of mode %o", (unsigned)modes[i]);
        CHECK_INT(chmod(path, modes[i]), 0);
        CHECK_OK(covey_model_save(subject->model, path, COVEY_DTYPE_F32));
        if (CHECK_INT(stat(path, &status), 0)) CHECK_INT(status.st_mode & 0777, modes[i]);
    }
    umask(mask);

    check_topic("save over a link");
    for (int absolute = 0; absolute <= 1; absolute++) {
        write_bytes(path, "old", 3);
        CHECK_INT(symlink(absolute ? path : "file", link), 0);
        CHECK_OK(covey_model_save(subject->model, link, COVEY_DTYPE_F32));
        CHECK(lstat(link, &status) == 0 && S_ISLNK(status.st_mode));
        CHECK(stat(path, &status) == 0 && status.st_size > 3);
        CHECK_INT(folder_count(&folder), 2);
        remove(link);
    }
    check_topic("save over a link that leads nowhere");
    CHECK_INT(symlink("nothing", link), 0);
    CHECK_STATUS(covey_model_save(subject->model, link, COVEY_DTYPE_F32), COVEY_ERROR_IO);
    remove(link);
    CHECK_INT(symlink("link", link), 0);    /* to itself */
    CHECK_STATUS(covey_model_save(subject->model, link, COVEY_DTYPE_F32), COVEY_ERROR_IO);
    CHECK_INT(folder_count(&folder), 2);
    free_folder(&folder);
}

static void test_save_refused(const subject *subject)
{
    check_topic("save refused");
    folder folder = make_folder();
    char path[FOLDER_PATH];
    folder_path(&folder, "refused.gguf", path);
    CHECK_STATUS(covey_model_save(subject->model, path, (covey_dtype)0), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_save(subject->model, path, (covey_dtype)99), COVEY_ERROR_ARGUMENT);
    CHECK_STATUS(covey_model_save(subject->model, path, (covey_dtype)-1), COVEY_ERROR_ARGUMENT);
    CHECK_INT(folder_count(&folder), 0);
    CHECK_ERROR(covey_model_save(subject->model, folder.path, COVEY_DTYPE_F32), COVEY_ERROR_IO,
                folder.path);
    folder_path(&folder, "none/x.gguf", path);
    CHECK_ERROR(covey_model_save(subject->model, path, COVEY_DTYPE_F32), COVEY_ERROR_IO, "none");
    CHECK_STATUS(covey_model_save(subject->model, "", COVEY_DTYPE_F32), COVEY_ERROR_IO);
    CHECK_STATUS(covey_model_save(subject->model, "/dev/null", COVEY_DTYPE_F32), COVEY_ERROR_IO);
    struct stat null;
    CHECK(stat("/dev/null", &null) == 0 && S_ISCHR(null.st_mode));
    free_folder(&folder);
}

void test_model(const subject *subject)
{
    test_null(subject);
    test_info(subject);
    test_info_sizes(subject);
    test_load_options(subject);
    test_metadata(subject);
    test_tensors(subject);
    test_round_trip(subject);
    test_save_names(subject);
    test_save_over(subject);
    test_save_refused(subject);
}
