/* The table of operators; see op.h. */
#include "kernels/ops/ops_internal.h"

const struct bs_op_def *bs_op_def(enum bs_op op)
{
    static const struct bs_op_def *const table[BS_OP_COUNT] = {
        [BS_OP_INPUT] = &bs__op_input,
        [BS_OP_PARAM] = &bs__op_param,
        [BS_OP_CONV2D] = &bs__op_conv2d,
        [BS_OP_CONV_TRANSPOSE2D] = &bs__op_conv_transpose2d,
        [BS_OP_INSTANCE_NORM] = &bs__op_instance_norm,
        [BS_OP_GROUP_NORM] = &bs__op_group_norm,
        [BS_OP_BATCH_NORM] = &bs__op_batch_norm,
        [BS_OP_RELU] = &bs__op_relu,
        [BS_OP_SIGMOID] = &bs__op_sigmoid,
        [BS_OP_MAX_POOL2D] = &bs__op_max_pool2d,
        [BS_OP_RESIZE_BILINEAR] = &bs__op_resize_bilinear,
        [BS_OP_CONCAT] = &bs__op_concat,
        [BS_OP_ADD] = &bs__op_add,
        [BS_OP_MUL] = &bs__op_mul,
        [BS_OP_TOKENS_FROM_IMAGE] = &bs__op_tokens_from_image,
        [BS_OP_IMAGE_FROM_TOKENS] = &bs__op_image_from_tokens,
        [BS_OP_LINEAR] = &bs__op_linear,
        [BS_OP_LAYER_NORM] = &bs__op_layer_norm,
        [BS_OP_GELU] = &bs__op_gelu,
        [BS_OP_SCALE] = &bs__op_scale,
        [BS_OP_ATTENTION] = &bs__op_attention,
        [BS_OP_RMS_NORM] = &bs__op_rms_norm,
        [BS_OP_SILU] = &bs__op_silu,
        [BS_OP_SLICE_LAST] = &bs__op_slice_last,
        [BS_OP_SLICE_TOKENS] = &bs__op_slice_tokens,
        [BS_OP_INSERT_TOKEN] = &bs__op_insert_token,
        [BS_OP_ADD_POSITION] = &bs__op_add_position,
        [BS_OP_ROTARY] = &bs__op_rotary,
        [BS_OP_CAUSAL_CONV1D] = &bs__op_causal_conv1d,
        [BS_OP_SELECTIVE_SCAN] = &bs__op_selective_scan,
        [BS_OP_CONV2D_GRAD_X] = &bs__op_conv2d_grad_x,
        [BS_OP_CONV2D_GRAD_W] = &bs__op_conv2d_grad_w,
        [BS_OP_SUM_TO_CHANNEL] = &bs__op_sum_to_channel,
        [BS_OP_RELU_GRAD] = &bs__op_relu_grad,
        [BS_OP_SIGMOID_GRAD] = &bs__op_sigmoid_grad,
        [BS_OP_INSTANCE_NORM_GRAD] = &bs__op_instance_norm_grad,
        [BS_OP_SLICE_CHANNEL] = &bs__op_slice_channel,
        [BS_OP_MAX_POOL2D_GRAD] = &bs__op_max_pool2d_grad,
        [BS_OP_RESIZE_BILINEAR_GRAD] = &bs__op_resize_bilinear_grad,
    };
    BS_ASSERT((unsigned)op < BS_OP_COUNT);
    return table[op];
}
