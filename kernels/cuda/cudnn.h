/* cuDNN 9, opened at run time: our own declarations of the functions and numbers that are used (tests compare them with cudnn.h),
   and convolutions of (N,H,W,C) images with bias and ReLU made of them. The algorithm is the library's first proposal that is
   deterministic, fixed when a network is compiled; nothing is timed. Executor thread only. */
#ifndef BS_KERNELS_CUDA_CUDNN_H
#define BS_KERNELS_CUDA_CUDNN_H

#include "kernels/cuda/launch.h"

#ifndef BS__CUDNN_TYPES /* the comparison with cudnn.h puts its types here */
typedef int bs__dn_status;
typedef int bs__dn_data;
typedef int bs__dn_format;
typedef int bs__dn_mode;
typedef int bs__dn_math;
typedef int bs__dn_activation_mode;
typedef int bs__dn_nan;
typedef int bs__dn_algorithm;
typedef int bs__dn_determinism;
typedef struct bs__dn_context *bs__dn_handle;
typedef struct bs__dn_opaque_tensor *bs__dn_tensor;
typedef struct bs__dn_opaque_filter *bs__dn_filter;
typedef struct bs__dn_opaque_convolution *bs__dn_convolution;
typedef struct bs__dn_opaque_activation *bs__dn_activation;
typedef void *bs__dn_stream;
typedef struct {
    bs__dn_algorithm algo;
    bs__dn_status status;
    float time;
    size_t memory;
    bs__dn_determinism determinism;
    bs__dn_math mathType;
    int reserved[3];
} bs__dn_proposal;
#endif

/* X(our name, cudnn.h's name, number). */
#define BS__CUDNN_NUMBERS(X)                                                                                 \
    X(BS__DN_SUCCESS, CUDNN_STATUS_SUCCESS, 0)                                                               \
    X(BS__DN_NOT_SUPPORTED, CUDNN_STATUS_NOT_SUPPORTED, 3000)                                                \
    X(BS__DN_F32, CUDNN_DATA_FLOAT, 0)                                                                       \
    X(BS__DN_F16, CUDNN_DATA_HALF, 2)                                                                        \
    X(BS__DN_BF16, CUDNN_DATA_BFLOAT16, 9)                                                                   \
    X(BS__DN_NHWC, CUDNN_TENSOR_NHWC, 1)                                                                     \
    X(BS__DN_CROSS_CORRELATION, CUDNN_CROSS_CORRELATION, 1)                                                  \
    X(BS__DN_DEFAULT_MATH, CUDNN_DEFAULT_MATH, 0)                                                            \
    X(BS__DN_TENSOR_MATH, CUDNN_TENSOR_OP_MATH, 1)                                                           \
    X(BS__DN_FMA_MATH, CUDNN_FMA_MATH, 3)                                                                    \
    X(BS__DN_RELU, CUDNN_ACTIVATION_RELU, 1)                                                                 \
    X(BS__DN_IDENTITY, CUDNN_ACTIVATION_IDENTITY, 5)                                                         \
    X(BS__DN_PROPAGATE_NAN, CUDNN_PROPAGATE_NAN, 1)                                                          \
    X(BS__DN_DETERMINISTIC, CUDNN_DETERMINISTIC, 1)                                                          \
    X(BS__DN_PRECOMPUTED_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, 1)                          \
    X(BS__DN_FFT, CUDNN_CONVOLUTION_FWD_ALGO_FFT, 4)                                                         \
    X(BS__DN_FFT_TILING, CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING, 5)                                           \
    X(BS__DN_WINOGRAD, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD, 6)                                               \
    X(BS__DN_WINOGRAD_NONFUSED, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED, 7)

#define BS__NUMBER(ours, theirs, number) ours = (number),
enum { BS__CUDNN_NUMBERS(BS__NUMBER) };
#undef BS__NUMBER

/* X(member of the table, what it returns, the symbol, parameters). */
#define BS__CUDNN_FUNCTIONS(X)                                                                               \
    X(version, size_t, cudnnGetVersion, (void))                                                              \
    X(status_text, const char *, cudnnGetErrorString, (bs__dn_status s))                                     \
    X(create, bs__dn_status, cudnnCreate, (bs__dn_handle * h))                                               \
    X(destroy, bs__dn_status, cudnnDestroy, (bs__dn_handle h))                                               \
    X(set_stream, bs__dn_status, cudnnSetStream, (bs__dn_handle h, bs__dn_stream stream))                    \
    X(tensor_create, bs__dn_status, cudnnCreateTensorDescriptor, (bs__dn_tensor * t))                        \
    X(tensor_destroy, bs__dn_status, cudnnDestroyTensorDescriptor, (bs__dn_tensor t))                        \
    X(tensor_set, bs__dn_status, cudnnSetTensor4dDescriptor,                                                 \
      (bs__dn_tensor t, bs__dn_format format, bs__dn_data type, int n, int c, int h, int w))                 \
    X(filter_create, bs__dn_status, cudnnCreateFilterDescriptor, (bs__dn_filter * f))                        \
    X(filter_destroy, bs__dn_status, cudnnDestroyFilterDescriptor, (bs__dn_filter f))                        \
    X(filter_set, bs__dn_status, cudnnSetFilter4dDescriptor,                                                 \
      (bs__dn_filter f, bs__dn_data type, bs__dn_format format, int k, int c, int h, int w))                 \
    X(convolution_create, bs__dn_status, cudnnCreateConvolutionDescriptor, (bs__dn_convolution * c))         \
    X(convolution_destroy, bs__dn_status, cudnnDestroyConvolutionDescriptor, (bs__dn_convolution c))         \
    X(convolution_set, bs__dn_status, cudnnSetConvolution2dDescriptor,                                       \
      (bs__dn_convolution c, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,               \
       int dilation_w, bs__dn_mode mode, bs__dn_data compute))                                               \
    X(convolution_math, bs__dn_status, cudnnSetConvolutionMathType, (bs__dn_convolution c, bs__dn_math m))   \
    X(activation_create, bs__dn_status, cudnnCreateActivationDescriptor, (bs__dn_activation * a))            \
    X(activation_destroy, bs__dn_status, cudnnDestroyActivationDescriptor, (bs__dn_activation a))            \
    X(activation_set, bs__dn_status, cudnnSetActivationDescriptor,                                           \
      (bs__dn_activation a, bs__dn_activation_mode mode, bs__dn_nan nan, double coefficient))                \
    X(propose, bs__dn_status, cudnnGetConvolutionForwardAlgorithm_v7,                                        \
      (bs__dn_handle h, const bs__dn_tensor x, const bs__dn_filter w, const bs__dn_convolution c,            \
       const bs__dn_tensor y, const int wanted, int *count, bs__dn_proposal *found))                         \
    X(workspace, bs__dn_status, cudnnGetConvolutionForwardWorkspaceSize,                                     \
      (bs__dn_handle h, const bs__dn_tensor x, const bs__dn_filter w, const bs__dn_convolution c,            \
       const bs__dn_tensor y, bs__dn_algorithm algorithm, size_t *bytes))                                    \
    X(convolve, bs__dn_status, cudnnConvolutionBiasActivationForward,                                        \
      (bs__dn_handle h, const void *alpha, const bs__dn_tensor x_desc, const void *x,                        \
       const bs__dn_filter w_desc, const void *w, const bs__dn_convolution c, bs__dn_algorithm algorithm,    \
       void *workspace, size_t bytes, const void *beta, const bs__dn_tensor z_desc, const void *z,           \
       const bs__dn_tensor bias_desc, const void *bias, const bs__dn_activation activation,                  \
       const bs__dn_tensor y_desc, void *y))

struct bs__cudnn;
struct bs__cudnn_plan;

/* y (samples, out_h, out_w, out) = f(conv(x (samples, h, w, in), w (out, kernel_h, kernel_w, in)) + bias (out)), packed rows, all of
   one element type, sums in float. */
struct bs__cudnn_convolution {
    enum bs__element element;
    int64_t samples, h, w, in, out, out_h, out_w;
    int kernel_h, kernel_w, stride, pad;
    bool relu, tf32, winograd; /* the last two: may be used */
};

/* BS_EUNSUPPORTED: the library is not there, or not one that we know. The context is current. */
bs_status bs__cudnn_open(void *stream, struct bs__cudnn **out, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__cudnn_close(struct bs__cudnn *dn);
size_t bs__cudnn_version(const struct bs__cudnn *dn);

/* *out NULL and BS_OK: the library has no algorithm for it. Closed before the library. */
bs_status bs__cudnn_plan(struct bs__cudnn *dn, const struct bs__cudnn_convolution *c,
                         struct bs__cudnn_plan **out, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__cudnn_plan_destroy(struct bs__cudnn_plan *plan);
/* Bytes of workspace that it needs (addresses: multiples of 256), and the library's number of the algorithm. */
size_t bs__cudnn_plan_workspace(const struct bs__cudnn_plan *plan);
int bs__cudnn_plan_algorithm(const struct bs__cudnn_plan *plan);
/* Queues it. */
bs_status bs__cudnn_convolve(const struct bs__cudnn_plan *plan, bs_address x, bs_address w, bs_address bias,
                             bs_address y, bs_address workspace, struct bs_err *err) BS_NODISCARD;

#endif
