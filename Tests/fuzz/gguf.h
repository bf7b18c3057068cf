/* A GGUF file as a list of its parts, read and written by code of the tests' own, so that a
 * mutation of a part is a file whose other parts still stand: counts, lengths, places and
 * checksums are mended. */
#ifndef GGUF_H
#define GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_ENTRIES = 80, MOST_TENSORS = 160, MOST_BYTES = 1 << 16 };

/* Borrowed. */
typedef struct piece {
    const uint8_t *bytes;
    size_t         size;
} piece;

typedef struct entry {
    piece    key;
    uint32_t type;
    piece    value;             /* as in the file, behind the type               */
} entry;

typedef struct tensor {
    piece    name;
    uint32_t dimensions;
    uint64_t sizes[4];          /* as in the file: the contiguous one first      */
    uint32_t type;
    piece    data;
} tensor;

typedef struct gguf {
    int    entry_count, tensor_count;
    entry  entries[MOST_ENTRIES];
    tensor tensors[MOST_TENSORS];
} gguf;

enum { TYPE_U32 = 4, TYPE_F32 = 6, TYPE_BOOL = 7, TYPE_STRING = 8, TYPE_ARRAY = 9, TYPE_U64 = 10 };
enum { ELEMENT_F32 = 0, ELEMENT_F16 = 1, ELEMENT_I8 = 24 };

/* False where it is not whole.  What is found borrows from `bytes`. */
bool gguf_read(gguf *file, const uint8_t *bytes, size_t size);
/* Tensors one behind the other, with a checksum where there is a key for one.  The size; 0 where
 * it is more than `capacity`. */
size_t gguf_write(const gguf *file, uint8_t *bytes, size_t capacity);
/* Puts the checksum of the data, and of a training's step, where the file has room for them;
 * nothing where it cannot be read. */
void gguf_mend(uint8_t *bytes, size_t size);

bool piece_is(piece piece, const char *text);
/* Bytes of so many elements; 0 for types that no tensor has. */
size_t element_size(uint32_t type);
/* The entry's place, or -1. */
int gguf_find(const gguf *file, const char *key);

#endif
