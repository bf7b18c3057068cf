/*
 * Eight sessions of one model at once, and beside them threads that set the log, cancel, and
 * fork.  Labels are those of a session alone; under the thread sanitizer nothing is raced for.
 *
 *     crowd WEIGHTS ROUNDS
 */
#include "check.h"
#include "video.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MEMBERS = 8, KINDS = 4, FRAMES = 5 };

static subject subject_of_all;
static video film;
static uint16_t *expected[KINDS];
static atomic_bool is_over;
static atomic_int cancelled, logged, forked, done;      /* done: calls that were not cancelled */

/* Whose session can be cancelled; NULL where it has none. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static covey_session *sessions[MEMBERS];

static covey_session_options options_of(int kind)
{
    covey_session_options options = subject_of_all.options;
    options.threads = 1 + kind % 3;
    options.streaming = kind == 1;
    options.window = 2;
    if (kind == 2) {
        options.mode = COVEY_MODE_REFERENCE;
        options.query_pool = 0;
    }
    if (kind == 3) options.output = COVEY_OUTPUT_OBJECTS;
    return options;
}

/* Until it is not cancelled. */
static bool insist(covey_session *session, const covey_frame *frame)
{
    covey_status status;
    do {
        status = frame ? covey_session_push(session, frame) : covey_session_finish(session);
        if (status == COVEY_ERROR_CANCELLED) cancelled++;
    } while (status == COVEY_ERROR_CANCELLED);
    done++;
    return CHECK_OK(status);
}

static size_t take_results(covey_session *session, uint16_t *labels, size_t have)
{
    const size_t pixels = (size_t)film.width * (size_t)film.height;
    covey_result *result = NULL;
    covey_status status;
    while ((status = covey_session_next(session, &result)) == COVEY_OK ||
           status == COVEY_ERROR_CANCELLED) {
        if (status != COVEY_OK) continue;
        memcpy(labels + have++ * pixels, covey_result_labels(result), pixels * sizeof *labels);
        covey_result_free(result);
    }
    CHECK(status == COVEY_AGAIN || status == COVEY_END);
    return have;
}

static void one_round(int member, int kind)
{
    const covey_session_options options = options_of(kind);
    uint16_t *labels = take(video_size(&film) * sizeof *labels);
    covey_session *session = NULL;
    CHECK_OK(covey_session_create(subject_of_all.model, &options, &session));
    pthread_mutex_lock(&lock);
    sessions[member] = session;
    pthread_mutex_unlock(&lock);
    size_t have = 0;
    for (int32_t t = 0; t < FRAMES; t++) {
        const covey_frame frame = video_frame(&film, t);
        insist(session, &frame);
        have = take_results(session, labels, have);
    }
    insist(session, NULL);
    CHECK_INT(take_results(session, labels, have), FRAMES);
    CHECK_BYTES(labels, expected[kind], video_size(&film) * sizeof *labels);
    pthread_mutex_lock(&lock);
    sessions[member] = NULL;
    pthread_mutex_unlock(&lock);
    covey_session_free(session);
    free(labels);
}

typedef struct member {
    pthread_t thread;
    int       index, rounds;
} member;

static void *run_member(void *given)
{
    const member *member = given;
    for (int i = 0; i < member->rounds; i++) one_round(member->index, (member->index + i) % KINDS);
    return NULL;
}

/* ---- Beside them ------------------------------------------------------------------------ */

static void sink(void *user_data, covey_log_level level, const char *message)
{
    (void)level, (void)message;
    atomic_fetch_add((atomic_int *)user_data, 1);
}

static void *set_log(void *unused)
{
    for (int i = 0; !is_over; i++) {
        covey_set_log(i % 3 ? sink : NULL, &logged, (covey_log_level)(1 + i % 4));
        usleep(300);
    }
    covey_set_log(NULL, NULL, COVEY_LOG_ERROR);
    return unused;
}

/* No more often than calls succeed: the crowd gets on, however slow it is. */
static void *cancel(void *unused)
{
    for (int i = 0, seen = 0; !is_over; i++) {
        while (done == seen && !is_over) usleep(200);
        seen = done;
        pthread_mutex_lock(&lock);
        if (sessions[i % MEMBERS]) covey_session_cancel(sessions[i % MEMBERS]);
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define IS_CHECKED 1
#endif
#endif

/* In the child nothing waits for threads that are not there. */
static int in_child(void)
{
#ifdef IS_CHECKED
    return 0;       /* the thread sanitizer itself cannot go on there             */
#endif
    alarm(60);
    covey_session_options options = options_of(0);
    covey_session *session = NULL;
    if (covey_session_create(subject_of_all.model, &options, &session) != COVEY_OK) return 2;
    for (int32_t t = 0; t < FRAMES; t++) {
        const covey_frame frame = video_frame(&film, t);
        if (covey_session_push(session, &frame) != COVEY_OK) return 3;
    }
    if (covey_session_finish(session) != COVEY_OK) return 4;
    covey_session_free(session);
    return 0;
}

static void *fork_now_and_then(void *unused)
{
    while (!is_over) {
        const pid_t child = fork();
        if (child == 0) _exit(in_child());
        if (child < 0) check_abort("no process");
        CHECK_CHILD(child);
        forked++;
        usleep(5000);
    }
    return unused;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: crowd WEIGHTS ROUNDS\n");
        return 2;
    }
    subject_of_all = open_subject(argv[1], true);
    film = subject_video(&subject_of_all, FRAMES, 1);
    for (int kind = 0; kind < KINDS; kind++) {
        const covey_session_options options = options_of(kind);
        uint16_t *labels = take(video_size(&film) * sizeof *labels);
        covey_session *session = new_session(&subject_of_all, &options);
        size_t have = 0;
        for (int32_t t = 0; t < FRAMES; t++) {
            const covey_frame frame = video_frame(&film, t);
            CHECK_OK(covey_session_push(session, &frame));
            have = take_results(session, labels, have);
        }
        CHECK_OK(covey_session_finish(session));
        CHECK_INT(take_results(session, labels, have), FRAMES);
        covey_session_free(session);
        expected[kind] = labels;
    }
    void *(*const others[])(void *) = { set_log, cancel, fork_now_and_then };
    pthread_t threads[3];
    member members[MEMBERS];
    for (int i = 0; i < MEMBERS; i++) {
        members[i].index = i;
        members[i].rounds = atoi(argv[2]);
        if (pthread_create(&members[i].thread, NULL, run_member, &members[i])) check_abort("no thread");
    }
    for (int i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, others[i], NULL)) check_abort("no thread");
    for (int i = 0; i < MEMBERS; i++) pthread_join(members[i].thread, NULL);
    is_over = true;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    CHECK(cancelled > 0 && forked > 0);
    for (int kind = 0; kind < KINDS; kind++) free(expected[kind]);
    free_video(&film);
    close_subject(&subject_of_all);
    printf("crowd: %d rounds of %d sessions, %d calls cancelled, %d messages, %d forks; %d passed, "
           "%d failed\n", atoi(argv[2]), MEMBERS, (int)cancelled, (int)logged, (int)forked,
           check_passed(), check_failed());
    return check_failed() == 0 ? 0 : 1;
}
