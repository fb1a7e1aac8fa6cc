/* See gradients.h. */
#include "gradients.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bs_value variable(struct problem *p, struct bs_shape shape)
{
    char name[16];
    assert_true(p->nwrt < MAX_WRT);
    snprintf(name, sizeof name, "v%d", p->nwrt);
    return p->wrt[p->nwrt++] = bs_graph_input(p->g, name, shape);
}

bs_value constant(struct problem *p, struct bs_shape shape)
{
    char name[16];
    assert_true(p->nconstant < MAX_WRT);
    snprintf(name, sizeof name, "c%d", p->nconstant++);
    return bs_graph_input(p->g, name, shape);
}

/* Compiled once, run many times. */
struct runner {
    struct bs_device *dev;
    struct bs_params *params;
    struct named_tensors none;
    struct bs_executable *exe;
    struct bs_tensor in[2 * MAX_WRT + 1], out[MAX_WRT + 2];
    int nin, nout;
};

static void start(struct runner *r, struct bs_graph *g, struct numbers *random)
{
    struct bs_err err = {.msg = ""};
    memset(r, 0, sizeof *r);
    r->params = params_of(&r->none);
    if (bs_graph_finish(g, &err) != BS_OK || bs_device_open("ref", NULL, &r->dev, &err) != BS_OK ||
        bs_executable_create(r->dev, g, r->params, BS_PRECISION_F32, &r->exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
    for (int v = 0; v < bs_graph_node_count(g); v++)
        if (bs_graph_node(g, v)->op == BS_OP_INPUT)
            r->in[r->nin++] = random_tensor(random, bs_graph_node(g, v)->shape);
    for (r->nout = 0; r->nout < bs_graph_output_count(g); r->nout++)
        r->out[r->nout] = new_tensor(bs_graph_node(g, bs_graph_output_value(g, r->nout))->shape);
}

static void run(struct runner *r)
{
    struct bs_err err = {.msg = ""};
    if (bs_executable_run(r->exe, r->in, r->nin, r->out, r->nout, NULL, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static void stop(struct runner *r)
{
    for (int i = 0; i < r->nin; i++)
        free_tensor(&r->in[i]);
    for (int i = 0; i < r->nout; i++)
        free_tensor(&r->out[i]);
    bs_executable_destroy(r->exe);
    bs_device_close(r->dev);
    bs_params_unref(r->params);
}

/* sum(gy y) with one element of one input moved; y is output 0 and gy the last input. */
static double moved(struct runner *r, float *element, double step)
{
    float before = *element;
    *element = (float)((double)before + step);
    run(r);
    *element = before;
    double sum = 0;
    for (size_t i = 0; i < bs_shape_count(&r->out[0].shape); i++)
        sum += (double)floats(&r->out[0])[i] * (double)floats(&r->in[r->nin - 1])[i];
    return sum;
}

static double smallest(const struct bs_tensor *t)
{
    double m = INFINITY;
    for (size_t i = 0; i < bs_shape_count(&t->shape); i++)
        m = fmin(m, fabs((double)floats(t)[i]));
    return m;
}

/* Outputs: y, the gradients, and (when there is one) the value that must stay clear of zero. */
static void start_problem(struct runner *r, struct problem *p, build_fn build, uint64_t seed)
{
    struct bs_err err = {.msg = ""};
    *p = (struct problem){.g = bs_graph_create(), .kink = BS_NO_VALUE};
    bs_value y = build(p), gradient[MAX_WRT];
    if (bs_graph_error(p->g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_value gy = bs_graph_input(p->g, "gy", bs_graph_node(p->g, y)->shape);
    if (bs_graph_backward(p->g, y, gy, p->wrt, p->nwrt, gradient, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_graph_output(p->g, "y", y);
    for (int i = 0; i < p->nwrt; i++) {
        char name[16];
        snprintf(name, sizeof name, "g%d", i);
        assert_true(gradient[i] != BS_NO_VALUE);
        bs_graph_output(p->g, name, gradient[i]);
    }
    if (p->kink != BS_NO_VALUE)
        bs_graph_output(p->g, "kink", p->kink);
    start(r, p->g, &(struct numbers){seed});
}

/* Place of an INPUT among them. */
static int input_index(const struct bs_graph *g, bs_value v)
{
    int index = 0;
    for (bs_value i = 0; i < v; i++)
        index += bs_graph_node(g, i)->op == BS_OP_INPUT;
    return index;
}

void check_gradients(build_fn build)
{
    struct problem p;
    struct runner r;
    /* a ReLU has no derivative at zero: take the first seed that keeps away from it */
    for (uint64_t seed = 1;; seed++) {
        assert_true(seed < 200);
        start_problem(&r, &p, build, seed);
        run(&r);
        if (p.kink == BS_NO_VALUE || smallest(&r.out[r.nout - 1]) > 0.03)
            break;
        stop(&r);
        bs_graph_destroy(p.g);
    }
    struct bs_tensor analytic[MAX_WRT];
    double largest = 0;
    for (int i = 0; i < p.nwrt; i++) {
        analytic[i] = tensor_of(r.out[1 + i].shape, floats(&r.out[1 + i]));
        for (size_t e = 0; e < bs_shape_count(&analytic[i].shape); e++)
            largest = fmax(largest, fabs((double)floats(&analytic[i])[e]));
    }
    assert_true(largest > 1e-3);
    double h = 0x1p-7;
    for (int i = 0; i < p.nwrt; i++) {
        struct bs_tensor *input = &r.in[input_index(p.g, p.wrt[i])];
        assert_true(bs_shape_equal(&analytic[i].shape, &input->shape));
        for (size_t e = 0; e < bs_shape_count(&analytic[i].shape); e++) {
            float *x = floats(input) + e;
            double wide = (moved(&r, x, h) - moved(&r, x, -h)) / (2 * h);
            double narrow = (moved(&r, x, h / 2) - moved(&r, x, -h / 2)) / h;
            double numeric = (4 * narrow - wide) / 3, have = (double)floats(&analytic[i])[e];
            if (fabs(numeric - have) > 1e-3 * largest)
                fail_msg("input %d element %zu: gradient %.7g, finite difference %.7g", i, e, have, numeric);
        }
        free_tensor(&analytic[i]);
    }
    stop(&r);
    bs_graph_destroy(p.g);
}
