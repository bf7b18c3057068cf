/* covey.h alone, twice, and with everything in it used: as C and as C++. */
#include <covey.h>
#include <covey.h>

/* Every struct starts with its size, at the same place. */
#define SIZE_FIRST(type) typedef char type##_size_first[offsetof(type, struct_size) == 0 ? 1 : -1]
SIZE_FIRST(covey_model_options);
SIZE_FIRST(covey_model_info);
SIZE_FIRST(covey_tensor_info);
SIZE_FIRST(covey_frame);
SIZE_FIRST(covey_session_options);
SIZE_FIRST(covey_merge);
SIZE_FIRST(covey_memory);
SIZE_FIRST(covey_result_info);
SIZE_FIRST(covey_object);
SIZE_FIRST(covey_grid);
SIZE_FIRST(covey_maps);
SIZE_FIRST(covey_trainer_options);
SIZE_FIRST(covey_train_metrics);
SIZE_FIRST(covey_trainer_info);
SIZE_FIRST(covey_train_clip);
SIZE_FIRST(covey_train_options);
SIZE_FIRST(covey_train_losses);
SIZE_FIRST(covey_train_update);

/* Enumerations are as large as an int32_t: they are fields of structs. */
#define ENUM_SIZE(type) typedef char type##_size[sizeof(type) == sizeof(int32_t) ? 1 : -1]
ENUM_SIZE(covey_status);
ENUM_SIZE(covey_log_level);
ENUM_SIZE(covey_dtype);
ENUM_SIZE(covey_pixel_format);
ENUM_SIZE(covey_stage);
ENUM_SIZE(covey_output);
ENUM_SIZE(covey_mode);
ENUM_SIZE(covey_key_rounding);
ENUM_SIZE(covey_mask);
ENUM_SIZE(covey_affinity);
ENUM_SIZE(covey_trainer_start);

/* The layout is part of the ABI: on 64-bit machines, to the byte. */
#if UINTPTR_MAX > 0xFFFFFFFFu
#define LAYOUT(type, size) typedef char type##_layout[sizeof(type) == (size) ? 1 : -1]
LAYOUT(covey_model_options, 12);
LAYOUT(covey_model_info, 96);
LAYOUT(covey_tensor_info, 64);
LAYOUT(covey_frame, 72);
LAYOUT(covey_session_options, 128);
LAYOUT(covey_merge, 20);
LAYOUT(covey_memory, 48);
LAYOUT(covey_result_info, 88);
LAYOUT(covey_object, 64);
LAYOUT(covey_grid, 16);
LAYOUT(covey_maps, 56);
LAYOUT(covey_trainer_options, 96);
LAYOUT(covey_train_metrics, 56);
LAYOUT(covey_trainer_info, 56);
LAYOUT(covey_train_clip, 56);
LAYOUT(covey_train_options, 56);
LAYOUT(covey_train_losses, 32);
LAYOUT(covey_train_update, 48);
#endif

/* The example at the top of the header. */
int example(const char *path, const covey_frame *frame);
int example(const char *path, const covey_frame *frame)
{
    covey_model *model;
    covey_session *session;
    covey_result *result;
    covey_status st;

    if (covey_model_load(path, NULL, &model) < 0) return 1;
    if (covey_session_create(model, NULL, &session) < 0) return 1;
    if (covey_session_push(session, frame) < 0) return 1;
    if (covey_session_finish(session) < 0) return 1;
    while ((st = covey_session_next(session, &result)) == COVEY_OK) {
        if (!covey_result_labels(result)) return 1;
        covey_result_free(result);
    }
    covey_session_free(session);
    covey_model_free(model);
    return st < 0;
}
