/* Tensors out of pickled values: the few functions of torch that rebuild a tensor are known here by name, nothing else is
   let through. Internal to model/weights. Pure functions; any thread. */
#ifndef BS_MODEL_WEIGHTS_TORCH_TENSOR_H
#define BS_MODEL_WEIGHTS_TORCH_TENSOR_H

#include "model/weights/torch_archive.h"

/* A view of a storage, checked: no element lies outside. */
struct bs__torch_tensor {
    struct bs__torch_storage storage;
    enum bs_dtype dtype;
    struct bs_shape shape;
    uint64_t offset;             /* elements from the storage's start */
    uint64_t stride[BS_MAX_DIM]; /* elements */
};

/* Could v be a tensor (a call of one of the rebuilding functions)? */
bool bs__torch_is_tensor(const struct bs__pickle_value *v);
/* BS_EUNSUPPORTED names what a tensor's value reaches that is neither tensor, storage nor plain data. */
bs_status bs__torch_tensor_parse(const struct bs__pickle_value *v, struct bs__torch_tensor *out,
                                 struct bs_err *err) BS_NODISCARD;
/* Copies its elements in C order; dst has bs_shape_count * dtype size bytes. storage holds the whole storage. */
void bs__torch_tensor_gather(const struct bs__torch_tensor *t, const unsigned char *storage, void *dst);
/* Names that tensors and plain data are made of; anything else is listed as skipped. */
bool bs__torch_is_known_global(const char *name);

#endif
