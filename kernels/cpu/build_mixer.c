/* Appends the steps of a state-space mixer: causal convolution and selective scan, with their weights laid out once per
   model; see build_tokens.h. */
#include "kernels/cpu/build_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A parameter of (features, m) values to be packed. */
struct packing {
    const struct bs__simd *simd;
    const char *name;
    int features, m;
    bool a_log;
};

static bs_status pack(struct bs_params *params, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    (void)bytes;
    const struct packing *p = ctx;
    const size_t count = (size_t)p->features * (size_t)p->m;
    float *plain = malloc(count * sizeof *plain);
    if (!plain)
        return BS_FAIL(err, BS_ENOMEM, "no memory to pack parameter \"%s\"", p->name);
    bs_status rc = bs_params_read(params, p->name, plain, count, err);
    if (rc == BS_OK && p->a_log)
        bs__scan_pack_a(p->simd, plain, p->features, p->m, dst);
    else if (rc == BS_OK)
        bs__scan_pack(p->simd, plain, p->features, p->m, dst);
    free(plain);
    return rc;
}

/* name NULL: NULL. */
static const float *packed(struct bs__build *b, const char *name, int features, int m, bool a_log)
{
    if (!name || b->rc != BS_OK)
        return NULL;
    struct packing p = {b->cpu->simd, name, features, m, a_log};
    char key[512];
    const int len =
        snprintf(key, sizeof key, "cpu/%s/%s/%s", a_log ? "decay" : "features", b->cpu->simd->name, name);
    if (len < 0 || (size_t)len >= sizeof key) {
        b->rc =
            BS_FAIL(b->err, BS_ELIMIT, "parameter name of %zu bytes; up to 400 are accepted", strlen(name));
        return NULL;
    }
    const void *out = NULL;
    b->rc = bs_params_packed(b->params, key, bs__scan_packed(p.simd, features, m) * sizeof(float), pack, &p,
                             &out, b->err);
    return out;
}

void bs__add_conv1d(struct bs__build *b, struct bs__rows_at *from, int kernel, bool silu,
                    const struct bs__conv1d_of *direction, int ndirection)
{
    struct bs__conv1d k = {.n = from->n,
                           .length = from->tokens,
                           .features = from->features,
                           .kernel = kernel,
                           .ndirection = ndirection,
                           .silu = silu};
    for (int i = 0; i < ndirection; i++) {
        k.direction[i].weights = packed(b, direction[i].weights, k.features, kernel, false);
        k.direction[i].bias = packed(b, direction[i].bias, k.features, 1, false);
        k.direction[i].reverse = direction[i].reverse;
    }
    struct bs__step *s = bs__new_token_step(b, BS__STEP_CONV1D);
    if (!s)
        return;
    bs__conv1d_split(&k);
    bs__bind_rows(b, s->token, BS__AT_X, from);
    bs__bind_new_rows(b, s->token, BS__AT_DST, direction[0].to);
    if (ndirection > 1)
        bs__bind_new_rows(b, s->token, BS__AT_SECOND_DST, direction[1].to);
    s->tasks = k.n * k.runs;
    s->token->conv1d = k;
    s->token->run = b->cpu->simd->conv1d;
    char how[64];
    snprintf(how, sizeof how, " kernel %d%s%s", kernel, silu ? " silu" : "",
             ndirection > 1         ? " both directions"
             : direction[0].reverse ? " reverse"
                                    : "");
    bs__name_token_step(s, "conv1d", from, direction[0].to, how);
}

void bs__add_scan(struct bs__build *b, const struct bs__scan_of *direction, int ndirection, int states,
                  bool softplus, float scale, struct bs__rows_at *z, struct bs__rows_at *to)
{
    const struct bs__simd *simd = b->cpu->simd;
    const struct bs__scan_of *first = &direction[0];
    struct bs__scan k = {
        .n = to->n,
        .length = to->tokens,
        .features = to->features,
        .states = states,
        .rank = first->low ? first->low->features : 0,
        .ndirection = ndirection,
        .scale = scale,
        .softplus = softplus,
    };
    for (int i = 0; i < ndirection; i++) {
        struct bs__scan_direction *d = &k.direction[i];
        const struct bs__scan_of *from = &direction[i];
        d->delta_weights = packed(b, from->low ? from->delta_weights : NULL, k.features, k.rank, false);
        d->delta_bias = packed(b, from->delta_bias, k.features, 1, false);
        d->skip = packed(b, from->skip, k.features, 1, false);
        d->a = packed(b, from->a_log, k.features, states, true);
        d->reverse = from->reverse;
    }
    struct bs__step *s = bs__new_token_step(b, BS__STEP_SCAN);
    if (!s)
        return;
    for (int i = 0, at = BS__AT_U; i < ndirection; i++, at += BS__AT_DIRECTION - BS__AT_U) {
        bs__bind_rows(b, s->token, at, direction[i].u);
        bs__bind_rows(b, s->token, at + BS__AT_DELTA - BS__AT_U, direction[i].delta);
        bs__bind_rows(b, s->token, at + BS__AT_LOW - BS__AT_U, direction[i].low);
        bs__bind_rows(b, s->token, at + BS__AT_B - BS__AT_U, direction[i].b);
        bs__bind_rows(b, s->token, at + BS__AT_C - BS__AT_U, direction[i].c);
    }
    bs__bind_rows(b, s->token, BS__AT_X, z);
    bs__bind_new_rows(b, s->token, BS__AT_DST, to);
    bs__scan_split(simd, b->cpu->threads, &k);
    k.scratch_floats = bs__scan_scratch(simd, &k);
    s->scratch = bs__make_scratch(b, k.scratch_floats);
    s->tasks = k.n * k.groups;
    s->token->scan = k;
    s->token->run = simd->scan;
    char how[64];
    snprintf(how, sizeof how, " states %d%s%s%s", states, k.rank ? " with step projection" : "",
             z ? " gate" : "",
             ndirection > 1   ? " both directions"
             : first->reverse ? " reverse"
                              : "");
    bs__name_token_step(s, "scan", first->u, to, how);
}
