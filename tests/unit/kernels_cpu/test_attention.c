/* Attention on every instruction set this processor has, against loops in double precision. */
#include "kernels/cpu/attention.h"
#include "tests/unit/kernels_cpu/products.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct attention_case {
    int64_t n, grid_h, grid_w;
    int heads, d, window, gap; /* gap: elements between tokens, beyond the features */
    bool relative, pad;
    double size; /* of q and k */
};

struct work {
    struct bs__attention c;
    double *qkv, *pad, *rel_h, *rel_w;
    void *qkv_data, *pad_data, *rel_h_data, *rel_w_data, *dst;
    size_t dst_bytes;
};

static const struct bs__attention_kernel *kernel_of(const struct way *way)
{
    return bs__attention_select(way->simd, way->bf16, way->fast);
}

static void begin(const struct way *way, const struct attention_case *k, uint64_t seed, struct work *w)
{
    struct numbers r = {seed};
    const int64_t width = (int64_t)k->heads * k->d, in = 3 * width + k->gap, out = width + k->gap;
    const int64_t h = k->window ? k->window : k->grid_h, side = k->window ? k->window : k->grid_w;
    const int64_t tokens = k->grid_h * k->grid_w;
    *w = (struct work){.qkv = zeros((size_t)(k->n * tokens * in) * sizeof(double)),
                       .pad = zeros((size_t)(3 * width) * sizeof(double)),
                       .rel_h = zeros((size_t)((2 * h - 1) * k->d) * sizeof(double)),
                       .rel_w = zeros((size_t)((2 * side - 1) * k->d) * sizeof(double))};
    w->qkv_data = random_values(&r, (size_t)(k->n * tokens * in), way->bf16, -k->size, k->size, w->qkv);
    /* Numbers that bf16 has: the tolerance is for sums. */
    free(random_values(&r, (size_t)(3 * width), true, -1, 1, w->pad));
    free(random_values(&r, (size_t)((2 * h - 1) * k->d), true, -0.3, 0.3, w->rel_h));
    free(random_values(&r, (size_t)((2 * side - 1) * k->d), true, -0.3, 0.3, w->rel_w));
    double *exact[] = {w->pad, w->rel_h, w->rel_w};
    void **data[] = {&w->pad_data, &w->rel_h_data, &w->rel_w_data};
    const int64_t count[] = {3 * width, (2 * h - 1) * k->d, (2 * side - 1) * k->d};
    for (int a = 0; a < 3; a++) {
        float *to = *data[a] = zeros((size_t)count[a] * sizeof(float));
        for (int64_t i = 0; i < count[a]; i++)
            to[i] = (float)exact[a][i];
    }
    w->dst_bytes = (size_t)(k->n * tokens * out) * (way->bf16 ? sizeof(uint16_t) : sizeof(float));
    w->dst = zeros(w->dst_bytes);
    w->c = (struct bs__attention){
        .n = k->n,
        .grid_h = k->grid_h,
        .grid_w = k->grid_w,
        .heads = k->heads,
        .d = k->d,
        .window = k->window,
        .qkv = {.data = w->qkv_data, .bf16 = way->bf16, .row = in, .sample = tokens * in},
        .pad = k->pad ? w->pad_data : NULL,
        .rel_h = k->relative ? w->rel_h_data : NULL,
        .rel_w = k->relative ? w->rel_w_data : NULL,
        .dst = {.data = w->dst, .bf16 = way->bf16, .row = out, .sample = tokens * out},
    };
    bs__attention_plan(kernel_of(way), &w->c);
}

static void run(const struct way *way, struct bs__attention *c, int threads)
{
    c->scratch = zeros((size_t)threads * c->scratch_floats * sizeof(float));
    bs__parallel(threads, c->tasks, kernel_of(way)->run, c);
    free(c->scratch);
}

static void end(struct work *w)
{
    void *all[] = {w->qkv,      w->pad,        w->rel_h,      w->rel_w, w->qkv_data,
                   w->pad_data, w->rel_h_data, w->rel_w_data, w->dst};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* out[d] of the token at (y, x). */
static void expect(const struct attention_case *k, const struct work *w, int64_t n, int head, int64_t y,
                   int64_t x, double *out)
{
    const int64_t width = (int64_t)k->heads * k->d, in = 3 * width + k->gap, tokens = k->grid_h * k->grid_w;
    const int64_t h = k->window ? k->window : k->grid_h, side = k->window ? k->window : k->grid_w;
    const int64_t top = y / h * h, left = x / side * side;
    const double *q = w->qkv + (n * tokens + y * k->grid_w + x) * in + (int64_t)head * k->d;
    double *logit = zeros((size_t)(h * side) * sizeof *logit), largest = -INFINITY, sum = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t j = 0; j < h * side; j++) {
            const int64_t ky = top + j / side, kx = left + j % side;
            const bool inside = ky < k->grid_h && kx < k->grid_w, there = inside || k->pad;
            const double *row = inside ? w->qkv + (n * tokens + ky * k->grid_w + kx) * in : w->pad;
            const double *key = row + width + (int64_t)head * k->d;
            if (pass == 0) {
                for (int i = 0; i < k->d; i++) {
                    if (there)
                        logit[j] += q[i] * key[i] / sqrt(k->d);
                    if (k->relative)
                        logit[j] += q[i] * (w->rel_h[(y - ky + h - 1) * k->d + i] +
                                            w->rel_w[(x - kx + side - 1) * k->d + i]);
                }
                largest = fmax(largest, logit[j]);
            } else {
                const double weight = exp(logit[j] - largest);
                sum += weight;
                for (int i = 0; i < k->d; i++)
                    out[i] += there ? weight * key[width + i] : 0;
            }
        }
    for (int i = 0; i < k->d; i++)
        out[i] /= sum;
    free(logit);
}

/* float32: rounding of logits of this size. bf16: rounding of the weights, the result and the relative positions. */
static void check(const struct way *way, const struct attention_case *k)
{
    struct work w;
    begin(way, k, 21, &w);
    run(way, &w.c, 1);
    const int64_t width = (int64_t)k->heads * k->d, out = width + k->gap, tokens = k->grid_h * k->grid_w;
    double *want = zeros((size_t)k->d * sizeof *want), worst = 0;
    const double tolerance = (way->bf16 ? 8e-3 : 3e-6) * (k->size > 2 ? k->size : 1);
    for (int64_t n = 0; n < k->n; n++)
        for (int64_t t = 0; t<tokens; t += k->n * tokens> 400 ? 7 : 1) {
            const int64_t at = (n * tokens + t) * out;
            for (int head = 0; head < k->heads; head++) {
                memset(want, 0, (size_t)k->d * sizeof *want);
                expect(k, &w, n, head, t / k->grid_w, t % k->grid_w, want);
                for (int i = 0; i < k->d; i++)
                    worst = fmax(worst,
                                 fabs(value_of(w.dst, way->bf16, at + (int64_t)head * k->d + i) - want[i]));
            }
            for (int64_t i = width; i < out; i++)
                assert_true(value_of(w.dst, way->bf16, at + i) == 0);
        }
    if (!(worst <= tolerance))
        fail_msg("%s%s %dx%d window %d, %d heads of %d: %.1e is more than %.1e", way->simd->name,
                 way->fast   ? " pairs"
                 : way->bf16 ? " bf16"
                             : "",
                 (int)k->grid_h, (int)k->grid_w, k->window, k->heads, k->d, worst, tolerance);
    free(want);
    end(&w);
}

static const struct attention_case cases[] = {
    {.n = 1, .grid_h = 1, .grid_w = 1, .heads = 1, .d = 1, .size = 1},
    {.n = 1, .grid_h = 5, .grid_w = 7, .heads = 3, .d = 64, .relative = true, .pad = true, .size = 1},
    {.n = 2, .grid_h = 20, .grid_w = 17, .heads = 2, .d = 80, .gap = 7, .relative = true, .size = 1},
    {.n = 1, .grid_h = 3, .grid_w = 90, .heads = 1, .d = 5, .gap = 1, .relative = true, .size = 2},
    {.n = 1, .grid_h = 33, .grid_w = 9, .heads = 1, .d = 32, .size = 2},
    {.n = 2,
     .grid_h = 6,
     .grid_w = 7,
     .heads = 2,
     .d = 16,
     .window = 4,
     .relative = true,
     .pad = true,
     .size = 1},
    {.n = 1,
     .grid_h = 16,
     .grid_w = 17,
     .heads = 1,
     .d = 64,
     .window = 14,
     .relative = true,
     .pad = true,
     .size = 1},
    {.n = 1, .grid_h = 6, .grid_w = 5, .heads = 2, .d = 7, .window = 3, .gap = 4, .size = 1},
    {.n = 1,
     .grid_h = 18,
     .grid_w = 19,
     .heads = 1,
     .d = 24,
     .window = 18,
     .relative = true,
     .pad = true,
     .size = 1},
};

static void every_instruction_set_attends(void **state)
{
    (void)state;
    struct way list[MOST_WAYS];
    const int n = ways(list);
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
            check(&list[i], &cases[k]);
}

static void the_bits_do_not_depend_on_the_threads(void **state)
{
    (void)state;
    const struct attention_case k = {
        .n = 2, .grid_h = 19, .grid_w = 15, .heads = 2, .d = 20, .relative = true, .pad = true, .size = 1};
    struct way list[MOST_WAYS];
    const int n = ways(list);
    for (int i = 0; i < n; i++)
        for (int window = 0; window < 12; window += 11) {
            struct attention_case own = k;
            own.window = window;
            struct work one, many, backwards;
            begin(&list[i], &own, 3, &one);
            begin(&list[i], &own, 3, &many);
            begin(&list[i], &own, 3, &backwards);
            assert_true(one.c.tasks >= 8);
            run(&list[i], &one.c, 1);
            run(&list[i], &many.c, 3);
            backwards.c.scratch = zeros(backwards.c.scratch_floats * sizeof(float));
            for (int64_t t = backwards.c.tasks - 1; t >= 0; t--)
                kernel_of(&list[i])->run(&backwards.c, t, 0);
            free(backwards.c.scratch);
            assert_memory_equal(one.dst, many.dst, one.dst_bytes);
            assert_memory_equal(one.dst, backwards.dst, one.dst_bytes);
            end(&one);
            end(&many);
            end(&backwards);
        }
}

/* Logits of hundreds of thousands, whose exponentials no type holds: the largest key takes all. */
static void large_scores_do_not_overflow(void **state)
{
    (void)state;
    const struct attention_case k = {.n = 1, .grid_h = 11, .grid_w = 13, .heads = 1, .d = 16, .size = 1};
    struct way list[MOST_WAYS];
    const int n = ways(list);
    for (int i = 0; i < n; i++) {
        struct work w;
        begin(&list[i], &k, 4, &w);
        for (int64_t t = 0; t < 143; t++)
            for (int f = 0; f < 48; f++) {
                /* q = 1024, k = 1024 for one key and -1024 for the others, v = number of the token */
                const float v = f < 16 ? 1024 : f < 32 ? (t == 77 ? 1024 : -1024) : (float)t;
                if (list[i].bf16)
                    ((uint16_t *)w.qkv_data)[t * 48 + f] = bs_f32_to_bf16(v);
                else
                    ((float *)w.qkv_data)[t * 48 + f] = v;
            }
        run(&list[i], &w.c, 1);
        for (int64_t e = 0; e < 143 * 16; e++)
            assert_true(value_of(w.dst, list[i].bf16, e) == 77);
        end(&w);
    }
}

/* A query without a number gets no result, the others theirs; a value without a number reaches every query. */
static void not_a_number_propagates(void **state)
{
    (void)state;
    const struct attention_case k = {
        .n = 1, .grid_h = 9, .grid_w = 10, .heads = 1, .d = 8, .relative = true, .size = 1};
    struct way list[MOST_WAYS];
    const int n = ways(list);
    for (int i = 0; i < n; i++)
        for (int part = 0; part < 3; part++) { /* q, k, v */
            struct work w;
            begin(&list[i], &k, 5, &w);
            const int64_t at = 40 * 24 + part * 8 + 3;
            if (list[i].bf16)
                ((uint16_t *)w.qkv_data)[at] = 0x7fc1;
            else
                ((float *)w.qkv_data)[at] = NAN;
            run(&list[i], &w.c, 1);
            for (int64_t e = 0; e < 90 * 8; e++) {
                const bool hit = part == 0 ? e / 8 == 40 : part == 1 || e % 8 == 3;
                assert_int_equal(isnan(value_of(w.dst, list[i].bf16, e)) != 0, hit);
            }
            end(&w);
        }
}

/* Scratch stays small however long the sequence is: a few features per query of a task, and tables along the sides. */
static void scratch_does_not_grow_with_the_square(void **state)
{
    (void)state;
    struct way list[MOST_WAYS];
    const int n = ways(list);
    for (int i = 0; i < n; i++) {
        struct bs__attention c = {.n = 1, .grid_h = 256, .grid_w = 256, .heads = 12, .d = 64};
        const float table = 0;
        c.rel_h = c.rel_w = &table;
        bs__attention_plan(kernel_of(&list[i]), &c);
        print_message("%s: %zu KiB a worker for 65,536 tokens\n", kernel_of(&list[i])->name,
                      c.scratch_floats * sizeof(float) / 1024);
        assert_true(c.scratch_floats * sizeof(float) < (size_t)2 << 20);
    }
}

static void tables_of_another_length_are_resampled(void **state)
{
    (void)state;
    const float values[] = {0, 10, 1, 20, 2, 30}; /* (3, 2) */
    struct named_tensor table = {"rel_pos_h", tensor_of(BS_SHAPE(3, 2), values)};
    struct named_tensors tensors = {.list = &table, .count = 1};
    struct bs_params *params = params_of(&tensors);
    struct bs_err err = {0};
    const float *same = NULL, *longer = NULL, *again = NULL;
    assert_int_equal(bs__pack_relative(params, "rel_pos_h", 3, 2, 2, &same, &err), BS_OK);
    assert_memory_equal(same, values, sizeof values);
    assert_int_equal(bs__pack_relative(params, "rel_pos_h", 3, 2, 3, &longer, &err), BS_OK);
    const double want[] = {0, 0.4, 1, 1.6, 2}; /* (r + 1/2) 3/5 - 1/2, between 0 and 2 */
    for (int r = 0; r < 5; r++) {
        assert_close(longer[2 * r], want[r], 1e-6);
        assert_close(longer[2 * r + 1], 10 + 10 * want[r], 1e-5);
    }
    assert_int_equal(bs__pack_relative(params, "rel_pos_h", 3, 2, 3, &again, &err), BS_OK);
    assert_ptr_equal(longer, again);
    bs_params_unref(params);
    free_tensor(&table.tensor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction_set_attends),
        cmocka_unit_test(the_bits_do_not_depend_on_the_threads),
        cmocka_unit_test(large_scores_do_not_overflow),
        cmocka_unit_test(not_a_number_propagates),
        cmocka_unit_test(scratch_does_not_grow_with_the_square),
        cmocka_unit_test(tables_of_another_length_are_resampled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
