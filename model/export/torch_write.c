/* PyTorch's zip format (since 1.6), written: archive/data.pkl names every tensor's storage by a number, archive/data/N holds it,
   archive/byteorder and archive/version say how. Stored entries at multiples of 64 bytes, so that torch.load(mmap=True) works.
   See export.h for what the pickle holds; model/weights/torch_*.c read it back. */
#include "model/export/export_internal.h"
#include "model/export/pickle_write.h"
#include "model/export/torch_init.h"
#include "model/export/zip_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 64

static const char *storage_class(enum bs_dtype dtype)
{
    static const char *const names[BS_DTYPE_COUNT] = {
        [BS_F32] = "FloatStorage",  [BS_BF16] = "BFloat16Storage", [BS_F16] = "HalfStorage",
        [BS_F64] = "DoubleStorage", [BS_I64] = "LongStorage",      [BS_I32] = "IntStorage",
        [BS_I16] = "ShortStorage",  [BS_I8] = "CharStorage",       [BS_U8] = "ByteStorage",
        [BS_BOOL] = "BoolStorage"};
    return names[dtype];
}

/* A call of the function that torch rebuilds tensors with: storage, offset, size, stride, requires_grad, hooks. */
static void pickle_tensor(struct bs__bytes *p, size_t index, const struct bs_safetensors_entry *e)
{
    char key[24];
    int64_t stride[BS_MAX_DIM] = {0}, next = 1;
    for (int d = e->shape.ndim - 1; d >= 0; d--) {
        stride[d] = next;
        next *= e->shape.dim[d];
    }
    snprintf(key, sizeof key, "%zu", index);
    bs__pickler_global(p, "torch._utils", "_rebuild_tensor_v2");
    bs__pickler_open_tuple(p);
    bs__pickler_open_tuple(p);
    bs__pickler_text(p, "storage");
    bs__pickler_global(p, "torch", storage_class(e->dtype));
    bs__pickler_text(p, key);
    bs__pickler_text(p, "cpu");
    bs__pickler_int(p, next);
    bs__pickler_close_tuple(p);
    bs__pickler_persistent(p);
    bs__pickler_int(p, 0);
    bs__pickler_open_tuple(p);
    for (int d = 0; d < e->shape.ndim; d++)
        bs__pickler_int(p, e->shape.dim[d]);
    bs__pickler_close_tuple(p);
    bs__pickler_open_tuple(p);
    for (int d = 0; d < e->shape.ndim; d++)
        bs__pickler_int(p, stride[d]);
    bs__pickler_close_tuple(p);
    bs__pickler_bool(p, false);
    bs__pickler_open_ordered_dict(p);
    bs__pickler_close_dict(p);
    bs__pickler_close_tuple(p);
    bs__pickler_call(p);
}

static void pickle_state(struct bs__bytes *p, const struct bs__export_source *s)
{
    bs__pickler_open_ordered_dict(p);
    for (size_t i = 0; i < s->count; i++) {
        bs__pickler_text(p, s->tensor[i]->name);
        pickle_tensor(p, i, s->tensor[i]);
    }
    bs__pickler_close_dict(p);
}

static void pickle_trainer(struct bs__bytes *p, const struct bs__export_source *s)
{
    size_t parameters = 0;
    for (size_t i = 0; i < s->count; i++)
        parameters += !bs_arch_is_buffer(s->tensor[i]->name);
    bs__pickler_open_dict(p);
    bs__pickler_text(p, "model_state");
    pickle_state(p, s);
    bs__torch_init(p, &s->info, parameters);
    bs__pickler_close_dict(p);
}

static bs_status write_storages(struct bs__zip_writer *z, const struct bs__export_source *s,
                                struct bs_err *err)
{
    bs_status rc = BS_OK;
    char name[48];
    void *data = malloc(s->largest ? s->largest : 1);
    if (!data)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a tensor of %llu bytes",
                       (unsigned long long)s->largest);
    for (size_t i = 0; rc == BS_OK && i < s->count; i++) {
        const struct bs_safetensors_entry *e = s->tensor[i];
        snprintf(name, sizeof name, "archive/data/%zu", i);
        rc = bs_safetensors_read(s->file, e, data, e->bytes, err);
        if (rc == BS_OK)
            rc = bs__zip_entry(z, name, data, e->bytes, ALIGN, err);
    }
    free(data);
    return rc;
}

static bs_status write_archive(int fd, const struct bs__export_source *s, const struct bs__bytes *pickle,
                               struct bs_err *err)
{
    bs_status rc;
    struct bs__zip_writer z;
    bs__zip_create(&z, fd);
    if ((rc = bs__zip_entry(&z, "archive/data.pkl", pickle->data, pickle->len, ALIGN, err)) != BS_OK ||
        (rc = bs__zip_entry(&z, "archive/byteorder", "little", 6, ALIGN, err)) != BS_OK ||
        (rc = write_storages(&z, s, err)) != BS_OK ||
        (rc = bs__zip_entry(&z, "archive/version", "3\n", 2, ALIGN, err)) != BS_OK)
        goto cleanup;
    rc = bs__zip_finish(&z, err);
cleanup:
    bs__zip_destroy(&z);
    return rc;
}

static bs_status write(const struct bs__export_source *s, int fd,
                       void (*pickle_root)(struct bs__bytes *, const struct bs__export_source *),
                       struct bs_err *err)
{
    struct bs__bytes pickle = {0};
    bs__pickler_begin(&pickle);
    pickle_root(&pickle, s);
    bs__pickler_end(&pickle);
    bs_status rc = bs__bytes_check(&pickle, "the checkpoint's pickle", err);
    if (rc == BS_OK)
        rc = write_archive(fd, s, &pickle, err);
    bs__bytes_free(&pickle);
    return rc;
}

bs_status bs__write_state_dict(const struct bs__export_source *s, const struct bs__export_target *target,
                               const struct bs_export_options *options, struct bs_err *err)
{
    (void)options;
    return write(s, target->fd, pickle_state, err);
}

bs_status bs__write_trainer(const struct bs__export_source *s, const struct bs__export_target *target,
                            const struct bs_export_options *options, struct bs_err *err)
{
    (void)options;
    return write(s, target->fd, pickle_trainer, err);
}
