/* Appends products, convolutions and attention: by NVIDIA's libraries where they are there and have an algorithm, else by own kernels. See
   lower.h. */
#include "kernels/cuda/pack.h"

#include <stdio.h>
#include <stdlib.h>

/* A plan of the program's own to fill in; NULL after a failure. */
static struct bs__library_plan *new_plan(struct bs__gpu_lowering *l)
{
    struct bs__library_plan *plan = l->rc == BS_OK ? calloc(1, sizeof *plan) : NULL;
    if (!plan) {
        if (l->rc == BS_OK)
            l->rc = BS_FAIL(l->err, BS_ENOMEM, "no memory to plan a library's work");
        return NULL;
    }
    plan->next = l->self->plans;
    l->self->plans = plan;
    return plan;
}

/* What the place's address is a multiple of, at most 256: buffers begin at such. */
static uint32_t alignment_of(const struct bs__gpu_place *p)
{
    const uint64_t bytes = (uint64_t)p->offset * bs__element_bytes(p->element) | 256;
    return (uint32_t)(bytes & -bytes);
}

static const char *act_text(const struct bs__gpu_product *p)
{
    static const char *const act[] = {"", " relu", " gelu"};
    return act[p->act];
}

/* The library's GELU is an approximation, so an exact one follows, in place. */
static void add_gelu(struct bs__gpu_lowering *l, const struct bs__gpu_product *p)
{
    struct bs__gpu_step *s = bs__gpu_add_step(l, BS__GPU_POINTWISE, p->y->element, "gelu %lldx%lld",
                                              (long long)p->rows, (long long)p->columns);
    s->pointwise = BS__POINTWISE_GELU;
    s->a.pointwise = (struct bs__pointwise){.rows = p->rows, .columns = p->columns};
    bs__gpu_bind_rows(l, s, &s->a.pointwise.x, p->y);
    bs__gpu_bind_rows(l, s, &s->a.pointwise.y, p->y);
}

static bool add_library_product(struct bs__gpu_lowering *l, const struct bs__gpu_product *p, const char *text)
{
    if (!l->gpu->libraries.cublaslt || l->rc != BS_OK)
        return false;
    const struct bs__cublaslt_product wish = {
        .element = p->x->element,
        .rows = p->rows,
        .columns = p->columns,
        .depth = p->depth,
        .x_stride = p->x->stride,
        .y_stride = p->y->stride,
        .residual_stride = p->residual ? p->residual->stride : 0,
        .bias = p->bias != NULL,
        .relu = p->act == BS__GEMM_RELU,
        .residual = p->residual != NULL,
        .tf32 = l->gpu->allow_tf32,
        .x_alignment = alignment_of(p->x),
        .y_alignment = alignment_of(p->y),
        .residual_alignment = p->residual ? alignment_of(p->residual) : 256,
    };
    struct bs__cublaslt_plan *product = NULL;
    l->rc = bs__cublaslt_plan(l->gpu->libraries.cublaslt, &wish, &product, l->err);
    if (!product)
        return false;
    struct bs__library_plan *plan = new_plan(l);
    if (!plan) {
        bs__cublaslt_plan_destroy(product);
        return true;
    }
    plan->product = product;
    bs_address bias = 0;
    if (p->bias) {
        struct bs__gpu_weight w = *p->bias;
        w.element = p->x->element;
        bias = bs__gpu_pack(l, &w);
    }
    struct bs__gpu_step *s = bs__gpu_add_step(
        l, BS__GPU_CUBLASLT, p->x->element, "%s %lldx%lld by %lld%s%s cublaslt %016llx", text,
        (long long)p->rows, (long long)p->depth, (long long)p->columns, wish.relu ? " relu" : "",
        p->residual ? " plus" : "", (unsigned long long)bs__cublaslt_plan_algorithm(product));
    s->a.library = (struct bs__library_call){.plan = plan, .w = p->w, .bias = bias};
    bs__gpu_bind(l, s, &s->a.library.x, p->x);
    bs__gpu_bind(l, s, &s->a.library.y, p->y);
    if (p->residual)
        bs__gpu_bind(l, s, &s->a.library.residual, p->residual);
    bs__gpu_bind_workspace(l, s, &s->a.library.workspace, bs__cublaslt_plan_workspace(product));
    if (p->act == BS__GEMM_GELU)
        add_gelu(l, p);
    return true;
}

void bs__gpu_add_product(struct bs__gpu_lowering *l, const struct bs__gpu_product *p, const char *text)
{
    if (add_library_product(l, p, text))
        return;
    bs_address bias = 0;
    if (p->bias) {
        struct bs__gpu_weight w = *p->bias;
        w.element = BS__F32;
        bias = bs__gpu_pack(l, &w);
    }
    struct bs__gpu_step *s =
        bs__gpu_add_step(l, BS__GPU_GEMM, p->x->element, "%s %lldx%lld by %lld%s%s", text, (long long)p->rows,
                         (long long)p->depth, (long long)p->columns, act_text(p), p->residual ? " plus" : "");
    struct bs__gemm *g = &s->a.gemm;
    *g = (struct bs__gemm){.element = p->x->element,
                           .form = BS__GEMM_LINEAR,
                           .rows = p->rows,
                           .columns = p->columns,
                           .depth = p->depth,
                           .b = p->w,
                           .a_stride = p->x->stride,
                           .b_stride = p->depth,
                           .y_stride = p->y->stride,
                           .bias = bias,
                           .bias_element = BS__F32,
                           .act = p->act};
    bs__gpu_bind(l, s, &g->a, p->x);
    bs__gpu_bind(l, s, &g->y, p->y);
    if (p->residual) {
        g->residual_stride = p->residual->stride;
        bs__gpu_bind(l, s, &g->residual, p->residual);
    }
}

bool bs__gpu_add_library_convolution(struct bs__gpu_lowering *l, struct bs__gpu_convolution *c)
{
    const struct bs__cudnn_convolution *of = &c->of;
    struct bs__cudnn_plan *convolution = NULL;
    if (!l->gpu->libraries.cudnn || l->rc != BS_OK)
        return false;
    l->rc = bs__cudnn_plan(l->gpu->libraries.cudnn, of, &convolution, l->err);
    if (!convolution)
        return false;
    struct bs__library_plan *plan = new_plan(l);
    if (!plan) {
        bs__cudnn_plan_destroy(convolution);
        return true;
    }
    plan->convolution = convolution;
    c->weight->form = BS__FORM_TAPS;
    c->weight->element = c->bias->element = of->element;
    const bs_address w = bs__gpu_pack(l, c->weight), b = bs__gpu_pack(l, c->bias);
    l->value[c->v].concat = BS_NO_VALUE; /* the library writes packed rows */
    const struct bs__gpu_place *y = bs__gpu_make(l, c->v, of->element);
    struct bs__gpu_step *s = bs__gpu_add_step(
        l, BS__GPU_CUDNN, of->element, "conv %dx%d stride %d %lldx%lldx%lldx%lld to %lld%s%s cudnn %d",
        of->kernel_h, of->kernel_w, of->stride, (long long)of->samples, (long long)of->in, (long long)of->h,
        (long long)of->w, (long long)of->out, c->weight->fold ? " norm" : "", of->relu ? " relu" : "",
        bs__cudnn_plan_algorithm(convolution));
    s->a.library = (struct bs__library_call){.plan = plan, .w = w, .bias = b};
    bs__gpu_bind(l, s, &s->a.library.x, c->x);
    bs__gpu_bind(l, s, &s->a.library.y, y);
    s->cost *= (double)(of->kernel_h * of->kernel_w); /* multiplies more than it moves */
    bs__gpu_bind_workspace(l, s, &s->a.library.workspace, bs__cudnn_plan_workspace(convolution));
    return true;
}

/* Where a place lies is known up to its alignment. */
static bs_address some_address(const struct bs__gpu_place *p)
{
    return (bs_address)256 + (bs_address)p->offset * bs__element_bytes(p->element);
}

bool bs__gpu_add_library_attention(struct bs__gpu_lowering *l, const struct bs__cuda_attention *c,
                                   const struct bs__gpu_place *qkv, const struct bs__gpu_place *y,
                                   const char *text)
{
    struct bs__fused_attention_plan *attention = NULL;
    struct bs__cuda_attention known = *c;
    char why[100] = "";
    if (l->rc != BS_OK)
        return false;
    known.qkv = some_address(qkv);
    known.y = some_address(y);
    l->rc = bs__fused_attention_plan(&l->gpu->libraries, bs__queue_limits(l->gpu->queue), &known, &attention,
                                     why, sizeof why, l->err);
    if (!attention) {
        snprintf(l->why_own, sizeof l->why_own, " (%s)", why);
        return false;
    }
    struct bs__library_plan *plan = new_plan(l);
    if (!plan) {
        bs__fused_attention_plan_destroy(attention);
        return false;
    }
    plan->attention = attention;
    struct bs__gpu_step *s = bs__gpu_add_step(l, BS__GPU_FUSED_ATTENTION, c->element, "%s as %lld cudnn %d",
                                              text, (long long)bs__fused_attention_width(attention),
                                              bs__fused_attention_engine(attention));
    s->a.attend.attention = *c;
    s->a.attend.plan = plan;
    bs__gpu_bind(l, s, &s->a.attend.attention.qkv, qkv);
    bs__gpu_bind(l, s, &s->a.attend.attention.y, y);
    bs__gpu_bind_workspace(l, s, &s->a.attend.workspace, bs__fused_attention_workspace(attention));
    return true;
}
