/* Models of a few thousand weights, and frames of a few pixels, so that a video takes a
 * millisecond. */
#ifndef SMALL_H
#define SMALL_H

#include <covey.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct shape {
    uint32_t    patch, channels, heads, depth, hidden, grid, registers, correlator_heads;
    covey_dtype dtype;
    bool        whole;          /* with the tensors that only training reads     */
    bool        has_cls;
    int         resize;         /* how positions are; 0: the file does not say   */
} shape;

/* Another one for every seed; 0 is the plainest. */
shape shape_of(uint32_t seed);
/* A weight file of random numbers.  The size; 0 where it is more than `capacity`. */
size_t make_model(const shape *shape, uint32_t seed, uint8_t *bytes, size_t capacity);

enum { SMALL_WIDTH = 19, SMALL_HEIGHT = 13 };
/* A square that moves over a texture, at time `index`; the pixels, SMALL_HEIGHT x SMALL_WIDTH x
 * 3, live until the next call but 31. */
covey_frame small_frame(int index);

uint32_t hash_bytes(uint32_t before, const void *bytes, size_t size);
/* 32 pseudo-random bits. */
uint32_t draw(uint32_t *state);

#endif
