/* Times a network with formula weights on the CPU backend.
     bench_model [--network NAME] [--size N] [--batch N] [--threads N] [--precision f32|bf16] [--isa base|avx2|avx512]
                 [--winograd on|off] [--transposed] [--skip] [--repeat N] [--profile] [--interactive] [--save FILE]
   NAME: unet (64 features, depth 4, InstanceNorm), unetr_b, unetr_l, unetr_h (Segment Anything's encoders), vimunet_t,
   vimunet_s; up-sampling bilinear unless --transposed, UNETR without skip connections unless --skip. The size is 512 for
   unet, else what the encoder was made for. --profile prints steps by time, and sums by kind of step. --interactive runs
   once for every line of standard input and answers with milliseconds, so that a driver can alternate with other programs.
   --save writes the probabilities as raw float32. Memory is VmHWM, read after the libraries are loaded and after one run. */
#include "kernels/backend.h"
#include "kernels/base/pages.h"
#include "kernels/cpu/program.h"
#include "model/arch/arch.h"
#include "tests/support/formula.h"
#include "tests/support/named_network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEED 1

struct options {
    int size, batch, threads, repeat;
    bool bf16, winograd, profile, interactive, transposed, skip;
    const char *network, *isa, *save;
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

struct timed {
    int step;
    double best, cpu; /* ms; cpu: of all threads, by their number */
    double flops;
};

static int by_time(const void *a, const void *b)
{
    double x = ((const struct timed *)a)->cpu, y = ((const struct timed *)b)->cpu;
    return (x < y) - (x > y);
}

/* A step's kind is what its description begins with, up to the first number. */
static size_t kind_length(const char *text)
{
    size_t n = 0;
    while (text[n] &&
           !(n > 0 && text[n - 1] == ' ' && text[n] >= '0' && text[n] <= '9' && strchr(text + n, 'x')))
        n++;
    return n;
}

static void print_row(const struct timed *t, double total, const char *text)
{
    printf("%9.2f %9.2f %6.1f %8.1f  %s\n", t->best, t->cpu, 100 * t->cpu / total,
           t->cpu > 0 ? t->flops / t->cpu * 1e-6 : 0, text);
}

/* Steps by processor time, then their sums by kind. */
static void print_profile(const struct bs_backend_i *cpu, void *dev, const struct bs_program *p,
                          struct timed *t, size_t arena)
{
    struct {
        char name[64];
        struct timed sum;
    } kind[32];
    int kinds = 0;
    double total = 0, cpu_total = 0;
    for (int s = 0; s < p->nstep; s++) {
        char text[64] = "";
        cpu->describe_step(dev, p, s, text, sizeof text);
        text[kind_length(text)] = 0;
        int k = 0;
        while (k < kinds && strcmp(kind[k].name, text) != 0)
            k++;
        if (k == 32)
            k = 31;
        if (k == kinds) {
            memset(&kind[kinds], 0, sizeof kind[kinds]);
            snprintf(kind[kinds++].name, sizeof kind[0].name, "%s", text);
        }
        kind[k].sum.best += t[s].best;
        kind[k].sum.cpu += t[s].cpu;
        kind[k].sum.flops += t[s].flops;
        kind[k].sum.step++;
        total += t[s].best;
        cpu_total += t[s].cpu;
    }
    qsort(t, (size_t)p->nstep, sizeof *t, by_time);
    printf("%9s %9s %6s %8s  step (sums of minima: wall %.1f ms, processor time by threads %.1f ms; arena "
           "%.1f MiB)\n",
           "ms", "cpu ms", "%", "GFLOP/s", total, cpu_total, (double)arena / 1048576);
    for (int s = 0; s < p->nstep; s++) {
        char text[256] = "", line[272];
        cpu->describe_step(dev, p, t[s].step, text, sizeof text);
        snprintf(line, sizeof line, "%3d %s", t[s].step, text);
        print_row(&t[s], cpu_total, line);
    }
    printf("by kind:\n");
    for (int k = 0; k < kinds; k++) {
        char line[96];
        snprintf(line, sizeof line, "%3d %.60s", kind[k].sum.step, kind[k].name);
        print_row(&kind[k].sum, cpu_total, line);
    }
}

/* Steps one by one, straight on the backend: minimum of each over the repetitions. */
static bs_status profile(const struct options *o, const struct bs_graph *g, struct bs_params *params,
                         struct bs_tensor *in, struct bs_tensor *out, struct bs_err *err)
{
    const struct bs_backend_i *cpu = bs_backend_cpu();
    const struct bs_device_options opt = {
        .threads = o->threads, .allow_winograd = o->winograd, .isa = o->isa};
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
    const struct bs__step *step = ((const struct bs__cpu_program *)p->private)->step;
    const struct bs_run run = {.arena = arena, .input = in, .output = out};
    for (int r = 0; r < o->repeat + 1; r++)
        for (int s = 0; s < p->nstep; s++) {
            double start = now_ms(), cpu_start = cpu_ms();
            if ((rc = cpu->run_step(dev, p, s, &run, err)) != BS_OK)
                goto cleanup;
            double ms = now_ms() - start, used = (cpu_ms() - cpu_start) / o->threads;
            if (r < 2)
                t[s] = (struct timed){s, ms, used, step[s].flops};
            t[s].best = ms < t[s].best ? ms : t[s].best;
            t[s].cpu = used < t[s].cpu ? used : t[s].cpu;
        }
    print_profile(cpu, dev, p, t, bytes);
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
    *o = (struct options){.network = "unet", .batch = 1, .threads = 2, .repeat = 5, .winograd = true};
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--profile"))
            o->profile = true;
        else if (!strcmp(argv[i], "--interactive"))
            o->interactive = true;
        else if (!strcmp(argv[i], "--transposed"))
            o->transposed = true;
        else if (!strcmp(argv[i], "--skip"))
            o->skip = true;
        else if (!strcmp(argv[i], "--network"))
            o->network = next, i++;
        else if (!strcmp(argv[i], "--isa"))
            o->isa = next, i++;
        else if (!strcmp(argv[i], "--batch"))
            o->batch = atoi(next), i++;
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
    if (!o->size)
        o->size = strcmp(o->network, "unet") ? 1024 : 512;
    return o->size > 0 && o->size <= 8192 && o->batch > 0 && o->batch <= 64 && o->repeat > 0 &&
           o->threads > 0;
}

static int smaller(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Runs and prints: once, then `repeat` times or at every line of standard input. */
static bs_status time_runs(const struct options *o, const struct bs_graph *g, struct bs_params *params,
                           const struct bs_tensor *in, struct bs_tensor *out, double before,
                           struct bs_err *err)
{
    const struct bs_device_options opt = {
        .threads = o->threads, .allow_winograd = o->winograd, .isa = o->isa};
    const int noutput = bs_graph_output_count(g);
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    struct bs_device_info info;
    double *ms = calloc((size_t)o->repeat, sizeof *ms);
    bs_status rc = ms ? bs_device_open("cpu", &opt, &dev, err) : BS_FAIL(err, BS_ENOMEM, "no memory");
    if (rc != BS_OK)
        goto cleanup;
    bs_device_describe(dev, &info);
    double start = now_ms();
    if ((rc = bs_executable_create(dev, g, params, o->bf16 ? BS_PRECISION_BF16 : BS_PRECISION_F32, &exe,
                                   err)) != BS_OK)
        goto cleanup;
    const double create = now_ms() - start;
    start = now_ms();
    if ((rc = bs_executable_run(exe, in, 1, out, noutput, NULL, err)) != BS_OK)
        goto cleanup;
    const double first = now_ms() - start;
    printf("%s; %s; %d threads; %s\n", info.libraries, info.isa, info.threads, bs_executable_algorithms(exe));
    printf("compile and pack %.0f ms, first run %.1f ms, %.1f GFLOP\n", create, first,
           bs_graph_flops(g) * 1e-9);
    printf("memory: VmHWM %.1f MiB after loading, %.1f MiB after one run: %.1f MiB (arena %.1f, packed "
           "weights %.1f)\n",
           before, peak_mib(), peak_mib() - before, (double)bs_executable_arena_bytes(exe) / 1048576,
           (double)bs_params_packed_bytes(params) / 1048576);
    fflush(stdout);
    if (o->save) {
        FILE *f = fopen(o->save, "wb");
        const size_t count = bs_shape_count(&out[1].shape);
        if (!f || fwrite(out[1].data, sizeof(float), count, f) != count)
            rc = BS_FAIL(err, BS_EIO, "cannot write %s", o->save);
        if (f)
            fclose(f);
    }
    char line[64];
    for (int i = 0; rc == BS_OK && (o->interactive ? fgets(line, sizeof line, stdin) != NULL : i < o->repeat);
         i++) {
        start = now_ms();
        rc = bs_executable_run(exe, in, 1, out, noutput, NULL, err);
        const double took = now_ms() - start;
        if (!o->interactive)
            ms[i] = took;
        printf("%.2f ms\n", took);
        fflush(stdout);
    }
    if (rc == BS_OK && !o->interactive) {
        qsort(ms, (size_t)o->repeat, sizeof *ms, smaller);
        printf("minimum %.2f ms, median %.2f ms, %.1f GFLOP/s\n", ms[0], ms[o->repeat / 2],
               bs_graph_flops(g) / ms[0] * 1e-6);
    }
cleanup:
    bs_executable_destroy(exe);
    bs_device_close(dev);
    free(ms);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o;
    struct bs_arch_config cfg;
    const double before = peak_mib();
    if (!parse(argc, argv, &o) || !bs_named_network(o.network, o.transposed, o.skip, &cfg)) {
        fprintf(
            stderr,
            "usage: %s [--network unet|unetr_b|unetr_l|unetr_h|vimunet_t|vimunet_s] [--size N] [--batch N]\n"
            "       [--threads N] [--precision f32|bf16] [--isa base|avx2|avx512] [--winograd on|off]\n"
            "       [--transposed] [--skip] [--repeat N] [--profile] [--interactive] [--save FILE]\n",
            argv[0]);
        return 2;
    }
    struct bs_err err = {0};
    struct bs_graph *g = NULL;
    struct bs_params *params = NULL;
    const int channels = bs_arch_in_channels(&cfg), outputs = bs_arch_out_channels(&cfg);
    const size_t pixels = (size_t)o.size * (size_t)o.size, images = (size_t)o.batch;
    const size_t image_values = pixels * (size_t)channels, map_values = pixels * (size_t)outputs * images;
    float *image = malloc(image_values * images * sizeof *image);
    float *maps[2] = {malloc(map_values * sizeof(float)), malloc(map_values * sizeof(float))};
    bs_status rc = BS_FAIL(&err, BS_ENOMEM, "no memory");
    if (!image || !maps[0] || !maps[1])
        goto cleanup;
    for (size_t i = 0; i < images; i++)
        bs_formula_image(SEED + i, channels, o.size, o.size, image + i * image_values);
    struct bs_tensor in = {BS_F32, BS_SHAPE(o.batch, channels, o.size, o.size), image}, out[2];
    for (int i = 0; i < 2; i++)
        out[i] = (struct bs_tensor){BS_F32, BS_SHAPE(o.batch, outputs, o.size, o.size), maps[i]};
    if ((rc = bs_arch_build(&cfg, o.batch, o.size, o.size, &g, &err)) != BS_OK ||
        (rc = bs_formula_params(g, SEED, &params, &err)) != BS_OK)
        goto cleanup;
    rc =
        o.profile ? profile(&o, g, params, &in, out, &err) : time_runs(&o, g, params, &in, out, before, &err);
cleanup:
    if (rc != BS_OK)
        fprintf(stderr, "bench_model: %s\n", err.msg);
    bs_params_unref(params);
    bs_graph_destroy(g);
    free(image);
    free(maps[0]);
    free(maps[1]);
    return rc == BS_OK ? 0 : 1;
}
