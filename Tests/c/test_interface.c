/*
 * Every function of covey.h, called rightly and wrongly.
 *
 *     test_interface WEIGHTS [--quick] [THEME...]
 *
 * --quick leaves out what is slow under an emulator or a checker: long videos,
 * most of the damaged files, and limits that the system sets.
 */
#include "check.h"
#include "video.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    void (*run)(const subject *subject);
} themes[] = {
    { "status", test_status },   { "model", test_model },     { "files", test_files },
    { "options", test_options }, { "session", test_session }, { "frames", test_frames },
    { "cancel", test_cancel },   { "threads", test_threads }, { "memory", test_memory },
    { "result", test_result },   { "stages", test_stages },   { "cluster", test_cluster },
    { "tree", test_tree },       { "stream", test_stream },   { "training", test_training },
    { "trainer", test_trainer }, { "shots", test_shots },     { "fork", test_fork },
    { "floats", test_floats },
};

static bool is_theme(const char *name)
{
    for (size_t i = 0; i < sizeof themes / sizeof *themes; i++)
        if (strcmp(themes[i].name, name) == 0) return true;
    return false;
}

static bool is_wanted(const char *name, int argc, char **argv)
{
    bool any = false;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) return true;
        any = any || is_theme(argv[i]);
    }
    return !any;
}

int main(int argc, char **argv)
{
    bool quick = false;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            quick = true;
        } else if (!is_theme(argv[i])) {
            fprintf(stderr, "%s: no such theme\n", argv[i]);
            return 2;
        }
    }
    if (argc < 2) {
        fprintf(stderr, "usage: test_interface WEIGHTS [--quick] [THEME...]\n");
        return 2;
    }
    subject subject = open_subject(argv[1], quick);
    printf("%s\n%s, tau %g\n", covey_build_info(), argv[1], (double)subject.options.tau);
    fflush(stdout);
    for (size_t i = 0; i < sizeof themes / sizeof *themes; i++) {
        if (!is_wanted(themes[i].name, argc, argv)) continue;
        int passed = check_passed(), failed = check_failed();
        themes[i].run(&subject);
        check_topic("");
        printf("%-8s %d passed, %d failed\n", themes[i].name, check_passed() - passed,
               check_failed() - failed);
        fflush(stdout);
    }
    close_subject(&subject);
    printf("%d passed, %d failed\n", check_passed(), check_failed());
    return check_failed() == 0 ? 0 : 1;
}
