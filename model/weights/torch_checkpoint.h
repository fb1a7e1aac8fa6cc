/* A PyTorch checkpoint as a list of named tensors: plain state dicts, {"model": ...}, {"state_dict": ...} and torch_em's
   trainer checkpoints. The pickle is read as data; nothing in it is imported, looked up or called.
   One thread at a time. */
#ifndef BS_MODEL_WEIGHTS_TORCH_CHECKPOINT_H
#define BS_MODEL_WEIGHTS_TORCH_CHECKPOINT_H

#include "kernels/tensor.h"

#define BS_TORCH_MAX_TENSORS ((size_t)1 << 16)

/* What a trainer checkpoint says of how it was trained; fields that it does not tell have their zero. */
struct bs_torch_hints {
    bool has_activation;
    char final_activation[32]; /* "none", "Sigmoid" or another class name */
    char label_transform[64];  /* class name, e.g. "PerObjectDistanceTransform" */
    char normaliser[64];       /* function or class name, e.g. "standardize" */
    int64_t patch;             /* shorter side of the training patches; 0 unknown */
};

struct bs_torch_checkpoint;

/* Takes fd, also on failure. */
bs_status bs_torch_checkpoint_open_fd(int fd, struct bs_torch_checkpoint **out,
                                      struct bs_err *err) BS_NODISCARD;
bs_status bs_torch_checkpoint_open(const char *path, struct bs_torch_checkpoint **out,
                                   struct bs_err *err) BS_NODISCARD;
void bs_torch_checkpoint_close(struct bs_torch_checkpoint *c); /* accepts NULL */

/* Tensors of the model in the checkpoint's order, names without the prefixes of DataParallel, torch.compile
   and micro-sam's trainer. */
size_t bs_torch_checkpoint_count(const struct bs_torch_checkpoint *c);
const char *bs_torch_checkpoint_name(const struct bs_torch_checkpoint *c, size_t i);
enum bs_dtype bs_torch_checkpoint_dtype(const struct bs_torch_checkpoint *c, size_t i);
const struct bs_shape *bs_torch_checkpoint_shape(const struct bs_torch_checkpoint *c, size_t i);
/* Elements in C order; bytes must be the tensor's size. */
bs_status bs_torch_checkpoint_read(struct bs_torch_checkpoint *c, size_t i, void *dst, size_t bytes,
                                   struct bs_err *err) BS_NODISCARD;

/* "module name" of each class or function that the file mentions outside of tensors; all of them were left alone. */
size_t bs_torch_checkpoint_skipped_count(const struct bs_torch_checkpoint *c);
const char *bs_torch_checkpoint_skipped(const struct bs_torch_checkpoint *c, size_t i);
const struct bs_torch_hints *bs_torch_checkpoint_hints(const struct bs_torch_checkpoint *c);
/* Index of the first tensor of "decoder_state", which micro-sam's checkpoints have beside the model; the count when there is
   none. */
size_t bs_torch_checkpoint_decoder(const struct bs_torch_checkpoint *c);
/* Where the tensors were found: "model_state", "model", "state_dict" or "" for the top. */
const char *bs_torch_checkpoint_key(const struct bs_torch_checkpoint *c);

#endif
