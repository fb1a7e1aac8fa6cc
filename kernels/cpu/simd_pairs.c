/* Convolutions on processors that multiply bf16 pairs (AVX512_BF16): 1x1 and of doubled images, whose factors are the
   pixels themselves or differences of few. Winograd's would lose too much: see docs/performance.md. Built with those
   instructions, called only where the processor has them; layouts are those of simd_avx512.c. */
#define BS__AVX512
#define BS__PAIRS
#define BS__L  16
#define BS__NV 4
#define BS__MT 6
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector.h"

#define NV  BS__NV
#define MT  BS__MT
#define KCB 4
#define OCC (NV * L)

#include "kernels/cpu/body_multiply.h"

#define BF16
#define ELEM        uint16_t
#define LOAD(p)     load_bf16(p)
#define STORE(p, v) store_bf16(p, v)
#define FN(name)    name##_pairs
#include "kernels/cpu/body_doubled.h"
#include "kernels/cpu/body_pointwise.h"

static const struct bs__simd_type table = {.pointwise = pointwise_pairs, .lattice = lattice_pairs};

const struct bs__simd_type *bs__simd_pairs(void)
{
    return &table;
}
