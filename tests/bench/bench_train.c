/* Times a training step of a network with formula weights on the CPU backend beside its own forward, in turns.
     bench_train [--network NAME] [--size N] [--batch N] [--threads N] [--repeat N] [--memory MIB] [--precision f32|bf16|f16]
                 [--winograd on|off] [--profile] [--interactive]
   NAME as bench_model has them; the loss is Dice over each channel. The forward is that of inference at the same size. Times are
   the minima of all turns, of the clock and of the processor (divided by the threads), which other programs disturb less.
   --memory: values of the forward are made again so that the step needs no more; --repeat 0 plans only; --profile prints the
   step's time by operator instead. --interactive makes a step with Adam for every line of standard input and answers with
   milliseconds of the clock and the processor and the loss, so that a driver can alternate with other programs; memory is VmHWM
   then, read after the libraries are loaded and after one step. */
#include "kernels/backend.h"
#include "kernels/base/pages.h"
#include "model/train/step.h"
#include "tests/support/formula.h"
#include "tests/support/named_network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEED  1
#define KINDS 64

struct options {
    int size, batch, threads, repeat, memory;
    bool winograd, profile, interactive;
    enum bs_precision precision;
    const char *network;
};

struct setting {
    struct options o;
    struct bs_arch_config cfg;
    struct bs_graph *forward;
    struct bs_params *params;
    struct bs_train_size size;
    struct bs_loss loss;
    float *image, *target, *maps[2];
    double loaded_mib; /* VmHWM before anything was made */
};

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Minima of wall and processor time. */
struct timed {
    double wall, cpu, from_wall, from_cpu;
    bool once;
};
static void start(struct timed *t)
{
    t->from_wall = seconds(CLOCK_MONOTONIC);
    t->from_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
}
static void stop(struct timed *t, int threads)
{
    const double wall = seconds(CLOCK_MONOTONIC) - t->from_wall;
    const double cpu = (seconds(CLOCK_PROCESS_CPUTIME_ID) - t->from_cpu) / threads;
    t->wall = t->once && t->wall < wall ? t->wall : wall;
    t->cpu = t->once && t->cpu < cpu ? t->cpu : cpu;
    t->once = true;
}

/* Largest resident memory so far, MiB. */
static double peak_mib(void)
{
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lf", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib / 1024;
}

static bs_status in_turns(const struct setting *s, struct bs_err *err)
{
    const struct bs_device_options opt = {.threads = s->o.threads, .allow_winograd = s->o.winograd};
    const struct bs_tensor in = {BS_F32, bs_graph_node(s->forward, 0)->shape, s->image};
    const struct bs_shape map = BS_SHAPE(s->o.batch, bs_arch_out_channels(&s->cfg), s->o.size, s->o.size);
    struct bs_tensor out[2] = {{BS_F32, map, s->maps[0]}, {BS_F32, map, s->maps[1]}};
    const struct bs_step_options options = {.bytes = (size_t)s->o.memory << 20, .precision = s->o.precision};
    struct timed forward = {.wall = 0}, step = {.wall = 0};
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    struct bs_step *training = NULL;
    double loss = 0;
    bs_status rc = bs_device_open("cpu", &opt, &dev, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = bs_executable_create(dev, s->forward, s->params, BS_PRECISION_F32, &exe, err)) != BS_OK ||
        (rc = bs_step_create_with(dev, &s->cfg, &s->size, &s->loss, &options, s->params, &training, err)) !=
            BS_OK)
        goto cleanup;
    const struct bs_recompute *again = bs_step_recompute(training);
    printf("step: %.2f GiB planned, %d values made again for %.1f %% of the forward's work\n",
           (double)bs_step_bytes(training) / 1073741824, again->values,
           again->values ? 100 * again->work / again->forward : 0);
    for (int r = 0; s->o.repeat > 0 && r <= s->o.repeat && rc == BS_OK; r++) {
        if (r == 1)
            forward.once = step.once = false; /* the first turn touches memory */
        start(&forward);
        if ((rc = bs_executable_run(exe, &in, 1, out, 2, NULL, err)) != BS_OK)
            break;
        stop(&forward, s->o.threads);
        start(&step);
        rc = bs_step_compute(training, s->image, s->target, NULL, &loss, err);
        stop(&step, s->o.threads);
        printf("forward %.0f ms, step %.0f ms, ratio %.2f (processor time %.0f, %.0f, %.2f); loss %g\n",
               1e3 * forward.wall, 1e3 * step.wall, step.wall / forward.wall, 1e3 * forward.cpu,
               1e3 * step.cpu, step.cpu / forward.cpu, loss);
        fflush(stdout);
    }
    printf("VmHWM %.2f GiB, forward and step\n", peak_mib() / 1024);
cleanup:
    bs_step_destroy(training);
    bs_executable_destroy(exe);
    bs_device_close(dev);
    return rc;
}

/* Forward, loss, backward and optimiser. */
static bs_status whole_step(const struct setting *s, struct bs_step *training, double *loss,
                            struct bs_err *err)
{
    const struct bs_optimizer adam = bs_optimizer_defaults(BS_ADAM);
    bs_status rc = bs_step_compute(training, s->image, s->target, NULL, loss, err);
    return rc == BS_OK ? bs_step_apply(training, &adam, err) : rc;
}

static bs_status on_request(const struct setting *s, struct bs_err *err)
{
    const struct bs_device_options opt = {.threads = s->o.threads, .allow_winograd = s->o.winograd};
    struct bs_device *dev = NULL;
    struct bs_step *training = NULL;
    double loss = 0;
    char line[16];
    bs_status rc = bs_device_open("cpu", &opt, &dev, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = bs_step_create(dev, &s->cfg, &s->size, &s->loss, s->params, &training, err)) != BS_OK ||
        (rc = whole_step(s, training, &loss, err)) != BS_OK)
        goto cleanup;
    printf("memory: VmHWM %.1f MiB after loading, %.1f MiB after one run: %.1f MiB (step %.1f)\n",
           s->loaded_mib, peak_mib(), peak_mib() - s->loaded_mib, (double)bs_step_bytes(training) / 1048576);
    fflush(stdout);
    while (rc == BS_OK && fgets(line, sizeof line, stdin)) {
        struct timed t = {.wall = 0};
        start(&t);
        rc = whole_step(s, training, &loss, err);
        stop(&t, s->o.threads);
        printf("%.2f %.2f %.6f ms\n", 1e3 * t.wall, 1e3 * t.cpu, loss);
        fflush(stdout);
    }
cleanup:
    bs_step_destroy(training);
    bs_device_close(dev);
    return rc;
}

/* ---- profile ---- */

/* Time of the steps whose description begins alike, up to the shape. */
struct kind {
    char name[64];
    int steps;
    double cpu;
};

static int by_time(const void *a, const void *b)
{
    const double x = ((const struct kind *)a)->cpu, y = ((const struct kind *)b)->cpu;
    return (x < y) - (x > y);
}

static void add_kind(struct kind *kind, int *kinds, const char *text, double cpu)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, ">"), text);
    int k = 0;
    while (k < *kinds && strcmp(kind[k].name, name) != 0)
        k++;
    if (k == KINDS)
        k = KINDS - 1;
    if (k == *kinds) {
        kind[k] = (struct kind){.steps = 0};
        memcpy(kind[(*kinds)++].name, name, sizeof name);
    }
    kind[k].steps++;
    kind[k].cpu += cpu;
}

static void print_kinds(const struct bs_backend_i *cpu, void *dev, const struct bs_program *p,
                        const double *took)
{
    struct kind kind[KINDS] = {{.steps = 0}};
    int kinds = 0;
    double total = 0;
    for (int s = 0; s < p->nstep; s++) {
        char text[128] = "";
        cpu->describe_step(dev, p, s, text, sizeof text);
        add_kind(kind, &kinds, text, took[s]);
        total += took[s];
        if (took[s] > 0.01)
            printf("%9.2f  %s\n", 1e3 * took[s], text);
    }
    qsort(kind, (size_t)kinds, sizeof *kind, by_time);
    printf("by kind, processor time by threads, ms of %.0f:\n", 1e3 * total);
    for (int k = 0; k < kinds; k++)
        printf("%9.2f %5.1f %%  %4d %s\n", 1e3 * kind[k].cpu, 100 * kind[k].cpu / total, kind[k].steps,
               kind[k].name);
}

/* Image, target and parameters as the step has them; gradients get memory. */
static bs_status bind(const struct setting *s, const struct bs_train_graph *t, struct bs_tensor *in,
                      struct bs_tensor *out, const float *seed, struct bs_err *err)
{
    const float *given[BS_TRAIN_INPUTS] = {
        [BS_TRAIN_IMAGE] = s->image, [BS_TRAIN_TARGET] = s->target, [BS_TRAIN_SEED] = seed};
    int ninput = 0;
    for (bs_value v = 0; v < bs_graph_node_count(t->graph); v++) {
        const struct bs_node *n = bs_graph_node(t->graph, v);
        if (n->op != BS_OP_INPUT)
            continue;
        const size_t count = bs_shape_count(&n->shape);
        float *data = calloc(count, sizeof *data);
        if (!data)
            return BS_FAIL(err, BS_ENOMEM, "no memory for parameters");
        if (ninput < BS_TRAIN_INPUTS)
            memcpy(data, given[ninput], count * sizeof *data);
        in[ninput++] = (struct bs_tensor){BS_F32, n->shape, data};
    }
    for (int i = 0; i < bs_graph_output_count(t->graph); i++) {
        const struct bs_shape shape = bs_graph_node(t->graph, bs_graph_output_value(t->graph, i))->shape;
        out[i] = (struct bs_tensor){BS_F32, shape, calloc(bs_shape_count(&shape), sizeof(float))};
        if (!out[i].data)
            return BS_FAIL(err, BS_ENOMEM, "no memory for gradients");
    }
    for (int i = 0; i < t->ntensor; i++)
        if (t->tensor[i].role == BS_ROLE_TRAINED) {
            bs_status rc = bs_params_read(s->params, t->tensor[i].name, in[t->tensor[i].input].data,
                                          bs_shape_count(&t->tensor[i].shape), err);
            if (rc != BS_OK)
                return rc;
        }
    return BS_OK;
}

static bs_status profile(const struct setting *s, struct bs_err *err)
{
    const struct bs_backend_i *cpu = bs_backend_cpu();
    const struct bs_device_options opt = {.threads = s->o.threads, .allow_winograd = s->o.winograd};
    struct bs_train_graph *t = NULL;
    struct bs_program *p = NULL;
    struct bs_tensor *in = NULL, *out = NULL;
    void *dev = NULL;
    unsigned char *arena = NULL;
    double *took = NULL;
    float one = 1;
    size_t bytes = 0;
    bs_status rc = cpu->open(&opt, &dev, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = bs_train_graph_create(&s->cfg, &s->size, &s->loss, &t, err)) != BS_OK ||
        (rc = cpu->lower(dev, t->graph, s->params, BS_PRECISION_F32, &p, err)) != BS_OK ||
        (rc = bs_plan_place(p->buffer, p->nbuffer, &bytes, err)) != BS_OK)
        goto cleanup;
    in = calloc((size_t)bs_graph_node_count(t->graph), sizeof *in);
    out = calloc((size_t)bs_graph_node_count(t->graph), sizeof *out);
    took = calloc((size_t)p->nstep, sizeof *took);
    arena = bs_pages_alloc(bytes);
    if (!in || !out || !took || !arena) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory");
        goto cleanup;
    }
    if ((rc = bind(s, t, in, out, &one, err)) != BS_OK)
        goto cleanup;
    const struct bs_run run = {.arena = arena, .input = in, .output = out};
    for (int r = 0; r <= s->o.repeat; r++)
        for (int i = 0; i < p->nstep; i++) {
            const double from = seconds(CLOCK_PROCESS_CPUTIME_ID);
            if ((rc = cpu->run_step(dev, p, i, &run, err)) != BS_OK)
                goto cleanup;
            const double used = (seconds(CLOCK_PROCESS_CPUTIME_ID) - from) / s->o.threads;
            took[i] = r < 2 || used < took[i] ? used : took[i];
        }
    print_kinds(cpu, dev, p, took);
cleanup:
    for (int i = 0; in && out && i < bs_graph_node_count(t->graph); i++) {
        free(in[i].data);
        free(out[i].data);
    }
    free(in);
    free(out);
    free(took);
    bs_pages_free(arena, bytes);
    if (p)
        cpu->destroy_program(dev, p);
    bs_train_graph_destroy(t);
    cpu->close(dev);
    return rc;
}

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){
        .network = "vimunet_t", .size = 512, .batch = 2, .threads = 2, .repeat = 3, .winograd = true};
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--profile"))
            o->profile = true;
        else if (!strcmp(argv[i], "--interactive"))
            o->interactive = true;
        else if (!strcmp(argv[i], "--winograd"))
            o->winograd = strcmp(next, "off") != 0, i++;
        else if (!strcmp(argv[i], "--network"))
            o->network = next, i++;
        else if (!strcmp(argv[i], "--batch"))
            o->batch = atoi(next), i++;
        else if (!strcmp(argv[i], "--size"))
            o->size = atoi(next), i++;
        else if (!strcmp(argv[i], "--threads"))
            o->threads = atoi(next), i++;
        else if (!strcmp(argv[i], "--repeat"))
            o->repeat = atoi(next), i++;
        else if (!strcmp(argv[i], "--precision"))
            o->precision = !strcmp(next, "bf16")  ? BS_PRECISION_BF16
                           : !strcmp(next, "f16") ? BS_PRECISION_F16
                                                  : BS_PRECISION_F32,
            i++;
        else if (!strcmp(argv[i], "--memory"))
            o->memory = atoi(next), i++;
        else
            return false;
    }
    return o->size > 0 && o->size <= 8192 && o->batch > 0 && o->batch <= 64 && o->repeat >= 0 &&
           o->threads > 0;
}

static bs_status prepare(struct setting *s, struct bs_err *err)
{
    const int channels = bs_arch_in_channels(&s->cfg), outputs = bs_arch_out_channels(&s->cfg);
    const size_t pixels = (size_t)s->o.size * (size_t)s->o.size, images = (size_t)s->o.batch;
    const size_t map = pixels * images * (size_t)outputs;
    s->size = (struct bs_train_size){.samples = s->o.batch, .h = s->o.size, .w = s->o.size};
    s->loss = (struct bs_loss){.kind = BS_LOSS_DICE};
    s->image = malloc(pixels * images * (size_t)channels * sizeof(float));
    s->target = malloc(map * sizeof(float));
    s->maps[0] = malloc(map * sizeof(float));
    s->maps[1] = malloc(map * sizeof(float));
    if (!s->image || !s->target || !s->maps[0] || !s->maps[1])
        return BS_FAIL(err, BS_ENOMEM, "no memory for images");
    for (size_t i = 0; i < images; i++)
        bs_formula_image(SEED + i, channels, s->o.size, s->o.size, s->image + i * pixels * (size_t)channels);
    for (size_t i = 0; i < map; i++)
        s->target[i] = (float)(i / 64 % 2);
    bs_status rc = bs_arch_build(&s->cfg, s->o.batch, s->o.size, s->o.size, &s->forward, err);
    return rc == BS_OK ? bs_formula_params(s->forward, SEED, &s->params, err) : rc;
}

int main(int argc, char **argv)
{
    struct setting s = {.loaded_mib = peak_mib()};
    struct bs_err err = {0};
    if (!parse(argc, argv, &s.o) || !bs_named_network(s.o.network, false, false, &s.cfg)) {
        fprintf(
            stderr,
            "usage: %s [--network unet|unetr_b|unetr_l|unetr_h|vimunet_t|vimunet_s] [--size N] [--batch N]\n"
            "       [--threads N] [--repeat N] [--memory MIB] [--precision f32|bf16|f16] [--winograd on|off] "
            "[--profile] "
            "[--interactive]\n",
            argv[0]);
        return 2;
    }
    bs_status rc = prepare(&s, &err);
    if (rc == BS_OK)
        rc = s.o.interactive ? on_request(&s, &err) : s.o.profile ? profile(&s, &err) : in_turns(&s, &err);
    if (rc != BS_OK)
        fprintf(stderr, "bench_train: %s\n", err.msg);
    bs_params_unref(s.params);
    bs_graph_destroy(s.forward);
    free(s.image);
    free(s.target);
    free(s.maps[0]);
    free(s.maps[1]);
    return rc == BS_OK ? 0 : 1;
}
