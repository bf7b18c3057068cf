#include "small.h"

#include "gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

uint32_t draw(uint32_t *state)
{
    uint32_t x = *state += 0x9E3779B9u;
    x = (x ^ x >> 16) * 0x21F0AAADu;
    x = (x ^ x >> 15) * 0x735A2D97u;
    return x ^ x >> 15;
}

uint32_t hash_bytes(uint32_t before, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) before = (before ^ ((const uint8_t *)bytes)[i]) * 16777619u;
    return before;
}

/* ---- Weight files ---------------------------------------------------------------------- */

shape shape_of(uint32_t seed)
{
    shape made = { 4, 8, 2, 2, 12, 3, 0, 2, COVEY_DTYPE_F32, true, true, 0 };
    if (seed == 0) return made;
    static const uint32_t channels[] = { 8, 8, 12, 16, 20 };
    static const covey_dtype dtypes[] = { COVEY_DTYPE_F32, COVEY_DTYPE_F16, COVEY_DTYPE_Q8 };
    uint32_t random = seed;
    made.patch = 1 + draw(&random) % 5;
    made.channels = channels[draw(&random) % 5];
    made.heads = draw(&random) % 2 ? 1 : made.channels / 4;
    made.depth = 1 + draw(&random) % 3;
    made.hidden = 1 + draw(&random) % 24;
    made.grid = 1 + draw(&random) % 4;
    made.registers = draw(&random) % 3 ? 0 : 1 + draw(&random) % 3;
    made.correlator_heads = draw(&random) % 2 ? 1 : made.channels / 4;
    made.dtype = dtypes[draw(&random) % 3];
    made.whole = draw(&random) % 2;
    made.has_cls = draw(&random) % 2;
    made.resize = (int)(draw(&random) % 4);
    return made;
}

/* What is being put together; the texts and numbers lie in `room`. */
typedef struct work {
    gguf         file;
    const shape *shape;
    uint32_t     random;
    size_t       used;
    uint8_t      room[2 * MOST_BYTES];
} work;

static uint8_t *room(work *work, size_t size)
{
    static uint8_t beyond[MOST_BYTES];      /* what is too large is not written  */
    if (size > sizeof work->room - work->used) return beyond;
    work->used += size;
    return work->room + work->used - size;
}

static piece copied(work *work, const void *bytes, size_t size)
{
    uint8_t *place = room(work, size);
    memcpy(place, bytes, size);
    return (piece){ place, size };
}

static void add(work *work, const char *key, uint32_t type, const void *value, size_t size)
{
    entry entry = { copied(work, key, strlen(key)), type, copied(work, value, size) };
    work->file.entries[work->file.entry_count++] = entry;
}

static void add_u32(work *work, const char *key, uint32_t value) { add(work, key, TYPE_U32, &value, 4); }
static void add_f32(work *work, const char *key, float value) { add(work, key, TYPE_F32, &value, 4); }

static void add_text(work *work, const char *key, const char *text)
{
    uint8_t value[200];
    const uint64_t size = strlen(text);
    memcpy(value, &size, 8);
    memcpy(value + 8, text, size);
    add(work, key, TYPE_STRING, value, 8 + size);
}

static void add_three(work *work, const char *key, float first, float second, float third)
{
    uint8_t value[24];
    const uint32_t of = TYPE_F32;
    const uint64_t count = 3;
    const float numbers[] = { first, second, third };
    memcpy(value, &of, 4);
    memcpy(value + 4, &count, 8);
    memcpy(value + 12, numbers, 12);
    add(work, key, TYPE_ARRAY, value, sizeof value);
}

/* Numbers that half precision has too. */
static void fill(work *work, uint32_t element, uint8_t *place, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = draw(&work->random);
        const uint32_t sign = bits & 1, exponent = 12 + (bits >> 1) % 4, fraction = bits >> 8 & 1023;
        const float value = ldexpf((float)(1024 + fraction) * (sign ? -1 : 1), (int)exponent - 25);
        const uint16_t half = (uint16_t)(sign << 15 | exponent << 10 | fraction);
        const int8_t integer = (int8_t)((int)(bits >> 8) % 255 - 127);
        if (element == ELEMENT_F32) memcpy(place + 4 * i, &value, 4);
        if (element == ELEMENT_F16) memcpy(place + 2 * i, &half, 2);
        if (element == ELEMENT_I8) memcpy(place + i, &integer, 1);
    }
}

static tensor *add_tensor(work *work, const char *name, uint32_t element, uint64_t columns,
                          uint64_t rows)
{
    tensor *tensor = &work->file.tensors[work->file.tensor_count++];
    const size_t count = (size_t)(columns * rows), size = count * element_size(element);
    uint8_t *place = room(work, size);
    fill(work, element, place, count);
    tensor->name = copied(work, name, strlen(name));
    tensor->dimensions = rows > 1 ? 2 : 1;
    tensor->sizes[0] = columns;
    tensor->sizes[1] = rows;
    tensor->sizes[2] = tensor->sizes[3] = 1;
    tensor->type = element;
    tensor->data = (piece){ place, size };
    return tensor;
}

static void add_vector(work *work, const char *prefix, const char *name, uint64_t count)
{
    char whole[80];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    add_tensor(work, whole, ELEMENT_F32, count, 1);
}

static void add_matrix(work *work, const char *prefix, const char *name, uint64_t columns,
                       uint64_t rows, bool stays_float)
{
    char whole[80];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    const covey_dtype dtype = work->shape->dtype;
    const bool int8 = dtype == COVEY_DTYPE_Q8 && !stays_float;
    tensor *matrix = add_tensor(work, whole,
                                dtype == COVEY_DTYPE_F32 ? ELEMENT_F32
                                : int8                   ? ELEMENT_I8
                                                         : ELEMENT_F16,
                                columns, rows);
    matrix->dimensions = 2;
    if (!int8) return;
    snprintf(whole, sizeof whole, "%s%s.scale", prefix, name);
    tensor *scale = add_tensor(work, whole, ELEMENT_F32, rows, 1);
    for (uint64_t i = 0; i < rows; i++) {
        const float value = ldexpf((float)(1 + draw(&work->random) % 100), -12);
        memcpy((uint8_t *)scale->data.bytes + 4 * i, &value, 4);
    }
}

static void add_block(work *work, const char *prefix, uint64_t hidden, bool whole, bool bias)
{
    const uint64_t channels = work->shape->channels;
    const bool stays_float = !bias;
    add_vector(work, prefix, "norm1.weight", channels);
    add_vector(work, prefix, "norm1.bias", channels);
    add_matrix(work, prefix, "attn.qkv.weight", channels, 3 * channels, stays_float);
    if (bias) add_vector(work, prefix, "attn.qkv.bias", 3 * channels);
    if (!whole) return;
    add_matrix(work, prefix, "attn.proj.weight", channels, channels, false);
    add_vector(work, prefix, "attn.proj.bias", channels);
    add_vector(work, prefix, "norm2.weight", channels);
    add_vector(work, prefix, "norm2.bias", channels);
    add_matrix(work, prefix, "mlp.fc1.weight", channels, hidden, false);
    add_vector(work, prefix, "mlp.fc1.bias", hidden);
    add_matrix(work, prefix, "mlp.fc2.weight", hidden, channels, false);
    add_vector(work, prefix, "mlp.fc2.bias", channels);
}

static void add_metadata(work *work)
{
    static const char *const ways[] = { "", "bicubic_offset", "bicubic", "bicubic_antialias" };
    const shape *shape = work->shape;
    add_text(work, "general.architecture", "covey");
    add_text(work, "general.name", "small");
    add_u32(work, "general.file_type", shape->dtype == COVEY_DTYPE_F32   ? 0
                                       : shape->dtype == COVEY_DTYPE_F16 ? 1
                                                                         : 7);
    add_u32(work, "general.alignment", 64);
    add_u32(work, "covey.format_version", shape->registers > 0 || shape->resize > 0 ? 2 : 1);
    add_u32(work, "covey.vit.patch_size", shape->patch);
    add_u32(work, "covey.vit.embed_dim", shape->channels);
    add_u32(work, "covey.vit.depth", shape->depth);
    add_u32(work, "covey.vit.heads", shape->heads);
    add_u32(work, "covey.vit.mlp_dim", shape->hidden);
    add_u32(work, "covey.vit.position_grid", shape->grid);
    if (shape->registers > 0) add_u32(work, "covey.vit.register_count", shape->registers);
    if (shape->resize > 0) add_text(work, "covey.vit.position_resize", ways[shape->resize]);
    add_f32(work, "covey.vit.layer_norm_eps", 1e-6f);
    add(work, "covey.vit.cls_saliency", TYPE_BOOL, &shape->has_cls, 1);
    add_u32(work, "covey.correlator.heads", shape->correlator_heads);
    add_f32(work, "covey.correlator.layer_norm_eps", 1e-5f);
    add_three(work, "covey.input.mean", 0.5f, 0.4f, 0.3f);
    add_three(work, "covey.input.std", 0.25f, 0.25f, 0.2f);
    add_u32(work, "covey.input.height", 3 * shape->patch);
    add_u32(work, "covey.input.width", 4 * shape->patch);
    add_f32(work, "covey.clustering.tau", 0.75f);
    add_u32(work, "covey.clustering.window", 3);
    add_u32(work, "covey.clustering.key_stride", 2);
    add_u32(work, "covey.clustering.key_pool", 1);
    add_u32(work, "covey.checksum.crc32", 0);
}

size_t make_model(const shape *shape, uint32_t seed, uint8_t *bytes, size_t capacity)
{
    static work work;
    const uint64_t channels = shape->channels, patch = shape->patch;
    memset(&work, 0, sizeof work);
    work.shape = shape;
    work.random = seed;
    add_metadata(&work);
    add_vector(&work, "encoder.", "cls_token", channels);
    add_tensor(&work, "encoder.pos_embed", ELEMENT_F32, channels, 1 + shape->grid * shape->grid);
    if (shape->registers > 0)
        add_tensor(&work, "encoder.register_tokens", ELEMENT_F32, channels, shape->registers)
            ->dimensions = 2;
    tensor *kernel = add_tensor(&work, "encoder.patch_embed.proj.weight", ELEMENT_F32, 3 * patch * patch,
                                channels);
    kernel->dimensions = 4;
    kernel->sizes[0] = kernel->sizes[1] = patch;
    kernel->sizes[2] = 3;
    kernel->sizes[3] = channels;
    add_vector(&work, "encoder.", "patch_embed.proj.bias", channels);
    for (uint32_t i = 0; i < shape->depth; i++) {
        char prefix[40];
        snprintf(prefix, sizeof prefix, "encoder.blocks.%u.", i);
        add_block(&work, prefix, shape->hidden, shape->whole || i + 1 < shape->depth, true);
    }
    if (shape->whole) {
        add_vector(&work, "encoder.", "norm.weight", channels);
        add_vector(&work, "encoder.", "norm.bias", channels);
    }
    add_block(&work, "correlator.", 4 * channels, shape->whole, false);
    return gguf_write(&work.file, bytes, capacity);
}

/* ---- Frames ----------------------------------------------------------------------------- */

covey_frame small_frame(int index)
{
    enum { KEPT = 32 };
    static uint8_t pixels[KEPT][SMALL_HEIGHT][SMALL_WIDTH][3];
    static int next;
    uint8_t (*rows)[SMALL_WIDTH][3] = pixels[next++ % KEPT];
    for (int y = 0; y < SMALL_HEIGHT; y++) {
        for (int x = 0; x < SMALL_WIDTH; x++) {
            const int left = 2 + index % 11;
            const bool inside = x >= left && x < left + 6 && y >= 4 && y < 10;
            for (int c = 0; c < 3; c++)
                rows[y][x][c] = (uint8_t)(inside ? 230 - 40 * c : 20 + (7 * x + 5 * y * (c + 1)) % 60);
        }
    }
    covey_frame frame = { .struct_size = sizeof frame, .format = COVEY_PIXEL_RGB8,
                          .width = SMALL_WIDTH, .height = SMALL_HEIGHT, .timestamp = 1000 + index };
    frame.planes[0] = &rows[0][0][0];
    return frame;
}
