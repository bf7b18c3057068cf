#include "mutate.h"

#include "gguf.h"
#include "small.h"
#include "target.h"

#include <math.h>
#include <string.h>

typedef struct work {
    gguf     file;
    uint32_t random;
    size_t   used;
    uint8_t  room[2 * MOST_BYTES];
} work;

static uint32_t below(work *work, uint32_t count) { return count ? draw(&work->random) % count : 0; }

/* A copy that may be changed, with `more` bytes behind it; empty where there is no room. */
static piece own(work *work, piece piece, size_t more)
{
    if (piece.size + more > sizeof work->room - work->used) return (struct piece){ work->room, 0 };
    uint8_t *place = work->room + work->used;
    memcpy(place, piece.bytes, piece.size);
    memset(place + piece.size, 0, more);
    work->used += piece.size + more;
    return (struct piece){ place, piece.size };
}

/* By the fuzzer's own means, up to `more` bytes longer. */
static piece mutated(work *work, piece piece, size_t more)
{
    struct piece copy = own(work, piece, more);
    copy.size = LLVMFuzzerMutate((uint8_t *)copy.bytes, copy.size, piece.size + more);
    return copy;
}

/* ---- Metadata ---------------------------------------------------------------------------- */

static const uint64_t numbers[] = {
    0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 64, 65, 100, 256, 1000, 1024, 4096, 8192, 10000, 65535,
    65536, 1 << 20, INT32_MAX, (uint64_t)INT32_MAX + 1, UINT32_MAX, INT64_MAX,
    (uint64_t)INT64_MAX + 1, UINT64_MAX, UINT64_MAX - 1, 0x7F800000, 0xFF800000, 0x7FC00000,
    0x7F7FFFFF, 0x00800000, 0x00000001, 0x3F800000, 0x80000000, 0x7FF0000000000000,
};
static const float reals[] = { 0, -0.0f, 1, -1, 1e-6f, 1e-30f, 1e-45f, 1e3f, 1e6f, 1e18f, 3e38f,
                               -3e38f, INFINITY, -INFINITY, NAN };

static void mutate_value(work *work, entry *entry)
{
    if (entry->value.size == 0) return;
    const bool is_text = entry->type == TYPE_STRING, is_list = entry->type == TYPE_ARRAY;
    if (is_text || (is_list && below(work, 2))) {
        /* The text, or the elements, with the count as it was or as it must be. */
        const size_t head = is_text ? 8 : 12;
        if (entry->value.size < head) return;
        piece rest = { entry->value.bytes + head, entry->value.size - head };
        piece changed = mutated(work, rest, 32);
        struct piece whole = own(work, (struct piece){ entry->value.bytes, head }, changed.size);
        if (whole.size == 0) return;
        memcpy((uint8_t *)whole.bytes + head, changed.bytes, changed.size);
        whole.size = head + changed.size;
        const uint64_t count = is_text ? changed.size : changed.size / 4;
        if (below(work, 8)) memcpy((uint8_t *)whole.bytes + head - 8, &count, 8);
        entry->value = whole;
        return;
    }
    struct piece copy = own(work, entry->value, 8);
    if (copy.size == 0) return;
    uint8_t *place = (uint8_t *)copy.bytes + (is_list ? copy.size - 4 : 0);
    if (is_list && copy.size < 16) return;
    if (is_list || entry->type == TYPE_F32) {
        memcpy(place, &reals[below(work, sizeof reals / sizeof *reals)], 4);
    } else if (below(work, 3)) {
        const uint64_t *number = &numbers[below(work, sizeof numbers / sizeof *numbers)];
        memcpy(place, number, copy.size < 8 ? copy.size : 8);
    } else {
        LLVMFuzzerMutate(place, copy.size, copy.size);
    }
    entry->value = copy;
}

static void mutate_entries(work *work)
{
    gguf *file = &work->file;
    if (file->entry_count == 0) return;
    const uint32_t at = below(work, (uint32_t)file->entry_count);
    const uint32_t other = below(work, (uint32_t)file->entry_count);
    entry *entry = &file->entries[at];
    switch (below(work, 12)) {
    case 0:
        *entry = file->entries[--file->entry_count];
        break;
    case 1:
        if (file->entry_count < MOST_ENTRIES) file->entries[file->entry_count++] = *entry;
        break;
    case 2:
        entry->key = mutated(work, entry->key, 16);
        break;
    case 3:
        entry->type = below(work, 14);
        break;
    case 4: {
        struct entry swapped = *entry;
        entry->value = file->entries[other].value;
        entry->type = file->entries[other].type;
        if (below(work, 2)) {
            file->entries[other].value = swapped.value;
            file->entries[other].type = swapped.type;
        }
        break;
    }
    default:
        mutate_value(work, entry);
    }
}

/* ---- Tensors ------------------------------------------------------------------------------- */

/* Data of just the size that the shape and the type ask for, as far as there is room. */
static void fit(work *work, tensor *tensor)
{
    uint64_t size = element_size(tensor->type);
    for (uint32_t i = 0; i < tensor->dimensions; i++)
        size = tensor->sizes[i] <= MOST_BYTES && size <= MOST_BYTES ? size * tensor->sizes[i] : 0;
    if (size == 0 || size > MOST_BYTES / 4) return;
    if (size <= tensor->data.size) {
        tensor->data.size = (size_t)size;
        return;
    }
    struct piece longer = own(work, tensor->data, (size_t)size - tensor->data.size);
    if (longer.size < tensor->data.size) return;
    for (size_t i = longer.size; i < size; i++)
        ((uint8_t *)longer.bytes)[i] = longer.size > 0 ? longer.bytes[i % longer.size] : 1;
    tensor->data = (struct piece){ longer.bytes, (size_t)size };
}

static void mutate_numbers(work *work, tensor *tensor)
{
    struct piece copy = own(work, tensor->data, 0);
    if (copy.size == 0) return;
    uint8_t *bytes = (uint8_t *)copy.bytes;
    const float real = reals[below(work, sizeof reals / sizeof *reals)];
    switch (below(work, 4)) {
    case 0:
        LLVMFuzzerMutate(bytes, copy.size, copy.size);
        break;
    case 1:         /* all of one value */
        for (size_t i = 0; i + 4 <= copy.size; i += 4) memcpy(bytes + i, &real, 4);
        break;
    case 2:         /* one of them */
        if (copy.size >= 4) memcpy(bytes + below(work, (uint32_t)copy.size / 4) * 4, &real, 4);
        break;
    default:        /* all larger or smaller, by their exponents */
        if (tensor->type != ELEMENT_F32) break;
        const int by = (int)below(work, 160) - 80;
        for (size_t i = 0; i + 4 <= copy.size; i += 4) {
            float value;
            memcpy(&value, bytes + i, 4);
            value = ldexpf(value, by);
            memcpy(bytes + i, &value, 4);
        }
    }
    tensor->data = copy;
}

static void mutate_tensors(work *work)
{
    static const uint32_t types[] = { ELEMENT_F32, ELEMENT_F16, ELEMENT_I8, 2, 8, 30 };
    gguf *file = &work->file;
    if (file->tensor_count == 0) return;
    tensor *tensor = &file->tensors[below(work, (uint32_t)file->tensor_count)];
    struct tensor *other = &file->tensors[below(work, (uint32_t)file->tensor_count)];
    switch (below(work, 12)) {
    case 0:
        *tensor = file->tensors[--file->tensor_count];
        break;
    case 1:
        if (file->tensor_count < MOST_TENSORS) file->tensors[file->tensor_count++] = *tensor;
        break;
    case 2:
        tensor->name = mutated(work, tensor->name, 16);
        break;
    case 3:
        tensor->type = types[below(work, 6)];
        if (below(work, 4)) fit(work, tensor);
        break;
    case 4: {
        struct tensor swapped = *tensor;
        *tensor = *other;
        *other = swapped;
        break;
    }
    case 5:
        tensor->dimensions = 1 + below(work, 4);
        if (below(work, 4)) fit(work, tensor);
        break;
    case 6:
        tensor->sizes[below(work, 4)] = numbers[below(work, sizeof numbers / sizeof *numbers)];
        if (below(work, 4)) fit(work, tensor);
        break;
    case 7:
        tensor->data.size -= below(work, (uint32_t)tensor->data.size);
        break;
    default:
        mutate_numbers(work, tensor);
    }
}

/* ---- All of it --------------------------------------------------------------------------------- */

size_t mutate_file(uint8_t *data, size_t size, size_t capacity, uint32_t seed, file_maker fresh)
{
    static work work;
    work.random = seed;
    work.used = 0;
    if (size < 32 || below(&work, 100) == 0) return fresh(seed, data, capacity);
    if (gguf_read(&work.file, data, size)) {
        /* Parts that are not changed are written where they lie: out of a copy. */
        static uint8_t copy[MOST_BYTES];
        if (size > sizeof copy) return 0;
        memcpy(copy, data, size);
        gguf_read(&work.file, copy, size);
        for (uint32_t i = 0, count = 1 + below(&work, 3); i < count; i++) {
            if (below(&work, 2)) mutate_entries(&work);
            else mutate_tensors(&work);
        }
        size_t written = gguf_write(&work.file, data, capacity);
        if (written == 0) memcpy(data, copy, size);
        else size = written;
        if (below(&work, 8)) return size;
    }
    size = LLVMFuzzerMutate(data, size, capacity);
    if (below(&work, 4)) gguf_mend(data, size);
    return size;
}
