/* Images whose samples came without a file format: what they are is said beside them. Pure functions; any thread. */
#ifndef BS_MODEL_IMAGE_RAW_H
#define BS_MODEL_IMAGE_RAW_H

#include "model/image/image.h"

/* Samples in C order, little endian, without gaps. ndim 0: nothing is said, it is a file that says itself what it is. */
struct bs_raw_image {
    enum bs_sample sample;
    int ndim;
    char axes[BS_IMAGE_MAX_DIM + 1]; /* yx, yxc or cyx, with t and z before y */
    uint64_t dim[BS_IMAGE_MAX_DIM];
};

/* BS_EINVAL says what is not accepted: axes, a size of 0, more bytes than can be counted. ndim is at least 1. */
bs_status bs_raw_image_check(const struct bs_raw_image *raw, struct bs_err *err) BS_NODISCARD;
/* 0: they say the same. */
int bs_raw_image_compare(const struct bs_raw_image *a, const struct bs_raw_image *b);
/* The samples from the start of a file, which holds them and nothing else. Returns new ref; limits NULL: the default ones. */
bs_status bs_raw_image_read(int fd, const struct bs_raw_image *raw, const struct bs_image_limits *limits,
                            struct bs_image **out, struct bs_err *err) BS_NODISCARD;

#endif
