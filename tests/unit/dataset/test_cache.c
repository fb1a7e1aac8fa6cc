/* Promises about what is kept: a value is made once however many ask at a time, what was used least recently goes first, what is held
   stays, a failure is tried again. */
#include "model/dataset/cache.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { KEYS = 8, EACH = 10 };

static atomic_int made[KEYS], alive;
static atomic_int fail_times;

static bs_status make(void *ctx, size_t key, void **value, size_t *bytes, struct bs_err *err)
{
    (void)ctx;
    if (atomic_fetch_sub(&fail_times, 1) > 0)
        return BS_FAIL(err, BS_EIO, "the disk is gone");
    made[key]++;
    alive++;
    size_t *own = malloc(sizeof *own);
    assert_non_null(own);
    *own = key;
    *value = own;
    *bytes = EACH;
    return BS_OK;
}

static void destroy(void *ctx, size_t key, void *value)
{
    (void)ctx;
    assert_int_equal(*(size_t *)value, key);
    alive--;
    free(value);
}

static const struct bs__cache_maker maker = {NULL, make, destroy};

static struct bs__cache *fresh(size_t max_bytes)
{
    struct bs__cache *c;
    assert_int_equal(bs__cache_create(KEYS, max_bytes, &maker, &c, NULL), BS_OK);
    for (int i = 0; i < KEYS; i++)
        made[i] = 0;
    fail_times = 0;
    return c;
}

static void use(struct bs__cache *c, size_t key)
{
    void *value;
    assert_int_equal(bs__cache_take(c, key, &value, NULL), BS_OK);
    assert_int_equal(*(size_t *)value, key);
    bs__cache_give_back(c, key);
}

static void what_was_used_least_recently_goes_first(void **state)
{
    (void)state;
    struct bs__cache *c = fresh(3 * EACH);
    use(c, 0);
    use(c, 1);
    use(c, 2);
    use(c, 0); /* 1 is now the oldest */
    assert_int_equal(made[0], 1);
    use(c, 3);
    assert_int_equal(alive, 3);
    use(c, 0);
    use(c, 2);
    use(c, 3);
    assert_int_equal(made[0] + made[2] + made[3], 3);
    use(c, 1);
    assert_int_equal(made[1], 2);
    use(c, 0); /* 1 took its place */
    assert_int_equal(made[0], 2);
    bs__cache_destroy(c);
    assert_int_equal(alive, 0);
}

static void what_is_held_stays(void **state)
{
    (void)state;
    struct bs__cache *c = fresh(0);
    void *first, *again;
    assert_int_equal(bs__cache_take(c, 5, &first, NULL), BS_OK);
    for (size_t key = 0; key < 5; key++)
        use(c, key); /* no room: gone at once */
    assert_int_equal(alive, 1);
    assert_int_equal(bs__cache_take(c, 5, &again, NULL), BS_OK);
    assert_ptr_equal(first, again);
    bs__cache_give_back(c, 5);
    assert_int_equal(alive, 1);
    bs__cache_give_back(c, 5);
    assert_int_equal(alive, 0);
    bs__cache_destroy(c);
}

static void a_failure_is_tried_again(void **state)
{
    (void)state;
    struct bs__cache *c = fresh(100);
    void *value;
    struct bs_err err;
    fail_times = 1;
    assert_int_equal(bs__cache_take(c, 2, &value, &err), BS_EIO);
    use(c, 2);
    assert_int_equal(made[2], 1);
    bs__cache_destroy(c);
}

enum { THREADS = 4, ROUNDS = 2000 };

static void *work(void *c)
{
    static atomic_uint number;
    unsigned random = 77 + atomic_fetch_add(&number, 1);
    for (int i = 0; i < ROUNDS; i++) {
        void *value;
        random = random * 1664525u + 1013904223u;
        size_t key = (random >> 16) % KEYS;
        if (bs__cache_take(c, key, &value, NULL) != BS_OK)
            continue;
        if (*(size_t *)value != key)
            return value;
        bs__cache_give_back(c, key);
    }
    return NULL;
}

static void run_threads(struct bs__cache *c)
{
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, c), 0);
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(thread[i], &wrong);
        assert_null(wrong);
    }
}

static void threads_share_what_is_made(void **state)
{
    (void)state;
    struct bs__cache *c = fresh(KEYS * EACH);
    run_threads(c);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(made[i], 1);
    bs__cache_destroy(c);
    c = fresh(3 * EACH);
    fail_times = 100;
    run_threads(c);
    assert_in_range(alive, 0, 3);
    bs__cache_destroy(c);
    assert_int_equal(alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_used_least_recently_goes_first),
        cmocka_unit_test(what_is_held_stays),
        cmocka_unit_test(a_failure_is_tried_again),
        cmocka_unit_test(threads_share_what_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
