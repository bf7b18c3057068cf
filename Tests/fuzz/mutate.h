/* Mutations of GGUF files that know their structure. */
#ifndef MUTATE_H
#define MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* Makes a file for a seed; as make_model. */
typedef size_t (*file_maker)(uint32_t seed, uint8_t *bytes, size_t capacity);

/* A few of the parts of the file are changed, and all that depends on them mended; now and then
 * bytes are changed behind that. */
size_t mutate_file(uint8_t *data, size_t size, size_t capacity, uint32_t seed, file_maker fresh);

#endif
