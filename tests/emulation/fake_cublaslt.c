/* A fake cuBLASLt (libcublasLt.so.13) for the tests: the functions of kernels/cuda/cublaslt.h, multiplying in plain loops when the
   emulated stream comes to it. It checks what it is told: that shapes fit each other, rows are not longer than their stride,
   addresses keep the alignment that was promised when the algorithm was chosen, the workspace is there. What does not fit is
   refused as the library would, and said on stderr.
   BS_FAKE_CUBLASLT_NONE=1: it has no algorithm for anything. */
#include "kernels/cuda/cublaslt.h"
#include "tests/emulation/control.h"
#include "tests/emulation/halves.h"

#include <stdio.h>
#include <stdlib.h>

#define API                                           __attribute__((visibility("default")))
#define PROTOTYPE(member, result, symbol, parameters) API result symbol parameters;
BS__CUBLASLT_FUNCTIONS(PROTOTYPE)

enum { INVALID = 7, WORKSPACE = 4096 };

struct bs__lt_context {
    int plans;
};
struct bs__lt_opaque_desc {
    int compute, transposed;
    uint32_t epilogue;
    const void *bias;
};
struct bs__lt_opaque_layout {
    int type;
    uint64_t rows, columns;
    int64_t ld;
};
struct bs__lt_opaque_preference {
    uint64_t workspace;
    uint32_t alignment[4];
};

static bs__lt_status refuse(const char *why)
{
    fprintf(stderr, "fake cuBLASLt: %s\n", why);
    return INVALID;
}

size_t cublasLtGetVersion(void)
{
    return 130000;
}

const char *cublasLtGetStatusString(bs__lt_status s)
{
    return s == BS__LT_SUCCESS ? "success" : s == BS__LT_NOT_SUPPORTED ? "not supported" : "invalid value";
}

#define CREATE(name, type, handle)                                                                           \
    bs__lt_status name(handle *out)                                                                          \
    {                                                                                                        \
        *out = calloc(1, sizeof(struct type));                                                               \
        return *out ? BS__LT_SUCCESS : INVALID;                                                              \
    }
#define DESTROY(name, handle)                                                                                \
    bs__lt_status name(handle it)                                                                            \
    {                                                                                                        \
        free(it);                                                                                            \
        return BS__LT_SUCCESS;                                                                               \
    }

CREATE(cublasLtCreate, bs__lt_context, bs__lt_handle)
DESTROY(cublasLtDestroy, bs__lt_handle)
CREATE(cublasLtMatmulPreferenceCreate, bs__lt_opaque_preference, bs__lt_preference)
DESTROY(cublasLtMatmulPreferenceDestroy, bs__lt_preference)
DESTROY(cublasLtMatmulDescDestroy, bs__lt_desc)
DESTROY(cublasLtMatrixLayoutDestroy, bs__lt_layout)

bs__lt_status cublasLtMatmulDescCreate(bs__lt_desc *out, bs__lt_compute compute, bs__lt_data scale)
{
    if (scale != BS__LT_F32 || (compute != BS__LT_COMPUTE_32F && compute != BS__LT_COMPUTE_TF32))
        return refuse("a product is summed and scaled in float here");
    *out = calloc(1, sizeof **out);
    if (*out)
        **out = (struct bs__lt_opaque_desc){.compute = compute, .epilogue = BS__LT_EPILOGUE_DEFAULT};
    return *out ? BS__LT_SUCCESS : INVALID;
}

bs__lt_status cublasLtMatmulDescSetAttribute(bs__lt_desc d, bs__lt_desc_attribute a, const void *value,
                                             size_t bytes)
{
    if (a == BS__LT_TRANSA && bytes == sizeof(int32_t))
        memcpy(&d->transposed, value, bytes);
    else if (a == BS__LT_EPILOGUE && bytes == sizeof(uint32_t))
        memcpy(&d->epilogue, value, bytes);
    else if (a == BS__LT_BIAS_POINTER && bytes == sizeof(void *))
        memcpy(&d->bias, value, bytes);
    else
        return refuse("an attribute of a product that is not known, or of another size");
    return BS__LT_SUCCESS;
}

bs__lt_status cublasLtMatrixLayoutCreate(bs__lt_layout *out, bs__lt_data type, uint64_t rows,
                                         uint64_t columns, int64_t ld)
{
    if (!rows || !columns || ld < (int64_t)rows)
        return refuse("a matrix without elements, or with columns longer than their distance");
    *out = calloc(1, sizeof **out);
    if (*out)
        **out = (struct bs__lt_opaque_layout){type, rows, columns, ld};
    return *out ? BS__LT_SUCCESS : INVALID;
}

bs__lt_status cublasLtMatmulPreferenceSetAttribute(bs__lt_preference p, bs__lt_preference_attribute a,
                                                   const void *value, size_t bytes)
{
    if (a == BS__LT_MAX_WORKSPACE && bytes == sizeof p->workspace)
        memcpy(&p->workspace, value, bytes);
    else if (a >= BS__LT_ALIGNMENT_A && a <= BS__LT_ALIGNMENT_D && bytes == sizeof *p->alignment)
        memcpy(&p->alignment[a - BS__LT_ALIGNMENT_A], value, bytes);
    else
        return refuse("a preference that is not known, or of another size");
    return BS__LT_SUCCESS;
}

/* What an algorithm is good for; lies in its opaque words. */
struct chosen {
    uint64_t rows, columns, depth;
    uint32_t alignment[4];
};
_Static_assert(sizeof(struct chosen) <= sizeof(bs__lt_algorithm), "fits");

static bool fits(const struct bs__lt_opaque_desc *d, const struct bs__lt_opaque_layout *a,
                 const struct bs__lt_opaque_layout *b, const struct bs__lt_opaque_layout *c,
                 const struct bs__lt_opaque_layout *y)
{
    return d->transposed == BS__LT_TRANSPOSED && a->rows == b->rows && a->columns == y->rows &&
           b->columns == y->columns && c->rows == y->rows && c->columns == y->columns && a->type == b->type &&
           a->type == c->type && a->type == y->type;
}

bs__lt_status cublasLtMatmulAlgoGetHeuristic(bs__lt_handle h, bs__lt_desc d, bs__lt_layout a, bs__lt_layout b,
                                             bs__lt_layout c, bs__lt_layout y, bs__lt_preference p,
                                             int wanted, bs__lt_proposal *found, int *count)
{
    const char *none = getenv("BS_FAKE_CUBLASLT_NONE");
    struct chosen it = {.rows = y->rows, .columns = y->columns, .depth = a->rows};
    (void)h;
    *count = 0;
    if (wanted < 1 || !fits(d, a, b, c, y))
        return refuse("matrices that do not fit each other");
    if ((d->epilogue & BS__LT_EPILOGUE_BIAS) && !d->bias)
        return refuse("a bias without an address");
    for (int i = 0; i < 4; i++)
        if (!p->alignment[i] || (p->alignment[i] & (p->alignment[i] - 1)))
            return refuse("an alignment that is no power of two");
    if (none && *none == '1')
        return BS__LT_NOT_SUPPORTED;
    memcpy(it.alignment, p->alignment, sizeof it.alignment);
    *found = (bs__lt_proposal){.workspaceSize = p->workspace < WORKSPACE ? 0 : WORKSPACE};
    memcpy(&found->algo, &it, sizeof it);
    *count = 1;
    return BS__LT_SUCCESS;
}

/* A product that waits on the stream. */
struct product {
    struct bs__lt_opaque_desc d;
    struct bs__lt_opaque_layout a, b, c, y;
    uint64_t at[4], workspace;
    float beta;
};

static size_t element_bytes(int type)
{
    return type == BS__LT_F32 ? 4 : 2;
}

static float load(const void *p, uint64_t i, int type)
{
    uint16_t half;
    float f;
    if (type == BS__LT_F32)
        return memcpy(&f, (const char *)p + 4 * i, 4), f;
    memcpy(&half, (const char *)p + 2 * i, 2);
    return type == BS__LT_F16 ? bs_half_to_float(half) : bs_bfloat_to_float(half);
}

static void store(void *p, uint64_t i, int type, float v)
{
    const uint16_t half = type == BS__LT_F16 ? bs_float_to_half(v) : bs_float_to_bfloat(v);
    if (type == BS__LT_F32)
        memcpy((char *)p + 4 * i, &v, 4);
    else
        memcpy((char *)p + 2 * i, &half, 2);
}

static const void *column(uint64_t at, const struct bs__lt_opaque_layout *l, uint64_t j)
{
    const size_t e = element_bytes(l->type);
    return bs_emulation_read(at + j * (uint64_t)l->ld * e, l->rows * e);
}

static int run(void *context)
{
    const struct product *p = context;
    const size_t e = element_bytes(p->y.type);
    const void *bias = NULL;
    if (!bs_emulation_write(p->workspace, WORKSPACE))
        return 700;
    if ((p->d.epilogue & BS__LT_EPILOGUE_BIAS) &&
        !(bias = bs_emulation_read((uint64_t)(uintptr_t)p->d.bias, p->y.rows * e)))
        return 700;
    for (uint64_t j = 0; j < p->y.columns; j++) {
        const void *b = column(p->at[1], &p->b, j), *c = p->beta != 0 ? column(p->at[2], &p->c, j) : NULL;
        float sum[4096];
        if (!b || (p->beta != 0 && !c) || p->y.rows > sizeof sum / sizeof *sum)
            return 700;
        for (uint64_t i = 0; i < p->y.rows; i++) {
            const void *a = column(p->at[0], &p->a, i);
            if (!a)
                return 700;
            sum[i] = c ? p->beta * load(c, i, p->c.type) : 0;
            for (uint64_t k = 0; k < p->a.rows; k++)
                sum[i] += load(a, k, p->a.type) * load(b, k, p->b.type);
            if (bias)
                sum[i] += load(bias, i, p->y.type);
            if ((p->d.epilogue & BS__LT_EPILOGUE_RELU) && !(sum[i] > 0))
                sum[i] = 0;
        }
        void *y = bs_emulation_write(p->at[3] + j * (uint64_t)p->y.ld * e, p->y.rows * e);
        if (!y)
            return 700;
        for (uint64_t i = 0; i < p->y.rows; i++)
            store(y, i, p->y.type, sum[i]);
    }
    return 0;
}

bs__lt_status cublasLtMatmul(bs__lt_handle h, bs__lt_desc d, const void *alpha, const void *a,
                             bs__lt_layout a_layout, const void *b, bs__lt_layout b_layout, const void *beta,
                             const void *c, bs__lt_layout c_layout, void *y, bs__lt_layout y_layout,
                             const bs__lt_algorithm *algorithm, void *workspace, size_t bytes,
                             bs__lt_stream stream)
{
    const void *const at[4] = {a, b, c, y};
    struct chosen it;
    (void)h;
    memcpy(&it, algorithm, sizeof it);
    if (!fits(d, a_layout, b_layout, c_layout, y_layout) || it.rows != y_layout->rows ||
        it.columns != y_layout->columns || it.depth != a_layout->rows)
        return refuse("an algorithm of another product");
    if (*(const float *)alpha != 1)
        return refuse("a scaled product");
    if (bytes < WORKSPACE || !workspace || (uintptr_t)workspace % 256)
        return refuse("no workspace, or not aligned");
    for (int i = 0; i < 4; i++)
        if (!at[i] || (uintptr_t)at[i] % it.alignment[i])
            return refuse("an address that is less aligned than was promised");
    if ((d->epilogue & BS__LT_EPILOGUE_BIAS) && (uintptr_t)d->bias % 16)
        return refuse("a bias that is not aligned");
    struct product *p = calloc(1, sizeof *p);
    if (!p)
        return INVALID;
    *p = (struct product){.d = *d, .a = *a_layout, .b = *b_layout, .c = *c_layout, .y = *y_layout};
    for (int i = 0; i < 4; i++)
        p->at[i] = (uint64_t)(uintptr_t)at[i];
    p->workspace = (uint64_t)(uintptr_t)workspace;
    p->beta = *(const float *)beta;
    return bs_emulation_queue(stream, run, p, free) == 0 ? BS__LT_SUCCESS
                                                         : refuse("the stream takes no work");
}
