/*
 * The fuzzer's inputs as an ordinary test: seeds, those that once found something, and some
 * that the mutator makes of them, the same each time.
 *
 *     replay_TARGET MUTATIONS [FILE...]
 */
#include "check.h"
#include "gguf.h"
#include "small.h"
#include "target.h"

#include "folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t random_state = 1;

/* The input being tried. */
static const uint8_t *input;
static size_t input_size;
static const char *program;

static void try_input(const uint8_t *bytes, size_t size)
{
    input = bytes;
    input_size = size;
    LLVMFuzzerTestOneInput(bytes, size);
}

/* In the place of libFuzzer's. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity)
{
    if (size == 0) return 0;
    const size_t at = draw(&random_state) % size;
    switch (draw(&random_state) % 4) {
    case 0:
        data[at] ^= (uint8_t)(1 << draw(&random_state) % 8);
        return size;
    case 1:
        data[at] = (uint8_t)draw(&random_state);
        return size;
    case 2:
        if (size < 2) return size;
        memmove(data + at, data + at + 1, size - at - 1);
        return size - 1;
    default:
        if (size == capacity) return size;
        memmove(data + at + 1, data + at, size - at);
        data[at] = (uint8_t)draw(&random_state);
        return size + 1;
    }
}

int main(int argc, char **argv)
{
    static uint8_t bytes[MOST_BYTES];
    if (argc < 2) {
        fprintf(stderr, "usage: replay_TARGET MUTATIONS [FILE...]\n");
        return 2;
    }
    program = argv[0];
    for (int i = 2; i < argc; i++) {
        size_t size;
        uint8_t *found = read_bytes(argv[i], &size);
        check_topic("%s", argv[i]);
        try_input(found, size);
        free(found);
    }
    const int mutations = atoi(argv[1]);
    size_t size = 0;
    for (int i = 0; i < SEEDS + mutations; i++) {
        check_topic("input %d", i);
        /* Every seed; then, from each of them, some steps away. */
        if (i < SEEDS || i % 8 == 0) size = LLVMFuzzerCustomMutator(bytes, 0, sizeof bytes, (unsigned)i);
        if (i >= SEEDS) size = LLVMFuzzerCustomMutator(bytes, size, sizeof bytes, draw(&random_state));
        try_input(bytes, size);
    }
    printf("%s: %d inputs, %d checks passed\n", strrchr(argv[0], '/') + 1,
           argc - 2 + SEEDS + mutations, check_passed());
    return 0;
}

int checked(void)
{
    char path[4096];
    if (check_failed() == 0) return 0;
    snprintf(path, sizeof path, "%s-found-%08x", program, hash_bytes(0, input, input_size));
    write_bytes(path, input, input_size);
    printf("the input is in %s\n", path);
    fflush(stdout);
    exit(1);
}
