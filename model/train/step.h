/* One training step on a device, and the state that it trains: parameters, moments of the optimiser, running statistics of
   batch norms. Compute runs forward, loss and backward; apply changes the state. Everything belongs to the device's executor
   thread. */
#ifndef BS_MODEL_TRAIN_STEP_H
#define BS_MODEL_TRAIN_STEP_H

#include "kernels/recompute.h"
#include "model/train/graph.h"
#include "model/train/optimizer.h"

struct bs_step;

/* One tensor of the state; shapes and names as the network's state dict has them. What points into the step may be read and
   written between steps (checkpoints). */
struct bs_step_tensor {
    const char *name;
    struct bs_shape shape;
    enum bs_role role;
    float *value;          /* NULL: CONSTANT, it stays in the parameters given */
    float *gradient;       /* of the last compute; NULL unless TRAINED */
    float *first, *second; /* moments; NULL unless TRAINED */
};

/* Compiles, and takes initial values from params, to which it keeps a reference. */
bs_status bs_step_create(struct bs_device *dev, const struct bs_arch_config *arch,
                         const struct bs_train_size *size, const struct bs_loss *loss,
                         struct bs_params *params, struct bs_step **out, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs_step_destroy(struct bs_step *s);

struct bs_step_options {
    size_t
        bytes; /* at most so many while it runs (bs_step_bytes), for which values of the forward are made again for the
                     backward (kernels/recompute.h): the same bits, later; 0: no limit */
    /* Of activations and their gradients, and of weights where the network reads them. What is trained, its gradients, moments and
       the loss stay float32 (bs_graph_narrow). */
    enum bs_precision precision;
};
/* The same with options. BS_ENOMEM names the least bytes that it comes to. */
bs_status bs_step_create_with(struct bs_device *dev, const struct bs_arch_config *arch,
                              const struct bs_train_size *size, const struct bs_loss *loss,
                              const struct bs_step_options *options, struct bs_params *params,
                              struct bs_step **out, struct bs_err *err) BS_NODISCARD;

/* Bytes that a step holds while it runs: the executable's arena, and state, gradients and outputs. */
size_t bs_step_bytes(const struct bs_step *s);
/* Of them the arena, which a trim frees until the next compute. */
size_t bs_step_arena_bytes(const struct bs_step *s);
void bs_step_trim(struct bs_step *s);
/* Of the executable (kernels/executable.h). */
uint64_t bs_step_plan_hash(const struct bs_step *s);
const char *bs_step_algorithms(const struct bs_step *s);
/* What is made again; zeros: nothing. */
const struct bs_recompute *bs_step_recompute(const struct bs_step *s);

/* Shapes of image (N,C,h,w) and target (N,C',h',w'), with a masked loss (N,C'+1,h',w'). */
struct bs_shape bs_step_image_shape(const struct bs_step *s);
struct bs_shape bs_step_target_shape(const struct bs_step *s);

/* Gradients and batch statistics for one batch; *loss its value. The state is not changed. BS_EINVAL when the loss is not
   finite; BS_ECANCELLED as in bs_executable_run. */
bs_status bs_step_compute(struct bs_step *s, const float *image, const float *target,
                          const struct bs_cancel *cancel, double *loss, struct bs_err *err) BS_NODISCARD;
/* Gradients of scale times the loss from the next compute on, which divides them by it again; a power of two, 1 at first
   (loss_scale.h). */
void bs_step_set_scale(struct bs_step *s, double scale);
/* Are gradients of the last compute not finite? Then there is nothing to apply. Only with a precision of f16 and after a compute
   that succeeded. */
bool bs_step_overflowed(const struct bs_step *s);
/* What the network made of the last batch, (N,C,h',w'), without the mask's channel. */
const float *bs_step_output(const struct bs_step *s);
/* Takes the gradients of the last successful compute, once: BS_EPRECONDITION without one, or when they overflowed. Lets go first, in
   between, who wants to by that compute's cancel, and is never cancelled. */
bs_status bs_step_apply(struct bs_step *s, const struct bs_optimizer *o, struct bs_err *err) BS_NODISCARD;

/* Steps applied so far: the number that the optimiser counts. Settable to go on from a checkpoint. */
int64_t bs_step_count(const struct bs_step *s);
void bs_step_set_count(struct bs_step *s, int64_t count);

int bs_step_tensor_count(const struct bs_step *s);
const struct bs_step_tensor *bs_step_tensor_at(const struct bs_step *s, int i);

#endif
