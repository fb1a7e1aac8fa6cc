/* Adam and AdamW follow the papers' text, computed here from the whole history of gradients instead of running moments. */
#include "model/train/optimizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define STEPS 12

static double gradient_at(int step)
{
    return 0.3 * cos(1.7 * step) + 0.05 * step - 0.2;
}

/* Values of x after STEPS steps: m and v as sums over the history, decay in the gradient or on the value. */
static double by_the_paper(const struct bs_optimizer *o, double x)
{
    double history[STEPS];
    for (int k = 1; k <= STEPS; k++) {
        double m = 0, v = 0;
        history[k - 1] = gradient_at(k) + (o->kind == BS_ADAM ? o->weight_decay * x : 0);
        for (int i = 1; i <= k; i++) {
            m += (1 - o->beta1) * pow(o->beta1, k - i) * history[i - 1];
            v += (1 - o->beta2) * pow(o->beta2, k - i) * history[i - 1] * history[i - 1];
        }
        m /= 1 - pow(o->beta1, k);
        v /= 1 - pow(o->beta2, k);
        if (o->kind == BS_ADAMW)
            x -= o->learning_rate * o->weight_decay * x;
        x -= o->learning_rate * m / (sqrt(v) + o->eps);
    }
    return x;
}

static void twelve_steps_follow_the_paper(void **state)
{
    (void)state;
    struct bs_optimizer cases[] = {bs_optimizer_defaults(BS_ADAM), bs_optimizer_defaults(BS_ADAMW),
                                   bs_optimizer_defaults(BS_ADAM), bs_optimizer_defaults(BS_ADAMW)};
    cases[2].weight_decay = 0.1;
    cases[3].weight_decay = 0.3;
    cases[3].beta1 = 0.5;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i].learning_rate = 0.01;
        float x = 0.75f, m = 0, v = 0;
        for (int k = 1; k <= STEPS; k++) {
            const float g = (float)gradient_at(k);
            bs_optimizer_step(&cases[i], k, &g, 1, &x, &m, &v);
        }
        const double want = by_the_paper(&cases[i], 0.75);
        assert_true(fabs(want - 0.75) > 1e-3);
        if (!(fabs((double)x - want) < 1e-6))
            fail_msg("case %zu: %.9g for %.9g", i, (double)x, want);
    }
}

static void the_defaults_are_those_of_the_publication(void **state)
{
    (void)state;
    const struct bs_optimizer adam = bs_optimizer_defaults(BS_ADAM), adamw = bs_optimizer_defaults(BS_ADAMW);
    assert_true(adam.learning_rate == 1e-4 && adamw.learning_rate == 1e-4);
    assert_true(adam.weight_decay == 0 && adamw.weight_decay == 0.01);
    assert_int_equal(bs_optimizer_check(&adam, NULL), BS_OK);
    assert_int_equal(bs_optimizer_check(&adamw, NULL), BS_OK);
}

/* Whatever the size of the gradient; every value for itself. */
static void the_first_step_is_as_long_as_the_rate(void **state)
{
    (void)state;
    const struct bs_optimizer o = bs_optimizer_defaults(BS_ADAM);
    const float g[3] = {1e-3f, -5, 0};
    float x[3] = {0, 0, 0.5f}, m[3] = {0}, v[3] = {0};
    bs_optimizer_step(&o, 1, g, 3, x, m, v);
    assert_true(fabs((double)x[0] + 1e-4) < 1e-8);
    assert_true(fabs((double)x[1] - 1e-4) < 1e-8);
    assert_true(x[2] == 0.5f && m[2] == 0 && v[2] == 0);
}

static void settings_out_of_range_are_named(void **state)
{
    (void)state;
    struct bs_err err = {.msg = ""};
    struct bs_optimizer o = bs_optimizer_defaults(BS_ADAM);
    o.learning_rate = -1;
    assert_int_equal(bs_optimizer_check(&o, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "learning rate is -1"));
    o.learning_rate = NAN;
    assert_int_equal(bs_optimizer_check(&o, &err), BS_EINVAL);
    o = bs_optimizer_defaults(BS_ADAM);
    o.beta2 = 1;
    assert_int_equal(bs_optimizer_check(&o, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "beta2 is 1"));
    o = bs_optimizer_defaults(BS_ADAM);
    o.eps = 0;
    assert_int_equal(bs_optimizer_check(&o, &err), BS_EINVAL);
    o = bs_optimizer_defaults(BS_ADAM);
    o.kind = (enum bs_optimizer_kind)9;
    assert_int_equal(bs_optimizer_check(&o, &err), BS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twelve_steps_follow_the_paper),
        cmocka_unit_test(the_defaults_are_those_of_the_publication),
        cmocka_unit_test(the_first_step_is_as_long_as_the_rate),
        cmocka_unit_test(settings_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
