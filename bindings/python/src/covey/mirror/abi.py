"""The C interface, mirrored: Include/covey.h declaration by declaration.

Nothing here checks, converts or owns anything.  Enums are ``int`` on the C
side; arrays and handles are passed as addresses (``c_void_p``).
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from enum import IntEnum
from typing import Any

#: The version of the header this module mirrors.
HEADER_VERSION = (0, 1, 0)
VERSION = ".".join(map(str, HEADER_VERSION))


# typedef enum covey_status { ... } covey_status;
class Status(IntEnum):
    """What a C function returned: 0 done, > 0 nothing to return, < 0 error."""

    OK = 0
    AGAIN = 1
    END = 2
    ERROR_ARGUMENT = -1
    ERROR_MEMORY = -2
    ERROR_IO = -3
    ERROR_FORMAT = -4
    ERROR_VERSION = -5
    ERROR_UNSUPPORTED = -6
    ERROR_CAPACITY = -7
    ERROR_CANCELLED = -8
    ERROR_INTERNAL = -9
    ERROR_STATE = -10


# typedef enum covey_log_level { ... } covey_log_level;
class LogLevel(IntEnum):
    """How grave a message is; 1 is the gravest."""

    ERROR = 1
    WARNING = 2
    INFO = 3
    DEBUG = 4


# typedef enum covey_dtype { ... } covey_dtype;
class Dtype(IntEnum):
    """How the matrices of a weight file are stored."""

    F32 = 1
    F16 = 2
    Q8 = 3


# typedef enum covey_pixel_format { ... } covey_pixel_format;
class PixelFormat(IntEnum):
    """The layout of a frame's pixels."""

    RGB8 = 1
    BGR8 = 2
    RGBA8 = 3
    BGRA8 = 4
    GRAY8 = 5
    I420 = 6
    NV12 = 7
    YUYV = 8


# typedef enum covey_stage { ... } covey_stage;
class Stage(IntEnum):
    """What a call in progress is doing."""

    ENCODE = 1
    CLUSTER = 2
    MERGE = 3
    ASSIGN = 4
    TRAIN = 5


# typedef enum covey_output { ... } covey_output;
class Output(IntEnum):
    """What the ids of a label map stand for."""

    OBJECTS = 0
    CLUSTERS = 1
    KINDS = 2


# typedef enum covey_key_rounding { ... } covey_key_rounding;
class KeyRounding(IntEnum):
    """How many key frames T frames have: T / key_stride, rounded.  CEIL, 0, is the
    default: in reference mode that of the mode, FLOOR."""

    CEIL = 0
    FLOOR = 1
    CEIL_ALWAYS = 2


# typedef enum covey_mode { ... } covey_mode;
class Mode(IntEnum):
    """How the maps are clustered."""

    EDGE = 0
    REFERENCE = 1


# typedef enum covey_mask { ... } covey_mask;
class Mask(IntEnum):
    """How the labels of patches become labels of pixels."""

    REFINED = 0
    BILINEAR = 1
    NEAREST = 2


# typedef enum covey_affinity { ... } covey_affinity;
class Affinity(IntEnum):
    """Whose queries and keys are compared in the attention maps."""

    CORRELATOR = 0
    FEATURES = 1
    ATTENTION = 2


# typedef enum covey_trainer_start { ... } covey_trainer_start;
class Start(IntEnum):
    """The block that training begins with."""

    MODEL = 0
    IDENTITY = 1
    RANDOM = 2


#: The C name of each enum, and its prefix of the enumerators.
ENUMS: dict[str, tuple[type[IntEnum], str]] = {
    "covey_status": (Status, "COVEY_"),
    "covey_log_level": (LogLevel, "COVEY_LOG_"),
    "covey_dtype": (Dtype, "COVEY_DTYPE_"),
    "covey_pixel_format": (PixelFormat, "COVEY_PIXEL_"),
    "covey_stage": (Stage, "COVEY_STAGE_"),
    "covey_output": (Output, "COVEY_OUTPUT_"),
    "covey_key_rounding": (KeyRounding, "COVEY_KEYS_"),
    "covey_mode": (Mode, "COVEY_MODE_"),
    "covey_mask": (Mask, "COVEY_MASK_"),
    "covey_affinity": (Affinity, "COVEY_AFFINITY_"),
    "covey_trainer_start": (Start, "COVEY_START_"),
}

# typedef void (*covey_log_fn)(void *user_data, covey_log_level level, const char *message);
covey_log_fn = CFUNCTYPE(None, c_void_p, c_int, c_char_p)

# typedef int32_t (*covey_progress_fn)(void *user_data, covey_stage stage, float fraction);
covey_progress_fn = CFUNCTYPE(c_int32, c_void_p, c_int, c_float)


# typedef struct covey_model_options { ... } covey_model_options;
class covey_model_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("read_into_memory", c_int32),
        ("skip_checksum", c_int32),
    ]


# typedef struct covey_model_info { ... } covey_model_info;
class covey_model_info(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("dtype", c_int),
        ("patch_size", c_int32),
        ("embed_dim", c_int32),
        ("depth", c_int32),
        ("heads", c_int32),
        ("position_grid", c_int32),
        ("correlator_heads", c_int32),
        ("has_cls_saliency", c_int32),
        ("working_height", c_int32),
        ("working_width", c_int32),
        ("window", c_int32),
        ("key_stride", c_int32),
        ("key_pool", c_int32),
        ("tau", c_float),
        ("parameter_count", c_int64),
        ("weight_bytes", c_int64),
        ("name", c_char_p),
        ("reference_tau", c_float),
    ]


# typedef struct covey_tensor_info { ... } covey_tensor_info;
class covey_tensor_info(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("dtype", c_int),
        ("dimension_count", c_int32),
        ("quantization_error", c_float),
        ("sizes", c_int64 * 4),
        ("bytes", c_int64),
        ("name", c_char_p),
    ]


# typedef struct covey_frame { ... } covey_frame;
class covey_frame(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("format", c_int),
        ("width", c_int32),
        ("height", c_int32),
        ("planes", c_void_p * 3),
        ("strides", c_ssize_t * 3),
        ("timestamp", c_int64),
    ]


# typedef struct covey_session_options { ... } covey_session_options;
class covey_session_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("threads", c_int32),
        ("working_height", c_int32),
        ("working_width", c_int32),
        ("window", c_int32),
        ("key_stride", c_int32),
        ("key_pool", c_int32),
        ("key_rounding", c_int),
        ("tau", c_float),
        ("output", c_int),
        ("max_objects", c_int32),
        ("min_area", c_float),
        ("memory_limit", c_int64),
        ("progress", covey_progress_fn),
        ("user_data", c_void_p),
        ("mask", c_int),
        ("min_region", c_float),
        ("mode", c_int),
        ("streaming", c_int32),
        ("query_pool", c_int32),
        ("key_budget", c_int32),
        ("target_clusters", c_int32),
        ("max_clusters", c_int32),
        ("bank_clusters", c_int32),
        ("affinity", c_int),
        ("keep_shots", c_int32),
        ("least_objectness", c_double),
    ]


# typedef struct covey_merge { ... } covey_merge;
class covey_merge(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("a", c_int32),
        ("b", c_int32),
        ("tau", c_float),
        ("share", c_float),


    ]


# typedef struct covey_memory { ... } covey_memory;
class covey_memory(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("weights", c_int64),
        ("features", c_int64),
        ("workspace", c_int64),
        ("current", c_int64),
        ("peak", c_int64),
    ]


# typedef struct covey_result_info { ... } covey_result_info;
class covey_result_info(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("frame_index", c_int64),
        ("timestamp", c_int64),
        ("width", c_int32),
        ("height", c_int32),
        ("object_count", c_int32),
        ("total_objects", c_int32),
        ("total_clusters", c_int32),
        ("mode", c_int),
        ("streaming", c_int32),
        ("window", c_int32),
        ("key_stride", c_int32),
        ("key_pool", c_int32),
        ("query_pool", c_int32),
        ("key_budget", c_int32),
        ("tau", c_float),
        ("shot", c_int64),
    ]


# typedef struct covey_object { ... } covey_object;
class covey_object(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("id", c_int32),
        ("area", c_int64),
        ("x", c_int32),
        ("y", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("centroid_x", c_float),
        ("centroid_y", c_float),
        ("confidence", c_float),
        ("objectness", c_float),
        ("first_frame", c_int64),
        ("motion_x", c_float),
        ("motion_y", c_float),
    ]


# typedef struct covey_grid { ... } covey_grid;
class covey_grid(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("rows", c_int32),
        ("columns", c_int32),
        ("channels", c_int32),
    ]


# typedef struct covey_maps { ... } covey_maps;
class covey_maps(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("frames", c_int32),
        ("patches", c_int32),
        ("channels", c_int32),
        ("heads", c_int32),
        ("key_count", c_int64),
        ("queries", c_void_p),
        ("keys", c_void_p),
        ("rows", c_int32),
        ("columns", c_int32),
    ]


# typedef struct covey_trainer_options { ... } covey_trainer_options;
class covey_trainer_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("threads", c_int32),
        ("start", c_int),
        ("clip_length", c_int32),
        ("clips_per_step", c_int32),
        ("total_steps", c_int32),
        ("positions", c_int32),
        ("weigh_both", c_int32),
        ("augmentation", c_int32),
        ("working_height", c_int32),
        ("working_width", c_int32),
        ("learning_rate", c_float),
        ("weight_decay", c_float),
        ("clip_norm", c_float),
        ("attention_dropout", c_float),
        ("dropout", c_float),
        ("seed", c_uint64),
        ("memory_limit", c_int64),
        ("progress", covey_progress_fn),
        ("user_data", c_void_p),
    ]


# typedef struct covey_train_metrics { ... } covey_train_metrics;
class covey_train_metrics(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("step", c_int64),
        ("semantic_loss", c_double),
        ("motion_loss", c_double),
        ("total_loss", c_double),
        ("learning_rate", c_double),
        ("gradient_norm", c_double),
    ]


# typedef struct covey_trainer_info { ... } covey_trainer_info;
class covey_trainer_info(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("has_cls", c_int32),
        ("clip_frames", c_int32),
        ("clips_per_step", c_int32),
        ("feature_count", c_int64),
        ("step", c_int64),
        ("total_steps", c_int64),
        ("memory", c_int64),
        ("memory_peak", c_int64),
    ]


# typedef struct covey_train_clip { ... } covey_train_clip;
class covey_train_clip(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("frames", c_int32),
        ("patches", c_int32),
        ("channels", c_int32),
        ("heads", c_int32),
        ("hidden", c_int32),
        ("position_count", c_int32),
        ("layer_norm_eps", c_float),
        ("features", c_void_p),
        ("positions", c_void_p),
        ("without_cls", c_int32),
        ("reserved", c_int32),
    ]


# typedef struct covey_train_options { ... } covey_train_options;
class covey_train_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("threads", c_int32),
        ("attention_dropout", c_float),
        ("dropout", c_float),
        ("positives", c_int32),
        ("negatives", c_int32),
        ("motion_positives", c_int32),
        ("motion_negatives", c_int32),
        ("weigh_both", c_int32),
        ("step", c_uint32),
        ("seed", c_uint64),
        ("memory_limit", c_int64),
    ]


# typedef struct covey_train_losses { ... } covey_train_losses;
class covey_train_losses(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("semantic", c_double),
        ("motion", c_double),
        ("peak_bytes", c_int64),
    ]


# typedef struct covey_train_update { ... } covey_train_update;
class covey_train_update(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("channels", c_int32),
        ("heads", c_int32),
        ("hidden", c_int32),
        ("step", c_int32),
        ("total_steps", c_int32),
        ("learning_rate", c_double),
        ("weight_decay", c_double),
        ("clip_norm", c_double),
    ]


STRUCTS: tuple[type[Structure], ...] = (
    covey_model_options,
    covey_model_info,
    covey_tensor_info,
    covey_frame,
    covey_session_options,
    covey_merge,
    covey_memory,
    covey_result_info,
    covey_object,
    covey_grid,
    covey_maps,
    covey_trainer_options,
    covey_train_metrics,
    covey_trainer_info,
    covey_train_clip,
    covey_train_options,
    covey_train_losses,
    covey_train_update,
)

_options = POINTER(covey_session_options)
_trainer_options = POINTER(covey_trainer_options)
_metrics = POINTER(covey_train_metrics)

#: name: (result, arguments)
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    # int32_t covey_version(void);
    "covey_version": (c_int32, []),
    # const char *covey_build_info(void);
    "covey_build_info": (c_char_p, []),
    # const char *covey_status_string(covey_status status);
    "covey_status_string": (c_char_p, [c_int]),
    # const char *covey_last_error(void);
    "covey_last_error": (c_char_p, []),
    # void covey_set_log(covey_log_fn log, void *user_data, covey_log_level level);
    "covey_set_log": (None, [covey_log_fn, c_void_p, c_int]),
    # covey_status covey_model_load(
    #     const char *path, const covey_model_options *options, covey_model **out_model);
    "covey_model_load": (
        c_int,
        [c_char_p, POINTER(covey_model_options), POINTER(c_void_p)],
    ),
    # covey_status covey_model_load_memory(
    #     const void *data, size_t size, const covey_model_options *options,
    #     covey_model **out_model);
    "covey_model_load_memory": (
        c_int,
        [c_void_p, c_size_t, POINTER(covey_model_options), POINTER(c_void_p)],
    ),
    # covey_status covey_model_get_info(const covey_model *model, covey_model_info *info);
    "covey_model_get_info": (c_int, [c_void_p, POINTER(covey_model_info)]),
    # size_t covey_model_metadata_count(const covey_model *model);
    "covey_model_metadata_count": (c_size_t, [c_void_p]),
    # covey_status covey_model_metadata_at(
    #     const covey_model *model, size_t index, const char **out_key,
    #     const char **out_value);
    "covey_model_metadata_at": (
        c_int,
        [c_void_p, c_size_t, POINTER(c_char_p), POINTER(c_char_p)],
    ),
    # size_t covey_model_tensor_count(const covey_model *model);
    "covey_model_tensor_count": (c_size_t, [c_void_p]),
    # covey_status covey_model_tensor_at(
    #     const covey_model *model, size_t index, covey_tensor_info *info);
    "covey_model_tensor_at": (c_int, [c_void_p, c_size_t, POINTER(covey_tensor_info)]),
    # covey_status covey_model_save(
    #     const covey_model *model, const char *path, covey_dtype dtype);
    "covey_model_save": (c_int, [c_void_p, c_char_p, c_int]),
    # void covey_model_free(covey_model *model);
    "covey_model_free": (None, [c_void_p]),
    # void covey_session_options_init(covey_session_options *options, size_t struct_size);
    "covey_session_options_init": (None, [_options, c_size_t]),
    # covey_status covey_session_create(
    #     covey_model *model, const covey_session_options *options,
    #     covey_session **out_session);
    "covey_session_create": (c_int, [c_void_p, _options, POINTER(c_void_p)]),
    # void covey_session_free(covey_session *session);
    "covey_session_free": (None, [c_void_p]),
    # covey_status covey_session_push(covey_session *session, const covey_frame *frame);
    "covey_session_push": (c_int, [c_void_p, POINTER(covey_frame)]),
    # covey_status covey_session_finish(covey_session *session);
    "covey_session_finish": (c_int, [c_void_p]),
    # covey_status covey_session_next(covey_session *session, covey_result **out_result);
    "covey_session_next": (c_int, [c_void_p, POINTER(c_void_p)]),
    # covey_status covey_session_reset(covey_session *session);
    "covey_session_reset": (c_int, [c_void_p]),
    # void covey_session_cancel(covey_session *session);
    "covey_session_cancel": (None, [c_void_p]),
    # covey_status covey_session_get_tree(
    #     const covey_session *session, int32_t *out_leaves, int32_t *out_merges);
    "covey_session_get_tree": (c_int, [c_void_p, POINTER(c_int32), POINTER(c_int32)]),
    # covey_status covey_session_get_merge(
    #     const covey_session *session, int32_t index, covey_merge *merge);
    "covey_session_get_merge": (c_int, [c_void_p, c_int32, POINTER(covey_merge)]),
    # covey_status covey_session_recut(
    #     covey_session *session, float tau, int32_t target_clusters);
    "covey_session_recut": (c_int, [c_void_p, c_float, c_int32]),
    # covey_status covey_segment(
    #     covey_model *model, const covey_session_options *options,
    #     const covey_frame *frames, size_t frame_count,
    #     uint16_t *labels, size_t labels_count, int32_t *out_object_count);
    "covey_segment": (
        c_int,
        [c_void_p, _options, POINTER(covey_frame), c_size_t, c_void_p, c_size_t, POINTER(c_int32)],
    ),
    # covey_status covey_estimate_memory(
    #     const covey_model *model, const covey_session_options *options,
    #     int32_t width, int32_t height, int64_t frame_count, covey_memory *memory);
    "covey_estimate_memory": (
        c_int,
        [c_void_p, _options, c_int32, c_int32, c_int64, POINTER(covey_memory)],
    ),
    # covey_status covey_session_get_memory(
    #     const covey_session *session, covey_memory *memory);
    "covey_session_get_memory": (c_int, [c_void_p, POINTER(covey_memory)]),
    # covey_status covey_result_get_info(
    #     const covey_result *result, covey_result_info *info);
    "covey_result_get_info": (c_int, [c_void_p, POINTER(covey_result_info)]),
    # covey_status covey_result_get_object(
    #     const covey_result *result, int32_t index, covey_object *object);
    "covey_result_get_object": (c_int, [c_void_p, c_int32, POINTER(covey_object)]),
    # const uint16_t *covey_result_labels(const covey_result *result);
    "covey_result_labels": (c_void_p, [c_void_p]),
    # covey_status covey_result_get_rle(
    #     const covey_result *result, int32_t object_id,
    #     uint32_t *counts, size_t capacity, size_t *out_count);
    "covey_result_get_rle": (
        c_int,
        [c_void_p, c_int32, c_void_p, c_size_t, POINTER(c_size_t)],
    ),
    # covey_status covey_result_get_polygons(
    #     const covey_result *result, int32_t object_id, float tolerance,
    #     float *xy, size_t point_capacity, size_t *out_points,
    #     uint32_t *ring_ends, size_t ring_capacity, size_t *out_rings);
    "covey_result_get_polygons": (
        c_int,
        [
            c_void_p,
            c_int32,
            c_float,
            c_void_p,
            c_size_t,
            POINTER(c_size_t),
            c_void_p,
            c_size_t,
            POINTER(c_size_t),
        ],
    ),
    # const float *covey_result_get_confidence(
    #     const covey_result *result, int32_t *rows, int32_t *columns);
    "covey_result_get_confidence": (
        c_void_p,
        [c_void_p, POINTER(c_int32), POINTER(c_int32)],
    ),
    # const float *covey_result_get_motion(
    #     const covey_result *result, int32_t *rows, int32_t *columns);
    "covey_result_get_motion": (
        c_void_p,
        [c_void_p, POINTER(c_int32), POINTER(c_int32)],
    ),
    # void covey_result_free(covey_result *result);
    "covey_result_free": (None, [c_void_p]),
    # covey_status covey_encode(
    #     const covey_model *model, const covey_session_options *options,
    #     const covey_frame *frame, float *keys, size_t capacity, float *saliency,
    #     covey_grid *out_grid);
    "covey_encode": (
        c_int,
        [
            c_void_p,
            _options,
            POINTER(covey_frame),
            c_void_p,
            c_size_t,
            c_void_p,
            POINTER(covey_grid),
        ],
    ),
    # covey_status covey_correlate(
    #     const covey_model *model, const covey_session_options *options,
    #     const float *features, size_t count, float *queries, float *keys);
    "covey_correlate": (c_int, [c_void_p, _options, c_void_p, c_size_t, c_void_p, c_void_p]),
    # covey_status covey_cluster(
    #     const covey_maps *maps, const covey_session_options *options,
    #     int32_t *labels, float *confidence, int32_t *out_clusters);
    "covey_cluster": (
        c_int,
        [POINTER(covey_maps), _options, c_void_p, c_void_p, POINTER(c_int32)],
    ),
    # void covey_trainer_options_init(covey_trainer_options *options, size_t struct_size);
    "covey_trainer_options_init": (None, [_trainer_options, c_size_t]),
    # covey_status covey_trainer_create(
    #     const covey_model *model, const covey_trainer_options *options,
    #     covey_trainer **out_trainer);
    "covey_trainer_create": (c_int, [c_void_p, _trainer_options, POINTER(c_void_p)]),
    # covey_status covey_trainer_get_info(
    #     const covey_trainer *trainer, covey_trainer_info *info);
    "covey_trainer_get_info": (c_int, [c_void_p, POINTER(covey_trainer_info)]),
    # covey_status covey_trainer_encode(
    #     covey_trainer *trainer, const covey_frame *frames, size_t frame_count,
    #     uint64_t draw, float *features, size_t feature_count);
    "covey_trainer_encode": (
        c_int,
        [c_void_p, POINTER(covey_frame), c_size_t, c_uint64, c_void_p, c_size_t],
    ),
    # covey_status covey_trainer_step_features(
    #     covey_trainer *trainer, const float *features, size_t feature_count,
    #     covey_train_metrics *metrics);
    "covey_trainer_step_features": (c_int, [c_void_p, c_void_p, c_size_t, _metrics]),
    # covey_status covey_trainer_step(
    #     covey_trainer *trainer, const covey_frame *frames, size_t frame_count,
    #     covey_train_metrics *metrics);
    "covey_trainer_step": (c_int, [c_void_p, POINTER(covey_frame), c_size_t, _metrics]),
    # covey_status covey_trainer_save(const covey_trainer *trainer, const char *path);
    "covey_trainer_save": (c_int, [c_void_p, c_char_p]),
    # covey_status covey_trainer_restore(covey_trainer *trainer, const char *path);
    "covey_trainer_restore": (c_int, [c_void_p, c_char_p]),
    # covey_status covey_trainer_export(
    #     const covey_trainer *trainer, float tau, covey_model **out_model);
    "covey_trainer_export": (c_int, [c_void_p, c_float, POINTER(c_void_p)]),
    # void covey_trainer_cancel(covey_trainer *trainer);
    "covey_trainer_cancel": (None, [c_void_p]),
    # void covey_trainer_free(covey_trainer *trainer);
    "covey_trainer_free": (None, [c_void_p]),
    # covey_status covey_train_gradients(
    #     const covey_train_clip *clip, const covey_train_options *options,
    #     const float *weights, size_t weight_count, float *gradients,
    #     covey_train_losses *losses);
    "covey_train_gradients": (
        c_int,
        [
            POINTER(covey_train_clip),
            POINTER(covey_train_options),
            c_void_p,
            c_size_t,
            c_void_p,
            POINTER(covey_train_losses),
        ],
    ),
    # covey_status covey_train_apply(
    #     const covey_train_update *update, float *weights, float *gradients,
    #     float *first, float *second, size_t weight_count, double *out_norm);
    "covey_train_apply": (
        c_int,
        [
            POINTER(covey_train_update),
            c_void_p,
            c_void_p,
            c_void_p,
            c_void_p,
            c_size_t,
            POINTER(c_double),
        ],
    ),
}


def declare(library: ctypes.CDLL) -> None:
    """Gives every function of ``library`` its types.

    Raises AttributeError naming the first function that it does not have.
    """
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments


def values(struct: Structure) -> dict[str, Any]:
    """The fields of a struct but its size, by name."""
    return {name: getattr(struct, name) for name, *_ in struct._fields_ if name != "struct_size"}


def sized(struct: type[Structure]) -> Any:
    """A zeroed ``struct`` whose struct_size is set: everything at its default."""
    value = struct()
    value.struct_size = ctypes.sizeof(struct)
    return value
