/* Sessions and their results. */
#include "calls.h"
#include "check.h"
#include "small.h"
#include "video.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Options ------------------------------------------------------------------------------ */

covey_session_options session_options(call call, bool *refused)
{
    static const int32_t windows[] = { 0, 1, 2, 4, 64 }, strides[] = { 0, 1, 3, 10000 };
    static const int32_t pools[] = { 0, 1, 2, 64 }, budgets[] = { 0, 1, 2, 1000000 };
    static const int32_t targets[] = { 0, 0, 1, 3, 1024 }, most[] = { 0, 0, 1, 2, 65535 };
    static const int32_t banks[] = { 0, 1, 2, 1024 };
    static const float taus[] = { 0, 0, 0, 1e-38f, 0.01f, 0.4f, 5, 1000 };
    static const float areas[] = { 0, -1, -INFINITY, 0.05f, 0.99f };
    static const double least[] = { 0, 0, 1e-300, 0.1, 0.99 };
#define ONE_OF(list) list[draw(&random) % (sizeof list / sizeof *list)]
    uint32_t random = call.a | (uint32_t)call.b << 8;
    covey_session_options options;
    covey_session_options_init(&options, sizeof options);
    options.threads = 1 + (call.b & 1);
    options.mode = draw(&random) % 4 ? COVEY_MODE_EDGE : COVEY_MODE_REFERENCE;
    options.streaming = options.mode == COVEY_MODE_EDGE && draw(&random) % 3 == 0;
    options.window = ONE_OF(windows);
    options.key_stride = ONE_OF(strides);
    options.key_pool = ONE_OF(pools);
    options.key_budget = ONE_OF(budgets);
    options.key_rounding = (covey_key_rounding)(draw(&random) % 3);
    options.tau = ONE_OF(taus);
    options.output = (covey_output)(draw(&random) % 3);
    options.mask = (covey_mask)(draw(&random) % 3);
    options.affinity = (covey_affinity)(draw(&random) % 3);
    options.keep_shots = draw(&random) % 2;
    options.max_objects = ONE_OF(most);
    options.min_area = ONE_OF(areas);
    options.min_region = ONE_OF(areas);
    options.least_objectness = ONE_OF(least);
    options.bank_clusters = ONE_OF(banks);
    if (draw(&random) % 4 == 0) options.working_height = options.working_width = -1;
    if (options.mode == COVEY_MODE_EDGE) {
        options.query_pool = ONE_OF(pools);
        options.max_clusters = ONE_OF(most);
        if (!options.streaming) options.target_clusters = ONE_OF(targets);
    }
#undef ONE_OF
    *refused = true;
    switch (draw(&random) % 24) {
    case 0: options.struct_size = 3; break;
    case 1: options.threads = 257; break;
    case 2: options.tau = NAN; break;
    case 3: options.working_height = -1; options.working_width = 100000; break;
    case 4: options.mode = COVEY_MODE_REFERENCE; options.streaming = 1; break;
    case 5: options.streaming = 1; options.target_clusters = 2; break;
    case 6: options.least_objectness = 1; break;
    default: *refused = false;
    }
    return options;
}

/* ---- A session without trouble --------------------------------------------------------------- */

covey_frame film_frame(int index, int32_t height)
{
    covey_frame frame = small_frame(index);
    frame.height = height;
    return frame;
}

static uint32_t hash_labels(uint32_t before, const covey_result *result, int32_t height)
{
    const uint32_t found = hash_bytes(2166136261u, covey_result_labels(result),
                                      sizeof(uint16_t) * SMALL_WIDTH * (size_t)height);
    return hash_bytes(before, &found, sizeof found);
}

static uint32_t plain_drain(covey_session *session, uint32_t before, int32_t height)
{
    covey_result *result = NULL;
    while (covey_session_next(session, &result) == COVEY_OK) {
        before = hash_labels(before, result, height);
        covey_result_free(result);
    }
    return before;
}

uint32_t plain_run(int variant, const covey_session_options *options, int frames, int32_t height,
                   const film *recut)
{
    covey_session *session = NULL;
    covey_session_options plain = *options;
    plain.threads = 1;
    plain.memory_limit = 0;
    plain.progress = NULL;
    CHECK_OK(covey_session_create(lasting_model(variant), &plain, &session));
    uint32_t hash = 0;
    for (int i = 0; i < frames; i++) {
        const covey_frame frame = film_frame(i, height);
        CHECK_OK(covey_session_push(session, &frame));
        hash = plain_drain(session, hash, height);
    }
    CHECK_OK(covey_session_finish(session));
    hash = plain_drain(session, hash, height);
    if (recut && CHECK_OK(covey_session_recut(session, recut->tau, recut->target)))
        hash = plain_drain(session, 0, height);
    covey_session_free(session);
    return hash;
}

/* ---- The callback ----------------------------------------------------------------------------- */

static int32_t progress(void *user_data, covey_stage stage, float fraction)
{
    film *film = user_data;
    caller *caller = &film->caller;
    CHECK(stage >= COVEY_STAGE_ENCODE && stage <= COVEY_STAGE_ASSIGN);
    CHECK(fraction >= 0 && fraction <= 1);
    if (caller->behaviour == CALLS_BACK) {
        const covey_frame frame = small_frame(0);
        covey_result *result = NULL;
        covey_memory memory = { .struct_size = sizeof memory };
        CHECK_STATUS(covey_session_push(film->session, &frame), COVEY_ERROR_STATE);
        CHECK_STATUS(covey_session_finish(film->session), COVEY_ERROR_STATE);
        CHECK_STATUS(covey_session_next(film->session, &result), COVEY_ERROR_STATE);
        CHECK_STATUS(covey_session_reset(film->session), COVEY_ERROR_STATE);
        CHECK_STATUS(covey_session_recut(film->session, 0, 2), COVEY_ERROR_STATE);
        CHECK_STATUS(covey_session_get_tree(film->session, NULL, NULL), COVEY_ERROR_STATE);
        CHECK_OK(covey_session_get_memory(film->session, &memory));
    }
    if (++caller->calls % caller->answer_at != 0) return 0;
    if (caller->behaviour == CANCELS) covey_session_cancel(film->session);
    caller->has_refused = caller->behaviour == CANCELS || caller->behaviour == SAYS_NO;
    return caller->behaviour == SAYS_NO;
}

/* ---- Calls ------------------------------------------------------------------------------------- */

void free_film(film *film)
{
    covey_session_free(film->session);
    memset(film, 0, sizeof *film);
}

static void create(world *world, film *film, call call)
{
    const model *model = &world->models[call.which / FILMS % MODELS];
    bool refused;
    free_film(film);
    film->options = session_options(call, &refused);
    film->variant = model->variant;
    film->caller.behaviour = (behaviour)(call.b >> 1 & 3);
    film->caller.answer_at = 1 + (call.b >> 3 & 7);
    if (call.b >> 6 == 3) film->options.memory_limit = 1000 << (call.a & 15);
    film->options.progress = progress;
    film->options.user_data = film;
    outcome outcome = { 0, 0 };
    if (!model->handle || refused) outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    if (film->options.memory_limit > 0) outcome.too |= one(COVEY_ERROR_MEMORY);
    const covey_status status = covey_session_create(model->handle, &film->options, &film->session);
    if (!came_out(status, outcome, "create")) CHECK(film->session == NULL);
}

/* For a call that can be cancelled and takes memory: what may come of it but what is wrong. */
static void begin(film *film, outcome *outcome)
{
    film->caller.has_refused = false;
    if (film->is_cancelled) outcome->errors |= one(COVEY_ERROR_CANCELLED);
    if (film->options.memory_limit > 0) outcome->too |= one(COVEY_ERROR_MEMORY);
}

/* A cancel that another error forestalled ends the next call. */
static bool end(film *film, covey_status status, outcome outcome, const char *name)
{
    if (film->caller.has_refused) outcome.errors |= one(COVEY_ERROR_CANCELLED);
    if (status == COVEY_ERROR_CANCELLED) film->is_cancelled = false;
    else if (film->caller.behaviour == CANCELS) film->is_cancelled |= film->caller.has_refused;
    return came_out(status, outcome, name);
}

static void push(film *film, call call)
{
    const int32_t height = SMALL_HEIGHT - (call.b % 8 == 0 && film->height == 0) - (call.a % 16 == 1);
    const bool is_alike = film->height > 0 && call.a % 16 != 1;
    covey_frame frame = film_frame(film->pushed, is_alike ? film->height : height);
    outcome outcome = { 0, 0 };
    begin(film, &outcome);
    covey_frame *pointer = &frame;
    switch (call.a % 16) {
    case 2: pointer = NULL; break;
    case 3: frame.width = 0; break;
    case 4: frame.struct_size = 7; break;
    case 5: frame.planes[0] = NULL; break;
    case 6: frame.strides[0] = 1; break;
    case 7: frame.format = (covey_pixel_format)99; break;
    }
    if (call.a % 16 >= 2 && call.a % 16 <= 7) outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    if (call.a % 16 == 8) frame.struct_size = 5000, outcome.errors |= one(COVEY_ERROR_VERSION);
    if (film->height && frame.height != film->height) outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    if (film->is_finished) outcome.errors |= one(COVEY_ERROR_STATE);
    if (film->pushed >= MOST_FRAMES) return;
    if (!end(film, covey_session_push(film->session, pointer), outcome, "push")) return;
    film->width = frame.width;
    film->height = frame.height;
    film->pushed++;
}

static void finish(film *film)
{
    outcome outcome = { 0, 0 };
    begin(film, &outcome);
    if (film->is_finished || film->pushed == 0) outcome.errors |= one(COVEY_ERROR_STATE);
    if (end(film, covey_session_finish(film->session), outcome, "finish")) film->is_finished = true;
}

/* Whether one came. */
static bool next(world *world, film *film, call call)
{
    covey_result *result = NULL;
    const covey_status status = covey_session_next(film->session, &result);
    const int waiting = film->pushed - film->next;
    if (status == COVEY_ERROR_MEMORY && film->options.memory_limit > 0) return false;
    if (status == COVEY_AGAIN) {
        const int window = film->options.window ? film->options.window : 3;
        CHECK(!film->is_finished && (!film->options.streaming || waiting <= window));
    } else if (status == COVEY_END) {
        CHECK(film->is_finished);
        CHECK_INT(waiting, 0);
    } else if (CHECK_OK(status)) {
        const expected_result expected = { film->next, 1000 + film->next, film->width, film->height };
        kept *kept = &world->results[call.a % RESULTS];
        CHECK(waiting > 0 && (film->is_finished || film->options.streaming));
        covey_result_free(kept->result);
        kept->result = result;
        kept->expected = expected;
        kept->hash = examine_result(result, &expected);
        film->hash = hash_labels(film->hash, result, film->height);
        film->next++;
        return true;
    }
    CHECK(result == NULL);
    return false;
}

/* All that is there; whatever has gone wrong before, the labels are those of a session in which
 * nothing has. */
static void hand_out(world *world, film *film, call call)
{
    while (next(world, film, call)) {}
    if (!film->is_finished || film->next < film->pushed || film->was_compared) return;
    film->was_compared = true;
    CHECK_INT(film->hash, plain_run(film->variant, &film->options, film->pushed, film->height,
                                    film->is_recut ? film : NULL));
}

static void begin_anew(film *film)
{
    film->next = 0;
    film->hash = 0;
    film->was_compared = false;
}

static void reset(film *film)
{
    CHECK_OK(covey_session_reset(film->session));
    begin_anew(film);
    film->pushed = film->width = film->height = 0;
    film->is_finished = film->is_cancelled = film->is_recut = false;
}

/* Errors of what needs a tree. */
static uint32_t without_tree(const film *film)
{
    uint32_t errors = 0;
    if (!film->is_finished) errors |= one(COVEY_ERROR_STATE);
    if (film->options.streaming || film->options.mode == COVEY_MODE_REFERENCE)
        errors |= one(COVEY_ERROR_UNSUPPORTED);
    return errors;
}

static void recut(film *film, call call)
{
    static const float taus[] = { 0, 0.001f, 0.5f, 0.9f, 30, 1000, -1, 1001 };
    static const int32_t targets[] = { 0, 0, 0, 1, 2, 7, 1024, -1 };
    const float tau = call.a % 32 == 31 ? NAN : taus[call.a % 8];
    const int32_t target = call.b == 255 ? 1025 : targets[call.b % 8];
    outcome outcome = { without_tree(film), 0 };
    begin(film, &outcome);
    if (!(tau >= 0 && tau <= 1000) || target < 0 || target > 1024)
        outcome.errors |= one(COVEY_ERROR_ARGUMENT);
    if (!end(film, covey_session_recut(film->session, tau, target), outcome, "recut")) return;
    begin_anew(film);
    film->is_recut = true;
    film->tau = tau;
    film->target = target;
}

static void look_at_tree(film *film, call call)
{
    int32_t leaves = -1, merges = -1;
    outcome outcome = { without_tree(film), 0 };
    /* Several shots may have been found. */
    if (!film->options.keep_shots) outcome.too |= one(COVEY_ERROR_UNSUPPORTED);
    covey_merge merge = { .struct_size = sizeof merge };
    if (!came_out(covey_session_get_tree(film->session, &leaves, &merges), outcome, "get_tree")) {
        CHECK(leaves == -1 && merges == -1);
        outcome.errors |= one(COVEY_ERROR_UNSUPPORTED);
        came_out(covey_session_get_merge(film->session, 0, &merge), outcome, "get_merge");
        return;
    }
    CHECK(leaves >= 1 && merges >= 0 && merges < leaves);
    CHECK_STATUS(covey_session_get_merge(film->session, call.a % 2 ? merges : -1, &merge),
                 COVEY_ERROR_ARGUMENT);
    float before = 0;
    for (int32_t i = 0; i < merges; i++) {
        CHECK_OK(covey_session_get_merge(film->session, i, &merge));
        CHECK(merge.a >= 0 && merge.b >= 0 && merge.a != merge.b);
        CHECK(merge.a < leaves + i && merge.b < leaves + i);
        CHECK(merge.share > 0 && merge.share <= 1 && merge.tau >= before);
        before = merge.tau;
    }
}

static void look_at_memory(const film *film)
{
    covey_memory memory = { .struct_size = sizeof memory };
    CHECK_OK(covey_session_get_memory(film->session, &memory));
    CHECK(memory.weights > 0 && memory.features >= 0 && memory.current >= 0);
    CHECK(memory.peak >= memory.current && memory.workspace >= 0);
    if (film->options.memory_limit > 0) CHECK(memory.peak <= film->options.memory_limit);
}

void call_session(world *world, call call)
{
    film *film = &world->films[call.which % FILMS];
    if (!film->session || call.what % 16 == 15) {
        create(world, film, call);
        return;
    }
    switch (call.what % 16) {
    case 0: case 1: case 2: case 3: case 4: push(film, call); break;
    case 5: case 6: finish(film); break;
    case 7: next(world, film, call); break;
    case 8: hand_out(world, film, call); break;
    case 9: recut(film, call); break;
    case 10: look_at_tree(film, call); break;
    case 11: look_at_memory(film); break;
    case 12:
        covey_session_cancel(film->session);
        film->is_cancelled = true;
        break;
    case 13: reset(film); break;
    default: free_film(film);
    }
}
