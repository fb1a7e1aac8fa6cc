/* The token kernels of a state-space mixer: causal depthwise convolution and selective scan, forward. Tokens are rows: D
   features side by side, a constant distance from one token to the next, so halves of a wider projection are read in place.
   Vectors run over features, the states of one vector stay in registers, and time is walked in pieces that fit the first
   cache: nothing of size L x D x S is ever made. Packed weights are (block of lanes, M, lanes), padded with zeros.
   Rows are float32 or bf16 each; sums, states and exponentials are always float32. Task functions (struct bs__simd, fields
   conv1d and scan) have no shared state but the buffers they are given. */
#ifndef BS_KERNELS_CPU_SCAN_H
#define BS_KERNELS_CPU_SCAN_H

#include "kernels/cpu/simd.h"

/* Tokens that the scan handles at a time: three vectors of each and their rows of B and C stay in the first cache, and the rows
   asked for ahead, for all blocks of a task, in the second. */
#define BS__SCAN_PIECE 32

/* y[t] = bias + sum_k w[k] x[t-K+1+k], zero before the first token; reverse: the sequence runs from its last token to its
   first. Several directions read x once. A task is a run of tokens of one sample, all features: n * runs tasks. */
struct bs__conv1d {
    struct bs__rows src;
    int64_t n, length;
    int features, kernel, ndirection;
    bool silu;
    struct {
        const float *weights; /* packed, M = K */
        const float *bias;    /* padded to whole blocks; NULL: none */
        bool reverse;
        struct bs__rows dst;
    } direction[2];
    int64_t run, runs; /* tokens of a task, tasks of a sample */
};

/* One direction of a scan. The step size is given (delta), or made on the way from its low-rank form:
   delta = sum_r low[r] w[r]. */
struct bs__scan_direction {
    struct bs__rows u, delta, low, b, c; /* delta or low; the data of the other is NULL */
    const float *delta_weights;          /* packed, M = rank */
    const float *delta_bias, *skip;      /* padded to whole blocks; NULL: zeros */
    const float *a;                      /* packed, M = states; bs__scan_pack_a */
    bool reverse;
};

/* dst = scale silu(z) sum over directions of (sum_s h C + skip u); h = exp(A dt) h + dt u B, dt = softplus(delta + bias).
   A task is some blocks of features of one sample, all directions one after another, so that nothing is summed by two
   threads: n * groups tasks. Any `vectors` and any number of threads give the same bits. A first direction waits in dst. */
struct bs__scan {
    int64_t n, length;
    int features, states, rank, ndirection;
    struct bs__scan_direction direction[2];
    struct bs__rows z; /* data NULL: no gate */
    struct bs__rows dst;
    float scale;
    bool softplus;
    /* AVX-512: a step size and its rate meet inside the exponential, unrounded, one instruction less. Another last bit of the
       decays; the others ignore it. */
    bool fused;
    int vectors;    /* blocks of a task */
    int64_t groups; /* tasks of a sample: blocks / vectors, rounded up */
    float *scratch;
    size_t scratch_floats; /* of one worker; bs__scan_scratch */
};

/* The gradient of the convolution's weights: gw[k] = sum over t of gy[t] x[t-K+1+k] (reverse: x[t+K-1-k]). A task is a run of
   tokens of one sample, as the forward's; part (n * runs, packed M = K) waits to be merged in its order. */
struct bs__conv1d_grad {
    struct bs__rows x, gy;
    int64_t n, length;
    int features, kernel;
    bool reverse;
    float *part;
    int64_t run, runs;
};

/* The gradients of one direction of a scan (selective_scan_grad.c has the formulas): the states at every 8th token are
   computed first and wait in scratch memory; then pieces of 8 tokens go by from the end, their states made again from there.
   A task is some blocks of features of one sample. Float32 rows. What is summed over features or samples leaves as parts. */
struct bs__scan_grad {
    int64_t n, length;
    int features, states;
    bool reverse, softplus;
    struct bs__rows u, delta, b, c, gy, z; /* z data NULL: no gate */
    const float *a;                        /* packed; bs__scan_pack_a */
    const float *delta_bias, *skip;        /* padded to whole blocks */
    struct bs__rows gu, gdelta, gz;        /* data NULL: not wanted */
    float *gb, *gc;                        /* (n, groups, length, states) */
    float *ga;                             /* (n, packed M = states): sum of H dt e h, without the factor a */
    float *gskip, *gbias;                  /* (n, padded features) */
    int vectors;
    int64_t groups;
    float *scratch;
    size_t scratch_floats; /* of one worker; bs__scan_grad_split */
};

#define BS__SCAN_GRAD_PIECE 8 /* tokens: their states, decays and sums, 33 KiB, stay in the first cache */

/* Sets vectors, groups (from the shapes alone) and scratch_floats. */
void bs__scan_grad_split(const struct bs__simd *simd, struct bs__scan_grad *c);

/* Sets run and runs, vectors and groups, fused: enough tasks for the threads, pieces long enough for the caches. */
void bs__conv1d_split(struct bs__conv1d *c);
void bs__scan_split(const struct bs__simd *simd, int threads, struct bs__scan *c);
/* Floats of scratch that one worker needs; reads states, rank and vectors. */
size_t bs__scan_scratch(const struct bs__simd *simd, const struct bs__scan *c);

/* Floats of a packed (features, m) array, and packing one: convolution weights (D,1,K), step-size projection (D,R), with
   m = 1 also vectors. */
size_t bs__scan_packed(const struct bs__simd *simd, int features, int m);
void bs__scan_pack(const struct bs__simd *simd, const float *src, int features, int m, float *dst);
/* a_log (D,S) as the kernels want it: -exp(a_log) log2(e), packed. */
void bs__scan_pack_a(const struct bs__simd *simd, const float *a_log, int features, int states, float *dst);

#endif
