/* What holds of every model and every result. */
#ifndef EXAMINE_H
#define EXAMINE_H

#include <covey.h>

#include <stdbool.h>
#include <stdint.h>

/* UTF-8. */
bool is_text(const char *text);
/* Asks for all there is to ask. */
covey_model_info examine_model(const covey_model *model);

typedef struct expected_result {
    int64_t frame_index, timestamp;
    int32_t width, height;
} expected_result;

/* Likewise; a hash of the labels. */
uint32_t examine_result(const covey_result *result, const expected_result *expected);

#endif
