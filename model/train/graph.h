/* The graph of a training step, made from a network's graph: forward in training mode, loss, and the gradient of every
   parameter; and that of a validation: forward as after training, and loss. State enters and leaves by binding: parameters
   that are trained are inputs, their gradients outputs. Owned by its maker; immutable once built. */
#ifndef BS_MODEL_TRAIN_GRAPH_H
#define BS_MODEL_TRAIN_GRAPH_H

#include "model/arch/arch.h"
#include "model/train/loss.h"

/* What becomes of one tensor of the network's state dict. */
enum bs_role {
    BS_ROLE_TRAINED,  /* an input; has a gradient */
    BS_ROLE_CONSTANT, /* nothing changes it: tables, weights that the network never reads, and frozen ones */
    BS_ROLE_RUNNING_MEAN,     /* of a batch norm, moved towards the batch's after every step */
    BS_ROLE_RUNNING_VARIANCE, /* likewise */
};

struct bs_train_tensor {
    char *name; /* the state_dict key */
    struct bs_shape shape;
    enum bs_role role;
    int input; /* TRAINED: index of the graph's input; in a validation RUNNING_*, too; else -1 */
    int output; /* TRAINED: of the gradient; RUNNING_*: of the batch's statistics (2,C); else, and in a validation, -1 */
};

/* Inputs "image", "target" and "seed" (the gradient of the loss, 1 unless it is scaled), then the trained tensors; outputs "loss"
   and "output" (what the network made, cropped), then gradients and statistics. A validation has no seed, and ends with
   "output". */
enum { BS_TRAIN_IMAGE, BS_TRAIN_TARGET, BS_TRAIN_SEED, BS_TRAIN_INPUTS };
enum { BS_TRAIN_LOSS, BS_TRAIN_OUTPUT, BS_TRAIN_OUTPUTS };

struct bs_train_graph {
    struct bs_graph *graph;
    struct bs_train_tensor *tensor; /* in the order in which the network names them */
    int ntensor;
    struct bs_shape image, target, output; /* a masked loss: target has one channel more than output */
};

/* samples x (h,w): the network's input. crop_h, crop_w: the corner of the output that the target covers, where an image was
   padded to the network's size; 0, 0: all of it. BS_EINVAL says what does not fit. */
struct bs_train_size {
    int64_t samples, h, w, crop_h, crop_w;
    const char *frozen; /* parameters whose names begin so are not trained; NULL: all are */
};
bs_status bs_train_graph_create(const struct bs_arch_config *arch, const struct bs_train_size *size,
                                const struct bs_loss *loss, struct bs_train_graph **out,
                                struct bs_err *err) BS_NODISCARD;
/* Of a validation: batch norms use their running statistics. */
bs_status bs_train_graph_create_validation(const struct bs_arch_config *arch,
                                           const struct bs_train_size *size, const struct bs_loss *loss,
                                           struct bs_train_graph **out, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs_train_graph_destroy(struct bs_train_graph *t);

#endif
