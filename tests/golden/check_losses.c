/* Losses on their own: values and gradients for one pair of prediction and target, on every device. */
#include "tests/golden/golden.h"

#include "tests/golden/network.h"
#include "tests/golden/read_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool golden_loss_named(const char *name, struct bs_loss *loss)
{
    static const struct {
        const char *name;
        struct bs_loss loss;
    } known[] = {
        {"dice", {.kind = BS_LOSS_DICE}},
        {"dist", {.kind = BS_LOSS_DISTANCE, .mask_background = true}},
        {"dist_nomask", {.kind = BS_LOSS_DISTANCE}},
        {"dbd", {.kind = BS_LOSS_DICE_DISTANCE, .mask_background = true}},
        {"dbd_nomask", {.kind = BS_LOSS_DICE_DISTANCE}},
        {"dice_channelwise_false", {.kind = BS_LOSS_DICE, .all_channels = true}},
        {"dice_reduce_mean", {.kind = BS_LOSS_DICE, .channel_mean = true}},
        {"dice_empty_target", {.kind = BS_LOSS_DICE}},
        {"dice_empty_target_empty_pred", {.kind = BS_LOSS_DICE}},
        {"dbd_empty_target", {.kind = BS_LOSS_DICE_DISTANCE, .mask_background = true}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name)) {
            *loss = known[i].loss;
            return true;
        }
    return false;
}

static void *read_only(const float *data)
{
    union {
        const float *in;
        void *out; /* a bs_tensor's data is not const; inputs are only read */
    } borrowed = {data};
    return borrowed.out;
}

static bs_status no_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    (void)ctx, (void)shape;
    return BS_FAIL(err, BS_ENOTFOUND, "no parameter %s", name);
}

static bs_status no_values(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    (void)ctx, (void)dst, (void)count;
    return BS_FAIL(err, BS_ENOTFOUND, "no parameter %s", name);
}

bs_status golden_loss(const struct golden_way *way, const struct bs_loss *loss, const struct bs_shape *shape,
                      const float *prediction, const float *target, double *value, float *gradient,
                      struct bs_err *err)
{
    float one = 1, result = 0;
    struct bs_tensor in[3] = {{BS_F32, *shape, read_only(prediction)},
                              {BS_F32, *shape, read_only(target)},
                              {BS_F32, BS_SHAPE(1), &one}};
    struct bs_tensor out[2] = {{BS_F32, BS_SHAPE(1), &result}, {BS_F32, *shape, gradient}};
    struct bs_device *dev = NULL;
    struct bs_params *params = NULL;
    struct bs_executable *exe = NULL;
    bs_value wrt[1];
    struct bs_graph *g = bs_graph_create();
    bs_status rc = g ? bs_loss_check(loss, shape->dim[1], err) : BS_FAIL(err, BS_ENOMEM, "no memory");
    if (rc != BS_OK)
        goto cleanup;
    bs_value p = bs_graph_input(g, "p", *shape), t = bs_graph_input(g, "t", *shape);
    bs_value seed = bs_graph_input(g, "seed", BS_SHAPE(1)), made = bs_loss_build(g, loss, p, t);
    bs_graph_output(g, "loss", made);
    if (gradient) {
        if ((rc = bs_graph_backward(g, made, seed, &p, 1, wrt, err)) != BS_OK)
            goto cleanup;
        bs_graph_output(g, "gradient", wrt[0]);
    }
    if ((rc = bs_graph_finish(g, err)) == BS_OK &&
        (rc = bs_params_create((struct bs_param_source){NULL, no_shape, no_values, NULL}, &params, err)) ==
            BS_OK &&
        (rc = golden_device_open(way, &dev, err)) == BS_OK &&
        (rc = bs_executable_create(dev, g, params, BS_PRECISION_F32, &exe, err)) == BS_OK)
        rc = bs_executable_run(exe, in, 3, out, gradient ? 2 : 1, NULL, err);
    *value = (double)result;

cleanup:
    bs_executable_destroy(exe);
    bs_params_unref(params);
    bs_device_close(dev);
    bs_graph_destroy(g);
    return rc;
}

/* Gradient of the loss of this name against its file, relative to the largest value. */
static void check_gradient(struct golden *g, const char *folder, const char *name, const float *have,
                           size_t count)
{
    char file[64];
    struct bs_npy want = {0};
    struct bs_err err = {0};
    snprintf(file, sizeof file, "dpred_%s.npy", name);
    if (!golden_has(g, folder, file))
        return;
    char label[96];
    snprintf(label, sizeof label, "%s/%s", folder, file);
    if (golden_npy(g, folder, file, &want, &err) != BS_OK) {
        golden_error(g, label, &err);
    } else if (want.type != BS_NPY_F4 || want.count != count) {
        golden_fail(g, label, NULL, "%zu values for a prediction of %zu", want.count, count);
    } else {
        double worst = 0, largest = 0;
        for (size_t i = 0; i < count; i++) {
            const double w = ((const float *)want.data)[i], d = fabs((double)have[i] - w);
            largest = fmax(largest, fabs(w));
            worst = d > worst || isnan(d) ? d : worst; /* a NaN stays */
        }
        golden_verdict(g, label, worst <= 1e-5 * largest, "at most 1e-5 of the largest value", "%.2g",
                       worst / largest);
    }
    bs_npy_free(&want);
}

struct pair {
    struct bs_shape shape;
    const float *prediction, *target, *zeros;
};

static void check_loss(struct golden *g, const char *folder, const struct golden_way *way, const char *name,
                       double want, const struct pair *pair)
{
    struct bs_loss loss;
    struct bs_err err = {0};
    char label[96];
    double have = NAN;
    const size_t count = bs_shape_count(&pair->shape);
    snprintf(label, sizeof label, "%s/losses.json %s %s", folder, name, way->name);
    if (!golden_loss_named(name, &loss)) {
        golden_skip(g, label, "no loss of this name");
        return;
    }
    float *gradient = calloc(count, sizeof *gradient);
    const float *p = strstr(name, "empty_pred") ? pair->zeros : pair->prediction,
                *t = strstr(name, "empty_target") ? pair->zeros : pair->target;
    bs_status rc = gradient ? golden_loss(way, &loss, &pair->shape, p, t, &have, gradient, &err)
                            : BS_FAIL(&err, BS_ENOMEM, "no memory for a gradient");
    if (rc != BS_OK) {
        golden_refused(g, label, way, &err);
    } else {
        golden_verdict(g, label, fabs(have - want) <= 1e-5, "within 1e-5", "%.9g, want %.9g", have, want);
        check_gradient(g, folder, name, gradient, count);
    }
    free(gradient);
}

void check_losses(struct golden *g, const char *folder)
{
    struct bs_npy prediction = {0}, target = {0};
    struct bs_err err = {0};
    float *zeros = NULL;
    struct bs_json *all = NULL;
    const struct golden_way *way;
    bs_status rc = golden_json(g, folder, "losses.json", &all, &err);
    if (rc != BS_OK || (rc = golden_npy(g, folder, "pred.npy", &prediction, &err)) != BS_OK ||
        (rc = golden_npy(g, folder, "target.npy", &target, &err)) != BS_OK)
        goto cleanup;
    if (prediction.ndim != 4 || prediction.type != BS_NPY_F4 || target.type != BS_NPY_F4 ||
        target.count != prediction.count || !(zeros = calloc(target.count, sizeof *zeros))) {
        rc = BS_FAIL(&err, BS_EINVAL, "pred.npy and target.npy are not float32 of four equal dimensions");
        goto cleanup;
    }
    struct pair pair = {.prediction = prediction.data, .target = target.data, .zeros = zeros};
    pair.shape = BS_SHAPE((int64_t)prediction.shape[0], (int64_t)prediction.shape[1],
                          (int64_t)prediction.shape[2], (int64_t)prediction.shape[3]);
    for (size_t w = 0; (way = golden_way(g, w)) != NULL; w++) {
        /* with Winograd they are the same losses */
        if (way->winograd || !golden_way_usable(g, folder, way) || !golden_way_trains(g, folder, way))
            continue;
        GOLDEN_JSON_EACH(value, bs_json_root(all))
        {
            double want = NAN;
            (void)bs_json_as_double(value, &want);
            check_loss(g, folder, way, bs_json_key(value), want, &pair);
        }
    }
    golden_skip_unread(g, folder, ".npy");

cleanup:
    if (rc != BS_OK)
        golden_error(g, folder, &err);
    free(zeros);
    bs_npy_free(&prediction);
    bs_npy_free(&target);
    bs_json_free(all);
}
