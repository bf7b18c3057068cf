// The weights of attention as bytes, by the distance to the largest logit.
#ifndef EXP_TABLE_H
#define EXP_TABLE_H

#include <stdint.h>

// Steps of the table for a distance of one: 26 / ln 2.
#define CV_EXP_STEPS 37.5100708f

// round(255 * 2^(-i/26)), at least 1 as long as that is .335 before rounding, and
// 0 behind.  Rounded to the nearest, the many small weights that make up a long
// row's tail would be lost; those below 1/2 that count as 1 stand for the rest of
// it: between 1.5 and .335 they have just the mass of the whole tail.
extern const uint8_t cv_exp_table[256];

#endif
