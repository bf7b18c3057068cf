/* Paths and bytes that are no weight file, or not a whole one. */
#include "check.h"
#include "folder.h"
#include "video.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static covey_status try_path(const char *path)
{
    covey_model_options options = { .struct_size = sizeof options };
    covey_model *model = NULL;
    covey_status mapped = covey_model_load(path, &options, &model);
    if (mapped != COVEY_OK) CHECK(model == NULL);
    covey_model_free(model);
    model = NULL;
    options.read_into_memory = 1;
    CHECK_STATUS(covey_model_load(path, &options, &model), mapped);
    covey_model_free(model);
    return mapped;
}

static covey_status try_bytes(const uint8_t *bytes, size_t size)
{
    covey_model *model = NULL;
    covey_status status = covey_model_load_memory(bytes, size, NULL, &model);
    CHECK(status == COVEY_OK || model == NULL);
    CHECK(status == COVEY_OK || *covey_last_error() != 0);
    covey_model_free(model);
    return status;
}

static void test_paths(const subject *subject)
{
    check_topic("paths");
    folder folder = make_folder();
    char path[FOLDER_PATH], name[FOLDER_PATH + 8];
    folder_path(&folder, "nothing-there.gguf", path);
    CHECK_ERROR(try_path(path), COVEY_ERROR_IO, "nothing-there.gguf");
    CHECK_STATUS(try_path(""), COVEY_ERROR_IO);
    CHECK_ERROR(try_path(folder.path), COVEY_ERROR_IO, folder.path);
    CHECK_STATUS(try_path("/dev/null"), COVEY_ERROR_IO);
    strcpy(name, subject->path);
    strcat(name, "/below");
    CHECK_STATUS(try_path(name), COVEY_ERROR_IO);

    /* Nobody writes to it: opening it must not wait. */
    folder_path(&folder, "fifo", path);
    if (mkfifo(path, 0600) != 0) check_abort("no FIFO can be made");
    CHECK_STATUS(try_path(path), COVEY_ERROR_IO);

    folder_path(&folder, "empty.gguf", path);
    write_bytes(path, "", 0);
    CHECK_STATUS(try_path(path), COVEY_ERROR_FORMAT);
    folder_path(&folder, "text.gguf", path);
    write_bytes(path, "these are not the weights you are looking for, and never were", 61);
    CHECK_STATUS(try_path(path), COVEY_ERROR_FORMAT);
    free_folder(&folder);
}

static void test_memory_load(const subject *subject, const uint8_t *bytes, size_t size)
{
    check_topic("load_memory");
    video video = subject_video(subject, 3, 3);
    uint16_t *expected = run_video(subject, &subject->options, &video);
    uint8_t *place = take(size + 1);
    /* Bytes at an odd address are as good. */
    for (size_t offset = 0; offset <= 1; offset++) {
        for (int copy = 0; copy <= 1; copy++) {
            struct subject loaded = *subject;
            covey_model_options options = { .struct_size = sizeof options };
            options.read_into_memory = copy;
            memcpy(place + offset, bytes, size);
            check_topic("load_memory, offset %d, copy %d", (int)offset, copy);
            if (!CHECK_OK(covey_model_load_memory(place + offset, size, &options, &loaded.model)))
                continue;
            if (copy) memset(place, 0xEE, size + 1);
            uint16_t *labels = run_video(&loaded, &subject->options, &video);
            CHECK_BYTES(labels, expected, video_size(&video) * sizeof *labels);
            free(labels);
            covey_model_free(loaded.model);
        }
    }
    check_topic("load_memory, no bytes");
    CHECK_STATUS(try_bytes(bytes, 0), COVEY_ERROR_FORMAT);
    free(place);
    free(expected);
    free_video(&video);
}

/* Every length up to the end of the header and some beyond it. */
static void test_truncated(const subject *subject, const uint8_t *bytes, size_t size)
{
    check_topic("truncated");
    size_t step = subject->quick ? 97 : 1;
    size_t dense = size < 20000 ? size : 20000;
    for (size_t length = 0; length < dense; length += step) {
        uint8_t *part = take(length);     /* its end is known to valgrind, ASan */
        memcpy(part, bytes, length);
        if (!CHECK_STATUS(try_bytes(part, length), COVEY_ERROR_FORMAT))
            check_topic("truncated to %zu of %zu", length, size);
        free(part);
    }
    for (size_t length = dense; length < size; length += (size - length) / 2 + 1)
        CHECK_STATUS(try_bytes(bytes, length), COVEY_ERROR_FORMAT);
    CHECK_STATUS(try_bytes(bytes, size - 1), COVEY_ERROR_FORMAT);
}

/* Bytes behind the tensors are not ours, and would be read for the checksum, however many. */
static void test_trailing(const subject *subject, const uint8_t *bytes, size_t size)
{
    static const size_t counts[] = { 1, 63, 64, 65, 4096, 1 << 20 };
    uint8_t *longer = calloc(1, size + (1 << 20));
    if (!longer) check_abort("no memory");
    memcpy(longer, bytes, size);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        check_topic("%zu bytes behind the tensors", counts[i]);
        CHECK_ERROR(try_bytes(longer, size + counts[i]), COVEY_ERROR_FORMAT, "end with the tensors");
    }
    free(longer);
    /* A hole of 64 GiB takes no room on disk, and must take no time. */
    check_topic("a hole behind the tensors");
    folder folder = make_folder();
    char path[FOLDER_PATH];
    folder_path(&folder, "hole.gguf", path);
    write_bytes(path, bytes, size);
    covey_model_options options = { .struct_size = sizeof options };
    covey_model *model = NULL;
    if (!subject->quick && truncate(path, (off_t)64 << 30) == 0)
        CHECK_STATUS(covey_model_load(path, &options, &model), COVEY_ERROR_FORMAT);
    free_folder(&folder);
}

/* A bit turned in the header must be refused, or harm nobody (a letter of a
 * text); one turned in the weights must be found by the checksum. */
static void test_flipped(const subject *subject, const uint8_t *bytes, size_t size)
{
    check_topic("a bit turned");
    uint8_t *damaged = take(size);
    size_t header = size < 12000 ? size : 12000;
    size_t tries = subject->quick ? 150 : 6000, refused = 0;
    uint32_t random = 5;
    memcpy(damaged, bytes, size);
    for (size_t i = 0; i < tries; i++) {
        size_t at = next_random(&random) % header;
        uint8_t bit = (uint8_t)(1 << next_random(&random) % 8);
        damaged[at] ^= bit;
        covey_status status = try_bytes(damaged, size);
        CHECK(status == COVEY_OK || status == COVEY_ERROR_FORMAT ||
              status == COVEY_ERROR_VERSION || status == COVEY_ERROR_UNSUPPORTED);
        refused += status != COVEY_OK;
        damaged[at] ^= bit;
    }
    CHECK(refused > tries / 4);

    check_topic("a bit turned in the weights");
    for (int i = 1; i <= 20; i++) {
        size_t at = size - 1 - (size_t)i * (size / 200);
        covey_model_options options = { .struct_size = sizeof options, .skip_checksum = 1 };
        covey_model *model = NULL;
        damaged[at] ^= 1;
        CHECK_STATUS(try_bytes(damaged, size), COVEY_ERROR_FORMAT);
        CHECK_OK(covey_model_load_memory(damaged, size, &options, &model));
        covey_model_free(model);
        damaged[at] ^= 1;
    }
    free(damaged);
}

/* Counts, lengths and offsets of the file set to values that overflow. */
static void test_extremes(const subject *subject, const uint8_t *bytes, size_t size)
{
    static const uint64_t values[] = { 0, 1, UINT32_MAX, (uint64_t)1 << 62, (uint64_t)1 << 63,
                                       UINT64_MAX, UINT64_MAX - 7, INT64_MAX };
    check_topic("extreme numbers");
    uint8_t *damaged = take(size);
    size_t header = size < 12000 ? size - 8 : 12000;
    size_t step = subject->quick ? 61 : 4;
    memcpy(damaged, bytes, size);
    for (size_t at = 4; at < header; at += step) {
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            memcpy(damaged + at, &values[i], 8);
            covey_status status = try_bytes(damaged, size);
            CHECK(status == COVEY_OK || status == COVEY_ERROR_FORMAT ||
                  status == COVEY_ERROR_VERSION || status == COVEY_ERROR_UNSUPPORTED);
        }
        memcpy(damaged + at, bytes + at, 8);
    }
    check_topic("newer file");
    const uint32_t version = 99;
    memcpy(damaged + 4, &version, 4);      /* GGUF's own */
    covey_status status = try_bytes(damaged, size);
    CHECK(status == COVEY_ERROR_VERSION || status == COVEY_ERROR_UNSUPPORTED);
    memcpy(damaged, bytes, size);
    static const char key[] = "covey.format_version";
    for (size_t at = 0; at + 64 < header; at++) {
        if (memcmp(damaged + at, key, sizeof key - 1) != 0) continue;
        memcpy(damaged + at + sizeof key - 1 + 4, &version, 4);     /* after the type */
        CHECK_STATUS(try_bytes(damaged, size), COVEY_ERROR_VERSION);
        memcpy(damaged, bytes, size);
        break;
    }
    free(damaged);
}

/* The model as the library writes it: with a checksum. */
static uint8_t *saved_bytes(const subject *subject, size_t *size)
{
    folder folder = make_folder();
    char path[FOLDER_PATH];
    folder_path(&folder, "saved.gguf", path);
    CHECK_OK(covey_model_save(subject->model, path, subject->info.dtype));
    uint8_t *bytes = read_bytes(path, size);
    free_folder(&folder);
    return bytes;
}

void test_files(const subject *subject)
{
    size_t size, saved_size;
    uint8_t *bytes = read_bytes(subject->path, &size);
    test_paths(subject);
    test_memory_load(subject, bytes, size);
    test_truncated(subject, bytes, size);
    /* Each try reads the whole file for its checksum: not with a large one. */
    if (size < 4000000) {
        uint8_t *saved = saved_bytes(subject, &saved_size);
        test_trailing(subject, saved, saved_size);
        test_flipped(subject, saved, saved_size);
        test_extremes(subject, saved, saved_size);
        free(saved);
    }
    free(bytes);
}
