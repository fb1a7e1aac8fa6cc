/* Input and parameter: values that come from outside. No computation; their shape is the attribute, checked here because
   it comes from a checkpoint or a request. */
#include "kernels/ops/ops_internal.h"

static bs_status infer_input(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                             struct bs_shape *out, struct bs_err *err)
{
    (void)in, (void)ninput;
    *out = attr->shape;
    return bs_shape_check("input", out, err);
}

static bs_status infer_param(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                             struct bs_shape *out, struct bs_err *err)
{
    (void)in, (void)ninput;
    *out = attr->shape;
    return bs_shape_check("parameter", out, err);
}

const struct bs_op_def bs__op_input = {.name = "input", .infer = infer_input};
const struct bs_op_def bs__op_param = {.name = "param", .infer = infer_param};
