/* Validation: the loss of the state as it stands, which it does not change. */
#include "train_support.h"

#include "model/train/validate.h"

#include <math.h>
#include <string.h>

static struct bs_validator *begin_validation(const struct fixture *f, enum bs_norm norm,
                                             enum bs_loss_kind loss)
{
    const struct bs_arch_config arch = small_unet(norm);
    const struct bs_train_size size = {.samples = 2, .h = SIDE, .w = SIDE};
    const struct bs_loss how = {.kind = loss, .mask_background = true, .alpha = 1, .beta = 1};
    struct bs_validator *v = NULL;
    struct bs_err err = {.msg = ""};
    if (bs_validator_create(f->dev, &arch, &size, &how, f->params, f->step, &v, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return v;
}

static double validate(const struct fixture *f, struct bs_validator *v)
{
    double loss = -1;
    struct bs_err err = {.msg = ""};
    if (bs_validator_run(v, f->image, f->target, NULL, &loss, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return loss;
}

/* Without statistics of the batch there is no difference between training and looking. */
static void it_sees_the_loss_that_a_step_would_see(void **state)
{
    (void)state;
    for (int kind = BS_LOSS_DICE; kind <= BS_LOSS_DICE_DISTANCE; kind++) {
        struct fixture f = begin_step(BS_NORM_INSTANCE, (enum bs_loss_kind)kind);
        struct bs_validator *v = begin_validation(&f, BS_NORM_INSTANCE, (enum bs_loss_kind)kind);
        for (int i = 0; i < 3; i++) {
            const double seen = validate(&f, v), trained = train_once(&f, 1e-2);
            assert_true(fabs(seen - trained) < 1e-6);
        }
        bs_validator_destroy(v);
        end_step(&f);
    }
}

/* What batch norms remember becomes what they see, when nothing else changes. */
static void batch_norms_use_what_they_remember(void **state)
{
    (void)state;
    struct fixture f = begin_step(BS_NORM_BATCH, BS_LOSS_DICE);
    struct bs_validator *v = begin_validation(&f, BS_NORM_BATCH, BS_LOSS_DICE);
    const double before = validate(&f, v), trained = train_once(&f, 0);
    for (int i = 0; i < 100; i++)
        (void)train_once(&f, 0);
    const double after = validate(&f, v);
    assert_true(fabs(after - trained) < 0.01 * trained);
    assert_true(fabs(before - trained) > 2 * fabs(after - trained));
    bs_validator_destroy(v);
    end_step(&f);
}

static void looking_changes_nothing(void **state)
{
    (void)state;
    struct fixture f = begin_step(BS_NORM_BATCH, BS_LOSS_DICE),
                   undisturbed = begin_step(BS_NORM_BATCH, BS_LOSS_DICE);
    struct bs_validator *v = begin_validation(&f, BS_NORM_BATCH, BS_LOSS_DICE);
    for (int i = 0; i < 3; i++) {
        (void)validate(&f, v);
        assert_true(train_once(&f, 1e-3) == train_once(&undisturbed, 1e-3));
        bs_validator_trim(v);
        bs_step_trim(f.step);
    }
    for (int i = 0; i < bs_step_tensor_count(f.step); i++) {
        const struct bs_step_tensor *a = bs_step_tensor_at(f.step, i),
                                    *b = bs_step_tensor_at(undisturbed.step, i);
        if (a->value)
            assert_memory_equal(a->value, b->value, bs_shape_count(&a->shape) * sizeof(float));
    }
    bs_validator_destroy(v);
    end_step(&f);
    end_step(&undisturbed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_sees_the_loss_that_a_step_would_see),
        cmocka_unit_test(batch_norms_use_what_they_remember),
        cmocka_unit_test(looking_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
