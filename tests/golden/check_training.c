/* Training of a tiny network: every loss of the reference's output, the output in training mode, and the gradient of every
   parameter. The steps that follow are in check_three_steps.c. */
#include "tests/golden/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_TENSORS 1024

void training_label(const struct training *t, const char *file, char name[160])
{
    snprintf(name, 160, "%s/%s %s", t->folder, file, t->way->name);
}

static bs_status read_noise(struct training *t, struct bs_err *err)
{
    char line[256];
    struct training_noise row;
    FILE *f = fopen(golden_path(t->g, t->folder, "grad_noise.tsv"), "r");
    if (!f || !(t->noise = calloc(MOST_TENSORS, sizeof *t->noise))) {
        if (f)
            fclose(f);
        return BS_FAIL(err, BS_EIO, "grad_noise.tsv cannot be read");
    }
    while (t->nnoise < MOST_TENSORS && fgets(line, sizeof line, f))
        if (sscanf(line, "%159s %lf %lf", row.name, &row.largest, &row.difference) == 3)
            t->noise[t->nnoise++] = row;
    fclose(f);
    return BS_OK;
}

struct training_noise training_noise_of(const struct training *t, const char *parameter)
{
    for (size_t i = 0; i < t->nnoise; i++)
        if (!strcmp(t->noise[i].name, parameter))
            return t->noise[i];
    return (struct training_noise){.largest = 0};
}

double training_largest(const float *v, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fabs((double)v[i]) > largest || isnan(v[i]) ? fabs((double)v[i]) : largest;
    return largest;
}

float *training_tensor(struct bs_safetensors *st, const struct bs_step_tensor *t)
{
    const struct bs_safetensors_entry *e = bs_safetensors_find(st, t->name);
    const size_t count = bs_shape_count(&t->shape);
    float *values = calloc(count, sizeof *values);
    if (values && e && bs_shape_equal(&e->shape, &t->shape) &&
        bs_safetensors_read_f32(st, e, values, count, NULL) == BS_OK)
        return values;
    free(values);
    return NULL;
}

/* golden/README.md: per tensor at most 1e-3 of its largest gradient, and 1e-6; or twice its noise where that is more. Without
   the gradients, the largest of each tensor has to agree with the table of noise. */
static double gradient_share(const struct training *t, const struct bs_step_tensor *p, const float *have,
                             const float *want)
{
    const size_t count = bs_shape_count(&p->shape);
    const struct training_noise noise = training_noise_of(t, p->name);
    double difference = fabs(training_largest(have, count) - noise.largest), largest = noise.largest;
    if (want) {
        largest = training_largest(want, count);
        difference = 0;
        for (size_t k = 0; k < count; k++) {
            const double d = fabs((double)have[k] - (double)want[k]);
            difference = d > difference || isnan(d) ? d : difference; /* a NaN stays */
        }
    }
    return difference / fmax(1e-3 * largest + 1e-6, 2 * noise.difference);
}

bs_status training_compare_gradients(const struct training *t, const struct bs_step *step,
                                     float *const *gradient, struct training_agreement *a, struct bs_err *err)
{
    struct bs_safetensors *st = NULL;
    bs_status rc = BS_OK;
    *a = (struct training_agreement){.worst_name = ""};
    a->whole = golden_has(t->g, t->folder, "grads.safetensors");
    if (a->whole &&
        (rc = bs_safetensors_open(golden_path(t->g, t->folder, "grads.safetensors"), &st, err)) != BS_OK)
        return rc;
    for (int i = 0; i < bs_step_tensor_count(step) && rc == BS_OK; i++) {
        const struct bs_step_tensor *p = bs_step_tensor_at(step, i);
        if (p->role != BS_ROLE_TRAINED)
            continue;
        float *want = a->whole ? training_tensor(st, p) : NULL;
        if (!want && (a->whole || training_noise_of(t, p->name).largest == 0)) {
            rc = BS_FAIL(err, BS_ENOTFOUND, "the reference has no gradient of %s", p->name);
            break;
        }
        const double share = gradient_share(t, p, gradient[i], want);
        if (share > a->worst || isnan(share)) {
            a->worst = share;
            a->worst_name = p->name;
        }
        a->compared++;
        free(want);
    }
    bs_safetensors_close(st);
    return rc;
}

void training_report_gradients(const struct training *t, const struct training_agreement *a, int nudges)
{
    char name[160], how[64] = "";
    training_label(t, a->whole ? "grads.safetensors" : "grad_noise.tsv", name);
    if (nudges)
        (void)snprintf(how, sizeof how, "; image moved by a rounding, try %d", nudges);
    golden_verdict(t->g, name, a->compared > 0 && a->worst <= 1,
                   "1e-3 of a tensor's largest + 1e-6, or its noise",
                   "%d tensors, worst %s at %.2g of that%s", a->compared, a->worst_name, a->worst, how);
}

void training_check_output(const struct training *t, const struct bs_step *step)
{
    const char *file = golden_has(t->g, t->folder, "output_train.npy") ? "output_train.npy" : "output.npy";
    struct bs_npy want = {0};
    struct bs_err err = {0};
    char name[160];
    training_label(t, file, name);
    strcat(name, " training");
    if (golden_npy(t->g, t->folder, file, &want, &err) != BS_OK) {
        golden_error(t->g, name, &err);
    } else if (want.count != t->target.count) {
        golden_fail(t->g, name, NULL, "%zu values for a target of %zu", want.count, t->target.count);
    } else {
        double max = 0;
        for (size_t i = 0; i < want.count; i++) {
            const double d = fabs((double)bs_step_output(step)[i] - (double)((const float *)want.data)[i]);
            max = d > max || isnan(d) ? d : max; /* a NaN stays */
        }
        golden_verdict(t->g, name, max <= 1e-4, "max 1e-4", "max %.2g", max);
    }
    bs_npy_free(&want);
}

/* Every loss of info.json for the reference's output in training mode. */
static void check_losses_of_output(const struct training *t)
{
    const char *file = golden_has(t->g, t->folder, "output_train.npy") ? "output_train.npy" : "output.npy";
    struct bs_npy output = {0};
    struct bs_err err = {0};
    char name[160];
    const struct bs_shape shape =
        BS_SHAPE(t->size.samples, bs_arch_out_channels(t->arch), t->size.crop_h, t->size.crop_w);
    training_label(t, "info.json losses", name);
    if (golden_npy(t->g, t->folder, file, &output, &err) != BS_OK) {
        golden_error(t->g, name, &err);
        return;
    }
    double worst = 0;
    bs_status rc = BS_OK;
    int compared = 0;
    GOLDEN_JSON_EACH(value, bs_json_get(t->info, "losses"))
    {
        const char *key = bs_json_key(value);
        double want = NAN;
        (void)bs_json_as_double(value, &want);
        struct bs_loss loss;
        double have = NAN;
        if (!golden_loss_named(key, &loss))
            rc = BS_FAIL(&err, BS_EUNSUPPORTED, "no loss is called %s", key);
        if (rc == BS_OK)
            rc = golden_loss(t->way, &loss, &shape, output.data, t->target.data, &have, NULL, &err);
        const double d = fabs(have - want);
        worst = d > worst || isnan(d) ? d : worst; /* a NaN stays */
        compared++;
    }
    if (rc != BS_OK)
        golden_error(t->g, name, &err);
    else
        golden_verdict(t->g, name, compared > 0 && worst <= 1e-5, "within 1e-5", "%d losses, worst %.2g",
                       compared, worst);
    bs_npy_free(&output);
}

/* Image, target and loss of the case. */
static bs_status read_case(struct training *t, struct bs_err *err)
{
    struct bs_npy image = {0};
    struct bs_shape net;
    bs_status rc;
    if ((rc = golden_json(t->g, t->folder, "info.json", &t->document, err)) != BS_OK ||
        (rc = read_noise(t, err)) != BS_OK)
        return rc;
    t->info = bs_json_root(t->document);
    const char *loss = golden_json_string(t->info, "loss");
    if (!loss || !golden_loss_named(loss, &t->loss))
        return BS_FAIL(err, BS_EUNSUPPORTED, "no loss is called %s", loss ? loss : "nothing");
    if ((rc = golden_npy(t->g, t->folder, "input.npy", &image, err)) != BS_OK ||
        (rc = golden_npy(t->g, t->folder, "target.npy", &t->target, err)) != BS_OK)
        goto cleanup;
    if (image.ndim != 4 || t->target.ndim != 4 || image.type != BS_NPY_F4 || t->target.type != BS_NPY_F4 ||
        (int64_t)t->target.shape[1] != bs_arch_out_channels(t->arch)) {
        rc = BS_FAIL(err, BS_EINVAL, "input.npy and target.npy are not float32 images for this network");
        goto cleanup;
    }
    const struct bs_shape shape = BS_SHAPE((int64_t)image.shape[0], (int64_t)image.shape[1],
                                           (int64_t)image.shape[2], (int64_t)image.shape[3]);
    if ((rc = golden_network_input(t->arch, &shape, image.data, &t->image, &net, err)) != BS_OK)
        goto cleanup;
    t->size = (struct bs_train_size){.samples = net.dim[0],
                                     .h = net.dim[2],
                                     .w = net.dim[3],
                                     .crop_h = (int64_t)t->target.shape[2],
                                     .crop_w = (int64_t)t->target.shape[3]};
cleanup:
    bs_npy_free(&image);
    return rc;
}

void check_training(struct golden *g, const char *folder, const struct golden_way *way,
                    const struct bs_arch_config *arch, struct bs_params *params)
{
    struct training t = {.g = g, .folder = folder, .way = way, .arch = arch, .params = params};
    struct bs_err err = {0};
    char name[160];
    training_label(&t, "training", name);
    if (!golden_way_trains(g, name, way))
        return;
    if (read_case(&t, &err) != BS_OK) {
        golden_error(g, name, &err);
    } else {
        if (!strcmp(way->device, "ref"))
            check_losses_of_output(&t);
        training_check_steps(&t, BS_ADAM, "loss_per_step_adam", "params_after3.safetensors");
        if (bs_json_get(t.info, "loss_per_step_adamw"))
            training_check_steps(&t, BS_ADAMW, "loss_per_step_adamw", "params_after3_adamw.safetensors");
    }
    free(t.image);
    free(t.noise);
    bs_npy_free(&t.target);
    bs_json_free(t.document);
}
