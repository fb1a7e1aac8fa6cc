/* Times the token linear on one thread, beside the multiply-adds the processor can do at best.
     bench_linear [--isa base|avx2|avx512] [--repeat N] [--peer]
   The shapes are those of UNETR Base (768 features) and ViM-UNet (192, 384) at 1024 px. --peer: also oneDNN's product
   (dnnl_sgemm, dnnl_gemm has no bf16), without any epilogue. Least processor time of N, in turns. */
#include "kernels/cpu/linear.h"
#include "kernels/base/machine.h"
#include "tests/bench/peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if BS_WITH_ONEDNN
#include <dnnl.h>
#endif

static const struct shape {
    const char *what;
    int64_t rows;
    int in, out;
    enum bs__row_norm norm;
    enum bs__row_act act;
    bool residual;
} shapes[] = {
    {"UNETR qkv, layer norm", 4096, 768, 2304, BS__ROW_LAYER_NORM, BS__ROW_AS_IS, false},
    {"UNETR projection, residual", 4096, 768, 768, BS__ROW_PLAIN, BS__ROW_AS_IS, true},
    {"UNETR first of two, layer norm, GELU", 4096, 768, 3072, BS__ROW_LAYER_NORM, BS__ROW_GELU, false},
    {"UNETR second of two, residual", 4096, 3072, 768, BS__ROW_PLAIN, BS__ROW_AS_IS, true},
    {"plain", 4096, 768, 3072, BS__ROW_PLAIN, BS__ROW_AS_IS, false},
    {"ViM in_proj", 4097, 192, 768, BS__ROW_PLAIN, BS__ROW_AS_IS, false},
    {"ViM x_proj", 4097, 384, 44, BS__ROW_PLAIN, BS__ROW_AS_IS, false},
    {"ViM dt_proj", 4097, 12, 384, BS__ROW_PLAIN, BS__ROW_AS_IS, false},
    {"ViM out_proj", 4097, 384, 192, BS__ROW_PLAIN, BS__ROW_AS_IS, false},
};

static struct bs__linear prepare(const struct bs__linear_kernel *k, const struct shape *s)
{
    const bool bf16 = k->bf16;
    float *w = bench_values((size_t)s->in * (size_t)s->out, false);
    void *packed = bench_bytes(bs__linear_weight_bytes(k, s->in, s->out));
    bs__linear_pack(k, w, s->in, s->out, packed);
    free(w);
    struct bs__linear c = {
        .n = 1,
        .rows = s->rows,
        .in = s->in,
        .out = s->out,
        .x = {bench_values((size_t)(s->rows * s->in), bf16), bf16, s->in, 0},
        .norm = s->norm,
        .norm_weight = bench_values((size_t)s->in, false),
        .norm_bias = bench_values((size_t)s->in, false),
        .eps = 1e-6F,
        .weights = packed,
        .bias = bench_values((size_t)s->out, false),
        .act = s->act,
        .dst = {bench_values((size_t)(s->rows * s->out), bf16), bf16, s->out, 0},
    };
    if (s->residual)
        c.residual = c.dst;
    bs__linear_plan(k, &c);
    c.scratch = bench_bytes(c.scratch_floats * sizeof(float));
    return c;
}

static void release(struct bs__linear *c)
{
    free(c->x.data);
    free(c->dst.data);
    free(c->scratch);
    free((void *)c->weights);
    free((void *)c->bias);
    free((void *)c->norm_weight);
    free((void *)c->norm_bias);
}

/* Least seconds of the peer's product of this size; 0 where there is none. */
static double peer_seconds(const struct bs__linear *c, float *w)
{
#if BS_WITH_ONEDNN
    if (c->x.bf16)
        return 0;
    const double start = thread_seconds();
    dnnl_sgemm('N', 'T', c->rows, c->out, c->in, 1, c->x.data, c->in, w, c->in, 0, c->dst.data, c->out);
    return thread_seconds() - start;
#else
    (void)c;
    (void)w;
    return 0;
#endif
}

static void bench(const struct bs__simd *simd, bool bf16, bool pairs, int repeat, bool peer)
{
    const struct bs__linear_kernel *k = bs__linear_select(simd, bf16, pairs);
    printf("%s %s\n", k->name, bf16 ? "bf16" : "float32");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct bs__linear c = prepare(k, &shapes[i]);
        float *w = bench_values((size_t)c.in * (size_t)c.out, false);
        double best = 1e30, peak = 0, other = 1e30;
        for (int r = 0; r < repeat; r++) {
            const double p = peak_gflops(simd, pairs), start = thread_seconds();
            for (int64_t t = 0; t < c.tasks; t++)
                k->run(&c, t, 0);
            const double s = thread_seconds() - start, o = peer ? peer_seconds(&c, w) : 0;
            best = s < best ? s : best;
            other = o > 0 && o < other ? o : other;
            peak = p > peak ? p : peak;
        }
        const double gflop = 2e-9 * (double)c.rows * c.in * c.out;
        printf("  %-38s %5d x %4d -> %4d  %8.3f ms  %6.1f GFLOP/s", shapes[i].what, (int)c.rows, c.in, c.out,
               best * 1e3, gflop / best);
        if (peak > 0)
            printf("  %3.0f %% of %.0f", 100 * gflop / best / peak, peak);
        if (other < 1e30)
            printf("  oneDNN %.1f (%.2fx)", gflop / other, other / best);
        printf("\n");
        fflush(stdout);
        free(w);
        release(&c);
    }
}

int main(int argc, char **argv)
{
    const struct bs__simd *simd = bs__simd_select();
    int repeat = 5;
    bool peer = false;
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--peer") == 0) {
            peer = true;
            continue;
        }
        if (strcmp(argv[i], "--repeat") == 0 && atoi(next) > 0) {
            repeat = atoi(next);
        } else if (strcmp(argv[i], "--isa") != 0 || !bench_isa(next, &simd)) {
            fprintf(stderr,
                    "bench_linear: \"%s %s\"; accepted: --isa base|avx2|avx512 (what this processor has), "
                    "--repeat N, --peer\n",
                    argv[i], next);
            return 2;
        }
        i++;
    }
    bs__parallel_set_threads(1);
    const bool pairs = simd == bs__simd_select() && strcmp(bs_machine_isa(), "avx512_bf16") == 0;
    bench(simd, false, false, repeat, peer);
    bench(simd, true, pairs, repeat, peer);
    return 0;
}
