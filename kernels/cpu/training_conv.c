/* Convolutions of training and their gradients: 1x1 where they lie (training_pointwise.h), 3x3 by Winograd
   (training_winograd.h), others oneDNN's (onednn_grad.h), with the bias that
   it does not know. */
#include "kernels/cpu/training_operators.h"
#include "kernels/cpu/training_pointwise.h"
#include "kernels/cpu/training_winograd.h"

const char *bs__train_conv_own(const struct bs__training_call *c)
{
    if (bs__training_pointwise_fits(c))
        return c->step->layout == BS__AS_IT_LIES ? "1x1 blocks" : "1x1";
    return bs__training_winograd_fits(c) ? "winograd" : NULL;
}

size_t bs__train_conv_scratch(const struct bs__training_call *c)
{
    if (!bs__training_pointwise_fits(c))
        return bs__training_winograd_scratch(c);
    return c->step->layout == BS__AS_IT_LIES ? bs__pointwise_blocks_scratch(c)
                                             : bs__training_pointwise_scratch(c);
}

/* What a transformer's deconvolution adds behind oneDNN's gradient. */
struct biased {
    float *y;
    const float *bias;
    int64_t channels, pixels;
};
static void add_bias(const void *ctx, int64_t plane, int worker)
{
    (void)worker;
    const struct biased *b = ctx;
    const float value = b->bias[plane % b->channels];
    for (int64_t i = plane * b->pixels; i < (plane + 1) * b->pixels; i++)
        b->y[i] += value;
}

bs_status bs__train_conv(const struct bs__training_call *c, struct bs_err *err)
{
    const struct bs__training_step *s = c->step;
    float *a = c->in[0].data, *b = c->in[1].data, *out = c->out[0].data;
    const float *bias = s->ninput == 3 ? c->in[2].data : NULL;
    if (!s->conv) {
        if (!bs__training_pointwise_fits(c))
            bs__training_winograd_run(c);
        else if (s->layout == BS__AS_IT_LIES)
            bs__pointwise_blocks_run(c);
        else
            bs__training_pointwise_run(c);
        return BS_OK;
    }
    bs__parallel_set_threads(c->cpu->threads);
    if (s->op == BS_OP_CONV2D)
        return bs__dnnl_grad_run(s->conv, a, b, out, bias, c->scratch, err);
    if (s->op == BS_OP_CONV2D_GRAD_W)
        return bs__dnnl_grad_run(s->conv, a, out, b, NULL, c->scratch, err);
    bs_status rc = bs__dnnl_grad_run(s->conv, out, b, a, NULL, c->scratch, err);
    if (rc == BS_OK && bias) {
        const int64_t *d = c->out[0].shape.dim;
        const struct biased with = {out, bias, d[1], d[2] * d[3]};
        bs__parallel(c->cpu->threads, d[0] * d[1], add_bias, &with);
    }
    return rc;
}
