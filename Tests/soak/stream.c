/*
 * A long stream: after a while, memory, descriptors and threads of the process are what they
 * were.
 *
 *     stream WEIGHTS FRAMES
 */
#include "check.h"
#include "video.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct holdings {
    long resident;          /* KiB                                               */
    int  threads, descriptors;
    int64_t session;        /* bytes, as the session itself counts               */
} holdings;

static long status_number(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long found = -1;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0) found = atol(line + strlen(name));
    if (!file || found < 0) check_abort("/proc/self/status cannot be read");
    fclose(file);
    return found;
}

static int descriptor_count(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;
    if (!directory) check_abort("/proc/self/fd cannot be read");
    while (readdir(directory)) count++;
    closedir(directory);
    return count;
}

static holdings holdings_now(const covey_session *session)
{
    covey_memory memory = { .struct_size = sizeof memory };
    CHECK_OK(covey_session_get_memory(session, &memory));
    malloc_trim(0);         /* what is free is not held                           */
    return (holdings){ status_number("VmRSS:"), (int)status_number("Threads:"), descriptor_count(),
                       memory.current };
}

static void say(int frame, holdings now)
{
    printf("stream: %d frames, %ld KiB resident, %lld bytes of the session, %d threads, %d descriptors\n",
           frame, now.resident, (long long)now.session, now.threads, now.descriptors);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    enum { LOOP = 60, SAMPLES = 10 };
    if (argc != 3) {
        fprintf(stderr, "usage: stream WEIGHTS FRAMES\n");
        return 2;
    }
    subject subject = open_subject(argv[1], true);
    video film = subject_video(&subject, LOOP, 1);
    covey_session_options options = subject.options;
    const int frames = atoi(argv[2]), between = frames / SAMPLES / 3 * 3;
    options.streaming = 1;
    options.threads = 2;
    options.output = COVEY_OUTPUT_OBJECTS;
    options.window = 3;
    covey_session *session = new_session(&subject, &options);
    holdings first = { 0, 0, 0, 0 };
    int64_t taken = 0;
    for (int t = 0; t < frames; t++) {
        /* Forwards and backwards: nothing is cut. */
        const int at = t % (2 * LOOP - 2);
        const covey_frame frame = video_frame(&film, at < LOOP ? at : 2 * LOOP - 2 - at);
        covey_result *result = NULL;
        if (!CHECK_OK(covey_session_push(session, &frame))) break;
        while (covey_session_next(session, &result) == COVEY_OK) {
            taken++;
            covey_result_free(result);
        }
        if (between == 0 || (t + 1) % between != 0) continue;
        const holdings now = holdings_now(session);
        if (t + 1 <= 2 * between) {     /* until then caches and keys fill up      */
            first = now;
            say(t + 1, now);
            continue;
        }
        CHECK_INT(now.threads, first.threads);
        CHECK_INT(now.descriptors, first.descriptors);
        /* What the keys of ever more distant frames take, and pages that libc keeps. */
        if (!CHECK(now.resident <= first.resident + 1024)) say(t + 1, now);
    }
    CHECK_OK(covey_session_finish(session));
    say(frames, holdings_now(session));
    covey_result *result = NULL;
    while (covey_session_next(session, &result) == COVEY_OK) {
        taken++;
        covey_result_free(result);
    }
    CHECK_INT(taken, frames);
    covey_session_free(session);
    free_video(&film);
    close_subject(&subject);
    printf("stream: %d passed, %d failed\n", check_passed(), check_failed());
    return check_failed() == 0 ? 0 : 1;
}
