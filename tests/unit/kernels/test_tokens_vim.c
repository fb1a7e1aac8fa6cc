/* The operators that ViM-UNet's encoder moves, norms and places its tokens with compute their formulas: by hand, and
   against code that goes another way (the resampling with written-out weights). Its scan: test_selective_scan.c. */
#include "kernels_support.h"

#include <math.h>
#include <string.h>

static void free_all(struct bs_tensor *t, int count)
{
    for (int i = 0; i < count; i++)
        free_tensor(&t[i]);
}

/* Element of tokens; zero before the first and after the last. */
static double token_at(const struct bs_tensor *t, int64_t n, int64_t token, int64_t feature)
{
    const int64_t *d = t->shape.dim;
    if (token < 0 || token >= d[1])
        return 0;
    return (double)floats(t)[(n * d[1] + token) * d[2] + feature];
}

static void rms_norm_divides_by_the_quadratic_mean(void **state)
{
    (void)state;
    struct bs_tensor in[] = {tensor_of(BS_SHAPE(2, 1, 2), (float[]){3, 4, 0, 0}),
                             tensor_of(BS_SHAPE(2), (float[]){1, -2})};
    struct bs_tensor y = apply(BS_OP_RMS_NORM, (struct bs_attr){.eps = 1e-5f}, in, 2);
    double root = sqrt(12.5 + 1e-5); /* (9 + 16) / 2 */
    assert_tensor(&y, (float[]){(float)(3 / root), (float)(-8 / root), 0, 0}, 1e-6);
    free_all(in, 2);
    free_tensor(&y);

    struct numbers r = {21};
    for (int round = 0; round < 20; round++) {
        int features = next_int(&r, 1, 9), tokens = next_int(&r, 1, 6);
        struct bs_tensor x[] = {random_tensor(&r, BS_SHAPE(2, tokens, features)),
                                random_tensor(&r, BS_SHAPE(features))};
        y = apply(BS_OP_RMS_NORM, (struct bs_attr){.eps = 1e-3f}, x, 2);
        assert_true(bs_shape_equal(&y.shape, &x[0].shape));
        for (int row = 0; row < 2 * tokens; row++) {
            long double mean = 0;
            for (int f = 0; f < features; f++)
                mean += powl((long double)floats(&x[0])[row * features + f], 2) / features;
            for (int f = 0; f < features; f++)
                assert_close(
                    floats(&y)[row * features + f],
                    (double)(floats(&x[0])[row * features + f] * floats(&x[1])[f] / sqrtl(mean + 1e-3L)),
                    1e-5);
        }
        free_all(x, 2);
        free_tensor(&y);
    }
}

static void silu_is_x_times_its_sigmoid(void **state)
{
    (void)state;
    float values[] = {0, 1, -1, 30, -30, -200, 200};
    struct bs_tensor x = tensor_of(BS_SHAPE(7), values);
    struct bs_tensor y = apply(BS_OP_SILU, (struct bs_attr){0}, &x, 1),
                     gate = apply(BS_OP_SIGMOID, (struct bs_attr){0}, &x, 1);
    for (int i = 0; i < 7; i++)
        assert_close(floats(&y)[i], (double)values[i] * (double)floats(&gate)[i], 1e-6);
    assert_close(floats(&y)[1], 0.7310585786300049, 1e-7);
    assert_close(floats(&y)[6], 200, 0);
    free_tensor(&x);
    free_tensor(&y);
    free_tensor(&gate);
}

static void a_token_is_inserted_where_it_is_asked_for_and_slices_take_it_out_again(void **state)
{
    (void)state;
    struct numbers r = {22};
    for (int at = 0; at <= 5; at++) {
        struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(2, 5, 3)),
                                 tensor_of(BS_SHAPE(1, 1, 3), (float[]){7, 8, 9})};
        struct bs_tensor y = apply(BS_OP_INSERT_TOKEN, (struct bs_attr){.start = at}, in, 2);
        assert_int_equal(y.shape.dim[0], 2);
        assert_int_equal(y.shape.dim[1], 6);
        assert_int_equal(y.shape.dim[2], 3);
        for (int n = 0; n < 2; n++)
            for (int t = 0; t < 6; t++)
                for (int f = 0; f < 3; f++)
                    assert_close(floats(&y)[(n * 6 + t) * 3 + f],
                                 t == at ? 7 + f : token_at(&in[0], n, t < at ? t : t - 1, f), 0);
        struct bs_tensor token = apply(BS_OP_SLICE_TOKENS, (struct bs_attr){.start = at, .count = 1}, &y, 1);
        assert_tensor(&token, (float[]){7, 8, 9, 7, 8, 9}, 0);
        struct bs_tensor tail = apply(BS_OP_SLICE_TOKENS, (struct bs_attr){.start = 1, .count = 5}, &y, 1);
        assert_memory_equal(tail.data, floats(&y) + 3, 15 * sizeof(float));
        assert_memory_equal(floats(&tail) + 15, floats(&y) + 21, 15 * sizeof(float));
        free_all(in, 2);
        free_tensor(&y);
        free_tensor(&token);
        free_tensor(&tail);
    }
}

static void features_are_sliced_from_every_row(void **state)
{
    (void)state;
    struct bs_tensor x = tensor_of(BS_SHAPE(1, 2, 4), (float[]){1, 2, 3, 4, 5, 6, 7, 8});
    struct bs_tensor y = apply(BS_OP_SLICE_LAST, (struct bs_attr){.start = 1, .count = 2}, &x, 1);
    assert_int_equal(y.shape.dim[2], 2);
    assert_tensor(&y, (float[]){2, 3, 6, 7}, 0);
    free_tensor(&x);
    free_tensor(&y);
    x = tensor_of(BS_SHAPE(3), (float[]){1, 2, 3});
    y = apply(BS_OP_SLICE_LAST, (struct bs_attr){.start = 2, .count = 1}, &x, 1);
    assert_tensor(&y, (float[]){3}, 0);
    free_tensor(&x);
    free_tensor(&y);
}

static void rotary_turns_pairs_and_lets_leading_tokens_pass(void **state)
{
    (void)state;
    struct numbers r = {23};
    enum { TOKENS = 5, ROWS = 4, FEATURES = 6 };
    struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(2, TOKENS, FEATURES)),
                             random_tensor(&r, BS_SHAPE(ROWS, FEATURES)),
                             random_tensor(&r, BS_SHAPE(ROWS, FEATURES))};
    struct bs_tensor y = apply(BS_OP_ROTARY, (struct bs_attr){0}, in, 3);
    for (int n = 0; n < 2; n++)
        for (int t = 0; t < TOKENS; t++)
            for (int f = 0; f < FEATURES; f++) {
                double want = token_at(&in[0], n, t, f);
                if (t > 0) { /* the tables may hold any numbers, also different ones in a pair */
                    double other = f % 2 ? token_at(&in[0], n, t, f - 1) : -token_at(&in[0], n, t, f + 1);
                    want = want * (double)floats(&in[1])[(t - 1) * FEATURES + f] +
                           other * (double)floats(&in[2])[(t - 1) * FEATURES + f];
                }
                assert_close(floats(&y)[(n * TOKENS + t) * FEATURES + f], want, 1e-6);
            }
    free_all(in, 3);
    free_tensor(&y);
    /* a quarter turn anticlockwise */
    struct bs_tensor turn[] = {tensor_of(BS_SHAPE(1, 1, 2), (float[]){1, 2}),
                               tensor_of(BS_SHAPE(1, 2), (float[]){0, 0}),
                               tensor_of(BS_SHAPE(1, 2), (float[]){1, 1})};
    y = apply(BS_OP_ROTARY, (struct bs_attr){0}, turn, 3);
    assert_tensor(&y, (float[]){-2, 1}, 0);
    free_all(turn, 3);
    free_tensor(&y);
}

static void positions_of_the_same_length_are_added_as_they_are(void **state)
{
    (void)state;
    struct numbers r = {24};
    for (int class_token = -1; class_token < 7; class_token++) {
        int tokens = class_token < 0 ? 6 : 7;
        struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(2, tokens, 3)),
                                 random_tensor(&r, BS_SHAPE(1, tokens, 3))};
        struct bs_tensor y =
            apply(BS_OP_ADD_POSITION, (struct bs_attr){.out_h = 2, .out_w = 3, .start = class_token}, in, 2);
        for (int i = 0; i < 2 * tokens * 3; i++)
            assert_close(floats(&y)[i], (double)floats(&in[0])[i] + (double)floats(&in[1])[i % (tokens * 3)],
                         1e-6);
        free_all(in, 2);
        free_tensor(&y);
    }
    /* so is a grid of the tokens' size */
    struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(1, 6, 3)), random_tensor(&r, BS_SHAPE(1, 2, 3, 3))};
    struct bs_tensor y =
        apply(BS_OP_ADD_POSITION, (struct bs_attr){.out_h = 2, .out_w = 3, .start = -1}, in, 2);
    for (int i = 0; i < 18; i++)
        assert_close(floats(&y)[i], (double)floats(&in[0])[i] + (double)floats(&in[1])[i], 1e-6);
    free_all(in, 2);
    free_tensor(&y);
}

/* One axis of a table doubled in length: pixels lie a quarter beyond and a quarter before an old one, and the cubic with
   a = -0.75 has these weights there (its values at distances 1.25, 0.25, 0.75 and 1.75). */
static double doubled(const double *v, int length, int i)
{
    static const double weight[4] = {-0.10546875, 0.87890625, 0.26171875, -0.03515625};
    double sum = 0;
    int near = i / 2, step = i % 2 ? 1 : -1; /* towards the second neighbour */
    for (int k = 0; k < 4; k++) {
        int at = near + (k - 1) * step;
        sum += weight[k] * v[at < 0 ? 0 : (at >= length ? length - 1 : at)];
    }
    return sum;
}

static void positions_of_another_length_are_resampled_bicubically(void **state)
{
    (void)state;
    struct numbers r = {25};
    enum { SIDE = 3, GRID = 2 * SIDE };
    const int middle = GRID * GRID / 2;
    for (int kind = 0; kind < 4;
         kind++) { /* no class token, in front, in the middle, a grid of four dimensions */
        int class_token = kind == 1 ? 0 : (kind == 2 ? middle : -1), has = class_token >= 0;
        struct bs_tensor in[] = {
            random_tensor(&r, BS_SHAPE(2, GRID * GRID + has, 2)),
            random_tensor(&r, kind == 3 ? BS_SHAPE(1, SIDE, SIDE, 2) : BS_SHAPE(1, SIDE * SIDE + has, 2))};
        struct bs_tensor y = apply(
            BS_OP_ADD_POSITION, (struct bs_attr){.out_h = GRID, .out_w = GRID, .start = class_token}, in, 2);
        const int class_row = kind == 2 ? SIDE * SIDE / 2 : 0;
        for (int f = 0; f < 2; f++) {
            double rows[GRID][SIDE], full[GRID * GRID];
            for (int j = 0; j < SIDE; j++) {
                double column[SIDE];
                for (int i = 0; i < SIDE; i++) {
                    int row = i * SIDE + j;
                    column[i] = (double)floats(&in[1])[(row + (has && row >= class_row)) * 2 + f];
                }
                for (int i = 0; i < GRID; i++)
                    rows[i][j] = doubled(column, SIDE, i);
            }
            for (int i = 0; i < GRID * GRID; i++)
                full[i] = doubled(rows[i / GRID], SIDE, i % GRID);
            for (int n = 0; n < 2; n++)
                for (int t = 0, place = 0; t < GRID * GRID + has; t++) {
                    double add = t == class_token ? (double)floats(&in[1])[class_row * 2 + f] : full[place++];
                    assert_close((float)token_at(&y, n, t, f), token_at(&in[0], n, t, f) + add, 1e-5);
                }
        }
        free_all(in, 2);
        free_tensor(&y);
    }
}

static void positions_are_resampled_as_torch_does(void **state)
{
    (void)state;
    /* torch.nn.functional.interpolate(sin(0..24) as 5x5, size=(3, 7), mode="bicubic") of torch 2.15 */
    static const float torch[] = {-0.392124f, 0.131707f,  0.738886f,  0.896175f,  0.670375f,  0.030523f,
                                  -0.488701f, -0.508128f, -0.857201f, -0.969409f, -0.536573f, 0.125633f,
                                  0.760068f,  1.035511f,  0.926081f,  0.769066f,  0.279798f,  -0.332328f,
                                  -0.802394f, -0.829226f, -0.599444f};
    struct bs_tensor in[] = {new_tensor(BS_SHAPE(1, 21, 1)), new_tensor(BS_SHAPE(1, 25, 1))};
    for (int i = 0; i < 25; i++)
        floats(&in[1])[i] = sinf((float)i);
    struct bs_tensor y =
        apply(BS_OP_ADD_POSITION, (struct bs_attr){.out_h = 3, .out_w = 7, .start = -1}, in, 2);
    assert_tensor(&y, torch, 2e-6);
    free_all(in, 2);
    free_tensor(&y);
}

static void a_smaller_grid_samples_the_table_without_smoothing(void **state)
{
    (void)state;
    /* 6 to 2: pixels 1 and 4 exactly, whatever stands between them */
    struct numbers r = {26};
    struct bs_tensor in[] = {new_tensor(BS_SHAPE(1, 4, 1)), random_tensor(&r, BS_SHAPE(1, 36, 1))};
    struct bs_tensor y =
        apply(BS_OP_ADD_POSITION, (struct bs_attr){.out_h = 2, .out_w = 2, .start = -1}, in, 2);
    const float *p = floats(&in[1]);
    assert_tensor(&y, (float[]){p[7], p[10], p[25], p[28]}, 1e-6);
    free_all(in, 2);
    free_tensor(&y);
}

/* What is wrong, and what the message must name. */
static const struct {
    enum bs_op op;
    struct bs_attr attr;
    int ninput;
    struct bs_shape in[BS_MAX_INPUTS];
    const char *words[3];
} refused[] = {
#define S(...)                                                                                               \
    {                                                                                                        \
        .ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = { __VA_ARGS__ }            \
    }
    {BS_OP_RMS_NORM, {.eps = 1}, 2, {S(1, 5, 8), S(5)}, {"rms_norm", "weight is 5", "1x5x8"}},
    {BS_OP_RMS_NORM, {.eps = 0}, 2, {S(1, 5, 8), S(8)}, {"eps is 0"}},
    {BS_OP_SLICE_LAST, {.start = 6, .count = 3}, 1, {S(1, 5, 8)}, {"3 features", "feature 6", "1x5x8"}},
    {BS_OP_SLICE_LAST, {.start = -1, .count = 3}, 1, {S(1, 5, 8)}, {"feature -1", "1x5x8"}},
    {BS_OP_SLICE_LAST, {.start = 0, .count = 0}, 1, {S(1, 5, 8)}, {"0 features", "1x5x8"}},
    {BS_OP_SLICE_TOKENS, {.start = 0, .count = 6}, 1, {S(1, 5, 8)}, {"6 tokens", "1x5x8"}},
    {BS_OP_SLICE_TOKENS,
     {.start = 3, .count = INT64_MAX},
     1,
     {S(1, 5, 8)},
     {"9223372036854775807 tokens", "1x5x8"}},
    {BS_OP_SLICE_TOKENS, {.start = 0, .count = 1}, 1, {S(5, 8)}, {"5x8", "N,L,D"}},
    {BS_OP_INSERT_TOKEN, {.start = 0}, 2, {S(2, 5, 8), S(1, 1, 7)}, {"1x1x7", "2x5x8", "1x1x8"}},
    {BS_OP_INSERT_TOKEN, {.start = 0}, 2, {S(2, 5, 8), S(2, 1, 8)}, {"2x1x8", "2x5x8"}},
    {BS_OP_INSERT_TOKEN, {.start = 6}, 2, {S(2, 5, 8), S(1, 1, 8)}, {"token 6", "2x5x8", "0 to 5"}},
    {BS_OP_ADD_POSITION,
     {.out_h = 2, .out_w = 3, .start = -1},
     2,
     {S(1, 7, 8), S(1, 7, 8)},
     {"2x3", "1x7x8"}},
    {BS_OP_ADD_POSITION,
     {.out_h = 2, .out_w = 3, .start = 7},
     2,
     {S(1, 7, 8), S(1, 7, 8)},
     {"class token 7", "1x7x8"}},
    {BS_OP_ADD_POSITION,
     {.out_h = 2, .out_w = 3, .start = -1},
     2,
     {S(1, 6, 8), S(1, 6, 9)},
     {"1x6x9", "1x6x8"}},
    {BS_OP_ADD_POSITION,
     {.out_h = 2, .out_w = 3, .start = -1},
     2,
     {S(1, 6, 8), S(1, 5, 8)},
     {"1x5x8", "1x6x8", "square"}},
    {BS_OP_ADD_POSITION,
     {.out_h = 2, .out_w = 3, .start = 2},
     2,
     {S(1, 7, 8), S(1, 5, 8)},
     {"1x5x8", "1x7x8", "class token 2"}},
    {BS_OP_ADD_POSITION,
     {.out_h = 2, .out_w = 3, .start = 0},
     2,
     {S(1, 7, 8), S(1, 2, 3, 8)},
     {"1x2x3x8", "class token 0", "1x7x8"}},
    {BS_OP_ROTARY, {.start = 0}, 3, {S(1, 5, 8), S(4, 8), S(5, 8)}, {"4x8", "5x8"}},
    {BS_OP_ROTARY, {.start = 0}, 3, {S(1, 5, 8), S(6, 8), S(6, 8)}, {"6x8", "1x5x8"}},
    {BS_OP_ROTARY, {.start = 0}, 3, {S(1, 5, 8), S(5, 6), S(5, 6)}, {"5x6", "1x5x8"}},
    {BS_OP_ROTARY, {.start = 0}, 3, {S(1, 5, 7), S(5, 7), S(5, 7)}, {"even", "1x5x7"}},
};

static void wrong_shapes_are_refused_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct bs_err err = {.msg = ""};
        bs_status rc = infer_shapes(refused[i].op, refused[i].attr, refused[i].in, refused[i].ninput, &err);
        if (rc != BS_EINVAL)
            fail_msg("case %zu: %s, \"%s\"", i, bs_status_name(rc), err.msg);
        for (int k = 0; k < 3 && refused[i].words[k]; k++)
            if (!strstr(err.msg, refused[i].words[k]))
                fail_msg("case %zu: \"%s\" does not name %s", i, err.msg, refused[i].words[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rms_norm_divides_by_the_quadratic_mean),
        cmocka_unit_test(silu_is_x_times_its_sigmoid),
        cmocka_unit_test(a_token_is_inserted_where_it_is_asked_for_and_slices_take_it_out_again),
        cmocka_unit_test(features_are_sliced_from_every_row),
        cmocka_unit_test(rotary_turns_pairs_and_lets_leading_tokens_pass),
        cmocka_unit_test(positions_of_the_same_length_are_added_as_they_are),
        cmocka_unit_test(positions_of_another_length_are_resampled_bicubically),
        cmocka_unit_test(positions_are_resampled_as_torch_does),
        cmocka_unit_test(a_smaller_grid_samples_the_table_without_smoothing),
        cmocka_unit_test(wrong_shapes_are_refused_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
