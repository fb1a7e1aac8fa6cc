/* Selective scan on its own, in every way of computing it. The fixtures are (B, D, L) and (B, N, L) where the operator takes
   tokens first, A where it takes log(-A), and leave out inputs that the operator always has: without D or delta_bias it
   gets zeros. */
#include "tests/golden/golden.h"

#include "kernels/executable.h"
#include "tests/golden/network.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* golden/README.md: forward, relative to the largest value. */
#define TOLERANCE 1e-5

enum { U, DELTA, A_LOG, B, C, SKIP, BIAS, Z, INPUTS };

struct scan {
    int batch, features, states, tokens;
    int skip, z, bias, softplus; /* used? */
    struct bs_tensor in[INPUTS];
};

/* Names of the values that the CPU packs like weights. */
static const char *const param_name[INPUTS] = {[A_LOG] = "A_log", [SKIP] = "D", [BIAS] = "delta_bias"};

static const struct bs_tensor *param_of(const struct scan *s, const char *name)
{
    for (int i = 0; i < INPUTS; i++)
        if (param_name[i] && !strcmp(param_name[i], name))
            return &s->in[i];
    return NULL;
}

static bs_status param_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct bs_tensor *t = param_of(ctx, name);
    if (!t)
        return BS_FAIL(err, BS_ENOTFOUND, "no parameter %s", name);
    *shape = t->shape;
    return BS_OK;
}

static bs_status param_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    const struct bs_tensor *t = param_of(ctx, name);
    if (!t)
        return BS_FAIL(err, BS_ENOTFOUND, "no parameter %s", name);
    memcpy(dst, t->data, count * sizeof *dst);
    return BS_OK;
}

/* The last two axes of (n, rows, columns) exchanged, or the reverse; new memory. */
static float *exchanged(const float *x, size_t n, size_t rows, size_t columns)
{
    float *y = calloc(n * rows * columns, sizeof *y);
    for (size_t i = 0; y && i < n; i++)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++)
                y[(i * columns + c) * rows + r] = x[(i * rows + r) * columns + c];
    return y;
}

/* Reads one input and brings it into the operator's form. file NULL: zeros. */
static bs_status read_input(struct golden *g, const char *folder, const char *file, int which, struct scan *s,
                            struct bs_err *err)
{
    const bool sequence = which != A_LOG && which != SKIP && which != BIAS;
    const int width = which == B || which == C ? s->states : s->features;
    struct bs_npy have = {0};
    struct bs_tensor *t = &s->in[which];
    *t = (struct bs_tensor){BS_F32, BS_SHAPE(s->batch, s->tokens, width), NULL};
    if (!sequence)
        t->shape = which == A_LOG ? BS_SHAPE(s->features, s->states) : BS_SHAPE(s->features);
    bs_status rc = file ? golden_npy(g, folder, file, &have, err) : BS_OK;
    if (rc == BS_OK && file && (have.type != BS_NPY_F4 || have.count != bs_shape_count(&t->shape)))
        rc = BS_FAIL(err, BS_EINVAL, "%s holds %zu values, cases.tsv says %zu float32", file, have.count,
                     bs_shape_count(&t->shape));
    if (rc == BS_OK && sequence)
        t->data = exchanged(have.data, (size_t)s->batch, (size_t)width, (size_t)s->tokens);
    else if (rc == BS_OK)
        t->data = calloc(bs_shape_count(&t->shape), sizeof(float));
    if (rc == BS_OK && !t->data)
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for %s", file);
    for (size_t i = 0; rc == BS_OK && !sequence && file && i < have.count; i++) {
        const float v = ((const float *)have.data)[i];
        ((float *)t->data)[i] = which == A_LOG ? (float)log(-(double)v) : v;
    }
    bs_npy_free(&have);
    return rc;
}

static bs_status read_inputs(struct golden *g, const char *folder, struct scan *s, struct bs_err *err)
{
    const char *const file[INPUTS] = {"u.npy",
                                      "delta.npy",
                                      "A.npy",
                                      "B.npy",
                                      "C.npy",
                                      s->skip ? "D.npy" : NULL,
                                      s->bias ? "delta_bias.npy" : NULL,
                                      "z.npy"};
    bs_status rc = BS_OK;
    for (int i = 0; i < (s->z ? INPUTS : Z) && rc == BS_OK; i++)
        rc = read_input(g, folder, file[i], i, s, err);
    return rc;
}

static bs_status run(const struct golden_way *way, struct scan *s, float *out, struct bs_err *err)
{
    static const char *const input_name[INPUTS] = {"u", "delta", NULL, "B", "C", NULL, NULL, "z"};
    const int ninput = s->z ? INPUTS : Z;
    struct bs_device *dev = NULL;
    struct bs_params *params = NULL;
    struct bs_executable *exe = NULL;
    struct bs_tensor bound[INPUTS], y = {BS_F32, s->in[U].shape, out};
    bs_value v[INPUTS];
    int nbound = 0;
    bs_status rc = BS_OK;
    struct bs_graph *g = bs_graph_create();
    if (!g) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a graph");
        goto cleanup;
    }
    for (int i = 0; i < ninput; i++) {
        v[i] = param_name[i] ? bs_graph_param(g, param_name[i], s->in[i].shape)
                             : bs_graph_input(g, input_name[i], s->in[i].shape);
        if (!param_name[i])
            bound[nbound++] = s->in[i];
    }
    bs_graph_output(
        g, "out",
        bs_graph_apply(g, BS_OP_SELECTIVE_SCAN, v, ninput, (struct bs_attr){.softplus = s->softplus != 0}));
    if ((rc = bs_graph_finish(g, err)) == BS_OK &&
        (rc = bs_params_create((struct bs_param_source){s, param_shape, param_read, NULL}, &params, err)) ==
            BS_OK &&
        (rc = golden_device_open(way, &dev, err)) == BS_OK &&
        (rc = bs_executable_create(dev, g, params, way->precision, &exe, err)) == BS_OK)
        rc = bs_executable_run(exe, bound, nbound, &y, 1, NULL, err);
cleanup:
    bs_executable_destroy(exe);
    bs_params_unref(params);
    bs_device_close(dev);
    bs_graph_destroy(g);
    return rc;
}

static void check_way(struct golden *g, const char *folder, const struct golden_way *way, struct scan *s,
                      const struct bs_npy *want)
{
    struct bs_err err = {0};
    char name[160];
    snprintf(name, sizeof name, "%s/out.npy %s", folder, way->name);
    float *have = calloc(want->count, sizeof *have), *back = NULL;
    bs_status rc = have ? run(way, s, have, &err) : BS_FAIL(&err, BS_ENOMEM, "no memory for the output");
    if (rc == BS_OK && !(back = exchanged(have, (size_t)s->batch, (size_t)s->tokens, (size_t)s->features)))
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory for the output");
    if (rc != BS_OK) {
        golden_error(g, name, &err);
    } else {
        double largest = 0, worst = 0;
        for (size_t i = 0; i < want->count; i++) {
            const double w = ((const float *)want->data)[i], d = fabs((double)back[i] - w);
            largest = fmax(largest, fabs(w));
            worst = d > worst || isnan(d) ? d : worst; /* a NaN stays */
        }
        const double most = golden_most(way, TOLERANCE, 1e-2);
        char text[48];
        snprintf(text, sizeof text, "at most %.0e of the largest value", most);
        golden_verdict(g, name, worst <= most * largest, text, "%.2g", worst / largest);
    }
    free(have);
    free(back);
}

static void check_case(struct golden *g, const char *folder, struct scan *s)
{
    static const char *const gradients[] = {"grad_out.npy", "grad_u.npy", "grad_delta.npy",
                                            "grad_A.npy",   "grad_B.npy", "grad_C.npy",
                                            "grad_D.npy",   "grad_z.npy", "grad_delta_bias.npy"};
    struct bs_npy want = {0};
    struct bs_err err = {0};
    char name[160];
    snprintf(name, sizeof name, "%s/out.npy", folder);
    bs_status rc = read_inputs(g, folder, s, &err);
    if (rc == BS_OK && (rc = golden_npy(g, folder, "out.npy", &want, &err)) == BS_OK &&
        (want.type != BS_NPY_F4 || want.count != bs_shape_count(&s->in[U].shape)))
        rc = BS_FAIL(&err, BS_EINVAL, "out.npy holds %zu values, cases.tsv says %zu float32", want.count,
                     bs_shape_count(&s->in[U].shape));
    if (rc != BS_OK)
        golden_error(g, name, &err);
    const struct golden_way *way;
    for (size_t w = 0; rc == BS_OK && (way = golden_way(g, w)) != NULL; w++)
        if (!way->winograd && golden_way_usable(g, name, way)) /* with Winograd it is the same scan */
            check_way(g, folder, way, s, &want);
    for (int i = 0; i < INPUTS; i++)
        free(s->in[i].data);
    bs_npy_free(&want);
    snprintf(name, sizeof name, "%s/last_state.npy", folder);
    if (golden_has(g, folder, "last_state.npy")) {
        (void)golden_path(g, folder, "last_state.npy");
        golden_skip(g, name, "the operator keeps its state to itself");
    }
    for (size_t i = 0; i < sizeof gradients / sizeof *gradients; i++)
        if (golden_has(g, folder, gradients[i])) {
            (void)golden_path(g, folder, gradients[i]);
            snprintf(name, sizeof name, "%s/%s", folder, gradients[i]);
            golden_skip(g, name, "needs the gradients of training");
        }
    golden_skip_unread(g, folder, ".npy");
}

void check_scan(struct golden *g, const char *folder)
{
    char line[256], name[32], sub[64];
    FILE *f = fopen(golden_path(g, folder, "cases.tsv"), "r");
    if (!f) {
        golden_fail(g, "scan/cases.tsv", NULL, "cannot be opened");
        return;
    }
    for (bool header = true; fgets(line, sizeof line, f); header = false) {
        struct scan s = {0};
        if (header)
            continue;
        if (sscanf(line, "%31s %d %d %d %d %d %d %d %d", name, &s.batch, &s.features, &s.states, &s.tokens,
                   &s.skip, &s.z, &s.bias, &s.softplus) != 9 ||
            s.batch < 1 || s.features < 1 || s.states < 1 || s.tokens < 1) {
            golden_fail(g, "scan/cases.tsv", NULL, "a line of another form: %s", line);
            continue;
        }
        snprintf(sub, sizeof sub, "%s/%s", folder, name);
        if (golden_has(g, sub, ""))
            check_case(g, sub, &s);
    }
    fclose(f);
}
