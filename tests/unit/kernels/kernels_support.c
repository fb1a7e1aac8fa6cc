/* See kernels_support.h. */
#include "kernels_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t next_number(struct numbers *r)
{
    uint64_t z = (r->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

double next_real(struct numbers *r, double lo, double hi)
{
    return lo + (hi - lo) * (double)(next_number(r) >> 11) * 0x1p-53;
}

int next_int(struct numbers *r, int lo, int hi)
{
    return lo + (int)(next_number(r) % (uint64_t)(hi - lo));
}

struct bs_tensor new_tensor(struct bs_shape shape)
{
    struct bs_tensor t = {
        .dtype = BS_F32, .shape = shape, .data = calloc(bs_shape_count(&shape), sizeof(float))};
    assert_non_null(t.data);
    return t;
}

struct bs_tensor random_tensor(struct numbers *r, struct bs_shape shape)
{
    struct bs_tensor t = new_tensor(shape);
    for (size_t i = 0; i < bs_shape_count(&shape); i++)
        floats(&t)[i] = (float)next_real(r, -1, 1);
    return t;
}

struct bs_tensor tensor_of(struct bs_shape shape, const float *values)
{
    struct bs_tensor t = new_tensor(shape);
    memcpy(t.data, values, bs_shape_count(&shape) * sizeof(float));
    return t;
}

void free_tensor(struct bs_tensor *t)
{
    free(t->data);
    t->data = NULL;
}

float *floats(const struct bs_tensor *t)
{
    return t->data;
}

/* A graph of one operator whose inputs are all bound at run time. */
static struct bs_graph *single(enum bs_op op, struct bs_attr attr, const struct bs_shape *in, int ninput)
{
    struct bs_graph *g = bs_graph_create();
    assert_non_null(g);
    bs_value v[BS_MAX_INPUTS];
    for (int i = 0; i < ninput; i++)
        v[i] = bs_graph_input(g, (char[]){(char)('a' + i), 0}, in[i]);
    bs_graph_output(g, "out", bs_graph_apply(g, op, v, ninput, attr));
    return g;
}

struct bs_tensor apply(enum bs_op op, struct bs_attr attr, const struct bs_tensor *in, int ninput)
{
    struct bs_shape shape[BS_MAX_INPUTS];
    for (int i = 0; i < ninput; i++)
        shape[i] = in[i].shape;
    struct bs_graph *g = single(op, attr, shape, ninput);
    struct bs_err err = {.msg = ""};
    if (bs_graph_finish(g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    struct bs_tensor out;
    run_graph(g, in, ninput, &out, 1);
    bs_graph_destroy(g);
    return out;
}

bs_status infer_shapes(enum bs_op op, struct bs_attr attr, const struct bs_shape *in, int ninput,
                       struct bs_err *err)
{
    struct bs_graph *g = single(op, attr, in, ninput);
    bs_status rc = bs_graph_finish(g, err);
    bs_graph_destroy(g);
    return rc;
}

void run_graph(const struct bs_graph *g, const struct bs_tensor *in, int ninput, struct bs_tensor *out,
               int noutput)
{
    struct bs_err err = {.msg = ""};
    struct named_tensors none = {0};
    struct bs_params *params = params_of(&none);
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    for (int i = 0; i < noutput; i++)
        out[i] = new_tensor(bs_graph_node(g, bs_graph_output_value(g, i))->shape);
    if (bs_device_open("ref", NULL, &dev, &err) != BS_OK ||
        bs_executable_create(dev, g, params, BS_PRECISION_F32, &exe, &err) != BS_OK ||
        bs_executable_run(exe, in, ninput, out, noutput, NULL, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_executable_destroy(exe);
    bs_device_close(dev);
    bs_params_unref(params);
}

static const struct bs_tensor *find(const struct named_tensors *t, const char *name)
{
    for (int i = 0; i < t->count; i++)
        if (strcmp(t->list[i].name, name) == 0)
            return &t->list[i].tensor;
    return NULL;
}

static bs_status source_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct bs_tensor *t = find(ctx, name);
    if (!t)
        return BS_FAIL(err, BS_ENOTFOUND, "no parameter \"%s\"", name);
    *shape = t->shape;
    return BS_OK;
}

static bs_status source_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    struct named_tensors *all = ctx;
    const struct bs_tensor *t = find(all, name);
    all->reads++;
    if (all->fail || !t)
        return BS_FAIL(err, BS_EIO, "cannot read \"%s\"", name);
    assert_int_equal(count, bs_shape_count(&t->shape));
    memcpy(dst, t->data, count * sizeof *dst);
    return BS_OK;
}

static void source_release(void *ctx)
{
    ((struct named_tensors *)ctx)->releases++;
}

bs_status try_params_of(struct named_tensors *tensors, struct bs_params **out, struct bs_err *err)
{
    struct bs_param_source source = {tensors, source_shape, source_read, source_release};
    return bs_params_create(source, out, err);
}

struct bs_params *params_of(struct named_tensors *tensors)
{
    struct bs_params *p = NULL;
    struct bs_err err = {.msg = ""};
    if (try_params_of(tensors, &p, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return p;
}

void assert_close(float have, double want, double tolerance)
{
    if (!(fabs((double)have - want) <= tolerance))
        fail_msg("%.9g is not within %g of %.9g", (double)have, tolerance, want);
}

void assert_tensor(const struct bs_tensor *have, const float *want, double tolerance)
{
    for (size_t i = 0; i < bs_shape_count(&have->shape); i++)
        if (!(fabs((double)floats(have)[i] - (double)want[i]) <= tolerance))
            fail_msg("element %zu is %.9g, not within %g of %.9g", i, (double)floats(have)[i], tolerance,
                     (double)want[i]);
}
