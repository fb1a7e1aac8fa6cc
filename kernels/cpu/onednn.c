/* oneDNN's direct convolution behind one small interface; see onednn.h. The 2.x and 3.x interfaces differ in how a
   descriptor is held (by value or as an object) and how a primitive is described; both are here and nowhere else. */
#include "kernels/cpu/onednn_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum argument { SRC, WEIGHTS, BIAS, DST, SCRATCH, ARGUMENTS };

struct bs__dnnl_conv {
    struct bs__dnnl *dnnl;
    struct bs__dnnl_conv_shape shape;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[ARGUMENTS];
    size_t scratch_bytes, weight_bytes;
    uint64_t weight_layout;
    char algorithm[48];
};

bs_status bs__dnnl_failed(struct bs_err *err, dnnl_status_t status, const char *call)
{
    int len = (int)strcspn(call, "(");
    if (status == dnnl_out_of_memory)
        return BS_FAIL(err, BS_ENOMEM, "oneDNN: %.*s: out of memory", len, call);
    if (status == dnnl_unimplemented)
        return BS_FAIL(err, BS_EUNSUPPORTED, "oneDNN: %.*s: not implemented for this processor", len, call);
    return BS_FAIL(err, BS_EINTERNAL, "oneDNN: %.*s: status %d", len, call, (int)status);
}

bs_status bs__dnnl_create(struct bs__dnnl **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    *out = NULL;
    struct bs__dnnl *d = calloc(1, sizeof *d);
    if (!d)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the CPU engine");
    CHECK(dnnl_engine_create(&d->engine, dnnl_cpu, 0));
    CHECK(dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags));
    *out = d;
    d = NULL;
cleanup:
    bs__dnnl_destroy(d);
    return rc;
}

void bs__dnnl_destroy(struct bs__dnnl *d)
{
    if (!d)
        return;
    if (d->stream)
        dnnl_stream_destroy(d->stream);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    free(d);
}

void bs__dnnl_version(char *text, size_t len)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, len, "%d.%d.%d", v->major, v->minor, v->patch);
}

/* FNV-1a over the layout of the packed weights. */
static uint64_t layout_hash(const_desc_t d)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
#if DNNL_VERSION_MAJOR >= 3
    dnnl_dims_t strides = {0}, blocks = {0}, order = {0};
    int nblock = 0;
    dnnl_memory_desc_query(d, dnnl_query_strides, &strides);
    dnnl_memory_desc_query(d, dnnl_query_inner_nblks_s32, &nblock);
    dnnl_memory_desc_query(d, dnnl_query_inner_blks, &blocks);
    dnnl_memory_desc_query(d, dnnl_query_inner_idxs, &order);
    int64_t values[40] = {nblock};
    int count = 1;
    for (int i = 0; i < DNNL_MAX_NDIMS; i++) {
        values[count++] = strides[i];
        values[count++] = i < nblock ? blocks[i] : 0;
        values[count++] = i < nblock ? order[i] : 0;
    }
    const unsigned char *p = (const unsigned char *)values;
    size_t len = sizeof values;
#else
    const unsigned char *p = (const unsigned char *)d;
    size_t len = sizeof *d;
#endif
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001B3);
    return h;
}

static dnnl_status_t describe(struct bs__dnnl *d, const struct bs__dnnl_conv_shape *s, desc_t *src,
                              desc_t *weights, desc_t *bias, desc_t *dst, dnnl_primitive_attr_t attr,
                              dnnl_primitive_desc_t *out)
{
    const dnnl_dims_t stride = {s->stride, s->stride}, dilate = {0, 0}, pad = {s->pad, s->pad};
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(out, d->engine, dnnl_forward_inference,
                                                          dnnl_convolution_direct, *src, *weights, *bias,
                                                          *dst, stride, dilate, pad, pad, attr);
#else
    dnnl_convolution_desc_t conv;
    dnnl_status_t status =
        dnnl_dilated_convolution_forward_desc_init(&conv, dnnl_forward_inference, dnnl_convolution_direct,
                                                   src, weights, bias, dst, stride, dilate, pad, pad);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &conv, attr, d->engine, NULL) : status;
#endif
}

static dnnl_status_t add_relu(dnnl_post_ops_t ops)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0);
#else
    return dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0, 0);
#endif
}

bs_status bs__dnnl_conv_create(struct bs__dnnl *d, const struct bs__dnnl_conv_shape *s,
                               struct bs__dnnl_conv **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    *out = NULL;
    desc_t src = {0}, weights = {0}, bias = {0}, dst = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    struct bs__dnnl_conv *c = calloc(1, sizeof *c);
    if (!c)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a convolution");
    c->dnnl = d;
    c->shape = *s;
    const dnnl_data_type_t type = s->bf16 ? dnnl_bf16 : dnnl_f32;
    const dnnl_format_tag_t blocked = s->block == 16 ? dnnl_nChw16c : dnnl_nChw8c;
    const dnnl_dims_t src_dims = {s->n, s->in, s->h, s->w}, bias_dims = {s->out};
    const dnnl_dims_t weight_dims = {s->out, s->in, s->kernel_h, s->kernel_w};
    const dnnl_dims_t dst_dims = {s->n, s->out, s->out_h, s->out_w};
    CHECK(bs__desc_init(&src, 4, src_dims, type, blocked));
    CHECK(bs__desc_init(&weights, 4, weight_dims, type, dnnl_format_tag_any));
    CHECK(bs__desc_init(&bias, 1, bias_dims, dnnl_f32, dnnl_a));
    CHECK(bs__desc_init(&dst, 4, dst_dims, type, blocked));
    CHECK(dnnl_primitive_attr_create(&attr));
    CHECK(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    if (s->relu) {
        CHECK(dnnl_post_ops_create(&ops));
        CHECK(add_relu(ops));
        CHECK(dnnl_primitive_attr_set_post_ops(attr, ops));
    }
    CHECK(describe(d, s, &src, &weights, &bias, &dst, attr, &c->desc));
    CHECK(dnnl_primitive_create(&c->primitive, c->desc));
    const char *name = "";
    CHECK(dnnl_primitive_desc_query(c->desc, dnnl_query_impl_info_str, 0, &name));
    snprintf(c->algorithm, sizeof c->algorithm, "%s", name);
    const_desc_t packed = dnnl_primitive_desc_query_md(c->desc, dnnl_query_weights_md, 0);
    const_desc_t scratch = dnnl_primitive_desc_query_md(c->desc, dnnl_query_scratchpad_md, 0);
    c->weight_bytes = dnnl_memory_desc_get_size(packed);
    c->scratch_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    c->weight_layout = layout_hash(packed);
    CHECK(dnnl_memory_create(&c->memory[SRC], DESC(src), d->engine, DNNL_MEMORY_NONE));
    CHECK(dnnl_memory_create(&c->memory[WEIGHTS], packed, d->engine, DNNL_MEMORY_NONE));
    CHECK(dnnl_memory_create(&c->memory[BIAS], DESC(bias), d->engine, DNNL_MEMORY_NONE));
    CHECK(dnnl_memory_create(&c->memory[DST], DESC(dst), d->engine, DNNL_MEMORY_NONE));
    if (c->scratch_bytes)
        CHECK(dnnl_memory_create(&c->memory[SCRATCH], scratch, d->engine, DNNL_MEMORY_NONE));
    *out = c;
    c = NULL;
cleanup:
    bs__desc_free(&src);
    bs__desc_free(&weights);
    bs__desc_free(&bias);
    bs__desc_free(&dst);
    if (ops)
        dnnl_post_ops_destroy(ops);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    bs__dnnl_conv_destroy(c);
    return rc;
}

void bs__dnnl_conv_destroy(struct bs__dnnl_conv *c)
{
    if (!c)
        return;
    for (int i = 0; i < ARGUMENTS; i++)
        if (c->memory[i])
            dnnl_memory_destroy(c->memory[i]);
    if (c->primitive)
        dnnl_primitive_destroy(c->primitive);
    if (c->desc)
        dnnl_primitive_desc_destroy(c->desc);
    free(c);
}

size_t bs__dnnl_conv_scratch(const struct bs__dnnl_conv *c)
{
    return c->scratch_bytes;
}

size_t bs__dnnl_conv_weight_bytes(const struct bs__dnnl_conv *c)
{
    return c->weight_bytes;
}

uint64_t bs__dnnl_conv_weight_layout(const struct bs__dnnl_conv *c)
{
    return c->weight_layout;
}

const char *bs__dnnl_conv_algorithm(const struct bs__dnnl_conv *c)
{
    return c->algorithm;
}

bs_status bs__dnnl_conv_pack(struct bs__dnnl_conv *c, float *oihw, void *dst, struct bs_err *err)
{
    bs_status rc = BS_OK;
    const struct bs__dnnl_conv_shape *s = &c->shape;
    const dnnl_dims_t dims = {s->out, s->in, s->kernel_h, s->kernel_w};
    desc_t plain = {0};
    dnnl_memory_t from = NULL, to = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t reorder = NULL;
    const_desc_t packed = dnnl_primitive_desc_query_md(c->desc, dnnl_query_weights_md, 0);
    CHECK(bs__desc_init(&plain, 4, dims, dnnl_f32, dnnl_oihw));
    CHECK(dnnl_memory_create(&from, DESC(plain), c->dnnl->engine, oihw));
    CHECK(dnnl_memory_create(&to, packed, c->dnnl->engine, dst));
    CHECK(dnnl_reorder_primitive_desc_create(&desc, DESC(plain), c->dnnl->engine, packed, c->dnnl->engine,
                                             NULL));
    CHECK(dnnl_primitive_create(&reorder, desc));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    CHECK(dnnl_primitive_execute(reorder, c->dnnl->stream, 2, args));
    CHECK(dnnl_stream_wait(c->dnnl->stream));
cleanup:
    if (reorder)
        dnnl_primitive_destroy(reorder);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    if (from)
        dnnl_memory_destroy(from);
    if (to)
        dnnl_memory_destroy(to);
    bs__desc_free(&plain);
    return rc;
}

bs_status bs__dnnl_conv_run(struct bs__dnnl_conv *c, const void *src, const void *weights, const float *bias,
                            void *dst, void *scratch, struct bs_err *err)
{
    bs_status rc = BS_OK;
    /* oneDNN takes inputs through the same non-const handle as outputs; it only reads them. */
    const void *handle[ARGUMENTS] = {src, weights, bias, dst, scratch};
    static const int argument[ARGUMENTS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST,
                                            DNNL_ARG_SCRATCHPAD};
    dnnl_exec_arg_t args[ARGUMENTS];
    int count = c->memory[SCRATCH] ? ARGUMENTS : SCRATCH;
    for (int i = 0; i < count; i++) {
        CHECK(dnnl_memory_set_data_handle(c->memory[i], (void *)(uintptr_t)handle[i]));
        args[i] = (dnnl_exec_arg_t){argument[i], c->memory[i]};
    }
    CHECK(dnnl_primitive_execute(c->primitive, c->dnnl->stream, count, args));
    CHECK(dnnl_stream_wait(c->dnnl->stream));
cleanup:
    return rc;
}
