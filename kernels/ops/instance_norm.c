/* Instance norm without affine part: over the pixels of each channel of each sample,
     xhat = (x - mean) / sqrt(var + eps)                      var biased (divided by the number of pixels)
     gx   = (gy - mean(gy) - xhat mean(gy xhat)) / sqrt(var + eps)
   A single pixel has no variance to divide by; like the reference (torch) we refuse it. */
#include "kernels/ops/ops_internal.h"

static bs_status check(const char *op, const struct bs_attr *attr, const struct bs_shape *x,
                       struct bs_err *err)
{
    bs_status rc;
    char a[BS_SHAPE_TEXT];
    if ((rc = bs__need_image(op, "input", x, err)) != BS_OK ||
        (rc = bs__need_eps(op, attr->eps, err)) != BS_OK)
        return rc;
    if (x->dim[2] == 1 && x->dim[3] == 1)
        return BS_FAIL(err, BS_EINVAL, "%s: input is %s; more than one pixel per channel is needed", op,
                       bs_shape_text(x, a, sizeof a));
    return BS_OK;
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    *out = in[0];
    return check("instance_norm", attr, &in[0], err);
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image s = bs__image(&in[0].shape);
    const float *x = in[0].data;
    float *y = out->data;
    const int64_t pixels = s.h * s.w;
    for (int64_t plane = 0; plane < s.n * s.c; plane++, x += pixels, y += pixels) {
        struct bs__moments m = bs__moments(x, pixels, (double)attr->eps);
        for (int64_t i = 0; i < pixels; i++)
            y[i] = (float)(((double)x[i] - m.mean) * m.inverse_deviation);
    }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    gin[0] = bs_graph_apply(g, BS_OP_INSTANCE_NORM_GRAD, (bs_value[]){n->input[0], gy}, 2, n->attr);
}

const struct bs_op_def bs__op_instance_norm = {
    .name = "instance_norm",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .reference = reference,
    .backward = backward,
};

static bs_status infer_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    bs_status rc = check("instance_norm_grad", attr, &in[0], err);
    *out = in[0];
    return rc == BS_OK ? bs__need_equal("instance_norm_grad", "gradient", &in[1], "input", &in[0], err) : rc;
}

static void reference_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image s = bs__image(&in[0].shape);
    const float *x = in[0].data, *gy = in[1].data;
    float *gx = out->data;
    const int64_t pixels = s.h * s.w;
    for (int64_t plane = 0; plane < s.n * s.c; plane++, x += pixels, gy += pixels, gx += pixels) {
        struct bs__moments m = bs__moments(x, pixels, (double)attr->eps);
        double mean_g = 0, mean_gx = 0;
        for (int64_t i = 0; i < pixels; i++) {
            mean_g += (double)gy[i];
            mean_gx += (double)gy[i] * ((double)x[i] - m.mean) * m.inverse_deviation;
        }
        mean_g /= (double)pixels;
        mean_gx /= (double)pixels;
        for (int64_t i = 0; i < pixels; i++) {
            double xhat = ((double)x[i] - m.mean) * m.inverse_deviation;
            gx[i] = (float)(((double)gy[i] - mean_g - xhat * mean_gx) * m.inverse_deviation);
        }
    }
}

const struct bs_op_def bs__op_instance_norm_grad = {
    .name = "instance_norm_grad",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad,
    .reference = reference_grad,
};
