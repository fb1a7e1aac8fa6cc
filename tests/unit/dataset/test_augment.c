/* Promises about augmentation: off it changes nothing; on it is known by seed and index alone, labels and image move together and
   no object comes apart, intensities change as far as was asked for and no farther, one does not change another. */
#include "model/dataset/sample.h"
#include "tests/support/fail_alloc.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 96, PATCH = 64, PIXELS = PATCH * PATCH };

/* Discs, each as bright as its number. */
static float image[SIDE * SIDE];
static uint32_t labels_of[SIDE * SIDE];
static uint8_t ignored[SIDE * SIDE];
static bool partial;

static bs_status load(void *ctx, size_t index, struct bs_pair *pair, struct bs_err *err)
{
    (void)ctx, (void)index, (void)err;
    *pair = (struct bs_pair){.image = image,
                             .labels = labels_of,
                             .ignored = partial ? ignored : NULL,
                             .channels = 1,
                             .height = SIDE,
                             .width = SIDE};
    return BS_OK;
}

static const struct bs_pair_source source = {.count = 1, .channels = 1, .load = load};

static int draw_discs(void **state)
{
    (void)state;
    partial = false;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            const int dy = y % 24 - 12, dx = x % 24 - 12, at = y * SIDE + x;
            labels_of[at] = dy * dy + dx * dx < 64 ? (uint32_t)(1 + y / 24 * 4 + x / 24) : 0;
            image[at] = (float)labels_of[at];
            ignored[at] = labels_of[at] % 2 == 1;
        }
    return 0;
}

static struct bs_sample_rule rule(void)
{
    struct bs_sample_rule r = bs_sample_rule_default();
    r.height = r.width = PATCH;
    r.target = BS_RECIPE_BOUNDARIES;
    return r;
}

struct sample {
    float image[PIXELS], target[4 * PIXELS];
    uint32_t labels[PIXELS];
};

static void make(const struct bs_sample_rule *r, uint64_t index, struct sample *s)
{
    struct bs_err err;
    memset(s, 0, sizeof *s);
    if (bs_sample_make(&source, r, 5, index, s->image, s->target, s->labels, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static struct bs_augment_rule all_of_it(void)
{
    return (struct bs_augment_rule){.elastic = 6,
                                    .elastic_spacing = 16,
                                    .blur = 1,
                                    .gamma = 0.5,
                                    .contrast = 0.3,
                                    .brightness = 0.2,
                                    .noise = 0.1};
}

static struct sample a, b, c;

static bool same_image(void)
{
    for (int k = 0; k < PIXELS; k++)
        if (a.image[k] != b.image[k])
            return false;
    return true;
}

static void a_sample_is_known_by_seed_and_index(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule(), plain = rule();
    r.augment = all_of_it();
    make(&r, 8, &a);
    for (uint64_t i = 0; i < 8; i++)
        make(&r, i, &b);
    make(&r, 8, &b);
    assert_memory_equal(&a, &b, sizeof a);
    make(&r, 9, &b);
    assert_memory_not_equal(a.image, b.image, sizeof a.image);
    make(&plain, 8, &b);
    assert_memory_not_equal(a.image, b.image, sizeof a.image);
    assert_memory_not_equal(a.labels, b.labels, sizeof a.labels);
}

/* Each alone: what it changes, and that the window it is cut from stays. */
static void one_does_not_change_another(void **state)
{
    (void)state;
    struct bs_sample_rule none = rule();
    int changed[5] = {0};
    for (uint64_t i = 0; i < 10; i++) {
        make(&none, i, &a);
        double power = 0;
        for (int what = 0; what < 5; what++) {
            struct bs_augment_rule all = all_of_it();
            struct bs_sample_rule r = rule();
            r.augment = (struct bs_augment_rule){.blur = what == 0 ? all.blur : 0,
                                                 .gamma = what == 1 ? all.gamma : 0,
                                                 .contrast = what == 2 ? all.contrast : 0,
                                                 .brightness = what == 3 ? all.brightness : 0,
                                                 .noise = what == 4 ? all.noise : 0};
            make(&r, i, &b);
            assert_memory_equal(b.labels, a.labels, sizeof a.labels);
            assert_memory_equal(b.target, a.target, sizeof a.target);
            changed[what] += !same_image();
            if (what == 2)
                for (int k = 0; k < PIXELS; k++) {
                    power = (double)b.image[0] / (double)a.image[0];
                    assert_in_range((int)(1000 * power), 700, 1300);
                    assert_true(fabs((double)b.image[k] - power * (double)a.image[k]) < 1e-5);
                }
            if (what == 3)
                for (int k = 0; k < PIXELS; k++) {
                    power = (double)b.image[0] - (double)a.image[0];
                    assert_true(fabs(power) <= 0.2);
                    assert_true(fabs((double)b.image[k] - (double)a.image[k] - power) < 1e-5);
                }
            if (what == 4)
                for (int k = 0; k < PIXELS; k++)
                    assert_true(fabs((double)b.image[k] - (double)a.image[k]) < 0.35);
        }
        /* The deformation is the same with the others and without. */
        struct bs_sample_rule r = rule(), moved = rule();
        r.augment = all_of_it();
        moved.augment.elastic = 6;
        moved.augment.elastic_spacing = 16;
        make(&r, i, &b);
        make(&moved, i, &c);
        assert_memory_equal(b.labels, c.labels, sizeof b.labels);
    }
    for (int what = 0; what < 5; what++)
        assert_true(changed[what] >= 8); /* a blur may be too narrow to be seen */
}

static void noise_is_as_wide_as_was_asked_for(void **state)
{
    (void)state;
    struct bs_sample_rule none = rule(), r = rule();
    double widest = 0;
    r.augment.noise = 0.5;
    for (uint64_t i = 0; i < 40; i++) {
        double sum = 0, squares = 0;
        make(&none, i, &a);
        make(&r, i, &b);
        for (int k = 0; k < PIXELS; k++) {
            const double d = (double)b.image[k] - (double)a.image[k];
            sum += d;
            squares += d * d;
        }
        const double deviation = sqrt(squares / PIXELS);
        assert_true(fabs(sum / PIXELS) < 4 * deviation / PATCH);
        widest = fmax(widest, deviation);
        assert_true(deviation < 0.53);
    }
    assert_true(widest > 0.4);
}

/* Labels without objects at the border, which may cut one in two. */
static uint32_t inner_objects(uint32_t inner[PIXELS])
{
    bool at_border[17] = {true}, seen[17] = {false};
    uint32_t count = 0;
    for (int k = 0; k < PIXELS; k++)
        if (k < PATCH || k >= PIXELS - PATCH || k % PATCH == 0 || k % PATCH == PATCH - 1)
            at_border[b.labels[k]] = true;
    for (int k = 0; k < PIXELS; k++) {
        inner[k] = at_border[b.labels[k]] ? 0 : b.labels[k];
        count += inner[k] && !seen[inner[k]];
        seen[inner[k]] = true;
    }
    return count;
}

/* Image and labels: where a pixel and its neighbours have one label, the image has its brightness. Objects: a disc that is one piece
   stays one piece, however far it was moved, and its size changes within bounds. */
static void what_is_deformed_stays_whole(void **state)
{
    (void)state;
    struct bs_sample_rule none = rule(), r = rule();
    static uint32_t pieces[PIXELS], inner[PIXELS];
    uint32_t objects = 0;
    size_t moved = 0;
    r.augment.elastic = 6.4; /* the most that is accepted */
    r.augment.elastic_spacing = 16;
    for (uint64_t i = 0; i < 30; i++) {
        uint32_t count;
        make(&none, i, &a);
        make(&r, i, &b);
        for (int k = 0; k < PIXELS; k++)
            moved += a.labels[k] != b.labels[k];
        const uint32_t whole = inner_objects(inner);
        objects += whole;
        assert_int_equal(bs_components_labels(inner, PATCH, PATCH, pieces, &count, NULL), BS_OK);
        assert_int_equal(count, whole);
        /* Undo the standardising by two labels that are inside objects. */
        double low = 0, high = 0;
        uint32_t low_label = 99, high_label = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int y = 1; y < PATCH - 1; y++)
                for (int x = 1; x < PATCH - 1; x++) {
                    const int at = y * PATCH + x;
                    const uint32_t l = b.labels[at];
                    bool inside = true;
                    for (int d = 0; d < 9; d++)
                        inside = inside && b.labels[at + (d / 3 - 1) * PATCH + d % 3 - 1] == l;
                    if (!inside)
                        continue;
                    if (pass == 0 && l < low_label) {
                        low_label = l;
                        low = (double)b.image[at];
                    }
                    if (pass == 0 && l > high_label) {
                        high_label = l;
                        high = (double)b.image[at];
                    }
                    if (pass == 1) {
                        const double shown =
                            low_label + ((double)b.image[at] - low) / (high - low) * (high_label - low_label);
                        assert_true(fabs(shown - l) < 0.75);
                    }
                }
    }
    assert_true(objects > 30);
    assert_true(moved > 30 * PIXELS / 50);
}

static void what_counts_moves_with_its_labels(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    partial = r.mask = true;
    r.augment.elastic = 6;
    r.augment.elastic_spacing = 20;
    for (uint64_t i = 0; i < 10; i++) {
        make(&r, i, &a);
        for (int k = 0; k < PIXELS; k++)
            assert_true(a.target[2 * PIXELS + k] == (a.labels[k] % 2 ? 0 : 1));
    }
}

/* Distances are those of the deformed objects. */
static void the_target_follows_the_deformed_labels(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    static float distances[3 * PIXELS];
    r.target = BS_RECIPE_DISTANCES;
    r.augment.elastic = 6;
    r.augment.elastic_spacing = 20;
    for (uint64_t i = 0; i < 5; i++) {
        make(&r, i, &a);
        assert_int_equal(bs_target_distances(a.labels, PATCH, PATCH, r.target_min_size, distances, NULL),
                         BS_OK);
        assert_memory_equal(a.target, distances, sizeof distances);
    }
}

static void what_is_out_of_range_is_named(void **state)
{
    (void)state;
    static const struct {
        struct bs_augment_rule rule;
        const char *says;
    } cases[] = {
        {{.blur = -1}, "blur is -1"},
        {{.gamma = 3}, "gamma is 3"},
        {{.contrast = 1}, "contrast is 1"},
        {{.brightness = NAN}, "brightness is nan"},
        {{.noise = 11}, "noise is 11"},
        {{.elastic = 2}, "elastic_spacing is 0"},
        {{.elastic = 7, .elastic_spacing = 16}, "elastic is 7; 0 to 6.4"},
        {{.elastic = -1, .elastic_spacing = 16}, "elastic is -1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_err err;
        struct bs_sample_rule r = rule();
        r.augment = cases[i].rule;
        assert_int_equal(bs_sample_make(&source, &r, 1, 0, a.image, a.target, NULL, &err), BS_EINVAL);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%s", err.msg);
    }
}

static void whichever_allocation_fails_it_is_an_error_value(void **state)
{
    (void)state;
    struct bs_sample_rule r = rule();
    r.augment = all_of_it();
    for (unsigned n = 1;; n++) {
        struct bs_err err = {0};
        bs_test_fail_alloc_at(n);
        bs_status rc = bs_sample_make(&source, &r, 1, 0, a.image, a.target, NULL, &err);
        bool hit = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        assert_int_equal(rc, hit ? BS_ENOMEM : BS_OK);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_sample_is_known_by_seed_and_index, draw_discs),
        cmocka_unit_test_setup(one_does_not_change_another, draw_discs),
        cmocka_unit_test_setup(noise_is_as_wide_as_was_asked_for, draw_discs),
        cmocka_unit_test_setup(what_is_deformed_stays_whole, draw_discs),
        cmocka_unit_test_setup(what_counts_moves_with_its_labels, draw_discs),
        cmocka_unit_test_setup(the_target_follows_the_deformed_labels, draw_discs),
        cmocka_unit_test_setup(what_is_out_of_range_is_named, draw_discs),
        cmocka_unit_test_setup(whichever_allocation_fails_it_is_an_error_value, draw_discs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
