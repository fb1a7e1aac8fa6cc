/* Writing a safetensors file so that a crash or a full disk leaves the old file or none; see safetensors.h. */
#include "kernels/base/atomic_file.h"
#include "kernels/base/checked.h"
#include "model/weights/file_io.h"
#include "model/weights/json.h"
#include "model/weights/safetensors.h"

#include <stdlib.h>
#include <string.h>

static const char *dtype_text(enum bs_dtype t)
{
    static const char *const text[BS_DTYPE_COUNT] = {
        [BS_F32] = "F32", [BS_BF16] = "BF16", [BS_F16] = "F16", [BS_F64] = "F64", [BS_I64] = "I64",
        [BS_I32] = "I32", [BS_I16] = "I16",   [BS_I8] = "I8",   [BS_U8] = "U8",   [BS_BOOL] = "BOOL"};
    return text[t];
}

static size_t item_bytes(const struct bs_safetensors_item *item)
{
    return bs_shape_count(&item->shape) * bs_dtype_size(item->dtype);
}

static char *make_header(const struct bs_safetensors_pair *metadata, size_t nmetadata,
                         const struct bs_safetensors_item *items, size_t nitem)
{
    struct bs_json_writer w = {0};
    size_t offset = 0;
    bs_json_write_open(&w, NULL, '{');
    if (nmetadata) {
        bs_json_write_open(&w, "__metadata__", '{');
        for (size_t i = 0; i < nmetadata; i++)
            bs_json_write_string(&w, metadata[i].key, metadata[i].value);
        bs_json_write_close(&w, '}');
    }
    for (size_t i = 0; i < nitem; i++) {
        bs_json_write_open(&w, items[i].name, '{');
        bs_json_write_string(&w, "dtype", dtype_text(items[i].dtype));
        bs_json_write_open(&w, "shape", '[');
        for (int d = 0; d < items[i].shape.ndim; d++)
            bs_json_write_int(&w, NULL, items[i].shape.dim[d]);
        bs_json_write_close(&w, ']');
        bs_json_write_open(&w, "data_offsets", '[');
        bs_json_write_int(&w, NULL, (int64_t)offset);
        offset += item_bytes(&items[i]);
        bs_json_write_int(&w, NULL, (int64_t)offset);
        bs_json_write_close(&w, ']');
        bs_json_write_close(&w, '}');
    }
    bs_json_write_close(&w, '}');
    return bs_json_write_end(&w);
}

/* Length, header and the spaces that align the first tensor to 8 bytes. */
static bs_status write_header(int fd, const char *header, struct bs_err *err)
{
    const size_t len = strlen(header), padded = (len + 7) / 8 * 8;
    unsigned char prefix[8];
    if (padded > BS_SAFETENSORS_MAX_HEADER)
        return BS_FAIL(err, BS_ELIMIT, "the header would have %zu bytes, at most %zu are accepted", padded,
                       BS_SAFETENSORS_MAX_HEADER);
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    bs_status rc;
    if ((rc = bs__file_write(fd, prefix, sizeof prefix, err)) != BS_OK ||
        (rc = bs__file_write(fd, header, len, err)) != BS_OK)
        return rc;
    return bs__file_write(fd, "       ", padded - len, err);
}

static bs_status write_tensors(int fd, const struct bs_safetensors_item *items, size_t nitem,
                               bs_safetensors_fill fill, void *ctx, struct bs_err *err)
{
    bs_status rc = BS_OK;
    size_t largest = 1;
    for (size_t i = 0; i < nitem; i++)
        largest = item_bytes(&items[i]) > largest ? item_bytes(&items[i]) : largest;
    void *buffer = malloc(largest);
    if (!buffer)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a tensor of %zu bytes", largest);
    for (size_t i = 0; i < nitem && rc == BS_OK; i++) {
        rc = fill(ctx, i, buffer, item_bytes(&items[i]), err);
        if (rc == BS_OK)
            rc = bs__file_write(fd, buffer, item_bytes(&items[i]), err);
    }
    free(buffer);
    return rc;
}

bs_status bs_safetensors_write_fd(int fd, const struct bs_safetensors_pair *metadata, size_t nmetadata,
                                  const struct bs_safetensors_item *items, size_t nitem,
                                  bs_safetensors_fill fill, void *ctx, struct bs_err *err)
{
    char *header = make_header(metadata, nmetadata, items, nitem);
    if (!header)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the header of %zu tensors", nitem);
    bs_status rc = write_header(fd, header, err);
    if (rc == BS_OK)
        rc = write_tensors(fd, items, nitem, fill, ctx, err);
    free(header);
    return rc;
}

bs_status bs_safetensors_write(const char *path, const struct bs_safetensors_pair *metadata, size_t nmetadata,
                               const struct bs_safetensors_item *items, size_t nitem,
                               bs_safetensors_fill fill, void *ctx, struct bs_err *err)
{
    struct bs_atomic_file file = {.fd = -1};
    bs_status rc = bs_atomic_open(&file, path, err);
    if (rc == BS_OK)
        rc = bs_safetensors_write_fd(file.fd, metadata, nmetadata, items, nitem, fill, ctx, err);
    if (rc == BS_OK)
        rc = bs_atomic_commit(&file, err);
    bs_atomic_abort(&file);
    return rc;
}
