/* Promises of the queue behind the watershed, whose largest pixel numbers no test could reach with an image. The file under
   test is included, as the queue is its own affair. */
#include "model/instances/watershed.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void pixel_numbers_beyond_32_bits_survive_in_order(void **state)
{
    (void)state;
    struct front f = {0};
    f.level = calloc(BS__LEVELS, sizeof *f.level);
    assert_non_null(f.level);
    const size_t first = ((size_t)1 << 40) - 1000, step = ((size_t)1 << 32) - 1;
    for (size_t i = 0; i < 200; i++) {
        assert_true(enter(&f, 65535, first - i * step));
        assert_true(enter(&f, 3, i));
    }
    size_t seen = 0;
    for (struct chunk *c = f.level[65535].first; c; c = c->next)
        for (unsigned i = 0; i < c->count; i++)
            assert_true(chunk_pixel(c, i) == first - seen++ * step);
    assert_int_equal(seen, 200);
    assert_true(f.waiting[65535 / 64] == (uint64_t)1 << 63 && f.waiting[0] == 8);
    free_front(&f);
}

static void chunks_are_used_again(void **state)
{
    (void)state;
    struct front f = {0};
    f.level = calloc(BS__LEVELS, sizeof *f.level);
    assert_non_null(f.level);
    struct chunk *c = take_chunk(&f);
    assert_non_null(c);
    c->count = 5;
    f.spare = c;
    assert_ptr_equal(take_chunk(&f), c);
    assert_int_equal(c->count, 0);
    for (size_t i = 0; i < 3 * SLAB_CHUNKS; i++)
        assert_non_null(take_chunk(&f));
    free_front(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixel_numbers_beyond_32_bits_survive_in_order),
        cmocka_unit_test(chunks_are_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
