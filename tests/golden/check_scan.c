/* Selective scan on its own, forward and gradients, in every way of computing it. The fixtures are (B, D, L) and (B, N, L) where the
   operator takes
   tokens first, A where it takes log(-A), and leave out inputs that the operator always has: without D or delta_bias it
   gets zeros. */
#include "tests/golden/golden.h"

#include "kernels/executable.h"
#include "tests/golden/network.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* golden/README.md, relative to the largest value: forward, and gradients. */
#define TOLERANCE          1e-5
#define GRADIENT_TOLERANCE 1e-4

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

/* The executable's ends: what is bound to it, and where its results go. A gradient that is not wanted has no memory. */
struct ends {
    struct bs_tensor in[INPUTS + 1], out[INPUTS + 1];
    int nin, nout;
};

/* y, or with a gradient of y (N,L,D) the gradients of the inputs into gradient[]. Parameters are inputs then. */
static bs_status build(const struct scan *s, bool backward, float *const *out, struct bs_graph *g,
                       struct ends *e, struct bs_err *err)
{
    static const char *const name[INPUTS] = {"u", "delta", "A_log", "B", "C", "D", "delta_bias", "z"};
    const int ninput = s->z ? INPUTS : Z;
    bs_value v[INPUTS], gradient[INPUTS];
    for (int i = 0; i < ninput; i++) {
        const bool param = param_name[i] && !backward;
        v[i] =
            param ? bs_graph_param(g, name[i], s->in[i].shape) : bs_graph_input(g, name[i], s->in[i].shape);
        if (!param)
            e->in[e->nin++] = s->in[i];
    }
    bs_value y =
        bs_graph_apply(g, BS_OP_SELECTIVE_SCAN, v, ninput, (struct bs_attr){.softplus = s->softplus != 0});
    if (!backward) {
        bs_graph_output(g, "out", y);
        e->out[e->nout++] = (struct bs_tensor){BS_F32, s->in[U].shape, out[0]};
        return bs_graph_finish(g, err);
    }
    bs_value gy = bs_graph_input(g, "gy", s->in[U].shape);
    bs_status rc = bs_graph_backward(g, y, gy, v, ninput, gradient, err);
    for (int i = 0; i < ninput && rc == BS_OK; i++) {
        bs_graph_output(g, name[i], gradient[i]);
        e->out[e->nout++] = (struct bs_tensor){BS_F32, s->in[i].shape, out[i]};
    }
    return rc == BS_OK ? bs_graph_finish(g, err) : rc;
}

/* gy: gradient of the result, NULL for the result itself. */
static bs_status run(const struct golden_way *way, struct scan *s, const struct bs_tensor *gy,
                     float *const *out, struct bs_err *err)
{
    struct bs_device *dev = NULL;
    struct bs_params *params = NULL;
    struct bs_executable *exe = NULL;
    struct ends e = {.nin = 0};
    bs_status rc = BS_OK;
    struct bs_graph *g = bs_graph_create();
    if (!g) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a graph");
        goto cleanup;
    }
    if ((rc = build(s, gy != NULL, out, g, &e, err)) != BS_OK)
        goto cleanup;
    if (gy)
        e.in[e.nin++] = *gy;
    if ((rc = bs_params_create((struct bs_param_source){s, param_shape, param_read, NULL}, &params, err)) ==
            BS_OK &&
        (rc = golden_device_open(way, &dev, err)) == BS_OK &&
        (rc = bs_executable_create(dev, g, params, way->precision, &exe, err)) == BS_OK)
        rc = bs_executable_run(exe, e.in, e.nin, e.out, e.nout, NULL, err);
cleanup:
    bs_executable_destroy(exe);
    bs_params_unref(params);
    bs_device_close(dev);
    bs_graph_destroy(g);
    return rc;
}

/* Values of ours against a file's, relative to its largest. */
static void verdict(struct golden *g, const char *name, const float *have, const struct bs_npy *want,
                    double tolerance)
{
    char text[48];
    double largest = 0, worst = 0;
    for (size_t i = 0; i < want->count; i++) {
        const double w = ((const float *)want->data)[i], d = fabs((double)have[i] - w);
        largest = fmax(largest, fabs(w));
        worst = d > worst || isnan(d) ? d : worst; /* a NaN stays */
    }
    snprintf(text, sizeof text, "at most %.0e of the largest value", tolerance);
    golden_verdict(g, name, worst <= tolerance * largest, text, "%.2g",
                   largest > 0 ? worst / largest : worst);
}

static void check_way(struct golden *g, const char *folder, const struct golden_way *way, struct scan *s,
                      const struct bs_npy *want)
{
    struct bs_err err = {0};
    char name[160];
    snprintf(name, sizeof name, "%s/out.npy %s", folder, way->name);
    float *have = calloc(want->count, sizeof *have), *back = NULL;
    bs_status rc =
        have ? run(way, s, NULL, &have, &err) : BS_FAIL(&err, BS_ENOMEM, "no memory for the output");
    if (rc == BS_OK && !(back = exchanged(have, (size_t)s->batch, (size_t)s->tokens, (size_t)s->features)))
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory for the output");
    if (rc != BS_OK)
        golden_error(g, name, &err);
    else
        verdict(g, name, back, want, golden_most(way, TOLERANCE, 1e-2));
    free(have);
    free(back);
}

/* The gradient of input i against its file, which is laid out like the input's. The operator's is of log(-A): in terms of A
   that is dy/dA = dy/dlog(-A) / A. */
static void check_gradient(struct golden *g, const char *folder, const struct golden_way *way,
                           const struct scan *s, int i, float *gradient)
{
    static const char *const letter[INPUTS] = {"u", "delta", "A", "B", "C", "D", "delta_bias", "z"};
    const bool sequence = i != A_LOG && i != SKIP && i != BIAS;
    const size_t count = bs_shape_count(&s->in[i].shape);
    char file[32], name[160];
    struct bs_npy want = {0};
    struct bs_err err = {0};
    float *back = NULL;
    (void)snprintf(file, sizeof file, "grad_%s.npy", letter[i]);
    if (!golden_has(g, folder, file))
        return;
    (void)snprintf(name, sizeof name, "%s/%s %s", folder, file, way->name);
    for (size_t k = 0; i == A_LOG && k < count; k++)
        gradient[k] /= -expf(((const float *)s->in[i].data)[k]);
    bs_status rc = golden_npy(g, folder, file, &want, &err);
    if (rc == BS_OK && (want.type != BS_NPY_F4 || want.count != count))
        rc = BS_FAIL(&err, BS_EINVAL, "%zu values for an input of %zu", want.count, count);
    if (rc == BS_OK && sequence &&
        !(back = exchanged(gradient, (size_t)s->batch, (size_t)s->tokens, (size_t)s->in[i].shape.dim[2])))
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory for a gradient");
    if (rc != BS_OK)
        golden_error(g, name, &err);
    else
        verdict(g, name, sequence ? back : gradient, &want, GRADIENT_TOLERANCE);
    bs_npy_free(&want);
    free(back);
}

static void check_gradients(struct golden *g, const char *folder, const struct golden_way *way,
                            struct scan *s)
{
    struct bs_npy gy = {0};
    struct bs_err err = {0};
    struct bs_tensor seed = {BS_F32, s->in[U].shape, NULL};
    float *gradient[INPUTS] = {0};
    char name[160];
    (void)snprintf(name, sizeof name, "%s/grad_out.npy %s", folder, way->name);
    bs_status rc = golden_npy(g, folder, "grad_out.npy", &gy, &err);
    if (rc == BS_OK && (gy.type != BS_NPY_F4 || gy.count != bs_shape_count(&seed.shape)))
        rc = BS_FAIL(&err, BS_EINVAL, "%zu values for an output of %zu", gy.count,
                     bs_shape_count(&seed.shape));
    if (rc == BS_OK &&
        !(seed.data = exchanged(gy.data, (size_t)s->batch, (size_t)s->features, (size_t)s->tokens)))
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory for a gradient");
    for (int i = 0; i < (s->z ? INPUTS : Z) && rc == BS_OK; i++)
        if (!(gradient[i] = calloc(bs_shape_count(&s->in[i].shape), sizeof(float))))
            rc = BS_FAIL(&err, BS_ENOMEM, "no memory for a gradient");
    if (rc == BS_OK)
        rc = run(way, s, &seed, gradient, &err);
    if (rc != BS_OK)
        golden_refused(g, name, way, &err);
    for (int i = 0; i < INPUTS; i++) {
        if (rc == BS_OK && gradient[i])
            check_gradient(g, folder, way, s, i, gradient[i]);
        free(gradient[i]);
    }
    free(seed.data);
    bs_npy_free(&gy);
}

static void check_case(struct golden *g, const char *folder, struct scan *s)
{
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
        if (!way->winograd && golden_way_usable(g, name, way)) { /* with Winograd it is the same scan */
            check_way(g, folder, way, s, &want);
            if (golden_has(g, folder, "grad_out.npy") && golden_way_trains(g, name, way))
                check_gradients(g, folder, way, s);
        }
    for (int i = 0; i < INPUTS; i++)
        free(s->in[i].data);
    bs_npy_free(&want);
    snprintf(name, sizeof name, "%s/last_state.npy", folder);
    if (golden_has(g, folder, "last_state.npy")) {
        (void)golden_path(g, folder, "last_state.npy");
        golden_skip(g, name, "the operator keeps its state to itself");
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
