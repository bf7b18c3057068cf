/* What a target of the fuzzer is: a file of the same functions that libFuzzer and the replay of
 * make test (replay.c) call. */
#ifndef TARGET_H
#define TARGET_H

#include <stddef.h>
#include <stdint.h>

/* One input; ends the process where something does not hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Makes another input of `data`, of `capacity` bytes at most.  An empty one becomes a seed. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed);
/* The fuzzer's own, which knows nothing of the format. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity);

/* How many different inputs a mutator makes of an empty one. */
enum { SEEDS = 16 };

/* Ends the process where a check of this input has failed; returns 0. */
int checked(void);

#endif
