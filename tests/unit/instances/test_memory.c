/* Promises about running out of memory: whichever allocation fails, the answer is an error value, and (as the leak
   checker of the sanitizer build sees) nothing is left behind. */
#include "model/instances/evaluate.h"
#include "model/instances/instances.h"
#include "tests/support/fail_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { H = 64, W = 80, N = H * W };

/* What the operations work on. */
static float maps[3 * N], floats[3 * N];
static uint32_t labels[N], out[N];
static uint8_t flags[3 * N];

static void fill(void)
{
    for (int i = 0; i < N; i++) {
        int y = i / W % 16 - 8, x = i % W % 16 - 8, distance = y * y + x * x;
        labels[i] = distance < 40 ? (uint32_t)(1 + i / W / 16 * 5 + i % W / 16) : 0;
        flags[i] = labels[i] != 0;
        maps[i] = flags[i] ? 0.9f : 0.1f;
        maps[N + i] = maps[2 * N + i] = flags[i] ? (float)distance / 40 : 1;
    }
}

static bs_status distance_recipe(struct bs_err *err)
{
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_DISTANCES);
    struct bs_instance_result result;
    return bs_instances_from_maps(maps, 3, H, W, flags, &params, out, &result, NULL, err);
}

static bs_status boundary_recipe(struct bs_err *err)
{
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_BOUNDARIES);
    struct bs_instance_result result;
    return bs_instances_from_maps(maps, 2, H, W, NULL, &params, out, &result, NULL, err);
}

static bs_status distance_target(struct bs_err *err)
{
    return bs_target_distances(labels, H, W, 5, floats, err);
}

static bs_status transform(struct bs_err *err)
{
    return bs_distance_transform(flags, H, W, floats, err);
}

static bs_status smoothing(struct bs_err *err)
{
    return bs_gaussian(maps, H, W, 1.5, floats, err);
}

static bs_status flooding(struct bs_err *err)
{
    memcpy(out, labels, sizeof out);
    return bs_watershed(maps, H, W, NULL, out, NULL, err);
}

static bs_status measuring(struct bs_err *err)
{
    static struct bs_object objects[N];
    return bs_objects_measure(labels, H, W, N, maps, objects, err);
}

static bs_status evaluating(struct bs_err *err)
{
    struct bs_accuracy accuracy;
    for (uint32_t i = 0; i < N; i++)
        out[i] = i;
    return bs_evaluate(labels, out, H, W, 10, &accuracy, err);
}

static void every_allocation_that_fails_is_an_error_value(void **state)
{
    (void)state;
    bs_status (*const operations[])(struct bs_err *) = {
        distance_recipe, boundary_recipe, distance_target, transform,
        smoothing,       flooding,        measuring,       evaluating,
    };
    fill();
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        for (unsigned n = 1;; n++) {
            struct bs_err err;
            memset(&err, 0, sizeof err);
            bs_test_fail_alloc_at(n);
            bs_status rc = operations[i](&err);
            bool failed = bs_test_alloc_failed();
            bs_test_fail_alloc_at(0);
            assert_int_equal(rc, failed ? BS_ENOMEM : BS_OK);
            if (!failed) {
                assert_true(n > 1);
                break;
            }
            assert_int_equal(err.code, BS_ENOMEM);
            assert_true(err.msg[0] != '\0');
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_that_fails_is_an_error_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
