/* How each operator is computed in graphs of training; see training.h. One line an operator. */
#include "kernels/cpu/training_operators.h"

#define OP(name)           .run = bs__train_##name
#define WITH_SCRATCH(name) .run = bs__train_##name, .scratch = bs__train_##name##_scratch
#define OF_IMAGE(name)     .run = bs__train_##name, .scratch = bs__train_image_scratch, IMAGES
#define ONLY               .only = true
#define SIBLINGS           .siblings = true
#define IMAGES             .layout = BS__BLOCKS

const struct bs__training_op *bs__training_op(enum bs_op op)
{
    static const struct bs__training_op table[BS_OP_COUNT] = {
        [BS_OP_CONV2D] = {WITH_SCRATCH(conv), .conv = true},
        [BS_OP_CONV_TRANSPOSE2D] = {WITH_SCRATCH(conv), .conv = true},
        [BS_OP_CONV2D_GRAD_X] = {WITH_SCRATCH(conv), .conv = true, ONLY},
        [BS_OP_CONV2D_GRAD_W] = {WITH_SCRATCH(conv), .conv = true, ONLY},

        [BS_OP_RELU] = {OP(elements), IMAGES},
        [BS_OP_RELU_GRAD] = {OF_IMAGE(elements), ONLY},
        [BS_OP_SIGMOID] = {OP(elements), IMAGES},
        [BS_OP_SIGMOID_GRAD] = {OP(elements), IMAGES, ONLY},
        [BS_OP_GELU] = {OP(elements), IMAGES},
        [BS_OP_GELU_GRAD] = {OP(elements), IMAGES, ONLY},
        [BS_OP_SILU] = {OP(elements), IMAGES},
        [BS_OP_SILU_GRAD] = {OP(elements), IMAGES, ONLY},
        [BS_OP_ADD] = {OP(elements), IMAGES},
        [BS_OP_MUL] = {OP(elements), IMAGES},
        [BS_OP_SCALE] = {OP(elements), IMAGES},

        [BS_OP_INSTANCE_NORM] = {OF_IMAGE(instance_norm)},
        [BS_OP_INSTANCE_NORM_GRAD] = {OF_IMAGE(instance_norm), ONLY},
        [BS_OP_MAX_POOL2D] = {OP(pool), IMAGES},
        [BS_OP_MAX_POOL2D_GRAD] = {OP(pool), IMAGES, ONLY},
        [BS_OP_RESIZE_BILINEAR] = {WITH_SCRATCH(resize), IMAGES},
        [BS_OP_RESIZE_BILINEAR_GRAD] = {WITH_SCRATCH(resize), IMAGES, ONLY},
        [BS_OP_CROP] = {OP(planes), ONLY},
        [BS_OP_SUM_TO_CHANNEL] = {OF_IMAGE(channels), ONLY},

        [BS_OP_CONCAT] = {OP(copy), IMAGES},
        [BS_OP_SLICE_CHANNEL] = {OP(copy), IMAGES},
        [BS_OP_SLICE_LAST] = {OP(copy)},
        [BS_OP_SLICE_TOKENS] = {OP(copy)},
        [BS_OP_SLICE_GRAD] = {OP(copy), IMAGES, ONLY},
        [BS_OP_INSERT_TOKEN] = {OP(copy)},
        [BS_OP_INSERT_TOKEN_GRAD] = {OP(insert_grad), ONLY},
        [BS_OP_TOKENS_FROM_IMAGE] = {OP(transpose)},
        [BS_OP_IMAGE_FROM_TOKENS] = {OP(transpose)},

        [BS_OP_LINEAR] = {WITH_SCRATCH(linear)},
        [BS_OP_LINEAR_GRAD_X] = {WITH_SCRATCH(linear), ONLY},
        [BS_OP_LINEAR_GRAD_W] = {WITH_SCRATCH(linear), ONLY},
        [BS_OP_SUM_TO_FEATURE] = {WITH_SCRATCH(sum_rows), ONLY},
        [BS_OP_LAYER_NORM] = {OP(norm)},
        [BS_OP_LAYER_NORM_GRAD] = {WITH_SCRATCH(norm_grad), ONLY, SIBLINGS},
        [BS_OP_RMS_NORM] = {OP(norm)},
        [BS_OP_RMS_NORM_GRAD] = {WITH_SCRATCH(norm_grad), ONLY, SIBLINGS},
        [BS_OP_ADD_POSITION] = {OP(position)},
        [BS_OP_ADD_POSITION_GRAD] = {WITH_SCRATCH(position_grad), ONLY},
        [BS_OP_ATTENTION] = {WITH_SCRATCH(attention)},
        [BS_OP_ATTENTION_LSE] = {WITH_SCRATCH(attention), ONLY},
        [BS_OP_ATTENTION_GRAD] = {WITH_SCRATCH(attention_grad), ONLY, SIBLINGS},
        [BS_OP_ROTARY] = {OP(rotary)},
        [BS_OP_ROTARY_GRAD] = {OP(rotary), ONLY},
        [BS_OP_CAUSAL_CONV1D] = {WITH_SCRATCH(conv1d)},
        [BS_OP_CAUSAL_CONV1D_GRAD_W] = {WITH_SCRATCH(conv1d_grad), ONLY},
        [BS_OP_SELECTIVE_SCAN] = {WITH_SCRATCH(scan)},
        [BS_OP_SELECTIVE_SCAN_GRAD] = {WITH_SCRATCH(scan_grad), ONLY, SIBLINGS},

        [BS_OP_GROUP_NORM] = {OP(whole)},
        [BS_OP_GROUP_NORM_GRAD] = {OP(whole), ONLY, SIBLINGS},
        [BS_OP_BATCH_NORM] = {OP(whole)},
        [BS_OP_BATCH_NORM_GRAD] = {OP(whole), ONLY, SIBLINGS},
        [BS_OP_BATCH_NORM_TRAIN] = {OF_IMAGE(batch_norm), ONLY},
        [BS_OP_BATCH_NORM_TRAIN_GRAD] = {OF_IMAGE(batch_norm), ONLY, SIBLINGS},
        [BS_OP_BATCH_STATISTICS] = {OF_IMAGE(batch_norm), ONLY},
        [BS_OP_DICE_LOSS] = {OP(whole), ONLY},
        [BS_OP_DICE_LOSS_GRAD] = {OP(whole), ONLY},
        [BS_OP_BCE_LOSS] = {OP(whole), ONLY},
        [BS_OP_BCE_LOSS_GRAD] = {OP(whole), ONLY},
        [BS_OP_MSE_LOSS] = {OP(whole), ONLY},
        [BS_OP_MSE_LOSS_GRAD] = {OP(whole), ONLY},
    };
    return &table[op];
}
