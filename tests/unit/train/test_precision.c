/* Steps whose values are stored with 16 bits: half the memory, gradients within rounding of float32's, a loss that goes down as
   theirs; masters that keep updates which 16 bits could not; and with f16 a scaled loss, whose overflows leave a step out. */
#include "run_support.h"

#include "model/train/loss_scale.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef BS_WITH_ONEDNN
#define DEVICES                                                                                              \
    {                                                                                                        \
        "ref", "cpu"                                                                                         \
    }
#else
#define DEVICES                                                                                              \
    {                                                                                                        \
        "ref"                                                                                                \
    }
#endif
static const char *const devices[] = DEVICES;
#define COUNT (int)(sizeof devices / sizeof *devices)

/* A step of a U-Net for two patches. */
static struct fixture begin_sized(const char *device, enum bs_precision precision, int features, int side,
                                  size_t bytes)
{
    const size_t pixels = (size_t)side * (size_t)side;
    struct fixture f = {.image = random_values(2 * pixels, 1, -2, 2),
                        .target = random_values(6 * pixels, 2, 0, 1)};
    struct bs_arch_config arch = small_unet(BS_NORM_INSTANCE);
    const struct bs_train_size size = {.samples = 2, .h = side, .w = side};
    const struct bs_device_options device_options = {.threads = 1, .allow_winograd = true};
    const struct bs_loss loss = {
        .kind = BS_LOSS_DICE_DISTANCE, .mask_background = true, .alpha = 1, .beta = 1};
    const struct bs_step_options options = {.bytes = bytes, .precision = precision};
    struct bs_err err = {.msg = ""};
    arch.unet.initial_features = features;
    if (bs_device_open(device, &device_options, &f.dev, &err) != BS_OK ||
        !(f.params = formula_params(&arch, 7, &err)) ||
        bs_step_create_with(f.dev, &arch, &size, &loss, &options, f.params, &f.step, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return f;
}

static struct fixture begin_with(const char *device, enum bs_precision precision)
{
    return begin_sized(device, precision, 8, 32, 0);
}

static double compute(struct fixture *f)
{
    double loss = 0;
    struct bs_err err = {.msg = ""};
    if (bs_step_compute(f->step, f->image, f->target, NULL, &loss, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return loss;
}

/* |a - b| / |b| over all gradients. */
static double distance(const struct bs_step *a, const struct bs_step *b)
{
    double apart = 0, size = 0;
    for (int i = 0; i < bs_step_tensor_count(b); i++) {
        const struct bs_step_tensor *x = bs_step_tensor_at(a, i), *y = bs_step_tensor_at(b, i);
        for (size_t k = 0; y->gradient && k < bs_shape_count(&y->shape); k++) {
            apart += pow((double)x->gradient[k] - (double)y->gradient[k], 2);
            size += pow((double)y->gradient[k], 2);
        }
    }
    return sqrt(apart / size);
}

/* Rounding moves some pixels across the threshold of a relu or out of first place in a pooling window: their share goes with what
   rounding takes (1/512, 1/4096), so the distance of gradients goes with its root. */
static void gradients_are_within_rounding_of_float32(void **state)
{
    (void)state;
    for (int d = 0; d < COUNT; d++) {
        struct fixture whole = begin_with(devices[d], BS_PRECISION_F32),
                       bf16 = begin_with(devices[d], BS_PRECISION_BF16),
                       f16 = begin_with(devices[d], BS_PRECISION_F16);
        const double want = compute(&whole);
        bs_step_set_scale(f16.step, 1024);
        assert_true(fabs(compute(&bf16) - want) < 0.01 * want);
        assert_true(fabs(compute(&f16) - want) < 0.002 * want);
        const double coarse = distance(bf16.step, whole.step), fine = distance(f16.step, whole.step);
        if (!(coarse > 1e-3 && coarse < 6 / sqrt(512)))
            fail_msg("%s: bf16 gradients are off by %g", devices[d], coarse);
        if (!(fine > 1e-4 && fine < 6 / sqrt(4096) && fine < coarse))
            fail_msg("%s: f16 gradients are off by %g", devices[d], fine);
        end_step(&whole);
        end_step(&bf16);
        end_step(&f16);
    }
}

static void thirty_steps_reach_a_similar_loss(void **state)
{
    (void)state;
    for (int d = 0; d < COUNT; d++) {
        struct fixture whole = begin_with(devices[d], BS_PRECISION_F32),
                       bf16 = begin_with(devices[d], BS_PRECISION_BF16);
        const double first = train_once(&bf16, 1e-2);
        (void)train_once(&whole, 1e-2);
        double want = 0, have = 0;
        for (int i = 1; i < 30; i++) {
            want = train_once(&whole, 1e-2);
            have = train_once(&bf16, 1e-2);
        }
        if (!(have < 0.97 * first) || !(fabs(have - want) < 0.05 * want))
            fail_msg("%s: from %g to %g, float32 to %g", devices[d], first, have, want);
        end_step(&whole);
        end_step(&bf16);
    }
}

/* A step moves a weight by about the learning rate, which is far below what two bf16 numbers around it are apart: as bf16 hardly one
   would have moved; the float32 ones all have. */
static void masters_keep_updates_that_bf16_could_not(void **state)
{
    (void)state;
    struct fixture f = begin_with(devices[COUNT - 1], BS_PRECISION_BF16);
    const struct bs_step_tensor *w = tensor_named(f.step, "out_conv.weight");
    const size_t count = bs_shape_count(&w->shape);
    float before[64];
    int moved = 0, moved_as_bf16 = 0;
    assert_in_range(count, 4, 64);
    memcpy(before, w->value, count * sizeof *before);
    (void)train_once(&f, 1e-6);
    for (size_t i = 0; i < count; i++) {
        moved += before[i] < w->value[i] || before[i] > w->value[i];
        moved_as_bf16 += bs_f32_to_bf16(before[i]) != bs_f32_to_bf16(w->value[i]);
    }
    assert_int_equal(moved, count);
    assert_true(moved_as_bf16 <= 1);
    for (int i = 0; i < 50; i++)
        (void)train_once(&f, 1e-6);
    for (size_t i = 0; i < count; i++) /* they add up */
        assert_true(fabs((double)w->value[i] - (double)before[i]) > 5e-6);
    end_step(&f);
}

static void less_is_held_and_a_budget_changes_no_bit(void **state)
{
    (void)state;
#ifdef BS_WITH_ONEDNN
    struct fixture whole = begin_sized("cpu", BS_PRECISION_F32, 16, 64, 0),
                   bf16 = begin_sized("cpu", BS_PRECISION_BF16, 16, 64, 0);
    const size_t arena = bs_step_arena_bytes(bf16.step);
    if (!((double)arena < 0.95 * (double)bs_step_arena_bytes(whole.step)))
        fail_msg("%zu bytes for %zu in float32", arena, bs_step_arena_bytes(whole.step));
    assert_true(bs_step_plan_hash(whole.step) != bs_step_plan_hash(bf16.step));
    struct fixture tight =
        begin_sized("cpu", BS_PRECISION_BF16, 16, 64, bs_step_bytes(bf16.step) - arena / 20);
    assert_true(bs_step_recompute(tight.step)->values > 0);
    for (int i = 0; i < 2; i++) {
        const double want = train_once(&bf16, 1e-3), have = train_once(&tight, 1e-3);
        assert_memory_equal(&have, &want, sizeof want);
    }
    end_step(&whole);
    end_step(&bf16);
    end_step(&tight);
#else
    skip();
#endif
}

static void a_step_that_overflows_changes_nothing(void **state)
{
    (void)state;
    for (int d = 0; d < COUNT; d++) {
        struct fixture f = begin_with(devices[d], BS_PRECISION_F16);
        const struct bs_optimizer o = bs_optimizer_defaults(BS_ADAM);
        const struct bs_step_tensor *w = tensor_named(f.step, "out_conv.weight");
        struct bs_err err = {.msg = ""};
        float before[64];
        memcpy(before, w->value, bs_shape_count(&w->shape) * sizeof *before);
        bs_step_set_scale(f.step, 0x1p60);
        (void)compute(&f);
        assert_true(bs_step_overflowed(f.step));
        assert_int_equal(bs_step_apply(f.step, &o, &err), BS_EPRECONDITION);
        assert_non_null(strstr(err.msg, "overflowed"));
        assert_memory_equal(before, w->value, bs_shape_count(&w->shape) * sizeof *before);
        assert_int_equal(bs_step_count(f.step), 0);
        bs_step_set_scale(f.step, 1024);
        (void)compute(&f);
        assert_false(bs_step_overflowed(f.step));
        assert_int_equal(bs_step_apply(f.step, &o, &err), BS_OK);
        assert_int_equal(bs_step_count(f.step), 1);
        end_step(&f);
    }
}

static void the_scale_is_halved_by_overflow_and_doubled_by_a_row_of_good_steps(void **state)
{
    (void)state;
    struct bs_loss_scale s = {.scale = 4};
    assert_true(bs_loss_scale_step(&s, true));
    assert_true(s.scale >= 2 && s.scale <= 2);
    for (int i = 0; i < BS_LOSS_SCALE_ROW - 1; i++)
        assert_true(bs_loss_scale_step(&s, false));
    assert_true(s.scale <= 2);
    assert_true(bs_loss_scale_step(&s, false));
    assert_true(s.scale >= 4 && s.scale <= 4 && s.good == 0);
    s.good = BS_LOSS_SCALE_ROW - 1;
    assert_true(bs_loss_scale_step(&s, true)); /* an overflow ends the row */
    assert_int_equal(s.good, 0);
    assert_true(bs_loss_scale_step(&s, true));
    assert_false(bs_loss_scale_step(&s, true)); /* none is left */
    s = (struct bs_loss_scale){.scale = BS_LOSS_SCALE_MOST, .good = BS_LOSS_SCALE_ROW - 1};
    assert_true(bs_loss_scale_step(&s, false));
    assert_true(s.scale <= BS_LOSS_SCALE_MOST);
}

/* Are these in the file? */
static bool says(const struct kept *k, const char *text)
{
    return memmem(k->bytes, k->size, text, strlen(text)) != NULL;
}

/* A loss of ten thousands has gradients that overflow f16 at the first scale. */
static void a_run_in_f16_finds_its_scale_and_is_resumed_to_the_bit(void **state)
{
    (void)state;
    for (int precision = BS_PRECISION_BF16; precision <= BS_PRECISION_F16; precision++) {
        struct trial *whole = new_trial(BS_NORM_INSTANCE), *rest = new_trial(BS_NORM_INSTANCE);
        whole->config.precision = rest->config.precision = (enum bs_precision)precision;
        whole->config.checkpoint_every = rest->config.checkpoint_every = 1;
        whole->config.loss.kind = BS_LOSS_BCE_DICE;
        whole->config.loss.alpha = whole->config.loss.beta = 3e4F;
        rest->config = whole->config;
        succeed(whole);
        if (precision == BS_PRECISION_F16) {
            assert_true(says(&whole->latest[1], "\"loss_scale\\\":32768,"));
            assert_true(says(&whole->latest[1], "\"skipped\\\":1,"));
            assert_false(says(&whole->latest[12], "\"skipped\\\":12,"));
        }
        for (int from = 1; from < 12; from += 5) {
            rest->from = &whole->latest[from];
            succeed(rest);
            assert_true(same_kept(&rest->latest[12], &whole->latest[12]));
            end_trial(rest);
            rest = new_trial(BS_NORM_INSTANCE);
            rest->config = whole->config;
        }
        end_trial(whole);
        end_trial(rest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_within_rounding_of_float32),
        cmocka_unit_test(thirty_steps_reach_a_similar_loss),
        cmocka_unit_test(masters_keep_updates_that_bf16_could_not),
        cmocka_unit_test(less_is_held_and_a_budget_changes_no_bit),
        cmocka_unit_test(a_step_that_overflows_changes_nothing),
        cmocka_unit_test(the_scale_is_halved_by_overflow_and_doubled_by_a_row_of_good_steps),
        cmocka_unit_test(a_run_in_f16_finds_its_scale_and_is_resumed_to_the_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
