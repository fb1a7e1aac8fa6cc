/* Attention of training, with its lse, and its gradients: the kernels of attention.h over dense values. Tables of relative
   positions are brought to the length that the window asks for, and their gradients back, in the run. */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/training_operators.h"

enum { Y, LSE, GY, FORWARD };    /* inputs of the gradient: the forward's begin at FORWARD */
enum { QKV, PAD, REL_H, REL_W }; /* inputs of the forward, and whose gradient */

/* An attention, and where its tables of the wanted length wait in scratch memory (floats). */
struct attending {
    const struct bs__attention_kernel *kernel;
    struct bs__attention a;
    const struct bs_tensor *rel_h, *rel_w; /* as they are given; NULL: none */
    size_t table_h, table_w;               /* 0: used as they are */
};

static size_t table_floats(const struct bs_tensor *rel, int64_t side, int d)
{
    return rel && rel->shape.dim[0] != 2 * side - 1 ? bs__floats((2 * side - 1) * d) : 0;
}

static struct attending attending_of(const struct bs__training_call *c, const struct bs_tensor *in,
                                     int ninput)
{
    const struct bs_attr *attr = &c->step->attr;
    struct attending s = {.kernel = bs__attention_select(c->cpu->simd, false, false)};
    s.a = (struct bs__attention){.n = in[QKV].shape.dim[0],
                                 .grid_h = attr->out_h,
                                 .grid_w = attr->out_w,
                                 .heads = attr->heads,
                                 .d = (int)(in[QKV].shape.dim[2] / 3 / attr->heads),
                                 .window = attr->kernel,
                                 .qkv = bs__dense(&in[QKV]),
                                 .pad = ninput > PAD ? in[PAD].data : NULL};
    const int64_t h = attr->kernel ? attr->kernel : attr->out_h,
                  w = attr->kernel ? attr->kernel : attr->out_w;
    if (ninput > REL_W) {
        s.rel_h = &in[REL_H];
        s.rel_w = &in[REL_W];
        s.table_h = table_floats(s.rel_h, h, s.a.d);
        s.table_w = table_floats(s.rel_w, w, s.a.d);
        static const float there = 0; /* while lowering there is no data, but that there are tables counts */
        s.a.rel_h = s.rel_h->data ? s.rel_h->data : &there;
        s.a.rel_w = s.rel_w->data ? s.rel_w->data : &there;
    }
    return s;
}

/* The tables in the wanted length. */
static void resample_tables(struct attending *s, float **at)
{
    if (s->table_h) {
        float *to = bs__take(at, s->table_h);
        bs__relative_resample(s->rel_h->data, s->rel_h->shape.dim[0], 2 * s->a.h - 1, s->a.d, to);
        s->a.rel_h = to;
    }
    if (s->table_w) {
        float *to = bs__take(at, s->table_w);
        bs__relative_resample(s->rel_w->data, s->rel_w->shape.dim[0], 2 * s->a.w - 1, s->a.d, to);
        s->a.rel_w = to;
    }
}

/* Floats of the result where only its lse is wanted. */
static size_t unwanted(const struct bs__training_call *c)
{
    return bs__wanted(c, 0) ? 0 : bs__floats((int64_t)bs_shape_count(&c->in[QKV].shape) / 3);
}

size_t bs__train_attention_scratch(const struct bs__training_call *c)
{
    struct attending s = attending_of(c, c->in, c->step->ninput);
    bs__attention_plan(s.kernel, &s.a);
    return (s.table_h + s.table_w + unwanted(c) + s.a.scratch_floats * (size_t)c->cpu->threads) *
           sizeof(float);
}

bs_status bs__train_attention(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    struct attending s = attending_of(c, c->in, c->step->ninput);
    const int64_t width = (int64_t)s.a.heads * s.a.d, tokens = c->in[QKV].shape.dim[1];
    float *at = c->scratch;
    bs__attention_plan(s.kernel, &s.a);
    resample_tables(&s, &at);
    s.a.dst = (struct bs__rows){.data = c->out[0].data, .row = width, .sample = tokens * width};
    if (!bs__wanted(c, 0))
        s.a.dst.data = bs__take(&at, unwanted(c));
    s.a.lse = c->out[1].data;
    s.a.scratch = at;
    bs__parallel(c->cpu->threads, s.a.tasks, s.kernel->run, &s.a);
    return BS_OK;
}

/* ---- gradients ---- */

struct attending_grad {
    struct attending s;
    struct bs__attention_grad g;
    int64_t rel_rows;                    /* of both tables */
    size_t pad, rel, merged_pad, merged; /* floats of the parts, and of what they sum to */
};

static struct attending_grad grad_of(const struct bs__training_call *c)
{
    struct attending_grad k = {.s = attending_of(c, c->in + FORWARD, c->step->ninput - FORWARD)};
    k.g.forward = k.s.a;
    bs__attention_grad_plan(k.s.kernel, &k.g);
    k.s.a = k.g.forward; /* with the sides of its windows */
    k.rel_rows = 2 * k.s.a.h - 1 + 2 * k.s.a.w - 1;
    if (bs__wanted(c, PAD)) {
        k.pad = bs__floats(k.g.tasks * 2 * k.s.a.d);
        k.merged_pad = bs__floats((int64_t)2 * k.s.a.d);
    }
    if (bs__wanted(c, REL_H) || bs__wanted(c, REL_W)) {
        k.rel = bs__floats(k.g.tasks * k.rel_rows * k.s.a.d);
        k.merged = bs__floats(k.rel_rows * k.s.a.d);
    }
    return k;
}

size_t bs__train_attention_grad_scratch(const struct bs__training_call *c)
{
    const struct attending_grad k = grad_of(c);
    return (k.s.table_h + k.s.table_w + k.pad + k.rel + k.merged_pad + k.merged +
            k.g.scratch_floats * (size_t)c->cpu->threads) *
           sizeof(float);
}

/* The gradient of pad: zero for q, k and v of every head the sum over its windows. */
static void merge_pad(const struct bs__training_call *c, const struct attending_grad *k, float *sum)
{
    const int64_t d = k->s.a.d, heads = k->s.a.heads, width = heads * d,
                  windows = k->g.tasks / k->s.a.n / heads;
    float *out = c->out[PAD].data;
    memset(out, 0, (size_t)(3 * width) * sizeof *out);
    for (int64_t head = 0; head < heads; head++)
        for (int64_t n = 0; n < k->s.a.n; n++) {
            const float *part = k->g.pad + (n * heads + head) * windows * 2 * d;
            bs__merge_parts(c->cpu, part, windows, 2 * d, NULL, 2 * d, sum);
            for (int64_t i = 0; i < d; i++) {
                out[width + head * d + i] += sum[i];
                out[2 * width + head * d + i] += sum[d + i];
            }
        }
}

bs_status bs__train_attention_grad(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    struct attending_grad k = grad_of(c);
    float *at = c->scratch;
    const int d = k.s.a.d;
    resample_tables(&k.s, &at);
    k.s.a.dst = bs__dense(&c->in[Y]);
    k.s.a.lse = c->in[LSE].data;
    k.g.forward = k.s.a;
    k.g.gy = bs__dense(&c->in[GY]);
    k.g.gqkv = c->out[QKV].data;
    k.g.pad = k.pad ? bs__take(&at, k.pad) : NULL;
    k.g.rel = k.rel ? bs__take(&at, k.rel) : NULL;
    float *merged_pad = bs__take(&at, k.merged_pad), *merged = bs__take(&at, k.merged);
    k.g.scratch = at;
    bs__parallel(c->cpu->threads, k.g.tasks, k.s.kernel->grad, &k.g);
    if (k.pad)
        merge_pad(c, &k, merged_pad);
    if (k.rel)
        bs__merge_parts(c->cpu, k.g.rel, k.g.tasks, k.rel_rows * d, NULL, k.rel_rows * d, merged);
    if (bs__wanted(c, REL_H))
        bs__relative_gather(merged, 2 * k.s.a.h - 1, k.s.rel_h->shape.dim[0], d, c->out[REL_H].data);
    if (bs__wanted(c, REL_W))
        bs__relative_gather(merged + (2 * k.s.a.h - 1) * d, 2 * k.s.a.w - 1, k.s.rel_w->shape.dim[0], d,
                            c->out[REL_W].data);
    return BS_OK;
}
