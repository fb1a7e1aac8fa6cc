/* Layers that several networks have, named as in their state dicts; and reading such names and shapes back.
   Pure functions; any thread. */
#include "model/arch/arch_internal.h"

#include <limits.h>
#include <stdio.h>

int64_t bs__dim(const struct bs_graph *g, bs_value v, int axis)
{
    return v == BS_NO_VALUE ? 1 : bs_graph_node(g, v)->shape.dim[axis];
}

bs_value bs__param(struct bs_graph *g, const char *prefix, const char *suffix, struct bs_shape shape)
{
    char name[160];
    snprintf(name, sizeof name, "%s.%s", prefix, suffix);
    return bs_graph_param(g, name, shape);
}

bs_value bs__linear(struct bs_graph *g, const char *prefix, bs_value x, int64_t out, bool bias)
{
    bs_value w = bs__param(g, prefix, "weight", BS_SHAPE(out, bs__dim(g, x, 2)));
    bs_value b = bias ? bs__param(g, prefix, "bias", BS_SHAPE(out)) : BS_NO_VALUE;
    return bs_graph_linear(g, x, w, b);
}

bs_value bs__conv(struct bs_graph *g, const char *prefix, bs_value x, int64_t out, int kernel)
{
    bs_value w = bs__param(g, prefix, "weight", BS_SHAPE(out, bs__dim(g, x, 1), kernel, kernel));
    bs_value b = bs__param(g, prefix, "bias", BS_SHAPE(out));
    return bs_graph_conv2d(g, x, w, b, 1, kernel / 2);
}

bs_value bs__batch_norm(struct bs_graph *g, const char *prefix, bs_value x, float eps)
{
    const struct bs_shape c = BS_SHAPE(bs__dim(g, x, 1));
    bs_value weight = bs__param(g, prefix, "weight", c), bias = bs__param(g, prefix, "bias", c);
    bs_value mean = bs__param(g, prefix, "running_mean", c), var = bs__param(g, prefix, "running_var", c);
    return bs_graph_batch_norm(g, x, weight, bias, mean, var, eps);
}

bs_status bs__state_int(const struct bs_state_entry *e, int axis, int *out, struct bs_err *err)
{
    if (e->shape.dim[axis] < 1 || e->shape.dim[axis] > INT_MAX)
        return BS_FAIL(err, BS_EINVAL, "axis %d of %.200s has %lld elements", axis, e->name,
                       (long long)e->shape.dim[axis]);
    *out = (int)e->shape.dim[axis];
    return BS_OK;
}

bs_status bs__state_need(const struct bs_state_entry *state, size_t count, const char *name, int axes,
                         const struct bs_state_entry **out, struct bs_err *err)
{
    *out = bs__state_find(state, count, name);
    if (!*out)
        return BS_FAIL(err, BS_EINVAL, "%s is missing", name);
    if ((*out)->shape.ndim != axes)
        return BS_FAIL(err, BS_EINVAL, "%s has %d axes, accepted is %d", name, (*out)->shape.ndim, axes);
    return BS_OK;
}
