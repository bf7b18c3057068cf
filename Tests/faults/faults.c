/*
 * What the system may refuse, refused: for every call of the interface that has work to do,
 * and every kind of fault, the first place where it can strike, the second, and so on.
 *
 *     faults WEIGHTS [LIMIT]
 *
 * Each time the call must return an error that says something (or not have needed what was
 * refused), the handle must be as before, so that the same call then does what it always
 * does; a file that was to be replaced must be there as it was, with nothing beside it; and
 * after all is freed the library must hold what it held before: memory, descriptors, threads.
 *
 * LIMIT: of the places of a kind in a call, so many are tried, spread over all; 0: every one.
 */
#include "check.h"
#include "folder.h"
#include "interpose.h"
#include "video.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- What a call works on ---------------------------------------------------------------- */

typedef struct world {
    const subject        *subject;
    video                 video;
    covey_session_options options;
    folder                folder;
    char                  path[FOLDER_PATH];
    uint8_t              *bytes;        /* of the weight file                      */
    size_t                size;
    covey_model          *model;
    covey_session        *session;
    covey_result         *result;
    covey_trainer        *trainer;
    uint16_t             *labels;
    float                *floats;       /* results, or features                    */
    int32_t               next;         /* frame to push                           */
    covey_dtype           dtype;
} world;

enum { FRAMES = 6, FLOATS = 1 << 16, OLD = 3000 };

typedef struct operation {
    const char *name;
    void (*prepare)(world *world);
    covey_status (*act)(world *world);
    uint64_t (*outcome)(world *world);  /* of what was done, and all that comes of it */
} operation;

static uint64_t hash(uint64_t before, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        before = (before ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
    return before;
}

static const uint64_t SEED = 14695981039346656037u;

static uint64_t hash_file(const char *path)
{
    size_t size;
    uint8_t *bytes = read_bytes(path, &size);
    uint64_t found = hash(SEED, bytes, size);
    free(bytes);
    return found;
}

/* ---- Models ---------------------------------------------------------------------------------- */

static void nothing(world *world) { (void)world; }

static covey_status load_as(world *world, int copy)
{
    const covey_model_options options = { .struct_size = sizeof options,
                                          .read_into_memory = copy };
    return covey_model_load(world->subject->path, &options, &world->model);
}
static covey_status load_mapped(world *world) { return load_as(world, 0); }
static covey_status load_copied(world *world) { return load_as(world, 1); }

static void prepare_bytes(world *world)
{
    world->bytes = read_bytes(world->subject->path, &world->size);
}
static covey_status load_memory(world *world)
{
    const covey_model_options options = { .struct_size = sizeof options, .read_into_memory = 1 };
    return covey_model_load_memory(world->bytes, world->size, &options, &world->model);
}

static uint64_t hash_model(covey_model *model, world *world)
{
    covey_grid grid = { .struct_size = sizeof grid };
    covey_frame frame = video_frame(&world->video, 0);
    float *keys = take(FLOATS * sizeof *keys);
    CHECK_OK(covey_encode(model, &world->options, &frame, keys, FLOATS, NULL, &grid));
    uint64_t found = hash(SEED, keys, sizeof *keys * (size_t)(grid.rows * grid.columns *
                                                              grid.channels));
    free(keys);
    for (size_t i = 0; i < covey_model_metadata_count(model); i++) {
        const char *key, *value;
        CHECK_OK(covey_model_metadata_at(model, i, &key, &value));
        found = hash(hash(found, key, strlen(key)), value, strlen(value));
    }
    return found;
}
static uint64_t model_made(world *world) { return hash_model(world->model, world); }

/* Over an old file, which must stay until the new one is whole. */
static void prepare_old_file(world *world)
{
    char old[OLD];
    memset(old, 'o', sizeof old);
    write_bytes(world->path, old, sizeof old);
    chmod(world->path, 0640);
}
static void prepare_f32(world *world) { prepare_old_file(world), world->dtype = COVEY_DTYPE_F32; }
static void prepare_q8(world *world) { prepare_old_file(world), world->dtype = COVEY_DTYPE_Q8; }
static void prepare_link(world *world)
{
    char link[FOLDER_PATH];
    prepare_f32(world);
    folder_path(&world->folder, "link", link);
    if (symlink(world->path, link) != 0) check_abort("no link");
    strcpy(world->path, link);
}
static covey_status save(world *world)
{
    return covey_model_save(world->subject->model, world->path, world->dtype);
}
static uint64_t file_made(world *world)
{
    struct stat status;
    CHECK_INT(lstat(world->path, &status), 0);
    const uint64_t found = hash_file(world->path);
    return hash(found, &(int){ S_ISLNK(status.st_mode) }, sizeof(int));
}

/* ---- Sessions ---------------------------------------------------------------------------------- */

static covey_status create(world *world)
{
    return covey_session_create(world->subject->model, &world->options, &world->session);
}

static void prepare_session(world *world)
{
    CHECK_OK(covey_session_create(world->subject->model, &world->options, &world->session));
}

static covey_status push(world *world)
{
    covey_frame frame = video_frame(&world->video, world->next);
    covey_status status = covey_session_push(world->session, &frame);
    world->next += status == COVEY_OK;
    return status;
}

static void push_until(world *world, int32_t frame)
{
    while (world->next < frame) CHECK_OK(push(world));
}

static covey_status next(world *world) { return covey_session_next(world->session, &world->result); }

static covey_status finish(world *world) { return covey_session_finish(world->session); }

static uint64_t hash_result(uint64_t found, covey_result *result)
{
    covey_result_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_result_get_info(result, &info));
    found = hash(found, &info, sizeof info);
    return hash(found, covey_result_labels(result),
                sizeof(uint16_t) * (size_t)(info.width * info.height));
}

/* Everything that the session has still to give. */
static uint64_t session_goes_on(world *world)
{
    uint64_t found = SEED;
    if (world->result) found = hash_result(found, world->result);
    covey_result_free(world->result);
    world->result = NULL;
    push_until(world, FRAMES);
    covey_status status = covey_session_finish(world->session);
    CHECK(status == COVEY_OK || status == COVEY_ERROR_STATE);   /* finished already */
    while ((status = next(world)) == COVEY_OK) {
        found = hash_result(found, world->result);
        covey_result_free(world->result);
        world->result = NULL;
    }
    CHECK_STATUS(status, COVEY_END);
    return found;
}

static void prepare_second(world *world) { prepare_session(world), push_until(world, 1); }
static void prepare_all(world *world) { prepare_session(world), push_until(world, FRAMES); }
static void prepare_finished(world *world) { prepare_all(world), CHECK_OK(finish(world)); }
static void prepare_result(world *world) { prepare_finished(world), CHECK_OK(next(world)); }
static void prepare_stream(world *world)
{
    world->options.streaming = 1;
    prepare_session(world);
    /* Of the next push a window is clustered. */
    push_until(world, world->options.window ? world->options.window - 1 : 2);
}
static void prepare_reference(world *world)
{
    world->options.mode = COVEY_MODE_REFERENCE;
    prepare_all(world);
}
static void prepare_objects(world *world)
{
    world->options.output = COVEY_OUTPUT_OBJECTS;
    prepare_all(world);
}
static covey_status recut(world *world) { return covey_session_recut(world->session, 0, 3); }

static covey_status outline(world *world)
{
    size_t points, rings;
    return covey_result_get_polygons(world->result, 1, 0, world->floats, FLOATS / 2, &points,
                                     (uint32_t *)(void *)world->labels, FRAMES * 64, &rings);
}
static covey_status run_lengths(world *world)
{
    size_t count;
    return covey_result_get_rle(world->result, 1, (uint32_t *)(void *)world->floats, FLOATS,
                                &count);
}
static uint64_t floats_made(world *world)
{
    return hash(SEED, world->floats, FLOATS * sizeof *world->floats);
}

static covey_status segment(world *world)
{
    covey_frame frames[FRAMES];
    for (int32_t t = 0; t < FRAMES; t++) frames[t] = video_frame(&world->video, t);
    return covey_segment(world->subject->model, &world->options, frames, FRAMES, world->labels,
                         video_size(&world->video), NULL);
}
static uint64_t labels_made(world *world)
{
    return hash(SEED, world->labels, video_size(&world->video) * sizeof *world->labels);
}

/* ---- Stages ------------------------------------------------------------------------------------ */

static covey_status encode(world *world)
{
    covey_grid grid = { .struct_size = sizeof grid };
    covey_frame frame = video_frame(&world->video, 0);
    return covey_encode(world->subject->model, &world->options, &frame, world->floats, FLOATS,
                        NULL, &grid);
}

static covey_status correlate(world *world)
{
    const size_t count = 48, values = count * (size_t)world->subject->info.embed_dim;
    float *features = world->floats + FLOATS / 2;
    for (size_t i = 0; i < values; i++) features[i] = (float)(i * 7 % 23) / 23;
    return covey_correlate(world->subject->model, &world->options, features, count, world->floats,
                           world->floats + values);
}

static covey_status cluster(world *world)
{
    enum { COUNT = 2 * 48, CHANNELS = 8 };
    float *queries = world->floats, *keys = world->floats + COUNT * CHANNELS;
    for (int i = 0; i < COUNT * CHANNELS; i++) queries[i] = keys[i] = (float)(i * 31 % 97) / 20;
    const covey_maps maps = { .struct_size = sizeof maps, .frames = 2, .patches = 48,
                              .channels = CHANNELS, .heads = 2, .key_count = COUNT,
                              .queries = queries, .keys = keys, .rows = 6, .columns = 8 };
    int32_t clusters;
    return covey_cluster(&maps, &world->options, (int32_t *)(void *)(world->floats + FLOATS / 2),
                         world->floats + FLOATS / 2 + COUNT, &clusters);
}

/* ---- Training -------------------------------------------------------------------------------------- */

static covey_trainer_options training(const world *world)
{
    covey_trainer_options options;
    covey_trainer_options_init(&options, sizeof options);
    options.threads = 2;
    options.clip_length = 2;
    options.working_height = world->options.working_height;
    options.working_width = world->options.working_width;
    options.positions = 3;
    options.seed = 5;
    return options;
}

static covey_status create_trainer(world *world)
{
    const covey_trainer_options options = training(world);
    return covey_trainer_create(world->subject->model, &options, &world->trainer);
}
static void prepare_trainer(world *world) { CHECK_OK(create_trainer(world)); }

static covey_status step(world *world)
{
    covey_frame frames[2] = { video_frame(&world->video, 0), video_frame(&world->video, 1) };
    return covey_trainer_step(world->trainer, frames, 2, NULL);
}
static void prepare_stepped(world *world) { prepare_trainer(world), CHECK_OK(step(world)); }
static void prepare_state(world *world)
{
    prepare_stepped(world);
    CHECK_OK(covey_trainer_save(world->trainer, world->path));
    CHECK_OK(step(world));
}
static void prepare_old_state(world *world) { prepare_stepped(world), prepare_old_file(world); }

static covey_status features(world *world)
{
    covey_trainer_info info = { .struct_size = sizeof info };
    covey_frame frames[2] = { video_frame(&world->video, 0), video_frame(&world->video, 1) };
    CHECK_OK(covey_trainer_get_info(world->trainer, &info));
    return covey_trainer_encode(world->trainer, frames, 2, 3, world->floats,
                                (size_t)info.feature_count);
}
static covey_status save_state(world *world)
{
    return covey_trainer_save(world->trainer, world->path);
}
static covey_status restore(world *world)
{
    return covey_trainer_restore(world->trainer, world->path);
}
static covey_status export(world *world)
{
    return covey_trainer_export(world->trainer, 0, &world->model);
}
/* Another step, so that moments count, and the state. */
static uint64_t trainer_goes_on(world *world)
{
    char path[FOLDER_PATH];
    folder_path(&world->folder, "outcome", path);
    CHECK_OK(step(world));
    CHECK_OK(covey_trainer_save(world->trainer, path));
    return hash_file(path);
}

static const operation operations[] = {
    { "load, mapped", nothing, load_mapped, model_made },
    { "load, copied", nothing, load_copied, model_made },
    { "load from memory", prepare_bytes, load_memory, model_made },
    { "save as F32", prepare_f32, save, file_made },
    { "save as int8", prepare_q8, save, file_made },
    { "save over a link", prepare_link, save, file_made },
    { "create", nothing, create, session_goes_on },
    { "push", prepare_session, push, session_goes_on },
    { "push again", prepare_second, push, session_goes_on },
    { "push, stream", prepare_stream, push, session_goes_on },
    { "finish", prepare_all, finish, session_goes_on },
    { "finish, reference", prepare_reference, finish, session_goes_on },
    { "finish, objects", prepare_objects, finish, session_goes_on },
    { "next", prepare_finished, next, session_goes_on },
    { "recut", prepare_finished, recut, session_goes_on },
    { "outline", prepare_result, outline, floats_made },
    { "run lengths", prepare_result, run_lengths, floats_made },
    { "segment", nothing, segment, labels_made },
    { "encode", nothing, encode, floats_made },
    { "correlate", nothing, correlate, floats_made },
    { "cluster", nothing, cluster, floats_made },
    { "create a trainer", nothing, create_trainer, trainer_goes_on },
    { "encode a clip", prepare_trainer, features, floats_made },
    { "step", prepare_trainer, step, trainer_goes_on },
    { "save a state", prepare_old_state, save_state, file_made },
    { "restore", prepare_state, restore, trainer_goes_on },
    { "export", prepare_stepped, export, model_made },
};

/* ---- One fault ---------------------------------------------------------------------------------------- */

static world make_world(const subject *subject)
{
    world world = { .subject = subject, .options = subject->options };
    world.options.threads = 3;
    world.options.mask = COVEY_MASK_REFINED;
    world.video = subject_video(subject, FRAMES, 1);
    world.folder = make_folder();
    folder_path(&world.folder, "file", world.path);
    world.labels = calloc(video_size(&world.video), sizeof *world.labels);
    world.floats = calloc(FLOATS, sizeof *world.floats);
    if (!world.labels || !world.floats) check_abort("no memory");
    return world;
}

static void free_world(world *world)
{
    covey_result_free(world->result);
    covey_session_free(world->session);
    covey_trainer_free(world->trainer);
    covey_model_free(world->model);
    free_video(&world->video);
    free_folder(&world->folder);
    free(world->bytes);
    free(world->labels);
    free(world->floats);
}

static char now[200];           /* for the last words of a process that ends     */

static void say_where(int signal)
{
    static const char said[] = ": the process would have ended\n";
    if (write(1, now, strlen(now)) < 0 || write(1, said, sizeof said - 1) < 0) _exit(3);
    (void)signal;
    _exit(2);
}

/* The file is as it was, and nothing lies beside it. */
static void check_old_file(const world *world, int files_before, uint64_t before)
{
    struct stat status;
    CHECK_INT(folder_count(&world->folder), files_before);
    if (files_before == 0) return;
    CHECK(stat(world->path, &status) == 0);
    CHECK(hash_file(world->path) == before);
}

/* Returns whether the fault struck. */
static bool try_fault(const subject *subject, const operation *operation, fault fault, int index,
                      uint64_t expected)
{
    const holdings before = holdings_now();
    world world = make_world(subject);
    operation->prepare(&world);
    const int files = folder_count(&world.folder);
    const uint64_t file = files > 0 ? hash_file(world.path) : 0;

    fault_arm(fault, index);
    covey_status status = operation->act(&world);
    const bool struck = fault_disarm();
    if (status < 0) {
        CHECK(struck);
        CHECK(*covey_last_error() != 0);
        CHECK(fault != FAULT_INTERRUPT && fault != FAULT_RANDOM && fault != FAULT_MODE);
        if (fault <= FAULT_THREAD) CHECK_INT(status, COVEY_ERROR_MEMORY);
        else CHECK_INT(status, COVEY_ERROR_IO);
        check_old_file(&world, files, file);
        CHECK(world.model == NULL);
        CHECK_OK(operation->act(&world));
    } else {
        CHECK_OK(status);
    }
    CHECK(operation->outcome(&world) == expected);
    free_world(&world);
    const holdings after = holdings_now();
    CHECK_INT(after.blocks, before.blocks);
    CHECK_INT(after.bytes, before.bytes);
    CHECK_INT(after.mapped, before.mapped);
    CHECK_INT(after.threads, before.threads);
    CHECK_INT(after.descriptors, before.descriptors);
    return struck;
}

/* What the call does without a fault; fault_count then has the places for each. */
static uint64_t without_fault(const subject *subject, const operation *operation)
{
    world world = make_world(subject);
    operation->prepare(&world);
    fault_arm(FAULT_MEMORY, 0);
    CHECK_OK(operation->act(&world));
    fault_disarm();
    const uint64_t outcome = operation->outcome(&world);
    free_world(&world);
    return outcome;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: faults WEIGHTS [LIMIT]\n");
        return 2;
    }
    if (!interpose_find("libcovey.so")) check_abort("there is no libcovey.so");
    const int limit = argc > 2 ? atoi(argv[2]) : 0;
    static const int signals[] = { SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGINT };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], say_where);

    subject subject = open_subject(argv[1], true);
    printf("%s\n%s\n", covey_build_info(), argv[1]);
    covey_model *none = NULL;
    CHECK_STATUS(covey_model_load(NULL, NULL, &none), COVEY_ERROR_ARGUMENT);
    /* Now there is memory for this thread's messages, which stays. */
    int tried[FAULTS] = { 0 }, there[FAULTS] = { 0 };
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        const operation *operation = &operations[i];
        check_topic("%s", operation->name);
        const uint64_t outcome = without_fault(&subject, operation);
        int all[FAULTS];
        for (fault fault = 0; fault < FAULTS; fault++) all[fault] = fault_count(fault);
        for (fault fault = 0; fault < FAULTS; fault++) {
            const int places = all[fault];
            const int tries = limit > 0 && limit < places ? limit : places;
            for (int n = 0; n < tries; n++) {
                const int index =
                    tries < 2 ? 1 : 1 + (int)((int64_t)n * (places - 1) / (tries - 1));
                snprintf(now, sizeof now, "%s, %s %d of %d", operation->name, fault_names[fault],
                         index, places);
                check_topic("%s", now);
                CHECK(try_fault(&subject, operation, fault, index, outcome));
            }
            tried[fault] += tries;
            there[fault] += places;
        }
    }
    check_topic("");
    for (fault fault = 0; fault < FAULTS; fault++) {
        printf("%s %d of %d%s", fault_names[fault], tried[fault], there[fault],
               fault + 1 < FAULTS ? ", " : "\n");
        CHECK(there[fault] > 0);
    }
    close_subject(&subject);
    printf("%d passed, %d failed\n", check_passed(), check_failed());
    return check_failed() == 0 ? 0 : 1;
}
