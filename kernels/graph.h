/* The whole contract between networks and hardware: SSA values over a small, closed set of operators.
   A network (model/arch) builds a logical graph; kernels/grad.c can extend it by its backward; a backend lowers it.
   A graph owns its nodes and names; it belongs to one thread while it is built and is immutable after bs_graph_finish.

   Building never fails call by call: the first error sticks to the graph, later calls return BS_NO_VALUE, and
   bs_graph_finish reports it. So a network reads like the paper. */
#ifndef BS_KERNELS_GRAPH_H
#define BS_KERNELS_GRAPH_H

#include "kernels/tensor.h"

typedef int32_t bs_value; /* index of the node that makes it */
#define BS_NO_VALUE   ((bs_value)-1)
#define BS_MAX_INPUTS 9
/* Limits of one graph; BS_ELIMIT beyond. (BS_MAX_ELEMENTS of tensor.h holds for every value.) */
#define BS_MAX_NODES     65536
#define BS_MAX_OUTPUTS   4096 /* a training step hands out a gradient for every parameter */
#define BS_MAX_ATTRIBUTE 4096 /* stride, pad, kernel */

enum bs_op {
    BS_OP_INPUT,            /* bound at run time, by name */
    BS_OP_PARAM,            /* bound from a bs_params set, by name (a state_dict key) */
    BS_OP_CONV2D,           /* x (N,Ci,H,W), w (Co,Ci,kh,kw), b (Co) or none; stride, pad */
    BS_OP_CONV_TRANSPOSE2D, /* x (N,Ci,H,W), w (Ci,Co,k,k), b (Co) or none; stride = k, no padding */
    BS_OP_INSTANCE_NORM,    /* x; eps. Per sample and channel, biased variance, no affine part */
    BS_OP_GROUP_NORM,       /* x, w (C), b (C); groups, eps */
    BS_OP_BATCH_NORM,       /* x, w, b, running mean, running var (all (C)); eps. Evaluation mode */
    BS_OP_RELU,
    BS_OP_SIGMOID,
    BS_OP_MAX_POOL2D,      /* x; kernel = stride */
    BS_OP_RESIZE_BILINEAR, /* x; out_h, out_w; half-pixel centres (align_corners=False), no antialias */
    BS_OP_CONCAT,          /* two tensors along the channel axis */
    BS_OP_ADD,             /* same shape */
    BS_OP_MUL,             /* same shape */
    /* Tokens are (N, L, D): N sequences of L tokens with D features; "last axis" operators take any shape. */
    BS_OP_TOKENS_FROM_IMAGE, /* x (N,C,H,W) -> (N,H*W,C), row by row */
    BS_OP_IMAGE_FROM_TOKENS, /* x (N,L,C); out_h * out_w = L -> (N,C,out_h,out_w) */
    BS_OP_LINEAR,            /* x (...,I), w (O,I), b (O) or none -> (...,O) */
    BS_OP_LAYER_NORM,        /* x (...,C), w (C), b (C); eps. Over the last axis, biased variance */
    BS_OP_RMS_NORM,          /* x (...,C), w (C); eps. x / sqrt(mean(x^2) + eps) * w over the last axis */
    BS_OP_GELU,              /* exact: x/2 (1 + erf(x / sqrt 2)) */
    BS_OP_SILU,              /* x / (1 + exp(-x)) */
    BS_OP_SCALE,             /* x; factor */
    BS_OP_SLICE_LAST,        /* x (...,C); features [start, start+count) */
    BS_OP_SLICE_TOKENS,      /* x (N,L,D); tokens [start, start+count) */
    BS_OP_INSERT_TOKEN,      /* x (N,L,D), token (1,1,D); before token `start` (L: at the end) -> (N,L+1,D) */
    BS_OP_ADD_POSITION, /* x (N,L,D), p (1,P,D) or (1,H,W,D); out_h, out_w (grid of the tokens), start (index of the
                                class token, -1: none). P tokens = L: added as they are. Otherwise p without its class
                                token is a square grid and is resampled to the tokens' grid: bicubic (a = -0.75),
                                half-pixel centres, no antialias, border pixels repeated */
    BS_OP_ROTARY, /* x (N,L,D), cos (M,D), sin (M,D), M <= L: the last M tokens t become t cos + t' sin with
                                t'[2i] = -t[2i+1], t'[2i+1] = t[2i]; the first L-M tokens pass */
    BS_OP_ATTENTION, /* qkv (N,L,3*heads*d) as (3, heads, d) per token, pad (3*heads*d), rel_h (A,d), rel_w (B,d), or
                                the first one or two of them only (no pad: zeros); heads, out_h * out_w = L (grid), kernel (window side, 0: global)
                                -> (N,L,heads*d). softmax(q k / sqrt d + q rel_h[y - y' + h-1] + q rel_w[x - x' + w-1]) v,
                                h x w the grid or the window. Windows that stick out on the right and below are filled with
                                tokens whose q, k and v are `pad` (the bias of the projection that made qkv) and that take
                                part. A table of another length than 2h-1 (2w-1) is resampled linearly (half-pixel centres) */
    BS_OP_CAUSAL_CONV1D, /* x (N,L,D), w (D,1,K), b (D) or none; reverse. y[t] = b + sum_k w[k] x[t-K+1+k], zero before
                                the first token; reverse: the sequence runs from its last token to its first */
    BS_OP_SELECTIVE_SCAN, /* u (N,L,D), delta (N,L,D), a_log (D,S), B (N,L,S), C (N,L,S), skip (D), delta_bias (D), z
                                (N,L,D) or none; reverse, softplus. Per feature: dt = softplus(delta + delta_bias),
                                h = exp(-exp(a_log) dt) h + dt u B, y = (sum_s h C + skip u) silu(z), h = 0 before the
                                first token. softplus as torch's (the identity above 20); attribute softplus false:
                                dt = delta + delta_bias */
    BS_OP_CROP,           /* x (N,C,H,W); out_h, out_w: the top left corner */
    BS_OP_BATCH_NORM_TRAIN, /* x, w (C), b (C); eps. Training mode: mean and biased variance of this batch */
    BS_OP_BATCH_STATISTICS, /* x (N,C,H,W) -> (2,C): mean and UNBIASED variance of each channel over samples and pixels,
                                what running statistics are made from. No gradient */
    /* Losses: p and t of one shape -> (1). Sums in double. */
    BS_OP_DICE_LOSS, /* p, t (N,C,H,W); groups, eps. Channels are split into groups of neighbours (C: each for itself, 1: all
                        together); sum over groups of 1 - 2 sum(p t) / max(sum(p^2) + sum(t^2), eps) */
    BS_OP_BCE_LOSS, /* p in [0,1], t: mean of -(t log p + (1-t) log(1-p)), logarithms at least -100. None for t */
    BS_OP_MSE_LOSS, /* mean of (p - t)^2 */
    /* Backward operators; grad.c emits them. gy is the gradient of the forward output.
       An operator makes one value. Where the gradients of several inputs share their work, there is one backward operator
       with the attribute `which`, the index of the forward input whose gradient it makes: siblings, which differ in `which`
       only. Rules emit siblings next to each other over the same inputs, so that a backend which computes them together
       recognises a run of siblings and makes one step of it, while gradients that nobody wants stay dead values. `ref`
       computes each for itself. Inputs named again below have the shapes and attributes of the forward operator.
       Not differentiated: running statistics of batch_norm, tables of rotary, target of bce_loss. */
    BS_OP_CONV2D_GRAD_X,        /* gy, w; stride, pad -> shape of x (attribute shape) */
    BS_OP_CONV2D_GRAD_W,        /* x, gy; stride, pad -> shape of w (attribute shape) */
    BS_OP_SUM_TO_CHANNEL,       /* gy (N,C,H,W) -> (C): gradient of a bias */
    BS_OP_RELU_GRAD,            /* y, gy */
    BS_OP_SIGMOID_GRAD,         /* y, gy */
    BS_OP_INSTANCE_NORM_GRAD,   /* x, gy; eps */
    BS_OP_SLICE_CHANNEL,        /* x; channels [start, start+count): gradient of concat */
    BS_OP_MAX_POOL2D_GRAD,      /* x, gy; kernel. The first largest pixel of a window takes it all */
    BS_OP_RESIZE_BILINEAR_GRAD, /* gy -> shape of x (attribute shape) */
    BS_OP_GELU_GRAD,            /* x, gy: gy (Phi(x) + x phi(x)), the normal distribution and its density */
    BS_OP_SILU_GRAD,            /* x, gy: gy s (1 + x (1 - s)), s = 1 / (1 + exp(-x)) */
    BS_OP_SLICE_GRAD, /* gy; axis, start -> attribute shape: gy at [start, start + its length) of the axis, zeros elsewhere.
                          Of slice_channel, slice_last, slice_tokens and, twice, of crop */
    BS_OP_INSERT_TOKEN_GRAD, /* gy; start, which. 0: gy without token start; 1: that token summed over samples (1,1,D) */
    BS_OP_LINEAR_GRAD_X,         /* gy (...,O), w (O,I) -> (...,I): sum_o gy w */
    BS_OP_LINEAR_GRAD_W,         /* x (...,I), gy (...,O) -> (O,I): sum over rows of gy x */
    BS_OP_SUM_TO_FEATURE,        /* gy (...,C) -> (C): gradient of a bias */
    BS_OP_LAYER_NORM_GRAD,       /* x, w, gy; eps, which 0 (x) or 1 (w) */
    BS_OP_RMS_NORM_GRAD,         /* x, w, gy; eps, which 0 (x) or 1 (w) */
    BS_OP_GROUP_NORM_GRAD,       /* x, w, gy; groups, eps, which 0 (x) or 1 (w) */
    BS_OP_BATCH_NORM_GRAD,       /* x, w, mean, var, gy; eps, which 0 (x) or 1 (w). Evaluation mode */
    BS_OP_BATCH_NORM_TRAIN_GRAD, /* x, w, gy; eps, which 0 (x) or 1 (w) */
    BS_OP_ADD_POSITION_GRAD, /* gy; out_h, out_w, start -> attribute shape, that of p: sum over samples, back through the
                                resampling */
    BS_OP_ROTARY_GRAD, /* gy, cos, sin: the rotation transposed */
    BS_OP_CAUSAL_CONV1D_GRAD_W, /* x, gy; reverse -> attribute shape (D,1,K). (Of x: causal_conv1d the other way round) */
    BS_OP_ATTENTION_LSE, /* the inputs and attributes of attention -> (N,L,heads): log of the sum of exp(logit). What the
                             backward needs of the forward; a backend makes it together with the forward */
    BS_OP_ATTENTION_GRAD, /* y, lse, gy, then the inputs of attention; its attributes, which. With P = exp(logit - lse) and
                             dS = P (gy v - sum_heads' features gy y): v gets P gy, q and k get dS through the logit */
    BS_OP_SELECTIVE_SCAN_GRAD, /* u, delta, a_log, B, C, skip, delta_bias, gy, z or none; reverse, softplus, which (7: z) */
    BS_OP_DICE_LOSS_GRAD, /* p, t, gy (1); groups, eps: gradient of p. (Of t: with p and t exchanged) */
    BS_OP_BCE_LOSS_GRAD,  /* p, t, gy (1): gy (p - t) / max(p (1-p), 1e-12) / count */
    BS_OP_MSE_LOSS_GRAD,  /* p, t, gy (1): gy 2 (p - t) / count. (Of t: with p and t exchanged) */
    BS_OP_COUNT
};

/* Attributes; an operator reads only those its comment above names. */
struct bs_attr {
    int stride, pad, kernel, groups;
    int64_t out_h, out_w;
    int64_t start, count;
    int heads;
    int which, axis;
    bool reverse, softplus;
    float eps, factor;
    struct bs_shape shape;
};

struct bs_node {
    enum bs_op op;
    int ninput;
    bs_value input[BS_MAX_INPUTS];
    struct bs_attr attr;
    struct bs_shape shape; /* of the value it makes; element type is the precision chosen at compile time */
    const char *name; /* INPUT, PARAM: binding name; others: NULL or a debugging label. Owned by the graph */
    bool full;        /* float32 whatever the precision; what the backward makes of it, too */
};

struct bs_graph;

/* NULL when memory ran out. */
struct bs_graph *bs_graph_create(void);
/* Accepts NULL. */
void bs_graph_destroy(struct bs_graph *g);

bs_value bs_graph_input(struct bs_graph *g, const char *name, struct bs_shape shape);
/* The same name twice yields the same value; another shape under a known name is an error (for inputs: any repetition). */
bs_value bs_graph_param(struct bs_graph *g, const char *name, struct bs_shape shape);
bs_value bs_graph_conv2d(struct bs_graph *g, bs_value x, bs_value w, bs_value b, int stride, int pad);
bs_value bs_graph_conv_transpose2d(struct bs_graph *g, bs_value x, bs_value w, bs_value b, int stride);
bs_value bs_graph_instance_norm(struct bs_graph *g, bs_value x, float eps);
bs_value bs_graph_group_norm(struct bs_graph *g, bs_value x, bs_value w, bs_value b, int groups, float eps);
bs_value bs_graph_batch_norm(struct bs_graph *g, bs_value x, bs_value w, bs_value b, bs_value mean,
                             bs_value var, float eps);
bs_value bs_graph_relu(struct bs_graph *g, bs_value x);
bs_value bs_graph_sigmoid(struct bs_graph *g, bs_value x);
bs_value bs_graph_max_pool2d(struct bs_graph *g, bs_value x, int kernel);
bs_value bs_graph_resize_bilinear(struct bs_graph *g, bs_value x, int64_t out_h, int64_t out_w);
bs_value bs_graph_concat(struct bs_graph *g, bs_value a, bs_value b);
bs_value bs_graph_add(struct bs_graph *g, bs_value a, bs_value b);
bs_value bs_graph_mul(struct bs_graph *g, bs_value a, bs_value b);
bs_value bs_graph_tokens_from_image(struct bs_graph *g, bs_value x);
bs_value bs_graph_image_from_tokens(struct bs_graph *g, bs_value x, int64_t h, int64_t w);
bs_value bs_graph_linear(struct bs_graph *g, bs_value x, bs_value w, bs_value b);
bs_value bs_graph_layer_norm(struct bs_graph *g, bs_value x, bs_value w, bs_value b, float eps);
bs_value bs_graph_rms_norm(struct bs_graph *g, bs_value x, bs_value w, float eps);
bs_value bs_graph_gelu(struct bs_graph *g, bs_value x);
bs_value bs_graph_silu(struct bs_graph *g, bs_value x);
bs_value bs_graph_scale(struct bs_graph *g, bs_value x, float factor);
bs_value bs_graph_slice_channel(struct bs_graph *g, bs_value x, int64_t start, int64_t count);
bs_value bs_graph_slice_last(struct bs_graph *g, bs_value x, int64_t start, int64_t count);
bs_value bs_graph_slice_tokens(struct bs_graph *g, bs_value x, int64_t start, int64_t count);
bs_value bs_graph_insert_token(struct bs_graph *g, bs_value x, bs_value token, int64_t at);
bs_value bs_graph_add_position(struct bs_graph *g, bs_value x, bs_value position, int64_t grid_h,
                               int64_t grid_w, int64_t class_token);
bs_value bs_graph_rotary(struct bs_graph *g, bs_value x, bs_value cosine, bs_value sine);
/* rel_h, rel_w: both or neither. window 0: global. */
bs_value bs_graph_attention(struct bs_graph *g, bs_value qkv, bs_value pad, bs_value rel_h, bs_value rel_w,
                            int heads, int64_t grid_h, int64_t grid_w, int window);
bs_value bs_graph_causal_conv1d(struct bs_graph *g, bs_value x, bs_value w, bs_value b, bool reverse);

/* The inputs of a selective scan, by their names in BS_OP_SELECTIVE_SCAN; z may be BS_NO_VALUE. */
struct bs_scan_inputs {
    bs_value u, delta, a_log, b, c, skip, delta_bias, z;
};
bs_value bs_graph_selective_scan(struct bs_graph *g, const struct bs_scan_inputs *in, bool reverse);
bs_value bs_graph_crop(struct bs_graph *g, bs_value x, int64_t h, int64_t w);
bs_value bs_graph_batch_norm_train(struct bs_graph *g, bs_value x, bs_value w, bs_value b, float eps);
bs_value bs_graph_batch_statistics(struct bs_graph *g, bs_value x);
bs_value bs_graph_dice_loss(struct bs_graph *g, bs_value p, bs_value t, int groups, float eps);
bs_value bs_graph_bce_loss(struct bs_graph *g, bs_value p, bs_value t);
bs_value bs_graph_mse_loss(struct bs_graph *g, bs_value p, bs_value t);
/* Any operator by table; what the functions above and grad.c are made of. */
bs_value bs_graph_apply(struct bs_graph *g, enum bs_op op, const bs_value *inputs, int ninput,
                        struct bs_attr attr);

/* Nodes made from here on are full, or not any more (losses and what they are made from). */
void bs_graph_full(struct bs_graph *g, bool full);

/* Marks a value as an output under a name, in order of the calls. */
void bs_graph_output(struct bs_graph *g, const char *name, bs_value v);

/* Ends building: reports the first error of any call above, or that there is no output. */
bs_status bs_graph_finish(struct bs_graph *g, struct bs_err *err) BS_NODISCARD;

/* Reading a graph. A node's address stays valid while the graph lives. */
int bs_graph_node_count(const struct bs_graph *g);
const struct bs_node *bs_graph_node(const struct bs_graph *g, bs_value v);
int bs_graph_output_count(const struct bs_graph *g);
bs_value bs_graph_output_value(const struct bs_graph *g, int i);
const char *bs_graph_output_name(const struct bs_graph *g, int i);
/* After bs_graph_finish: does an output need this value? Backends make no steps
   for dead values; INPUT nodes stay part of the signature even when dead. */
bool bs_graph_is_live(const struct bs_graph *g, bs_value v);
/* Multiply-adds counted as two; convolutions, linear operators, attention and scans only; dead values not counted once
   finished. */
double bs_graph_flops(const struct bs_graph *g);

/* Mixed precision: narrow[v] says of each value whether a precision of 16 bits stores it with 16 bits. A graph without full nodes
   (one that predicts): all of them. One with: activations, their gradients and weights as they are read; float32 are full nodes,
   outputs, everything of one dimension, gradients of weights, batch statistics, the sums of attention and the exponents of scans'
   decays. Sums inside operators are never narrow. Parameters: what is rounded when it is bound. */
void bs_graph_narrow(const struct bs_graph *g, bool *narrow);

/* For grad.c and the rules in ops/: has building failed already? */
bool bs_graph_failed(const struct bs_graph *g);
/* Reports the first error so far; BS_OK when there is none. */
bs_status bs_graph_error(const struct bs_graph *g, struct bs_err *err) BS_NODISCARD;

/* Extends an unfinished graph by the backward of loss-like value y (gradient seed gy of the same shape, usually an
   INPUT): grads[i] becomes the gradient with respect to wrt[i], BS_NO_VALUE where y does not depend on it.
   BS_EUNSUPPORTED names an operator on the path without a backward rule. (grad.c) */
bs_status bs_graph_backward(struct bs_graph *g, bs_value y, bs_value gy, const bs_value *wrt, int nwrt,
                            bs_value *grads, struct bs_err *err) BS_NODISCARD;

#endif
