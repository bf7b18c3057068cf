/*
 * covey.h - object segmentation of video, without supervision.
 *
 * Frames go in; for every frame a label map comes out, in which each pixel
 * carries the id of the object it belongs to (0 is background), and an object
 * keeps its id for the whole video.  Nothing is prompted and nothing is named.
 *
 *     covey_model *model;
 *     covey_session *session;
 *     covey_result *result;
 *     covey_status st;
 *
 *     if (covey_model_load("covey-nano.gguf", NULL, &model) < 0)
 *         die(covey_last_error());
 *     if (covey_session_create(model, NULL, &session) < 0)
 *         die(covey_last_error());
 *     while (read_frame(&frame))
 *         if (covey_session_push(session, &frame) < 0)
 *             die(covey_last_error());
 *     if (covey_session_finish(session) < 0)
 *         die(covey_last_error());
 *     while ((st = covey_session_next(session, &result)) == COVEY_OK) {
 *         use(covey_result_labels(result));
 *         covey_result_free(result);
 *     }
 *     if (st < 0) die(covey_last_error());
 *     covey_session_free(session);
 *     covey_model_free(model);
 *
 * What is not declared in this file is not part of the interface.
 *
 * METHOD     A frozen self-supervised vision transformer gives one feature per
 *            patch; one trained spatio-temporal block turns the features into
 *            attention maps over the key frames of the whole video; clustering
 *            those maps gives the objects ("Betrayed by Attention", ECCV 2024,
 *            arXiv 2311.17893).  docs/ALGORITHM.md has the method in full.
 * OWNERSHIP  Whoever calls X_load or X_create calls X_free, once; X_free(NULL)
 *            does nothing.  Handles may be freed in any order: a session keeps
 *            its model alive, a result depends on nothing.  A pointer passed in
 *            is read only during the call.  A pointer handed out as `const` is
 *            borrowed, and lives as long as the handle it was asked of.
 * ERRORS     Functions that can fail return covey_status: 0 done, > 0 nothing
 *            to return yet or any more, < 0 error.  On error, the handle stays
 *            as it was before the call and can be used on; out-parameters for
 *            handles are NULL, others untouched unless said otherwise, and the
 *            contents of arrays to be filled are undefined.  Bad input never
 *            aborts the process.  Memory that the system refuses is
 *            ERROR_MEMORY, but for small objects: texts of up to 64 KiB, and
 *            lists with some hundred bytes for every frame, cluster, key or
 *            tensor.  A process that may not even have those ends.
 * THREADS    A covey_model may be used from any number of threads at once.
 *            Every other handle belongs to one thread at a time, except
 *            covey_session_cancel() and covey_trainer_cancel().  Callbacks run
 *            on the calling thread; a session or trainer cannot be used from
 *            its own callback (ERROR_STATE), but for cancel, get_memory and
 *            get_info, and must not be freed there.
 *            Results do not depend on the number of threads, bit for bit.
 * FLOATS     Calls compute with the default floating-point environment: rounding
 *            to the nearest, no traps, subnormal numbers.  So do the callbacks
 *            that they make.  When they return, the caller's is back, with the
 *            flags that were raised before.
 * FORK       In a child after fork(), handles made before it can be used on, but
 *            for those that another thread was in a call of; sessions and
 *            trainers compute on one thread.  Products are covey's own there,
 *            as without OpenBLAS, whose locks and threads do not outlive a
 *            fork: results may differ from the parent's by rounding.  Where a
 *            progress callback forks, the call that it came from goes on in
 *            the parent, and ends in the child with ERROR_STATE.
 * OPENBLAS   covey parallelises by itself.  While one of its calls computes,
 *            OpenBLAS, whose thread count belongs to the process, is set to
 *            one thread; the count found is put back when the call ends.  It
 *            maps 128 MiB for every thread that multiplies, of which little is
 *            used, and starts its threads anew after the process has forked;
 *            where the system refuses, so does covey (ERROR_MEMORY).  No more
 *            threads of the process multiply for covey at once than OpenBLAS
 *            was built for (Debian: 64); others wait.  Best with the flavour on
 *            POSIX threads (Debian: libopenblas0-pthread); with the serial and
 *            the OpenMP ones products are made one at a time.
 * GROWTH     Every struct starts with struct_size.  Set it to sizeof(the
 *            struct), or have X_init() do so.  Fields are only ever appended,
 *            and zero always means "the default".  Enumerators are never
 *            renumbered; new ones may appear.  An input struct larger than this
 *            library knows is accepted if all that is beyond is zero, else
 *            COVEY_ERROR_VERSION; of an output struct the part known to both
 *            sides is filled and the rest set to zero.  Less than the size in
 *            version 0.1 is ERROR_ARGUMENT, more than 4096 ERROR_VERSION.
 * STABILITY  The ABI only grows, from version 0.1 on, as long as the SONAME is
 *            libcovey.so.0.  Declarations marked "experimental" are exempt.
 */
#ifndef COVEY_H
#define COVEY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#  define COVEY_API __attribute__((visibility("default")))
#  define COVEY_CHECK __attribute__((warn_unused_result))
#else
#  define COVEY_API
#  define COVEY_CHECK
#endif

/* ---- Version ------------------------------------------------------------ */

#define COVEY_VERSION_MAJOR 0
#define COVEY_VERSION_MINOR 1
#define COVEY_VERSION_PATCH 0
#define COVEY_VERSION \
    (COVEY_VERSION_MAJOR * 10000 + COVEY_VERSION_MINOR * 100 + \
     COVEY_VERSION_PATCH)

/* The version of the library that was loaded; compare with COVEY_VERSION. */
COVEY_API int32_t covey_version(void);
/* One line for bug reports: version, Swift, C compiler, architecture, libc built
 * with, kernels chosen for this CPU, BLAS.  Never NULL; lives as long as the
 * library. */
COVEY_API const char *covey_build_info(void);

/* ---- Status and diagnostics --------------------------------------------- */

typedef enum covey_status {
    COVEY_OK                  =  0,
    COVEY_AGAIN               =  1,  /* no result yet: push more, or finish  */
    COVEY_END                 =  2,  /* the session is finished and drained  */

    COVEY_ERROR_ARGUMENT      = -1,  /* NULL, out of range                   */
    COVEY_ERROR_MEMORY        = -2,  /* allocation failed, or over the limit */
    COVEY_ERROR_IO            = -3,  /* the file could not be read or written*/
    COVEY_ERROR_FORMAT        = -4,  /* not a covey weight file, or damaged  */
    COVEY_ERROR_VERSION       = -5,  /* a file or struct newer than this     */
    COVEY_ERROR_UNSUPPORTED   = -6,  /* valid, but not in this build         */
    COVEY_ERROR_CAPACITY      = -7,  /* buffer too small; or more clusters   */
                                     /* than ids, see covey_session_finish    */
    COVEY_ERROR_CANCELLED     = -8,  /* by a callback, or ..._cancel          */
    COVEY_ERROR_INTERNAL      = -9,  /* a bug in covey: please report        */
    COVEY_ERROR_STATE         = -10  /* not now: for instance push after     */
                                     /* finish                               */
} covey_status;

/* A static, lower-case description such as "out of memory"; "unknown status"
 * for a number that is none.  Never NULL. */
COVEY_API const char *covey_status_string(covey_status status);

/* What the last failing call on this thread had to say, e.g.
 * "encoder.blocks.3.attn.qkv.weight: expected 1152x384, found 1152x192".
 * Never NULL ("" where nothing has failed); valid until the next call on this
 * thread that fails. */
COVEY_API const char *covey_last_error(void);

typedef enum covey_log_level {
    COVEY_LOG_ERROR = 1, COVEY_LOG_WARNING = 2, COVEY_LOG_INFO = 3,
    COVEY_LOG_DEBUG = 4
} covey_log_level;

/* The library prints nothing by itself.  One sink per process for messages of
 * `level` and graver; NULL (the default) discards.  It is called on the thread
 * that called covey, possibly on several at once; `message` has no trailing
 * newline and lives during the call.  When this returns, other threads may
 * still be inside the sink set before: keep its `user_data`. */
typedef void (*covey_log_fn)(
    void *user_data, covey_log_level level, const char *message);
COVEY_API void covey_set_log(
    covey_log_fn log, void *user_data, covey_log_level level);

/* "error", "warning", "info" or "debug": the enumerator's name in lower case.
 * As of all such texts below: static, and "unknown" for a number that is none. */
COVEY_API const char *covey_log_level_string(covey_log_level level);

/* Enumerations take 32 bits in this interface: not with -fshort-enums. */
typedef char covey_enumerations_take_32_bits[
    sizeof(covey_log_level) == 4 ? 1 : -1];

/* ---- Model --------------------------------------------------------------- */

/* The weights, and all that belongs to a checkpoint.  Immutable, shareable. */
typedef struct covey_model covey_model;

typedef enum covey_dtype {
    COVEY_DTYPE_F32 = 1, COVEY_DTYPE_F16 = 2,
    COVEY_DTYPE_Q8 = 3      /* int8, and an F32 scale for every row; of a    */
                            /* model: but for the spatio-temporal block's    */
                            /* queries and keys, which stay F16              */
} covey_dtype;

/* "f32", "f16" or "q8". */
COVEY_API const char *covey_dtype_string(covey_dtype dtype);

typedef struct covey_model_options {
    uint32_t struct_size;
    int32_t  read_into_memory;      /* 0: map the file (default), 1: copy it.
                                     * A mapped file must not be truncated or
                                     * overwritten in place while in use;
                                     * replacing it by rename is safe.       */
    int32_t  skip_checksum;         /* 0: verify the checksum, and that all  */
                                    /* weights are finite (default)          */
} covey_model_options;

typedef struct covey_model_info {
    uint32_t    struct_size;
    covey_dtype dtype;                      /* of the matrices               */
    int32_t     patch_size, embed_dim, depth, heads;      /* of the ViT      */
    int32_t     position_grid;              /* trained on grid x grid patches*/
    int32_t     correlator_heads;
    int32_t     has_cls_saliency;           /* 1: the CLS token has a meaning*/
    int32_t     working_height, working_width;  /* default input size, pixels */
    int32_t     window, key_stride, key_pool;   /* see covey_session_options */
    float       tau;
    int64_t     parameter_count;            /* scales are not counted        */
    int64_t     weight_bytes;               /* in the file                   */
    const char *name;                       /* borrowed                      */
    float       reference_tau;              /* of the reference mode; `tau` */
                                            /* is the edge mode's           */
} covey_model_info;

/* `options` may be NULL for the defaults.  The bytes given to load_memory
 * must outlive the model, and all its sessions, unless read_into_memory is
 * set. */
COVEY_API COVEY_CHECK covey_status covey_model_load(
    const char *path, const covey_model_options *options,
    covey_model **out_model);
COVEY_API COVEY_CHECK covey_status covey_model_load_memory(
    const void *data, size_t size, const covey_model_options *options,
    covey_model **out_model);
COVEY_API covey_status covey_model_get_info(
    const covey_model *model, covey_model_info *info);
/* The metadata of the weight file (docs/FORMAT.md), as text: numbers in
 * decimal, arrays as "[0.485, 0.456, 0.406]" (of more than 16 elements, the
 * first 16 and "..."). */
COVEY_API size_t covey_model_metadata_count(const covey_model *model);
COVEY_API covey_status covey_model_metadata_at(
    const covey_model *model, size_t index,
    const char **out_key, const char **out_value);

/* A tensor of the weight file. */
typedef struct covey_tensor_info {
    uint32_t    struct_size;
    covey_dtype dtype;                      /* Q8: int8 values; their scales */
                                            /* are the tensor "NAME.scale"   */
    int32_t     dimension_count;            /* 1 to 4                        */
    float       quantization_error;         /* |W - W'| / |W| of the whole
                                             * matrix (Frobenius), W' being
                                             * what the int8 values stand
                                             * for; negative: not quantised,
                                             * or the file does not say      */
    int64_t     sizes[4];                   /* row-major: the last one is
                                             * contiguous; 0 beyond
                                             * dimension_count               */
    int64_t     bytes;                      /* in the file                   */
    const char *name;                       /* borrowed                      */
} covey_tensor_info;

/* In the order of the file, with those that inference does not read. */
COVEY_API size_t covey_model_tensor_count(const covey_model *model);
COVEY_API covey_status covey_model_tensor_at(
    const covey_model *model, size_t index, covey_tensor_info *info);

/* Writes the model with its matrices as `dtype`.  The file appears whole or not
 * at all: it is written beside `path` and renamed.  So a file that is replaced
 * keeps its mode (and its owner, where the system allows that) but is another
 * one: hard links lead to the old.  A symbolic link stays, and the file that it
 * leads to is replaced; one that leads nowhere is ERROR_IO.  F16 and Q8 round, and
 * refuse what is too large for them (ERROR_ARGUMENT); Q8 notes the error made
 * in every matrix in the file (docs/FORMAT.md).  A Q8 model saved as Q8 keeps
 * its numbers and errors as they are; saved as F32 or F16 it stays as coarse.
 */
COVEY_API COVEY_CHECK covey_status covey_model_save(
    const covey_model *model, const char *path, covey_dtype dtype);
COVEY_API void covey_model_free(covey_model *model);

/* ---- Frames -------------------------------------------------------------- */

typedef enum covey_pixel_format {
    COVEY_PIXEL_RGB8  = 1,      /* planes[0]: 3 bytes a pixel                */
    COVEY_PIXEL_BGR8  = 2,
    COVEY_PIXEL_RGBA8 = 3,      /* 4 bytes a pixel; alpha is ignored         */
    COVEY_PIXEL_BGRA8 = 4,
    COVEY_PIXEL_GRAY8 = 5,
    COVEY_PIXEL_I420  = 6,      /* planes Y, U, V; chroma of half size,      */
                                /* rounded up; BT.601, limited range         */
    COVEY_PIXEL_NV12  = 7,      /* planes Y, UV interleaved; else as I420    */
    COVEY_PIXEL_YUYV  = 8,      /* Y0 U Y1 V; even width; BT.601, limited    */
    COVEY_PIXEL_P010  = 9       /* as NV12, of 16-bit words, little-endian,  */
                                /* whose high 10 bits are the sample; the    */
                                /* other 6, where they are not 0, are more   */
                                /* of it (P012, P016)                        */
} covey_pixel_format;

/* "rgb8", "nv12" and so on. */
COVEY_API const char *covey_pixel_format_string(covey_pixel_format format);

typedef struct covey_frame {
    uint32_t           struct_size;
    covey_pixel_format format;
    int32_t            width, height;       /* pixels, 1 to 32768            */
    const uint8_t     *planes[3];           /* first byte of the TOP row     */
    ptrdiff_t          strides[3];          /* bytes from row to row; may be
                                             * negative (bottom-up images);
                                             * 0: rows without padding       */
    int64_t            timestamp;           /* yours; returned with results  */
} covey_frame;

/* Zeroes the struct and sets struct_size.  Pass sizeof(covey_frame). */
COVEY_API void covey_frame_init(covey_frame *frame, size_t struct_size);

/* ---- Session: one video -------------------------------------------------- */

typedef struct covey_session covey_session;
typedef struct covey_result covey_result;

typedef enum covey_stage {
    COVEY_STAGE_ENCODE  = 1,    /* the vision transformer, in push           */
    COVEY_STAGE_CLUSTER = 2,    /* maps and level 1, window by window        */
    COVEY_STAGE_MERGE   = 3,    /* levels 2, 3, ...: over the whole video;   */
                                /* of a stream, with the clusters it knows   */
    COVEY_STAGE_ASSIGN  = 4,    /* every patch to its nearest centre         */
    COVEY_STAGE_TRAIN   = 5     /* losses and gradients, clip by clip        */
} covey_stage;

/* "encode", "cluster", "merge", "assign" or "train". */
COVEY_API const char *covey_stage_string(covey_stage stage);

/* `fraction` is of the stage in the call in progress, in [0,1]; stages 2 to 4
 * come shot by shot.  Return 0 to
 * go on, anything else to cancel.  Called at most every 10 ms or so. */
typedef int32_t (*covey_progress_fn)(
    void *user_data, covey_stage stage, float fraction);

typedef enum covey_output {
    COVEY_OUTPUT_OBJECTS  = 0,  /* ids 1.., one each; what is no object is 0 */
    COVEY_OUTPUT_CLUSTERS = 1,  /* every cluster gets an id 1..; 0 is unused */
    COVEY_OUTPUT_KINDS    = 2   /* as objects, but those of one cluster, which
                                 * look alike, have one id together: max_objects
                                 * counts objects all the same               */
} covey_output;

/* How the maps are clustered (docs/ALGORITHM.md): */
typedef enum covey_mode {
    COVEY_MODE_EDGE      = 0,   /* by prototypes and average linkage: a
                                 * fraction of the cost, memory that does not
                                 * grow with the maps, labels that noise and
                                 * rounding hardly change                    */
    COVEY_MODE_REFERENCE = 1    /* labels as the authors' code computes them */
} covey_mode;

/* "edge" or "reference". */
COVEY_API const char *covey_mode_string(covey_mode mode);

typedef enum covey_key_rounding {
    COVEY_KEYS_CEIL  = 0,       /* the mode's: ceil(T / key_stride) key
                                 * frames; in reference mode KEYS_FLOOR      */
    COVEY_KEYS_FLOOR = 1,       /* floor, at least 1: as the authors' code   */
    COVEY_KEYS_CEIL_ALWAYS = 2  /* ceil, in reference mode too               */
} covey_key_rounding;

/* How the labels of patches become labels of pixels: docs/ALGORITHM.md has
 * what each is worth, and costs. */
typedef enum covey_mask {
    COVEY_MASK_REFINED  = 0,    /* along the edges of the frame: a guided    */
                                /* filter of the soft labels of patches      */
    COVEY_MASK_BILINEAR = 1,    /* soft labels, interpolated                 */
    COVEY_MASK_NEAREST  = 2     /* every pixel as its patch                  */
} covey_mask;

/* Whose queries and keys are compared in the attention maps.  The distances
 * that tau bounds differ between them: each needs a tau of its own
 * (docs/ALGORITHM.md has measured ones).  ATTENTION wants a backbone whose last
 * block was trained whole: of covey-nano's only the keys were. */
typedef enum covey_affinity {
    COVEY_AFFINITY_CORRELATOR = 0,  /* the trained spatio-temporal block's   */
    COVEY_AFFINITY_FEATURES   = 1,  /* the features themselves: the block's  */
                                    /* layer norm without gain and bias, its */
                                    /* heads and scale, no matrices          */
    COVEY_AFFINITY_ATTENTION  = 2   /* the backbone's own: queries and keys  */
                                    /* of its last block, its heads; patches */
                                    /* only                                  */
} covey_affinity;

typedef struct covey_session_options {
    uint32_t struct_size;
    int32_t  threads;           /* at most 256; 0: one per core that the
                                 * process may use                           */
    int32_t  working_height;    /* frames are resized to this many pixels;   */
    int32_t  working_width;     /* multiples of the patch size.  Both 0: the
                                 * model's (height and width swapped for
                                 * upright frames).  One 0: from the other,
                                 * keeping the aspect of the frames.  Both
                                 * -1: the frames' own, to whole patches     */
    int32_t  window;            /* frames clustered together at level 1,
                                 * at most 64; 0: the model's                */
    int32_t  key_stride;        /* every n-th frame serves as key, at most
                                 * 10000; 0: the model's                     */
    int32_t  key_pool;          /* keys are averaged over blocks of n x n
                                 * patches, at most 64; 1: not; 0: the
                                 * model's, in reference mode 1              */
    covey_key_rounding key_rounding;
    float    tau;               /* clustering distance threshold, nats, at
                                 * most 1000; 0: the model's for the mode; of
                                 * OUTPUT_OBJECTS in edge mode, where no
                                 * number is asked for either, finer parts of
                                 * things (docs/ALGORITHM.md)                */
    covey_output output;
    int32_t  max_objects;       /* the best so many are kept, of a stream,
                                 * which cannot know what comes, the first;
                                 * at most 65535; 0: 65535; of
                                 * OUTPUT_OBJECTS only                       */
    float    min_area;          /* objects that never cover more than this
                                 * fraction of a frame are background; below
                                 * 1; 0: 0.001, negative: none; of
                                 * OUTPUT_OBJECTS only                       */
    int64_t  memory_limit;      /* bytes, for all of the session but the
                                 * model and results handed out; 0: none     */
    covey_progress_fn progress; /* may be NULL                               */
    void    *user_data;
    covey_mask mask;
    float    min_region;        /* regions (pixels of one id that hang
                                 * together by their sides) of less than this
                                 * fraction of the frame get the id with which
                                 * they share the longest border; below 1.
                                 * 0: holes in objects and specks that no
                                 * patch has the id of, of masks that are not
                                 * MASK_NEAREST, and of an id never the
                                 * largest region of a frame (docs/
                                 * ALGORITHM.md); negative: all stay         */
    covey_mode mode;
    int32_t  streaming;         /* 1: results come while frames are pushed, at
                                 * most `window` frames late, with a memory
                                 * that does not grow; ids go up to 65535,
                                 * then those of forgotten clusters serve
                                 * again; edge mode only; 0: they come after
                                 * finish                                    */
    int32_t  query_pool;        /* prototypes are made of queries averaged over
                                 * blocks of n x n patches, at most 64; 0: 4;
                                 * of edge mode only                         */
    int32_t  key_budget;        /* key frames used at most, up to 1000000; of a
                                 * video spread evenly, of a stream ever sparser
                                 * towards the past; 0: 8, in reference mode
                                 * all                                       */
    int32_t  target_clusters;   /* so many clusters, as nearly as the tree
                                 * allows, instead of by tau, at most 1024; 0:
                                 * by tau; edge mode, not of streams         */
    int32_t  max_clusters;      /* no more clusters than this, whatever tau
                                 * says, at most 65535; 0: any; edge mode    */
    int32_t  bank_clusters;     /* clusters that a stream remembers, in sight
                                 * or not: one that comes back gets its old id;
                                 * at most 1024; 0: 64                       */
    covey_affinity affinity;    /* what is compared; 0: the queries and keys
                                 * of the spatio-temporal block              */
    int32_t  keep_shots;        /* 0: cuts and fades are found, and every shot
                                 * is clustered on its own: target_clusters,
                                 * max_clusters, max_objects and key_budget
                                 * are for each, no id is in two.  A stream
                                 * hands out what it has of a shot when the
                                 * next begins, which is known a frame later;
                                 * it remembers nothing of the one before.  In
                                 * reference mode, and with 1: all is one    */
    double   least_objectness;  /* what is less an object than this is
                                 * background: below 1; 0: 0.3.  Of one that is
                                 * found with 0.3 much less also makes more;
                                 * not of OUTPUT_CLUSTERS                    */
} covey_session_options;

/* Zeroes the struct and sets struct_size, so that everything is at its
 * default.  Pass sizeof(covey_session_options). */
COVEY_API void covey_session_options_init(
    covey_session_options *options, size_t struct_size);

/* `options` may be NULL for the defaults. */
COVEY_API COVEY_CHECK covey_status covey_session_create(
    covey_model *model, const covey_session_options *options,
    covey_session **out_session);
COVEY_API void covey_session_free(covey_session *session);

/* Takes one frame and computes its features.  The pixels are not kept.  All
 * frames of a session have the same size.  After an error (cancelling
 * included) the frame has not been taken and can be pushed again.  Features
 * that are not finite, as of damaged weights: ERROR_FORMAT. */
COVEY_API COVEY_CHECK covey_status covey_session_push(
    covey_session *session, const covey_frame *frame);
/* No more frames: clusters the whole video, of a stream what is left.  After
 * an error (cancelling included) the session is as it was before the call, and
 * more frames can be pushed or finish called again.  Without a frame pushed:
 * ERROR_STATE.  More than 65535 clusters (a far too small tau): ERROR_CAPACITY.
 * Attention maps that are not finite: ERROR_FORMAT. */
COVEY_API COVEY_CHECK covey_status covey_session_finish(covey_session *session);
/* Hands out results in frame order: COVEY_OK and a result, COVEY_AGAIN, or
 * COVEY_END.  They come after finish, as the method looks at the whole video;
 * of a stream, window by window: hand them out as they come, for they are kept
 * until then.  Masks are drawn here; after an error the same result can be
 * asked for again. */
COVEY_API covey_status covey_session_next(
    covey_session *session, covey_result **out_result);
/* Back to the state after create: all frames and results are forgotten, the
 * next video may have another size, object ids start again at 1. */
COVEY_API covey_status covey_session_reset(covey_session *session);
/* From any thread: the push, finish, recut or next in progress, or else the
 * next push, finish or recut, ends with ERROR_CANCELLED, within 50 ms as a
 * rule.  It ends one call; two cancels before that are as one. */
COVEY_API void covey_session_cancel(covey_session *session);

/* One merge of the tree of clusters: after it, clusters a and b are one. */
typedef struct covey_merge {
    uint32_t struct_size;
    int32_t  a, b;          /* nodes: below leaf_count, prototypes (groups of
                             * patches that look alike); above, the merge with
                             * the index node - leaf_count                   */
    float    tau;           /* at and above which they are one cluster       */
    float    share;         /* of all patches that the new cluster has       */
} covey_merge;

/* The tree of a session in edge mode that is finished and not a stream: leaf
 * count and merge count, and on request merge `index` below that, by rising
 * tau.  Out-parameters may be NULL.  Before finish: ERROR_STATE; a stream,
 * reference mode, or a video in which several shots were found, each with a
 * tree of its own (keep_shots makes one): ERROR_UNSUPPORTED. */
COVEY_API covey_status covey_session_get_tree(
    const covey_session *session, int32_t *out_leaves, int32_t *out_merges);
COVEY_API covey_status covey_session_get_merge(
    const covey_session *session, int32_t index, covey_merge *merge);
/* Cuts the tree, of several shots those of all, elsewhere, without running the
 * network again: at `tau` (0: that
 * of the session), or, unless target_clusters is 0, at that number of clusters.
 * covey_session_next then hands out all frames anew, with new ids.  Of clusters
 * smaller than 1/200 of all patches the patches go to the others.  The labels
 * are those of a session with that target, or with that tau where this tau and
 * the session's are both from half to twice the model's; a tau far below finds
 * no clusters finer than the prototypes.  The
 * session's max_clusters still holds.  After an error (cancelling included) the
 * session is as it was. */
COVEY_API COVEY_CHECK covey_status covey_session_recut(
    covey_session *session, float tau, int32_t target_clusters);

/* The same in one call.  `frames` is an array whose stride is
 * frames[0].struct_size; `labels` receives frame_count x height x width ids,
 * frame by frame, row by row; labels_count is its capacity in ids.
 * out_object_count (may be NULL) receives the number of different objects,
 * whose ids are 1 to that number. */
COVEY_API COVEY_CHECK covey_status covey_segment(
    covey_model *model, const covey_session_options *options,
    const covey_frame *frames, size_t frame_count,
    uint16_t *labels, size_t labels_count, int32_t *out_object_count);

/* ---- Memory -------------------------------------------------------------- */

/* All in bytes.  Small objects, and what libc, OpenBLAS and the threads' stacks
 * take, are not counted. */
typedef struct covey_memory {
    uint32_t struct_size;
    int64_t  weights;       /* of the model: in the file or converted        */
    int64_t  features;      /* queries and keys kept of the frames: in edge  */
                            /* mode until reset, so that the tree can be cut */
                            /* again, in reference mode until finish, of a   */
                            /* stream those of the window and of the key     */
                            /* frames; of frames until their result is       */
                            /* handed out 20 bytes a patch, with refined     */
                            /* masks 3 a pixel of the working size; until    */
                            /* finish what shots are found by                */
    int64_t  workspace;     /* of encoding, clustering and drawing, at its   */
                            /* largest                                       */
    int64_t  current;       /* of the session, now: without the weights      */
    int64_t  peak;          /* of the session, at its largest so far         */
} covey_memory;

/* What a session would need at most for `frame_count` frames of this size (up to
 * 100 million), before any is allocated: `peak` is the sum of features and workspace;
 * `current` is 0.  What there is to find depends on the video; the estimate
 * holds while no window has, in edge mode, more prototypes than 96, or than one
 * for every 4 blocks of query_pool and 32 besides, in reference mode more than
 * one centre for every 16 patches; no shot is shorter than key_stride frames, or
 * 2, in the mean; no frame more than one object for every 16 patches, the
 * session no more than 1024, and, unless min_region is negative, the pixels no
 * more than one change of id along a row for every 8; and while results of a
 * stream are handed out as they come.  More than 2^61 bytes: ERROR_MEMORY. */
COVEY_API covey_status covey_estimate_memory(
    const covey_model *model, const covey_session_options *options,
    int32_t width, int32_t height, int64_t frame_count, covey_memory *memory);
/* What it takes now, and at most so far. */
COVEY_API covey_status covey_session_get_memory(
    const covey_session *session, covey_memory *memory);

/* ---- Result: one frame --------------------------------------------------- */

typedef struct covey_result_info {
    uint32_t struct_size;
    int64_t  frame_index, timestamp;        /* index counts from 0           */
    int32_t  width, height;
    int32_t  object_count;                  /* in this frame                 */
    int32_t  total_objects;                 /* ids of the video: 1 to this;
                                             * of a stream, so far           */
    int32_t  total_clusters;                /* objects and background, of all
                                             * shots; of a stream, so far    */
    covey_mode mode;                        /* what was used: see            */
    int32_t  streaming;                     /* covey_session_options         */
    int32_t  window, key_stride, key_pool, query_pool, key_budget;
    float    tau;                           /* of the last cut: the one asked
                                             * for or, where a number of clusters
                                             * decided (target_clusters, a recut
                                             * by number, max_clusters of a whole
                                             * video), the least tau at which the
                                             * tree makes as many merges: that of
                                             * the last merge made, 0 where none
                                             * was.  Where merges are at the very
                                             * same distance, a cut at it may make
                                             * more.  max_clusters of a stream
                                             * turns clusters away, and tau stays */
    int64_t  shot;                          /* that the frame is of: from 0 on; see
                                             * keep_shots                    */
} covey_result_info;

typedef struct covey_object {
    uint32_t struct_size;
    int32_t  id;                            /* 1.., stable over the video    */
    int64_t  area;                          /* pixels                        */
    int32_t  x, y, width, height;           /* bounding box, pixels          */
    float    centroid_x, centroid_y;        /* pixels; a pixel's centre is
                                             * at its index                  */
    float    confidence;                    /* mean of that of its patches
                                             * (nearest masks) or pixels, in
                                             * [0,1]: see
                                             * covey_result_get_confidence   */
    float    objectness;                    /* of the object over the whole
                                             * video, of a stream so far, in
                                             * [0,1]; see docs/ALGORITHM.md  */
    int64_t  first_frame;                   /* where it first has a patch, of
                                             * a stream as far as its memory
                                             * goes                          */
    float    motion_x, motion_y;            /* pixels since the frame before, to
                                             * the right and down: mean of its
                                             * patches, see
                                             * covey_result_get_motion       */
} covey_object;

/* Zero the struct and set struct_size. */
COVEY_API void covey_result_info_init(covey_result_info *info, size_t struct_size);
COVEY_API void covey_object_init(covey_object *object, size_t struct_size);

COVEY_API covey_status covey_result_get_info(
    const covey_result *result, covey_result_info *info);
/* `index` in [0, object_count), by decreasing area.  Set object->struct_size.
 */
COVEY_API covey_status covey_result_get_object(
    const covey_result *result, int32_t index, covey_object *object);
/* All of them, by decreasing area.  `objects` is an array whose stride is
 * objects[0].struct_size; that of the others need not be set.  With too small a
 * capacity, ERROR_CAPACITY, and *out_count is set all the same; `objects` may be
 * NULL with capacity 0. */
COVEY_API covey_status covey_result_get_objects(
    const covey_result *result, covey_object *objects, size_t capacity,
    size_t *out_count);
/* height x width ids without padding; borrowed from the result.  NULL only for
 * a NULL result. */
COVEY_API const uint16_t *covey_result_labels(const covey_result *result);
/* COCO run lengths of the mask of one id (0 is allowed): column by column,
 * starting with the count of zeros.  With too small a capacity, ERROR_CAPACITY,
 * and *out_count is set all the same; `counts` may be NULL with capacity 0.  An
 * id that is not in the frame gives one run of zeros. */
COVEY_API covey_status covey_result_get_rle(
    const covey_result *result, int32_t object_id,
    uint32_t *counts, size_t capacity, size_t *out_count);
/* The closed outlines of the mask of one id (0 is allowed), at the corners of
 * pixels: pixel (x, y) is the square from (x, y) to (x + 1, y + 1).  `xy`
 * receives the points of all rings, one after the other, x before y;
 * ring_ends[i] is the number of points up to the end of ring i.  A ring's last
 * point is joined to its first.  Outer rings run clockwise as seen on a screen,
 * holes the other way round; pixels that meet at a corner only are apart.
 *
 * Outlines are simplified: each is some of the points of the exact one, of
 * which none is farther than `tolerance` pixels from the side that replaces it.
 * With 0 they are exact: filled, even-odd or non-zero, they give the mask.
 *
 * `point_capacity` is in points, two floats each.  *out_points and *out_rings
 * are set also where a capacity is too small (ERROR_CAPACITY); `xy` and
 * `ring_ends` may be NULL with capacity 0.  An id that is not in the frame has
 * no rings. */
COVEY_API covey_status covey_result_get_polygons(
    const covey_result *result, int32_t object_id, float tolerance,
    float *xy, size_t point_capacity, size_t *out_points,
    uint32_t *ring_ends, size_t ring_capacity, size_t *out_rings);
/* How sure the label of every patch is: 1 - nearest / second nearest distance
 * to a cluster, in [0,1], of rows x columns patches (out-parameters that may be
 * NULL); borrowed from the result.  NULL only for a NULL result. */
COVEY_API const float *covey_result_get_confidence(
    const covey_result *result, int32_t *rows, int32_t *columns);
/* How every patch moved since the frame before, less what the camera's motion
 * explains: x, y in pixels of the frame, to the right and down, of rows x columns
 * patches (out-parameters that may be NULL); borrowed from the result.  To about
 * a quarter of a pixel of the working size, in surfaces without texture less.
 * Zeros in the first frame of a shot.  NULL only for a NULL result. */
COVEY_API const float *covey_result_get_motion(
    const covey_result *result, int32_t *rows, int32_t *columns);
COVEY_API void covey_result_free(covey_result *result);

/* ---- Stages, one by one -------------------------------------------------- */

/* Experimental, all of it to the end of this file.  For experiments, oracles
 * and features of one's own.  Shape letters: T frames, N = rows x columns
 * patches, C channels, M keys. */

typedef struct covey_grid {
    uint32_t struct_size;
    int32_t  rows, columns;         /* patches                               */
    int32_t  channels;
} covey_grid;

/* The keys of the last block for one frame: keys [N, C] of the vision
 * transformer, before the spatio-temporal block.  With too small a capacity (in
 * floats), ERROR_CAPACITY, and *out_grid is set all the same.  `saliency` [N]
 * (may be NULL) receives the attention of the CLS token to the patches, mean
 * over heads; a model without a meaningful CLS token: ERROR_UNSUPPORTED. */
COVEY_API COVEY_CHECK covey_status covey_encode(
    const covey_model *model, const covey_session_options *options,
    const covey_frame *frame, float *keys, size_t capacity, float *saliency,
    covey_grid *out_grid);

/* Queries and keys of the spatio-temporal block for features [count, C] as
 * from covey_encode: layer norm, then W_q and W_k.  Either may be NULL.  Of the
 * options, threads and memory_limit count. */
COVEY_API COVEY_CHECK covey_status covey_correlate(
    const covey_model *model, const covey_session_options *options,
    const float *features, size_t count, float *queries, float *keys);

typedef struct covey_maps {
    uint32_t     struct_size;
    int32_t      frames;                    /* T                             */
    int32_t      patches;                   /* N, of one frame               */
    int32_t      channels, heads;           /* heads divides channels        */
    int64_t      key_count;                 /* M                             */
    const float *queries;                   /* [T, N, C]                     */
    const float *keys;                      /* [M, C]                        */
    int32_t      rows, columns;             /* of a frame's patches; may be 0
                                             * in reference mode             */
} covey_maps;

/* The clustering alone.  Of the options, mode, threads, window (0: 3), tau (0:
 * 1; in edge mode distances are judged as for a model whose tau is 1, see
 * docs/ALGORITHM.md), query_pool, target_clusters, max_clusters, memory_limit,
 * progress and user_data count; the others must be valid.  labels [T, N]
 * receives clusters 0 .. *out_clusters - 1, in the order of their centres;
 * confidence [T, N] may be NULL. */
COVEY_API COVEY_CHECK covey_status covey_cluster(
    const covey_maps *maps, const covey_session_options *options,
    int32_t *labels, float *confidence, int32_t *out_clusters);

/* ---- Training the spatio-temporal block ---------------------------------- */

/* Adapts the block of a model to videos, without labels: clips of a few frames,
 * two consistency losses, AdamW (docs/ALGORITHM.md).  The backbone is frozen,
 * so the features of clips can be computed once and used many times. */
typedef struct covey_trainer covey_trainer;

typedef enum covey_trainer_start {
    COVEY_START_MODEL    = 0,   /* the model's block; what only training needs
                                 * of it and the file has not is drawn anew,
                                 * and adds nothing yet                      */
    COVEY_START_IDENTITY = 1,   /* maps compare the features themselves, the
                                 * rest of the block adds nothing yet        */
    COVEY_START_RANDOM   = 2    /* normally distributed                      */
} covey_trainer_start;

typedef struct covey_trainer_options {
    uint32_t struct_size;
    int32_t  threads;               /* at most 256; 0: one per usable core   */
    covey_trainer_start start;
    int32_t  clip_length;           /* frames of a clip, T, 2 to 16; 0: 3    */
    int32_t  clips_per_step;        /* whose gradients are averaged, at most
                                     * 1024; 0: 1                            */
    int32_t  total_steps;           /* of the cosine; 0: 10000               */
    int32_t  positions;             /* queries of each frame, at most 4096 or
                                     * the patches of a frame; 0: 8          */
    int32_t  weigh_both;            /* 1: both losses by the sharpness of the
                                     * maps, as the paper has it; 0: motion
                                     * alone, as the released code           */
    int32_t  augmentation;          /* 0: grayscale, colours and blur, the
                                     * same for all frames of a clip; -1:
                                     * none                                  */
    int32_t  working_height;        /* as of covey_session_options, but not  */
    int32_t  working_width;         /* -1; both or none                      */
    float    learning_rate;         /* at step 0, at most 1; at the end 1e-6
                                     * (or as at step 0 where that is less);
                                     * 0: 1e-4                               */
    float    weight_decay;          /* of matrices, at most 1; 0: 0.1;
                                     * negative: none                        */
    float    clip_norm;             /* gradients are scaled down to it; 0:
                                     * never                                 */
    float    attention_dropout;     /* at most 0.99; 0: 0.4; negative: none  */
    float    dropout;               /* at most 0.99; 0: 0.1; negative: none  */
    uint64_t seed;                  /* same seed and data: the same bits, on
                                     * any number of threads                 */
    int64_t  memory_limit;          /* bytes, for all of the trainer but the
                                     * model; 0: none                        */
    covey_progress_fn progress;     /* of a step or encode; may be NULL      */
    void    *user_data;
} covey_trainer_options;

typedef struct covey_train_metrics {
    uint32_t struct_size;
    int32_t  reserved;
    int64_t  step;                  /* steps made, this one included         */
    double   semantic_loss;         /* means over the clips of the step      */
    double   motion_loss;
    double   total_loss;            /* their sum                             */
    double   learning_rate;         /* that this step used                   */
    double   gradient_norm;         /* before it was scaled down             */
} covey_train_metrics;

typedef struct covey_trainer_info {
    uint32_t struct_size;
    int32_t  has_cls;               /* 1: the CLS token takes part, which is
                                     * so where the model has one that means
                                     * something, and the whole last block   */
    int32_t  clip_frames;           /* clip_length                           */
    int32_t  clips_per_step;
    int64_t  feature_count;         /* floats of a clip's features           */
    int64_t  step;                  /* steps made                            */
    int64_t  total_steps;
    int64_t  memory;                /* bytes held now, without the weights of
                                     * the model                             */
    int64_t  memory_peak;           /* at their most so far                  */
} covey_trainer_info;

/* Zeroes the struct and sets struct_size. */
COVEY_API void covey_trainer_options_init(
    covey_trainer_options *options, size_t struct_size);
/* `options` may be NULL for the defaults.  The model may be freed: the trainer
 * keeps it alive. */
COVEY_API COVEY_CHECK covey_status covey_trainer_create(
    const covey_model *model, const covey_trainer_options *options,
    covey_trainer **out_trainer);
COVEY_API covey_status covey_trainer_get_info(
    const covey_trainer *trainer, covey_trainer_info *info);
/* The features of a clip of clip_length frames of one size, augmented as clip
 * number `draw` of this seed: [T, N or, with CLS, which comes first, N + 1, C],
 * feature_count floats.  `frames` is an array whose stride is
 * frames[0].struct_size. */
COVEY_API COVEY_CHECK covey_status covey_trainer_encode(
    covey_trainer *trainer, const covey_frame *frames, size_t frame_count,
    uint64_t draw, float *features, size_t feature_count);
/* One step on the features of clips_per_step clips, clip after clip; here
 * feature_count is of all of them.  After an error (cancelling included) the
 * step has not been made.  `metrics` may be NULL. */
COVEY_API COVEY_CHECK covey_status covey_trainer_step_features(
    covey_trainer *trainer, const float *features, size_t feature_count,
    covey_train_metrics *metrics);
/* Both in one: clips_per_step x clip_length frames, clip after clip, with the
 * draws steps made x clips_per_step and up.  Clips may differ in size. */
COVEY_API COVEY_CHECK covey_status covey_trainer_step(
    covey_trainer *trainer, const covey_frame *frames, size_t frame_count,
    covey_train_metrics *metrics);
/* Weights, moments and step, so that training goes on bit for bit
 * (docs/FORMAT.md).  The file appears whole or not at all, as with
 * covey_model_save; what a crash in the middle of either may leave beside it has
 * its name (the first bytes of a long one), a dot and eight letters or digits.
 * Weights that are not finite are not saved: ERROR_STATE. */
COVEY_API COVEY_CHECK covey_status covey_trainer_save(
    const covey_trainer *trainer, const char *path);
/* Into a trainer of the same model and options, but that threads, start,
 * total_steps, memory_limit and progress may differ: else ERROR_ARGUMENT. */
COVEY_API COVEY_CHECK covey_status covey_trainer_restore(
    covey_trainer *trainer, const char *path);
/* A model with the block as it is now, of the same dtype, and all else as loaded
 * but that its provenance tells of the steps; tau 0: the model's.  Weights that
 * are not finite: ERROR_STATE. */
COVEY_API COVEY_CHECK covey_status covey_trainer_export(
    const covey_trainer *trainer, float tau, covey_model **out_model);
/* From any thread: the step or encode in progress, or else the next, ends with
 * ERROR_CANCELLED. */
COVEY_API void covey_trainer_cancel(covey_trainer *trainer);
COVEY_API void covey_trainer_free(covey_trainer *trainer);

/* ---- Training, its numerical core ---------------------------------------- */

/* What one clip says about the weights of the spatio-temporal block: losses and
 * gradients (docs/ALGORITHM.md).  T frames of N patches and a CLS token each,
 * n = T (N + 1) tokens.  Weights, gradients and moments are flat, in this
 * order: norm1.weight [C], norm1.bias [C], attn.qkv.weight [3C, C],
 * attn.proj.weight [C, C], attn.proj.bias [C], norm2.weight [C], norm2.bias
 * [C], mlp.fc1.weight [F, C], mlp.fc1.bias [F], mlp.fc2.weight [C, F],
 * mlp.fc2.bias [C]. */
typedef struct covey_train_clip {
    uint32_t       struct_size;
    int32_t        frames, patches;         /* T, N                          */
    int32_t        channels, heads, hidden; /* C, H, F                       */
    int32_t        position_count;
    float          layer_norm_eps;          /* 0: 1e-5                       */
    const float   *features;                /* [n, C]: of every frame the CLS
                                             * token, then its patches       */
    const int32_t *positions;               /* [position_count] patches, all
                                             * different, the queries of every
                                             * frame; NULL: drawn            */
    int32_t        without_cls;             /* 1: frames have no CLS token: n =
                                             * T N                           */
    int32_t        reserved;
} covey_train_clip;

typedef struct covey_train_options {
    uint32_t struct_size;
    int32_t  threads;                       /* 0: one per usable core        */
    float    attention_dropout;             /* 0: 0.4; negative: none        */
    float    dropout;                       /* behind proj, GELU and fc2;
                                             * 0: 0.1; negative: none        */
    int32_t  positives, negatives;          /* semantic; 0: 30, 200          */
    int32_t  motion_positives, motion_negatives;  /* 0: 10, 50               */
    int32_t  weigh_both;                    /* 1: both losses by the sharpness
                                             * of the maps; 0: motion alone  */
    uint32_t step;                          /* of the random numbers         */
    uint64_t seed;
    int64_t  memory_limit;                  /* bytes; 0: none                */
} covey_train_options;

typedef struct covey_train_losses {
    uint32_t struct_size;
    int32_t  reserved;
    double   semantic, motion;
    int64_t  peak_bytes;                    /* of large memory               */
} covey_train_losses;

/* `gradients` [weight_count] is overwritten. */
COVEY_API COVEY_CHECK covey_status covey_train_gradients(
    const covey_train_clip *clip, const covey_train_options *options,
    const float *weights, size_t weight_count, float *gradients,
    covey_train_losses *losses);

typedef struct covey_train_update {
    uint32_t struct_size;
    int32_t  channels, heads, hidden;
    int32_t  step;                          /* updates made before, from 0   */
    int32_t  total_steps;                   /* of the cosine; 0: constant    */
    double   learning_rate;                 /* at step 0; at the end 1e-6 or */
                                            /* less, see covey_trainer       */
    double   weight_decay;                  /* of matrices                   */
    double   clip_norm;                     /* 0: none                       */
} covey_train_update;

/* One step of AdamW.  first, second: its moments, 0 before the first step;
 * `gradients` are scaled where clip_norm says so.  out_norm (may be NULL): the
 * norm of the gradients before. */
COVEY_API COVEY_CHECK covey_status covey_train_apply(
    const covey_train_update *update, float *weights, float *gradients,
    float *first, float *second, size_t weight_count, double *out_norm);

#ifdef __cplusplus
}
#endif
#endif /* COVEY_H */
