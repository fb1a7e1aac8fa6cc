/* Devices and executables: what the layers above see of the kernels.
   A device is opened once; an executable is a graph compiled for it at one exact shape and precision. Its memory need is
   known after compiling and before its arena is allocated. Compile and run only on the device's executor thread. */
#ifndef BS_KERNELS_EXECUTABLE_H
#define BS_KERNELS_EXECUTABLE_H

#include "kernels/base/cancel.h"
#include "kernels/graph.h"
#include "kernels/params.h"

enum bs_precision { BS_PRECISION_F32, BS_PRECISION_BF16, BS_PRECISION_F16, BS_PRECISIONS };
/* "f32", "bf16", "f16". */
const char *bs_precision_name(enum bs_precision p);

struct bs_device_options {
    int threads;         /* 0: what affinity and cgroup allow */
    bool allow_winograd; /* false: direct convolutions only (exactness tests) */
    const char *isa;     /* of the CPU's own kernels: "base", "avx2", "avx512" (tests); NULL: the best one */
    int ordinal;         /* of a GPU; "cuda:N" sets it */
    bool allow_tf32;     /* float32 products of a GPU may round their factors to 10 bits */
};

struct bs_device_info {
    char name[96]; /* e.g. "CPU, AMD EPYC" */
    char backend[16];
    char libraries[128]; /* e.g. "oneDNN 2.6.3 (Winograd)" */
    char isa[64];        /* e.g. "avx512_bf16", "sm_90" */
    int threads;
    bool fast_bf16;   /* hardware multiplies bf16 */
    size_t memory;    /* bytes of the device's own memory; 0: it computes in the host's */
    char notice[256]; /* why "auto" took no better device, or what this one lacks; empty: nothing to say */
};

struct bs_device;
struct bs_executable;

/* spec: "ref", "cpu", "cuda" or "cuda:N" (the Nth that CUDA_VISIBLE_DEVICES leaves), or "auto" (the best one that opens).
   BS_EUNSUPPORTED names what is available, or what a GPU lacks. */
bs_status bs_device_open(const char *spec, const struct bs_device_options *opt, struct bs_device **out,
                         struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. Executables must be gone. */
void bs_device_close(struct bs_device *dev);
void bs_device_describe(const struct bs_device *dev, struct bs_device_info *info);
/* Bytes that could be allocated for arenas now: the device's own memory, or bs_machine_memory_available. SIZE_MAX: not known. */
size_t bs_device_memory_available(const struct bs_device *dev);
/* Has the device failed for good? Only a new process gets it back. */
bool bs_device_is_lost(const struct bs_device *dev);

/* Compiles; the graph is not needed afterwards, params gets a reference. */
bs_status bs_executable_create(struct bs_device *dev, const struct bs_graph *g, struct bs_params *params,
                               enum bs_precision precision, struct bs_executable **out,
                               struct bs_err *err) BS_NODISCARD;
void bs_executable_destroy(struct bs_executable *exe);

/* Bytes of the arena (workspace included, shared packed weights not). */
size_t bs_executable_arena_bytes(const struct bs_executable *exe);
/* Bytes of it that are allocated now: none before the first run and after a trim. */
size_t bs_executable_held_bytes(const struct bs_executable *exe);
/* Algorithms chosen, for provenance: hash of the plan and a readable summary. */
uint64_t bs_executable_plan_hash(const struct bs_executable *exe);
const char *bs_executable_algorithms(const struct bs_executable *exe);
/* Frees the arena until the next run. */
void bs_executable_trim(struct bs_executable *exe);

/* Runs: inputs in the order of the graph's INPUT nodes, outputs in the order of its outputs, all f32 C order with the
   compiled shapes. Looks at cancel (may be NULL) between steps: BS_ECANCELLED; there it yields, too, on a backend that
   computes in the caller's thread. */
bs_status bs_executable_run(struct bs_executable *exe, const struct bs_tensor *inputs, int ninput,
                            struct bs_tensor *outputs, int noutput, const struct bs_cancel *cancel,
                            struct bs_err *err) BS_NODISCARD;

/* What a caller does while a device of its own computes, and what may be copied to and from the device beside that. Runs of one
   executable after the other, with no other of the device between them, may overlap so: */
struct bs_meanwhile {
    void *ctx;
    void (*call)(void *ctx);
    bool
        next; /* call fills the inputs' memory with the next run's inputs, which may be copied from then on */
    bool ahead; /* the inputs are those that the last run's call left, unchanged */
    bool
        leave; /* outputs need not be filled when the run ends: that is done for `late` of the next one, or by collect */
    struct bs_tensor
        *late; /* outputs of the last run, which left them: filled before call; NULL: it left none */
};
/* The same, with a call as soon as the inputs were taken (their memory may be filled anew then), on a backend that computes
   in the caller's thread after the run. It must not use the device. A run that fails may not have called, and leaves nothing.
   meanwhile may be NULL. The outputs of a run that leaves them are in use until they are filled: the next run needs others. */
bs_status bs_executable_run_while(struct bs_executable *exe, const struct bs_tensor *inputs, int ninput,
                                  struct bs_tensor *outputs, int noutput,
                                  const struct bs_meanwhile *meanwhile, const struct bs_cancel *cancel,
                                  struct bs_err *err) BS_NODISCARD;
/* Does leaving outputs gain anything? Only where the device computes beside the caller. */
bool bs_executable_overlaps(const struct bs_executable *exe);
/* Fills the outputs that the last run left; the same tensors as that run was given. Nothing to do on a backend that filled them at
   once. */
bs_status bs_executable_collect(struct bs_executable *exe, struct bs_tensor *outputs, int noutput,
                                struct bs_err *err) BS_NODISCARD;

#endif
