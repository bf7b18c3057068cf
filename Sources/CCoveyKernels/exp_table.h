// The weights of attention as bytes, by the distance to the largest logit.
#ifndef EXP_TABLE_H
#define EXP_TABLE_H

#include <stdint.h>

// Steps of the table for a distance of one: 28 / ln 2.
#define CV_EXP_STEPS 40.3954614f

extern const uint8_t cv_exp_table[256];

#endif
