/* Times attention on one thread, beside the multiply-adds the processor can do at best; 4 L K d operations for L queries
   and K keys, whatever relative positions and softmax take is not counted.
     bench_attention [--isa base|avx2|avx512] [--repeat N] [--heads N]
   Global and windowed attention of UNETR (64 features a head; Huge 80) at 1024 px. Least processor time of N, in turns. */
#include "kernels/base/machine.h"
#include "kernels/cpu/attention.h"
#include "tests/bench/peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape {
    const char *what;
    int grid, d, window;
    bool relative;
} shapes[] = {
    {"global, no positions", 64, 64, 0, false}, {"global", 64, 64, 0, true},
    {"windows of 14", 64, 64, 14, true},        {"global, Huge", 64, 80, 0, true},
    {"windows of 14, Huge", 64, 80, 14, true},
};

static void bench(const struct bs__simd *simd, bool bf16, bool pairs, int heads, int repeat)
{
    const struct bs__attention_kernel *k = bs__attention_select(simd, bf16, pairs);
    printf("%s %s, %d heads\n", k->name, bf16 ? "bf16" : "float32", heads);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i];
        const int64_t tokens = (int64_t)s->grid * s->grid, width = (int64_t)heads * s->d;
        float *table = bench_values((size_t)2 * (size_t)s->grid * (size_t)s->d, false),
              *pad = bench_values((size_t)(3 * width), false);
        struct bs__attention c = {
            .n = 1,
            .grid_h = s->grid,
            .grid_w = s->grid,
            .heads = heads,
            .d = s->d,
            .window = s->window,
            .qkv = {bench_values((size_t)(tokens * 3 * width), bf16), bf16, 3 * width, 0},
            .pad = pad,
            .rel_h = s->relative ? table : NULL,
            .rel_w = s->relative ? table : NULL,
            .dst = {bench_values((size_t)(tokens * width), bf16), bf16, width, 0},
        };
        bs__attention_plan(k, &c);
        c.scratch = bench_bytes(c.scratch_floats * sizeof(float));
        double best = 1e30, peak = 0;
        for (int r = 0; r < repeat; r++) {
            const double p = peak_gflops(simd, pairs), start = thread_seconds();
            for (int64_t t = 0; t < c.tasks; t++)
                k->run(&c, t, 0);
            const double seconds = thread_seconds() - start;
            best = seconds < best ? seconds : best;
            peak = p > peak ? p : peak;
        }
        const double keys = s->window ? (double)(s->window * s->window) : (double)tokens;
        const double gflop = 4e-9 * (double)tokens * keys * (double)width;
        printf("  %-24s %8.3f ms  %6.1f GFLOP/s", s->what, best * 1e3, gflop / best);
        if (peak > 0)
            printf("  %3.0f %% of %.0f", 100 * gflop / best / peak, peak);
        printf("  (%zu KiB of scratch)\n", c.scratch_floats * sizeof(float) / 1024);
        fflush(stdout);
        free(c.qkv.data);
        free(c.dst.data);
        free(c.scratch);
        free(table);
        free(pad);
    }
}

int main(int argc, char **argv)
{
    const struct bs__simd *simd = bs__simd_select();
    int repeat = 5, heads = 2;
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--repeat") == 0 && atoi(next) > 0) {
            repeat = atoi(next);
        } else if (strcmp(argv[i], "--heads") == 0 && atoi(next) > 0) {
            heads = atoi(next);
        } else if (strcmp(argv[i], "--isa") != 0 || !bench_isa(next, &simd)) {
            fprintf(stderr,
                    "bench_attention: \"%s %s\"; accepted: --isa base|avx2|avx512 (what this processor has), "
                    "--repeat N, --heads N\n",
                    argv[i], next);
            return 2;
        }
        i++;
    }
    const bool pairs = simd == bs__simd_select() && strcmp(bs_machine_isa(), "avx512_bf16") == 0;
    bench(simd, false, false, heads, repeat);
    bench(simd, true, pairs, heads, repeat);
    return 0;
}
