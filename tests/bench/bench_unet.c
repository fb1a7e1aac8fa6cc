/* Times the U-Net (64 features, depth 4, InstanceNorm, bilinear up-sampling) with formula weights on the CPU backend.
     bench_unet [--size N] [--threads N] [--precision f32|bf16] [--winograd on|off] [--repeat N] [--layers]
                [--transposed] [--interactive] [--save FILE]
   --layers prints a table of steps by time. --interactive runs once for every line of standard input and answers with
   milliseconds, so that a driver can alternate with other programs. --save writes the probabilities as raw float32.
   Memory is VmHWM, read after the libraries are loaded and after one run. */
#include "kernels/backend.h"
#include "kernels/base/pages.h"
#include "model/arch/arch.h"
#include "tests/support/formula.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEED 1

struct options {
    int size, threads, repeat;
    bool bf16, winograd, layers, interactive, transposed;
    const char *save;
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Processor time of all threads: what a step costs where other programs run too. */
static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
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

/* Shapes come from the graph, values from the formula. */
static bs_status param_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct bs_graph *g = *(struct bs_graph **)ctx;
    for (bs_value v = 0; v < bs_graph_node_count(g); v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        if (n->op == BS_OP_PARAM && strcmp(n->name, name) == 0) {
            *shape = n->shape;
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_ENOTFOUND, "no parameter %s", name);
}

static bs_status param_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    struct bs_shape shape;
    (void)count;
    bs_status rc = param_shape(ctx, name, &shape, err);
    return rc == BS_OK ? bs_formula_values(name, &shape, SEED, dst, err) : rc;
}

struct timed {
    int step;
    double best, cpu; /* ms; cpu: of all threads, by their number */
};

static int by_time(const void *a, const void *b)
{
    double x = ((const struct timed *)a)->cpu, y = ((const struct timed *)b)->cpu;
    return (x < y) - (x > y);
}

/* Steps one by one, straight on the backend: minimum of each over the repetitions. */
static bs_status print_layers(const struct options *o, const struct bs_graph *g, struct bs_params *params,
                              struct bs_tensor *in, struct bs_tensor *out, struct bs_err *err)
{
    const struct bs_backend_i *cpu = bs_backend_cpu();
    const struct bs_device_options opt = {.threads = o->threads, .allow_winograd = o->winograd};
    void *dev = NULL;
    struct bs_program *p = NULL;
    struct timed *t = NULL;
    unsigned char *arena = NULL;
    size_t bytes = 0;
    bs_status rc = cpu->open(&opt, &dev, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = cpu->lower(dev, g, params, o->bf16 ? BS_PRECISION_BF16 : BS_PRECISION_F32, &p, err)) != BS_OK ||
        (rc = bs_plan_place(p->buffer, p->nbuffer, &bytes, err)) != BS_OK)
        goto cleanup;
    arena = bs_pages_alloc(bytes);
    t = calloc((size_t)p->nstep, sizeof *t);
    if (!arena || !t) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory");
        goto cleanup;
    }
    const struct bs_run run = {arena, in, out};
    double total = 0, cpu_total = 0;
    for (int r = 0; r < o->repeat + 1; r++)
        for (int s = 0; s < p->nstep; s++) {
            double start = now_ms(), cpu_start = cpu_ms();
            if ((rc = cpu->run_step(dev, p, s, &run, err)) != BS_OK)
                goto cleanup;
            double ms = now_ms() - start, used = (cpu_ms() - cpu_start) / o->threads;
            if (r < 2)
                t[s] = (struct timed){s, ms, used};
            t[s].best = ms < t[s].best ? ms : t[s].best;
            t[s].cpu = used < t[s].cpu ? used : t[s].cpu;
        }
    for (int s = 0; s < p->nstep; s++) {
        total += t[s].best;
        cpu_total += t[s].cpu;
    }
    qsort(t, (size_t)p->nstep, sizeof *t, by_time);
    printf("%9s %9s %6s  step (sums of minima: wall %.1f ms, processor time by threads %.1f ms; arena %.1f "
           "MiB)\n",
           "ms", "cpu ms", "%", total, cpu_total, (double)bytes / 1048576);
    for (int s = 0; s < p->nstep; s++) {
        char text[256] = "";
        cpu->describe_step(dev, p, t[s].step, text, sizeof text);
        printf("%9.2f %9.2f %6.1f  %3d %s\n", t[s].best, t[s].cpu, 100 * t[s].cpu / cpu_total, t[s].step,
               text);
    }
cleanup:
    free(t);
    bs_pages_free(arena, bytes);
    if (p)
        cpu->destroy_program(dev, p);
    cpu->close(dev);
    return rc;
}

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.size = 512, .threads = 2, .repeat = 5, .winograd = true};
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--layers"))
            o->layers = true;
        else if (!strcmp(argv[i], "--interactive"))
            o->interactive = true;
        else if (!strcmp(argv[i], "--transposed"))
            o->transposed = true;
        else if (!strcmp(argv[i], "--size"))
            o->size = atoi(next), i++;
        else if (!strcmp(argv[i], "--threads"))
            o->threads = atoi(next), i++;
        else if (!strcmp(argv[i], "--repeat"))
            o->repeat = atoi(next), i++;
        else if (!strcmp(argv[i], "--precision"))
            o->bf16 = !strcmp(next, "bf16"), i++;
        else if (!strcmp(argv[i], "--winograd"))
            o->winograd = strcmp(next, "off") != 0, i++;
        else if (!strcmp(argv[i], "--save"))
            o->save = next, i++;
        else
            return false;
    }
    return o->size > 0 && o->size <= 8192 && o->repeat > 0;
}

int main(int argc, char **argv)
{
    struct options o;
    const double before = peak_mib();
    if (!parse(argc, argv, &o)) {
        fprintf(stderr,
                "usage: %s [--size N] [--threads N] [--precision f32|bf16] [--winograd on|off] [--repeat N]\n"
                "       [--layers] [--transposed] [--interactive] [--save FILE]\n",
                argv[0]);
        return 2;
    }
    struct bs_err err = {0};
    struct bs_graph *g = NULL;
    struct bs_params *params = NULL;
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    const struct bs_arch_config cfg = {
        .kind = BS_ARCH_UNET,
        .unet = {.in_channels = 1,
                 .out_channels = 2,
                 .depth = 4,
                 .initial_features = 64,
                 .norm = BS_NORM_INSTANCE,
                 .upsampling = o.transposed ? BS_UPSAMPLING_TRANSPOSED : BS_UPSAMPLING_BILINEAR,
                 .sigmoid = true}};
    const size_t pixels = (size_t)o.size * (size_t)o.size;
    float *image = malloc(pixels * sizeof *image),
          *maps[2] = {malloc(2 * pixels * 4), malloc(2 * pixels * 4)};
    if (!image || !maps[0] || !maps[1])
        return 1;
    bs_formula_image(SEED, 1, o.size, o.size, image);
    struct bs_tensor in = {BS_F32, BS_SHAPE(1, 1, o.size, o.size), image}, out[2];
    for (int i = 0; i < 2; i++)
        out[i] = (struct bs_tensor){BS_F32, BS_SHAPE(1, 2, o.size, o.size), maps[i]};
    const struct bs_device_options opt = {.threads = o.threads, .allow_winograd = o.winograd};
    bs_status rc;
    if ((rc = bs_arch_build(&cfg, 1, o.size, o.size, &g, &err)) != BS_OK ||
        (rc = bs_params_create((struct bs_param_source){&g, param_shape, param_read, NULL}, &params, &err)) !=
            BS_OK)
        goto cleanup;
    if (o.layers) {
        rc = print_layers(&o, g, params, &in, out, &err);
        goto cleanup;
    }
    struct bs_device_info info;
    if ((rc = bs_device_open("cpu", &opt, &dev, &err)) != BS_OK)
        goto cleanup;
    bs_device_describe(dev, &info);
    double start = now_ms();
    if ((rc = bs_executable_create(dev, g, params, o.bf16 ? BS_PRECISION_BF16 : BS_PRECISION_F32, &exe,
                                   &err)) != BS_OK)
        goto cleanup;
    double create = now_ms() - start;
    start = now_ms();
    if ((rc = bs_executable_run(exe, &in, 1, out, bs_graph_output_count(g), NULL, &err)) != BS_OK)
        goto cleanup;
    double first = now_ms() - start;
    printf("%s; %s; %d threads; %s\n", info.libraries, info.isa, info.threads, bs_executable_algorithms(exe));
    printf("compile and pack %.0f ms, first run %.1f ms, %.1f GFLOP\n", create, first,
           bs_graph_flops(g) * 1e-9);
    printf("memory: VmHWM %.1f MiB after loading, %.1f MiB after one run: %.1f MiB (arena %.1f, packed "
           "weights %.1f)\n",
           before, peak_mib(), peak_mib() - before, (double)bs_executable_arena_bytes(exe) / 1048576,
           (double)bs_params_packed_bytes(params) / 1048576);
    fflush(stdout);
    if (o.save) {
        FILE *f = fopen(o.save, "wb");
        size_t count = bs_shape_count(&out[1].shape);
        if (!f || fwrite(out[1].data, sizeof(float), count, f) != count)
            rc = BS_FAIL(&err, BS_EIO, "cannot write %s", o.save);
        if (f)
            fclose(f);
    }
    char line[64];
    double best = 0;
    for (int i = 0; rc == BS_OK && (o.interactive ? fgets(line, sizeof line, stdin) != NULL : i < o.repeat);
         i++) {
        start = now_ms();
        rc = bs_executable_run(exe, &in, 1, out, bs_graph_output_count(g), NULL, &err);
        double ms = now_ms() - start;
        best = i == 0 || ms < best ? ms : best;
        printf("%.2f ms\n", ms);
        fflush(stdout);
    }
    if (!o.interactive)
        printf("minimum %.2f ms, %.1f GFLOP/s\n", best, bs_graph_flops(g) / best * 1e-6);
cleanup:
    if (rc != BS_OK)
        fprintf(stderr, "bench_unet: %s\n", err.msg);
    bs_executable_destroy(exe);
    bs_device_close(dev);
    bs_params_unref(params);
    bs_graph_destroy(g);
    free(image);
    free(maps[0]);
    free(maps[1]);
    return rc == BS_OK ? 0 : 1;
}
