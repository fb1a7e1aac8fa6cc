/* Losses follow their formulas, computed here once more from sums in double; what does not fit is refused in words. Values
   and gradients of the reference are compared in golden_check. */
#include "train_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS 3
#define PIXELS   20 /* of one channel of one sample */
#define COUNT    (2 * CHANNELS * PIXELS)

/* t of a masked loss has one channel more. */
static double value_of(const struct bs_loss *loss, float *p, float *t)
{
    struct bs_err err = {.msg = ""};
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    struct bs_arch_config arch = small_unet(BS_NORM_NONE);
    struct bs_params *params = formula_params(&arch, 1, &err); /* the graph needs none of it */
    const struct bs_shape shape = BS_SHAPE(2, CHANNELS, 4, 5),
                          target = BS_SHAPE(2, CHANNELS + loss->masked, 4, 5);
    struct bs_graph *g = bs_graph_create();
    float value = NAN;
    assert_non_null(params);
    assert_int_equal(bs_loss_check(loss, CHANNELS, &err), BS_OK);
    bs_value vp = bs_graph_input(g, "p", shape), vt = bs_graph_input(g, "t", target);
    bs_graph_output(g, "loss", bs_loss_build(g, loss, vp, vt));
    struct bs_tensor in[] = {{BS_F32, shape, p}, {BS_F32, target, t}}, out = {BS_F32, BS_SHAPE(1), &value};
    if (bs_graph_finish(g, &err) != BS_OK || bs_device_open("ref", NULL, &dev, &err) != BS_OK ||
        bs_executable_create(dev, g, params, BS_PRECISION_F32, &exe, &err) != BS_OK ||
        bs_executable_run(exe, in, 2, &out, 1, NULL, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_executable_destroy(exe);
    bs_device_close(dev);
    bs_params_unref(params);
    bs_graph_destroy(g);
    return (double)value;
}

/* Over channels [from, to), distances masked by the target's first channel or not. */
static double dice_of(const float *p, const float *t, int from, int to, bool mask)
{
    double product = 0, squares = 0;
    for (int n = 0; n < 2; n++)
        for (int c = from; c < to; c++)
            for (int i = 0; i < PIXELS; i++) {
                const double m = mask ? (double)t[n * CHANNELS * PIXELS + i] : 1;
                const int at = (n * CHANNELS + c) * PIXELS + i;
                product += (double)p[at] * m * (double)t[at] * m;
                squares += pow((double)p[at] * m, 2) + pow((double)t[at] * m, 2);
            }
    return 1 - 2 * product / fmax(squares, 1e-7);
}

static double squared_error(const float *p, const float *t, int c, bool mask)
{
    double sum = 0;
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < PIXELS; i++) {
            const double m = mask ? (double)t[n * CHANNELS * PIXELS + i] : 1;
            const int at = (n * CHANNELS + c) * PIXELS + i;
            sum += pow(((double)p[at] - (double)t[at]) * m, 2);
        }
    return sum / (2 * PIXELS);
}

static void losses_follow_their_formulas(void **state)
{
    (void)state;
    float *p = random_values(COUNT, 3, 0, 1), *t = random_values(COUNT, 4, 0, 1);
    const double sum = dice_of(p, t, 0, 1, false) + dice_of(p, t, 1, 2, false) + dice_of(p, t, 2, 3, false),
                 all = dice_of(p, t, 0, 3, false);
    double entropy = 0;
    for (int i = 0; i < COUNT; i++)
        entropy -= (double)t[i] * log((double)p[i]) + (1 - (double)t[i]) * log(1 - (double)p[i]);
    entropy /= COUNT;
    const struct {
        struct bs_loss loss;
        double want;
    } cases[] = {
        {{.kind = BS_LOSS_DICE}, sum},
        {{.kind = BS_LOSS_DICE, .all_channels = true}, all},
        {{.kind = BS_LOSS_DICE, .channel_mean = true}, sum / 3},
        {{.kind = BS_LOSS_BCE_DICE, .alpha = 1, .beta = 1}, sum + entropy},
        {{.kind = BS_LOSS_BCE_DICE, .alpha = 0.25f, .beta = 2, .all_channels = true},
         0.25 * all + 2 * entropy},
        {{.kind = BS_LOSS_DISTANCE},
         dice_of(p, t, 0, 1, false) + squared_error(p, t, 1, false) + squared_error(p, t, 2, false)},
        {{.kind = BS_LOSS_DISTANCE, .mask_background = true},
         dice_of(p, t, 0, 1, false) + squared_error(p, t, 1, true) + squared_error(p, t, 2, true)},
        {{.kind = BS_LOSS_DICE_DISTANCE}, sum},
        {{.kind = BS_LOSS_DICE_DISTANCE, .mask_background = true},
         dice_of(p, t, 0, 1, false) + dice_of(p, t, 1, 2, true) + dice_of(p, t, 2, 3, true)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double have = value_of(&cases[i].loss, p, t);
        if (!(fabs(have - cases[i].want) < 1e-6))
            fail_msg("case %zu: %.9g for %.9g", i, have, cases[i].want);
    }
    free(p);
    free(t);
}

/* A prediction of exactly 0 or 1 has a finite cross entropy: logarithms are at least -100. */
static void a_certain_prediction_has_a_finite_cross_entropy(void **state)
{
    (void)state;
    float p[COUNT] = {0}, t[COUNT] = {0};
    const struct bs_loss loss = {.kind = BS_LOSS_BCE_DICE, .alpha = 0, .beta = 1};
    assert_true(value_of(&loss, p, t) == 0);
    t[0] = 1;
    assert_true(fabs(value_of(&loss, p, t) - 100.0 / COUNT) < 1e-6);
}

/* Multiplying prediction and target by the mask beforehand is the same, and what lies under a mask of 0 may be anything. */
static void what_does_not_count_changes_no_loss(void **state)
{
    (void)state;
    float *p = random_values(COUNT, 3, 0, 1), *t = random_values(COUNT, 4, 0, 1),
          *other = random_values(2 * COUNT, 5, 0, 1), *multiplied = random_values(2 * COUNT, 6, 0, 1);
    float target[2 * (CHANNELS + 1) * PIXELS], elsewhere[2 * (CHANNELS + 1) * PIXELS], *q = other + COUNT;
    for (int n = 0; n < 2; n++)
        for (int c = 0; c <= CHANNELS; c++)
            for (int i = 0; i < PIXELS; i++) {
                const float mask = (i + n) % 3 ? 1.0f : 0.0f;
                const int at = (n * CHANNELS + c) * PIXELS + i, to = (n * (CHANNELS + 1) + c) * PIXELS + i;
                if (c < CHANNELS) {
                    target[to] = t[at];
                    elsewhere[to] = mask > 0 ? t[at] : other[at];
                    q[at] = mask > 0 ? p[at] : other[at];
                    multiplied[at] = p[at] * mask;
                    multiplied[COUNT + at] = t[at] * mask;
                } else {
                    target[to] = elsewhere[to] = mask;
                }
            }
    const struct bs_loss losses[] = {{.kind = BS_LOSS_DICE},
                                     {.kind = BS_LOSS_BCE_DICE, .alpha = 1, .beta = 1},
                                     {.kind = BS_LOSS_DISTANCE},
                                     {.kind = BS_LOSS_DISTANCE, .mask_background = true},
                                     {.kind = BS_LOSS_DICE_DISTANCE, .mask_background = true}};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        struct bs_loss loss = losses[i];
        const double want = value_of(&loss, multiplied, multiplied + COUNT);
        loss.masked = true;
        assert_true(value_of(&loss, p, target) == want);
        assert_true(value_of(&loss, q, elsewhere) == want);
        loss.masked = false;
        assert_true(value_of(&loss, p, t) != want);
    }
    free(p);
    free(t);
    free(other);
    free(multiplied);
}

static void what_does_not_fit_is_refused_in_words(void **state)
{
    (void)state;
    struct bs_err err = {.msg = ""};
    assert_int_equal(bs_loss_check(&(struct bs_loss){.kind = BS_LOSS_DISTANCE}, 2, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "\"distance\""));
    assert_non_null(strstr(err.msg, "2 output channels"));
    assert_int_equal(bs_loss_check(&(struct bs_loss){.kind = BS_LOSS_DICE_DISTANCE}, 4, &err), BS_EINVAL);
    assert_int_equal(bs_loss_check(&(struct bs_loss){.kind = BS_LOSS_DICE}, 2, &err), BS_OK);
    const struct bs_loss both = {.kind = BS_LOSS_DICE, .all_channels = true, .channel_mean = true};
    assert_int_equal(bs_loss_check(&both, 2, &err), BS_EINVAL);
    const struct bs_loss weights = {.kind = BS_LOSS_BCE_DICE, .alpha = -1, .beta = 1};
    assert_int_equal(bs_loss_check(&weights, 2, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "-1"));
}

static void a_loss_is_known_by_its_name(void **state)
{
    (void)state;
    struct bs_err err = {.msg = ""};
    enum bs_loss_kind kind;
    for (int k = BS_LOSS_DICE; k <= BS_LOSS_DICE_DISTANCE; k++) {
        assert_int_equal(bs_loss_parse(bs_loss_name((enum bs_loss_kind)k), &kind, &err), BS_OK);
        assert_int_equal(kind, k);
    }
    assert_int_equal(bs_loss_parse("hinge", &kind, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "\"hinge\""));
    assert_non_null(strstr(err.msg, "bce-dice"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_follow_their_formulas),
        cmocka_unit_test(a_certain_prediction_has_a_finite_cross_entropy),
        cmocka_unit_test(what_does_not_count_changes_no_loss),
        cmocka_unit_test(what_does_not_fit_is_refused_in_words),
        cmocka_unit_test(a_loss_is_known_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
