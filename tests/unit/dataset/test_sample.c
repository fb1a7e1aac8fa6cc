/* Promises about training samples: known by seed and index alone, labels stay on their pixels, every turn and window is
   equally likely, small images are filled up, targets are those of the turned labels. */
#include "model/dataset/sample.h"
#include "tests/support/fail_alloc.h"

#include <setjmp.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { H = 12, W = 9, PAIRS = 5, P = 6 };

/* Labels number the pixels of all images; the image's value is a function of its label, so that they can be compared after any
   window, turn and standardisation. */
struct world {
    float image[PAIRS][2 * H * W];
    uint32_t labels[PAIRS][H * W];
    uint8_t ignored[PAIRS][H * W]; /* where partial */
    int loads, releases, fail_at;
    bool partial;
};

static struct world world;

static bs_status load(void *ctx, size_t index, struct bs_pair *pair, struct bs_err *err)
{
    struct world *w = ctx;
    if (++w->loads == w->fail_at)
        return BS_FAIL(err, BS_EIO, "the disk is gone");
    *pair = (struct bs_pair){
        .image = w->image[index], .labels = w->labels[index], .channels = 2, .height = H, .width = W};
    if (w->partial)
        pair->ignored = w->ignored[index];
    return BS_OK;
}

static void release(void *ctx, struct bs_pair *pair)
{
    (void)pair;
    ((struct world *)ctx)->releases++;
}

static const struct bs_pair_source source = {
    .ctx = &world, .count = PAIRS, .channels = 2, .load = load, .release = release};

static int fill(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    for (uint32_t k = 0; k < PAIRS; k++)
        for (uint32_t i = 0; i < H * W; i++) {
            world.labels[k][i] = 1 + k * H * W + i;
            world.image[k][i] = (float)world.labels[k][i];
            world.image[k][H * W + i] = -(float)world.labels[k][i];
        }
    return 0;
}

static struct bs_sample_rule rule(void)
{
    struct bs_sample_rule r = bs_sample_rule_default();
    r.height = P;
    r.width = P;
    r.target = BS_RECIPE_BOUNDARIES;
    return r;
}

struct sample {
    float image[2 * P * P], target[4 * P * P];
    uint32_t labels[P * P];
};

static void make(const struct bs_sample_rule *r, uint64_t seed, uint64_t index, struct sample *s)
{
    struct bs_err err;
    if (bs_sample_make(&source, r, seed, index, s->image, s->target, s->labels, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static void a_sample_is_known_by_seed_and_index(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    static struct sample forward[40], s;
    for (uint64_t i = 0; i < 40; i++)
        make(&r, 7, i, &forward[i]);
    for (uint64_t i = 40; i-- > 0;) {
        make(&r, 7, i, &s);
        assert_memory_equal(&s.labels, &forward[i].labels, sizeof s.labels);
        assert_memory_equal(&s.image, &forward[i].image, sizeof s.image);
    }
    int differ = 0;
    for (uint64_t i = 0; i < 40; i++) {
        make(&r, 8, i, &s);
        differ += memcmp(s.labels, forward[i].labels, sizeof s.labels) != 0;
    }
    assert_true(differ > 35);
    assert_int_equal(world.loads, world.releases);
}

static void labels_stay_on_their_pixels(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    struct sample s;
    for (uint64_t i = 0; i < 200; i++) {
        make(&r, 1, i, &s);
        /* Standardising is linear: two pixels give its scale and offset. */
        double scale =
                   ((double)s.image[1] - (double)s.image[0]) / ((double)s.labels[1] - (double)s.labels[0]),
               offset = (double)s.image[0] - scale * (double)s.labels[0];
        for (int k = 0; k < P * P; k++) {
            assert_true(fabs((double)s.image[k] - (offset + scale * (double)s.labels[k])) < 1e-3);
            assert_true(fabs((double)s.image[P * P + k] - (offset - scale * (double)s.labels[k])) < 1e-3);
        }
    }
}

static void windows_are_whole_parts_of_one_image(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    struct sample s;
    for (uint64_t i = 0; i < 200; i++) {
        make(&r, 2, i, &s);
        uint32_t low = UINT32_MAX, high = 0;
        for (int k = 0; k < P * P; k++) {
            low = s.labels[k] < low ? s.labels[k] : low;
            high = s.labels[k] > high ? s.labels[k] : high;
        }
        uint32_t image = (low - 1) / (H * W), first = (low - 1) % (H * W);
        assert_int_equal((high - 1) / (H * W), image);
        assert_int_equal(high - low, (P - 1) * W + P - 1);
        assert_true(first / W <= H - P && first % W <= W - P);
    }
}

/* Which of the eight ways a window lies, from the steps between neighbours; 8 when it is none. */
static int lies(const uint32_t *labels)
{
    int64_t right = (int64_t)labels[1] - labels[0], down = (int64_t)labels[P] - labels[0];
    static const int64_t steps[8][2] = {{1, W}, {1, -W}, {-1, W}, {-1, -W},
                                        {W, 1}, {W, -1}, {-W, 1}, {-W, -1}};
    for (int i = 0; i < 8; i++)
        if (right == steps[i][0] && down == steps[i][1])
            return i;
    return 8;
}

static void count_orientations(struct bs_sample_rule r, int seen[8])
{
    struct sample s;
    memset(seen, 0, 8 * sizeof *seen);
    for (uint64_t i = 0; i < 1600; i++) {
        make(&r, 3, i, &s);
        int way = lies(s.labels);
        assert_true(way < 8);
        seen[way]++;
    }
}

static void every_turn_is_equally_likely(void **state)
{
    (void)state;
    int seen[8];
    struct bs_sample_rule r = rule();
    count_orientations(r, seen);
    for (int i = 0; i < 8; i++)
        assert_in_range(seen[i], 140, 260); /* 200, standard deviation 13 */
    r.quarter_turns = false;
    count_orientations(r, seen);
    for (int i = 0; i < 4; i++)
        assert_in_range(seen[i], 310, 490);
    assert_int_equal(seen[4] + seen[5] + seen[6] + seen[7], 0);
    r.quarter_turns = true;
    r.flips = false;
    count_orientations(r, seen); /* turns alone never mirror */
    assert_in_range(seen[0], 310, 490);
    assert_in_range(seen[3], 310, 490);
    assert_in_range(seen[5], 310, 490);
    assert_in_range(seen[6], 310, 490);
    r.quarter_turns = false;
    count_orientations(r, seen);
    assert_int_equal(seen[0], 1600);
}

static void every_window_is_equally_likely(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    r.flips = r.quarter_turns = false;
    int seen[(H - P + 1) * (W - P + 1)] = {0};
    const int places = (H - P + 1) * (W - P + 1);
    struct sample s;
    for (uint64_t i = 0; i < 2800; i++) {
        make(&r, 4, i, &s);
        uint32_t first = (s.labels[0] - 1) % (H * W);
        seen[first / W * (W - P + 1) + first % W]++;
    }
    for (int i = 0; i < places; i++)
        assert_in_range(seen[i], 50, 150); /* 100, standard deviation 10 */
}

static void a_round_takes_every_image_once(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    struct sample s;
    int orders = 0;
    uint32_t before[PAIRS] = {0};
    for (uint64_t round = 0; round < 20; round++) {
        unsigned seen = 0;
        bool same = true;
        for (uint64_t i = 0; i < PAIRS; i++) {
            make(&r, 5, round * PAIRS + i, &s);
            uint32_t image = (s.labels[0] - 1) / (H * W);
            seen |= 1u << image;
            same = same && image == before[i];
            before[i] = image;
        }
        assert_int_equal(seen, (1u << PAIRS) - 1);
        orders += !same;
    }
    assert_true(orders > 15);
}

static void small_images_are_filled_up_below_and_on_the_right(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    r.flips = r.quarter_turns = false;
    r.height = H + 2;
    r.width = W + 3;
    enum { COUNT = (H + 2) * (W + 3) };
    static float image[2 * COUNT], target[2 * COUNT];
    static uint32_t labels[COUNT];
    struct bs_err err;
    assert_int_equal(bs_sample_make(&source, &r, 1, 0, image, target, labels, &err), BS_OK);
    uint32_t k = (labels[0] - 1) / (H * W);
    for (int y = 0; y < H + 2; y++)
        for (int x = 0; x < W + 3; x++) {
            uint32_t want = y < H && x < W ? 1 + k * H * W + (uint32_t)(y * W + x) : 0;
            assert_int_equal(labels[y * (W + 3) + x], want);
        }
}

static void patches_that_are_not_square_turn_too(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    r.height = 4;
    r.width = 8;
    float image[2 * 32], target[2 * 32];
    uint32_t labels[32];
    struct bs_err err;
    int transposed = 0;
    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(bs_sample_make(&source, &r, 6, i, image, target, labels, &err), BS_OK);
        int64_t right = llabs((int64_t)labels[1] - labels[0]), down = llabs((int64_t)labels[8] - labels[0]);
        assert_true((right == 1 && down == W) || (right == W && down == 1));
        transposed += right == W;
    }
    assert_in_range(transposed, 60, 140);
}

static void the_target_is_that_of_the_turned_labels(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    struct sample s;
    struct bs_err err;
    for (int k = 0; k < PAIRS; k++)
        for (int i = 0; i < H * W; i++)
            world.labels[k][i] = i / W < 5 ? 1 : i % W < 4 ? 2 : 0;
    for (uint64_t i = 0; i < 50; i++) {
        r.target = i % 2 ? BS_RECIPE_BOUNDARIES : BS_RECIPE_DISTANCES;
        r.target_min_size = 3;
        make(&r, 9, i, &s);
        float distances[3 * P * P];
        uint8_t flags[2 * P * P];
        assert_int_equal(bs_target_distances(s.labels, P, P, 3, distances, &err), BS_OK);
        assert_int_equal(bs_target_boundaries(s.labels, P, P, flags, &err), BS_OK);
        for (int k = 0; k < bs_target_channels(r.target) * P * P; k++)
            assert_true(s.target[k] == (i % 2 ? (float)flags[k] : distances[k]));
    }
}

static void windows_without_enough_objects_are_drawn_again(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    r.min_objects = 2;
    struct sample s;
    /* Objects in one corner of one image alone. */
    memset(world.labels, 0, sizeof world.labels);
    world.labels[3][0] = 4;
    world.labels[3][1] = 9;
    for (uint64_t i = 0; i < 20; i++) {
        make(&r, 1, i, &s);
        int four = 0, nine = 0;
        for (int k = 0; k < P * P; k++) {
            four += s.labels[k] == 4;
            nine += s.labels[k] == 9;
        }
        assert_int_equal(four, 1);
        assert_int_equal(nine, 1);
    }
}

static void what_does_not_count_is_masked_pixel_by_pixel(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule(), unmasked = rule();
    struct sample s, plain;
    struct bs_err err;
    r.mask = true;
    r.target = unmasked.target = BS_RECIPE_DISTANCES;
    r.target_min_size = unmasked.target_min_size = 0;
    assert_int_equal(bs_sample_target_channels(&r), 4);
    for (uint64_t i = 0; i < 20; i++) { /* every pixel counts */
        make(&r, 4, i, &s);
        make(&unmasked, 4, i, &plain);
        assert_memory_equal(s.target, plain.target, 3 * P * P * sizeof(float));
        for (int k = 0; k < P * P; k++)
            assert_true(s.target[3 * P * P + k] == 1);
    }
    for (int k = 0; k < PAIRS; k++)
        for (int i = 0; i < H * W; i++)
            world.ignored[k][i] = (k + i) % 3 == 0;
    world.partial = true;
    for (uint64_t i = 0; i < 100; i++) {
        make(&r, 4, i, &s);
        world.partial = false;
        make(&unmasked, 4, i, &plain);
        world.partial = true;
        assert_memory_equal(s.labels, plain.labels, sizeof s.labels);
        for (int k = 0; k < P * P; k++) {
            const uint32_t at = s.labels[k] - 1;
            const bool counts = !world.ignored[at / (H * W)][at % (H * W)];
            assert_true(s.target[3 * P * P + k] == (counts ? 1 : 0));
            for (int c = 0; c < 3; c++)
                assert_true(s.target[c * P * P + k] == (counts ? plain.target[c * P * P + k] : 0));
        }
    }
    assert_int_equal(bs_sample_make(&source, &unmasked, 4, 0, s.image, s.target, NULL, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "pixels that do not count"));
    /* Objects that do not count are none: no window has one. */
    memset(world.ignored, 1, sizeof world.ignored);
    assert_int_equal(bs_sample_make(&source, &r, 4, 0, s.image, s.target, NULL, &err), BS_EPRECONDITION);
    assert_int_equal(world.loads, world.releases);
}

static void what_cannot_be_sampled_is_said(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    struct sample s;
    struct bs_err err;
    memset(world.labels, 0, sizeof world.labels);
    assert_int_equal(bs_sample_make(&source, &r, 1, 0, s.image, s.target, NULL, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "6x6 pixels with 1 labelled objects"));
    r.min_objects = 0;
    assert_int_equal(bs_sample_make(&source, &r, 1, 0, s.image, s.target, NULL, &err), BS_OK);
    r.width = 0;
    assert_int_equal(bs_sample_make(&source, &r, 1, 0, s.image, s.target, NULL, &err), BS_EINVAL);
    struct bs_pair_source other = source;
    other.channels = 3;
    r = rule();
    assert_int_equal(bs_sample_make(&other, &r, 1, 0, s.image, s.target, NULL, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "3 channels are expected"));
    assert_int_equal(world.loads, world.releases);
    world.fail_at = world.loads + 1;
    assert_int_equal(bs_sample_make(&source, &r, 1, 0, s.image, s.target, NULL, &err), BS_EIO);
    world.fail_at = 0;
}

static void whichever_allocation_fails_it_is_an_error_value(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    struct sample s;
    for (int target = 0; target < 2; target++)
        for (unsigned n = 1;; n++) {
            struct bs_err err = {0};
            r.target = target ? BS_RECIPE_DISTANCES : BS_RECIPE_BOUNDARIES;
            bs_test_fail_alloc_at(n);
            bs_status rc = bs_sample_make(&source, &r, 1, 0, s.image, s.target, NULL, &err);
            bool hit = bs_test_alloc_failed();
            bs_test_fail_alloc_at(0);
            assert_int_equal(rc, hit ? BS_ENOMEM : BS_OK);
            if (!hit)
                break;
        }
    assert_int_equal(world.loads, world.releases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_sample_is_known_by_seed_and_index, fill),
        cmocka_unit_test_setup(labels_stay_on_their_pixels, fill),
        cmocka_unit_test_setup(windows_are_whole_parts_of_one_image, fill),
        cmocka_unit_test_setup(every_turn_is_equally_likely, fill),
        cmocka_unit_test_setup(every_window_is_equally_likely, fill),
        cmocka_unit_test_setup(a_round_takes_every_image_once, fill),
        cmocka_unit_test_setup(small_images_are_filled_up_below_and_on_the_right, fill),
        cmocka_unit_test_setup(patches_that_are_not_square_turn_too, fill),
        cmocka_unit_test_setup(the_target_is_that_of_the_turned_labels, fill),
        cmocka_unit_test_setup(windows_without_enough_objects_are_drawn_again, fill),
        cmocka_unit_test_setup(what_does_not_count_is_masked_pixel_by_pixel, fill),
        cmocka_unit_test_setup(what_cannot_be_sampled_is_said, fill),
        cmocka_unit_test_setup(whichever_allocation_fails_it_is_an_error_value, fill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
