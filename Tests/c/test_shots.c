/* Videos of several shots. */
#include "check.h"
#include "video.h"

#include <stdlib.h>

enum { SHOTS = 3, EACH = 6 };

/* Blocks of random colours, reds, greens, then blues, and a little noise. */
static video make_shots(const subject *subject)
{
    video made = subject_video(subject, SHOTS * EACH, 1);
    uint8_t *pixel = made.pixels;
    uint32_t noise = 5;
    for (int32_t t = 0; t < made.frames; t++) {
        for (int32_t y = 0; y < made.height; y++) {
            for (int32_t x = 0; x < made.width; x++) {
                uint32_t block = (uint32_t)(t / EACH * 1000 + y * 6 / made.height * 8 +
                                            x * 8 / made.width);
                /* What follows each other must not be alike. */
                block = (block ^ 0x9E3779B9u) * 0x7FEB352Du;
                block = (block ^ block >> 15) * 0x846CA68Bu;
                for (int c = 0; c < 3; c++)
                    *pixel++ = (uint8_t)((c == t / EACH ? 60 + next_random(&block) % 180
                                                        : next_random(&block) % 40) +
                                         next_random(&noise) % 8);
            }
        }
    }
    return made;
}

static void check_results(covey_session *session, const video *video, bool is_split)
{
    int32_t highest = 0, before = 0;
    for (int32_t t = 0; t < video->frames; t++) {
        covey_result *result = NULL;
        if (!CHECK_OK(covey_session_next(session, &result))) return;
        covey_result_info info = { .struct_size = sizeof info };
        CHECK_OK(covey_result_get_info(result, &info));
        CHECK_INT(info.frame_index, t);
        CHECK_INT(info.shot, is_split ? t / EACH : 0);
        /* What a program knows that is older than the field. */
        union { covey_result_info info; uint8_t bytes[sizeof info]; } older;
        for (size_t i = 0; i < sizeof older; i++) older.bytes[i] = 0xAB;
        older.info.struct_size = 80;
        CHECK_OK(covey_result_get_info(result, &older.info));
        CHECK_INT(older.info.frame_index, t);
        for (size_t i = 80; i < sizeof older; i++) CHECK_INT(older.bytes[i], 0xAB);
        /* No id of an earlier shot. */
        if (is_split && t % EACH == 0) before = highest;
        for (int32_t i = 0; i < info.object_count; i++) {
            covey_object object = { .struct_size = sizeof object };
            CHECK_OK(covey_result_get_object(result, i, &object));
            CHECK(object.id > before && object.id <= info.total_objects);
            CHECK(!is_split || object.first_frame / EACH == t / EACH);
            if (object.id > highest) highest = object.id;
        }
        covey_result_free(result);
    }
    covey_result *result = NULL;
    CHECK_STATUS(covey_session_next(session, &result), COVEY_END);
}

void test_shots(const subject *subject)
{
    video video = make_shots(subject);
    for (int32_t streaming = 0; streaming < 2; streaming++) {
        for (int32_t keep = 0; keep < 2; keep++) {
            check_topic(streaming ? "shots of a stream" : "shots");
            covey_session_options options = subject->options;
            options.streaming = streaming;
            options.keep_shots = keep;
            covey_session *session = new_session(subject, &options);
            push_video(session, &video);
            CHECK_OK(covey_session_finish(session));
            check_results(session, &video, !keep);
            int32_t merges = 0;
            if (streaming) {
                covey_session_free(session);
                continue;
            }
            if (keep) CHECK_OK(covey_session_get_tree(session, NULL, &merges));
            else
                CHECK_ERROR(covey_session_get_tree(session, NULL, &merges),
                            COVEY_ERROR_UNSUPPORTED, "3 shots");
            CHECK_OK(covey_session_recut(session, 0, 2));
            check_results(session, &video, !keep);
            covey_session_free(session);
        }
    }
    free_video(&video);
}
