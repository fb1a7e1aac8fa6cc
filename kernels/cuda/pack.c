/* See pack.h. */
#include "kernels/cuda/pack.h"

#include "kernels/op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
    struct bs__gpu *gpu;
    const struct bs__gpu_weight *w;
    size_t count; /* of the packed form */
};

static bs_status read_param(struct bs_params *params, const char *name, size_t count, float **out,
                            struct bs_err *err)
{
    *out = malloc(count * sizeof **out);
    if (!*out)
        return BS_FAIL(err, BS_ENOMEM, "no memory to read parameter \"%s\"", name);
    return bs_params_read(params, name, *out, count, err);
}

/* What a batch norm multiplies and adds: y = x scale + shift. */
static bs_status fold_of(struct bs_params *params, const struct bs__gpu_fold *f, size_t channels,
                         double **scale, double **shift, struct bs_err *err)
{
    bs_status rc = BS_OK;
    const char *const name[4] = {f->weight, f->bias, f->mean, f->variance};
    float *p[4] = {NULL};
    *scale = malloc(channels * sizeof **scale);
    *shift = malloc(channels * sizeof **shift);
    if (!*scale || !*shift) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to fold the norm \"%s\"", f->mean);
        goto cleanup;
    }
    for (int i = 0; i < 4; i++)
        if ((rc = read_param(params, name[i], channels, &p[i], err)) != BS_OK)
            goto cleanup;
    for (size_t c = 0; c < channels; c++) {
        (*scale)[c] = (double)p[0][c] / sqrt((double)p[3][c] + (double)f->eps);
        (*shift)[c] = (double)p[1][c] - (double)p[2][c] * (*scale)[c];
    }
cleanup:
    for (int i = 0; i < 4; i++)
        free(p[i]);
    return rc;
}

/* Output channels of a parameter, and how many of its values in a row belong to one. */
static void channels_of(const struct bs__gpu_weight *w, size_t *channels, size_t *run)
{
    const int64_t *d = w->shape.dim;
    *channels = (size_t)(w->form == BS__FORM_SHUFFLE ? d[1] : d[0]);
    *run = 1;
    for (int i = w->form == BS__FORM_SHUFFLE ? 2 : 1; i < w->shape.ndim; i++)
        *run *= (size_t)d[i];
}

static bs_status apply_fold(const struct job *j, struct bs_params *params, float *values, struct bs_err *err)
{
    double *scale = NULL, *shift = NULL;
    size_t channels, run;
    channels_of(j->w, &channels, &run);
    bs_status rc = fold_of(params, j->w->fold, channels, &scale, &shift, err);
    const size_t count = bs_shape_count(&j->w->shape);
    for (size_t i = 0; rc == BS_OK && i < count; i++) {
        const size_t c = i / run % channels;
        const double v = (double)values[i] * scale[c];
        values[i] = (float)(j->w->form == BS__FORM_BIAS ? v + shift[c] : v);
    }
    free(scale);
    free(shift);
    return rc;
}

/* (a, b, taps) as (a, taps, b). */
static void taps_before(const float *from, size_t a, size_t b, size_t taps, float *to)
{
    for (size_t i = 0; i < a; i++)
        for (size_t k = 0; k < b; k++)
            for (size_t t = 0; t < taps; t++)
                to[(i * taps + t) * b + k] = from[(i * b + k) * taps + t];
}

/* (in, out, taps) as (taps, out, in). */
static void shuffle(const float *from, size_t in, size_t out, size_t taps, float *to)
{
    for (size_t i = 0; i < in; i++)
        for (size_t o = 0; o < out; o++)
            for (size_t t = 0; t < taps; t++)
                to[(t * out + o) * in + i] = from[(i * out + o) * taps + t];
}

/* Positions added to zeros, by the operator's own definition. */
static bs_status positions(const struct job *j, float *values, float *to, struct bs_err *err)
{
    struct bs_shape tokens = j->w->positions->shape;
    tokens.dim[0] = 1;
    float *zeros = calloc(j->count, sizeof *zeros);
    if (!zeros)
        return BS_FAIL(err, BS_ENOMEM, "no memory to resample parameter \"%s\"", j->w->name);
    const struct bs_tensor in[2] = {{BS_F32, tokens, zeros}, {BS_F32, j->w->shape, values}};
    struct bs_tensor out = {BS_F32, tokens, to};
    bs_op_def(BS_OP_ADD_POSITION)->reference(&j->w->positions->attr, in, 2, &out);
    free(zeros);
    return BS_OK;
}

static bs_status lay_out(const struct job *j, float *values, float *to, struct bs_err *err)
{
    const struct bs__gpu_weight *w = j->w;
    const int64_t *d = w->shape.dim;
    switch (w->form) {
    case BS__FORM_PLAIN:
    case BS__FORM_BIAS:
        memcpy(to, values, j->count * sizeof *to);
        return BS_OK;
    case BS__FORM_TAPS:
        taps_before(values, (size_t)d[0], (size_t)d[1], (size_t)(d[2] * d[3]), to);
        return BS_OK;
    case BS__FORM_DIRECT:
        bs__conv_direct_pack(values, d[0], d[1], d[2], d[3], to);
        return BS_OK;
    case BS__FORM_SHUFFLE:
        shuffle(values, (size_t)d[0], (size_t)d[1], (size_t)(d[2] * d[3]), to);
        return BS_OK;
    case BS__FORM_RELATIVE:
        bs__cuda_attention_table(values, d[0], d[1], w->side, to);
        return BS_OK;
    case BS__FORM_POSITIONS:
        return positions(j, values, to, err);
    }
    return BS_FAIL(err, BS_EINTERNAL, "no form %d of a weight", (int)w->form);
}

/* To the element type, in place: the results are not longer than what they are made of. */
static void convert(float *values, size_t count, enum bs__element e)
{
    unsigned char *to = (unsigned char *)values;
    for (size_t i = 0; i < count && e != BS__F32; i++) {
        const uint16_t half = e == BS__BF16 ? bs_f32_to_bf16(values[i]) : bs_f32_to_f16(values[i]);
        memcpy(to + i * sizeof half, &half, sizeof half);
    }
}

/* dst is an address on the device. */
static bs_status pack(struct bs_params *params, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    const struct job *j = ctx;
    const size_t count = bs_shape_count(&j->w->shape);
    bs_status rc = BS_OK;
    float *values = calloc(count, sizeof *values), *to = calloc(j->count, sizeof *to);
    if (!values || !to) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to lay out parameter \"%s\"", j->w->name ? j->w->name : "");
        goto cleanup;
    }
    if (j->w->name && (rc = bs_params_read(params, j->w->name, values, count, err)) != BS_OK)
        goto cleanup;
    if (j->w->fold && (rc = apply_fold(j, params, values, err)) != BS_OK)
        goto cleanup;
    if ((rc = lay_out(j, values, to, err)) != BS_OK)
        goto cleanup;
    convert(to, j->count, j->w->element);
    rc = bs__gpu_upload(j->gpu, (bs_address)(uintptr_t)dst, to, bytes, err);
cleanup:
    free(values);
    free(to);
    return rc;
}

static bs_status alloc_weight(void *ctx, size_t bytes, void **out, struct bs_err *err)
{
    bs_address at = 0;
    bs_status rc = bs__gpu_alloc(ctx, "a weight", bytes, &at, err);
    *out = (void *)(uintptr_t)at;
    return rc;
}

static void free_weight(void *ctx, void *memory, size_t bytes)
{
    (void)bytes;
    bs__gpu_free(ctx, (bs_address)(uintptr_t)memory);
}

bs_address bs__gpu_pack(struct bs__gpu_lowering *l, const struct bs__gpu_weight *w)
{
    static const char *const form[] = {"plain", "taps", "direct", "shuffle", "bias", "relative", "positions"};
    char key[1024], detail[96] = "";
    const void *out = NULL;
    if (l->rc != BS_OK)
        return 0;
    struct job j = {.gpu = l->gpu, .w = w, .count = bs_shape_count(&w->shape)};
    if (!w->name) {
        snprintf(detail, sizeof detail, " of %zu zeros", j.count);
    } else if (w->form == BS__FORM_RELATIVE) {
        j.count = (size_t)((2 * w->side - 1) * w->shape.dim[1]);
        snprintf(detail, sizeof detail, " for %lld", (long long)w->side);
    } else if (w->form == BS__FORM_POSITIONS) {
        const struct bs_node *n = w->positions;
        j.count = (size_t)(n->shape.dim[1] * n->shape.dim[2]);
        snprintf(detail, sizeof detail, " for %lldx%lld of %lld at %lld", (long long)n->attr.out_h,
                 (long long)n->attr.out_w, (long long)n->shape.dim[1], (long long)n->attr.start);
    }
    const int len = snprintf(key, sizeof key, "cuda%d/%s%s/%s/%s%s%s", l->gpu->ordinal, form[w->form], detail,
                             bs__element_name(w->element), w->name ? w->name : "", w->fold ? "*" : "",
                             w->fold ? w->fold->mean : "");
    if (len < 0 || (size_t)len >= sizeof key) {
        l->rc = BS_FAIL(l->err, BS_ELIMIT, "parameter name of %zu bytes; up to 400 are accepted",
                        strlen(w->name));
        return 0;
    }
    const struct bs_pack_memory where = {l->gpu, alloc_weight, free_weight};
    l->rc = bs_params_packed_in(l->params, &where, key, j.count * bs__element_bytes(w->element), pack, &j,
                                &out, l->err);
    return (bs_address)(uintptr_t)out;
}

const char *bs__gpu_param(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    if (n->op != BS_OP_PARAM) {
        bs__gpu_fail(l, BS_EUNSUPPORTED, "the CUDA backend takes weights from parameters only", n);
        return NULL;
    }
    if (l->rc == BS_OK)
        l->rc = bs_params_need(l->params, n->name, &n->shape, l->err);
    return l->rc == BS_OK ? n->name : NULL;
}

bs_address bs__gpu_pack_plain(struct bs__gpu_lowering *l, bs_value v, enum bs__element e)
{
    if (v == BS_NO_VALUE)
        return 0;
    const char *name = bs__gpu_param(l, v);
    return name ? bs__gpu_pack(l, &(struct bs__gpu_weight){.form = BS__FORM_PLAIN,
                                                           .element = e,
                                                           .name = name,
                                                           .shape = bs__gpu_node(l, v)->shape})
                : 0;
}
