/* What a backend is: a const table of functions with an ABI number. A backend compiles graphs, it is not called per
   operator. It lowers a logical graph into a program (a list of steps over buffers, layouts and algorithms chosen, reorders
   made explicit); executable.c places the buffers (plan.c) and runs the steps. */
#ifndef BS_KERNELS_BACKEND_H
#define BS_KERNELS_BACKEND_H

#include "kernels/executable.h"
#include "kernels/graph.h"
#include "kernels/params.h"
#include "kernels/plan.h"

#define BS_BACKEND_ABI 1u

/* What lowering yields. The backend allocates it and what private points to; destroy_program frees both. */
struct bs_program {
    int nstep;
    int nbuffer;
    struct bs_plan_buffer *buffer; /* workspace and reorder targets included */
    void *private;        /* the backend's own: primitives, packed weights, buffer ids of each step */
    char algorithms[256]; /* for provenance and the log, e.g. "winograd 18, direct 1, 1x1 5" */
};

/* What a running step may touch. */
struct bs_run {
    unsigned char *arena;          /* base address of the placed buffers */
    const struct bs_tensor *input; /* host tensors in the order of the graph's INPUT nodes (f32 C order) */
    struct bs_tensor *output;      /* host tensors in the order of the graph's outputs (f32 C order) */
};

struct bs_backend_i {
    unsigned abi;
    const char *name; /* "ref", "cpu", "cuda" */
    /* Opens the device; fills what bs_device_describe shows. */
    bs_status (*open)(const struct bs_device_options *opt, void **dev, struct bs_err *err);
    void (*close)(void *dev);
    void (*describe)(void *dev, struct bs_device_info *info);
    /* Graph to program. May read and pack parameters. */
    bs_status (*lower)(void *dev, const struct bs_graph *g, struct bs_params *params,
                       enum bs_precision precision, struct bs_program **out, struct bs_err *err);
    /* Runs one step; only the device's executor thread calls it. */
    bs_status (*run_step)(void *dev, struct bs_program *program, int step, const struct bs_run *run,
                          struct bs_err *err);
    void (*destroy_program)(void *dev, struct bs_program *program);
    /* Optional (NULL: none): one line that says what a step computes and how, e.g. "conv2d winograd 1x64x512x512 ->
       1x64x512x512 fused relu". Part of the plan hash and of profiles. */
    void (*describe_step)(void *dev, const struct bs_program *program, int step, char *text, size_t len);
};

const struct bs_backend_i *bs_backend_ref(void);
/* NULL in a build without oneDNN. */
const struct bs_backend_i *bs_backend_cpu(void);

#endif
