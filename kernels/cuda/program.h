/* A lowered graph as the CUDA backend holds it: steps over buffers, each step one kernel's arguments with buffers in place of the
   arena's addresses. Written by lower*.c through build.h, queued by steps.c, run by run.c. Executor thread only. */
#ifndef BS_KERNELS_CUDA_PROGRAM_H
#define BS_KERNELS_CUDA_PROGRAM_H

#include "kernels/cuda/attention.h"
#include "kernels/cuda/conv1d.h"
#include "kernels/cuda/conv_direct.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/fused_attention.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/image_norms.h"
#include "kernels/cuda/layout.h"
#include "kernels/cuda/losses.h"
#include "kernels/cuda/norms.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/resize.h"
#include "kernels/cuda/scan.h"
#include "kernels/cuda/tokens.h"

#define BS__NO_BUFFER (-1)

enum bs__gpu_step_kind {
    BS__GPU_FROM_PLANES, /* the host's planes to an image */
    BS__GPU_TO_PLANES,
    BS__GPU_COPY,
    BS__GPU_POINTWISE,
    BS__GPU_INSTANCE_NORM,
    BS__GPU_GROUP_NORM,
    BS__GPU_BATCH_NORM,
    BS__GPU_MAX_POOL,
    BS__GPU_RESIZE,
    BS__GPU_CONV_DIRECT,
    BS__GPU_GEMM,
    BS__GPU_SHUFFLE, /* what a transposed convolution's product becomes */
    BS__GPU_LAYER_NORM,
    BS__GPU_RMS_NORM,
    BS__GPU_INSERT_TOKEN,
    BS__GPU_ADD_POSITION,
    BS__GPU_ROTARY,
    BS__GPU_ATTENTION,
    BS__GPU_CONV1D,
    BS__GPU_SCAN,
    BS__GPU_CUBLASLT,        /* a product by the library */
    BS__GPU_CUDNN,           /* a convolution by the library */
    BS__GPU_FUSED_ATTENTION, /* by cuDNN */
    BS__GPU_MAX_POOL_GRAD,
    BS__GPU_RESIZE_GRAD,
    BS__GPU_LOSS,
    BS__GPU_LOSS_GRAD,
    BS__GPU_STEP_KINDS
};

/* What a library was asked to do, once for a program: a product, a convolution or an attention. */
struct bs__library_plan {
    struct bs__library_plan *next;
    struct bs__cublaslt_plan *product;
    struct bs__cudnn_plan *convolution;
    struct bs__fused_attention_plan *attention;
};
struct bs__library_call {
    const struct bs__library_plan *plan;
    bs_address x, w, y, bias, residual, workspace;
};

union bs__gpu_arguments {
    struct bs__planes planes;
    struct bs__copy copy;
    struct bs__pointwise pointwise;
    struct bs__image_norm image_norm;
    struct bs__batch_norm batch_norm;
    struct bs__max_pool pool;
    struct bs__max_pool_grad pool_grad;
    struct bs__resize resize;
    struct bs__conv_direct conv;
    struct bs__gemm gemm;
    struct bs__pixel_shuffle shuffle;
    struct bs__row_norm row_norm;
    struct bs__insert_token insert;
    struct bs__add_position position;
    struct bs__rotary rotary;
    struct {
        struct bs__cuda_attention attention;
        const struct bs__library_plan *plan; /* of the library's; else NULL */
        bs_address workspace;
    } attend;
    struct bs__conv1d conv1d;
    struct {
        struct bs__scan scan;
        bs_address workspace;
    } mixer;
    struct {
        struct bs__loss of;
        enum bs__loss_kind kind;
    } loss;
    struct bs__library_call library;
};

/* An address among the arguments that lies in the arena: buffer's place plus `bytes`. */
struct bs__gpu_bind {
    uint32_t field; /* bytes into the arguments */
    int buffer;
    size_t bytes;
};
#define BS__GPU_BINDS 12

struct bs__gpu_step {
    enum bs__gpu_step_kind kind;
    enum bs__element element, from; /* from: of a copy's source */
    enum bs__pointwise_kind pointwise;
    union bs__gpu_arguments a;
    struct bs__gpu_bind bind[BS__GPU_BINDS];
    int nbind;
    double cost; /* about what it takes, in bytes moved; for cutting the program into segments */
    char text[128];
};

/* A host tensor and the buffer that its bytes go to or come from as they are. */
struct bs__gpu_transfer {
    int host, buffer; /* index of the input or output */
    size_t at, bytes; /* at: into the buffer */
};

struct bs__gpu_replay;

struct bs__gpu_program {
    enum bs__element element;
    struct bs__gpu_step *step;
    struct bs__gpu_transfer *input, *output;
    int ninput, noutput;
    int inputs_read; /* the last step that touches an input's bytes; nstep: the next ones must not come while the program runs */
    int outputs_written;             /* the first that touches an output's */
    struct bs__gpu_traffic *traffic; /* transfers.c; NULL before the first run */
    struct bs__gpu_replay *replay;   /* run.c: what is captured; NULL before the first run */
    struct bs__library_plan *plans;  /* all of them, a list */
};

/* lower.c */
bs_status bs__gpu_lower(void *dev, const struct bs_graph *g, struct bs_params *params,
                        enum bs_precision precision, struct bs_program **out, struct bs_err *err);
void bs__gpu_destroy_program(void *dev, struct bs_program *program);

/* steps.c: queues one step on the device's stream; addresses are those of an arena that begins at `arena`. */
bs_status bs__gpu_queue_step(struct bs__gpu *gpu, const struct bs_program *program, int step,
                             bs_address arena, struct bs_err *err) BS_NODISCARD;

/* transfers.c: inputs and outputs of a run, on the stream of copies. */
bs_status bs__gpu_traffic_create(struct bs__gpu *gpu, struct bs__gpu_traffic **out,
                                 struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. Waits for what is under way. */
void bs__gpu_traffic_destroy(struct bs__gpu *gpu, struct bs__gpu_traffic *t);
/* Inputs on their way to the arena, unless they already are, and kernels queued from now on wait for them. */
bs_status bs__gpu_send_inputs(struct bs__gpu *gpu, const struct bs_program *program, const struct bs_run *run,
                              struct bs_err *err) BS_NODISCARD;
/* Marks where the steps queued so far have read the inputs. */
bs_status bs__gpu_inputs_taken(struct bs__gpu *gpu, const struct bs_program *program,
                               struct bs_err *err) BS_NODISCARD;
/* Sends the inputs of the next run after that mark. */
bs_status bs__gpu_send_ahead(struct bs__gpu *gpu, const struct bs_program *program, const struct bs_run *run,
                             struct bs_err *err) BS_NODISCARD;
/* Kernels queued from now on may write outputs: they wait until the last ones were fetched. */
bs_status bs__gpu_outputs_free(struct bs__gpu *gpu, const struct bs_program *program,
                               struct bs_err *err) BS_NODISCARD;
/* Sends outputs back once all that is queued has run. */
bs_status bs__gpu_fetch_outputs(struct bs__gpu *gpu, const struct bs_program *program,
                                const struct bs_run *run, struct bs_err *err) BS_NODISCARD;
/* Waits for them and fills the tensors. */
bs_status bs__gpu_hand_out(struct bs__gpu *gpu, const struct bs_program *program, struct bs_tensor *output,
                           struct bs_err *err) BS_NODISCARD;
/* The backend's collect. */
bs_status bs__gpu_collect(void *dev, struct bs_program *program, struct bs_tensor *outputs,
                          struct bs_err *err);

/* run.c */
bs_status bs__gpu_run_program(void *dev, struct bs_program *program, const struct bs_run *run,
                              const struct bs_cancel *cancel, struct bs_err *err);
/* Accepts NULL. */
void bs__gpu_replay_destroy(struct bs__gpu *gpu, struct bs__gpu_replay *replay);

#endif
