/* What the kernel benchmarks measure with: processor time of the calling thread, and the multiply-adds a processor can do
   at best, to set results beside. The machine may be shared: take the least of several, in turns. */
#ifndef BS_TESTS_BENCH_PEAK_H
#define BS_TESTS_BENCH_PEAK_H

#include "kernels/cpu/simd.h"

/* Seconds of processor time. */
double thread_seconds(void);
/* GFLOP/s (a multiply-add counts two) of independent multiply-adds in registers, with the instructions of `simd`: float32,
   or bf16 pairs where the processor has them. 0: not measured for these instructions. */
double peak_gflops(const struct bs__simd *simd, bool pairs);
/* An instruction set by name; false: not one this processor has. */
bool bench_isa(const char *name, const struct bs__simd **simd);
/* 64-byte aligned; ends the program when there is none. Values in [-1, 1). */
void *bench_values(size_t count, bool bf16);
void *bench_bytes(size_t bytes);

#endif
