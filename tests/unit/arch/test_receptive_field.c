/* The receptive radius is exact: with positive weights a bright pixel brightens every output that can see it, and no
   output further away than the radius. */
#include "kernels/executable.h"
#include "model/arch/arch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WIDTH  128
#define HEIGHT 8

static bs_status shape(void *ctx, const char *name, struct bs_shape *out, struct bs_err *err)
{
    const struct bs_graph *g = ctx;
    for (int i = 0; i < bs_graph_node_count(g); i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        if (node->op == BS_OP_PARAM && !strcmp(node->name, name)) {
            *out = node->shape;
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_ENOTFOUND, "%s", name);
}

static bs_status positive(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    (void)ctx, (void)err;
    const size_t n = strlen(name);
    for (size_t i = 0; i < count; i++)
        dst[i] = n > 5 && !strcmp(name + n - 5, ".bias") ? 0 : 0.25f;
    return BS_OK;
}

/* Largest distance at which a bright column changes an output, over all positions of the column inside a cell. */
static int reach(const struct bs_arch_config *cfg)
{
    struct bs_device *dev = NULL;
    struct bs_graph *g = NULL;
    struct bs_params *params = NULL;
    struct bs_executable *exe = NULL;
    const struct bs_device_options opt = {0};
    static float image[HEIGHT * WIDTH], logits[HEIGHT * WIDTH], output[HEIGHT * WIDTH];
    int far = 0;
    assert_int_equal(bs_device_open("ref", &opt, &dev, NULL), BS_OK);
    assert_int_equal(bs_arch_build(cfg, 1, HEIGHT, WIDTH, &g, NULL), BS_OK);
    assert_int_equal(bs_params_create((struct bs_param_source){g, shape, positive, NULL}, &params, NULL),
                     BS_OK);
    assert_int_equal(bs_executable_create(dev, g, params, BS_PRECISION_F32, &exe, NULL), BS_OK);
    for (int x = WIDTH / 2; x < WIDTH / 2 + bs_arch_divisor(cfg); x++) {
        const struct bs_tensor in = {BS_F32, BS_SHAPE(1, 1, HEIGHT, WIDTH), image};
        struct bs_tensor out[] = {{BS_F32, BS_SHAPE(1, 1, HEIGHT, WIDTH), logits},
                                  {BS_F32, BS_SHAPE(1, 1, HEIGHT, WIDTH), output}};
        memset(image, 0, sizeof image);
        for (int y = 0; y < HEIGHT; y++)
            image[y * WIDTH + x] = 1e6f;
        assert_int_equal(bs_executable_run(exe, &in, 1, out, 2, NULL, NULL), BS_OK);
        for (int at = 0; at < WIDTH; at++)
            if (logits[at] != 0)
                far = abs(at - x) > far ? abs(at - x) : far;
    }
    bs_executable_destroy(exe);
    bs_params_unref(params);
    bs_graph_destroy(g);
    bs_device_close(dev);
    return far;
}

static void radius_is_what_a_pixel_reaches(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 3; depth++)
        for (int up = 0; up < 2; up++) {
            const struct bs_arch_config cfg = {
                .kind = BS_ARCH_UNET,
                .unet = {1, 1, depth, 1, BS_NORM_NONE, up ? BS_UPSAMPLING_TRANSPOSED : BS_UPSAMPLING_BILINEAR,
                         false}};
            assert_int_equal(bs_arch_receptive_radius(&cfg), reach(&cfg));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(radius_is_what_a_pixel_reaches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
