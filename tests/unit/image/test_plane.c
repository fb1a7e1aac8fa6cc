/* Promises about planes: every plane and channel of every order of axes is found where it lies, the rule for channels takes
   what is grey and asks otherwise, what is not there is refused. */
#include "model/image/plane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* An image whose sample i is i. */
static struct bs_image *counting(const char *axes, const size_t *dim)
{
    struct bs_image *im;
    assert_int_equal(bs_image_create(BS_SAMPLE_U16, axes, dim, NULL, &im, NULL), BS_OK);
    for (size_t i = 0; i < im->bytes / 2; i++)
        ((uint16_t *)im->data)[i] = (uint16_t)i;
    return im;
}

static void planes_and_channels_are_found_where_they_lie(void **state)
{
    (void)state;
    static const struct {
        const char *axes;
        size_t dim[5];
        size_t planes, channels;
        int64_t plane;
        int channel;
        double first, right, down; /* sample (0, 0) and the two beside it */
    } cases[] = {
        {"yx", {4, 5}, 1, 1, 0, 0, 0, 1, 5},
        {"yxc", {4, 5, 3}, 1, 3, BS_PLANE_ONLY, 2, 2, 5, 17},
        {"cyx", {3, 4, 5}, 1, 3, 0, 2, 40, 41, 45},
        {"zyx", {6, 4, 5}, 6, 1, 5, 0, 100, 101, 105},
        {"?yx", {6, 4, 5}, 6, 1, 2, 0, 40, 41, 45},
        {"tzcyx", {2, 3, 2, 4, 5}, 6, 2, 4, 1, 4 * 40 + 20, 181, 185},
        {"zcyx", {3, 2, 4, 5}, 3, 2, 1, 0, 40, 41, 45},
        {"tzyxc", {2, 3, 4, 5, 2}, 6, 2, 5, 1, 5 * 40 + 1, 203, 211},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_image *im = counting(cases[i].axes, cases[i].dim);
        struct bs_plane p;
        double v;
        assert_int_equal(bs_plane_count(im), cases[i].planes);
        assert_int_equal(bs_plane_find(im, cases[i].plane, &p, NULL), BS_OK);
        assert_int_equal(p.height, 4);
        assert_int_equal(p.width, 5);
        assert_int_equal(p.channels, cases[i].channels);
        assert_int_equal(bs_plane_choose_channel(&p, cases[i].channel, NULL), BS_OK);
        bs_plane_read(&p, 0, 0, 1, &v);
        assert_true(v == cases[i].first);
        bs_plane_read(&p, 0, 1, 1, &v);
        assert_true(v == cases[i].right);
        bs_plane_read(&p, 1, 0, 1, &v);
        assert_true(v == cases[i].down);
        bs_image_unref(im);
    }
}

static void what_is_not_there_is_refused(void **state)
{
    (void)state;
    struct bs_plane p;
    struct bs_err err;
    struct bs_image *im = counting("zyx", (size_t[]){3, 2, 2});
    assert_int_equal(bs_plane_find(im, BS_PLANE_ONLY, &p, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "3 planes along z"));
    assert_int_equal(bs_plane_find(im, 3, &p, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "0 to 2 are accepted"));
    assert_int_equal(bs_plane_find(im, -2, &p, &err), BS_EINVAL);
    assert_int_equal(bs_plane_find(im, INT64_MAX, &p, &err), BS_EINVAL);
    bs_image_unref(im);
    im = counting("?yx", (size_t[]){3, 2, 2});
    assert_int_equal(bs_plane_find(im, BS_PLANE_ONLY, &p, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "does not say what they are"));
    bs_image_unref(im);
    im = counting("yxc", (size_t[]){2, 2, 3});
    assert_int_equal(bs_plane_find(im, 0, &p, &err), BS_OK);
    assert_int_equal(bs_plane_choose_channel(&p, 3, &err), BS_EINVAL);
    assert_int_equal(bs_plane_choose_channel(&p, BS_PLANE_CHANNEL_ANY, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "say which one shows the objects"));
    bs_image_unref(im);
}

/* The rule looks at the plane that is chosen, not at the others. */
static void colour_that_is_grey_is_taken_plane_by_plane(void **state)
{
    (void)state;
    struct bs_plane p;
    struct bs_image *im = counting("zyxc", (size_t[]){2, 2, 2, 4});
    uint16_t *v = im->data;
    for (int i = 0; i < 4; i++) { /* plane 1: grey with an opaque alpha channel */
        for (int c = 0; c < 3; c++)
            v[16 + 4 * i + c] = (uint16_t)(7 * i);
        v[16 + 4 * i + 3] = 65535;
    }
    assert_int_equal(bs_plane_find(im, 0, &p, NULL), BS_OK);
    assert_int_equal(bs_plane_choose_channel(&p, BS_PLANE_CHANNEL_ANY, NULL), BS_EINVAL);
    assert_int_equal(bs_plane_find(im, 1, &p, NULL), BS_OK);
    assert_int_equal(bs_plane_choose_channel(&p, BS_PLANE_CHANNEL_ANY, NULL), BS_OK);
    v[16 + 3] = 0;
    assert_int_equal(bs_plane_choose_channel(&p, BS_PLANE_CHANNEL_ANY, NULL), BS_EINVAL);
    bs_image_unref(im);
}

static void white_that_is_zero_is_turned_round(void **state)
{
    (void)state;
    struct bs_plane p;
    double v[4];
    struct bs_image *im = counting("yx", (size_t[]){2, 2});
    im->white_is_zero = true;
    assert_int_equal(bs_plane_find(im, 0, &p, NULL), BS_OK);
    bs_plane_read(&p, 1, 0, 2, v);
    assert_true(v[0] == 2 && v[1] == 3);
    bs_plane_as_measured(&p, v, 2);
    assert_true(v[0] == 65533 && v[1] == 65532);
    bs_image_unref(im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planes_and_channels_are_found_where_they_lie),
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(colour_that_is_grey_is_taken_plane_by_plane),
        cmocka_unit_test(white_that_is_zero_is_turned_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
