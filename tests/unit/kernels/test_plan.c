/* The plan's promises: buffers that live together never share bytes, children lie where their parents are, the peak is
   known and as low as it can be on known cases, and the same program gives the same plan. */
#include "kernels_support.h"

#include "kernels/plan.h"

#include <string.h>

static size_t place(struct bs_plan_buffer *b, int count)
{
    struct bs_err err = {.msg = ""};
    size_t bytes = 0;
    if (bs_plan_place(b, count, &bytes, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return bytes;
}

/* No placement can need less than what is live at the busiest step. */
static size_t busiest_step(const struct bs_plan_buffer *b, int count)
{
    size_t most = 0;
    for (int step = 0; step < 512; step++) {
        size_t live = 0;
        for (int i = 0; i < count; i++)
            if (b[i].parent == BS_NO_PARENT && b[i].first <= step && step <= b[i].last)
                live += (b[i].bytes + BS_PLAN_ALIGN - 1) / BS_PLAN_ALIGN * BS_PLAN_ALIGN;
        most = live > most ? live : most;
    }
    return most;
}

static bool inside(const struct bs_plan_buffer *b, int child, int parent)
{
    for (int at = child; at != BS_NO_PARENT; at = b[at].parent)
        if (at == parent)
            return true;
    return false;
}

static void check_plan(const struct bs_plan_buffer *b, int count, size_t arena)
{
    for (int i = 0; i < count; i++) {
        if (b[i].last < b[i].first || !b[i].bytes)
            continue;
        assert_true(b[i].offset + b[i].bytes <= arena);
        if (b[i].parent == BS_NO_PARENT) {
            assert_int_equal(b[i].offset % BS_PLAN_ALIGN, 0);
        } else {
            const struct bs_plan_buffer *p = &b[b[i].parent];
            assert_int_equal(b[i].offset, p->offset + b[i].parent_offset);
            assert_true(p->first <= b[i].first && b[i].last <= p->last);
        }
        for (int j = 0; j < i; j++) {
            bool together = b[j].last >= b[j].first && b[i].first <= b[j].last && b[j].first <= b[i].last;
            bool apart = b[i].offset + b[i].bytes <= b[j].offset || b[j].offset + b[j].bytes <= b[i].offset;
            if (together && !apart && b[j].bytes && !inside(b, i, j) && !inside(b, j, i))
                fail_msg("buffers %d and %d overlap while both are live", i, j);
        }
    }
}

static struct bs_plan_buffer buffer(size_t bytes, int first, int last)
{
    return (struct bs_plan_buffer){.bytes = bytes, .first = first, .last = last, .parent = BS_NO_PARENT};
}

static void a_chain_of_layers_needs_two_buffers(void **state)
{
    (void)state;
    struct bs_plan_buffer b[20];
    for (int i = 0; i < 20; i++)
        b[i] = buffer(1024, i, i + 1);
    assert_int_equal(place(b, 20), 2048);
    check_plan(b, 20, 2048);
}

/* A U-Net: every level's features wait for the decoder while the levels below work in what is left. */
static void a_unet_reaches_the_busiest_steps_bytes(void **state)
{
    (void)state;
    enum { DEPTH = 4, LAST = 4 * DEPTH + 2 };
    struct bs_plan_buffer b[64];
    int n = 0;
    for (int level = 0; level < DEPTH; level++) {
        size_t bytes = (size_t)64 << 20 >> level;
        b[n++] = buffer(bytes, 2 * level, 2 * level + 1);               /* first half of the block */
        b[n++] = buffer(bytes, 2 * level + 1, LAST - 2 * level);        /* skip */
        b[n++] = buffer(bytes / 4, 2 * level + 2, 2 * level + 2);       /* pooled */
        b[n++] = buffer(bytes, LAST - 2 * level - 1, LAST - 2 * level); /* upsampled */
        b[n++] = buffer(bytes, LAST - 2 * level, LAST - 2 * level + 1); /* decoder block */
    }
    size_t bytes = place(b, n);
    check_plan(b, n, bytes);
    assert_int_equal(bytes, busiest_step(b, n));
}

static void a_hole_is_filled_by_what_fits(void **state)
{
    (void)state;
    /* large ones at 0 and above; the small late one goes into the hole of the first */
    struct bs_plan_buffer b[] = {buffer(4096, 0, 1), buffer(2048, 1, 3), buffer(4096, 2, 3),
                                 buffer(64, 4, 5)};
    assert_int_equal(place(b, 4), 4096 + 2048);
    check_plan(b, 4, 4096 + 2048);
    assert_int_equal(b[3].offset, 0);
}

static void unused_and_empty_buffers_cost_nothing(void **state)
{
    (void)state;
    struct bs_plan_buffer b[] = {buffer(1 << 20, 5, 4), buffer(0, 0, 9), buffer(100, 0, 9)};
    assert_int_equal(place(b, 3), 128);
    struct bs_err err;
    size_t bytes = 1;
    assert_int_equal(bs_plan_place(NULL, 0, &bytes, &err), BS_OK);
    assert_int_equal(bytes, 0);
}

static void a_concat_is_the_parent_of_its_parts(void **state)
{
    (void)state;
    /* the skip is made at 0 and the upsampled image at 5, both inside the concat read at 6 */
    struct bs_plan_buffer b[] = {
        {.bytes = 1000, .first = 6, .last = 6, .parent = BS_NO_PARENT},
        {.bytes = 600, .first = 0, .last = 6, .parent = 0, .parent_offset = 400},
        {.bytes = 400, .first = 5, .last = 6, .parent = 0, .parent_offset = 0},
        {.bytes = 200, .first = 1, .last = 2, .parent = 1, .parent_offset = 100},
        {.bytes = 1000, .first = 1, .last = 4, .parent = BS_NO_PARENT},
    };
    size_t bytes = place(b, 5);
    check_plan(b, 5, bytes);
    assert_int_equal(b[0].first, 0);
    assert_int_equal(b[3].offset, b[0].offset + 500);
    assert_int_equal(bytes, 2048);
}

static void a_parent_nobody_uses_itself_lives_through_its_children(void **state)
{
    (void)state;
    struct bs_plan_buffer b[] = {
        {.bytes = 128, .first = 1, .last = 0, .parent = BS_NO_PARENT},
        {.bytes = 64, .first = 3, .last = 4, .parent = 0, .parent_offset = 64},
        {.bytes = 128, .first = 4, .last = 5, .parent = BS_NO_PARENT},
    };
    size_t bytes = place(b, 3);
    check_plan(b, 3, bytes);
    assert_int_equal(b[0].first, 3);
    assert_int_equal(b[0].last, 4);
    assert_int_equal(bytes, 256);
}

static void impossible_parents_are_refused(void **state)
{
    (void)state;
    struct bs_err err;
    size_t bytes;
    struct bs_plan_buffer loop[] = {{.bytes = 64, .last = 1, .parent = 1},
                                    {.bytes = 64, .last = 1, .parent = 0}};
    assert_int_equal(bs_plan_place(loop, 2, &bytes, &err), BS_EINTERNAL);
    assert_non_null(strstr(err.msg, "inside itself"));
    struct bs_plan_buffer nowhere[] = {{.bytes = 64, .last = 1, .parent = 7}};
    assert_int_equal(bs_plan_place(nowhere, 1, &bytes, &err), BS_EINTERNAL);
    struct bs_plan_buffer small[] = {{.bytes = 64, .last = 1, .parent = BS_NO_PARENT},
                                     {.bytes = 64, .last = 1, .parent = 0, .parent_offset = 1}};
    assert_int_equal(bs_plan_place(small, 2, &bytes, &err), BS_EINTERNAL);
    assert_non_null(strstr(err.msg, "does not fit"));
    small[1].parent_offset = SIZE_MAX;
    assert_int_equal(bs_plan_place(small, 2, &bytes, &err), BS_EINTERNAL);
    struct bs_plan_buffer twins[] = {{.bytes = 128, .last = 1, .parent = BS_NO_PARENT},
                                     {.bytes = 65, .last = 1, .parent = 0},
                                     {.bytes = 64, .last = 1, .parent = 0, .parent_offset = 64}};
    assert_int_equal(bs_plan_place(twins, 3, &bytes, &err), BS_EINTERNAL);
    assert_non_null(strstr(err.msg, "share bytes"));
}

static void sizes_that_do_not_add_up_are_a_limit(void **state)
{
    (void)state;
    struct bs_err err;
    size_t bytes;
    struct bs_plan_buffer b[] = {buffer(SIZE_MAX / 2 + 1, 0, 1), buffer(SIZE_MAX / 2 + 1, 0, 1)};
    assert_int_equal(bs_plan_place(b, 2, &bytes, &err), BS_ELIMIT);
    struct bs_plan_buffer one[] = {buffer(SIZE_MAX - 3, 0, 1)};
    assert_int_equal(bs_plan_place(one, 1, &bytes, &err), BS_ELIMIT);
}

static void random_lives_never_collide_and_stay_near_the_lower_bound(void **state)
{
    (void)state;
    struct numbers r = {99};
    double worst = 0;
    for (int round = 0; round < 300; round++) {
        struct bs_plan_buffer b[60], again[60];
        int count = next_int(&r, 1, 61);
        for (int i = 0; i < count; i++) {
            int first = next_int(&r, 0, 50);
            int steps = next_int(&r, -1, 12);
            b[i] = buffer((size_t)next_int(&r, 0, 5000), first, first + steps);
            int p = i ? next_int(&r, 0, i) : 0;
            if (i && next_int(&r, 0, 4) == 0 && b[p].bytes > 1) {
                b[i].parent = p;
                b[i].bytes = (size_t)next_int(&r, 0, (int)b[p].bytes);
                b[i].parent_offset = (size_t)next_int(&r, 0, (int)(b[p].bytes - b[i].bytes + 1));
            }
        }
        memcpy(again, b, sizeof b);
        struct bs_err err;
        size_t bytes, bytes_again;
        bs_status rc = bs_plan_place(b, count, &bytes, &err);
        if (rc == BS_EINTERNAL) { /* two children thrown onto the same bytes */
            assert_non_null(strstr(err.msg, "share bytes"));
            continue;
        }
        assert_int_equal(rc, BS_OK);
        check_plan(b, count, bytes);
        size_t bound = busiest_step(b, count);
        assert_true(bytes >= bound);
        if (bound && (double)bytes / (double)bound > worst)
            worst = (double)bytes / (double)bound;
        assert_int_equal(bs_plan_place(again, count, &bytes_again, &err), BS_OK);
        assert_int_equal(bytes, bytes_again);
        assert_memory_equal(b, again, sizeof b);
    }
    print_message("worst plan: %.3f of the busiest step\n", worst);
    assert_true(worst < 1.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_of_layers_needs_two_buffers),
        cmocka_unit_test(a_unet_reaches_the_busiest_steps_bytes),
        cmocka_unit_test(a_hole_is_filled_by_what_fits),
        cmocka_unit_test(unused_and_empty_buffers_cost_nothing),
        cmocka_unit_test(a_concat_is_the_parent_of_its_parts),
        cmocka_unit_test(a_parent_nobody_uses_itself_lives_through_its_children),
        cmocka_unit_test(impossible_parents_are_refused),
        cmocka_unit_test(sizes_that_do_not_add_up_are_a_limit),
        cmocka_unit_test(random_lives_never_collide_and_stay_near_the_lower_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
