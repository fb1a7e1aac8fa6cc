/* Fuzzes the safetensors reader: opens the input and reads every tensor in it, raw and as float32. */
#include "model/weights/safetensors.h"
#include "tests/fuzz/input_file.h"

#include <stdlib.h>
#include <string.h>

static void read_all(const struct bs_safetensors *st, size_t file_bytes)
{
    for (size_t i = 0; i < bs_safetensors_count(st); i++) {
        const struct bs_safetensors_entry *e = bs_safetensors_entry(st, i);
        const size_t count = bs_shape_count(&e->shape);
        if (e->bytes > file_bytes || bs_safetensors_find(st, e->name) != e)
            abort();
        void *raw = malloc(e->bytes ? (size_t)e->bytes : 1);
        float *values = malloc(count ? count * sizeof *values : 1);
        if (!raw || !values || bs_safetensors_read(st, e, raw, (size_t)e->bytes, NULL) != BS_OK)
            abort();
        (void)!bs_safetensors_read_f32(st, e, values, count, NULL);
        free(raw);
        free(values);
    }
    (void)bs_safetensors_metadata(st, "bioseg");
}

static void read_file(const uint8_t *data, size_t size)
{
    struct bs_safetensors *st = NULL;
    if (bs_safetensors_open_fd(bs_fuzz_file(data, size), &st, NULL) == BS_OK)
        read_all(st, size);
    bs_safetensors_close(st);
}

/* Input that begins with a brace is a header up to its last brace and tensors behind it: so that the fuzzer can change a
   header without having to guess its new length as well. */
static void read_headed(const uint8_t *data, size_t size)
{
    const uint8_t *end = memrchr(data, '}', size);
    const uint64_t length = end ? (uint64_t)(end - data) + 1 : size;
    uint8_t *file = malloc(size + 8);
    if (!file)
        abort();
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(length >> 8 * i);
    memcpy(file + 8, data, size);
    read_file(file, size + 8);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] == '{')
        read_headed(data, size);
    else
        read_file(data, size);
    return 0;
}
