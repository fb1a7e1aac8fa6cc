/* The configuration of a run <-> JSON; see config.h. */
#include "model/json_fields.h"
#include "model/model_internal.h"
#include "model/train/run_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT     1
#define MAX_TEXT   ((size_t)16 << 10)
#define MAX_VALUES 256
#define ANY        (INT64_C(1) << 40) /* bs_train_config_check knows better */

static const char *const recipe_names[] = {
    [BS_RECIPE_BOUNDARIES] = "boundaries", [BS_RECIPE_DISTANCES] = "distances"};
static const char *const loss_names[] = {[BS_LOSS_DICE] = "dice",
                                         [BS_LOSS_BCE_DICE] = "bce-dice",
                                         [BS_LOSS_DISTANCE] = "distance",
                                         [BS_LOSS_DICE_DISTANCE] = "dice-distance"};
static const char *const optimizer_names[] = {[BS_ADAM] = "adam", [BS_ADAMW] = "adamw"};
static const char *const precision_names[] = {
    [BS_PRECISION_F32] = "f32", [BS_PRECISION_BF16] = "bf16", [BS_PRECISION_F16] = "f16"};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static void write_loss(struct bs_json_writer *w, const struct bs_loss *l)
{
    bs_json_write_open(w, "loss", '{');
    bs_json_write_string(w, "kind", loss_names[l->kind]);
    bs_json_write_bool(w, "mask_background", l->mask_background);
    bs_json_write_bool(w, "all_channels", l->all_channels);
    bs_json_write_bool(w, "channel_mean", l->channel_mean);
    bs_json_write_double(w, "alpha", (double)l->alpha);
    bs_json_write_double(w, "beta", (double)l->beta);
    bs_json_write_close(w, '}');
}

static void write_optimizer(struct bs_json_writer *w, const struct bs_optimizer *o)
{
    bs_json_write_open(w, "optimizer", '{');
    bs_json_write_string(w, "kind", optimizer_names[o->kind]);
    bs_json_write_double(w, "learning_rate", o->learning_rate);
    bs_json_write_double(w, "beta1", o->beta1);
    bs_json_write_double(w, "beta2", o->beta2);
    bs_json_write_double(w, "eps", o->eps);
    bs_json_write_double(w, "weight_decay", o->weight_decay);
    bs_json_write_close(w, '}');
}

static void write_plateau(struct bs_json_writer *w, const struct bs_plateau *p)
{
    bs_json_write_open(w, "plateau", '{');
    bs_json_write_double(w, "factor", p->factor);
    bs_json_write_int(w, "patience", p->patience);
    bs_json_write_double(w, "threshold", p->threshold);
    bs_json_write_double(w, "least", p->least);
    bs_json_write_close(w, '}');
}

static void write_sample(struct bs_json_writer *w, const struct bs_sample_rule *s)
{
    bs_json_write_open(w, "sample", '{');
    bs_json_write_int(w, "height", (int64_t)s->height);
    bs_json_write_int(w, "width", (int64_t)s->width);
    bs_json_write_bool(w, "flips", s->flips);
    bs_json_write_bool(w, "quarter_turns", s->quarter_turns);
    bs_json_write_int(w, "target_min_size", s->target_min_size);
    bs_json_write_int(w, "min_objects", s->min_objects);
    bs_json_write_open(w, "augment", '{');
    bs_json_write_double(w, "elastic", s->augment.elastic);
    bs_json_write_double(w, "elastic_spacing", s->augment.elastic_spacing);
    bs_json_write_double(w, "blur", s->augment.blur);
    bs_json_write_double(w, "gamma", s->augment.gamma);
    bs_json_write_double(w, "contrast", s->augment.contrast);
    bs_json_write_double(w, "brightness", s->augment.brightness);
    bs_json_write_double(w, "noise", s->augment.noise);
    bs_json_write_close(w, '}');
    bs_json_write_close(w, '}');
}

bs_status bs_train_config_to_json(const struct bs_train_config *c, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    *json = NULL;
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_int(&w, "format", FORMAT);
    bs__arch_write(&w, &c->arch);
    bs_json_write_string(&w, "recipe", recipe_names[c->sample.target]);
    write_loss(&w, &c->loss);
    write_optimizer(&w, &c->optimizer);
    write_plateau(&w, &c->plateau);
    write_sample(&w, &c->sample);
    bs_json_write_bool(&w, "freeze_encoder", c->freeze_encoder);
    bs_json_write_int(&w, "batch", c->batch);
    bs_json_write_int(&w, "iterations", c->iterations);
    bs_json_write_int(&w, "epochs", c->epochs);
    bs_json_write_int(&w, "epoch_samples", c->epoch_samples);
    bs_json_write_int(&w, "validate_every", c->validate_every);
    bs_json_write_int(&w, "validation_count", c->validation_count);
    bs_json_write_int(&w, "checkpoint_every", c->checkpoint_every);
    bs_json_write_int(&w, "stop_after", c->stop_after);
    bs_json_write_int(&w, "seed", (int64_t)c->seed);
    bs_json_write_string(&w, "precision", precision_names[c->precision]);
    bs_json_write_int(&w, "memory_budget", c->memory_budget);
    bs_json_write_close(&w, '}');
    if (!(*json = bs_json_write_end(&w)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the configuration of a training run");
    return BS_OK;
}

/* A member "name" that is an object and may be missing; false: it is. */
static bool open_optional(struct bs__fields *f, struct bs__fields *in, const char *name)
{
    bs__open_object(f, in, name, false);
    return in->object && in->rc == BS_OK;
}

static void read_loss(struct bs__fields *f, struct bs_loss *out)
{
    struct bs__fields l;
    double alpha = (double)out->alpha, beta = (double)out->beta;
    if (!open_optional(f, &l, "loss"))
        return;
    out->kind =
        (enum bs_loss_kind)bs__read_name(&l, "kind", false, loss_names, COUNT(loss_names), (int)out->kind);
    bs__read_bool(&l, "mask_background", false, &out->mask_background);
    bs__read_bool(&l, "all_channels", false, &out->all_channels);
    bs__read_bool(&l, "channel_mean", false, &out->channel_mean);
    bs__read_double(&l, "alpha", 0, 1e6, &alpha);
    bs__read_double(&l, "beta", 0, 1e6, &beta);
    out->alpha = (float)alpha;
    out->beta = (float)beta;
    bs__read_end(&l, "loss");
    f->rc = l.rc;
}

/* Another kind brings its own defaults with it. */
static void read_optimizer(struct bs__fields *f, struct bs_optimizer *out)
{
    struct bs__fields o;
    if (!open_optional(f, &o, "optimizer"))
        return;
    *out = bs_optimizer_defaults((enum bs_optimizer_kind)bs__read_name(
        &o, "kind", false, optimizer_names, COUNT(optimizer_names), (int)out->kind));
    bs__read_double(&o, "learning_rate", 0, 1e3, &out->learning_rate);
    bs__read_double(&o, "beta1", 0, 1, &out->beta1);
    bs__read_double(&o, "beta2", 0, 1, &out->beta2);
    bs__read_double(&o, "eps", 0, 1, &out->eps);
    bs__read_double(&o, "weight_decay", 0, 1, &out->weight_decay);
    bs__read_end(&o, "optimizer");
    f->rc = o.rc;
}

static void read_plateau(struct bs__fields *f, struct bs_plateau *out)
{
    struct bs__fields p;
    int64_t patience = out->patience;
    if (!open_optional(f, &p, "plateau"))
        return;
    bs__read_double(&p, "factor", 0, 1, &out->factor);
    bs__read_int64(&p, "patience", false, 0, 1000000, &patience);
    bs__read_double(&p, "threshold", 0, 1, &out->threshold);
    bs__read_double(&p, "least", 0, 1e3, &out->least);
    out->patience = (int)patience;
    bs__read_end(&p, "plateau");
    f->rc = p.rc;
}

/* Ranges are bs_augment_check's. */
static void read_augment(struct bs__fields *f, struct bs_augment_rule *out)
{
    struct bs__fields a;
    if (!open_optional(f, &a, "augment"))
        return;
    bs__read_double(&a, "elastic", 0, 1e3, &out->elastic);
    bs__read_double(&a, "elastic_spacing", 0, 1e3, &out->elastic_spacing);
    bs__read_double(&a, "blur", 0, 1e3, &out->blur);
    bs__read_double(&a, "gamma", 0, 1e3, &out->gamma);
    bs__read_double(&a, "contrast", 0, 1e3, &out->contrast);
    bs__read_double(&a, "brightness", 0, 1e3, &out->brightness);
    bs__read_double(&a, "noise", 0, 1e3, &out->noise);
    bs__read_end(&a, "augment");
    f->rc = a.rc;
}

static void read_sample(struct bs__fields *f, struct bs_sample_rule *out)
{
    struct bs__fields s;
    int64_t height = (int64_t)out->height, width = (int64_t)out->width;
    if (!open_optional(f, &s, "sample"))
        return;
    bs__read_int64(&s, "height", false, 1, ANY, &height);
    bs__read_int64(&s, "width", false, 1, ANY, &width);
    bs__read_bool(&s, "flips", false, &out->flips);
    bs__read_bool(&s, "quarter_turns", false, &out->quarter_turns);
    bs__read_int64(&s, "target_min_size", false, 0, ANY, &out->target_min_size);
    bs__read_int64(&s, "min_objects", false, 0, ANY, &out->min_objects);
    out->height = (size_t)height;
    out->width = (size_t)width;
    read_augment(&s, &out->augment);
    bs__read_end(&s, "sample");
    f->rc = s.rc;
}

/* One of the two says how long; whoever names epochs does not mean the usual number of iterations, too. */
static void read_length(struct bs__fields *f, struct bs_train_config *c)
{
    bs__read_int64(f, "epochs", false, 0, ANY, &c->epochs);
    if (c->epochs > 0)
        c->iterations = 0;
    bs__read_int64(f, "iterations", false, 0, ANY, &c->iterations);
    bs__read_int64(f, "epoch_samples", false, 0, ANY, &c->epoch_samples);
    bs__read_int64(f, "validate_every", false, 0, ANY, &c->validate_every);
    bs__read_int64(f, "validation_count", false, 0, ANY, &c->validation_count);
    bs__read_int64(f, "checkpoint_every", false, 0, ANY, &c->checkpoint_every);
    bs__read_int64(f, "stop_after", false, 0, ANY, &c->stop_after);
}

static void read_all(struct bs__fields *f, struct bs_train_config *c)
{
    struct bs_arch_config arch = {.kind = BS_ARCH_UNET};
    int64_t format = FORMAT, seed = 0, batch = 0;
    bs__read_int64(f, "format", false, FORMAT, FORMAT, &format);
    bs__arch_read(f, &arch);
    const enum bs_recipe recipe =
        (enum bs_recipe)bs__read_name(f, "recipe", true, recipe_names, COUNT(recipe_names), 0);
    if (f->rc != BS_OK)
        return;
    bs_train_config_default(arch.kind, recipe, bs_arch_in_channels(&arch), c);
    c->arch = arch;
    batch = c->batch;
    read_loss(f, &c->loss);
    read_optimizer(f, &c->optimizer);
    read_plateau(f, &c->plateau);
    read_sample(f, &c->sample);
    bs__read_bool(f, "freeze_encoder", false, &c->freeze_encoder);
    bs__read_int64(f, "batch", false, 1, 1024, &batch);
    c->batch = (int)batch;
    read_length(f, c);
    bs__read_int64(f, "seed", false, 0, INT64_MAX, &seed);
    c->seed = (uint64_t)seed;
    c->precision = (enum bs_precision)bs__read_name(f, "precision", false, precision_names,
                                                    COUNT(precision_names), BS_PRECISION_F32);
    bs__read_int64(f, "memory_budget", false, 0, ANY, &c->memory_budget);
    bs__read_end(f, "it");
}

bs_status bs_train_config_from_json(const char *json, size_t len, struct bs_train_config *c,
                                    struct bs_err *err)
{
    struct bs_json *doc = NULL;
    memset(c, 0, sizeof *c);
    if (len > MAX_TEXT)
        return BS_FAIL(err, BS_ELIMIT, "training: a configuration of %zu bytes, at most %zu are accepted",
                       len, MAX_TEXT);
    bs_status rc = bs_json_parse(json, len, MAX_VALUES, &doc, err);
    if (rc != BS_OK) {
        bs_err_prefix(err, "training");
        return rc;
    }
    struct bs__fields f = {.of = "training", .object = bs_json_root(doc), .err = err};
    read_all(&f, c);
    rc = f.rc == BS_OK ? bs_train_config_check(c, err) : f.rc;
    bs_json_free(doc);
    return rc;
}

/* free() it; NULL: no memory. */
static char *arch_json(const struct bs_arch_config *arch)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    bs__arch_write(&w, arch);
    bs_json_write_close(&w, '}');
    return bs_json_write_end(&w);
}

bs_status bs_train_config_check_initial(const struct bs_train_config *c, const struct bs_model_info *model,
                                        bool *new_head, struct bs_err *err)
{
    struct bs_arch_config arch = model->arch;
    const int channels = bs_arch_out_channels(&c->arch);
    *new_head = bs_arch_out_channels(&arch) != channels;
    bs_train_config_set_out_channels(&arch, channels);
    char *have = arch_json(&arch), *want = arch_json(&c->arch);
    bs_status rc = BS_OK;
    if (!have || !want) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the description of a network");
    } else if (strcmp(have, want) != 0) {
        char what[200];
        bs__first_difference(have, "in the model", want, "in the configuration", what, sizeof what);
        rc = BS_FAIL(err, BS_EINVAL, "the network of the model to begin with is another one: %s", what);
    }
    free(have);
    free(want);
    return rc;
}

void bs__first_difference(const char *a, const char *of_a, const char *b, const char *of_b, char *out,
                          size_t size)
{
    size_t i = 0;
    while (a[i] && a[i] == b[i])
        i++;
    while (i > 0 && a[i - 1] != ',' && a[i - 1] != '{')
        i--;
    (void)snprintf(out, size, "%.*s %s, %.*s %s", (int)strcspn(a + i, ",}"), a + i, of_a,
                   (int)strcspn(b + i, ",}"), b + i, of_b);
}
