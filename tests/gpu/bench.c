/* Times a network with formula weights on one device, from values in the host's memory to values in the host's memory:
     bench_device [--device SPEC] [--network NAME] [--height N] [--width N] [--batch N] [--precision f32|tf32|bf16|f16]
                  [--warmup N] [--repeat N] [--save FILE]
   NAME as in tests/support/named_network.h, with the original's defaults of today. Prints one line of JSON; --save writes
   the probabilities as raw float32. Needs kernels and model alone. */
#include "kernels/executable.h"
#include "model/arch/arch.h"
#include "model/weights/json.h"
#include "tests/support/formula.h"
#include "tests/support/named_network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEED        1
#define MAX_SIDE    8192
#define MAX_BATCH   64
#define MAX_REPEATS 10000

struct options {
    const char *device, *network, *precision, *save;
    int height, width, batch, warmup, repeat;
};

/* What was measured; times in ms. */
struct result {
    struct bs_device_info device;
    char algorithms[256];
    double compile, first, median, minimum, gflop;
    double arena, packed; /* MiB */
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static bool number(const char *text, int least, int most, int *out)
{
    char *end = NULL;
    const long v = strtol(text, &end, 10);
    *out = (int)v;
    return end != text && !*end && v >= least && v <= most;
}

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.device = "cuda:0",
                          .network = "unet",
                          .precision = "f32",
                          .height = 1024,
                          .width = 1024,
                          .batch = 1,
                          .warmup = 3,
                          .repeat = 20};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        bool ok = true;
        if (!strcmp(name, "--device"))
            o->device = value;
        else if (!strcmp(name, "--network"))
            o->network = value;
        else if (!strcmp(name, "--precision"))
            o->precision = value;
        else if (!strcmp(name, "--save"))
            o->save = value;
        else if (!strcmp(name, "--height"))
            ok = number(value, 1, MAX_SIDE, &o->height);
        else if (!strcmp(name, "--width"))
            ok = number(value, 1, MAX_SIDE, &o->width);
        else if (!strcmp(name, "--batch"))
            ok = number(value, 1, MAX_BATCH, &o->batch);
        else if (!strcmp(name, "--warmup"))
            ok = number(value, 0, MAX_REPEATS, &o->warmup);
        else if (!strcmp(name, "--repeat"))
            ok = number(value, 1, MAX_REPEATS, &o->repeat);
        else
            ok = false;
        if (!ok)
            return false;
    }
    return argc % 2 == 1;
}

static bool precision_of(const char *text, enum bs_precision *precision, bool *tf32)
{
    *tf32 = !strcmp(text, "tf32");
    *precision = BS_PRECISION_F32;
    for (int p = 0; p < BS_PRECISIONS; p++)
        if (!strcmp(text, bs_precision_name((enum bs_precision)p))) {
            *precision = (enum bs_precision)p;
            return true;
        }
    return *tf32;
}

static int smaller(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bs_status save(const char *path, const struct bs_tensor *t, struct bs_err *err)
{
    const size_t count = bs_shape_count(&t->shape);
    FILE *f = fopen(path, "wb");
    if (!f)
        return BS_FAIL(err, BS_EIO, "%s cannot be opened", path);
    const bool written = fwrite(t->data, sizeof(float), count, f) == count;
    if (fclose(f) != 0 || !written)
        return BS_FAIL(err, BS_EIO, "%s cannot be written", path);
    return BS_OK;
}

/* Compiles, runs once, warms up, then times every run. */
static bs_status measure(const struct options *o, struct bs_device *dev, const struct bs_graph *g,
                         struct bs_params *params, enum bs_precision precision, const struct bs_tensor *in,
                         struct bs_tensor *out, struct result *r, struct bs_err *err)
{
    const int noutput = bs_graph_output_count(g);
    struct bs_executable *exe = NULL;
    double *ms = calloc((size_t)o->repeat, sizeof *ms), start = now_ms();
    bs_status rc = ms ? bs_executable_create(dev, g, params, precision, &exe, err)
                      : BS_FAIL(err, BS_ENOMEM, "no memory for %d times", o->repeat);
    if (rc != BS_OK)
        goto cleanup;
    r->compile = now_ms() - start;
    for (int i = -1 - o->warmup; i < o->repeat; i++) {
        start = now_ms();
        if ((rc = bs_executable_run(exe, in, 1, out, noutput, NULL, err)) != BS_OK)
            goto cleanup;
        const double took = now_ms() - start;
        if (i == -1 - o->warmup)
            r->first = took;
        else if (i >= 0)
            ms[i] = took;
    }
    qsort(ms, (size_t)o->repeat, sizeof *ms, smaller);
    r->minimum = ms[0];
    r->median = ms[o->repeat / 2];
    r->gflop = bs_graph_flops(g) * 1e-9;
    r->arena = (double)bs_executable_arena_bytes(exe) / 1048576;
    r->packed = (double)bs_params_packed_bytes(params) / 1048576;
    bs_device_describe(dev, &r->device);
    snprintf(r->algorithms, sizeof r->algorithms, "%s", bs_executable_algorithms(exe));
cleanup:
    bs_executable_destroy(exe);
    free(ms);
    return rc;
}

static bs_status report(const struct options *o, const struct result *r, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_string(&w, "engine", "bioseg");
    bs_json_write_string(&w, "network", o->network);
    bs_json_write_int(&w, "height", o->height);
    bs_json_write_int(&w, "width", o->width);
    bs_json_write_int(&w, "batch", o->batch);
    bs_json_write_string(&w, "precision", o->precision);
    bs_json_write_string(&w, "device", r->device.name);
    bs_json_write_string(&w, "libraries", r->device.libraries);
    bs_json_write_string(&w, "isa", r->device.isa);
    bs_json_write_string(&w, "algorithms", r->algorithms);
    bs_json_write_int(&w, "repeat", o->repeat);
    bs_json_write_double(&w, "compile_ms", r->compile);
    bs_json_write_double(&w, "first_ms", r->first);
    bs_json_write_double(&w, "median_ms", r->median);
    bs_json_write_double(&w, "min_ms", r->minimum);
    bs_json_write_double(&w, "gflop", r->gflop);
    bs_json_write_double(&w, "memory_mib", r->arena + r->packed);
    bs_json_write_close(&w, '}');
    char *text = bs_json_write_end(&w);
    if (!text)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the report");
    puts(text);
    free(text);
    return BS_OK;
}

int main(int argc, char **argv)
{
    struct options o;
    struct bs_arch_config cfg;
    enum bs_precision precision;
    bool tf32;
    if (!parse(argc, argv, &o) || !bs_named_network(o.network, false, false, &cfg) ||
        !precision_of(o.precision, &precision, &tf32)) {
        fprintf(stderr,
                "usage: %s [--device SPEC] [--network unet|unetr_b|unetr_l|unetr_h|vimunet_t|vimunet_s]\n"
                "       [--height N] [--width N] [--batch N] [--precision f32|tf32|bf16|f16]\n"
                "       [--warmup N] [--repeat N] [--save FILE]\n",
                argv[0]);
        return 2;
    }
    struct bs_err err = {0};
    struct bs_graph *g = NULL;
    struct bs_params *params = NULL;
    struct bs_device *dev = NULL;
    struct result r = {0};
    const struct bs_device_options opt = {.allow_winograd = true, .allow_tf32 = tf32};
    const int channels = bs_arch_in_channels(&cfg), outputs = bs_arch_out_channels(&cfg);
    const size_t pixels = (size_t)o.height * (size_t)o.width, images = (size_t)o.batch;
    const size_t image_values = pixels * (size_t)channels, map_values = pixels * (size_t)outputs * images;
    float *image = malloc(image_values * images * sizeof *image);
    float *maps[2] = {malloc(map_values * sizeof(float)), malloc(map_values * sizeof(float))};
    bs_status rc = BS_OK;
    if (!image || !maps[0] || !maps[1]) {
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory for images of %d x %d", o.height, o.width);
        goto cleanup;
    }
    for (size_t i = 0; i < images; i++)
        bs_formula_image(SEED + i, channels, o.height, o.width, image + i * image_values);
    struct bs_tensor in = {BS_F32, BS_SHAPE(o.batch, channels, o.height, o.width), image}, out[2];
    for (int i = 0; i < 2; i++) /* logits and probabilities */
        out[i] = (struct bs_tensor){BS_F32, BS_SHAPE(o.batch, outputs, o.height, o.width), maps[i]};
    if ((rc = bs_device_open(o.device, &opt, &dev, &err)) != BS_OK ||
        (rc = bs_arch_build(&cfg, o.batch, o.height, o.width, &g, &err)) != BS_OK ||
        (rc = bs_formula_params(g, SEED, &params, &err)) != BS_OK ||
        (rc = measure(&o, dev, g, params, precision, &in, out, &r, &err)) != BS_OK ||
        (o.save && (rc = save(o.save, &out[1], &err)) != BS_OK))
        goto cleanup;
    rc = report(&o, &r, &err);
cleanup:
    if (rc != BS_OK)
        fprintf(stderr, "%s: %s\n", argv[0], err.msg);
    bs_params_unref(params);
    bs_graph_destroy(g);
    bs_device_close(dev);
    free(image);
    free(maps[0]);
    free(maps[1]);
    return rc == BS_OK ? 0 : 1;
}
