#include "gguf.h"

#include <string.h>

bool piece_is(piece piece, const char *text)
{
    return piece.size == strlen(text) && memcmp(piece.bytes, text, piece.size) == 0;
}

size_t element_size(uint32_t type)
{
    return type == ELEMENT_F32 ? 4 : type == ELEMENT_F16 ? 2 : type == ELEMENT_I8 ? 1 : 0;
}

int gguf_find(const gguf *file, const char *key)
{
    for (int i = 0; i < file->entry_count; i++)
        if (piece_is(file->entries[i].key, key)) return i;
    return -1;
}

/* ---- Reading ------------------------------------------------------------------------ */

typedef struct reader {
    const uint8_t *at, *end;
    bool           ended;       /* before what was asked for                     */
} reader;

static piece next_bytes(reader *reader, uint64_t size)
{
    if (size > (size_t)(reader->end - reader->at)) {
        reader->ended = true;
        size = 0;
    }
    piece found = { reader->at, (size_t)size };
    reader->at += size;
    return found;
}

static uint64_t next_number(reader *reader, size_t size)
{
    uint64_t number = 0;
    piece found = next_bytes(reader, size);
    memcpy(&number, found.bytes, found.size);
    return number;
}

static piece next_string(reader *reader)
{
    return next_bytes(reader, next_number(reader, 8));
}

static size_t scalar_size(uint64_t type)
{
    static const size_t sizes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    return type < sizeof sizes / sizeof *sizes ? sizes[type] : 0;
}

static void skip_value(reader *reader, uint64_t type)
{
    if (type == TYPE_STRING) {
        next_string(reader);
    } else if (type == TYPE_ARRAY) {
        uint64_t of = next_number(reader, 4), count = next_number(reader, 8);
        if (of == TYPE_STRING)
            while (count-- > 0 && !reader->ended) next_string(reader);
        else if (scalar_size(of) > 0 && count < MOST_BYTES)
            next_bytes(reader, count * scalar_size(of));
        else
            reader->ended = true;
    } else if (scalar_size(type) > 0) {
        next_bytes(reader, scalar_size(type));
    } else {
        reader->ended = true;
    }
}

static uint64_t alignment(const gguf *file)
{
    uint32_t found = 32;
    int at = gguf_find(file, "general.alignment");
    if (at >= 0 && file->entries[at].type == TYPE_U32)
        memcpy(&found, file->entries[at].value.bytes, sizeof found);
    return found >= 8 && found <= 4096 && (found & (found - 1)) == 0 ? found : 32;
}

static size_t padded(size_t size, uint64_t alignment)
{
    return (size + alignment - 1) / alignment * alignment;
}

/* Behind it the reader stands at the data; `places` gets where each tensor says it lies. */
static bool read_header(gguf *file, reader *reader, uint64_t places[])
{
    next_bytes(reader, 8);
    uint64_t tensors = next_number(reader, 8), entries = next_number(reader, 8);
    if (reader->ended || tensors > MOST_TENSORS || entries > MOST_ENTRIES) return false;
    file->entry_count = (int)entries;
    file->tensor_count = (int)tensors;
    for (int i = 0; i < file->entry_count && !reader->ended; i++) {
        entry *entry = &file->entries[i];
        entry->key = next_string(reader);
        entry->type = (uint32_t)next_number(reader, 4);
        entry->value.bytes = reader->at;
        skip_value(reader, entry->type);
        entry->value.size = (size_t)(reader->at - entry->value.bytes);
    }
    for (int i = 0; i < file->tensor_count && !reader->ended; i++) {
        tensor *tensor = &file->tensors[i];
        tensor->name = next_string(reader);
        tensor->dimensions = (uint32_t)next_number(reader, 4);
        if (tensor->dimensions > 4) return false;
        for (uint32_t k = 0; k < 4; k++)
            tensor->sizes[k] = k < tensor->dimensions ? next_number(reader, 8) : 1;
        tensor->type = (uint32_t)next_number(reader, 4);
        places[i] = next_number(reader, 8);
    }
    return !reader->ended;
}

bool gguf_read(gguf *file, const uint8_t *bytes, size_t size)
{
    uint64_t places[MOST_TENSORS];
    reader reader = { bytes, bytes + size, false };
    if (!read_header(file, &reader, places)) return false;
    size_t data = padded((size_t)(reader.at - bytes), alignment(file));
    if (data > size) return false;
    for (int i = 0; i < file->tensor_count; i++) {
        tensor *tensor = &file->tensors[i];
        uint64_t count = element_size(tensor->type);
        for (int k = 0; k < 4; k++)
            count = tensor->sizes[k] <= MOST_BYTES && count <= MOST_BYTES ? count * tensor->sizes[k]
                                                                         : MOST_BYTES + 1;
        if (places[i] > size - data || count > size - data - places[i]) return false;
        tensor->data = (piece){ bytes + data + places[i], (size_t)count };
    }
    return true;
}

/* ---- Writing ------------------------------------------------------------------------ */

typedef struct writer {
    uint8_t *bytes;
    size_t   size, capacity;
    bool     full;
} writer;

static void put(writer *writer, const void *bytes, size_t size)
{
    if (size > writer->capacity - writer->size) {
        writer->full = true;
        return;
    }
    if (size > 0) memcpy(writer->bytes + writer->size, bytes, size);
    writer->size += size;
}

static void put_number(writer *writer, uint64_t number, size_t size)
{
    put(writer, &number, size);
}

static void put_string(writer *writer, piece text)
{
    put_number(writer, text.size, 8);
    put(writer, text.bytes, text.size);
}

static void pad(writer *writer, uint64_t alignment)
{
    static const uint8_t zeros[4096];
    put(writer, zeros, padded(writer->size, alignment) - writer->size);
}

size_t gguf_write(const gguf *file, uint8_t *bytes, size_t capacity)
{
    writer writer = { bytes, 0, capacity, false };
    uint64_t place = 0, step = alignment(file);
    put(&writer, "GGUF", 4);
    put_number(&writer, 3, 4);
    put_number(&writer, (uint64_t)file->tensor_count, 8);
    put_number(&writer, (uint64_t)file->entry_count, 8);
    for (int i = 0; i < file->entry_count; i++) {
        put_string(&writer, file->entries[i].key);
        put_number(&writer, file->entries[i].type, 4);
        put(&writer, file->entries[i].value.bytes, file->entries[i].value.size);
    }
    for (int i = 0; i < file->tensor_count; i++) {
        const tensor *tensor = &file->tensors[i];
        put_string(&writer, tensor->name);
        put_number(&writer, tensor->dimensions, 4);
        for (uint32_t k = 0; k < tensor->dimensions; k++) put_number(&writer, tensor->sizes[k], 8);
        put_number(&writer, tensor->type, 4);
        put_number(&writer, place, 8);
        place += padded(tensor->data.size, step);
    }
    pad(&writer, step);
    for (int i = 0; i < file->tensor_count; i++) {
        put(&writer, file->tensors[i].data.bytes, file->tensors[i].data.size);
        pad(&writer, step);
    }
    if (writer.full) return 0;
    gguf_mend(bytes, writer.size);
    return writer.size;
}

/* ---- Mending ------------------------------------------------------------------------ */

static uint32_t crc32(const uint8_t *bytes, size_t size)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static void set_crc(const gguf *file, const char *key, const uint8_t *bytes, size_t size)
{
    int at = gguf_find(file, key);
    if (at < 0 || file->entries[at].type != TYPE_U32) return;
    uint32_t crc = crc32(bytes, size);
    memcpy((uint8_t *)file->entries[at].value.bytes, &crc, sizeof crc);
}

void gguf_mend(uint8_t *bytes, size_t size)
{
    static gguf file;
    uint64_t places[MOST_TENSORS];
    reader reader = { bytes, bytes + size, false };
    if (!read_header(&file, &reader, places)) return;
    size_t data = padded((size_t)(reader.at - bytes), alignment(&file));
    if (data <= size) set_crc(&file, "covey.checksum.crc32", bytes + data, size - data);
    int step = gguf_find(&file, "covey.training.step");
    if (step >= 0 && file.entries[step].type == TYPE_U64)
        set_crc(&file, "covey.training.step_crc32", file.entries[step].value.bytes, 8);
}
