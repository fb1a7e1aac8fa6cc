/* Reads .npy files (format 1 to 3, little endian, C order) for tests and golden_check. Files are not trusted: every
   length is checked against the file before use. Any thread. */
#ifndef BS_TESTS_SUPPORT_NPY_H
#define BS_TESTS_SUPPORT_NPY_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_NPY_MAX_DIM 8

enum bs_npy_type {
    BS_NPY_BOOL,
    BS_NPY_I1,
    BS_NPY_U1,
    BS_NPY_I2,
    BS_NPY_U2,
    BS_NPY_I4,
    BS_NPY_U4,
    BS_NPY_I8,
    BS_NPY_U8,
    BS_NPY_F4,
    BS_NPY_F8,
};

struct bs_npy {
    enum bs_npy_type type;
    int ndim; /* 0: one value */
    size_t shape[BS_NPY_MAX_DIM];
    size_t count; /* values */
    void *data;   /* as in the file; aligned for its type */
};

/* Reads a file of at most 1 GiB; bs_npy_free releases what it got. On failure *out is empty. */
bs_status bs_npy_read(const char *path, struct bs_npy *out, struct bs_err *err) BS_NODISCARD;
void bs_npy_free(struct bs_npy *a); /* accepts an empty one */

/* New arrays of count values, free() them; integers outside the type's range are BS_EINVAL. */
bs_status bs_npy_to_f32(const struct bs_npy *a, float **out, struct bs_err *err) BS_NODISCARD;
bs_status bs_npy_to_f64(const struct bs_npy *a, double **out, struct bs_err *err) BS_NODISCARD;
bs_status bs_npy_to_u32(const struct bs_npy *a, uint32_t **out, struct bs_err *err) BS_NODISCARD;
bs_status bs_npy_to_u8(const struct bs_npy *a, uint8_t **out, struct bs_err *err) BS_NODISCARD;
bs_status bs_npy_to_i64(const struct bs_npy *a, int64_t **out, struct bs_err *err) BS_NODISCARD;

#endif
