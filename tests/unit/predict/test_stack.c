/* Promises of regions and stacks: labels of a part are those of the whole, planes those of single images, whatever order the
   axes have; what does not fit the image is refused. The network is a small one with formula weights. */
#include "model/predict/stack.h"
#include "tests/support/formula_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define H 60
#define W 76

static struct bs_device *device;
static struct bs_model *model;

static int setup(void **state)
{
    char path[] = "/tmp/bioseg-stack.XXXXXX";
    struct bs_device_options options = {.threads = 1};
    struct bs_model_info info = {.arch = {.kind = BS_ARCH_UNET,
                                          .unet = {.in_channels = 1,
                                                   .out_channels = 3,
                                                   .depth = 2,
                                                   .initial_features = 2,
                                                   .norm = BS_NORM_INSTANCE,
                                                   .upsampling = BS_UPSAMPLING_BILINEAR,
                                                   .sigmoid = true}},
                                 .recipe = BS_RECIPE_DISTANCES,
                                 .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES)};
    struct bs_err err = {0};
    (void)state;
    info.defaults.center_distance_threshold = 0.6;
    info.defaults.boundary_distance_threshold = 0.7;
    info.defaults.foreground_threshold = 0.3;
    info.defaults.min_size = 0;
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    bs_status rc = bs_device_open("ref", &options, &device, &err);
    if (rc == BS_OK && (rc = bs_formula_model_write(path, &info, 9, &err)) == BS_OK)
        rc = bs_model_open(path, device, &model, &err);
    unlink(path);
    if (rc != BS_OK)
        printf("%s\n", err.msg);
    return rc == BS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bs_model_close(model);
    bs_device_close(device);
    return 0;
}

static float sample(size_t t, size_t z, size_t y, size_t x)
{
    double dy = fmod((double)(y + 2 * z), 20) - 10, dx = fmod((double)(x + 3 * t), 22) - 11;
    return (float)(exp(-(dy * dy + dx * dx) / 40) + 0.02 * (double)((3 * x + 5 * y + z) % 7));
}

/* An image of those axes, "t" and "z" of these sizes. */
static struct bs_image *make(const char *axes, size_t nt, size_t nz)
{
    struct bs_image *im = NULL;
    size_t dim[BS_IMAGE_MAX_DIM], at[128] = {0};
    for (size_t i = 0; axes[i]; i++)
        dim[i] = axes[i] == 't' ? nt : axes[i] == 'z' ? nz : axes[i] == 'c' ? 2 : axes[i] == 'y' ? H : W;
    assert_int_equal(bs_image_create(BS_SAMPLE_F32, axes, dim, NULL, &im, NULL), BS_OK);
    for (size_t i = 0; i < im->bytes / sizeof(float); i++) {
        size_t rest = i;
        for (int k = im->ndim - 1; k >= 0; k--) {
            at[(unsigned char)axes[k]] = rest % dim[k];
            rest /= dim[k];
        }
        ((float *)im->data)[i] = at['c'] ? 5 : sample(at['t'], at['z'], at['y'], at['x']);
    }
    return im;
}

static struct bs_segment_params defaults(void)
{
    return bs_segment_params_default(bs_model_info_get(model));
}

/* Segments a stack; the caller frees labels and result. */
static uint32_t *segment(const struct bs_image *im, const struct bs_segment_params *params,
                         struct bs_segment_maps *kept, struct bs_segment_result *r)
{
    struct bs_stack stack;
    struct bs_err err = {0};
    size_t h, w;
    if (bs_stack_plan(im, params, SIZE_MAX, &stack, &h, &w, &err) != BS_OK)
        fail_msg("%s", err.msg);
    uint32_t *labels = malloc(stack.planes * h * w * sizeof *labels);
    const struct bs_stack_output output = {labels, NULL};
    if (bs_segment_stack(model, im, params, &output, kept, NULL, NULL, r, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return labels;
}

static struct bs_segment_result segment_plane(size_t t, size_t z, const struct bs_segment_params *params)
{
    struct bs_image *im = make("yx", 1, 1);
    struct bs_segment_result r;
    struct bs_err err = {0};
    for (size_t i = 0; i < H * W; i++)
        ((float *)im->data)[i] = sample(t, z, i / W, i % W);
    if (bs_segment(model, im, params, false, NULL, NULL, &r, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_image_unref(im);
    return r;
}

static void planes_are_those_of_single_images_in_any_order_of_axes(void **state)
{
    (void)state;
    static const char *const axes[] = {"tzyx", "ztyx", "tczyx", "tzyxc", "ctzyx"};
    struct bs_segment_params params = defaults();
    params.channel = 0;
    for (size_t k = 0; k < sizeof axes / sizeof *axes; k++) {
        struct bs_image *im = make(axes[k], 2, 3);
        struct bs_segment_result r;
        if (!strchr(axes[k], 'c'))
            params.channel = -1;
        uint32_t *labels = segment(im, &params, NULL, &r), last = 0;
        assert_true(r.stack.planes == 6 && r.stack.naxes == 2 && r.height == H && r.width == W && !r.linked);
        for (size_t p = 0; p < 6; p++) {
            const size_t t = p / 3, z = p % 3, at = r.stack.axes[0] == 'z' ? z * 2 + t : p;
            struct bs_segment_result single = segment_plane(t, z, &params);
            assert_true(single.count > 1); /* or the test tests nothing */
            for (size_t i = 0; i < H * W; i++)
                assert_int_equal(labels[at * H * W + i], single.labels[i] ? single.labels[i] + last : 0);
            for (uint32_t i = 0; i < single.count; i++) {
                const struct bs_object *o = &r.objects[last + i];
                assert_int_equal(o->id, last + i + 1);
                assert_int_equal(o->area, single.objects[i].area);
                assert_true(o->t == t && o->z == z && o->z_end == z + 1 && o->centroid_z == (double)z);
            }
            last += single.count;
            bs_segment_result_free(&single);
        }
        assert_int_equal(r.count, last);
        params.channel = 0;
        free(labels);
        bs_segment_result_free(&r);
        bs_image_unref(im);
    }
}

static void ids_begin_at_one_in_separate_planes(void **state)
{
    (void)state;
    struct bs_image *im = make("zyx", 1, 3);
    struct bs_segment_params params = defaults();
    struct bs_segment_result r;
    params.separate_planes = true;
    uint32_t *labels = segment(im, &params, NULL, &r), sum = 0;
    for (size_t z = 0; z < 3; z++) {
        uint32_t most = 0;
        for (size_t i = 0; i < H * W; i++)
            most = labels[z * H * W + i] > most ? labels[z * H * W + i] : most;
        assert_int_equal(r.objects[sum].id, 1);
        sum += most;
    }
    assert_int_equal(sum, r.count);
    free(labels);
    bs_segment_result_free(&r);
    bs_image_unref(im);
}

static void linked_objects_are_rows_of_their_own(void **state)
{
    (void)state;
    struct bs_image *im = make("tzyx", 2, 4);
    struct bs_segment_params params = defaults();
    struct bs_segment_result plain, linked;
    uint32_t *apart = segment(im, &params, NULL, &plain);
    params.planes = BS_PLANES_LINKED;
    uint32_t *labels = segment(im, &params, NULL, &linked);
    const size_t pixels = 8 * H * W;
    uint64_t *area = calloc(linked.count + 1, sizeof *area);
    uint32_t through_time = 0;
    assert_true(linked.linked && linked.count < plain.count);
    for (size_t i = 0; i < pixels; i++) {
        assert_true((apart[i] == 0) == (labels[i] == 0) && labels[i] <= linked.count);
        area[labels[i]]++;
        through_time += i >= pixels / 2 && labels[i] && linked.objects[labels[i] - 1].t == 0;
    }
    assert_int_equal(through_time, 0); /* points of time are not linked */
    for (uint32_t i = 0; i < linked.count; i++)
        assert_true(linked.objects[i].id == i + 1 && linked.objects[i].area == area[i + 1]);
    /* The least size over all planes closes the ids up. */
    uint64_t least = linked.objects[0].area + 1;
    struct bs_segment_result few;
    params.linked_min_size = (int64_t)least;
    uint32_t *large = segment(im, &params, NULL, &few), kept = 0;
    for (uint32_t i = 0; i < linked.count; i++)
        kept += linked.objects[i].area >= least;
    assert_int_equal(few.count, kept);
    for (size_t i = 0; i < pixels; i++)
        assert_true((large[i] != 0) == (area[labels[i]] >= least && labels[i]));
    bool told = false;
    for (int i = 0; i < few.nwarning; i++)
        told = told || strcmp(few.warning[i].code, "linked_objects_removed") == 0;
    assert_true(told);
    free(area);
    free(apart);
    free(labels);
    free(large);
    bs_segment_result_free(&plain);
    bs_segment_result_free(&linked);
    bs_segment_result_free(&few);
    bs_image_unref(im);
}

static bool same_partition(const uint32_t *a, size_t stride, const uint32_t *b, size_t h, size_t w)
{
    uint32_t other[4096] = {0};
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            uint32_t p = a[y * stride + x], q = b[y * w + x];
            if ((p == 0) != (q == 0) || p >= 4096 || (p && other[p] && other[p] != q))
                return false;
            if (p)
                other[p] = q;
        }
    return true;
}

static void a_region_has_the_labels_of_the_whole(void **state)
{
    (void)state;
    struct bs_image *im = make("zyx", 1, 2);
    for (int k = 0; k < 3; k++) {
        struct bs_segment_params params = defaults();
        struct bs_segment_result whole, part;
        params.tile = k ? 16 : 0;
        params.halo = k ? 16 : -1;
        params.statistics = k == 2 ? BS_STATISTICS_BLOCK : BS_STATISTICS_IMAGE;
        uint32_t *all = segment(im, &params, NULL, &whole);
        params.region = (struct bs_region){.y = 11, .x = 30, .height = 33, .z = 1};
        uint32_t *some = segment(im, &params, NULL, &part);
        assert_true(part.height == 33 && part.width == W - 30 && part.stack.planes == 1);
        assert_true(part.region.y == 11 && part.region.width == W - 30 && part.region.depth == 1);
        assert_true(same_partition(all + H * W + 11 * W + 30, W, some, 33, W - 30));
        assert_true(part.count > 0 && part.objects[0].z == 1 && part.objects[0].top >= 11);
        free(all);
        free(some);
        bs_segment_result_free(&whole);
        bs_segment_result_free(&part);
    }
    bs_image_unref(im);
}

static void only_the_region_with_its_surroundings_counts_where_asked(void **state)
{
    (void)state;
    size_t dim[2] = {40, 400};
    struct bs_image *im = NULL;
    assert_int_equal(bs_image_create(BS_SAMPLE_F32, "yx", dim, NULL, &im, NULL), BS_OK);
    for (size_t i = 0; i < 40 * 400; i++)
        ((float *)im->data)[i] = sample(0, 0, i / 400, i % 400);
    struct bs_segment_params params = defaults();
    struct bs_segment_result before, after;
    struct bs_err err = {0};
    params.region = (struct bs_region){.x = 5, .width = 50};
    params.statistics = BS_STATISTICS_REGION;
    assert_int_equal(bs_segment(model, im, &params, true, NULL, NULL, &before, &err), BS_OK);
    ((float *)im->data)[5 + 50 + 128] = 1000; /* the first sample beyond them */
    assert_int_equal(bs_segment(model, im, &params, true, NULL, NULL, &after, &err), BS_OK);
    assert_memory_equal(before.maps, after.maps, 3 * 40 * 50 * sizeof(float));
    bs_segment_result_free(&after);
    ((float *)im->data)[5 + 50 + 127] = 1000;
    assert_int_equal(bs_segment(model, im, &params, true, NULL, NULL, &after, &err), BS_OK);
    assert_memory_not_equal(before.maps, after.maps, 3 * 40 * 50 * sizeof(float));
    bs_segment_result_free(&before);
    bs_segment_result_free(&after);
    bs_image_unref(im);
}

static void kept_maps_of_all_planes_make_the_same_labels(void **state)
{
    (void)state;
    struct bs_image *im = make("zyx", 1, 3);
    struct bs_segment_params params = defaults();
    struct bs_segment_result made, again;
    FILE *file = tmpfile();
    struct bs_segment_maps kept = {.fd = fileno(file), .max_bytes = SIZE_MAX};
    uint32_t *first = segment(im, &params, &kept, &made);
    assert_true(kept.network.planes == 3 && kept.network.map_h == H && !made.kept_maps);
    kept.made = true;
    params.planes = BS_PLANES_LINKED;
    uint32_t *linked = segment(im, &params, NULL, &again);
    bs_segment_result_free(&again);
    uint32_t *second = segment(im, &params, &kept, &again);
    assert_true(again.kept_maps);
    assert_memory_equal(linked, second, 3 * H * W * sizeof *second);
    bs_segment_result_free(&again);
    /* Not enough room for three planes: said, and the labels are there all the same. */
    struct bs_segment_maps small = {.fd = fileno(file), .max_bytes = 2 * 3 * H * W * sizeof(float)};
    params.planes = BS_PLANES_INDEPENDENT;
    uint32_t *third = segment(im, &params, &small, &again);
    assert_memory_equal(first, third, 3 * H * W * sizeof *third);
    assert_true(small.network.map_h == 0 && strcmp(again.warning[again.nwarning - 1].code, "") != 0);
    bool told = false;
    for (int i = 0; i < again.nwarning; i++)
        told = told || strcmp(again.warning[i].code, "maps_not_kept") == 0;
    assert_true(told);
    free(first);
    free(second);
    free(third);
    free(linked);
    bs_segment_result_free(&made);
    bs_segment_result_free(&again);
    bs_image_unref(im);
    fclose(file);
}

static int last_done, last_total;

static void note(void *ctx, int done, int total)
{
    struct bs_cancel *cancel = ctx;
    assert_true(done >= last_done && (last_total == 0 || total == last_total));
    last_done = done;
    last_total = total;
    if (cancel && done > total / 2)
        bs_cancel_request(cancel);
}

static void progress_counts_all_planes_and_cancel_ends_between_them(void **state)
{
    (void)state;
    struct bs_image *im = make("tyx", 4, 1);
    struct bs_segment_params params = defaults();
    struct bs_segment_result r;
    struct bs_err err = {0};
    struct bs_cancel cancel = {0};
    uint32_t *labels = malloc(4 * H * W * sizeof *labels);
    const struct bs_stack_output output = {labels, NULL};
    struct bs_segment_progress progress = {.tile = note};
    params.tile = 32;
    params.halo = 16;
    last_done = last_total = 0;
    assert_int_equal(bs_segment_stack(model, im, &params, &output, NULL, &progress, NULL, &r, &err), BS_OK);
    assert_true(last_done == last_total && last_total > 4 && last_total % 4 == 0);
    bs_segment_result_free(&r);
    progress.ctx = &cancel;
    last_done = last_total = 0;
    assert_int_equal(bs_segment_stack(model, im, &params, &output, NULL, &progress, &cancel, &r, &err),
                     BS_ECANCELLED);
    assert_true(last_done < last_total);
    free(labels);
    bs_image_unref(im);
}

static void what_does_not_fit_the_image_is_refused(void **state)
{
    (void)state;
    struct bs_image *zyx = make("zyx", 1, 2), *tyx = make("tyx", 2, 1), *pages = make("zyx", 1, 2);
    struct bs_stack stack;
    size_t h, w;
    memcpy(pages->axes, "?yx", 4);
    const struct {
        const struct bs_image *image;
        struct bs_region region;
        enum bs_planes planes;
        bool separate;
        const char *word;
    } bad[] = {
        {zyx, {.y = H}, 0, false, "y = 60"},
        {zyx, {.x = 1, .width = W}, 0, false, "x = 1"},
        {zyx, {.z = 2}, 0, false, "z = 2"},
        {zyx, {.z = 1, .depth = 2}, 0, false, "z = 1"},
        {zyx, {.t = 1}, 0, false, "no such axis"},
        {tyx, {.z = 1}, 0, false, "no such axis"},
        {tyx, {.y = 0}, BS_PLANES_LINKED, false, "axis z"},
        {zyx, {.y = 0}, BS_PLANES_LINKED, true, "separate"},
        {pages, {.y = 0}, 0, false, "2 pages"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bs_segment_params params = defaults();
        struct bs_err err = {0};
        params.region = bad[i].region;
        params.planes = bad[i].planes;
        params.separate_planes = bad[i].separate;
        assert_int_equal(bs_stack_plan(bad[i].image, &params, SIZE_MAX, &stack, &h, &w, &err), BS_EINVAL);
        if (!strstr(err.msg, bad[i].word))
            fail_msg("%s", err.msg);
    }
    struct bs_segment_params params = defaults();
    struct bs_err err = {0};
    assert_int_equal(bs_stack_plan(zyx, &params, 2 * H * W * 4 - 1, &stack, &h, &w, &err), BS_ELIMIT);
    assert_int_equal(bs_stack_plan(zyx, &params, 2 * H * W * 4, &stack, &h, &w, &err), BS_OK);
    bs_image_unref(zyx);
    bs_image_unref(tyx);
    bs_image_unref(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planes_are_those_of_single_images_in_any_order_of_axes),
        cmocka_unit_test(ids_begin_at_one_in_separate_planes),
        cmocka_unit_test(linked_objects_are_rows_of_their_own),
        cmocka_unit_test(a_region_has_the_labels_of_the_whole),
        cmocka_unit_test(only_the_region_with_its_surroundings_counts_where_asked),
        cmocka_unit_test(kept_maps_of_all_planes_make_the_same_labels),
        cmocka_unit_test(progress_counts_all_planes_and_cancel_ends_between_them),
        cmocka_unit_test(what_does_not_fit_the_image_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
