/*
 * covey_bench.c - how fast covey is on this machine, and how much memory it takes.
 *
 *     ./covey_bench models/covey-nano.gguf
 *     ./covey_bench models/covey-nano.gguf --sizes 192x384 --threads 4 --json > board.json
 *
 * Needs no video: frames of moving discs are made up.  For every working size and
 * number of threads it times the encoder (push), the clustering (finish) and the
 * masks (next) of a whole video, and the frames of a stream; and tells what the
 * session and the process took at their most.  Every case runs in a process of its
 * own, so that one's memory is not another's.
 *
 * From the top of the repository, after `make lib`:
 *
 *     cc -std=c99 Examples/covey_bench.c -IInclude -Lbuild -lcovey \
 *        -Wl,-rpath,$PWD/build -o covey_bench
 *
 * measure_whole() and measure_stream() show the two ways to run a session; the rest is
 * for options, the machine and printing.
 */
#define _GNU_SOURCE     /* sched_getaffinity() */

#include <covey.h>

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_LIST = 16,          /* sizes, or numbers of threads                   */
    MAX_SIDE = 8192,        /* what the library accepts as a working size     */
    MAX_FRAMES = 100000,
    TEXT_SIZE = 256,
    WARM_UP = 2             /* frames that are not timed                      */
};

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("covey_bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

static void check(covey_status status)
{
    if (status < 0) fail("%s", covey_last_error());
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory) fail("out of memory (%zu x %zu bytes)", count, size);
    return memory;
}

/* ---- Options ------------------------------------------------------------- */

typedef struct size {
    int32_t height, width;
} size;

typedef struct settings {
    const char *model;
    size    sizes[MAX_LIST], frame;         /* frame 0x0: as the working size */
    int32_t threads[MAX_LIST];
    int     size_count, thread_count, frames, loads;
    bool    whole, stream, json, estimate, nearest;
} settings;

static const char usage[] =
    "usage: covey_bench MODEL [options]\n"
    "\n"
    "  --sizes HxW,...    working sizes, multiples of the model's patch size\n"
    "                     (192x384,320x480)\n"
    "  --frame HxW        size of the frames that are pushed (the working size)\n"
    "  --threads N,...    numbers of threads; 0: one per core (1,0)\n"
    "  --frames N         frames of each case that are timed (30)\n"
    "  --mode M           whole, stream or both (both)\n"
    "  --loads N          times that the model is loaded each way (9)\n"
    "  --nearest          every pixel as its patch, in place of refined masks\n"
    "  --estimate         what memory would be needed; nothing is run or timed\n"
    "  --json             JSON in place of a table\n";

static void fail_usage(const char *format, const char *text)
{
    fputs("covey_bench: ", stderr);
    fprintf(stderr, format, text);
    fprintf(stderr, "\n%s", usage);
    exit(2);
}

/* Digits up to `most`, and what follows them in *end; -1 for anything else. */
static int32_t parse_number(const char *text, char **end, int32_t most)
{
    *end = (char *)text;
    if (*text < '0' || *text > '9') return -1;
    errno = 0;
    long long number = strtoll(text, end, 10);
    return errno || number > most ? -1 : (int32_t)number;
}

static int parse_count(const char *name, const char *text, int32_t most)
{
    char *end, message[TEXT_SIZE];
    int32_t number = parse_number(text, &end, most);
    snprintf(message, sizeof message, "%s takes 1 to %d, not '%%s'", name, (int)most);
    if (number < 1 || *end) fail_usage(message, text);
    return number;
}

/* One size, and what follows it in *end. */
static size parse_size(const char *name, const char *text, const char **end)
{
    char *at, message[TEXT_SIZE];
    size found = { parse_number(text, &at, MAX_SIDE), -1 };
    if (*at == 'x') found.width = parse_number(at + 1, &at, MAX_SIDE);
    snprintf(message, sizeof message, "%s takes HEIGHTxWIDTH, such as 320x480, not '%%s'", name);
    if (found.height < 1 || found.width < 1 || (*at && *at != ',')) fail_usage(message, text);
    *end = at;
    return found;
}

static void parse_sizes(settings *given, const char *text)
{
    for (given->size_count = 0;; text++) {
        if (given->size_count == MAX_LIST) fail_usage("--sizes: more than 16 at '%s'", text);
        given->sizes[given->size_count++] = parse_size("--sizes", text, &text);
        if (!*text) return;
    }
}

static void parse_threads(settings *given, const char *text)
{
    const char *all = text;
    for (given->thread_count = 0;; text++) {
        char *end;
        int32_t threads = parse_number(text, &end, 256);
        if (threads < 0 || (*end && *end != ',') || given->thread_count == MAX_LIST)
            fail_usage("--threads takes up to 16 numbers of 0 to 256, not '%s'", all);
        given->threads[given->thread_count++] = threads;
        text = end;
        if (!*text) return;
    }
}

static settings parse_arguments(int argc, char **argv)
{
    settings given = { .frames = 30, .loads = 9, .whole = true, .stream = true };
    parse_sizes(&given, "192x384,320x480");
    parse_threads(&given, "1,0");
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *end;
        if (strcmp(name, "--help") == 0) {
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        } else if (strcmp(name, "--json") == 0) {
            given.json = true;
        } else if (strcmp(name, "--estimate") == 0) {
            given.estimate = true;
        } else if (strcmp(name, "--nearest") == 0) {
            given.nearest = true;
        } else if (strncmp(name, "--", 2) == 0) {
            const char *value = ++i < argc ? argv[i] : NULL;
            if (!value) fail_usage("%s: unknown, or lacks its value", name);
            if (strcmp(name, "--sizes") == 0) {
                parse_sizes(&given, value);
            } else if (strcmp(name, "--frame") == 0) {
                given.frame = parse_size(name, value, &end);
                if (*end) fail_usage("--frame takes one size, not '%s'", value);
            } else if (strcmp(name, "--threads") == 0) {
                parse_threads(&given, value);
            } else if (strcmp(name, "--frames") == 0) {
                given.frames = parse_count(name, value, MAX_FRAMES);
            } else if (strcmp(name, "--loads") == 0) {
                given.loads = parse_count(name, value, 1000);
            } else if (strcmp(name, "--mode") == 0) {
                given.whole = strcmp(value, "stream") != 0;
                given.stream = strcmp(value, "whole") != 0;
                if (given.whole && given.stream && strcmp(value, "both") != 0)
                    fail_usage("--mode takes whole, stream or both, not '%s'", value);
            } else {
                fail_usage("%s: unknown option", name);
            }
        } else if (!given.model) {
            given.model = name;
        } else {
            fail_usage("%s: one argument too many", name);
        }
    }
    if (!given.model) fail_usage("%s", "a model is needed");
    return given;
}

/* ---- The machine --------------------------------------------------------- */

typedef struct machine {
    char cpu[TEXT_SIZE], board[TEXT_SIZE], governor[TEXT_SIZE], system[TEXT_SIZE];
    int  cores, usable;
} machine;

/* The first line of a file, "" where there is none. */
static void read_line(const char *path, char text[TEXT_SIZE])
{
    FILE *file = fopen(path, "r");
    text[0] = 0;
    if (!file) return;
    if (!fgets(text, TEXT_SIZE, file)) text[0] = 0;
    text[strcspn(text, "\n")] = 0;
    fclose(file);
}

/* The cores of ARM Ltd. that boards have; the others are told by their number. */
static const char *arm_core(long part)
{
    static const struct { long part; const char *name; } cores[] = {
        { 0xd03, "Cortex-A53" }, { 0xd04, "Cortex-A35" }, { 0xd05, "Cortex-A55" },
        { 0xd07, "Cortex-A57" }, { 0xd08, "Cortex-A72" }, { 0xd09, "Cortex-A73" },
        { 0xd0a, "Cortex-A75" }, { 0xd0b, "Cortex-A76" }, { 0xd0c, "Neoverse-N1" },
        { 0xd0d, "Cortex-A77" }, { 0xd40, "Neoverse-V1" }, { 0xd41, "Cortex-A78" },
        { 0xd42, "Cortex-A78AE" }, { 0xd46, "Cortex-A510" }, { 0xd47, "Cortex-A710" },
        { 0xd49, "Neoverse-N2" },
    };
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++)
        if (cores[i].part == part) return cores[i].name;
    return NULL;
}

/* What /proc/cpuinfo says: a name (x86), or parts, which may differ from core to core:
 * "4 x Cortex-A55, 4 x Cortex-A76". */
static void read_cpu(char name[TEXT_SIZE])
{
    char line[1024], value[TEXT_SIZE];
    struct { long implementer, part; int count; } kinds[8] = { { 0, 0, 0 } };
    int found = 0;
    long implementer = 0, part;
    FILE *file = fopen("/proc/cpuinfo", "r");
    name[0] = 0;
    if (!file) return;
    while (fgets(line, sizeof line, file)) {
        if (!name[0] && sscanf(line, "model name%*[ \t]: %255[^\n]", value) == 1)
            snprintf(name, TEXT_SIZE, "%s", value);
        if (sscanf(line, "CPU implementer%*[ \t]: %li", &implementer) == 1) continue;
        if (sscanf(line, "CPU part%*[ \t]: %li", &part) != 1) continue;
        int i = 0;
        while (i < found && (kinds[i].part != part || kinds[i].implementer != implementer)) i++;
        if (i == (int)(sizeof kinds / sizeof *kinds)) continue;
        if (i == found) found++;
        kinds[i].implementer = implementer;
        kinds[i].part = part;
        kinds[i].count++;
    }
    fclose(file);
    for (int i = 0; i < found; i++) {
        const char *core = kinds[i].implementer == 0x41 ? arm_core(kinds[i].part) : NULL;
        size_t used = i ? strlen(name) : 0;
        if (core)
            snprintf(name + used, TEXT_SIZE - used, "%s%d x %s", i ? ", " : "", kinds[i].count,
                     core);
        else
            snprintf(name + used, TEXT_SIZE - used, "%s%d x part 0x%lx of implementer 0x%lx",
                     i ? ", " : "", kinds[i].count, kinds[i].part, kinds[i].implementer);
    }
}

static machine read_machine(void)
{
    machine found = { .cores = (int)sysconf(_SC_NPROCESSORS_ONLN) };
    struct utsname system;
    cpu_set_t set;
    read_cpu(found.cpu);
    read_line("/proc/device-tree/model", found.board);
    read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", found.governor);
    if (uname(&system) == 0)
        snprintf(found.system, sizeof found.system, "%s %.100s %.100s", system.sysname,
                 system.release, system.machine);
    found.usable = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : found.cores;
    return found;
}

/* Peak resident memory of this process in bytes; 0 where /proc does not tell. */
static int64_t resident_peak(void)
{
    char line[TEXT_SIZE];
    long long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lld", &kib) == 1) break;
    fclose(file);
    return (int64_t)kib * 1024;
}

/* ---- Frames -------------------------------------------------------------- */

/* A coarse texture, the same everywhere: 0 to 63. */
static int32_t texture(int32_t x, int32_t y, uint32_t seed)
{
    uint32_t hash = (uint32_t)(x >> 2) * 2654435761u ^ (uint32_t)(y >> 2) * 2246822519u ^ seed;
    hash ^= hash >> 15;
    hash *= 2654435761u;
    return (int32_t)(hash >> 26);
}

/* Three discs of different colours, which move with their textures, over a ground that
 * moves slowly. */
static void draw(uint8_t *rgb, size of, int index)
{
    static const int32_t colours[4][3] = {
        { 40, 70, 50 }, { 180, 60, 40 }, { 50, 80, 190 }, { 190, 180, 60 }
    };
    int32_t radius = (of.height < of.width ? of.height : of.width) / 6 + 1;
    int32_t x[3], y[3];
    for (int32_t i = 0; i < 3; i++) {
        /* To and fro: a triangle wave of each one's own period. */
        int32_t phase = (index * (3 + i) + 90 * i) % 360;
        int32_t way = phase < 180 ? phase : 360 - phase;
        x[i] = radius + (of.width - 2 * radius) * way / 180;
        y[i] = of.height * (i + 1) / 4 + radius * (way - 90) / 180;
    }
    for (int32_t row = 0; row < of.height; row++)
        for (int32_t column = 0; column < of.width; column++) {
            int32_t of_disc = 0, right = index / 2, down = 0;
            for (int32_t i = 0; i < 3; i++) {
                int32_t dx = column - x[i], dy = row - y[i];
                if (dx * dx + dy * dy >= radius * radius) continue;
                of_disc = i + 1;
                right = -x[i];
                down = -y[i];
            }
            int32_t grain = texture(column + right + 65536, row + down + 65536, (uint32_t)of_disc);
            for (int32_t c = 0; c < 3; c++)
                *rgb++ = (uint8_t)(colours[of_disc][c] + grain);
        }
}

/* ---- Measuring ----------------------------------------------------------- */

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

typedef struct spread {
    double least, median, p90, most;
} spread;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static spread spread_of(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    spread found = { values[0], values[count / 2], values[(9 * count + 9) / 10 - 1],
                     values[count - 1] };
    if (count % 2 == 0) found.median = 0.5 * (values[count / 2 - 1] + values[count / 2]);
    return found;
}

typedef struct one_case {
    size    working, frame;
    int32_t threads;
    int32_t streaming;
} one_case;

/* What a process of its own has found; goes through a pipe. */
typedef struct outcome {
    spread  push, mask;         /* ms a frame; push of a stream: results and all */
    double  finish, total;      /* ms                                            */
    int32_t objects, late;      /* late: frames pushed behind that of a result   */
    int64_t weights, features, workspace, peak, estimate;   /* bytes             */
    int64_t resident, resident_before;                      /* of the process    */
} outcome;

typedef struct loads {
    covey_model_info info;
    char    name[TEXT_SIZE];
    spread  mapped, unchecked, copied;                      /* ms                */
    double  first;
} loads;

static covey_session_options options_of(const settings *given, const one_case *of)
{
    covey_session_options options;
    covey_session_options_init(&options, sizeof options);
    options.working_height = of->working.height;
    options.working_width = of->working.width;
    options.threads = of->threads;
    options.streaming = of->streaming;
    options.mask = given->nearest ? COVEY_MASK_NEAREST : COVEY_MASK_REFINED;
    return options;
}

static covey_frame frame_of(const one_case *of, uint8_t *pixels, int index)
{
    covey_frame frame = { .struct_size = sizeof frame, .format = COVEY_PIXEL_RGB8 };
    draw(pixels, of->frame, index);
    frame.width = of->frame.width;
    frame.height = of->frame.height;
    frame.planes[0] = pixels;
    frame.timestamp = index;
    return frame;
}

/* Takes all results that there are; their number. */
static int drain(covey_session *session, int pushed, double *masks, outcome *found)
{
    covey_result *result;
    covey_result_info info = { .struct_size = sizeof info };
    covey_status status;
    int count = 0;
    for (;;) {
        double start = now_ms();
        if ((status = covey_session_next(session, &result)) != COVEY_OK) break;
        if (masks) masks[count] = now_ms() - start;
        count++;
        check(covey_result_get_info(result, &info));
        covey_result_free(result);
        found->objects = info.total_objects;
        int32_t late = (int32_t)(pushed - 1 - info.frame_index);
        if (late > found->late) found->late = late;
    }
    check(status);
    return count;
}

static void measure_whole(const settings *given, const one_case *of, covey_session *session,
                          uint8_t *pixels, outcome *found)
{
    double *pushes = allocate((size_t)given->frames, sizeof *pushes);
    double *masks = allocate((size_t)given->frames, sizeof *masks);
    for (int i = 0; i < given->frames; i++) {
        covey_frame frame = frame_of(of, pixels, i);
        double start = now_ms();
        check(covey_session_push(session, &frame));
        found->total += pushes[i] = now_ms() - start;
    }
    double start = now_ms();
    check(covey_session_finish(session));
    found->total += found->finish = now_ms() - start;
    int count = drain(session, given->frames, masks, found);
    if (count != given->frames) fail("%d frames pushed, %d results", given->frames, count);
    for (int i = 0; i < count; i++) found->total += masks[i];
    found->push = spread_of(pushes, given->frames);
    found->mask = spread_of(masks, count);
    found->late = 0;
    free(pushes);
    free(masks);
}

static void measure_stream(const settings *given, const one_case *of, covey_session *session,
                           uint8_t *pixels, outcome *found)
{
    double *pushes = allocate((size_t)given->frames, sizeof *pushes);
    int count = 0;
    for (int i = 0; i < given->frames; i++) {
        covey_frame frame = frame_of(of, pixels, i);
        double start = now_ms();
        check(covey_session_push(session, &frame));
        count += drain(session, i + 1, NULL, found);
        found->total += pushes[i] = now_ms() - start;
    }
    double start = now_ms();
    check(covey_session_finish(session));
    count += drain(session, given->frames, NULL, found);
    found->total += found->finish = now_ms() - start;
    if (count != given->frames) fail("%d frames pushed, %d results", given->frames, count);
    found->push = spread_of(pushes, given->frames);
    free(pushes);
}

static void measure(const settings *given, const one_case *of, outcome *found)
{
    covey_model *model;
    covey_session *session;
    covey_session_options options = options_of(given, of);
    covey_memory memory = { .struct_size = sizeof memory };

    found->resident_before = resident_peak();
    check(covey_model_load(given->model, NULL, &model));
    check(covey_estimate_memory(model, &options, of->frame.width, of->frame.height,
                                given->frames, &memory));
    found->estimate = memory.peak;
    found->features = memory.features;
    found->workspace = memory.workspace;
    found->weights = memory.weights;
    if (!given->estimate) {
        uint8_t *pixels =
            allocate((size_t)of->frame.height * (size_t)of->frame.width, 3);
        check(covey_session_create(model, &options, &session));
        for (int i = 0; i < WARM_UP; i++) {
            covey_frame frame = frame_of(of, pixels, i);
            check(covey_session_push(session, &frame));
        }
        check(covey_session_reset(session));
        if (of->streaming) measure_stream(given, of, session, pixels, found);
        else measure_whole(given, of, session, pixels, found);
        check(covey_session_get_memory(session, &memory));
        found->peak = memory.peak;
        found->weights = memory.weights;
        covey_session_free(session);
        free(pixels);
    }
    covey_model_free(model);
    found->resident = resident_peak();
}

static double load_once(const settings *given, bool copy, bool unchecked, loads *found)
{
    covey_model_options options = { .struct_size = sizeof options };
    covey_model *model;
    options.read_into_memory = copy;
    options.skip_checksum = unchecked;
    double start = now_ms();
    check(covey_model_load(given->model, &options, &model));
    double spent = now_ms() - start;
    found->info = (covey_model_info){ .struct_size = sizeof found->info };
    check(covey_model_get_info(model, &found->info));
    snprintf(found->name, sizeof found->name, "%s", found->info.name);
    covey_model_free(model);
    return spent;
}

/* The three ways take turns, so that what else the machine does hits all of them. */
static void measure_loads(const settings *given, loads *found)
{
    double *times = allocate(3 * (size_t)given->loads, sizeof *times);
    int count = given->estimate ? 1 : given->loads;
    found->first = load_once(given, false, false, found);
    for (int i = 0; i < count; i++)
        for (int way = 0; way < 3; way++)
            times[way * count + i] = load_once(given, way == 2, way == 1, found);
    found->mapped = spread_of(times, count);
    found->unchecked = spread_of(times + count, count);
    found->copied = spread_of(times + 2 * count, count);
    free(times);
}

/* Runs one case (or, where `of` is NULL, the loads) in a process of its own and fetches
 * what it has found. */
static void run_apart(const settings *given, const one_case *of, void *found, size_t bytes)
{
    int ends[2], status = 0;
    fflush(NULL);
    if (pipe(ends) != 0) fail("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0) fail("fork: %s", strerror(errno));
    if (child == 0) {
        close(ends[0]);
        if (of) measure(given, of, found);
        else measure_loads(given, found);
        /* Less than a pipe holds: written in one go. */
        _exit(write(ends[1], found, bytes) == (ssize_t)bytes ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    close(ends[1]);
    size_t fetched = 0;
    ssize_t more;
    while (fetched < bytes && (more = read(ends[0], (char *)found + fetched, bytes - fetched)) > 0)
        fetched += (size_t)more;
    close(ends[0]);
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) fail("a case was ended by signal %d", WTERMSIG(status));
    /* It has said why. */
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || fetched != bytes) exit(EXIT_FAILURE);
}

/* ---- Printing ------------------------------------------------------------ */

static const char *dtype_name(covey_dtype dtype)
{
    return dtype == COVEY_DTYPE_F32 ? "f32" : dtype == COVEY_DTYPE_F16 ? "f16" : "int8";
}

static void print_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c < 0x20) printf("\\u%04x", c);
        else putchar(c);
    }
    putchar('"');
}

static void print_field(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    print_text(text);
    fputs(", ", stdout);
}

static void print_spread(const char *name, spread of)
{
    printf("\"%s\": {\"least\": %.4f, \"median\": %.4f, \"p90\": %.4f, \"most\": %.4f}, ", name,
           of.least, of.median, of.p90, of.most);
}

static void print_json_head(const settings *given, const machine *on, const loads *loaded,
                            int64_t bytes)
{
    const covey_model_info *info = &loaded->info;
    printf("{");
    print_field("build", covey_build_info());
    printf("\"version\": %d,\n \"machine\": {", covey_version());
    print_field("cpu", on->cpu);
    print_field("board", on->board);
    print_field("governor", on->governor);
    print_field("system", on->system);
    printf("\"cores\": %d, \"usable\": %d},\n \"model\": {", on->cores, on->usable);
    print_field("path", given->model);
    print_field("name", loaded->name);
    print_field("dtype", dtype_name(info->dtype));
    printf("\"bytes\": %lld, \"parameters\": %lld, \"patch\": %d, \"channels\": %d, "
           "\"depth\": %d},\n", (long long)bytes, (long long)info->parameter_count,
           info->patch_size, info->embed_dim, info->depth);
    if (!given->estimate) {
        printf(" \"load_ms\": {");
        print_spread("mapped", loaded->mapped);
        print_spread("mapped_unchecked", loaded->unchecked);
        print_spread("copied", loaded->copied);
        printf("\"first\": %.4f, \"times\": %d},\n", loaded->first, given->loads);
    }
    printf(" \"cases\": [");
}

static void print_json_case(const settings *given, const one_case *of, const outcome *found,
                            bool first)
{
    printf("%s\n  {\"mode\": \"%s\", \"height\": %d, \"width\": %d, \"frame_height\": %d, "
           "\"frame_width\": %d, \"threads\": %d, \"frames\": %d, ", first ? "" : ",",
           of->streaming ? "stream" : "whole", of->working.height, of->working.width,
           of->frame.height, of->frame.width, of->threads, given->frames);
    if (!given->estimate) {
        print_spread("push_ms", found->push);
        if (!of->streaming) print_spread("mask_ms", found->mask);
        printf("\"finish_ms\": %.4f, \"frames_per_s\": %.4f, \"objects\": %d, "
               "\"frames_late\": %d, \"session_peak\": %lld, \"process_before\": %lld, "
               "\"process_peak\": %lld,\n   ", found->finish,
               1e3 * given->frames / found->total, found->objects, found->late,
               (long long)found->peak, (long long)found->resident_before,
               (long long)found->resident);
    }
    printf("\"estimate\": {\"weights\": %lld, \"features\": %lld, \"workspace\": %lld, "
           "\"peak\": %lld}}", (long long)found->weights, (long long)found->features,
           (long long)found->workspace, (long long)found->estimate);
}

static void print_table_head(const settings *given, const machine *on, const loads *loaded,
                             int64_t bytes)
{
    printf("%s\n%s%s%s, %d cores, %d usable%s%s, %s\n", covey_build_info(), on->board,
           on->board[0] ? ", " : "", on->cpu[0] ? on->cpu : "unknown CPU", on->cores, on->usable,
           on->governor[0] ? ", governor " : "", on->governor, on->system);
    printf("%s: %s, %s, %lld parameters, %lld bytes\n", given->model, loaded->name,
           dtype_name(loaded->info.dtype), (long long)loaded->info.parameter_count,
           (long long)bytes);
    if (given->estimate) {
        printf("\nestimates for %d frames, MB\n%-9s %-9s %-7s %7s %8s %8s %9s %8s\n",
               given->frames, "working", "frame", "mode", "threads", "weights", "features",
               "workspace", "sum");
        return;
    }
    printf("loading: mapped %.2f ms, unchecked %.2f, copied %.2f (medians of %d; the first %.2f)\n\n",
           loaded->mapped.median, loaded->unchecked.median, loaded->copied.median, given->loads,
           loaded->first);
    printf("%-9s %-7s %7s %18s %9s %8s %8s %6s %8s %8s\n", "working", "mode", "threads",
           "push ms (p90)", "finish ms", "mask ms", "frames/s", "late", "session", "process");
    printf("%-9s %-7s %7s %18s %9s %8s %8s %6s %8s %8s\n", "", "", "", "a frame", "in all",
           "a frame", "", "frames", "MB", "MB");
}

static void print_table_case(const settings *given, const one_case *of, const outcome *found)
{
    char working[32], frame[32], push[64], mask[32] = "-";
    const char *mode = of->streaming ? "stream" : "whole";
    snprintf(working, sizeof working, "%dx%d", of->working.height, of->working.width);
    snprintf(frame, sizeof frame, "%dx%d", of->frame.height, of->frame.width);
    if (given->estimate) {
        printf("%-9s %-9s %-7s %7d %8.1f %8.1f %9.1f %8.1f\n", working, frame, mode,
               of->threads, 1e-6 * (double)found->weights, 1e-6 * (double)found->features,
               1e-6 * (double)found->workspace,
               1e-6 * (double)(found->weights + found->estimate));
        return;
    }
    snprintf(push, sizeof push, "%.1f (%.1f)", found->push.median, found->push.p90);
    if (!of->streaming) snprintf(mask, sizeof mask, "%.1f", found->mask.median);
    printf("%-9s %-7s %7d %18s %9.1f %8s %8.1f %6d %8.1f %8.1f\n", working, mode, of->threads,
           push, found->finish, mask, 1e3 * given->frames / found->total, found->late,
           1e-6 * (double)found->peak, 1e-6 * (double)found->resident);
}

/* ---- The whole ----------------------------------------------------------- */

int main(int argc, char **argv)
{
    settings given = parse_arguments(argc, argv);
    machine on = read_machine();
    loads loaded = { .first = 0 };
    struct stat file;
    bool first = true;

    if (stat(given.model, &file) != 0) fail("%s: %s", given.model, strerror(errno));
    run_apart(&given, NULL, &loaded, sizeof loaded);
    if (given.json) print_json_head(&given, &on, &loaded, (int64_t)file.st_size);
    else print_table_head(&given, &on, &loaded, (int64_t)file.st_size);

    for (int s = 0; s < given.size_count; s++)
        for (int t = 0; t < given.thread_count; t++)
            for (int32_t streaming = !given.whole; streaming <= given.stream; streaming++) {
                one_case of = { given.sizes[s], given.frame, given.threads[t], streaming };
                outcome found = { .total = 0 };
                if (of.frame.height == 0) of.frame = of.working;
                if (of.threads == 0) of.threads = on.usable < 256 ? on.usable : 256;
                run_apart(&given, &of, &found, sizeof found);
                if (given.json) print_json_case(&given, &of, &found, first);
                else print_table_case(&given, &of, &found);
                fflush(stdout);
                first = false;
            }
    if (given.json) printf("]}\n");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
