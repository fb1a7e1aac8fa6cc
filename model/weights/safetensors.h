/* Reading safetensors files: 8 bytes with the header's length, a JSON header, then the tensors without gap or overlap.
   Every length is checked before use and data are read with pread, never mapped: a file that was truncated meanwhile
   gives BS_EIO, not a signal. Read-only after opening; then any thread. */
#ifndef BS_MODEL_WEIGHTS_SAFETENSORS_H
#define BS_MODEL_WEIGHTS_SAFETENSORS_H

#include "kernels/tensor.h"

#define BS_SAFETENSORS_MAX_HEADER  ((size_t)4 << 20) /* bytes; the largest network here needs 0.1 MiB */
#define BS_SAFETENSORS_MAX_TENSORS ((size_t)1 << 16)

struct bs_safetensors_entry {
    const char *name; /* owned by the file */
    enum bs_dtype dtype;
    struct bs_shape shape;
    uint64_t offset; /* in the file */
    uint64_t bytes;
};

struct bs_safetensors;

bs_status bs_safetensors_open(const char *path, struct bs_safetensors **out, struct bs_err *err) BS_NODISCARD;
/* Takes fd, also on failure. */
bs_status bs_safetensors_open_fd(int fd, struct bs_safetensors **out, struct bs_err *err) BS_NODISCARD;
void bs_safetensors_close(struct bs_safetensors *st); /* accepts NULL */

size_t bs_safetensors_count(const struct bs_safetensors *st);
/* In the order of their names. */
const struct bs_safetensors_entry *bs_safetensors_entry(const struct bs_safetensors *st, size_t i);
/* NULL when there is none of that name. */
const struct bs_safetensors_entry *bs_safetensors_find(const struct bs_safetensors *st, const char *name);
/* Value of a key of the header's metadata; NULL when there is none. */
const char *bs_safetensors_metadata(const struct bs_safetensors *st, const char *key);

/* Bytes as they are in the file; size must be the entry's. */
bs_status bs_safetensors_read(const struct bs_safetensors *st, const struct bs_safetensors_entry *e,
                              void *dst, size_t size, struct bs_err *err) BS_NODISCARD;
/* As float32, from f32, f16, bf16 or f64; count must be the entry's number of elements. */
bs_status bs_safetensors_read_f32(const struct bs_safetensors *st, const struct bs_safetensors_entry *e,
                                  float *dst, size_t count, struct bs_err *err) BS_NODISCARD;

/* Writing. */
struct bs_safetensors_item {
    const char *name;
    enum bs_dtype dtype;
    struct bs_shape shape;
};
struct bs_safetensors_pair {
    const char *key, *value;
};
/* Fills dst with the bytes of items[i]. */
typedef bs_status (*bs_safetensors_fill)(void *ctx, size_t i, void *dst, size_t bytes, struct bs_err *err);

/* Writes to a temporary file next to path, syncs it and renames it into place: path holds all or nothing of it.
   One tensor at a time is in memory. Tensors keep their order, names must differ. */
bs_status bs_safetensors_write(const char *path, const struct bs_safetensors_pair *metadata, size_t nmetadata,
                               const struct bs_safetensors_item *items, size_t nitem,
                               bs_safetensors_fill fill, void *ctx, struct bs_err *err) BS_NODISCARD;
/* The same bytes to an open file, from its position on; nothing is synced. */
bs_status bs_safetensors_write_fd(int fd, const struct bs_safetensors_pair *metadata, size_t nmetadata,
                                  const struct bs_safetensors_item *items, size_t nitem,
                                  bs_safetensors_fill fill, void *ctx, struct bs_err *err) BS_NODISCARD;

#endif
