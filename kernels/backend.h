/* What a backend is: a const table of functions with an ABI number. A backend compiles graphs, it is not called per
   operator. It lowers a logical graph into a program (a list of steps over buffers, layouts and algorithms chosen, reorders
   made explicit); executable.c places the buffers (plan.c) and runs the steps. */
#ifndef BS_KERNELS_BACKEND_H
#define BS_KERNELS_BACKEND_H

#include "kernels/executable.h"
#include "kernels/graph.h"
#include "kernels/params.h"
#include "kernels/plan.h"

/* Counts every change of this table and of the structs that it and its headers show (a plugin has them compiled in). */
#define BS_BACKEND_ABI 5u

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
    unsigned char *arena; /* base address of the placed buffers; of the backend's memory if it has its own */
    const struct bs_tensor *input; /* host tensors in the order of the graph's INPUT nodes (f32 C order) */
    struct bs_tensor *output;      /* host tensors in the order of the graph's outputs (f32 C order) */
    const struct bs_meanwhile *meanwhile; /* for run_program; NULL: nothing */
    /* For run_step, which need not look at it: who wants to go first in the middle of a step (kernels/base/cancel.h); NULL: nobody. */
    const struct bs_cancel *cancel;
};

struct bs_backend_i {
    unsigned abi;
    const char *name; /* "ref", "cpu", "cuda" */
    /* Opens the device; fills what bs_device_describe shows. */
    bs_status (*open)(const struct bs_device_options *opt, void **dev, struct bs_err *err);
    void (*close)(void *dev);
    void (*describe)(void *dev, struct bs_device_info *info);
    /* Graph to program. May read and pack parameters. A precision that the backend has not is BS_EUNSUPPORTED. */
    bs_status (*lower)(void *dev, const struct bs_graph *g, struct bs_params *params,
                       enum bs_precision precision, struct bs_program **out, struct bs_err *err);
    /* Runs one step; only the device's executor thread calls it. NULL where run_program is given. */
    bs_status (*run_step)(void *dev, struct bs_program *program, int step, const struct bs_run *run,
                          struct bs_err *err);
    void (*destroy_program)(void *dev, struct bs_program *program);
    /* Optional (NULL: none): one line that says what a step computes and how, e.g. "conv2d winograd 1x64x512x512 ->
       1x64x512x512 fused relu". Part of the plan hash and of profiles. */
    void (*describe_step)(void *dev, const struct bs_program *program, int step, char *text, size_t len);
    /* Optional (NULL: arenas are pages of the host), all three or none: arenas in the device's own memory, aligned to
       BS_PLAN_ALIGN at least, and the bytes of it that could be allocated now (SIZE_MAX: not known). arena_free accepts NULL; runs are over. */
    bs_status (*arena_alloc)(void *dev, size_t bytes, void **arena, struct bs_err *err);
    void (*arena_free)(void *dev, void *arena, size_t bytes);
    size_t (*memory_available)(void *dev);
    /* Optional (NULL: step by step): runs the whole program; outputs are filled when it returns. Looks at cancel (may be
       NULL) at least some times a second: BS_ECANCELLED, with nothing left running. Calls run->meanwhile, once, where inputs
       have been taken and there is time; a run that fails need not. What else meanwhile allows it may do or not. */
    bs_status (*run_program)(void *dev, struct bs_program *program, const struct bs_run *run,
                             const struct bs_cancel *cancel, struct bs_err *err);
    /* Optional (NULL: run_program fills outputs at once): fills the outputs that the last run of the device, of this program, left.
       BS_EINTERNAL: it left none. */
    bs_status (*collect)(void *dev, struct bs_program *program, struct bs_tensor *outputs,
                         struct bs_err *err);
    /* Optional: has the device failed for good (a fault in its memory, off the bus)? Only a new process gets it back. */
    bool (*is_lost)(void *dev);
};

const struct bs_backend_i *bs_backend_ref(void);
/* NULL in a build without oneDNN. */
const struct bs_backend_i *bs_backend_cpu(void);
/* The plugin libbioseg-cuda.so: the file that BS_CUDA_PLUGIN names, else the one in ../lib/bioseg beside the program. NULL
   with the reason where there is none of this build. Once opened it stays until the process ends: NVIDIA's libraries have
   threads of their own. */
const struct bs_backend_i *bs_backend_cuda(struct bs_err *err);

/* What a plugin exports: its table, or NULL when it was built for another ABI. */
#define BS_BACKEND_ENTRY "bs_backend_entry"
typedef const struct bs_backend_i *(*bs_backend_entry_fn)(unsigned abi);

#endif
