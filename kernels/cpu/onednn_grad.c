/* See onednn_grad.h. */
#include "kernels/cpu/onednn_grad.h"

#include "kernels/cpu/onednn_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SRC, WEIGHTS, DST, ENDS };

/* One of the three tensors: as the caller has it, and as the primitive wants it. */
struct end {
    desc_t plain;
    dnnl_memory_t user, own; /* own: NULL where both layouts are one */
    dnnl_primitive_t reorder;
    size_t offset; /* of own in the scratch memory */
    bool is_result;
};

struct bs__dnnl_grad {
    struct bs__dnnl *dnnl;
    enum bs__conv_result result;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    struct end end[ENDS];
    dnnl_memory_t bias, workspace;
    size_t workspace_offset, scratch_bytes;
    char algorithm[48];
};

#define ALIGN 64

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Descriptors of the primitive; forward: the hint that the gradients ask for. */
struct described {
    desc_t end[ENDS], bias;
    dnnl_dims_t stride, dilate, pad;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t forward;
};

static dnnl_status_t describe_forward(struct bs__dnnl *d, struct described *k, bool bias,
                                      dnnl_primitive_desc_t *out)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(
        out, d->engine, dnnl_forward_training, dnnl_convolution_direct, k->end[SRC], k->end[WEIGHTS],
        bias ? k->bias : NULL, k->end[DST], k->stride, k->dilate, k->pad, k->pad, k->attr);
#else
    dnnl_convolution_desc_t conv;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &conv, dnnl_forward_training, dnnl_convolution_direct, &k->end[SRC], &k->end[WEIGHTS],
        bias ? &k->bias : NULL, &k->end[DST], k->stride, k->dilate, k->pad, k->pad);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &conv, k->attr, d->engine, NULL) : status;
#endif
}

static dnnl_status_t describe_backward(struct bs__dnnl *d, enum bs__conv_result result, struct described *k,
                                       dnnl_primitive_desc_t *out)
{
#if DNNL_VERSION_MAJOR >= 3
    if (result == BS__CONV_SRC)
        return dnnl_convolution_backward_data_primitive_desc_create(
            out, d->engine, dnnl_convolution_direct, k->end[SRC], k->end[WEIGHTS], k->end[DST], k->stride,
            k->dilate, k->pad, k->pad, k->forward, k->attr);
    return dnnl_convolution_backward_weights_primitive_desc_create(
        out, d->engine, dnnl_convolution_direct, k->end[SRC], k->end[WEIGHTS], NULL, k->end[DST], k->stride,
        k->dilate, k->pad, k->pad, k->forward, k->attr);
#else
    dnnl_convolution_desc_t conv;
    dnnl_status_t status = result == BS__CONV_SRC
                               ? dnnl_dilated_convolution_backward_data_desc_init(
                                     &conv, dnnl_convolution_direct, &k->end[SRC], &k->end[WEIGHTS],
                                     &k->end[DST], k->stride, k->dilate, k->pad, k->pad)
                               : dnnl_dilated_convolution_backward_weights_desc_init(
                                     &conv, dnnl_convolution_direct, &k->end[SRC], &k->end[WEIGHTS], NULL,
                                     &k->end[DST], k->stride, k->dilate, k->pad, k->pad);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &conv, k->attr, d->engine, k->forward)
                                  : status;
#endif
}

/* Which of the primitive's layouts belongs to an end. */
static dnnl_query_t layout_of(enum bs__conv_result result, int end)
{
    static const dnnl_query_t query[3][ENDS] = {
        [BS__CONV_DST] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md},
        [BS__CONV_SRC] = {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md},
        [BS__CONV_WEIGHTS] = {dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md},
    };
    return query[result][end];
}

/* The caller's layout and the primitive's, and the way between them. */
static bs_status connect(struct bs__dnnl_grad *c, int i, const dnnl_dims_t dims, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct end *e = &c->end[i];
    dnnl_engine_t engine = c->dnnl->engine;
    dnnl_primitive_desc_t way = NULL;
    const_desc_t wanted = dnnl_primitive_desc_query_md(c->desc, layout_of(c->result, i), 0);
    CHECK(bs__desc_init(&e->plain, 4, dims, dnnl_f32, dnnl_abcd));
    CHECK(dnnl_memory_create(&e->user, DESC(e->plain), engine, DNNL_MEMORY_NONE));
    if (dnnl_memory_desc_equal(DESC(e->plain), wanted))
        goto cleanup;
    CHECK(dnnl_memory_create(&e->own, wanted, engine, DNNL_MEMORY_NONE));
    e->offset = c->scratch_bytes;
    c->scratch_bytes += aligned(dnnl_memory_desc_get_size(wanted));
    if (e->is_result)
        CHECK(dnnl_reorder_primitive_desc_create(&way, wanted, engine, DESC(e->plain), engine, NULL));
    else
        CHECK(dnnl_reorder_primitive_desc_create(&way, DESC(e->plain), engine, wanted, engine, NULL));
    CHECK(dnnl_primitive_create(&e->reorder, way));
cleanup:
    if (way)
        dnnl_primitive_desc_destroy(way);
    return rc;
}

bs_status bs__dnnl_grad_create(struct bs__dnnl *d, enum bs__conv_result result,
                               const struct bs__conv_sizes *s, struct bs__dnnl_grad **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    const dnnl_dims_t dims[ENDS] = {{s->n, s->in, s->h, s->w},
                                    {s->out, s->in, s->kernel_h, s->kernel_w},
                                    {s->n, s->out, s->out_h, s->out_w}};
    const dnnl_dims_t bias_dims = {s->out};
    struct described k = {.stride = {s->stride, s->stride}, .pad = {s->pad, s->pad}};
    const char *name = "";
    *out = NULL;
    struct bs__dnnl_grad *c = calloc(1, sizeof *c);
    if (!c)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a convolution");
    c->dnnl = d;
    c->result = result;
    for (int i = 0; i < ENDS; i++)
        CHECK(bs__desc_init(&k.end[i], 4, dims[i], dnnl_f32, dnnl_format_tag_any));
    CHECK(bs__desc_init(&k.bias, 1, bias_dims, dnnl_f32, dnnl_a));
    CHECK(dnnl_primitive_attr_create(&k.attr));
    CHECK(dnnl_primitive_attr_set_scratchpad_mode(k.attr, dnnl_scratchpad_mode_user));
    if (result == BS__CONV_DST) {
        CHECK(describe_forward(d, &k, s->bias, &c->desc));
    } else {
        CHECK(describe_forward(d, &k, false, &k.forward));
        CHECK(describe_backward(d, result, &k, &c->desc));
    }
    CHECK(dnnl_primitive_create(&c->primitive, c->desc));
    CHECK(dnnl_primitive_desc_query(c->desc, dnnl_query_impl_info_str, 0, &name));
    snprintf(c->algorithm, sizeof c->algorithm, "%s", name);
    c->end[result == BS__CONV_DST ? DST : (result == BS__CONV_SRC ? SRC : WEIGHTS)].is_result = true;
    for (int i = 0; i < ENDS; i++)
        if ((rc = connect(c, i, dims[i], err)) != BS_OK)
            goto cleanup;
    if (s->bias && result == BS__CONV_DST)
        CHECK(dnnl_memory_create(&c->bias, DESC(k.bias), d->engine, DNNL_MEMORY_NONE));
    const_desc_t workspace = dnnl_primitive_desc_query_md(c->desc, dnnl_query_scratchpad_md, 0);
    if (workspace && dnnl_memory_desc_get_size(workspace) > 0) {
        CHECK(dnnl_memory_create(&c->workspace, workspace, d->engine, DNNL_MEMORY_NONE));
        c->workspace_offset = c->scratch_bytes;
        c->scratch_bytes += aligned(dnnl_memory_desc_get_size(workspace));
    }
    *out = c;
    c = NULL;
cleanup:
    for (int i = 0; i < ENDS; i++)
        bs__desc_free(&k.end[i]);
    bs__desc_free(&k.bias);
    if (k.forward)
        dnnl_primitive_desc_destroy(k.forward);
    if (k.attr)
        dnnl_primitive_attr_destroy(k.attr);
    bs__dnnl_grad_destroy(c);
    return rc;
}

void bs__dnnl_grad_destroy(struct bs__dnnl_grad *c)
{
    if (!c)
        return;
    for (int i = 0; i < ENDS; i++) {
        bs__desc_free(&c->end[i].plain);
        if (c->end[i].user)
            dnnl_memory_destroy(c->end[i].user);
        if (c->end[i].own)
            dnnl_memory_destroy(c->end[i].own);
        if (c->end[i].reorder)
            dnnl_primitive_destroy(c->end[i].reorder);
    }
    if (c->bias)
        dnnl_memory_destroy(c->bias);
    if (c->workspace)
        dnnl_memory_destroy(c->workspace);
    if (c->primitive)
        dnnl_primitive_destroy(c->primitive);
    if (c->desc)
        dnnl_primitive_desc_destroy(c->desc);
    free(c);
}

size_t bs__dnnl_grad_scratch(const struct bs__dnnl_grad *c)
{
    return c->scratch_bytes;
}

const char *bs__dnnl_grad_algorithm(const struct bs__dnnl_grad *c)
{
    return c->algorithm;
}

static dnnl_status_t reorder(struct bs__dnnl_grad *c, const struct end *e)
{
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, e->is_result ? e->own : e->user},
                                    {DNNL_ARG_TO, e->is_result ? e->user : e->own}};
    return dnnl_primitive_execute(e->reorder, c->dnnl->stream, 2, args);
}

bs_status bs__dnnl_grad_run(struct bs__dnnl_grad *c, float *x, float *weights, float *y, const float *bias,
                            void *scratch, struct bs_err *err)
{
    static const int argument[3][ENDS] = {
        [BS__CONV_DST] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
        [BS__CONV_SRC] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
        [BS__CONV_WEIGHTS] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST},
    };
    bs_status rc = BS_OK;
    void *const handle[ENDS] = {x, weights, y};
    dnnl_exec_arg_t args[ENDS + 2];
    int count = 0;
    for (int i = 0; i < ENDS; i++) {
        struct end *e = &c->end[i];
        CHECK(dnnl_memory_set_data_handle(e->user, handle[i]));
        if (e->own)
            CHECK(dnnl_memory_set_data_handle(e->own, (unsigned char *)scratch + e->offset));
        if (e->own && !e->is_result)
            CHECK(reorder(c, e));
        args[count++] = (dnnl_exec_arg_t){argument[c->result][i], e->own ? e->own : e->user};
    }
    if (c->bias) {
        /* inputs go through the same non-const handle as outputs; it is only read */
        CHECK(dnnl_memory_set_data_handle(c->bias, (void *)(uintptr_t)bias));
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, c->bias};
    }
    if (c->workspace) {
        CHECK(dnnl_memory_set_data_handle(c->workspace, (unsigned char *)scratch + c->workspace_offset));
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, c->workspace};
    }
    CHECK(dnnl_primitive_execute(c->primitive, c->dnnl->stream, count, args));
    for (int i = 0; i < ENDS; i++)
        if (c->end[i].own && c->end[i].is_result)
            CHECK(reorder(c, &c->end[i]));
    CHECK(dnnl_stream_wait(c->dnnl->stream));
cleanup:
    return rc;
}
