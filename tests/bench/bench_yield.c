/* How long a segmentation that is submitted while a training run has the device waits for it: runs some steps, a validation and
   checkpoints of the paper's training on the CPU backend, and notes how far apart the points lie at which the run gives way.
     bench_yield [--network unet|vimunet_t] [--size N] [--batch N] [--threads N] [--steps N] [--between]
   Prints planning, and for each part of a run the longest stretch between two such points, in ms of the clock and of processor
   time divided by the threads (which other programs disturb less); then how long somebody waits who comes at any moment.
   --between: gives way between operators only, as when nobody waits. */
#include "model/train/initial.h"
#include "model/train/run.h"
#include "tests/support/formula.h"
#include "tests/support/named_network.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAIRS       2
#define MAX_STRETCH 200000
#define BRIEF       2e-4 /* seconds: shorter stretches, of which there are very many, count as no wait */

enum part { PLANNING, STEPS, CHECKPOINT, VALIDATION, PARTS };
static const char *const part_name[PARTS] = {"planning", "steps", "checkpoints", "validation"};

struct options {
    int size, batch, threads, steps;
    bool between;
    const char *network;
};

struct stretch {
    enum part part;
    double wall, cpu;
};

struct watch {
    int threads;
    enum part part;
    double wall, cpu; /* at the last point */
    struct stretch *stretch;
    int count;
    double brief; /* all of the brief ones together */
};

struct pairs {
    float *image;
    uint32_t *labels;
    size_t side, channels;
};

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Here the run would give way. */
static void give_way(void *ctx)
{
    struct watch *w = ctx;
    const double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) / w->threads;
    if (wall - w->wall < BRIEF)
        w->brief += wall - w->wall;
    else if (w->count < MAX_STRETCH)
        w->stretch[w->count++] = (struct stretch){w->part, wall - w->wall, cpu - w->cpu};
    w->wall = wall;
    w->cpu = cpu;
}

static bs_status load(void *ctx, size_t index, struct bs_pair *pair, struct bs_err *err)
{
    const struct pairs *p = ctx;
    (void)index;
    (void)err;
    *pair = (struct bs_pair){
        .image = p->image, .labels = p->labels, .channels = p->channels, .height = p->side, .width = p->side};
    return BS_OK;
}

static bs_status on_event(void *ctx, const struct bs_run_event *event, struct bs_err *err)
{
    struct watch *w = ctx;
    (void)err;
    give_way(w);
    w->part = event->kind == BS_RUN_STEP ? STEPS : VALIDATION;
    return BS_OK;
}

/* As the worker does, into a file on the disk. */
static bs_status on_checkpoint(void *ctx, enum bs_checkpoint_kind kind, const struct bs_run *run,
                               int64_t step, struct bs_err *err)
{
    struct watch *w = ctx;
    const char *folder = getenv("TMPDIR");
    (void)step;
    give_way(w);
    w->part = CHECKPOINT;
    const int fd = open(folder ? folder : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return BS_FAIL(err, BS_EIO, "no file for a checkpoint");
    const bs_status rc = bs_run_write_checkpoint(run, kind, fd, err);
    close(fd);
    give_way(w);
    w->part = STEPS;
    return rc;
}

static int by_wall(const void *a, const void *b)
{
    const double x = ((const struct stretch *)a)->wall, y = ((const struct stretch *)b)->wall;
    return (x > y) - (x < y);
}

/* Somebody who comes at any moment of the run comes in a stretch by its length, and waits for any part of it. The wait that
   `share` of them do not exceed. */
static double wait_of(const struct watch *w, double share)
{
    double total = w->brief, low = 0, high = 0;
    for (int i = 0; i < w->count; i++) {
        total += w->stretch[i].wall;
        high = w->stretch[i].wall > high ? w->stretch[i].wall : high;
    }
    for (int k = 0; k < 60; k++) {
        const double middle = (low + high) / 2;
        double within = w->brief;
        for (int i = 0; i < w->count; i++)
            within += w->stretch[i].wall < middle ? w->stretch[i].wall : middle;
        *(within < share * total ? &low : &high) = middle;
    }
    return high;
}

static void print(struct watch *w)
{
    for (int part = 0; part < PARTS; part++) {
        double wall = 0, cpu = 0, all = 0;
        int count = 0;
        for (int i = 0; i < w->count; i++) {
            const struct stretch *s = &w->stretch[i];
            if (s->part != (enum part)part)
                continue;
            count++;
            all += s->wall;
            wall = s->wall > wall ? s->wall : wall;
            cpu = s->cpu > cpu ? s->cpu : cpu;
        }
        printf("%-12s %8.0f ms in %6d stretches, the longest %7.1f ms (processor time %.1f)\n",
               part_name[part], 1e3 * all, count, 1e3 * wall, 1e3 * cpu);
    }
    qsort(w->stretch, (size_t)w->count, sizeof *w->stretch, by_wall);
    printf("who comes at any moment waits: median %.1f, p95 %.1f, longest %.1f ms\n", 1e3 * wait_of(w, 0.5),
           1e3 * wait_of(w, 0.95), w->count ? 1e3 * w->stretch[w->count - 1].wall : 0);
}

static bs_status measure(const struct options *o, struct watch *w, struct bs_err *err)
{
    struct bs_train_config c;
    struct bs_arch_config arch;
    struct bs_device *dev = NULL;
    struct bs_params *params = NULL;
    struct bs_run *run = NULL;
    struct bs_run_result result;
    struct pairs pairs = {.side = (size_t)o->size};
    const struct bs_device_options options = {.threads = o->threads, .allow_winograd = true};
    const atomic_bool wanted = true;
    const struct bs_yield yield = {w, give_way, o->between ? NULL : &wanted};
    struct bs_cancel cancel = {.yield = &yield};
    const struct bs_run_hooks hooks = {w, on_event, on_checkpoint, NULL};
    bs_status rc;
    if (!bs_named_network(o->network, false, false, &arch))
        return BS_FAIL(err, BS_EINVAL, "there is no network %s", o->network);
    bs_train_config_default(arch.kind, BS_RECIPE_BOUNDARIES, bs_arch_in_channels(&arch), &c);
    c.arch = arch;
    bs_train_config_set_recipe(&c, BS_RECIPE_BOUNDARIES);
    bs_train_config_set_patch(&c, (size_t)o->size);
    c.batch = o->batch;
    c.iterations = o->steps;
    c.validate_every = o->steps;
    c.sample.min_objects = 0;
    pairs.channels = (size_t)bs_arch_in_channels(&c.arch);
    const size_t pixels = pairs.side * pairs.side;
    pairs.image = malloc(pairs.channels * pixels * sizeof *pairs.image);
    pairs.labels = calloc(pixels, sizeof *pairs.labels);
    if (!pairs.image || !pairs.labels) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for images");
        goto cleanup;
    }
    bs_formula_image(1, (int64_t)pairs.channels, o->size, o->size, pairs.image);
    for (size_t i = 0; i < pixels; i++)
        pairs.labels[i] = i % 32 < 20 && i / pairs.side % 32 < 20 ? (uint32_t)(i / 32 % 200 + 1) : 0;
    const struct bs_pair_source source = {
        .ctx = &pairs, .count = PAIRS, .channels = pairs.channels, .load = load};
    if ((rc = bs_device_open("cpu", &options, &dev, err)) != BS_OK)
        goto cleanup;
    give_way(w);
    w->count = 0;
    if ((rc = bs_initial_params(&c.arch, 1, &params, err)) != BS_OK)
        goto cleanup;
    give_way(w);
    const struct bs_run_setup setup = {.device = dev,
                                       .config = &c,
                                       .initial = params,
                                       .train = &source,
                                       .validation = &source,
                                       .dataset_hash = "1",
                                       .sample_threads = 1,
                                       .cancel = &cancel};
    if ((rc = bs_run_create(&setup, &run, err)) != BS_OK)
        goto cleanup;
    give_way(w);
    w->part = STEPS;
    rc = bs_run_execute(run, &hooks, &cancel, &result, err);
    give_way(w);
cleanup:
    bs_run_destroy(run);
    bs_params_unref(params);
    bs_device_close(dev);
    free(pairs.image);
    free(pairs.labels);
    return rc;
}

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.network = "unet", .size = 512, .batch = 2, .threads = 2, .steps = 2};
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--between"))
            o->between = true;
        else if (!strcmp(argv[i], "--network"))
            o->network = next, i++;
        else if (!strcmp(argv[i], "--size"))
            o->size = atoi(next), i++;
        else if (!strcmp(argv[i], "--batch"))
            o->batch = atoi(next), i++;
        else if (!strcmp(argv[i], "--threads"))
            o->threads = atoi(next), i++;
        else if (!strcmp(argv[i], "--steps"))
            o->steps = atoi(next), i++;
        else
            return false;
    }
    return o->size > 0 && o->size <= 4096 && o->batch > 0 && o->threads > 0 && o->steps > 0;
}

int main(int argc, char **argv)
{
    struct options o;
    struct bs_err err = {.msg = ""};
    if (!parse(argc, argv, &o)) {
        fprintf(stderr,
                "usage: %s [--network NAME] [--size N] [--batch N] [--threads N] [--steps N] [--between]\n",
                argv[0]);
        return 2;
    }
    struct watch w = {.threads = o.threads, .stretch = calloc(MAX_STRETCH, sizeof *w.stretch)};
    const bs_status rc = w.stretch ? measure(&o, &w, &err) : BS_FAIL(&err, BS_ENOMEM, "no memory");
    if (rc == BS_OK)
        print(&w);
    else
        fprintf(stderr, "%s: %s\n", argv[0], err.msg);
    free(w.stretch);
    return rc != BS_OK;
}
