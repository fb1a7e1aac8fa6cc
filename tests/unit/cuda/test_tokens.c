/* Steps on tokens against their operators. */
#include "kernels/cuda/tokens.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
    int64_t samples, tokens, features;
    struct gaps x, y;
} shapes[] = {
    {1, 1, 2, {0, 0}, {0, 0}},   {1, 16, 6, {1, 2}, {0, 0}},   {2, 25, 8, {0, 0}, {4, 8}},
    {3, 9, 192, {0, 0}, {0, 0}}, {1, 100, 30, {0, 0}, {0, 2}}, {2, 49, 20, {4, 4}, {4, 0}},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static void a_token_is_put_anywhere(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < SHAPES; s++)
            for (int where = 0; where < 3; where++) {
                const int64_t n = shapes[s].samples, l = shapes[s].tokens, d = shapes[s].features;
                const int64_t place = where * l / 2, count = n * (l + 1) * d;
                float *x = rows_values((enum bs__element)e, n * l * d, s, -3, 3), *got = rows_zeros(count);
                float *token = rows_values(BS__F32, d, s + 10, -3, 3);
                float *want = rows_reference(BS_OP_INSERT_TOKEN, &(struct bs_attr){.start = place},
                                             (struct bs_tensor[]){rows_tensor(x, BS_SHAPE(n, l, d)),
                                                                  rows_tensor(token, BS_SHAPE(1, 1, d))},
                                             2);
                cuda_round((enum bs__element)e, want, (size_t)count);
                struct rows y = rows_room(t, (enum bs__element)e, n * (l + 1), d, shapes[s].y);
                CUDA_MUST(bs__cuda_insert_token(
                    cuda_queue(t), (enum bs__element)e,
                    &(struct bs__insert_token){
                        .y = y.view,
                        .x = rows_put(t, (enum bs__element)e, x, n * l, d, shapes[s].x).view,
                        .token = cuda_put(t, BS__F32, token, (size_t)d),
                        .samples = n,
                        .tokens = l,
                        .features = d,
                        .place = place},
                    err));
                rows_get(t, &y, got);
                cuda_near(got, want, (size_t)count, 0, 0);
                free(x), free(got), free(token), free(want);
            }
}

/* Adds a table with `rows` rows for a grid of the tokens; made by the operator itself where it is resampled, as tokens.h says. */
static void add_position(struct cuda_test *t, enum bs__element e, size_t s, struct bs_shape position,
                         struct bs_attr attr)
{
    const int64_t n = shapes[s].samples, l = shapes[s].tokens, d = shapes[s].features, count = n * l * d;
    float *x = rows_values(e, count, s, -3, 3), *zeros = rows_zeros(l * d), *got = rows_zeros(count);
    float *p = rows_values(BS__F32, (int64_t)bs_shape_count(&position), s + 30, -1, 1);
    float *want =
        rows_reference(BS_OP_ADD_POSITION, &attr,
                       (struct bs_tensor[]){rows_tensor(x, BS_SHAPE(n, l, d)), rows_tensor(p, position)}, 2);
    float *table = rows_reference(
        BS_OP_ADD_POSITION, &attr,
        (struct bs_tensor[]){rows_tensor(zeros, BS_SHAPE(1, l, d)), rows_tensor(p, position)}, 2);
    struct rows y = rows_room(t, e, n * l, d, shapes[s].y);
    CUDA_MUST(bs__cuda_add_position(
        cuda_queue(t), e,
        &(struct bs__add_position){.y = y.view,
                                   .x = rows_put(t, e, x, n * l, d, shapes[s].x).view,
                                   .table = cuda_put(t, BS__F32, table, (size_t)(l * d)),
                                   .samples = n,
                                   .tokens = l,
                                   .features = d},
        err));
    rows_get(t, &y, got);
    cuda_near(got, want, (size_t)count, 1e-6, 1.01 * rows_rounding(e));
    free(x), free(zeros), free(got), free(p), free(want), free(table);
}
static void positions_are_added(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++) {
        for (size_t s = 0; s < SHAPES; s++)
            add_position(*state, (enum bs__element)e, s, BS_SHAPE(1, shapes[s].tokens, shapes[s].features),
                         (struct bs_attr){.out_h = 1, .out_w = shapes[s].tokens, .start = -1});
        add_position(*state, (enum bs__element)e, 1, BS_SHAPE(1, 9, 6),
                     (struct bs_attr){.out_h = 4, .out_w = 4, .start = -1}); /* 3x3 to 4x4 */
        add_position(*state, (enum bs__element)e, 3, BS_SHAPE(1, 17, 192),
                     (struct bs_attr){.out_h = 2, .out_w = 4, .start = 4}); /* with a class token */
    }
}

static void turn(struct cuda_test *t, bool back)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < SHAPES; s++)
            for (int in_place = 0; in_place < 2; in_place++) {
                const int64_t n = shapes[s].samples, l = shapes[s].tokens, d = shapes[s].features,
                              count = n * l * d;
                const int64_t turned = s % 2 ? l - 1 : l;
                float *x = rows_values((enum bs__element)e, count, s, -3, 3), *got = rows_zeros(count);
                float *cosine = rows_values(BS__F32, turned * d, s + 10, -1, 1);
                float *sine = rows_values(BS__F32, turned * d, s + 20, -1, 1);
                float *want = rows_reference(back ? BS_OP_ROTARY_GRAD : BS_OP_ROTARY, &(struct bs_attr){0},
                                             (struct bs_tensor[]){rows_tensor(x, BS_SHAPE(n, l, d)),
                                                                  rows_tensor(cosine, BS_SHAPE(turned, d)),
                                                                  rows_tensor(sine, BS_SHAPE(turned, d))},
                                             3);
                struct rows from = rows_put(t, (enum bs__element)e, x, n * l, d, shapes[s].x), y = from;
                if (!in_place)
                    y = rows_room(t, (enum bs__element)e, n * l, d, shapes[s].y);
                CUDA_MUST(bs__cuda_rotary(
                    cuda_queue(t), (enum bs__element)e,
                    &(struct bs__rotary){.y = y.view,
                                         .x = from.view,
                                         .cosine = cuda_put(t, BS__F32, cosine, (size_t)(turned * d)),
                                         .sine = cuda_put(t, BS__F32, sine, (size_t)(turned * d)),
                                         .samples = n,
                                         .tokens = l,
                                         .features = d,
                                         .turned = turned,
                                         .back = back},
                    err));
                rows_get(t, &y, got);
                cuda_near(got, want, (size_t)count, 1e-6, 1.01 * rows_rounding((enum bs__element)e));
                free(x), free(got), free(cosine), free(sine), free(want);
            }
}

static void the_last_tokens_are_turned(void **state)
{
    turn(*state, false);
}

static void gradients_are_turned_back(void **state)
{
    turn(*state, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_token_is_put_anywhere, cuda_test_end),
        cmocka_unit_test_teardown(positions_are_added, cuda_test_end),
        cmocka_unit_test_teardown(the_last_tokens_are_turned, cuda_test_end),
        cmocka_unit_test_teardown(gradients_are_turned_back, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.tokens", tests, cuda_test_open, cuda_test_close);
}
