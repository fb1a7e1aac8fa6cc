/* Runs one graph on the reference backend and on the CPU backend (or a GPU) and compares every output. Parameters are seeded numbers
   scaled so that values keep their size from layer to layer. One thread. */
#ifndef BS_TESTS_UNIT_KERNELS_CPU_COMPARE_H
#define BS_TESTS_UNIT_KERNELS_CPU_COMPARE_H

#include "tests/unit/kernels/kernels_support.h"

/* A graph's parameters with values. */
struct filled {
    struct named_tensor list[256];
    struct named_tensors tensors;
    struct bs_params *params;
};
void fill_params(struct filled *f, const struct bs_graph *g, uint64_t seed);
void free_params(struct filled *f);

/* Largest and root mean square difference over all outputs, and the largest reference value. */
struct difference {
    double max, rms, largest;
};
struct how {
    bool winograd, bf16;
    int threads;
    double offset;      /* added to the input, to try norms far from zero */
    const char *isa;    /* NULL: the best one */
    bool edge;          /* the input is zero but for its first column */
    const char *device; /* NULL: "cpu" */
    bool f16;           /* on a GPU */
};
struct difference compare(const struct bs_graph *g, struct how how, uint64_t seed);

/* Runs on the CPU backend with given parameters; outputs get memory of their own. */
void run_cpu(const struct bs_graph *g, struct bs_params *params, struct how how, const struct bs_tensor *in,
             struct bs_tensor *out);

/* torch_em's U-Net in this library's operators: norm 'i', 'b', 'g' or 0; transposed: up-sampling by transposed
   convolution. */
struct bs_graph *small_unet(int64_t n, int in, int out, int features, int depth, int64_t h, int64_t w,
                            char norm, bool transposed, bool logits_too);

#endif
