/* Selective scan: per feature a small linear recurrence over the tokens whose step width, input and output weights come
   from the tokens themselves (the step stands in scan_step.h):
     dt = softplus(delta + delta_bias),  h = exp(-exp(a_log) dt) h + dt u B,  y = (sum_s h C + skip u) silu(z)
   h = 0 before the first token; reverse: the recurrence runs from the last token to the first. Without z no gate.
   Its gradients stand in selective_scan_grad.c. */
#include "kernels/ops/ops_internal.h"
#include "kernels/ops/scan_step.h"

#include <inttypes.h>

enum { U, DELTA, A_LOG, B, C, SKIP, DELTA_BIAS, Z };

/* Emits siblings over the inputs without z, then gy, then z. */
static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    bs_value in[BS_MAX_INPUTS];
    for (int i = 0; i < Z; i++)
        in[i] = n->input[i];
    in[Z] = gy;
    if (n->ninput > Z)
        in[Z + 1] = n->input[Z];
    bs__emit_siblings(g, BS_OP_SELECTIVE_SCAN_GRAD, in, n->ninput + 1, n->attr, n->ninput, gin);
}

static bs_status need_states(const struct bs_shape *a_log, const struct bs_shape *u, struct bs_err *err)
{
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if (a_log->ndim == 2 && a_log->dim[0] == u->dim[2] && a_log->dim[1] <= BS_SCAN_MAX_STATES)
        return BS_OK;
    return BS_FAIL(
        err, BS_EINVAL, "selective_scan: a_log is %s; u %s takes one of %" PRId64 "xS, S up to %d states",
        bs_shape_text(a_log, a, sizeof a), bs_shape_text(u, b, sizeof b), u->dim[2], BS_SCAN_MAX_STATES);
}

bs_status bs__scan_infer(const char *op, const struct bs_shape *in, int ninput, struct bs_shape *out,
                         struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__need_tokens(op, "u", &in[U], err)) != BS_OK ||
        (rc = bs__need_equal(op, "delta", &in[DELTA], "u", &in[U], err)) != BS_OK ||
        (rc = need_states(&in[A_LOG], &in[U], err)) != BS_OK)
        return rc;
    struct bs_shape per_state = BS_SHAPE(in[U].dim[0], in[U].dim[1], in[A_LOG].dim[1]);
    if ((rc = bs__need_equal(op, "B", &in[B], "tokens times states", &per_state, err)) != BS_OK ||
        (rc = bs__need_equal(op, "C", &in[C], "tokens times states", &per_state, err)) != BS_OK ||
        (rc = bs__need_per_feature(op, "skip", &in[SKIP], &in[U], err)) != BS_OK ||
        (rc = bs__need_per_feature(op, "delta_bias", &in[DELTA_BIAS], &in[U], err)) != BS_OK)
        return rc;
    *out = in[U];
    return ninput > Z ? bs__need_equal(op, "z", &in[Z], "u", &in[U], err) : BS_OK;
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)attr;
    return bs__scan_infer("selective_scan", in, ninput, out, err);
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    const float *u = in[U].data, *delta = in[DELTA].data, *a_log = in[A_LOG].data, *b = in[B].data,
                *c = in[C].data, *skip = in[SKIP].data, *bias = in[DELTA_BIAS].data,
                *z = ninput > Z ? in[Z].data : NULL;
    float *y = out->data;
    const int64_t batch = out->shape.dim[0], tokens = out->shape.dim[1], features = out->shape.dim[2];
    const int states = (int)in[A_LOG].shape.dim[1];
    for (int64_t f = 0; f < features; f++) {
        double a[BS_SCAN_MAX_STATES], h[BS_SCAN_MAX_STATES];
        for (int s = 0; s < states; s++)
            a[s] = -exp((double)a_log[f * states + s]);
        for (int64_t n = 0; n < batch; n++) {
            for (int s = 0; s < states; s++)
                h[s] = 0;
            for (int64_t i = 0; i < tokens; i++) {
                int64_t token = n * tokens + (attr->reverse ? tokens - 1 - i : i), at = token * features + f;
                double dt = bs__scan_dt(delta[at], bias[f], attr->softplus);
                double sum = bs__scan_step(h, a, b + token * states, c + token * states, states, dt, u[at]);
                sum += (double)skip[f] * (double)u[at];
                y[at] = (float)(z ? sum * bs__scan_gate(z[at]) : sum);
            }
        }
    }
}

/* Per token, feature and state: the exponent (1), the recurrence (3), the sum of h C (2); per token and feature: dt u,
   skip and the gate (4). Exponentials and logarithms are not counted. */
static double flops(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    return (double)bs_shape_count(out) * (6.0 * (double)in[A_LOG].dim[1] + 4.0);
}

const struct bs_op_def bs__op_selective_scan = {
    .name = "selective_scan",
    .min_inputs = 7,
    .max_inputs = 8,
    .infer = infer,
    .reference = reference,
    .backward = backward,
    .flops = flops,
};
