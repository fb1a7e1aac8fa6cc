/* See train_support.h. */
#include "train_support.h"

#include "tests/support/formula.h"

#include <stdlib.h>
#include <string.h>

struct bs_arch_config small_unet(enum bs_norm norm)
{
    return (struct bs_arch_config){.kind = BS_ARCH_UNET,
                                   .unet = {.in_channels = 1,
                                            .out_channels = 3,
                                            .depth = 2,
                                            .initial_features = 2,
                                            .norm = norm,
                                            .upsampling = BS_UPSAMPLING_BILINEAR,
                                            .sigmoid = true}};
}

struct source {
    struct bs_graph *g; /* its parameters have the shapes */
    uint64_t seed;
};

static bs_status shape_of(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct source *s = ctx;
    for (int i = 0; i < bs_graph_node_count(s->g); i++) {
        const struct bs_node *n = bs_graph_node(s->g, i);
        if (n->op == BS_OP_PARAM && !strcmp(n->name, name)) {
            *shape = n->shape;
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_ENOTFOUND, "no parameter %s", name);
}

static bs_status read_values(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    const struct source *s = ctx;
    struct bs_shape shape;
    bs_status rc = shape_of(ctx, name, &shape, err);
    if (rc != BS_OK)
        return rc;
    assert_int_equal(count, bs_shape_count(&shape));
    return bs_formula_values(name, &shape, s->seed, dst, err);
}

static void release(void *ctx)
{
    struct source *s = ctx;
    bs_graph_destroy(s->g);
    free(s);
}

struct bs_params *formula_params(const struct bs_arch_config *arch, uint64_t seed, struct bs_err *err)
{
    struct bs_params *params = NULL;
    struct source *s = calloc(1, sizeof *s);
    if (!s) {
        (void)BS_FAIL(err, BS_ENOMEM, "no memory for weights");
        return NULL;
    }
    s->seed = seed;
    const int side = bs_arch_image_size(arch) ? bs_arch_image_size(arch) : 32;
    if (bs_arch_build(arch, 1, side, side, &s->g, err) != BS_OK) {
        free(s);
        return NULL;
    }
    return bs_params_create((struct bs_param_source){s, shape_of, read_values, release}, &params, err) ==
                   BS_OK
               ? params
               : NULL;
}

float *random_values(size_t count, uint64_t seed, double lo, double hi)
{
    float *v = malloc(count * sizeof *v);
    uint64_t state = seed;
    for (size_t i = 0; v && i < count; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        v[i] = (float)(lo + (hi - lo) * (double)(state >> 11) * 0x1p-53);
    }
    return v;
}

struct fixture begin_step(enum bs_norm norm, enum bs_loss_kind loss)
{
    return begin_step_on("ref", norm, loss);
}

struct fixture begin_step_on(const char *device, enum bs_norm norm, enum bs_loss_kind loss)
{
    struct fixture f = {0};
    struct bs_err err = {.msg = ""};
    const struct bs_arch_config arch = small_unet(norm);
    const struct bs_train_size size = {.samples = 2, .h = SIDE, .w = SIDE};
    const struct bs_device_options options = {.threads = 2};
    const struct bs_loss how = {.kind = loss, .mask_background = true, .alpha = 1, .beta = 1};
    f.image = random_values(2 * SIDE * SIDE, 1, -2, 2);
    f.target = random_values(2 * 3 * SIDE * SIDE, 2, 0, 1);
    if (bs_device_open(device, &options, &f.dev, &err) != BS_OK ||
        !(f.params = formula_params(&arch, 7, &err)) ||
        bs_step_create(f.dev, &arch, &size, &how, f.params, &f.step, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return f;
}

void end_step(struct fixture *f)
{
    bs_step_destroy(f->step);
    bs_params_unref(f->params);
    bs_device_close(f->dev);
    free(f->image);
    free(f->target);
}

const struct bs_step_tensor *tensor_named(const struct bs_step *step, const char *name)
{
    for (int i = 0; i < bs_step_tensor_count(step); i++)
        if (!strcmp(bs_step_tensor_at(step, i)->name, name))
            return bs_step_tensor_at(step, i);
    fail_msg("no tensor %s", name);
    return NULL;
}

double train_once(struct fixture *f, double learning_rate)
{
    double loss = 0;
    struct bs_err err = {.msg = ""};
    struct bs_optimizer o = bs_optimizer_defaults(BS_ADAM);
    o.learning_rate = learning_rate;
    if (bs_step_compute(f->step, f->image, f->target, NULL, &loss, &err) != BS_OK ||
        bs_step_apply(f->step, &o, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return loss;
}
