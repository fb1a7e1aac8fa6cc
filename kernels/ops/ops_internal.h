/* What the operator files of this folder share: their table entries and the checks that word shape errors alike. */
#ifndef BS_KERNELS_OPS_OPS_INTERNAL_H
#define BS_KERNELS_OPS_OPS_INTERNAL_H

#include "kernels/op.h"

extern const struct bs_op_def bs__op_input, bs__op_param;
extern const struct bs_op_def bs__op_conv2d, bs__op_conv2d_grad_x, bs__op_conv2d_grad_w;
extern const struct bs_op_def bs__op_conv_transpose2d;
extern const struct bs_op_def bs__op_instance_norm, bs__op_instance_norm_grad;
extern const struct bs_op_def bs__op_group_norm, bs__op_batch_norm;
extern const struct bs_op_def bs__op_relu, bs__op_relu_grad, bs__op_sigmoid, bs__op_sigmoid_grad;
extern const struct bs_op_def bs__op_gelu;
extern const struct bs_op_def bs__op_add, bs__op_mul, bs__op_scale;
extern const struct bs_op_def bs__op_max_pool2d, bs__op_max_pool2d_grad;
extern const struct bs_op_def bs__op_resize_bilinear, bs__op_resize_bilinear_grad;
extern const struct bs_op_def bs__op_concat, bs__op_slice_channel, bs__op_sum_to_channel;
extern const struct bs_op_def bs__op_rms_norm, bs__op_silu, bs__op_rotary, bs__op_add_position;
extern const struct bs_op_def bs__op_insert_token, bs__op_slice_tokens, bs__op_slice_last;
extern const struct bs_op_def bs__op_causal_conv1d, bs__op_selective_scan;
extern const struct bs_op_def bs__op_tokens_from_image, bs__op_image_from_tokens;
extern const struct bs_op_def bs__op_linear, bs__op_layer_norm, bs__op_attention;
extern const struct bs_op_def bs__op_crop, bs__op_batch_norm_train, bs__op_batch_statistics;
extern const struct bs_op_def bs__op_dice_loss, bs__op_bce_loss, bs__op_mse_loss;
extern const struct bs_op_def bs__op_gelu_grad, bs__op_silu_grad, bs__op_slice_grad;
extern const struct bs_op_def bs__op_insert_token_grad;
extern const struct bs_op_def bs__op_linear_grad_x, bs__op_linear_grad_w, bs__op_sum_to_feature;
extern const struct bs_op_def bs__op_layer_norm_grad, bs__op_rms_norm_grad, bs__op_group_norm_grad;
extern const struct bs_op_def bs__op_batch_norm_grad, bs__op_batch_norm_train_grad;
extern const struct bs_op_def bs__op_add_position_grad, bs__op_rotary_grad, bs__op_causal_conv1d_grad_w;
extern const struct bs_op_def bs__op_attention_lse, bs__op_attention_grad, bs__op_selective_scan_grad;
extern const struct bs_op_def bs__op_dice_loss_grad, bs__op_bce_loss_grad, bs__op_mse_loss_grad;

/* Dimensions of an image tensor (N, C, H, W), for readable loops. */
struct bs__image {
    int64_t n, c, h, w;
};
static inline struct bs__image bs__image(const struct bs_shape *s)
{
    return (struct bs__image){s->dim[0], s->dim[1], s->dim[2], s->dim[3]};
}

/* Mean and 1 / sqrt(var + eps) of neighbouring values, var biased; sums in double. */
struct bs__moments {
    double mean, inverse_deviation;
};
struct bs__moments bs__moments(const float *x, int64_t count, double eps);

/* "conv2d: weight is 3x3; 4 dimensions (Co,Ci,kh,kw) are accepted" */
bs_status bs__need_rank(const char *op, const char *what, const struct bs_shape *s, int rank,
                        const char *axes, struct bs_err *err) BS_NODISCARD;
/* rank 4 (N,C,H,W) */
bs_status bs__need_image(const char *op, const char *what, const struct bs_shape *s,
                         struct bs_err *err) BS_NODISCARD;
/* A vector with one value per channel of x. */
bs_status bs__need_per_channel(const char *op, const char *what, const struct bs_shape *s,
                               const struct bs_shape *x, struct bs_err *err) BS_NODISCARD;
/* A vector with one value per feature of x, its last axis. */
bs_status bs__need_per_feature(const char *op, const char *what, const struct bs_shape *s,
                               const struct bs_shape *x, struct bs_err *err) BS_NODISCARD;
/* rank 3 (N,L,D) */
bs_status bs__need_tokens(const char *op, const char *what, const struct bs_shape *s,
                          struct bs_err *err) BS_NODISCARD;
/* The attributes out_h and out_w are a grid of the tokens of x (N,L,D). */
bs_status bs__need_grid(const char *op, const struct bs_attr *attr, const struct bs_shape *x,
                        struct bs_err *err) BS_NODISCARD;
bs_status bs__need_equal(const char *op, const char *what_a, const struct bs_shape *a, const char *what_b,
                         const struct bs_shape *b, struct bs_err *err) BS_NODISCARD;
/* The attribute which names one of the inputs 0 to last. */
bs_status bs__need_which(const char *op, const struct bs_attr *attr, int last,
                         struct bs_err *err) BS_NODISCARD;
/* The siblings of a backward operator over `in`, for which = 0 to count-1, into gin. */
void bs__emit_siblings(struct bs_graph *g, enum bs_op op, const bs_value *in, int ninput, struct bs_attr attr,
                       int count, bs_value *gin);
/* The gradient of [start, start + length of gy) of an axis of a value of this shape. */
bs_value bs__emit_slice_grad(struct bs_graph *g, bs_value gy, int axis, int64_t start,
                             const struct bs_shape *shape);
/* An attribute between lo and BS_MAX_ATTRIBUTE. */
bs_status bs__need_attribute(const char *op, const char *what, int value, int lo,
                             struct bs_err *err) BS_NODISCARD;
/* eps is finite and above 0. */
bs_status bs__need_eps(const char *op, float eps, struct bs_err *err) BS_NODISCARD;

/* The inputs of a selective scan (selective_scan.c); out becomes its output's shape. */
bs_status bs__scan_infer(const char *op, const struct bs_shape *in, int ninput, struct bs_shape *out,
                         struct bs_err *err) BS_NODISCARD;

/* Shapes of the gradient of a norm over the last axis: x, weight (C), gy; of x or of the weight (attribute which). */
bs_status bs__infer_row_norm_grad(const char *op, const struct bs_attr *attr, const struct bs_shape *in,
                                  struct bs_shape *out, struct bs_err *err) BS_NODISCARD;

#endif
