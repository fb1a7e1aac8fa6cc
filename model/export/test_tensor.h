/* An image and what the network makes of it: the test tensors of a package. Internal to model/export. One thread. */
#ifndef BS_MODEL_EXPORT_TEST_TENSOR_H
#define BS_MODEL_EXPORT_TEST_TENSOR_H

#include "model/export/source.h"

struct bs__test_tensors {
    struct bs_shape in_shape, out_shape; /* (1, channels, side, side) */
    float *in, *out;                     /* the image before any preprocessing; the network's output */
};

/* Side of the image: the encoder's, or 8 times the divisor. */
int bs__test_side(const struct bs_arch_config *arch);
/* Computes on the CPU: the backend of that name or, in a build without it, the reference. Free also after a failure. */
bs_status bs__test_tensors_make(const struct bs__export_source *s, struct bs__test_tensors *out,
                                struct bs_err *err) BS_NODISCARD;
void bs__test_tensors_free(struct bs__test_tensors *t);
/* A float32 tensor in NumPy's format (version 1.0, C order). */
bs_status bs__npy_write(int fd, const struct bs_shape *shape, const float *values,
                        struct bs_err *err) BS_NODISCARD;

#endif
