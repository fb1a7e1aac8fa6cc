/* A file written by torch.save, either format: the pickle that describes its objects, and the storages (flat arrays)
   that the pickle's persistent references name. Nothing here knows about tensors.
   Internal to model/weights. One thread at a time. */
#ifndef BS_MODEL_WEIGHTS_TORCH_ARCHIVE_H
#define BS_MODEL_WEIGHTS_TORCH_ARCHIVE_H

#include "kernels/tensor.h"
#include "model/weights/pickle.h"

#define BS__TORCH_MAX_STORAGE ((uint64_t)4 << 30) /* bytes */
#define BS__TORCH_MAX_KEY     64                  /* characters of a storage's key */

/* What a persistent reference says of a storage. */
struct bs__torch_storage {
    const char *key; /* owned by the pickle */
    bool known;      /* dtype is one of ours; else only its element size is known */
    bool untyped;    /* bytes; the tensor names the dtype */
    enum bs_dtype dtype;
    size_t element_size;
    uint64_t count;       /* elements of the whole storage */
    uint64_t view_offset; /* elements; legacy files can refer to a part of a storage */
    uint64_t view_count;
};
bs_status bs__torch_storage_parse(const struct bs__pickle_value *persistent, struct bs__torch_storage *out,
                                  struct bs_err *err) BS_NODISCARD;
/* The dtype behind "torch float32" and the like; false when it is not one of ours. */
bool bs__torch_dtype(const struct bs__pickle_value *v, enum bs_dtype *out);

struct bs__torch_archive;

/* Takes fd, also on failure. */
bs_status bs__torch_archive_open(int fd, struct bs__torch_archive **out, struct bs_err *err) BS_NODISCARD;
void bs__torch_archive_close(struct bs__torch_archive *a); /* accepts NULL */
const struct bs__pickle *bs__torch_archive_pickle(const struct bs__torch_archive *a);
/* The bytes of a whole storage. Borrowed: valid until the next call or close. */
bs_status bs__torch_archive_storage(struct bs__torch_archive *a, const struct bs__torch_storage *s,
                                    const unsigned char **out, struct bs_err *err) BS_NODISCARD;

/* The two formats, used by torch_archive.c only. */
struct bs__torch_zip;
/* Takes fd, also on failure; *pickle becomes the caller's. */
bs_status bs__torch_zip_open(int fd, struct bs__torch_zip **out, struct bs__pickle **pickle,
                             struct bs_err *err) BS_NODISCARD;
void bs__torch_zip_close(struct bs__torch_zip *z);
/* Fills dst with the storage of that key, which must have exactly that many bytes. */
bs_status bs__torch_zip_read(struct bs__torch_zip *z, const char *key, void *dst, size_t bytes,
                             struct bs_err *err) BS_NODISCARD;

struct bs__torch_legacy;
bs_status bs__torch_legacy_open(int fd, struct bs__torch_legacy **out, struct bs__pickle **pickle,
                                struct bs_err *err) BS_NODISCARD;
void bs__torch_legacy_close(struct bs__torch_legacy *l);
bs_status bs__torch_legacy_read(struct bs__torch_legacy *l, const char *key, void *dst, size_t bytes,
                                struct bs_err *err) BS_NODISCARD;
/* Does a file that begins with these bytes look like one? */
bool bs__torch_legacy_magic(const unsigned char *begin, size_t len);

#endif
