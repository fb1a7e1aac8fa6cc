/* Parameters are packed once however many ask, shared until the last reference goes, and a failure to read is told to
   everyone who asked and remembered by nobody. */
#include "kernels_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct named_tensor two[2];

static int setup(void **state)
{
    (void)state;
    two[0] = (struct named_tensor){"a.weight", tensor_of(BS_SHAPE(2, 2), (float[]){1, 2, 3, 4})};
    two[1] = (struct named_tensor){"a.bias", tensor_of(BS_SHAPE(2), (float[]){5, 6})};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free_tensor(&two[0].tensor);
    free_tensor(&two[1].tensor);
    return 0;
}

static bs_status pack_copy(struct bs_params *p, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    return bs_params_read(p, ctx, dst, bytes / sizeof(float), err);
}

static void a_packed_form_is_made_once_and_shared(void **state)
{
    (void)state;
    struct named_tensors t = {.list = two, .count = 2};
    struct bs_params *p = params_of(&t);
    struct bs_err err;
    const void *first, *second;
    assert_int_equal(
        bs_params_packed(p, "ref/a.weight", 16, pack_copy, (void *)(uintptr_t) "a.weight", &first, &err),
        BS_OK);
    assert_int_equal(
        bs_params_packed(p, "ref/a.weight", 16, pack_copy, (void *)(uintptr_t) "a.weight", &second, &err),
        BS_OK);
    assert_ptr_equal(first, second);
    assert_int_equal((uintptr_t)first % 64, 0);
    assert_memory_equal(first, two[0].tensor.data, 16);
    assert_int_equal(t.reads, 1);
    assert_int_equal(bs_params_packed_bytes(p), 16);
    /* the same key for another size is a bug of the backend, not a value */
    assert_int_equal(
        bs_params_packed(p, "ref/a.weight", 8, pack_copy, (void *)(uintptr_t) "a.weight", &second, &err),
        BS_EINTERNAL);
    assert_null(second);
    bs_params_unref(p);
}

static void the_source_goes_with_the_last_reference(void **state)
{
    (void)state;
    struct named_tensors t = {.list = two, .count = 2};
    struct bs_params *p = params_of(&t);
    assert_ptr_equal(bs_params_ref(p), p);
    bs_params_unref(p);
    assert_int_equal(t.releases, 0);
    bs_params_unref(p);
    assert_int_equal(t.releases, 1);
    bs_params_unref(NULL);
}

static void shapes_and_values_come_from_the_source(void **state)
{
    (void)state;
    struct named_tensors t = {.list = two, .count = 2};
    struct bs_params *p = params_of(&t);
    struct bs_err err;
    struct bs_shape s;
    float bias[2];
    assert_int_equal(bs_params_shape(p, "a.weight", &s, &err), BS_OK);
    assert_true(s.ndim == 2 && s.dim[0] == 2 && s.dim[1] == 2);
    assert_int_equal(bs_params_read(p, "a.bias", bias, 2, &err), BS_OK);
    assert_true(bias[0] == 5 && bias[1] == 6);
    assert_int_equal(bs_params_shape(p, "b.weight", &s, &err), BS_ENOTFOUND);
    bs_params_unref(p);
}

static void a_failed_packing_leaves_nothing_and_can_be_tried_again(void **state)
{
    (void)state;
    struct named_tensors t = {.list = two, .count = 2, .fail = true};
    struct bs_params *p = params_of(&t);
    struct bs_err err;
    const void *out = &t;
    assert_int_equal(bs_params_packed(p, "k", 8, pack_copy, (void *)(uintptr_t) "a.bias", &out, &err),
                     BS_EIO);
    assert_non_null(strstr(err.msg, "a.bias"));
    assert_null(out);
    assert_int_equal(bs_params_packed_bytes(p), 0);
    t.fail = false;
    assert_int_equal(bs_params_packed(p, "k", 8, pack_copy, (void *)(uintptr_t) "a.bias", &out, &err), BS_OK);
    assert_memory_equal(out, two[1].tensor.data, 8);
    bs_params_unref(p);
}

static void absurd_packed_sizes_are_out_of_memory(void **state)
{
    (void)state;
    struct named_tensors t = {.list = two, .count = 2};
    struct bs_params *p = params_of(&t);
    struct bs_err err;
    const void *out;
    assert_int_equal(bs_params_packed(p, "k", SIZE_MAX, pack_copy, NULL, &out, &err), BS_ENOMEM);
    assert_int_equal(bs_params_packed(p, "k", (size_t)1 << 60, pack_copy, NULL, &out, &err), BS_ENOMEM);
    assert_int_equal(t.reads, 0);
    bs_params_unref(p);
}

static bs_status pack_large(struct bs_params *p, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    (void)p, (void)ctx, (void)err;
    memset(dst, 7, bytes);
    return BS_OK;
}

static void large_forms_are_counted_and_freed(void **state)
{
    (void)state;
    struct named_tensors t = {.list = two, .count = 2};
    struct bs_params *p = params_of(&t);
    struct bs_err err;
    const void *out;
    size_t bytes = ((size_t)3 << 20) + 5;
    assert_int_equal(bs_params_packed(p, "large", bytes, pack_large, NULL, &out, &err), BS_OK);
    assert_int_equal(((const unsigned char *)out)[bytes - 1], 7);
    assert_int_equal(bs_params_packed_bytes(p), bytes);
    bs_params_unref(p);
}

enum { THREADS = 8, KEYS = 5, ROUNDS = 20 };

struct crowd {
    struct bs_params *params;
    atomic_int made[KEYS], failing;
};

static bs_status pack_never(struct bs_params *p, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    (void)p, (void)dst, (void)bytes, (void)ctx;
    return BS_FAIL(err, BS_EINTERNAL, "a planning set must not pack");
}

static bs_status no_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    (void)ctx, (void)shape;
    return BS_FAIL(err, BS_ENOTFOUND, "no %s", name);
}

static bs_status no_values(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    (void)ctx, (void)dst, (void)count;
    return BS_FAIL(err, BS_EIO, "%s must not be read", name);
}

static void a_planning_set_counts_and_packs_nothing(void **state)
{
    (void)state;
    struct bs_params *p = NULL;
    const void *small, *huge, *again;
    const size_t gigabytes = (size_t)64 << 30; /* more than a test may touch */
    assert_int_equal(
        bs_params_create_planning((struct bs_param_source){NULL, no_shape, no_values, NULL}, &p, NULL),
        BS_OK);
    assert_true(bs_params_is_planning(p));
    assert_int_equal(bs_params_packed(p, "small", 64, pack_never, NULL, &small, NULL), BS_OK);
    assert_int_equal(*(const unsigned char *)small, 0);
    assert_int_equal(bs_params_packed(p, "huge", gigabytes, pack_never, NULL, &huge, NULL), BS_OK);
    assert_int_equal(bs_params_packed(p, "huge", gigabytes, pack_never, NULL, &again, NULL), BS_OK);
    assert_ptr_equal(huge, again);
    assert_int_equal(bs_params_packed_bytes(p), gigabytes + 64);
    bs_params_unref(p);
}

static bs_status pack_slowly(struct bs_params *p, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    struct crowd *c = ctx;
    float v[2];
    bs_status rc = bs_params_read(p, "a.bias", v, 2, err); /* reading inside packing must not lock up */
    if (rc != BS_OK)
        return rc;
    usleep(200);
    /* the first tries fail while others wait for them */
    if (atomic_fetch_sub(&c->failing, 1) > 0)
        return BS_FAIL(err, BS_EIO, "truncated meanwhile");
    memset(dst, 1, bytes);
    atomic_fetch_add(&c->made[bytes / 64 - 1], 1);
    return BS_OK;
}

static void *ask(void *arg)
{
    struct crowd *c = arg;
    uintptr_t failures = 0;
    const void *seen[KEYS] = {0};
    for (int round = 0; round < ROUNDS; round++)
        for (int k = 0; k < KEYS; k++) {
            char key[16];
            const void *out;
            struct bs_err err;
            snprintf(key, sizeof key, "key %d", k);
            bs_status rc = bs_params_packed(c->params, key, (size_t)(k + 1) * 64, pack_slowly, c, &out, &err);
            if (rc != BS_OK) {
                failures++;
                continue;
            }
            if ((seen[k] && seen[k] != out) || *(const unsigned char *)out != 1)
                return (void *)UINTPTR_MAX;
            seen[k] = out;
            (void)bs_params_packed_bytes(c->params);
        }
    bs_params_unref(c->params);
    return (void *)failures;
}

/* A device's memory, counted. */
struct far_memory {
    int held, refusals;
};

static bs_status far_alloc(void *ctx, size_t bytes, void **out, struct bs_err *err)
{
    struct far_memory *m = ctx;
    if (m->refusals-- > 0)
        return BS_FAIL(err, BS_ENOMEM, "the device has no %zu bytes", bytes);
    m->held++;
    *out = malloc(bytes);
    return BS_OK;
}

static void far_free(void *ctx, void *memory, size_t bytes)
{
    (void)bytes;
    ((struct far_memory *)ctx)->held--;
    free(memory);
}

static void packed_forms_lie_in_the_memory_of_a_device_and_are_freed_there(void **state)
{
    (void)state;
    struct named_tensors t = {.list = two, .count = 2};
    struct bs_params *p = params_of(&t);
    struct far_memory memory = {.refusals = 1};
    const struct bs_pack_memory where = {&memory, far_alloc, far_free};
    void *name = (void *)(uintptr_t) "a.weight";
    struct bs_err err;
    const void *first, *second;
    assert_int_equal(bs_params_packed_in(p, &where, "far/a.weight", 16, pack_copy, name, &first, &err),
                     BS_ENOMEM);
    t.fail = true;
    assert_int_not_equal(bs_params_packed_in(p, &where, "far/a.weight", 16, pack_copy, name, &first, &err),
                         BS_OK);
    assert_int_equal(memory.held, 0); /* of a form that could not be filled nothing stays */
    t.fail = false;
    assert_int_equal(bs_params_packed_in(p, &where, "far/a.weight", 16, pack_copy, name, &first, &err),
                     BS_OK);
    assert_int_equal(bs_params_packed_in(p, &where, "far/a.weight", 16, pack_copy, name, &second, &err),
                     BS_OK);
    assert_ptr_equal(first, second);
    assert_memory_equal(first, two[0].tensor.data, 16);
    assert_int_equal(memory.held, 1);
    assert_int_equal(bs_params_packed_bytes(p), 16);
    bs_params_unref(p);
    assert_int_equal(memory.held, 0);
}

static void planning_takes_nothing_of_a_device(void **state)
{
    (void)state;
    struct far_memory memory = {0};
    const struct bs_pack_memory where = {&memory, far_alloc, far_free};
    struct bs_params *p = NULL;
    struct bs_err err;
    const void *form = &form;
    assert_int_equal(
        bs_params_create_planning((struct bs_param_source){NULL, no_shape, no_values, NULL}, &p, &err),
        BS_OK);
    assert_int_equal(bs_params_packed_in(p, &where, "far/a.weight", 16, pack_copy, NULL, &form, &err), BS_OK);
    assert_null(form);
    assert_int_equal(memory.held, 0);
    assert_int_equal(bs_params_packed_bytes(p), 16);
    bs_params_unref(p);
}

static void many_threads_pack_each_form_exactly_once(void **state)
{
    (void)state;
    struct named_tensors t = {.list = two, .count = 2};
    struct crowd c = {.params = params_of(&t)};
    atomic_store(&c.failing, 4);
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) {
        bs_params_ref(c.params);
        assert_int_equal(pthread_create(&thread[i], NULL, ask, &c), 0);
    }
    uintptr_t failures = 0;
    for (int i = 0; i < THREADS; i++) {
        void *r;
        pthread_join(thread[i], &r);
        assert_true((uintptr_t)r != UINTPTR_MAX);
        failures += (uintptr_t)r;
    }
    for (int k = 0; k < KEYS; k++)
        assert_int_equal(atomic_load(&c.made[k]), 1);
    assert_int_equal(failures, 4); /* each failure is told to the one who tried */
    assert_int_equal(bs_params_packed_bytes(c.params), 64 * (1 + 2 + 3 + 4 + 5));
    bs_params_unref(c.params);
    assert_int_equal(t.releases, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packed_form_is_made_once_and_shared),
        cmocka_unit_test(the_source_goes_with_the_last_reference),
        cmocka_unit_test(shapes_and_values_come_from_the_source),
        cmocka_unit_test(a_failed_packing_leaves_nothing_and_can_be_tried_again),
        cmocka_unit_test(absurd_packed_sizes_are_out_of_memory),
        cmocka_unit_test(large_forms_are_counted_and_freed),
        cmocka_unit_test(a_planning_set_counts_and_packs_nothing),
        cmocka_unit_test(packed_forms_lie_in_the_memory_of_a_device_and_are_freed_there),
        cmocka_unit_test(planning_takes_nothing_of_a_device),
        cmocka_unit_test(many_threads_pack_each_form_exactly_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
