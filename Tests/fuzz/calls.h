/* Sequences of calls, decoded from bytes, four for each call.  A mirror of every handle says by
 * the words of covey.h what the call may return and what then holds. */
#ifndef CALLS_H
#define CALLS_H

#include "examine.h"

#include <covey.h>

#include <stdbool.h>
#include <stdint.h>

enum { FILMS = 3, MODELS = 2, RESULTS = 4, VARIANTS = 8, MOST_FRAMES = 24 };

/* A call: which handle, and two numbers that say how. */
typedef struct call {
    uint8_t what, which, a, b;
} call;

/* Statuses of which one must be returned: errors that apply, else OK, or what `too` allows. */
typedef struct outcome {
    uint32_t errors, too;
} outcome;

static inline uint32_t one(covey_status status) { return 1u << -(int)status; }
/* Checks; returns whether it is COVEY_OK. */
bool came_out(covey_status status, outcome outcome, const char *call);

/* What a progress callback does. */
typedef enum behaviour {
    BEHAVES, CALLS_BACK, SAYS_NO, CANCELS, BEHAVIOURS
} behaviour;

typedef struct caller {
    behaviour behaviour;
    int       calls, answer_at;     /* the call at which it says no or cancels   */
    bool      has_refused;          /* in the call in progress                   */
} caller;

typedef struct film {
    covey_session        *session;
    covey_session_options options;
    int                   variant;          /* of the model                      */
    caller                caller;
    int32_t               width, height;    /* 0: no frame yet                   */
    int                   pushed, next;
    bool                  is_finished, is_cancelled, was_compared;
    bool                  is_recut;
    float                 tau;              /* of the recut                      */
    int32_t               target;
    uint32_t              hash;             /* of the labels handed out          */
} film;

typedef struct model {
    covey_model *handle;
    int          variant;
} model;

typedef struct kept {
    covey_result   *result;
    expected_result expected;
    uint32_t        hash;
} kept;

typedef struct training {
    covey_trainer *trainer;
    int            variant;
    bool           is_limited, is_cancelled;
    caller         caller;
    int64_t        steps;
} training;

typedef struct world {
    model    models[MODELS];
    film     films[FILMS];
    kept     results[RESULTS];
    training training;
    int      saved_variant;         /* of the trainer whose state is in the file; -1: none */
    int64_t  saved_steps;
} world;

/* A model of this variant that stays; its file. */
covey_model *lasting_model(int variant);
const char *state_file(void);

/* Options, of which some are refused; *refused: whether they must be. */
covey_session_options session_options(call call, bool *refused);
covey_frame film_frame(int index, int32_t height);
/* The labels of a session without trouble: of so many frames, and, unless NULL, cut again like
 * `recut`. */
uint32_t plain_run(int variant, const covey_session_options *options, int frames, int32_t height,
                   const film *recut);

void call_session(world *world, call call);
void call_trainer(world *world, call call);
void free_film(film *film);
void free_training(training *training);

#endif
