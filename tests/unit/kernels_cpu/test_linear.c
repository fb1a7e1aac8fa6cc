/* Token linear on every instruction set this processor has, against loops in double precision. */
#include "kernels/cpu/linear.h"
#include "tests/unit/kernels_cpu/products.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct linear_case {
    int64_t n, rows;
    int in, out;
    int gap;         /* elements between rows, beyond the features */
    bool wide_input; /* float32 input of a bf16 kernel */
    bool wide_output;
    enum bs__row_norm norm;
    enum bs__row_act act;
    bool bias, residual, in_place; /* in_place: the residual is the destination */
};

/* Everything one product reads, what it should give, and what it gave. */
struct work {
    struct bs__linear c;
    double *x, *w, *bias, *residual, *norm_weight, *norm_bias, *want;
    void *x_data, *w_data, *packed, *bias_data, *residual_data, *norm_weight_data, *norm_bias_data, *dst;
    size_t dst_bytes;
};

static double activation(enum bs__row_act act, double x)
{
    switch (act) {
    case BS__ROW_AS_IS:
        break;
    case BS__ROW_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case BS__ROW_SILU:
        return x / (1 + exp(-x));
    case BS__ROW_RELU:
        return x > 0 ? x : 0;
    case BS__ROW_SIGMOID:
        return 1 / (1 + exp(-x));
    }
    return x;
}

static void expect(const struct linear_case *k, struct work *w)
{
    const int64_t step = k->in + k->gap;
    double *x = zeros((size_t)k->in * sizeof *x);
    for (int64_t r = 0; r < k->n * k->rows; r++) {
        memcpy(x, w->x + r * step, (size_t)k->in * sizeof *x);
        if (k->norm != BS__ROW_PLAIN) {
            double mean = 0, var = 0;
            for (int i = 0; i < k->in; i++)
                mean += x[i] / k->in;
            if (k->norm == BS__ROW_RMS_NORM)
                mean = 0;
            for (int i = 0; i < k->in; i++)
                var += (x[i] - mean) * (x[i] - mean) / k->in;
            for (int i = 0; i < k->in; i++)
                x[i] = (x[i] - mean) / sqrt(var + (double)w->c.eps) * w->norm_weight[i] +
                       (k->norm == BS__ROW_LAYER_NORM ? w->norm_bias[i] : 0);
        }
        for (int o = 0; o < k->out; o++) {
            double sum = k->bias ? w->bias[o] : 0;
            for (int i = 0; i < k->in; i++)
                sum += x[i] * w->w[o * k->in + i];
            sum = activation(k->act, sum);
            w->want[r * k->out + o] = sum + (k->residual ? w->residual[r * (k->out + k->gap) + o] : 0);
        }
    }
    free(x);
}

static void begin(const struct way *way, const struct linear_case *k, uint64_t seed, struct work *w)
{
    struct numbers r = {seed};
    const struct bs__linear_kernel *kernel = bs__linear_select(way->simd, way->bf16, way->fast);
    const int64_t in_step = k->in + k->gap, out_step = k->out + k->gap, rows = k->n * k->rows;
    const bool x_bf16 = way->bf16 && !k->wide_input, y_bf16 = way->bf16 && !k->wide_output;
    const size_t in = (size_t)(rows * in_step), out = (size_t)(rows * out_step);
    const double spread = 1 / sqrt(k->in);
    *w = (struct work){.x = zeros(in * sizeof(double)),
                       .w = zeros((size_t)k->in * (size_t)k->out * sizeof(double)),
                       .bias = zeros((size_t)k->out * sizeof(double)),
                       .residual = zeros(out * sizeof(double)),
                       .norm_weight = zeros((size_t)k->in * sizeof(double)),
                       .norm_bias = zeros((size_t)k->in * sizeof(double)),
                       .want = zeros((size_t)(rows * k->out) * sizeof(double))};
    w->x_data = random_values(&r, in, x_bf16, -2, 2.5, w->x);
    /* A bf16 kernel rounds its weights: hand it weights that are bf16 already. */
    free(random_values(&r, (size_t)k->in * (size_t)k->out, way->bf16, -spread, spread, w->w));
    float *plain = zeros((size_t)k->in * (size_t)k->out * sizeof *plain);
    for (int64_t i = 0; i < (int64_t)k->in * k->out; i++)
        plain[i] = (float)w->w[i];
    w->w_data = plain;
    w->packed = zeros(bs__linear_weight_bytes(kernel, k->in, k->out));
    bs__linear_pack(kernel, plain, k->in, k->out, w->packed);
    w->bias_data = random_values(&r, (size_t)k->out, false, -1, 1, w->bias);
    w->residual_data = random_values(&r, out, y_bf16, -1, 1, w->residual);
    w->norm_weight_data = random_values(&r, (size_t)k->in, false, 0.5, 1.5, w->norm_weight);
    w->norm_bias_data = random_values(&r, (size_t)k->in, false, -0.5, 0.5, w->norm_bias);
    w->dst_bytes = out * (y_bf16 ? sizeof(uint16_t) : sizeof(float));
    w->dst = zeros(w->dst_bytes);
    memcpy(w->dst, w->residual_data, w->dst_bytes); /* what lies between the rows must stay */
    w->c = (struct bs__linear){
        .n = k->n,
        .rows = k->rows,
        .in = k->in,
        .out = k->out,
        .x = {.data = w->x_data, .bf16 = x_bf16, .row = in_step, .sample = k->rows * in_step},
        .norm = k->norm,
        .norm_weight = w->norm_weight_data,
        .norm_bias = k->norm == BS__ROW_LAYER_NORM ? w->norm_bias_data : NULL,
        .eps = 1e-5f,
        .weights = w->packed,
        .bias = k->bias ? w->bias_data : NULL,
        .act = k->act,
        .residual = {.data = k->residual ? (k->in_place ? w->dst : w->residual_data) : NULL,
                     .bf16 = y_bf16,
                     .row = out_step,
                     .sample = k->rows * out_step},
        .dst = {.data = w->dst, .bf16 = y_bf16, .row = out_step, .sample = k->rows * out_step},
    };
    bs__linear_plan(kernel, &w->c);
    expect(k, w);
}

static void run(const struct way *way, struct work *w, int threads)
{
    w->c.scratch = zeros((size_t)threads * w->c.scratch_floats * sizeof(float));
    bs__parallel(threads, w->c.tasks, bs__linear_select(way->simd, way->bf16, way->fast)->run, &w->c);
    free(w->c.scratch);
}

static void end(struct work *w)
{
    void *all[] = {w->x,
                   w->w,
                   w->bias,
                   w->residual,
                   w->norm_weight,
                   w->norm_bias,
                   w->want,
                   w->x_data,
                   w->w_data,
                   w->packed,
                   w->bias_data,
                   w->residual_data,
                   w->dst,
                   w->norm_weight_data,
                   w->norm_bias_data};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* float32: rounding of the sums. bf16: rounding of the result, and of the input where the kernel rounds it. */
static void check(const struct way *way, const struct linear_case *k)
{
    struct work w;
    begin(way, k, 7, &w);
    run(way, &w, 1);
    const bool y_bf16 = w.c.dst.bf16;
    const bool rounds_input = way->bf16 && (k->wide_input || k->norm != BS__ROW_PLAIN);
    double worst = 0;
    for (int64_t r = 0; r < k->n * k->rows; r++) {
        for (int o = 0; o < k->out; o++) {
            const double want = w.want[r * k->out + o];
            const double have = value_of(w.dst, y_bf16, r * (k->out + k->gap) + o);
            double tolerance = 1e-5 + 1e-5 * fabs(want);
            tolerance += y_bf16 ? fabs(want) / 256 : 0;
            tolerance += rounds_input ? 0.02 : 0;
            worst = fmax(worst, fabs(want - have) / tolerance);
        }
        for (int64_t i = r * (k->out + k->gap) + k->out; i < (r + 1) * (k->out + k->gap); i++)
            assert_true(value_of(w.dst, y_bf16, i) == value_of(w.residual_data, y_bf16, i));
    }
    if (!(worst <= 1))
        fail_msg("%s%s %d -> %d, %d rows: %.2f of the tolerance", way->simd->name,
                 way->fast   ? " pairs"
                 : way->bf16 ? " bf16"
                             : "",
                 k->in, k->out, (int)k->rows, worst);
    end(&w);
}

static const struct linear_case cases[] = {
    {.n = 1, .rows = 1, .in = 1, .out = 1},
    {.n = 1, .rows = 7, .in = 12, .out = 384, .bias = true},
    {.n = 1, .rows = 29, .in = 384, .out = 44, .gap = 5},
    {.n = 2, .rows = 13, .in = 33, .out = 17, .gap = 3, .bias = true, .residual = true},
    {.n = 1, .rows = 103, .in = 192, .out = 768, .bias = true, .act = BS__ROW_GELU},
    {.n = 3, .rows = 5, .in = 768, .out = 64, .bias = true, .residual = true, .in_place = true, .gap = 64},
    {.n = 1, .rows = 11, .in = 64, .out = 130, .norm = BS__ROW_LAYER_NORM, .bias = true},
    {.n = 2, .rows = 9, .in = 77, .out = 65, .norm = BS__ROW_RMS_NORM, .gap = 1, .act = BS__ROW_SILU},
    {.n = 1, .rows = 8, .in = 2111, .out = 70, .bias = true, .act = BS__ROW_SIGMOID, .residual = true},
    {.n = 1, .rows = 14, .in = 3072, .out = 96, .norm = BS__ROW_LAYER_NORM, .act = BS__ROW_RELU},
    {.n = 1, .rows = 200, .in = 48, .out = 600, .wide_output = true},
    {.n = 1,
     .rows = 31,
     .in = 90,
     .out = 50,
     .wide_input = true,
     .wide_output = true,
     .bias = true,
     .residual = true,
     .norm = BS__ROW_RMS_NORM},
    {.n = 1, .rows = 10, .in = 50, .out = 48, .wide_input = true},
};

static void every_instruction_set_multiplies(void **state)
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
    const struct linear_case k = {
        .n = 2, .rows = 500, .in = 96, .out = 1100, .bias = true, .act = BS__ROW_GELU};
    struct way list[MOST_WAYS];
    const int n = ways(list);
    for (int i = 0; i < n; i++) {
        struct work one, many, backwards;
        begin(&list[i], &k, 3, &one);
        begin(&list[i], &k, 3, &many);
        begin(&list[i], &k, 3, &backwards);
        assert_true(one.c.tasks > 4);
        run(&list[i], &one, 1);
        run(&list[i], &many, 3);
        backwards.c.scratch = zeros(backwards.c.scratch_floats * sizeof(float));
        for (int64_t t = backwards.c.tasks - 1; t >= 0; t--)
            bs__linear_select(list[i].simd, list[i].bf16, list[i].fast)->run(&backwards.c, t, 0);
        free(backwards.c.scratch);
        assert_memory_equal(one.dst, many.dst, one.dst_bytes);
        assert_memory_equal(one.dst, backwards.dst, one.dst_bytes);
        end(&one);
        end(&many);
        end(&backwards);
    }
}

/* A row without a number stays without one and leaves the others alone. */
static void not_a_number_stays_in_its_row(void **state)
{
    (void)state;
    struct way list[MOST_WAYS];
    const int n = ways(list);
    const enum bs__row_act acts[] = {BS__ROW_AS_IS, BS__ROW_GELU, BS__ROW_SILU, BS__ROW_SIGMOID,
                                     BS__ROW_RELU};
    for (int i = 0; i < n; i++)
        for (int a = 0; a < 5; a++) {
            const struct linear_case k = {.n = 1, .rows = 9, .in = 20, .out = 70, .act = acts[a]};
            struct work w;
            begin(&list[i], &k, 5, &w);
            const uint32_t nan_bits = 0x7fc00123;
            if (w.c.x.bf16)
                ((uint16_t *)w.x_data)[4 * 20 + 3] = 0x7fc1;
            else
                memcpy((float *)w.x_data + 4 * 20 + 3, &nan_bits, sizeof nan_bits);
            run(&list[i], &w, 1);
            for (int r = 0; r < 9; r++)
                for (int o = 0; o < 70; o++)
                    assert_int_equal(isnan(value_of(w.dst, w.c.dst.bf16, r * 70 + o)) != 0, r == 4);
            end(&w);
        }
}

/* x/2 (1 + erf(x / sqrt 2)) and its relatives over the whole line, through a product with one. */
static void activations_are_exact(void **state)
{
    (void)state;
    struct way list[MOST_WAYS];
    const int n = ways(list), count = 40001;
    const enum bs__row_act acts[] = {BS__ROW_GELU, BS__ROW_SILU, BS__ROW_SIGMOID};
    float *x = zeros((size_t)count * sizeof *x), *y = zeros((size_t)count * sizeof *y), one = 1;
    for (int i = 0; i < count; i++)
        x[i] = (float)(i - 20000) * 0.0005F;
    x[0] = -3e38f;
    x[1] = -90;
    x[2] = -INFINITY;
    x[count - 1] = 3e38f;
    x[count - 2] = 90;
    x[count - 3] = INFINITY;
    for (int i = 0; i < n; i++)
        for (int a = 0; a < 3 && !list[i].bf16; a++) {
            const struct bs__linear_kernel *kernel = bs__linear_select(list[i].simd, false, false);
            struct bs__linear c = {.n = 1,
                                   .rows = count,
                                   .in = 1,
                                   .out = 1,
                                   .x = {.data = x, .row = 1},
                                   .act = acts[a],
                                   .dst = {.data = y, .row = 1}};
            void *packed = zeros(bs__linear_weight_bytes(kernel, 1, 1));
            bs__linear_pack(kernel, &one, 1, 1, packed);
            c.weights = packed;
            bs__linear_plan(kernel, &c);
            c.scratch = zeros(c.scratch_floats * sizeof(float));
            bs__parallel(1, c.tasks, kernel->run, &c);
            double worst = 0;
            for (int k = 0; k < count; k++) {
                if (isinf(x[k])) {
                    assert_true(x[k] < 0 || y[k] == (acts[a] == BS__ROW_SIGMOID ? 1 : INFINITY));
                    continue;
                }
                const double want = activation(acts[a], (double)x[k]);
                worst = fmax(worst, fabs(want - (double)y[k]) / fmax(1, fabs(want)));
            }
            print_message("%s, activation %d: %.1e\n", list[i].simd->name, (int)acts[a], worst);
            assert_true(worst < 4e-7);
            free(packed);
            free(c.scratch);
        }
    free(x);
    free(y);
}

static void weights_are_packed_once(void **state)
{
    (void)state;
    struct numbers r = {11};
    struct named_tensor weight = {"proj.weight", random_tensor(&r, BS_SHAPE(70, 30))};
    struct named_tensors tensors = {.list = &weight, .count = 1};
    struct bs_params *params = params_of(&tensors);
    const struct bs__linear_kernel *kernel = bs__linear_select(bs__simd_select(), false, false);
    const void *a = NULL, *b = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs__pack_linear(kernel, params, "proj.weight", 30, 70, &a, &err), BS_OK);
    assert_int_equal(bs__pack_linear(kernel, params, "proj.weight", 30, 70, &b, &err), BS_OK);
    assert_ptr_equal(a, b);
    assert_int_equal(tensors.reads, 1);
    void *own = zeros(bs__linear_weight_bytes(kernel, 30, 70));
    bs__linear_pack(kernel, floats(&weight.tensor), 30, 70, own);
    assert_memory_equal(a, own, bs__linear_weight_bytes(kernel, 30, 70));
    free(own);
    bs_params_unref(params);
    free_tensor(&weight.tensor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction_set_multiplies),
        cmocka_unit_test(the_bits_do_not_depend_on_the_threads),
        cmocka_unit_test(not_a_number_stays_in_its_row),
        cmocka_unit_test(activations_are_exact),
        cmocka_unit_test(weights_are_packed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
