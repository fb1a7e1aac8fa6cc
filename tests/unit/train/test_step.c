/* A training step: the loss goes down for every norm and loss, statistics follow their formula, a step that fails changes
   nothing, and a run that goes on from a copied state gives the same bits as one that never stopped. */
#include "train_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void the_loss_goes_down(void **state)
{
    (void)state;
    for (int norm = BS_NORM_INSTANCE; norm <= BS_NORM_NONE; norm++)
        for (int kind = BS_LOSS_DICE; kind <= BS_LOSS_DICE_DISTANCE; kind++) {
            struct fixture f = begin_step((enum bs_norm)norm, (enum bs_loss_kind)kind);
            const double first = train_once(&f, 1e-2);
            double last = first;
            for (int i = 0; i < 30; i++)
                last = train_once(&f, 1e-2);
            if (!(last < 0.97 * first))
                fail_msg("norm %d, loss %s: from %g to %g", norm, bs_loss_name((enum bs_loss_kind)kind),
                         first, last);
            end_step(&f);
        }
}

/* Until rounding tells them apart. */
static void the_cpu_takes_the_same_steps(void **state)
{
    (void)state;
#ifdef BS_WITH_ONEDNN
    for (int norm = BS_NORM_INSTANCE; norm <= BS_NORM_NONE; norm++) {
        struct fixture f = begin_step((enum bs_norm)norm, BS_LOSS_DICE_DISTANCE),
                       cpu = begin_step_on("cpu", (enum bs_norm)norm, BS_LOSS_DICE_DISTANCE);
        for (int i = 0; i < 5; i++) {
            const double want = train_once(&f, 1e-3), have = train_once(&cpu, 1e-3);
            if (!(fabs(want - have) < 1e-5))
                fail_msg("norm %d, step %d: %.9g for %.9g", norm, i, have, want);
        }
        end_step(&f);
        end_step(&cpu);
    }
#else
    skip();
#endif
}

/* The gradient that compute leaves is the slope of the loss: moving a parameter along it changes the loss by as much. */
static void gradients_are_the_slope_of_the_loss(void **state)
{
    (void)state;
    struct fixture f = begin_step(BS_NORM_BATCH, BS_LOSS_BCE_DICE);
    double loss = 0, above = 0, below = 0, squares = 0;
    const struct bs_step_tensor *w = tensor_named(f.step, "out_conv.weight");
    const size_t count = bs_shape_count(&w->shape);
    float g[64], x[64];
    assert_in_range(count, 1, 64);
    assert_int_equal(bs_step_compute(f.step, f.image, f.target, NULL, &loss, NULL), BS_OK);
    for (size_t i = 0; i < count; i++) {
        g[i] = w->gradient[i];
        x[i] = w->value[i];
        squares += (double)g[i] * (double)g[i];
    }
    assert_true(squares > 1e-6);
    const double h = 1e-2 / sqrt(squares);
    for (size_t i = 0; i < count; i++)
        w->value[i] = (float)((double)x[i] + h * (double)g[i]);
    assert_int_equal(bs_step_compute(f.step, f.image, f.target, NULL, &above, NULL), BS_OK);
    for (size_t i = 0; i < count; i++)
        w->value[i] = (float)((double)x[i] - h * (double)g[i]);
    assert_int_equal(bs_step_compute(f.step, f.image, f.target, NULL, &below, NULL), BS_OK);
    assert_true(fabs((above - below) / (2 * h) - squares) < 1e-3 * squares);
    end_step(&f);
}

/* The first norm of the U-Net acts on the image, so its statistics are known. */
static void running_statistics_move_a_tenth_towards_the_batch(void **state)
{
    (void)state;
    struct fixture f = begin_step(BS_NORM_BATCH, BS_LOSS_DICE);
    const struct bs_step_tensor *mean = tensor_named(f.step, "encoder.blocks.0.block.0.running_mean"),
                                *variance = tensor_named(f.step, "encoder.blocks.0.block.0.running_var");
    const int count = 2 * SIDE * SIDE;
    const double mean_before = (double)mean->value[0], variance_before = (double)variance->value[0];
    double sum = 0, squares = 0;
    for (int i = 0; i < count; i++)
        sum += (double)f.image[i];
    for (int i = 0; i < count; i++)
        squares += pow((double)f.image[i] - sum / count, 2);
    assert_int_equal(mean->role, BS_ROLE_RUNNING_MEAN);
    assert_int_equal(variance->role, BS_ROLE_RUNNING_VARIANCE);
    assert_null(mean->gradient);
    (void)train_once(&f, 1e-4);
    assert_true(fabs((double)mean->value[0] - (0.9 * mean_before + 0.1 * sum / count)) < 1e-6);
    assert_true(fabs((double)variance->value[0] - (0.9 * variance_before + 0.1 * squares / (count - 1))) <
                1e-6);
    end_step(&f);
}

/* All values of the state, one after the other; free() it. */
static float *state_of(const struct bs_step *s, size_t *total)
{
    float *all = NULL;
    *total = 0;
    for (int i = 0; i < bs_step_tensor_count(s); i++) {
        const struct bs_step_tensor *t = bs_step_tensor_at(s, i);
        const size_t count = bs_shape_count(&t->shape);
        const float *part[] = {t->value, t->first, t->second};
        for (int k = 0; k < 3; k++)
            if (part[k]) {
                all = realloc(all, (*total + count) * sizeof *all);
                assert_non_null(all);
                memcpy(all + *total, part[k], count * sizeof *all);
                *total += count;
            }
    }
    return all;
}

static void assert_same_state(const struct bs_step *a, const struct bs_step *b)
{
    size_t na = 0, nb = 0;
    float *va = state_of(a, &na), *vb = state_of(b, &nb);
    assert_int_equal(na, nb);
    assert_true(na > 100);
    assert_memory_equal(va, vb, na * sizeof *va);
    assert_int_equal(bs_step_count(a), bs_step_count(b));
    free(va);
    free(vb);
}

static void resume_on(const char *device)
{
    struct fixture whole = begin_step_on(device, BS_NORM_BATCH, BS_LOSS_DICE_DISTANCE);
    struct fixture before = begin_step_on(device, BS_NORM_BATCH, BS_LOSS_DICE_DISTANCE);
    struct fixture after = begin_step_on(device, BS_NORM_BATCH, BS_LOSS_DICE_DISTANCE);
    for (int i = 0; i < 6; i++)
        (void)train_once(&whole, 1e-3);
    for (int i = 0; i < 3; i++)
        (void)train_once(&before, 1e-3);
    for (int i = 0; i < bs_step_tensor_count(before.step); i++) {
        const struct bs_step_tensor *from = bs_step_tensor_at(before.step, i),
                                    *to = bs_step_tensor_at(after.step, i);
        const size_t bytes = bs_shape_count(&from->shape) * sizeof(float);
        if (from->value)
            memcpy(to->value, from->value, bytes);
        if (from->first) {
            memcpy(to->first, from->first, bytes);
            memcpy(to->second, from->second, bytes);
        }
    }
    bs_step_set_count(after.step, bs_step_count(before.step));
    for (int i = 0; i < 3; i++)
        (void)train_once(&after, 1e-3);
    assert_same_state(whole.step, after.step);
    end_step(&whole);
    end_step(&before);
    end_step(&after);
}

static void resumed_run_equals_uninterrupted_run(void **state)
{
    (void)state;
    resume_on("ref");
#ifdef BS_WITH_ONEDNN
    resume_on("cpu");
#endif
}

static void a_step_that_fails_changes_nothing(void **state)
{
    (void)state;
    struct fixture f = begin_step(BS_NORM_BATCH, BS_LOSS_DICE),
                   untouched = begin_step(BS_NORM_BATCH, BS_LOSS_DICE);
    struct bs_err err = {.msg = ""};
    struct bs_cancel cancel = {0};
    struct bs_optimizer o = bs_optimizer_defaults(BS_ADAM);
    double loss;
    assert_int_equal(bs_step_apply(f.step, &o, &err), BS_EPRECONDITION); /* nothing computed yet */
    bs_cancel_request(&cancel);
    assert_int_equal(bs_step_compute(f.step, f.image, f.target, &cancel, &loss, &err), BS_ECANCELLED);
    assert_int_equal(bs_step_apply(f.step, &o, &err), BS_EPRECONDITION);
    const float pixel = f.image[5];
    f.image[5] = NAN;
    assert_int_equal(bs_step_compute(f.step, f.image, f.target, NULL, &loss, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "step 1"));
    assert_int_equal(bs_step_apply(f.step, &o, &err), BS_EPRECONDITION);
    f.image[5] = pixel;
    assert_int_equal(bs_step_compute(f.step, f.image, f.target, NULL, &loss, &err), BS_OK);
    o.beta1 = 2;
    assert_int_equal(bs_step_apply(f.step, &o, &err), BS_EINVAL);
    assert_same_state(f.step, untouched.step);
    (void)train_once(&f, 1e-4);
    (void)train_once(&untouched, 1e-4);
    assert_same_state(f.step, untouched.step);
    o = bs_optimizer_defaults(BS_ADAM);
    assert_int_equal(bs_step_apply(f.step, &o, &err), BS_EPRECONDITION); /* gradients count once */
    end_step(&f);
    end_step(&untouched);
}

/* With a crop, the target covers the corner of the output; what the network makes elsewhere counts nothing. */
static void a_crop_compares_the_corner_only(void **state)
{
    (void)state;
    struct fixture f = begin_step(BS_NORM_NONE, BS_LOSS_DICE);
    const struct bs_arch_config arch = small_unet(BS_NORM_NONE);
    struct bs_train_size size = {.samples = 2, .h = SIDE, .w = SIDE, .crop_h = 5, .crop_w = 3};
    const struct bs_loss loss = {.kind = BS_LOSS_DICE};
    struct bs_step *step = NULL;
    struct bs_err err = {.msg = ""};
    double whole, corner, product = 0, squares = 0, want = 0;
    assert_int_equal(bs_step_create(f.dev, &arch, &size, &loss, f.params, &step, &err), BS_OK);
    assert_int_equal(bs_step_target_shape(step).dim[2], 5);
    assert_int_equal(bs_step_target_shape(step).dim[3], 3);
    assert_int_equal(bs_step_compute(f.step, f.image, f.target, NULL, &whole, &err), BS_OK);
    assert_int_equal(bs_step_compute(step, f.image, f.target, NULL, &corner, &err), BS_OK);
    const float *all = bs_step_output(f.step), *cut = bs_step_output(step);
    for (int c = 0; c < 3; c++, product = squares = 0) {
        for (int n = 0; n < 2; n++)
            for (int i = 0; i < 5; i++)
                for (int j = 0; j < 3; j++) {
                    const int at = ((n * 3 + c) * 5 + i) * 3 + j;
                    const float p = all[((n * 3 + c) * SIDE + i) * SIDE + j];
                    assert_true(cut[at] == p);
                    product += (double)p * (double)f.target[at];
                    squares += (double)p * (double)p + (double)f.target[at] * (double)f.target[at];
                }
        want += 1 - 2 * product / squares;
    }
    assert_true(fabs(corner - want) < 1e-6);
    bs_step_destroy(step);
    size.crop_w = SIDE + 1;
    assert_int_equal(bs_step_create(f.dev, &arch, &size, &loss, f.params, &step, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "5 x 9"));
    assert_null(step);
    end_step(&f);
}

/* What a plan must count: activations are kept for the backward, so training needs more than the network alone. */
static void a_step_tells_its_memory(void **state)
{
    (void)state;
    struct fixture f = begin_step(BS_NORM_INSTANCE, BS_LOSS_DICE);
    size_t trained = 0;
    for (int i = 0; i < bs_step_tensor_count(f.step); i++)
        trained += bs_shape_count(&bs_step_tensor_at(f.step, i)->shape);
    assert_true(bs_step_bytes(f.step) > 4 * trained * sizeof(float));
    end_step(&f);
}

static void networks_and_losses_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct fixture f = begin_step(BS_NORM_NONE, BS_LOSS_DICE);
    struct bs_arch_config arch = small_unet(BS_NORM_NONE), other = small_unet(BS_NORM_BATCH);
    const struct bs_train_size size = {.samples = 1, .h = SIDE, .w = SIDE},
                               odd = {.samples = 1, .h = 7, .w = 8};
    const struct bs_loss dice = {.kind = BS_LOSS_DICE}, distance = {.kind = BS_LOSS_DISTANCE};
    struct bs_step *step = NULL;
    struct bs_err err = {.msg = ""};
    assert_int_equal(bs_step_create(f.dev, &arch, &odd, &dice, f.params, &step, &err), BS_EINVAL);
    assert_int_equal(bs_step_create(f.dev, &other, &size, &dice, f.params, &step, &err), BS_EINVAL);
    arch.unet.out_channels = 2;
    assert_int_equal(bs_step_create(f.dev, &arch, &size, &distance, f.params, &step, &err), BS_EINVAL);
    assert_int_equal(bs_step_create(f.dev, &arch, &size, &dice, f.params, &step, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "out_conv"));
    assert_null(step);
    end_step(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_goes_down),
        cmocka_unit_test(the_cpu_takes_the_same_steps),
        cmocka_unit_test(gradients_are_the_slope_of_the_loss),
        cmocka_unit_test(running_statistics_move_a_tenth_towards_the_batch),
        cmocka_unit_test(resumed_run_equals_uninterrupted_run),
        cmocka_unit_test(a_step_that_fails_changes_nothing),
        cmocka_unit_test(a_crop_compares_the_corner_only),
        cmocka_unit_test(a_step_tells_its_memory),
        cmocka_unit_test(networks_and_losses_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
