/* Times the selective scan of ViM-UNet's mixers alone, both directions, gate and step-size projection included, at sequence
   lengths from 256 to 65,536, and says which part of the attainable speed that is.
     bench_scan [--isa base|avx2|avx512] [--bf16] [--rounds N] [--csv FILE]
   The bound is max(bytes / bandwidth, exponentials / rate, multiply-adds / rate); what is counted is derived in
   docs/performance.md ("The selective scan"). A processor does not keep its rates: its clock follows heat and neighbours. So both
   rates are measured before and after each scan, the better ones make the bound of that scan, and the part reported is the
   median of these pairs; bandwidth is the best of all rounds. One thread, and its processor time, so that other programs count
   as little as they can; times are minima. */
#include "kernels/base/pages.h"
#include "kernels/cpu/scan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

#define STATES  16
#define LENGTHS 9 /* 256, 512, ..., 65536 */
#define PAIRS   256

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void keep_least(double *least, double value)
{
    *least = *least == 0 || value < *least ? value : *least;
}

/* Memory of pages as the arena of an executable has it. */
static void *pages(size_t bytes)
{
    void *p = bs_pages_alloc(bytes);
    if (!p) {
        fprintf(stderr, "bench_scan: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return p;
}

static float *random_floats(size_t count, double lo, double hi)
{
    float *p = pages(count * sizeof *p);
    uint64_t state = count;
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        p[i] = (float)(lo + (hi - lo) * (double)(state >> 40) * 0x1p-24);
    }
    return p;
}

/* Multiply-adds of one lane, per second: 12 sums that do not wait for each other and that begin differently. Volatile numbers
   keep the compiler from knowing any of it. */
static volatile float factor = 0.9999F, summand = 1e-4F, seen;

#define FMA_RATE(name, type, width, attribute, set, multiply_add)                                            \
    attribute static double name(int64_t turns)                                                              \
    {                                                                                                        \
        type a = set(factor), b = set(summand), s[12], sum;                                                  \
        for (int k = 0; k < 12; k++)                                                                         \
            s[k] = set(summand * (float)k);                                                                  \
        double start = seconds();                                                                            \
        for (int64_t i = 0; i < turns; i++) {                                                                \
            _Pragma("GCC unroll 12") for (int k = 0; k < 12; k++) s[k] = multiply_add(s[k], a, b);           \
        }                                                                                                    \
        double used = seconds() - start;                                                                     \
        sum = s[0];                                                                                          \
        for (int k = 1; k < 12; k++)                                                                         \
            sum = multiply_add(s[k], a, sum);                                                                \
        seen = ((const float *)&sum)[0];                                                                     \
        return 12.0 * (width) * (double)turns / used;                                                        \
    }

/* A vector of what every processor has; the product and the sum are two operations there. */
typedef float plain_vector __attribute__((vector_size(16)));
#define PLAIN_SET(x)                ((plain_vector){0} + (x))
#define PLAIN_MULTIPLY_ADD(x, y, z) ((x) * (y) + (z))
FMA_RATE(fma_base, plain_vector, 4, __attribute__((noinline)), PLAIN_SET, PLAIN_MULTIPLY_ADD)
#if defined(__x86_64__) || defined(__i386__)
FMA_RATE(fma_avx512, __m512, 16, __attribute__((noinline, target("avx512f"))), _mm512_set1_ps,
         _mm512_fmadd_ps)
FMA_RATE(fma_avx2, __m256, 8, __attribute__((noinline, target("avx2,fma"))), _mm256_set1_ps, _mm256_fmadd_ps)
#endif

static double multiply_adds(const struct bs__simd *simd)
{
#if defined(__x86_64__) || defined(__i386__)
    if (!strcmp(simd->name, "avx512"))
        return fma_avx512(200000);
    if (!strcmp(simd->name, "avx2"))
        return fma_avx2(200000);
#endif
    return fma_base(200000);
}

/* Results of a loop that does nothing else, per second; input and output stay in the first cache. */
static double exponentials(const struct bs__simd *simd, const float *x, float *y)
{
    enum { COUNT = 1024, TURNS = 500 };
    double start = seconds();
    for (int i = 0; i < TURNS; i++)
        simd->exp2(x, y, COUNT);
    return (double)COUNT * TURNS / (seconds() - start);
}

/* Bytes read and written per second by a scaled copy of 128 MiB. */
static double bandwidth(const float *from, float *to, size_t count)
{
    double start = seconds();
    for (size_t i = 0; i < count; i++)
        to[i] = from[i] * 1.5F;
    __asm__ volatile("" ::"r"(to) : "memory");
    return 2.0 * sizeof(float) * (double)count / (seconds() - start);
}

struct rates {
    double bytes, exps, fmas;
};

enum { COPIED = 32 << 20 };

/* What the rates are measured on. */
struct yardstick {
    float *from, *to, *x;
};

static double best_of(double a, double b)
{
    return a > b ? a : b;
}

/* Rates of this moment. */
static void compute_rates(const struct bs__simd *simd, const struct yardstick *y, struct rates *r)
{
    r->exps = best_of(r->exps, exponentials(simd, y->x, y->to));
    r->fmas = best_of(r->fmas, multiply_adds(simd));
}

struct mixer {
    const char *name;
    int features, rank;
};

static float *packed(const struct bs__simd *simd, int features, int m, double lo, double hi)
{
    float *plain = random_floats((size_t)features * (size_t)m, lo, hi);
    float *p = pages(bs__scan_packed(simd, features, m) * sizeof *p);
    bs__scan_pack(simd, plain, features, m, p);
    bs_pages_free(plain, (size_t)features * (size_t)m * sizeof *plain);
    return p;
}

/* Rows of a projection at its full width, so that distances are those of the network. */
static void new_rows(struct bs__rows *r, int64_t length, int width, bool bf16, double lo, double hi)
{
    float *p = random_floats((size_t)length * (size_t)width, lo, hi);
    *r = (struct bs__rows){p, bf16, width, length * width};
    if (bf16)
        for (int64_t i = 0; i < length * width; i++) {
            uint32_t bits;
            memcpy(&bits, &p[i], sizeof bits);
            ((uint16_t *)p)[i] = (uint16_t)(bits >> 16);
        }
}

static struct bs__rows part_of(struct bs__rows r, int first)
{
    r.data = (char *)r.data + (size_t)first * (r.bf16 ? 2 : 4);
    return r;
}

/* Everything for the longest sequence; shorter ones are its beginning. */
static void new_scan(struct bs__scan *c, const struct bs__simd *simd, const struct mixer *m, int64_t length,
                     bool bf16)
{
    const int d = m->features, width = m->rank + 2 * STATES;
    struct bs__rows xz, projected, dst;
    *c = (struct bs__scan){.n = 1,
                           .features = d,
                           .states = STATES,
                           .rank = m->rank,
                           .ndirection = 2,
                           .scale = 0.5F,
                           .softplus = true};
    new_rows(&xz, length, 2 * d, bf16, -2, 2);
    new_rows(&dst, length, d, bf16, 0, 1);
    c->z = part_of(xz, d);
    c->dst = dst;
    for (int i = 0; i < 2; i++) {
        struct bs__scan_direction *s = &c->direction[i];
        new_rows(&s->u, length, d, bf16, -1, 1);
        new_rows(&projected, length, width, false, -1, 1);
        s->low = projected;
        s->b = part_of(projected, m->rank);
        s->c = part_of(projected, m->rank + STATES);
        s->delta_weights = packed(simd, d, m->rank, -0.2, 0.2);
        s->delta_bias = packed(simd, d, 1, -6, -2);
        s->skip = packed(simd, d, 1, 0.9, 1.1);
        float *a_log = random_floats((size_t)d * STATES, 0, 2.8);
        float *a = pages(bs__scan_packed(simd, d, STATES) * sizeof *a);
        bs__scan_pack_a(simd, a_log, d, STATES, a);
        s->a = a;
        s->reverse = i == 1;
    }
    bs__scan_split(simd, 1, c);
    c->scratch_floats = bs__scan_scratch(simd, c);
    c->scratch = pages(c->scratch_floats * sizeof *c->scratch);
}

/* What one token costs per feature, both directions: see docs/performance.md. */
static struct rates work_of(const struct mixer *m, bool bf16)
{
    const double element = bf16 ? 2 : 4, rows = 4.0 * (m->rank + 2 * STATES) / m->features;
    return (struct rates){
        .bytes = 6 * element + 2 * rows,
        .exps = 2 * (STATES + 2) + 1,
        .fmas = 2 * (4.0 * STATES + m->rank + 3) + 3,
    };
}

/* One length of one mixer. */
struct result {
    double best;        /* seconds */
    double part[PAIRS]; /* of the bound, one for each pair of scan and rates */
    int pairs;
};

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int count)
{
    qsort(x, (size_t)count, sizeof *x, compare_doubles);
    return count % 2 ? x[count / 2] : (x[count / 2 - 1] + x[count / 2]) / 2;
}

static void measure(const struct bs__simd *simd, const struct yardstick *y, const struct mixer *m, bool bf16,
                    struct bs__scan *scan, struct rates *best, struct result *result)
{
    const struct rates work = work_of(m, bf16);
    struct rates now = {0};
    compute_rates(simd, y, &now);
    double start = seconds();
    for (int64_t t = 0; t < scan->n * scan->groups; t++)
        simd->scan(scan, t, 0);
    const double used = seconds() - start, per = used / (double)scan->length / m->features;
    compute_rates(simd, y, &now);
    const double bound = fmax(work.bytes / best->bytes, fmax(work.exps / now.exps, work.fmas / now.fmas));
    keep_least(&result->best, used);
    if (result->pairs < PAIRS)
        result->part[result->pairs++] = bound / per;
    best->exps = best_of(best->exps, now.exps);
    best->fmas = best_of(best->fmas, now.fmas);
}

int main(int argc, char **argv)
{
    const struct mixer mixers[] = {{"tiny", 384, 12}, {"small", 768, 24}};
    enum { MIXERS = 2 };
    const struct bs__simd *simd = bs__simd_select();
    bool bf16 = false;
    int rounds = 5;
    FILE *csv = NULL;
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--bf16"))
            bf16 = true;
        else if (!strcmp(argv[i], "--isa") && !strcmp(next, "base"))
            simd = bs__simd_base(), i++;
        else if (!strcmp(argv[i], "--isa") && !strcmp(next, "avx2"))
            simd = bs__simd_avx2(), i++;
        else if (!strcmp(argv[i], "--isa") && !strcmp(next, "avx512"))
            simd = bs__simd_avx512(), i++;
        else if (!strcmp(argv[i], "--rounds") && atoi(next) > 0)
            rounds = atoi(next), i++;
        else if (!strcmp(argv[i], "--csv") && (csv = fopen(next, "w")))
            i++;
        else {
            fprintf(stderr, "usage: %s [--isa base|avx2|avx512] [--bf16] [--rounds N] [--csv FILE]\n",
                    argv[0]);
            return 2;
        }
    }
    struct rates rate = {0};
    static struct result results[MIXERS][LENGTHS];
    const struct yardstick y = {random_floats(COPIED, -1, 1), random_floats(COPIED, 0, 1),
                                random_floats(1024, -3, 0)};
    struct bs__scan scan[MIXERS];
    for (int m = 0; m < MIXERS; m++)
        new_scan(&scan[m], simd, &mixers[m], 256 << (LENGTHS - 1), bf16);
    for (int r = 0; r < 3; r++)
        rate.bytes = best_of(rate.bytes, bandwidth(y.from, y.to, COPIED));
    for (int r = 0; r < rounds; r++)
        for (int m = 0; m < MIXERS; m++)
            for (int k = 0; k < LENGTHS; k++)
                /* Short sequences several times, so that each length gets a fair number of tries. */
                for (int turn = 0; turn < (k < 5 ? 1 << (5 - k) : 1); turn++) {
                    scan[m].length = 256 << k;
                    measure(simd, &y, &mixers[m], bf16, &scan[m], &rate, &results[m][k]);
                }
    printf("%s, %s rows, %d rounds; at best %.1f GB/s, %.2f G exponentials/s, %.1f G multiply-adds/s\n",
           simd->name, bf16 ? "bf16" : "float32", rounds, rate.bytes * 1e-9, rate.exps * 1e-9,
           rate.fmas * 1e-9);
    if (csv)
        fprintf(csv, "mixer,features,length,ms,ns_per_token_feature,part_of_bound\n");
    for (int m = 0; m < MIXERS; m++) {
        const struct rates w = work_of(&mixers[m], bf16);
        const double bytes = w.bytes / rate.bytes, exps = w.exps / rate.exps, fmas = w.fmas / rate.fmas;
        printf("%s, %d features, per token and feature: %.1f bytes %.2f ns, %.0f exponentials %.2f ns, %.0f "
               "multiply-adds %.2f ns\n%10s %12s %12s %8s\n",
               mixers[m].name, mixers[m].features, w.bytes, bytes * 1e9, w.exps, exps * 1e9, w.fmas,
               fmas * 1e9, "length", "ms", "ns", "% bound");
        for (int k = 0; k < LENGTHS; k++) {
            const int length = 256 << k;
            struct result *is = &results[m][k];
            const double per = is->best / length / mixers[m].features, part = median(is->part, is->pairs);
            printf("%10d %12.3f %12.3f %8.1f\n", length, is->best * 1e3, per * 1e9, 100 * part);
            if (csv)
                fprintf(csv, "%s,%d,%d,%.4f,%.4f,%.4f\n", mixers[m].name, mixers[m].features, length,
                        is->best * 1e3, per * 1e9, part);
        }
    }
    return csv && fclose(csv) ? 1 : 0;
}
