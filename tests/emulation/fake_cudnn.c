/* A fake cuDNN (libcudnn.so.9) for the tests: the functions of kernels/cuda/cudnn.h, convolving in plain loops when the emulated
   stream comes to it. It checks what it is told: that images, weights and bias fit each other, layouts and types are those of
   (N,H,W,C), addresses are aligned, the workspace is there. Its first proposals are ones that nobody should take.
   BS_FAKE_CUDNN_NONE=1: it has no algorithm for anything. BS_FAKE_CUDNN_VERSION: 91900 unless given. Attention is in
   fake_cudnn_graph.c. */
#include "tests/emulation/fake_cudnn.h"

#include "tests/emulation/control.h"
#include "tests/emulation/halves.h"

#include <stdio.h>
#include <stdlib.h>

enum { BAD = BS__DN_BAD_PARAM, WORKSPACE = FAKE_CUDNN_WORKSPACE };

struct bs__dn_opaque_tensor {
    int type, n, c, h, w;
};
struct bs__dn_opaque_filter {
    int type, k, c, h, w;
};
struct bs__dn_opaque_convolution {
    int pad_h, pad_w, stride_h, stride_w, math;
};
struct bs__dn_opaque_activation {
    int mode;
};

bs__dn_status fake_cudnn_refuse(const char *why)
{
    fprintf(stderr, "fake cuDNN: %s\n", why);
    return BAD;
}
#define refuse fake_cudnn_refuse

size_t cudnnGetVersion(void)
{
    const char *version = getenv("BS_FAKE_CUDNN_VERSION");
    return version ? strtoul(version, NULL, 10) : 91900;
}

size_t cudnnGetCudartVersion(void)
{
    return 13000;
}

const char *cudnnGetErrorString(bs__dn_status s)
{
    return s == BS__DN_SUCCESS ? "success" : s >= BS__DN_NOT_SUPPORTED ? "not supported" : "bad parameter";
}

#define CREATE(name, handle)                                                                                 \
    bs__dn_status name(handle *out)                                                                          \
    {                                                                                                        \
        *out = calloc(1, sizeof **out);                                                                      \
        return *out ? BS__DN_SUCCESS : BAD;                                                                  \
    }
#define DESTROY(name, handle)                                                                                \
    bs__dn_status name(handle it)                                                                            \
    {                                                                                                        \
        free(it);                                                                                            \
        return BS__DN_SUCCESS;                                                                               \
    }
CREATE(cudnnCreate, bs__dn_handle)

bs__dn_status cudnnDestroy(bs__dn_handle h)
{
    fake_cudnn_expect_no_descriptors();
    free(h);
    return BS__DN_SUCCESS;
}

CREATE(cudnnCreateTensorDescriptor, bs__dn_tensor)
DESTROY(cudnnDestroyTensorDescriptor, bs__dn_tensor)
CREATE(cudnnCreateFilterDescriptor, bs__dn_filter)
DESTROY(cudnnDestroyFilterDescriptor, bs__dn_filter)
CREATE(cudnnCreateConvolutionDescriptor, bs__dn_convolution)
DESTROY(cudnnDestroyConvolutionDescriptor, bs__dn_convolution)
CREATE(cudnnCreateActivationDescriptor, bs__dn_activation)
DESTROY(cudnnDestroyActivationDescriptor, bs__dn_activation)

bs__dn_status cudnnSetStream(bs__dn_handle h, bs__dn_stream stream)
{
    h->stream = stream;
    return BS__DN_SUCCESS;
}

bs__dn_status cudnnSetTensor4dDescriptor(bs__dn_tensor t, bs__dn_format format, bs__dn_data type, int n,
                                         int c, int h, int w)
{
    if (format != BS__DN_NHWC || n < 1 || c < 1 || h < 1 || w < 1)
        return refuse("an image that is not (N,H,W,C), or empty");
    *t = (struct bs__dn_opaque_tensor){type, n, c, h, w};
    return BS__DN_SUCCESS;
}

bs__dn_status cudnnSetFilter4dDescriptor(bs__dn_filter f, bs__dn_data type, bs__dn_format format, int k,
                                         int c, int h, int w)
{
    if (format != BS__DN_NHWC || k < 1 || c < 1 || h < 1 || w < 1)
        return refuse("a weight that is not (K,H,W,C), or empty");
    *f = (struct bs__dn_opaque_filter){type, k, c, h, w};
    return BS__DN_SUCCESS;
}

bs__dn_status cudnnSetConvolution2dDescriptor(bs__dn_convolution c, int pad_h, int pad_w, int stride_h,
                                              int stride_w, int dilation_h, int dilation_w, bs__dn_mode mode,
                                              bs__dn_data compute)
{
    if (dilation_h != 1 || dilation_w != 1 || mode != BS__DN_CROSS_CORRELATION || compute != BS__DN_F32)
        return refuse("a convolution that is not the networks'");
    *c = (struct bs__dn_opaque_convolution){pad_h, pad_w, stride_h, stride_w, -1};
    return BS__DN_SUCCESS;
}

bs__dn_status cudnnSetConvolutionMathType(bs__dn_convolution c, bs__dn_math m)
{
    c->math = m;
    return BS__DN_SUCCESS;
}

bs__dn_status cudnnSetActivationDescriptor(bs__dn_activation a, bs__dn_activation_mode mode, bs__dn_nan nan,
                                           double coefficient)
{
    (void)nan, (void)coefficient;
    a->mode = mode;
    return BS__DN_SUCCESS;
}

static bool fits(const struct bs__dn_opaque_tensor *x, const struct bs__dn_opaque_filter *w,
                 const struct bs__dn_opaque_convolution *c, const struct bs__dn_opaque_tensor *y)
{
    return x->type == w->type && x->type == y->type && x->c == w->c && y->c == w->k && y->n == x->n &&
           y->h == (x->h + 2 * c->pad_h - w->h) / c->stride_h + 1 &&
           y->w == (x->w + 2 * c->pad_w - w->w) / c->stride_w + 1 && c->math >= 0;
}

bs__dn_status cudnnGetConvolutionForwardAlgorithm_v7(bs__dn_handle h, const bs__dn_tensor x,
                                                     const bs__dn_filter w, const bs__dn_convolution c,
                                                     const bs__dn_tensor y, const int wanted, int *count,
                                                     bs__dn_proposal *found)
{
    const char *none = getenv("BS_FAKE_CUDNN_NONE");
    const bs__dn_proposal list[] = {
        {.algo = BS__DN_WINOGRAD, .status = BS__DN_NOT_SUPPORTED, .determinism = BS__DN_DETERMINISTIC},
        {.algo = 0, .determinism = 0, .memory = 0},
        {.algo = BS__DN_FFT, .determinism = BS__DN_DETERMINISTIC},
        {.algo = 3, .determinism = BS__DN_DETERMINISTIC, .memory = (size_t)1 << 40},
        {.algo = BS__DN_PRECOMPUTED_GEMM, .determinism = BS__DN_DETERMINISTIC, .memory = WORKSPACE}};
    (void)h;
    *count = 0;
    if (!fits(x, w, c, y))
        return refuse("images and weight that do not fit each other");
    if (none && *none == '1')
        return BS__DN_NOT_SUPPORTED + 1;
    while (*count < wanted && *count < (int)(sizeof list / sizeof *list)) {
        found[*count] = list[*count];
        ++*count;
    }
    return BS__DN_SUCCESS;
}

bs__dn_status cudnnGetConvolutionForwardWorkspaceSize(bs__dn_handle h, const bs__dn_tensor x,
                                                      const bs__dn_filter w, const bs__dn_convolution c,
                                                      const bs__dn_tensor y, bs__dn_algorithm algorithm,
                                                      size_t *bytes)
{
    (void)h;
    if (!fits(x, w, c, y) || algorithm != BS__DN_PRECOMPUTED_GEMM)
        return refuse("a workspace of what was not proposed");
    *bytes = WORKSPACE;
    return BS__DN_SUCCESS;
}

/* A convolution that waits on the stream. */
struct work {
    struct bs__dn_opaque_tensor x, y;
    struct bs__dn_opaque_filter w;
    struct bs__dn_opaque_convolution c;
    bool relu;
    uint64_t x_at, w_at, bias_at, y_at, workspace;
};

size_t fake_cudnn_bytes(int type)
{
    return type == BS__DN_F32 ? 4 : 2;
}

float fake_cudnn_load(const void *p, size_t i, int type)
{
    uint16_t half;
    float f;
    if (type == BS__DN_F32)
        return memcpy(&f, (const char *)p + 4 * i, 4), f;
    memcpy(&half, (const char *)p + 2 * i, 2);
    return type == BS__DN_F16 ? bs_half_to_float(half) : bs_bfloat_to_float(half);
}

void fake_cudnn_store(void *p, size_t i, int type, float v)
{
    const uint16_t half = type == BS__DN_F16 ? bs_float_to_half(v) : bs_float_to_bfloat(v);
    if (type == BS__DN_F32)
        memcpy((char *)p + 4 * i, &v, 4);
    else
        memcpy((char *)p + 2 * i, &half, 2);
}

/* One output pixel and channel. */
static float pixel(const struct work *k, const void *x, const void *w, int n, int i, int j, int o)
{
    float sum = 0;
    for (int p = 0; p < k->w.h; p++)
        for (int q = 0; q < k->w.w; q++) {
            const int y0 = i * k->c.stride_h + p - k->c.pad_h, x0 = j * k->c.stride_w + q - k->c.pad_w;
            if (y0 < 0 || y0 >= k->x.h || x0 < 0 || x0 >= k->x.w)
                continue;
            const size_t from =
                (((size_t)n * (size_t)k->x.h + (size_t)y0) * (size_t)k->x.w + (size_t)x0) * (size_t)k->x.c;
            const size_t tap =
                (((size_t)o * (size_t)k->w.h + (size_t)p) * (size_t)k->w.w + (size_t)q) * (size_t)k->w.c;
            for (int c = 0; c < k->x.c; c++)
                sum += fake_cudnn_load(x, from + (size_t)c, k->x.type) *
                       fake_cudnn_load(w, tap + (size_t)c, k->x.type);
        }
    return sum;
}

static int run(void *context)
{
    const struct work *k = context;
    const size_t e = fake_cudnn_bytes(k->x.type),
                 out = (size_t)k->y.n * (size_t)k->y.h * (size_t)k->y.w * (size_t)k->y.c;
    const void *x =
        bs_emulation_read(k->x_at, e * (size_t)k->x.n * (size_t)k->x.h * (size_t)k->x.w * (size_t)k->x.c);
    const void *w =
        bs_emulation_read(k->w_at, e * (size_t)k->w.k * (size_t)k->w.h * (size_t)k->w.w * (size_t)k->w.c);
    const void *bias = bs_emulation_read(k->bias_at, e * (size_t)k->y.c);
    void *y = bs_emulation_write(k->y_at, e * out);
    if (!x || !w || !bias || !y || !bs_emulation_write(k->workspace, WORKSPACE))
        return 700;
    size_t at = 0;
    for (int n = 0; n < k->y.n; n++)
        for (int i = 0; i < k->y.h; i++)
            for (int j = 0; j < k->y.w; j++)
                for (int o = 0; o < k->y.c; o++) {
                    const float v = pixel(k, x, w, n, i, j, o) + fake_cudnn_load(bias, (size_t)o, k->y.type);
                    fake_cudnn_store(y, at++, k->y.type, k->relu && !(v > 0) ? 0 : v);
                }
    return 0;
}

bs__dn_status cudnnConvolutionBiasActivationForward(
    bs__dn_handle h, const void *alpha, const bs__dn_tensor x_desc, const void *x, const bs__dn_filter w_desc,
    const void *w, const bs__dn_convolution c, bs__dn_algorithm algorithm, void *workspace, size_t bytes,
    const void *beta, const bs__dn_tensor z_desc, const void *z, const bs__dn_tensor bias_desc,
    const void *bias, const bs__dn_activation activation, const bs__dn_tensor y_desc, void *y)
{
    if (!fits(x_desc, w_desc, c, y_desc) || bias_desc->n != 1 || bias_desc->c != y_desc->c ||
        bias_desc->h != 1 || bias_desc->w != 1 || bias_desc->type != y_desc->type || !z_desc || !z)
        return refuse("images, weight and bias that do not fit each other");
    if (*(const float *)alpha != 1 || *(const float *)beta != 0)
        return refuse("a scaled convolution");
    if (algorithm != BS__DN_PRECOMPUTED_GEMM)
        return refuse("an algorithm that was not proposed");
    if (bytes != WORKSPACE || !workspace || (uintptr_t)workspace % 256)
        return refuse("no workspace, or not aligned");
    if ((uintptr_t)x % 16 || (uintptr_t)w % 16 || (uintptr_t)y % 16 || (uintptr_t)bias % 16 || !x || !w ||
        !bias || !y)
        return refuse("an address that is not aligned");
    struct work *k = calloc(1, sizeof *k);
    if (!k)
        return BAD;
    *k = (struct work){.x = *x_desc,
                       .y = *y_desc,
                       .w = *w_desc,
                       .c = *c,
                       .relu = activation->mode == BS__DN_RELU,
                       .x_at = (uint64_t)(uintptr_t)x,
                       .w_at = (uint64_t)(uintptr_t)w,
                       .bias_at = (uint64_t)(uintptr_t)bias,
                       .y_at = (uint64_t)(uintptr_t)y,
                       .workspace = (uint64_t)(uintptr_t)workspace};
    return bs_emulation_queue(h->stream, run, k, free) == 0 ? BS__DN_SUCCESS
                                                            : refuse("the stream takes no work");
}
