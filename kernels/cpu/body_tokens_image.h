/* Between tokens and blocked images of one element type: a pixel's channels are a token's features. */

static void FN(image_from_tokens)(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__relayout *c = ctx;
    const int64_t n = task / c->groups, group = task % c->groups, first = group * c->run;
    const int64_t end = first + c->run < c->pixels ? first + c->run : c->pixels;
    struct bs__moments *part = c->part ? c->part + (n * c->groups + group) * c->blocks * L : NULL;
    if (part)
        memset(part, 0, (size_t)c->blocks * L * sizeof *part);
    for (int b = 0; b < c->blocks; b++) {
        ELEM *dst = (ELEM *)c->image + (n * c->blocks + b) * c->pixels * L;
        const int live = c->channels - b * L < L ? c->channels - b * L : L;
        struct sums sums = {.count = 0};
        for (int64_t i = first; i < end; i++) {
            const void *row = row_at(&c->tokens, n, i);
            vec v = splat(0);
            if (live == L)
                v = c->tokens.bf16 ? load_bf16_u((const uint16_t *)row + b * L)
                                   : (vec) * (const vec_u *)((const float *)row + b * L);
            for (int k = 0; live < L && k < live; k++)
                v[k] = c->tokens.bf16 ? f32_of(((const uint16_t *)row)[b * L + k])
                                      : ((const float *)row)[b * L + k];
            STORE(dst + i * L, v);
            if (part)
                sums_add(&sums, v);
        }
        if (part)
            sums_merge(part + b * L, &sums);
    }
}

static void FN(tokens_from_image)(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__relayout *c = ctx;
    const int64_t n = task / c->groups, first = task % c->groups * c->run;
    const int64_t end = first + c->run < c->pixels ? first + c->run : c->pixels;
    for (int b = 0; b < c->blocks; b++) {
        const ELEM *src = (const ELEM *)c->image + (n * c->blocks + b) * c->pixels * L;
        const int live = c->channels - b * L < L ? c->channels - b * L : L;
        for (int64_t i = first; i < end; i++) {
            void *row = row_at(&c->tokens, n, i);
            vec v = LOAD(src + i * L);
            if (live == L && c->tokens.bf16)
                *(hvec_u *)((uint16_t *)row + b * L) = bf16_of_v(v);
            else if (live == L)
                *(vec_u *)((float *)row + b * L) = v;
            for (int k = 0; live < L && k < live; k++) {
                if (c->tokens.bf16)
                    ((uint16_t *)row)[b * L + k] = bf16_of(v[k]);
                else
                    ((float *)row)[b * L + k] = v[k];
            }
        }
    }
}
