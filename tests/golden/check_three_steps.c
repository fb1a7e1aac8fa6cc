/* Three steps of training of a tiny network: the loss before each and after the last, and the state after the last step, for
   Adam and AdamW. What a value may differ by stands at each check.

   The reference values are float32: one ReLU that flips between float32 and float64 moves gradients of the whole network by
   1e-3, and the optimiser turns the sign of a gradient that is noise into a full step. grad_noise.tsv says how far float32
   and float64 of the original are apart, per tensor. Where a run is off by more than the plain tolerance, what noise of that
   size does to three steps is measured: twins of the run get it added to every gradient with random signs, and a value may
   be off by a few times what separates the twins.

   Our own sums are float32, too, on a fast device, so a ReLU may flip in our run alone. Such a gradient is as right as the
   reference's, and it is known by this: with the image moved by a rounding, both agree again. A wrong gradient agrees with no
   image. */
#include "tests/golden/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS  3
#define TWINS  2
#define ALLOW  4 /* times what separates a twin */
#define NUDGES 8 /* images to try */

/* A run of three steps, or the beginning of one. */
struct course {
    struct bs_step *step;
    double loss[STEPS + 1]; /* before each step, and after the last */
    float **gradient;       /* of the first step, per tensor; NULL for what has none */
};

static void end_course(struct course *c)
{
    const int n = c->step ? bs_step_tensor_count(c->step) : 0;
    for (int i = 0; c->gradient && i < n; i++)
        free(c->gradient[i]);
    free(c->gradient);
    bs_step_destroy(c->step);
    *c = (struct course){0};
}

static bs_status keep_gradients(struct course *c, struct bs_err *err)
{
    const int n = bs_step_tensor_count(c->step);
    if (!(c->gradient = calloc((size_t)n, sizeof *c->gradient)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for gradients");
    for (int i = 0; i < n; i++) {
        const struct bs_step_tensor *p = bs_step_tensor_at(c->step, i);
        const size_t bytes = bs_shape_count(&p->shape) * sizeof(float);
        if (p->gradient && !(c->gradient[i] = malloc(bytes)))
            return BS_FAIL(err, BS_ENOMEM, "no memory for gradients");
        if (p->gradient)
            memcpy(c->gradient[i], p->gradient, bytes);
    }
    return BS_OK;
}

/* Adds the table's noise to every gradient, with random signs. */
static void add_noise(const struct training *t, const struct bs_step *step, uint64_t *state)
{
    for (int i = 0; i < bs_step_tensor_count(step); i++) {
        const struct bs_step_tensor *p = bs_step_tensor_at(step, i);
        if (!p->gradient)
            continue;
        const float noise = (float)training_noise_of(t, p->name).difference;
        for (size_t k = 0; k < bs_shape_count(&p->shape); k++) {
            *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            p->gradient[k] += *state >> 63 ? noise : -noise;
        }
    }
}

/* noise: seed of a twin's signs, 0: none. */
static bs_status run_course(const struct training *t, struct bs_device *dev, const struct bs_optimizer *o,
                            const float *image, int steps, uint64_t noise, struct course *c,
                            struct bs_err *err)
{
    bs_status rc = bs_step_create(dev, t->arch, &t->size, &t->loss, t->params, &c->step, err);
    for (int k = 0; rc == BS_OK && k <= steps; k++) {
        rc = bs_step_compute(c->step, image, t->target.data, NULL, &c->loss[k], err);
        if (rc == BS_OK && k == 0 && !noise) {
            rc = keep_gradients(c, err);
            if (o->kind == BS_ADAM && rc == BS_OK && image == t->image)
                training_check_output(t, c->step);
        }
        if (rc == BS_OK && noise)
            add_noise(t, c->step, &noise);
        if (rc == BS_OK && k < steps)
            rc = bs_step_apply(c->step, o, err);
    }
    return rc;
}

/* golden/README.md: 2e-6 where the gradient is real; where it is rounding noise the optimiser makes full steps of any sign,
   so up to 6e-4 (2 lr times three steps): noise that is a share of the gradient moves a step by that share. What is below
   1e-5 of the tensor's largest gradient is noise. Running statistics: 1e-5 of their size, and means besides what a bias of
   noise in front of the norm adds to them: up to 2 lr a step, of which they take a tenth at a time. */
static double allowed(const struct bs_step_tensor *p, size_t k, double want, const float *gradient,
                      double largest, double noise)
{
    if (p->role == BS_ROLE_RUNNING_MEAN)
        return 1e-5 * (1 + fabs(want)) + 6e-5;
    if (p->role == BS_ROLE_RUNNING_VARIANCE)
        return 1e-5 * (1 + fabs(want));
    const double g = fabs((double)gradient[k]);
    return g > 1e-5 * largest ? fmin(2e-6 + 6e-4 * noise / g, 6e-4) : 6e-4;
}

/* How tensors of the state agree. Two twins may agree on a value by chance, so one parameter in 10,000 may be off by more than
   it should, but never by more than full steps. */
#define STRAY 1e-4
struct agreement {
    double worst;        /* share of what a value may be off by */
    size_t tight, count; /* parameters held to at most 1e-5, and all */
    size_t strays;       /* parameters off by more than they may be, and by no more than full steps */
};

/* A run against the reference: with no twins, plain tolerances. */
struct trial {
    const struct training *t;
    const float *image; /* t's, or moved by a rounding */
    struct course run, twin[TWINS];
    int twins;
    /* outcome */
    double loss_worst, loss_share; /* the largest difference of a loss, and as a share of what it may be */
    struct agreement state;
    const char *worst_name;
};

static double apart_at(const struct trial *r, int i, size_t k)
{
    double apart = 0;
    for (int w = 0; w < r->twins; w++)
        apart = fmax(apart, fabs((double)bs_step_tensor_at(r->twin[w].step, i)->value[k] -
                                 (double)bs_step_tensor_at(r->run.step, i)->value[k]));
    return apart;
}

static void compare_tensor(struct trial *r, int i, const float *want)
{
    const struct bs_step_tensor *p = bs_step_tensor_at(r->run.step, i);
    const float *gradient = r->run.gradient[i];
    struct agreement *a = &r->state;
    const size_t count = bs_shape_count(&p->shape);
    const double noise = training_noise_of(r->t, p->name).difference,
                 largest = p->gradient ? training_largest(gradient, count) : 0, before = a->worst;
    for (size_t k = 0; k < count; k++) {
        const double d = fabs((double)p->value[k] - (double)want[k]);
        const double most =
            allowed(p, k, (double)want[k], gradient, largest, noise) + ALLOW * apart_at(r, i, k);
        a->tight += p->gradient && most <= 1e-5;
        a->count += p->gradient != NULL;
        if (p->gradient && d > most && d <= 6e-4)
            a->strays++;
        else
            a->worst = d / most > a->worst || isnan(d) ? d / most : a->worst;
    }
    if (a->worst > before || isnan(a->worst))
        r->worst_name = p->name;
}

static bs_status compare_state(struct trial *r, struct bs_safetensors *st, bool statistics,
                               struct bs_err *err)
{
    r->state = (struct agreement){0};
    r->worst_name = "";
    for (int i = 0; i < bs_step_tensor_count(r->run.step); i++) {
        const struct bs_step_tensor *p = bs_step_tensor_at(r->run.step, i);
        if (p->role == BS_ROLE_CONSTANT || (p->role != BS_ROLE_TRAINED && !statistics))
            continue;
        float *want = training_tensor(st, p);
        if (!want)
            return BS_FAIL(err, BS_ENOTFOUND, "%s is not in it", p->name);
        compare_tensor(r, i, want);
        free(want);
    }
    return BS_OK;
}

static bool state_agrees(const struct trial *r)
{
    return r->state.worst <= 1 && (double)r->state.strays <= STRAY * (double)r->state.count &&
           (double)r->state.tight > 0.25 * (double)r->state.count;
}

static double loss_at(const struct bs_json_value *losses, size_t k)
{
    double value = NAN;
    const struct bs_json_value *v = bs_json_first(losses);
    for (; v && k > 0; k--)
        v = bs_json_next(v);
    (void)bs_json_as_double(v, &value);
    return value;
}

static void compare_losses(struct trial *r, const struct bs_json_value *want)
{
    r->loss_worst = r->loss_share = 0;
    for (size_t k = 0; k <= STEPS; k++) {
        const double d = fabs(r->run.loss[k] - loss_at(want, k));
        double apart = 0;
        for (int w = 0; w < r->twins; w++)
            apart = fmax(apart, fabs(r->run.loss[k] - r->twin[w].loss[k]));
        const double share = d / (1e-5 + ALLOW * apart);
        r->loss_worst = d > r->loss_worst || isnan(d) ? d : r->loss_worst; /* a NaN stays */
        r->loss_share = share > r->loss_share || isnan(share) ? share : r->loss_share;
    }
}

/* What three steps are compared with: losses, and the state where st is given. */
struct reference {
    const struct bs_json_value *losses;
    struct bs_safetensors *st;
    bool statistics; /* st has running statistics */
};

static bs_status compare_once(struct trial *r, const struct reference *ref, struct bs_err *err)
{
    compare_losses(r, ref->losses);
    return ref->st ? compare_state(r, ref->st, ref->statistics, err) : BS_OK;
}

static bool agrees(const struct trial *r, const struct reference *ref)
{
    return r->loss_share <= 1 && (!ref->st || state_agrees(r));
}

/* With twins only where that is needed. */
static bs_status compare(struct trial *r, struct bs_device *dev, const struct bs_optimizer *o,
                         const struct reference *ref, struct bs_err *err)
{
    bs_status rc = compare_once(r, ref, err);
    if (rc != BS_OK || (agrees(r, ref) && r->state.strays == 0))
        return rc;
    for (; r->twins < TWINS; r->twins++)
        if ((rc = run_course(r->t, dev, o, r->image, STEPS, (uint64_t)r->twins + 1, &r->twin[r->twins],
                             err)) != BS_OK)
            return rc;
    return compare_once(r, ref, err);
}

static void report(const struct trial *r, const char *key, const struct bs_json_value *losses,
                   const char *file)
{
    char name[160], how[96];
    (void)snprintf(how, sizeof how, "%s%s",
                   r->twins ? "tolerances widened by measured noise" : "plain tolerances",
                   r->image == r->t->image ? "" : ", image moved by a rounding");
    snprintf(name, sizeof name, "%s/info.json %s %s", r->t->folder, key, r->t->way->name);
    golden_verdict(r->t->g, name, bs_json_count(losses) == STEPS + 1 && r->loss_share <= 1, "within 1e-5",
                   "worst %.2g, %.2g of what it may be off; %s", r->loss_worst, r->loss_share, how);
    if (!file)
        return;
    training_label(r->t, file, name);
    golden_verdict(
        r->t->g, name, state_agrees(r), "2e-6 where the gradient is real",
        "%.1f %% of %zu values held to 1e-5, worst in %s at %.2g of what it may be off, %zu beyond; %s",
        100.0 * (double)r->state.tight / (double)r->state.count, r->state.count, r->worst_name,
        r->state.worst, r->state.strays, how);
}

/* t's image, every pixel moved by at most one rounding. */
static void nudge(const struct training *t, uint64_t seed, float *image)
{
    const size_t count = (size_t)(t->size.samples * bs_arch_in_channels(t->arch) * t->size.h * t->size.w);
    uint64_t state = seed;
    for (size_t i = 0; i < count; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        image[i] = state >> 63 ? nextafterf(t->image[i], INFINITY) : nextafterf(t->image[i], -INFINITY);
    }
}

static void end_courses(struct trial *r)
{
    end_course(&r->run);
    for (int w = 0; w < TWINS; w++)
        end_course(&r->twin[w]);
    r->twins = 0;
}

/* Runs with images that differ by roundings until the gradients, and what ref has, agree. */
static bs_status run_until_agreed(struct trial *r, struct bs_device *dev, const struct bs_optimizer *o,
                                  const struct reference *ref, float *moved, struct bs_err *err)
{
    struct training_agreement a = {.worst = 0};
    bs_status rc = BS_OK;
    int nudges = 0;
    r->image = r->t->image;
    for (;; nudges++) {
        if (nudges > 0) {
            end_courses(r);
            nudge(r->t, (uint64_t)nudges, moved);
            r->image = moved;
        }
        if ((rc = run_course(r->t, dev, o, r->image, ref->losses ? STEPS : 0, 0, &r->run, err)) != BS_OK ||
            (rc = training_compare_gradients(r->t, r->run.step, r->run.gradient, &a, err)) != BS_OK)
            return rc;
        if (nudges < NUDGES && a.worst > 1)
            continue;
        if (ref->losses && (rc = compare(r, dev, o, ref, err)) != BS_OK)
            return rc;
        if (nudges == NUDGES || !ref->losses || agrees(r, ref))
            break;
    }
    if (o->kind == BS_ADAM) /* AdamW begins with the same gradients */
        training_report_gradients(r->t, &a, nudges);
    return BS_OK;
}

void training_check_steps(const struct training *t, enum bs_optimizer_kind kind, const char *key,
                          const char *file)
{
    struct bs_device *dev = NULL;
    struct trial r = {.t = t};
    struct bs_err err = {0};
    char name[160];
    struct reference ref = {.losses = bs_json_get(t->info, key),
                            .statistics = kind == BS_ADAM}; /* AdamW's file has parameters only */
    const struct bs_optimizer optimizer = bs_optimizer_defaults(kind);
    const bool state = ref.losses && golden_has(t->g, t->folder, file);
    float *moved = malloc((size_t)(t->size.samples * bs_arch_in_channels(t->arch) * t->size.h * t->size.w) *
                          sizeof *moved);
    bs_status rc =
        moved ? golden_device_open(t->way, &dev, &err) : BS_FAIL(&err, BS_ENOMEM, "no memory for an image");
    training_label(t, "training", name);
    if (rc == BS_OK && state)
        rc = bs_safetensors_open(golden_path(t->g, t->folder, file), &ref.st, &err);
    if (rc == BS_OK && (rc = run_until_agreed(&r, dev, &optimizer, &ref, moved, &err)) == BS_OK && ref.losses)
        report(&r, key, ref.losses, state ? file : NULL);
    if (rc != BS_OK)
        golden_refused(t->g, name, t->way, &err);
    free(moved);
    bs_safetensors_close(ref.st);
    end_courses(&r);
    bs_device_close(dev);
}
