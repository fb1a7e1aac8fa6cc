/* Token linear and its gradients as products of rows with packed panels (linear.h), where the packing is part of the run:
     y = x W^T + b         panels of W's rows, over its columns (transposed)
     gx = gy W             panels of W's columns
     gW = gy^T x           panels of x's columns; gy transposed first */
#include "kernels/cpu/linear.h"
#include "kernels/cpu/training_operators.h"

/* One product: rows (count, in) times weights (in, out). */
struct product {
    const struct bs__linear_kernel *kernel;
    struct bs__linear c;
    size_t weights, rows, scratch; /* floats */
};

static struct product product_of(const struct bs__training_call *c)
{
    const bool weights = c->step->op == BS_OP_LINEAR_GRAD_W;
    const struct bs_tensor *x = weights ? &c->in[1] : &c->in[0], *result = &c->out[0];
    struct product p = {.kernel = bs__linear_select(c->cpu->simd, false, false)};
    p.c.n = 1;
    p.c.rows = weights ? bs__features_of(x) : bs__rows_of(x);
    p.c.in = (int)(weights ? bs__rows_of(x) : bs__features_of(x));
    p.c.out = (int)bs__features_of(result);
    p.c.x = (struct bs__rows){.row = p.c.in};
    p.c.dst = (struct bs__rows){.data = result->data, .row = p.c.out};
    bs__linear_plan_tasks(p.kernel, 16, &p.c);
    p.weights = bs__floats((int64_t)(bs__linear_weight_bytes(p.kernel, p.c.in, p.c.out) / sizeof(float)));
    p.rows = weights ? bs__floats(p.c.rows * p.c.in) : 0;
    p.scratch = p.c.scratch_floats * (size_t)c->cpu->threads;
    return p;
}

size_t bs__train_linear_scratch(const struct bs__training_call *c)
{
    const struct product p = product_of(c);
    return (p.weights + p.rows + p.scratch) * sizeof(float);
}

/* dst (cols, rows) of src (rows, cols). */
static void transpose_all(const struct bs__cpu *cpu, const float *src, int64_t rows, int64_t cols, float *dst)
{
    const int64_t run = 64;
    const struct bs__transpose t = {.src = src,
                                    .rows = rows,
                                    .cols = cols,
                                    .src_row = cols,
                                    .run = run,
                                    .dst_group = run,
                                    .dst_row = rows,
                                    .dst = dst,
                                    .groups = bs__tasks(rows, run)};
    bs__parallel(cpu->threads, t.groups, bs__gradients_of(cpu->simd)->transpose, &t);
}

/* Panels of the rows of W (out, in). */
static void pack_rows(const struct bs__cpu *cpu, const struct product *p, const float *src, float *dst)
{
    const int64_t width = p->kernel->panel;
    const struct bs__transpose t = {.src = src,
                                    .rows = p->c.out,
                                    .cols = p->c.in,
                                    .src_row = p->c.in,
                                    .run = width,
                                    .dst_group = width * p->c.in,
                                    .dst_row = width,
                                    .dst = dst,
                                    .padded = true,
                                    .groups = bs__tasks(p->c.out, width)};
    bs__parallel(cpu->threads, t.groups, bs__gradients_of(cpu->simd)->transpose, &t);
}

/* Panels of the columns of (in, out). */
static void pack_columns(const struct bs__cpu *cpu, const struct product *p, const float *src, float *dst)
{
    const struct bs__panels k = {
        .src = src, .rows = p->c.in, .cols = p->c.out, .width = p->kernel->panel, .run = 64, .dst = dst};
    bs__parallel(cpu->threads, bs__tasks(k.rows, k.run), bs__gradients_of(cpu->simd)->panels, &k);
}

bs_status bs__train_linear(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    struct product p = product_of(c);
    float *at = c->scratch, *weights = bs__take(&at, p.weights), *rows = bs__take(&at, p.rows);
    p.c.x.data = c->in[0].data;
    p.c.weights = weights;
    p.c.scratch = at;
    if (c->step->op == BS_OP_LINEAR) {
        pack_rows(c->cpu, &p, c->in[1].data, weights);
        p.c.bias = c->step->ninput == 3 ? c->in[2].data : NULL;
    } else if (c->step->op == BS_OP_LINEAR_GRAD_X) {
        pack_columns(c->cpu, &p, c->in[1].data, weights);
    } else {
        pack_columns(c->cpu, &p, c->in[0].data, weights);
        transpose_all(c->cpu, c->in[1].data, p.c.in, p.c.rows, rows);
        p.c.x.data = rows;
    }
    bs__parallel(c->cpu->threads, p.c.tasks, p.kernel->run, &p.c);
    return BS_OK;
}
