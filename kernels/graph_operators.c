/* One function per operator that networks use; see graph.h. Each fills in attributes and leaves the rest to
   bs_graph_apply. */
#include "kernels/graph.h"

bs_value bs_graph_conv2d(struct bs_graph *g, bs_value x, bs_value w, bs_value b, int stride, int pad)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_CONV2D, in, b == BS_NO_VALUE ? 2 : 3,
                          (struct bs_attr){.stride = stride, .pad = pad});
}

bs_value bs_graph_conv_transpose2d(struct bs_graph *g, bs_value x, bs_value w, bs_value b, int stride)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_CONV_TRANSPOSE2D, in, b == BS_NO_VALUE ? 2 : 3,
                          (struct bs_attr){.stride = stride});
}

bs_value bs_graph_instance_norm(struct bs_graph *g, bs_value x, float eps)
{
    return bs_graph_apply(g, BS_OP_INSTANCE_NORM, &x, 1, (struct bs_attr){.eps = eps});
}

bs_value bs_graph_group_norm(struct bs_graph *g, bs_value x, bs_value w, bs_value b, int groups, float eps)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_GROUP_NORM, in, 3, (struct bs_attr){.groups = groups, .eps = eps});
}

bs_value bs_graph_batch_norm(struct bs_graph *g, bs_value x, bs_value w, bs_value b, bs_value mean,
                             bs_value var, float eps)
{
    bs_value in[] = {x, w, b, mean, var};
    return bs_graph_apply(g, BS_OP_BATCH_NORM, in, 5, (struct bs_attr){.eps = eps});
}

bs_value bs_graph_relu(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_RELU, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_sigmoid(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_SIGMOID, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_max_pool2d(struct bs_graph *g, bs_value x, int kernel)
{
    return bs_graph_apply(g, BS_OP_MAX_POOL2D, &x, 1, (struct bs_attr){.kernel = kernel});
}

bs_value bs_graph_resize_bilinear(struct bs_graph *g, bs_value x, int64_t out_h, int64_t out_w)
{
    return bs_graph_apply(g, BS_OP_RESIZE_BILINEAR, &x, 1, (struct bs_attr){.out_h = out_h, .out_w = out_w});
}

bs_value bs_graph_concat(struct bs_graph *g, bs_value a, bs_value b)
{
    bs_value in[] = {a, b};
    return bs_graph_apply(g, BS_OP_CONCAT, in, 2, (struct bs_attr){0});
}

bs_value bs_graph_add(struct bs_graph *g, bs_value a, bs_value b)
{
    bs_value in[] = {a, b};
    return bs_graph_apply(g, BS_OP_ADD, in, 2, (struct bs_attr){0});
}

bs_value bs_graph_mul(struct bs_graph *g, bs_value a, bs_value b)
{
    bs_value in[] = {a, b};
    return bs_graph_apply(g, BS_OP_MUL, in, 2, (struct bs_attr){0});
}

bs_value bs_graph_tokens_from_image(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_TOKENS_FROM_IMAGE, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_image_from_tokens(struct bs_graph *g, bs_value x, int64_t h, int64_t w)
{
    return bs_graph_apply(g, BS_OP_IMAGE_FROM_TOKENS, &x, 1, (struct bs_attr){.out_h = h, .out_w = w});
}

bs_value bs_graph_linear(struct bs_graph *g, bs_value x, bs_value w, bs_value b)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_LINEAR, in, b == BS_NO_VALUE ? 2 : 3, (struct bs_attr){0});
}

bs_value bs_graph_layer_norm(struct bs_graph *g, bs_value x, bs_value w, bs_value b, float eps)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_LAYER_NORM, in, 3, (struct bs_attr){.eps = eps});
}

bs_value bs_graph_rms_norm(struct bs_graph *g, bs_value x, bs_value w, float eps)
{
    bs_value in[] = {x, w};
    return bs_graph_apply(g, BS_OP_RMS_NORM, in, 2, (struct bs_attr){.eps = eps});
}

bs_value bs_graph_gelu(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_GELU, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_silu(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_SILU, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_scale(struct bs_graph *g, bs_value x, float factor)
{
    return bs_graph_apply(g, BS_OP_SCALE, &x, 1, (struct bs_attr){.factor = factor});
}

bs_value bs_graph_slice_channel(struct bs_graph *g, bs_value x, int64_t start, int64_t count)
{
    return bs_graph_apply(g, BS_OP_SLICE_CHANNEL, &x, 1, (struct bs_attr){.start = start, .count = count});
}

bs_value bs_graph_slice_last(struct bs_graph *g, bs_value x, int64_t start, int64_t count)
{
    return bs_graph_apply(g, BS_OP_SLICE_LAST, &x, 1, (struct bs_attr){.start = start, .count = count});
}

bs_value bs_graph_slice_tokens(struct bs_graph *g, bs_value x, int64_t start, int64_t count)
{
    return bs_graph_apply(g, BS_OP_SLICE_TOKENS, &x, 1, (struct bs_attr){.start = start, .count = count});
}

bs_value bs_graph_insert_token(struct bs_graph *g, bs_value x, bs_value token, int64_t at)
{
    bs_value in[] = {x, token};
    return bs_graph_apply(g, BS_OP_INSERT_TOKEN, in, 2, (struct bs_attr){.start = at});
}

bs_value bs_graph_add_position(struct bs_graph *g, bs_value x, bs_value position, int64_t grid_h,
                               int64_t grid_w, int64_t class_token)
{
    bs_value in[] = {x, position};
    return bs_graph_apply(g, BS_OP_ADD_POSITION, in, 2,
                          (struct bs_attr){.out_h = grid_h, .out_w = grid_w, .start = class_token});
}

bs_value bs_graph_rotary(struct bs_graph *g, bs_value x, bs_value cosine, bs_value sine)
{
    bs_value in[] = {x, cosine, sine};
    return bs_graph_apply(g, BS_OP_ROTARY, in, 3, (struct bs_attr){0});
}

bs_value bs_graph_attention(struct bs_graph *g, bs_value qkv, bs_value pad, bs_value rel_h, bs_value rel_w,
                            int heads, int64_t grid_h, int64_t grid_w, int window)
{
    bs_value in[] = {qkv, pad, rel_h, rel_w};
    const bool relative = rel_h != BS_NO_VALUE || rel_w != BS_NO_VALUE;
    return bs_graph_apply(
        g, BS_OP_ATTENTION, in, relative ? 4 : (pad == BS_NO_VALUE ? 1 : 2),
        (struct bs_attr){.heads = heads, .out_h = grid_h, .out_w = grid_w, .kernel = window});
}

bs_value bs_graph_causal_conv1d(struct bs_graph *g, bs_value x, bs_value w, bs_value b, bool reverse)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_CAUSAL_CONV1D, in, b == BS_NO_VALUE ? 2 : 3,
                          (struct bs_attr){.reverse = reverse});
}

bs_value bs_graph_crop(struct bs_graph *g, bs_value x, int64_t h, int64_t w)
{
    return bs_graph_apply(g, BS_OP_CROP, &x, 1, (struct bs_attr){.out_h = h, .out_w = w});
}

bs_value bs_graph_batch_norm_train(struct bs_graph *g, bs_value x, bs_value w, bs_value b, float eps)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_BATCH_NORM_TRAIN, in, 3, (struct bs_attr){.eps = eps});
}

bs_value bs_graph_batch_statistics(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_BATCH_STATISTICS, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_dice_loss(struct bs_graph *g, bs_value p, bs_value t, int groups, float eps)
{
    bs_value in[] = {p, t};
    return bs_graph_apply(g, BS_OP_DICE_LOSS, in, 2, (struct bs_attr){.groups = groups, .eps = eps});
}

bs_value bs_graph_bce_loss(struct bs_graph *g, bs_value p, bs_value t)
{
    bs_value in[] = {p, t};
    return bs_graph_apply(g, BS_OP_BCE_LOSS, in, 2, (struct bs_attr){0});
}

bs_value bs_graph_mse_loss(struct bs_graph *g, bs_value p, bs_value t)
{
    bs_value in[] = {p, t};
    return bs_graph_apply(g, BS_OP_MSE_LOSS, in, 2, (struct bs_attr){0});
}

bs_value bs_graph_selective_scan(struct bs_graph *g, const struct bs_scan_inputs *in, bool reverse)
{
    bs_value value[] = {in->u, in->delta, in->a_log, in->b, in->c, in->skip, in->delta_bias, in->z};
    return bs_graph_apply(g, BS_OP_SELECTIVE_SCAN, value, in->z == BS_NO_VALUE ? 7 : 8,
                          (struct bs_attr){.reverse = reverse, .softplus = true});
}
