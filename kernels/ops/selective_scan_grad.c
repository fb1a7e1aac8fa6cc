/* The backward of the selective scan. Per sample and feature, with g_t = gy_t silu(z_t) (without z: gy_t), the state h_t of
   the forward, e_t = exp(a dt_t) and the state's gradient, which runs against the recurrence,
     H_t = g_t C_t + e_(t+1) H_(t+1)
   the gradients are
     gu_t = dt_t sum_s H_t B_t + skip g_t           gB_t = sum over features of H_t dt_t u_t
     gC_t = sum over features of g_t h_t            ga = sum over samples, t of H_t dt_t e_t h_(t-1), ga_log = a ga
     gdt_t = sum_s H_t (a e_t h_(t-1) + u_t B_t)    gdelta_t = gdt_t softplus'(delta + delta_bias)
     gdelta_bias = sum of gdelta                    gskip = sum of g u
     gz_t = gy_t silu'(z_t) (sum_s h_t C_t + skip u_t)
   States are not kept: a chunk of tokens at a time, they are computed again from the sequence's two ends. Long sequences
   cost the square of their number of chunks; that is what a reference may cost. */
#include "kernels/ops/ops_internal.h"
#include "kernels/ops/scan_step.h"

#define CHUNK 64 /* tokens whose states are held at a time */

enum { U, DELTA, A_LOG, B, C, SKIP, DELTA_BIAS, GY, Z };
enum { OF_Z = 7 }; /* attribute which: the forward's index of z */

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    static const char op[] = "selective_scan_grad";
    struct bs_shape forward[Z] = {in[U], in[DELTA], in[A_LOG], in[B], in[C], in[SKIP], in[DELTA_BIAS]}, y;
    bs_status rc;
    if (ninput > Z)
        forward[OF_Z] = in[Z];
    if ((rc = bs__scan_infer(op, forward, ninput - 1, &y, err)) != BS_OK ||
        (rc = bs__need_equal(op, "gradient", &in[GY], "u", &y, err)) != BS_OK ||
        (rc = bs__need_which(op, attr, ninput - 2, err)) != BS_OK)
        return rc;
    *out = forward[attr->which];
    return BS_OK;
}

/* The inputs, and the lane of one sample and feature in them. */
struct lane {
    const float *u, *delta, *b, *c, *gy, *z;
    int64_t tokens, features, states;
    bool reverse, softplus;
    int64_t n, f;
    double skip;
    float bias;
};

static struct lane lanes(const struct bs_attr *attr, const struct bs_tensor *in, int ninput)
{
    return (struct lane){.u = in[U].data,
                         .delta = in[DELTA].data,
                         .b = in[B].data,
                         .c = in[C].data,
                         .gy = in[GY].data,
                         .z = ninput > Z ? in[Z].data : NULL,
                         .tokens = in[U].shape.dim[1],
                         .features = in[U].shape.dim[2],
                         .states = in[A_LOG].shape.dim[1],
                         .reverse = attr->reverse,
                         .softplus = attr->softplus};
}

static void choose(struct lane *l, const struct bs_tensor *in, int64_t n, int64_t f)
{
    l->n = n;
    l->f = f;
    l->skip = (double)((const float *)in[SKIP].data)[f];
    l->bias = ((const float *)in[DELTA_BIAS].data)[f];
}

/* The token (of all samples) at place i of the recurrence. */
static int64_t token_at(const struct lane *l, int64_t i)
{
    return l->n * l->tokens + (l->reverse ? l->tokens - 1 - i : i);
}

/* What a lane is at place i, whichever the state. */
struct place {
    double dt, u, g;
    int64_t token, at; /* at: index in (N,L,D) */
};

static struct place place_at(const struct lane *l, int64_t i)
{
    struct place p = {.token = token_at(l, i)};
    p.at = p.token * l->features + l->f;
    p.dt = bs__scan_dt(l->delta[p.at], l->bias, l->softplus);
    p.u = (double)l->u[p.at];
    p.g = (double)l->gy[p.at] * (l->z ? bs__scan_gate(l->z[p.at]) : 1.0);
    return p;
}

/* One state of a lane over a chunk: before h_(t-1), after h_t, back H_t, decay e_t. */
struct trace {
    double before[CHUNK], after[CHUNK], back[CHUNK], decay[CHUNK];
};

/* Fills the trace of state s, whose a is given, for the places [first, first + count). */
static void follow(const struct lane *l, int64_t s, double a, int64_t first, int64_t count, struct trace *t)
{
    double h = 0, back = 0;
    for (int64_t i = 0; i < first + count; i++) {
        const struct place p = place_at(l, i);
        const double decay = exp(a * p.dt), before = h;
        h = decay * h + p.dt * p.u * (double)l->b[p.token * l->states + s];
        if (i < first)
            continue;
        t->before[i - first] = before;
        t->after[i - first] = h;
        t->decay[i - first] = decay;
    }
    for (int64_t i = l->tokens - 1; i >= first; i--) {
        const struct place p = place_at(l, i);
        const double own = p.g * (double)l->c[p.token * l->states + s] + back;
        if (i < first + count)
            t->back[i - first] = own;
        back = exp(a * p.dt) * own;
    }
}

static double rate(const struct bs_tensor *in, const struct lane *l, int64_t f, int64_t s)
{
    return -exp((double)((const float *)in[A_LOG].data)[f * l->states + s]);
}

/* Gradient of u, delta or z of a lane's chunk, into sum. */
static void grad_tokens(const struct bs_tensor *in, const struct lane *l, int which, int64_t first,
                        int64_t count, double sum[CHUNK])
{
    struct trace t;
    for (int64_t i = 0; i < count; i++)
        sum[i] = 0;
    for (int64_t s = 0; s < l->states; s++) {
        const double a = rate(in, l, l->f, s);
        follow(l, s, a, first, count, &t);
        for (int64_t i = 0; i < count; i++) {
            const struct place p = place_at(l, first + i);
            const double b = (double)l->b[p.token * l->states + s];
            if (which == U)
                sum[i] += t.back[i] * p.dt * b;
            else if (which == DELTA)
                sum[i] += t.back[i] * (a * t.decay[i] * t.before[i] + p.u * b);
            else
                sum[i] += t.after[i] * (double)l->c[p.token * l->states + s];
        }
    }
    for (int64_t i = 0; i < count; i++) {
        const struct place p = place_at(l, first + i);
        if (which == U) {
            sum[i] += l->skip * p.g;
        } else if (which == DELTA) {
            sum[i] *= bs__scan_dt_slope(l->delta[p.at], l->bias, l->softplus);
        } else {
            BS_ASSERT(l->z);
            sum[i] = (sum[i] + l->skip * p.u) * (double)l->gy[p.at] * bs__scan_gate_slope(l->z[p.at]);
        }
    }
}

static int64_t chunk_at(const struct lane *l, int64_t first)
{
    return l->tokens - first < CHUNK ? l->tokens - first : CHUNK;
}

/* u, delta, z: (N,L,D) */
static void of_tokens(const struct bs_tensor *in, struct lane *l, int which, float *out)
{
    double sum[CHUNK];
    for (int64_t n = 0; n < in[U].shape.dim[0]; n++)
        for (int64_t f = 0; f < l->features; f++) {
            choose(l, in, n, f);
            for (int64_t first = 0; first < l->tokens; first += CHUNK) {
                grad_tokens(in, l, which, first, chunk_at(l, first), sum);
                for (int64_t i = 0; i < chunk_at(l, first); i++)
                    out[token_at(l, first + i) * l->features + f] = (float)sum[i];
            }
        }
}

/* B, C: (N,L,S) */
static void of_states(const struct bs_tensor *in, struct lane *l, int which, float *out)
{
    struct trace t;
    for (int64_t n = 0; n < in[U].shape.dim[0]; n++)
        for (int64_t s = 0; s < l->states; s++)
            for (int64_t first = 0; first < l->tokens; first += CHUNK) {
                const int64_t count = chunk_at(l, first);
                double sum[CHUNK] = {0};
                for (int64_t f = 0; f < l->features; f++) {
                    choose(l, in, n, f);
                    follow(l, s, rate(in, l, f, s), first, count, &t);
                    for (int64_t i = 0; i < count; i++) {
                        const struct place p = place_at(l, first + i);
                        sum[i] += which == B ? t.back[i] * p.dt * p.u : p.g * t.after[i];
                    }
                }
                for (int64_t i = 0; i < count; i++)
                    out[token_at(l, first + i) * l->states + s] = (float)sum[i];
            }
}

/* a_log: (D,S) */
static void of_rates(const struct bs_tensor *in, struct lane *l, float *out)
{
    struct trace t;
    for (int64_t f = 0; f < l->features; f++)
        for (int64_t s = 0; s < l->states; s++) {
            const double a = rate(in, l, f, s);
            double sum = 0;
            for (int64_t n = 0; n < in[U].shape.dim[0]; n++) {
                choose(l, in, n, f);
                for (int64_t first = 0; first < l->tokens; first += CHUNK) {
                    follow(l, s, a, first, chunk_at(l, first), &t);
                    for (int64_t i = 0; i < chunk_at(l, first); i++)
                        sum += t.back[i] * place_at(l, first + i).dt * t.decay[i] * t.before[i];
                }
            }
            out[f * l->states + s] = (float)(a * sum);
        }
}

/* skip, delta_bias: (D) */
static void of_features(const struct bs_tensor *in, struct lane *l, int which, float *out)
{
    double part[CHUNK];
    for (int64_t f = 0; f < l->features; f++) {
        double sum = 0;
        for (int64_t n = 0; n < in[U].shape.dim[0]; n++) {
            choose(l, in, n, f);
            for (int64_t first = 0; first < l->tokens; first += CHUNK) {
                if (which == DELTA_BIAS)
                    grad_tokens(in, l, DELTA, first, chunk_at(l, first), part);
                for (int64_t i = 0; i < chunk_at(l, first); i++) {
                    const struct place p = place_at(l, first + i);
                    sum += which == DELTA_BIAS ? part[i] : p.g * p.u;
                }
            }
        }
        out[f] = (float)sum;
    }
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    struct lane l = lanes(attr, in, ninput);
    switch (attr->which) {
    case B:
    case C:
        of_states(in, &l, attr->which, out->data);
        break;
    case A_LOG:
        of_rates(in, &l, out->data);
        break;
    case SKIP:
    case DELTA_BIAS:
        of_features(in, &l, attr->which, out->data);
        break;
    default: /* u, delta, z */
        of_tokens(in, &l, attr->which, out->data);
    }
}

/* Per token, feature and state: the exponent and the recurrence again, back through it, and five sums; counted with the
   gradient of u. */
static double flops(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    return attr->which == U ? (double)bs_shape_count(out) * (18.0 * (double)in[A_LOG].dim[1] + 12.0) : 0;
}

const struct bs_op_def bs__op_selective_scan_grad = {
    .name = "selective_scan_grad",
    .min_inputs = 8,
    .max_inputs = 9,
    .infer = infer,
    .reference = reference,
    .flops = flops,
};
