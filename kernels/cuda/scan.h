/* Selective scan as BS_OP_SELECTIVE_SCAN in kernels/graph.h says, of one direction or of both directions of a bidirectional mixer
   at once:
     y = scale silu(z) sum over directions of (sum_s h C + skip u),  h = exp(-exp(a_log) dt) h + dt u B,
     dt = softplus(delta + delta_bias)
   Elements are of one type; states, sums and exponentials are float. Nothing of size tokens x features x states is ever stored.
   Two directions are added without atomics: what one of them gives to a token waits in y, in y's element type, until the other
   comes by. So y must not be the memory of an input. All sums have one order: the same inputs on the same kind of device
   give the same bits. Executor thread only. */
#ifndef BS_KERNELS_CUDA_SCAN_H
#define BS_KERNELS_CUDA_SCAN_H

#include "kernels/cuda/views.h"

#define BS__SCAN_STATES   256 /* states at most, as in the operator */
#define BS__SCAN_FEATURES 8   /* features of one block */
#define BS__SCAN_TOKENS   8   /* tokens of one thread at a time */
#define BS__SCAN_THREADS  512 /* of one block at most */
#define BS__SCAN_SEGMENTS 64  /* at most */

struct bs__scan_direction {
    struct bs__rows u, delta; /* (samples * length, features) */
    struct bs__rows b, c;     /* (samples * length, states); slices of wider rows as they are */
    bs_address a_log;         /* (features, states) float */
    bs_address skip;          /* (features) float; 0: zeros */
    bs_address delta_bias;    /* (features) float; 0: zeros */
    int32_t reverse;          /* not 0: from the last token to the first */
    int32_t in_fours;         /* set by the launch: b and c may be read four states at a time */
};

/* What the kernels get. The launch sets everything below `scale`. */
struct bs__scan {
    struct bs__scan_direction direction[2];
    struct bs__rows z; /* (samples * length, features); at 0: no gate */
    struct bs__rows y; /* (samples * length, features) */
    /* For the backward (scan_grad.h), both 0 otherwise: with gy the ungated sum is not written to y; gz = gy scale sum silu'(z) is,
       in y's place, and `starts` receives the states before each chunk. */
    struct bs__rows gy;
    bs_address starts;
    int64_t samples, length;
    int32_t features, states;
    int32_t directions; /* 1 or 2 */
    int32_t softplus;   /* 0: dt = delta + delta_bias */
    float scale;
    int32_t segments; /* pieces of the sequence that different blocks walk */
    int64_t segment;  /* tokens of each but the last */
    int32_t turn; /* of the two turns of a pair of directions; -1: a block takes all directions by turns */
    int32_t padding;
    bs_address ends;  /* (samples, directions, segments, features, states) float: the state after a segment */
    bs_address steps; /* (samples, directions, segments, features) float: the sum of dt over a segment */
};

/* How a scan is cut, from its sizes and the device alone (scan.c says by which model). 0 where to be chosen. */
struct bs__scan_cut {
    int segments; /* 1: whole; 2 or more: a launch that sums segments up comes first, with exponentials of its own */
    int threads; /* of a block, a multiple of 32 */
    bool
        turns; /* two opposite directions at once, each half a sequence in a first launch and the other half in a second;
                     segments is 2 then, and no exponential is taken twice */
};
/* Fills what is 0 in *cut (turns counts as given where segments is), and takes as many segments as have tokens. BS_ELIMIT where
   no block fits the shared memory of the device. */
bs_status bs__cuda_scan_cut(const struct bs__cuda_limits *device, const struct bs__scan *s,
                            struct bs__scan_cut *cut, struct bs_err *err) BS_NODISCARD;

/* Bytes of workspace, 16-byte aligned; 0 for a scan that is not cut. */
size_t bs__cuda_scan_workspace(const struct bs__cuda_limits *device, const struct bs__scan *s);
/* cut NULL: chosen; else taken as it is (tests), and `workspace` holds bs__scan_cut_workspace bytes. */
size_t bs__scan_cut_workspace(const struct bs__scan *s, const struct bs__scan_cut *cut);
bs_status bs__cuda_scan(struct bs__queue *q, enum bs__element e, const struct bs__scan *s,
                        const struct bs__scan_cut *cut, bs_address workspace,
                        struct bs_err *err) BS_NODISCARD;

/* What scan_grad.c shares: are sizes and inputs those of a scan; and may B and C be read four at a time. */
bs_status bs__need_scan(const struct bs__scan *s, struct bs_err *err) BS_NODISCARD;
void bs__scan_set_in_fours(struct bs__scan *s, enum bs__element e);

#endif
