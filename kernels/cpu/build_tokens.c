/* Appends steps over tokens to a program under construction; see build_tokens.h. */
#include "kernels/cpu/build_tokens.h"

#include <stdio.h>
#include <string.h>

struct bs__rows_at bs__rows_of(const struct bs_shape *s, bool bf16)
{
    struct bs__rows_at r = {.n = 1, .tokens = 1, .features = 1, .bf16 = bf16};
    if (s->ndim > 0)
        r.features = (int)s->dim[s->ndim - 1];
    for (int i = 0; i < s->ndim - 1; i++)
        if (i == 0 && s->ndim == 3)
            r.n = s->dim[0];
        else
            r.tokens *= s->dim[i];
    return r;
}

void bs__make_rows(struct bs__build *b, struct bs__rows_at *r)
{
    const int64_t line = 16;
    r->place = BS__ROWS_ARENA;
    r->offset = 0;
    r->row = r->features < line ? r->features : (r->features + line - 1) / line * line;
    r->sample = r->tokens * r->row;
    r->index =
        bs__new_buffer(b, (size_t)r->n * (size_t)r->sample * (r->bf16 ? sizeof(uint16_t) : sizeof(float)));
}

void bs__host_rows(struct bs__rows_at *r, enum bs__rows_place place, int index)
{
    r->place = place;
    r->index = index;
    r->bf16 = false;
    r->offset = 0;
    r->row = r->features;
    r->sample = r->tokens * r->row;
}

static void touch_rows(struct bs__build *b, const struct bs__rows_at *r)
{
    if (r->place == BS__ROWS_ARENA)
        bs__touch(b, r->index);
}

void bs__bind_rows(struct bs__build *b, struct bs__token_step *t, int at, const struct bs__rows_at *r)
{
    if (!r)
        return;
    t->at[at] = *r;
    touch_rows(b, r);
}

void bs__bind_new_rows(struct bs__build *b, struct bs__token_step *t, int at, struct bs__rows_at *r)
{
    if (r && r->place == BS__ROWS_NONE)
        bs__make_rows(b, r);
    bs__bind_rows(b, t, at, r);
}

struct bs__step *bs__new_token_step(struct bs__build *b, enum bs__step_kind kind)
{
    struct bs__token_step *t = bs__own(b, sizeof *t);
    struct bs__step *s = bs__new_step(b, kind);
    if (!s || !t)
        return NULL;
    s->token = t;
    return s;
}

void bs__name_token_step(struct bs__step *s, const char *what, const struct bs__rows_at *from,
                         const struct bs__rows_at *to, const char *how)
{
    snprintf(s->text, sizeof s->text, "%s %lldx%lldx%d%s -> %d%s%s", what, (long long)from->n,
             (long long)from->tokens, from->features, from->bf16 ? " bf16" : "", to->features,
             to->bf16 ? " bf16" : "", how);
}

/* Rows of a task: about 64 KiB, whatever the number of threads. */
static int64_t rows_of_task(int features, int64_t tokens)
{
    int64_t rows = 16384 / features;
    rows = rows < 1 ? 1 : rows;
    return rows > tokens ? tokens : rows;
}

void bs__add_row_pass(struct bs__build *b, const struct bs__row_operands *o, struct bs__row_pass pass,
                      const char *name)
{
    struct bs__step *s = bs__new_token_step(b, BS__STEP_ROWS);
    if (!s)
        return;
    const struct bs__rows_at *shape = o->dst ? o->dst : o->sum;
    const size_t lanes = (size_t)b->cpu->simd->lanes;
    pass.n = shape->n;
    pass.tokens = shape->tokens;
    pass.features = shape->features;
    pass.rows = rows_of_task(pass.features, pass.tokens);
    pass.groups = (pass.tokens + pass.rows - 1) / pass.rows;
    pass.scratch_floats = ((size_t)pass.features + lanes - 1) / lanes * lanes * 2;
    s->tasks = pass.n * pass.groups;
    s->token->pass = pass;
    s->token->table = o->table;
    s->token->run = b->cpu->simd->row_pass;
    bs__bind_rows(b, s->token, BS__AT_X, o->a);
    bs__bind_rows(b, s->token, BS__AT_OTHER, o->b);
    bs__bind_new_rows(b, s->token, BS__AT_SUM, o->sum);
    bs__bind_new_rows(b, s->token, BS__AT_DST, o->dst);
    s->scratch = bs__make_scratch(b, pass.scratch_floats);
    bs__name_token_step(s, name, o->a, shape, o->sum && o->dst ? " and the sum" : "");
}

void bs__add_patches(struct bs__build *b, int host, const struct bs_shape *image, int patch, int stride,
                     struct bs__rows_at *to)
{
    struct bs__step *s = bs__new_token_step(b, BS__STEP_PATCHES);
    if (!s)
        return;
    struct bs__patches *k = &s->token->patches;
    *k = (struct bs__patches){
        .n = image->dim[0],
        .h = image->dim[2],
        .w = image->dim[3],
        .patches_y = (image->dim[2] - patch) / stride + 1,
        .patches_x = (image->dim[3] - patch) / stride + 1,
        .channels = (int)image->dim[1],
        .patch = patch,
        .stride = stride,
    };
    s->host = host;
    s->tasks = k->n * k->patches_y;
    s->token->run = b->cpu->simd->patches;
    bs__bind_new_rows(b, s->token, BS__AT_DST, to);
    bs__name_token_step(s, "patches", to, to, "");
}

static struct bs__step *new_relayout(struct bs__build *b, enum bs__step_kind kind,
                                     const struct bs__image_at *image)
{
    struct bs__step *s = bs__new_token_step(b, kind);
    if (!s)
        return NULL;
    struct bs__relayout *k = &s->token->relayout;
    *k = (struct bs__relayout){
        .n = image->n,
        .pixels = image->h * image->w,
        .channels = image->channels,
        .blocks = bs__blocks(b, image->channels),
    };
    k->run = rows_of_task(k->channels, k->pixels);
    k->groups = (k->pixels + k->run - 1) / k->run;
    s->tasks = k->n * k->groups;
    return s;
}

void bs__add_tokens_from_image(struct bs__build *b, struct bs__image_at *from, struct bs__rows_at *to)
{
    struct bs__step *s = new_relayout(b, BS__STEP_TOKENS_FROM_IMAGE, from);
    if (!s)
        return;
    s->token->run = b->self->type->tokens_from_image;
    s->source[0] = bs__read_image(b, from);
    bs__bind_new_rows(b, s->token, BS__AT_DST, to);
    bs__name_token_step(s, "tokens from image", to, to, "");
}

void bs__add_image_from_tokens(struct bs__build *b, struct bs__rows_at *from, struct bs__image_at *to,
                               bool want_stats)
{
    struct bs__step *s = new_relayout(b, BS__STEP_IMAGE_FROM_TOKENS, to);
    if (!s)
        return;
    s->token->run = b->self->type->image_from_tokens;
    bs__bind_rows(b, s->token, BS__AT_X, from);
    s->dst = bs__make_image(b, to);
    if (want_stats)
        bs__gather(b, s, to, s->token->relayout.groups);
    bs__name_token_step(s, "image from tokens", from, from, "");
}

void bs__add_linear(struct bs__build *b, struct bs__rows_at *from, const char *weights, struct bs__linear k,
                    struct bs__rows_at *residual, struct bs__rows_at *to)
{
    struct bs__step *s = bs__new_token_step(b, BS__STEP_LINEAR);
    if (!s)
        return;
    const struct bs__linear_kernel *kernel =
        bs__linear_select(b->cpu->simd, b->self->bf16, b->cpu->fast_bf16);
    bs__bind_rows(b, s->token, BS__AT_X, from);
    bs__bind_rows(b, s->token, BS__AT_OTHER, residual);
    bs__bind_new_rows(b, s->token, BS__AT_DST, to);
    k.n = from->n;
    k.rows = from->tokens;
    k.in = from->features;
    k.out = to->features;
    /* Equally far apart in all that is touched: one long sample. */
    bool even = true;
    const struct bs__rows_at *all[] = {from, to, residual ? residual : to};
    for (int i = 0; i < 3; i++)
        even = even && (k.n == 1 || all[i]->sample == all[i]->tokens * all[i]->row);
    if (even) {
        k.rows *= k.n;
        k.n = 1;
    }
    /* The plan may ask how rows lie; addresses follow at run time. */
    k.x = (struct bs__rows){.bf16 = from->bf16, .row = from->row, .sample = from->sample};
    k.dst = (struct bs__rows){.bf16 = to->bf16, .row = to->row, .sample = to->sample};
    bs__linear_plan(kernel, &k);
    if (b->rc == BS_OK)
        b->rc = bs__pack_linear(kernel, b->params, weights, k.in, k.out, &k.weights, b->err);
    s->scratch = bs__make_scratch(b, k.scratch_floats);
    s->tasks = k.tasks;
    s->flops = 2.0 * (double)k.n * (double)k.rows * k.in * k.out;
    s->token->linear = k;
    s->token->run = kernel->run;
    static const char *const norm[] = {"", " layer norm", " rms norm"};
    static const char *const act[] = {"", " gelu", " silu", " relu", " sigmoid"};
    char how[64];
    snprintf(how, sizeof how, "%s%s%s %s", norm[k.norm], act[k.act], residual ? " add" : "", kernel->name);
    bs__name_token_step(s, "linear", from, to, how);
}

void bs__add_attention(struct bs__build *b, struct bs__rows_at *from, struct bs__attention k,
                       const struct bs__relative *relative, struct bs__rows_at *to)
{
    struct bs__step *s = bs__new_token_step(b, BS__STEP_ATTENTION);
    if (!s)
        return;
    const struct bs__attention_kernel *kernel =
        bs__attention_select(b->cpu->simd, b->self->bf16, b->cpu->fast_bf16);
    bs__bind_rows(b, s->token, BS__AT_X, from);
    bs__bind_new_rows(b, s->token, BS__AT_DST, to);
    k.n = from->n;
    k.d = to->features / k.heads;
    k.qkv = (struct bs__rows){.bf16 = from->bf16, .row = from->row, .sample = from->sample};
    k.dst = (struct bs__rows){.bf16 = to->bf16, .row = to->row, .sample = to->sample};
    const int64_t side[2] = {k.window ? k.window : k.grid_h, k.window ? k.window : k.grid_w};
    const float **table[2] = {&k.rel_h, &k.rel_w};
    for (int i = 0; i < 2 && relative->name[0] && b->rc == BS_OK; i++)
        b->rc = bs__pack_relative(b->params, relative->name[i], relative->length[i], k.d, side[i], table[i],
                                  b->err);
    bs__attention_plan(kernel, &k);
    s->scratch = bs__make_scratch(b, k.scratch_floats);
    s->tasks = k.tasks;
    /* Two products of queries and keys per head; windows that stick out are computed whole. */
    const double keys = (double)k.h * (double)k.w, windows = (double)k.windows_y * (double)k.windows_x;
    s->flops = 4.0 * (double)k.n * windows * keys * keys * k.heads * k.d;
    s->token->attention = k;
    s->token->run = kernel->run;
    char how[64];
    snprintf(how, sizeof how, " window %d heads %d%s %s", k.window, k.heads, k.rel_h ? " relative" : "",
             kernel->name);
    bs__name_token_step(s, "attention", from, to, how);
}
