/* See fused_attention.h. */
#include "kernels/cuda/fused_attention.h"

#include "kernels/base/checked.h"
#include "kernels/cuda/attention_extend.h"
#include "kernels/cuda/cudnn_attention.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ALIGN ((size_t)256)

struct bs__fused_attention_plan {
    struct bs__cudnn_attention_plan *attention;
    struct bs__extended_attention x;
    bool extended;                      /* queries and keys are written anew */
    size_t key, value, result, library; /* where in the workspace they begin; queries begin it */
    size_t bytes;
};

/* A library that multiplies with newer instructions than the own kernel's. */
static bool is_newer(int capability)
{
    return capability >= 90 && capability < 120;
}

/* Room for `count` heads of `features` at the end of the workspace. */
static bool reserve(struct bs__fused_attention_plan *p, const struct bs__cuda_attention *c, int64_t features,
                    size_t *at)
{
    size_t bytes = bs__element_bytes(c->element);
    *at = p->bytes;
    return bs_mul(bytes, (size_t)p->x.samples, &bytes) && bs_mul(bytes, (size_t)p->x.tokens, &bytes) &&
           bs_mul(bytes, (size_t)c->heads * (size_t)features, &bytes) && bs_round_up(bytes, ALIGN, &bytes) &&
           bs_add(p->bytes, bytes, &p->bytes);
}

static bool lay_out(struct bs__fused_attention_plan *p, const struct bs__cuda_attention *c)
{
    size_t query = 0;
    p->bytes = 0;
    if (p->extended && (!reserve(p, c, p->x.width, &query) || !reserve(p, c, p->x.width, &p->key)))
        return false;
    return !p->x.copied || (reserve(p, c, c->features, &p->value) && reserve(p, c, c->features, &p->result));
}

/* Rows of their own, and rows among the three of qkv. */
static struct bs__cudnn_heads packed(const struct bs__fused_attention_plan *p,
                                     const struct bs__cuda_attention *c, int64_t features)
{
    const int64_t token = c->heads * features;
    return (struct bs__cudnn_heads){.sample = p->x.tokens * token, .token = token, .head = features};
}
static struct bs__cudnn_heads among_three(const struct bs__fused_attention_plan *p,
                                          const struct bs__cuda_attention *c)
{
    const int64_t token = 3 * (int64_t)c->heads * c->features;
    return (struct bs__cudnn_heads){.sample = p->x.tokens * token, .token = token, .head = c->features};
}

static bs_status plan_library(struct bs__fused_attention_plan *p, const struct bs__libraries *l,
                              const struct bs__cuda_attention *c, char *why, size_t len, struct bs_err *err)
{
    const struct bs__cudnn_heads query = p->extended ? packed(p, c, p->x.width) : among_three(p, c);
    const struct bs__cudnn_attention wish = {
        .element = c->element,
        .samples = p->x.samples,
        .tokens = p->x.tokens,
        .heads = c->heads,
        .width = p->x.width,
        .features = c->features,
        .q = query,
        .k = query,
        .v = p->x.copied ? packed(p, c, c->features) : among_three(p, c),
        .y = packed(p, c, c->features),
        .scale = (float)(1 / sqrt((double)c->features)),
    };
    return bs__cudnn_attention_plan(l->cudnn, &wish, NULL, &p->attention, why, len, err);
}

bs_status bs__fused_attention_plan(const struct bs__libraries *l, const struct bs__cuda_limits *limits,
                                   const struct bs__cuda_attention *c, struct bs__fused_attention_plan **out,
                                   char *why, size_t len, struct bs_err *err)
{
    struct bs__fused_attention_plan *p = NULL;
    const char *obstacle = NULL;
    struct bs__extended_attention x;
    *out = NULL;
    bs_status rc = bs__attention_extended(c, limits, &x, &obstacle, err);
    if (rc != BS_OK)
        return rc;
    const bool extended = x.copied || c->rel_h;
    if (!l->cudnn)
        obstacle = "no cuDNN";
    else if (l->attention == BS__ATTENTION_OWN)
        obstacle = "BS_CUDA_ATTENTION";
    else if (!obstacle && extended && l->attention != BS__ATTENTION_LIBRARY && !is_newer(limits->capability))
        obstacle = "longer queries do not pay on this GPU";
    if (obstacle) {
        snprintf(why, len, "%s", obstacle);
        return BS_OK;
    }
    if (!(p = calloc(1, sizeof *p)))
        return BS_FAIL(err, BS_ENOMEM, "no memory to plan an attention");
    p->x = x;
    p->extended = extended;
    if (!lay_out(p, c)) {
        rc = BS_FAIL(err, BS_ELIMIT,
                     "attention: queries and keys with relative positions take too much memory");
        goto cleanup;
    }
    if ((rc = plan_library(p, l, c, why, len, err)) != BS_OK || !p->attention)
        goto cleanup;
    p->library = p->bytes;
    if (!bs_add(p->bytes, bs__cudnn_attention_workspace(p->attention), &p->bytes)) {
        rc = BS_FAIL(err, BS_ELIMIT, "attention: cuDNN's workspace is too large");
        goto cleanup;
    }
    *out = p;
    p = NULL;
cleanup:
    bs__fused_attention_plan_destroy(p);
    return rc;
}

void bs__fused_attention_plan_destroy(struct bs__fused_attention_plan *p)
{
    if (!p)
        return;
    bs__cudnn_attention_plan_destroy(p->attention);
    free(p);
}

size_t bs__fused_attention_workspace(const struct bs__fused_attention_plan *p)
{
    return p->bytes;
}

int bs__fused_attention_engine(const struct bs__fused_attention_plan *p)
{
    return bs__cudnn_attention_engine(p->attention);
}

int64_t bs__fused_attention_width(const struct bs__fused_attention_plan *p)
{
    return p->x.width;
}

bs_status bs__fused_attention(struct bs__queue *q, const struct bs__fused_attention_plan *p,
                              const struct bs__cuda_attention *c, bs_address workspace, struct bs_err *err)
{
    const bs_address part = (bs_address)c->heads * (bs_address)c->features * bs__element_bytes(c->element);
    const bs_address query = p->extended ? workspace : c->qkv,
                     key = p->extended ? workspace + p->key : c->qkv + part,
                     value = p->x.copied ? workspace + p->value : c->qkv + 2 * part,
                     result = p->x.copied ? workspace + p->result : c->y;
    bs_status rc = BS_OK;
    if (p->extended &&
        (rc = bs__cuda_extend_attention(q, c, query, key, p->x.copied ? value : 0, err)) != BS_OK)
        return rc;
    if ((rc = bs__cudnn_attend(p->attention, query, key, value, result,
                               bs__cudnn_attention_workspace(p->attention) ? workspace + p->library : 0,
                               err)) != BS_OK)
        return rc;
    return p->x.copied ? bs__cuda_attention_from_windows(q, c, result, err) : BS_OK;
}
