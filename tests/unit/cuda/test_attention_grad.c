/* Gradients of attention on GPUs against the operator's reference. */
#include "kernels/cuda/attention_grad.h"
#include "tests/unit/cuda/attention_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

/* The forward on the host, its gradients by the reference, and the arrays on the device. */
struct gradients {
    struct attention_inputs in;
    float *y, *lse, *gy;
    float *want[4];
    size_t count[4];
    struct bs__cuda_attention_grad call;
};

static struct gradients gradients(struct cuda_test *t, enum bs__element e, const struct attention_case *c)
{
    struct gradients g = {.in = attention_inputs(t, e, c)};
    const size_t count = g.in.tokens * g.in.width, rows = g.in.tokens * (size_t)c->heads;
    const int64_t tokens = c->grid_h * c->grid_w, width = (int64_t)g.in.width;
    g.y = attention_values(count);
    g.gy = attention_values(count);
    g.lse = attention_values(rows);
    cuda_fill(g.gy, count, 21, -1, 1);
    cuda_round(e, g.gy, count);
    struct bs_tensor in[7] = {{BS_F32, BS_SHAPE(c->samples, tokens, width), g.y},
                              {BS_F32, BS_SHAPE(c->samples, tokens, c->heads), g.lse},
                              {BS_F32, BS_SHAPE(c->samples, tokens, width), g.gy}};
    memcpy(in + 3, g.in.tensor, sizeof g.in.tensor);
    bs_op_def(BS_OP_ATTENTION)->reference(&g.in.attr, g.in.tensor, g.in.count, &in[0]);
    bs_op_def(BS_OP_ATTENTION_LSE)->reference(&g.in.attr, g.in.tensor, g.in.count, &in[1]);
    cuda_round(e, g.y, count);
    for (int i = 0; i < g.in.count; i++) {
        g.count[i] = bs_shape_count(&g.in.tensor[i].shape);
        g.want[i] = attention_values(g.count[i]);
        struct bs_tensor to = {BS_F32, g.in.tensor[i].shape, g.want[i]};
        g.in.attr.which = i;
        bs_op_def(BS_OP_ATTENTION_GRAD)->reference(&g.in.attr, in, 3 + g.in.count, &to);
    }
    g.call = (struct bs__cuda_attention_grad){.forward = g.in.call,
                                              .gy = cuda_put(t, e, g.gy, count),
                                              .gqkv = cuda_room(t, g.count[0] * bs__element_bytes(e)),
                                              .gpad = cuda_room(t, g.count[1] * sizeof(float))};
    g.call.forward.y = cuda_put(t, e, g.y, count);
    g.call.forward.lse = cuda_put(t, BS__F32, g.lse, rows);
    if (g.in.count == 4) {
        g.call.rows_h = g.in.tensor[2].shape.dim[0];
        g.call.rows_w = g.in.tensor[3].shape.dim[0];
        g.call.grel_h = cuda_room(t, g.count[2] * sizeof(float));
        g.call.grel_w = cuda_room(t, g.count[3] * sizeof(float));
    }
    g.call.workspace = cuda_room(t, bs__cuda_attention_grad_workspace(&g.call));
    return g;
}

static void gradients_free(struct gradients *g)
{
    free(g->y);
    free(g->lse);
    free(g->gy);
    for (int i = 0; i < g->in.count; i++)
        free(g->want[i]);
    attention_inputs_free(&g->in);
}

/* Values summed in float; those of the half types are rounded when stored, and y was before. */
static void compare(struct cuda_test *t, enum bs__element e, const struct attention_case *c)
{
    attention_say(e, c);
    struct gradients g = gradients(t, e, c);
    CUDA_MUST(bs__cuda_attention_grad(cuda_queue(t), &g.call, err));
    const bs_address from[] = {g.call.gqkv, g.call.gpad, g.call.grel_h, g.call.grel_w};
    for (int i = 0; i < g.in.count; i++) {
        const enum bs__element stored = i == 0 ? e : BS__F32;
        const double rounding = stored == BS__F32 ? 1e-5 : stored == BS__F16 ? 1e-3 : 8e-3;
        float *got = attention_values(g.count[i]);
        cuda_get(t, stored, from[i], got, g.count[i]);
        cuda_near(got, g.want[i], g.count[i], e == BS__F32 ? 2e-5 : e == BS__F16 ? 2e-3 : 1.6e-2, rounding);
        free(got);
    }
    gradients_free(&g);
    assert_int_equal(cuda_test_end((void **)&t), 0);
}

/* All in float32; the half types, which differ in loads and stores alone, take turns. */
static void compare_all(struct cuda_test *t, const struct attention_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        compare(t, BS__F32, &cases[i]);
        if (i % 2 == 1)
            compare(t, i % 4 == 1 ? BS__F16 : BS__BF16, &cases[i]);
    }
}

static void grids_without_positions(void **state)
{
    static const struct attention_case cases[] = {
        {1, 1, 1, 1, 4, 0, false, 0, 0, 0},   {2, 3, 5, 2, 3, 0, false, 0, 0, 0},
        {1, 1, 31, 1, 16, 0, false, 0, 0, 0}, {1, 4, 8, 1, 8, 0, false, 0, 0, 0},
        {1, 33, 1, 1, 8, 0, false, 0, 0, 0},  {1, 7, 9, 1, 4, 0, false, 0, 0, 0},
        {1, 8, 8, 1, 4, 0, false, 0, 0, 0},   {1, 5, 13, 1, 4, 0, false, 0, 0, 0},
    };
    compare_all(*state, cases, sizeof cases / sizeof *cases);
}

static void heads_of_any_number_of_features(void **state)
{
    static const int features[] = {1, 31, 32, 33, 64, 66, 80, 81, 100, 128};
    struct attention_case cases[sizeof features / sizeof *features];
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        cases[i] = (struct attention_case){1, 3, 3, 2, features[i], 0, false, -1, -1, 0};
    compare_all(*state, cases, sizeof cases / sizeof *cases);
}

static void relative_positions_and_windows(void **state)
{
    static const struct attention_case cases[] = {
        {2, 5, 3, 2, 8, 0, false, -1, -1, 0},  {1, 1, 37, 1, 4, 0, false, -1, -1, 0},
        {1, 35, 2, 1, 4, 0, false, -1, -1, 0}, {1, 4, 6, 1, 8, 2, true, -1, -1, 0},
        {2, 5, 7, 2, 8, 3, true, -1, -1, 0},   {1, 5, 7, 1, 4, 3, false, 0, 0, 0},
        {1, 5, 7, 1, 4, 3, true, 0, 0, 0},     {1, 3, 4, 1, 16, 9, true, -1, -1, 0},
        {1, 4, 3, 2, 4, 1, true, -1, -1, 0},   {1, 5, 14, 1, 64, 14, true, -1, -1, 0},
        {4, 6, 6, 2, 4, 2, false, -1, -1, 0}, /* more windows than parts of a table's sum */
    };
    compare_all(*state, cases, sizeof cases / sizeof *cases);
}

static void gradients_go_back_through_the_resampling(void **state)
{
    static const struct attention_case cases[] = {{1, 4, 5, 1, 8, 0, false, 3, 15, 0},
                                                  {1, 6, 4, 1, 8, 3, true, 9, 2, 0},
                                                  {1, 3, 3, 1, 8, 0, false, 1, 4, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare(*state, BS__F32, &cases[i]);
}

static void wide_grids_on_small_devices(void **state)
{
    static const struct attention_case cases[] = {{1, 1, 100, 1, 64, 0, false, -1, -1, 0},
                                                  {1, 130, 1, 1, 80, 0, false, -1, -1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare(*state, BS__F32, &cases[i]);
}

static void the_same_bits_again(void **state)
{
    const struct attention_case c = {2, 7, 10, 2, 12, 4, true, -1, -1, 0};
    struct cuda_test *t = *state;
    struct gradients g = gradients(t, BS__F32, &c);
    const bs_address at[] = {g.call.gqkv, g.call.gpad, g.call.grel_h, g.call.grel_w};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        cuda_seed(t, seed);
        CUDA_MUST(bs__cuda_attention_grad(cuda_queue(t), &g.call, err));
        for (int i = 0; i < 4; i++) {
            float *got = attention_values(g.count[i]);
            cuda_get(t, BS__F32, at[i], got, g.count[i]);
            if (seed > 1)
                assert_memory_equal(got, g.want[i], g.count[i] * sizeof *got);
            memcpy(g.want[i], got, g.count[i] * sizeof *got);
            free(got);
        }
    }
    gradients_free(&g);
}

static void what_cannot_be_done_is_said(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err err = {0};
    const struct bs__cuda_attention_grad good = {
        .forward = {.samples = 1, .grid_h = 2, .grid_w = 2, .heads = 1, .features = 4}};
    struct bs__cuda_attention_grad c = good;
    c.forward.features = 129;
    assert_int_equal(bs__cuda_attention_grad(cuda_queue(t), &c, &err), BS_EUNSUPPORTED);
    assert_int_equal(bs__cuda_attention_grad_workspace(&c), 0);
    c = good, c.grel_h = c.grel_w = 256, c.rows_h = c.rows_w = 3;
    assert_int_equal(bs__cuda_attention_grad(cuda_queue(t), &c, &err), BS_EINVAL);
    c.forward.rel_h = c.forward.rel_w = 256, c.grel_w = 0;
    assert_int_equal(bs__cuda_attention_grad(cuda_queue(t), &c, &err), BS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(grids_without_positions, cuda_test_end),
        cmocka_unit_test_teardown(heads_of_any_number_of_features, cuda_test_end),
        cmocka_unit_test_teardown(relative_positions_and_windows, cuda_test_end),
        cmocka_unit_test_teardown(gradients_go_back_through_the_resampling, cuda_test_end),
        cmocka_unit_test_teardown(wide_grids_on_small_devices, cuda_test_end),
        cmocka_unit_test_teardown(the_same_bits_again, cuda_test_end),
        cmocka_unit_test_teardown(what_cannot_be_done_is_said, cuda_test_end),
    };
    /* Little shared memory. (On a GPU the variable changes nothing.) */
    const struct CMUnitTest on_the_oldest[] = {
        cmocka_unit_test_teardown(relative_positions_and_windows, cuda_test_end),
        cmocka_unit_test_teardown(wide_grids_on_small_devices, cuda_test_end),
    };
    const int failed =
        cmocka_run_group_tests_name("gradients of attention on GPUs", tests, cuda_test_open, cuda_test_close);
    setenv("BS_FAKE_CUDA_CAPABILITY", "75", 1);
    return failed + cmocka_run_group_tests_name("gradients of attention on sm_75", on_the_oldest,
                                                cuda_test_open, cuda_test_close);
}
