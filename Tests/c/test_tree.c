/* The merge tree of a finished session, and cutting it again. */
#include "check.h"
#include "video.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_no_tree(covey_session *session, covey_status expected)
{
    covey_merge merge = { .struct_size = sizeof merge, .tau = -5 };
    int32_t leaves = -3, merges = -4;
    CHECK_STATUS(covey_session_get_tree(session, &leaves, &merges), expected);
    CHECK(*covey_last_error() != 0);
    CHECK(leaves == -3 && merges == -4);
    CHECK_STATUS(covey_session_get_merge(session, 0, &merge), expected);
    CHECK(merge.tau == -5);
    CHECK_STATUS(covey_session_recut(session, 0, 2), expected);
}

static void test_where_there_is_none(const subject *subject)
{
    check_topic("tree, NULL");
    check_no_tree(NULL, COVEY_ERROR_ARGUMENT);
    video video = subject_video(subject, 4, 1);
    covey_session_options options = subject->options;
    covey_session *session = new_session(subject, &options);
    check_topic("tree before finish");
    check_no_tree(session, COVEY_ERROR_STATE);
    push_video(session, &video);
    check_no_tree(session, COVEY_ERROR_STATE);
    CHECK_OK(covey_session_finish(session));
    CHECK_OK(covey_session_get_tree(session, NULL, NULL));
    CHECK_OK(covey_session_reset(session));
    check_no_tree(session, COVEY_ERROR_STATE);
    covey_session_free(session);
    for (int streaming = 0; streaming < 2; streaming++) {
        check_topic(streaming ? "tree of a stream" : "tree in reference mode");
        options = subject->options;
        options.streaming = streaming;
        options.mode = streaming ? COVEY_MODE_EDGE : COVEY_MODE_REFERENCE;
        session = new_session(subject, &options);
        push_video(session, &video);
        CHECK_OK(covey_session_finish(session));
        check_no_tree(session, COVEY_ERROR_UNSUPPORTED);
        free(drain(session, &video));
        check_no_tree(session, COVEY_ERROR_UNSUPPORTED);
        covey_session_free(session);
    }
    free_video(&video);
}

/* Every node but the last goes up exactly once; shares add up. */
static void check_tree(const covey_session *session)
{
    int32_t leaves = 0, merges = 0, alone = -1;
    CHECK_OK(covey_session_get_tree(session, &leaves, &merges));
    CHECK_OK(covey_session_get_tree(session, &alone, NULL));
    CHECK_INT(alone, leaves);
    CHECK_OK(covey_session_get_tree(session, NULL, &alone));
    CHECK_INT(alone, merges);
    if (!CHECK(leaves >= 2 && merges == leaves - 1)) return;
    uint8_t *used = take((size_t)(leaves + merges));
    float *share = take((size_t)(leaves + merges) * sizeof *share);
    memset(used, 0, (size_t)(leaves + merges));
    float last = 0;
    for (int32_t i = 0; i < merges; i++) {
        covey_merge merge = { .struct_size = sizeof merge };
        if (!CHECK_OK(covey_session_get_merge(session, i, &merge))) break;
        if (!CHECK(merge.a >= 0 && merge.a < leaves + i && merge.b >= 0 && merge.b < leaves + i &&
                   merge.a != merge.b)) break;
        CHECK(!used[merge.a] && !used[merge.b]);
        used[merge.a] = used[merge.b] = 1;
        /* Rising, but for rounding. */
        CHECK(merge.tau >= last * 0.9999f && isfinite(merge.tau));
        last = merge.tau;
        share[leaves + i] = merge.share;
        float parts = 0;
        if (merge.a >= leaves) parts += share[merge.a];
        if (merge.b >= leaves) parts += share[merge.b];
        CHECK(merge.share >= parts * 0.9999f && merge.share > 0);
        if (merge.a >= leaves && merge.b >= leaves)
            CHECK_NEAR((double)merge.share, (double)parts, 1e-5);
    }
    CHECK_NEAR((double)share[leaves + merges - 1], 1, 1e-5);
    free(share);
    free(used);

    covey_merge merge = { .struct_size = sizeof merge, .tau = -5 };
    const int32_t outside[] = { -1, merges, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        CHECK_ERROR(covey_session_get_merge(session, outside[i], &merge), COVEY_ERROR_ARGUMENT,
                    "index");
    CHECK(merge.tau == -5);
    CHECK_STATUS(covey_session_get_merge(session, 0, NULL), COVEY_ERROR_ARGUMENT);
    merge.struct_size = 19;
    CHECK_ERROR(covey_session_get_merge(session, 0, &merge), COVEY_ERROR_ARGUMENT, "struct_size");
    struct { covey_merge merge; uint8_t beyond[12]; } grown;
    memset(&grown, 0x55, sizeof grown);
    grown.merge.struct_size = sizeof grown;
    CHECK_OK(covey_session_get_merge(session, merges - 1, &grown.merge));
    CHECK_NEAR((double)grown.merge.share, 1, 1e-5);
    for (int i = 0; i < 12; i++) CHECK_INT(grown.beyond[i], 0);
}

/* One of the tree's, or 0 above them all. */
static void check_tau_of_the_cut(const covey_session *session, float tau)
{
    int32_t merges = 0;
    CHECK_OK(covey_session_get_tree(session, NULL, &merges));
    bool is_there = tau == 0;
    for (int32_t i = 0; i < merges && !is_there; i++) {
        covey_merge merge = { .struct_size = sizeof merge };
        CHECK_OK(covey_session_get_merge(session, i, &merge));
        is_there = merge.tau == tau;
    }
    CHECK(is_there);
}

static void test_recut(const subject *subject)
{
    check_topic("tree");
    video video = subject_video(subject, 6, 1);
    const size_t bytes = video_size(&video) * sizeof(uint16_t);
    covey_session *session = new_session(subject, &subject->options);
    push_video(session, &video);
    CHECK_OK(covey_session_finish(session));
    check_tree(session);
    uint16_t *expected = drain(session, &video);
    covey_result *result = NULL;
    CHECK_STATUS(covey_session_next(session, &result), COVEY_END);

    check_topic("recut, refused");
    const float taus[] = { NAN, -1, -1e-6f, 1000.1f, INFINITY, -INFINITY };
    for (size_t i = 0; i < sizeof taus / sizeof *taus; i++)
        CHECK_ERROR(covey_session_recut(session, taus[i], 0), COVEY_ERROR_ARGUMENT, "tau");
    const int32_t targets[] = { -1, 1025, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        CHECK_ERROR(covey_session_recut(session, 0, targets[i]), COVEY_ERROR_ARGUMENT,
                    "target_clusters");
    CHECK_STATUS(covey_session_next(session, &result), COVEY_END);

    check_topic("recut where it was");
    for (int i = 0; i < 2; i++) {
        CHECK_OK(covey_session_recut(session, i == 0 ? 0 : subject->options.tau, 0));
        uint16_t *labels = drain(session, &video);
        CHECK_BYTES(labels, expected, bytes);
        free(labels);
    }
    check_topic("recut in the middle of the results");
    CHECK_OK(covey_session_recut(session, 0, 0));
    CHECK_OK(covey_session_next(session, &result));
    covey_result_free(result);
    CHECK_OK(covey_session_recut(session, 1000, 0));
    uint16_t *labels = drain(session, &video);
    CHECK_INT(largest_label(labels, video_size(&video)), 1);
    free(labels);

    check_topic("recut, numbers");
    for (int32_t n = 1; n <= 3; n++) {
        CHECK_OK(covey_session_recut(session, 0, n));
        CHECK_OK(covey_session_next(session, &result));
        covey_result_info info = { .struct_size = sizeof info };
        CHECK_OK(covey_result_get_info(result, &info));
        CHECK_INT(info.frame_index, 0);
        CHECK(info.total_clusters >= 1 && info.total_clusters <= n);
        covey_result_free(result);
        check_tau_of_the_cut(session, info.tau);
    }
    CHECK_OK(covey_session_recut(session, 0.25f, 0));
    CHECK_OK(covey_session_next(session, &result));
    covey_result_info info = { .struct_size = sizeof info };
    CHECK_OK(covey_result_get_info(result, &info));
    CHECK(info.tau == 0.25f);

    check_topic("recut, cancelled");
    covey_session_cancel(session);
    CHECK_STATUS(covey_session_recut(session, 0, 0), COVEY_ERROR_CANCELLED);
    covey_result *second = NULL;
    CHECK_OK(covey_session_next(session, &second));
    CHECK_OK(covey_result_get_info(second, &info));
    CHECK_INT(info.frame_index, 1);
    CHECK(info.tau == 0.25f);
    covey_result_free(second);
    CHECK_OK(covey_session_recut(session, 0, 0));
    labels = drain(session, &video);
    CHECK_BYTES(labels, expected, bytes);
    free(labels);
    /* A result of an earlier cut lives on. */
    CHECK_OK(covey_result_get_info(result, &info));
    CHECK(info.tau == 0.25f && covey_result_labels(result)[0] >= 1);
    covey_result_free(result);

    covey_frame frame = video_frame(&video, 0);
    CHECK_STATUS(covey_session_push(session, &frame), COVEY_ERROR_STATE);
    covey_session_free(session);
    free(expected);
    free_video(&video);
}

void test_tree(const subject *subject)
{
    test_where_there_is_none(subject);
    test_recut(subject);
}
