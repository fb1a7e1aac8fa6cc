/* cuDNN 9, opened at run time: our own declarations of the functions and numbers that are used (tests compare them with cudnn.h),
   and convolutions of (N,H,W,C) images with bias and ReLU made of them. The algorithm is the library's first proposal that is
   deterministic, fixed when a network is compiled; nothing is timed. Attention is in cudnn_attention.h. Executor thread only. */
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
typedef int bs__dn_kind;      /* of a descriptor of the graph interface */
typedef int bs__dn_attribute; /* of such a descriptor */
typedef int bs__dn_type;      /* of an attribute's values */
typedef struct bs__dn_context *bs__dn_handle;
typedef struct bs__dn_opaque_tensor *bs__dn_tensor;
typedef struct bs__dn_opaque_filter *bs__dn_filter;
typedef struct bs__dn_opaque_convolution *bs__dn_convolution;
typedef struct bs__dn_opaque_activation *bs__dn_activation;
typedef void *bs__dn_stream;
typedef void *bs__dn_descriptor;
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
    X(BS__DN_BAD_PARAM, CUDNN_STATUS_BAD_PARAM, 2000)                                                        \
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
    X(BS__DN_WINOGRAD_NONFUSED, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED, 7)                             \
    X(BS__DN_TYPE_HANDLE, CUDNN_TYPE_HANDLE, 0)                                                              \
    X(BS__DN_TYPE_DATA, CUDNN_TYPE_DATA_TYPE, 1)                                                             \
    X(BS__DN_TYPE_BOOL, CUDNN_TYPE_BOOLEAN, 2)                                                               \
    X(BS__DN_TYPE_INT64, CUDNN_TYPE_INT64, 3)                                                                \
    X(BS__DN_TYPE_POINTER, CUDNN_TYPE_VOID_PTR, 6)                                                           \
    X(BS__DN_TYPE_MODE, CUDNN_TYPE_HEUR_MODE, 8)                                                             \
    X(BS__DN_TYPE_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, 11)                                                       \
    X(BS__DN_TYPE_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 15)                                             \
    X(BS__DN_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 2)                                                     \
    X(BS__DN_CONFIG, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, 3)                                                  \
    X(BS__DN_HEURISTIC, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, 4)                                              \
    X(BS__DN_PLAN, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, 5)                                               \
    X(BS__DN_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, 15)                                             \
    X(BS__DN_PACK, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, 16)                                                \
    X(BS__DN_TENSOR, CUDNN_BACKEND_TENSOR_DESCRIPTOR, 17)                                                    \
    X(BS__DN_HEURISTIC_MODE, CUDNN_ATTR_ENGINEHEUR_MODE, 200)                                                \
    X(BS__DN_HEURISTIC_GRAPH, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, 201)                                    \
    X(BS__DN_HEURISTIC_RESULTS, CUDNN_ATTR_ENGINEHEUR_RESULTS, 202)                                          \
    X(BS__DN_CONFIG_ENGINE, CUDNN_ATTR_ENGINECFG_ENGINE, 300)                                                \
    X(BS__DN_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, 400)                                             \
    X(BS__DN_PLAN_CONFIG, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, 401)                                      \
    X(BS__DN_PLAN_WORKSPACE, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 402)                                  \
    X(BS__DN_GRAPH_HANDLE, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, 800)                                            \
    X(BS__DN_GRAPH_OPERATIONS, CUDNN_ATTR_OPERATIONGRAPH_OPS, 801)                                           \
    X(BS__DN_TENSOR_ALIGNMENT, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 900)                                        \
    X(BS__DN_TENSOR_TYPE, CUDNN_ATTR_TENSOR_DATA_TYPE, 901)                                                  \
    X(BS__DN_TENSOR_SIZES, CUDNN_ATTR_TENSOR_DIMENSIONS, 902)                                                \
    X(BS__DN_TENSOR_STRIDES, CUDNN_ATTR_TENSOR_STRIDES, 903)                                                 \
    X(BS__DN_TENSOR_ID, CUDNN_ATTR_TENSOR_UNIQUE_ID, 906)                                                    \
    X(BS__DN_TENSOR_BY_VALUE, CUDNN_ATTR_TENSOR_IS_BY_VALUE, 908)                                            \
    X(BS__DN_PACK_IDS, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 1000)                                             \
    X(BS__DN_PACK_POINTERS, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, 1001)                                     \
    X(BS__DN_PACK_WORKSPACE, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 1003)                                        \
    X(BS__DN_ENGINE_INDEX, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1301)                                             \
    X(BS__DN_ENGINE_NOTES, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, 1303)                                           \
    X(BS__DN_NOTE_NONDETERMINISTIC, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, 4)                                \
    X(BS__DN_MODE_A, CUDNN_HEUR_MODE_A, 3)

/* Attention as one operation of a graph, since cuDNN 9.13. */
#define BS__CUDNN_ATTENTION_VERSION 91301
#define BS__CUDNN_ATTENTION_NUMBERS(X)                                                                       \
    X(BS__DN_ATTENTION, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR, 41)                                     \
    X(BS__DN_ATTENTION_Q, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, 2800)                                         \
    X(BS__DN_ATTENTION_K, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, 2801)                                         \
    X(BS__DN_ATTENTION_V, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, 2802)                                         \
    X(BS__DN_ATTENTION_Y, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, 2803)                                         \
    X(BS__DN_ATTENTION_SCALE, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, 2805)                                 \
    X(BS__DN_HEURISTIC_DEVICE, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, 204)                                        \
    X(BS__DN_PLAN_DEVICE, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, 407)                                         \
    X(BS__DN_DEVICE, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, 38)                                                \
    X(BS__DN_DEVICE_JSON, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, 2702)                                   \
    X(BS__DN_TYPE_CHAR, CUDNN_TYPE_CHAR, 24)

#define BS__NUMBER(ours, theirs, number) ours = (number),
enum { BS__CUDNN_NUMBERS(BS__NUMBER) };
enum { BS__CUDNN_ATTENTION_NUMBERS(BS__NUMBER) };
#undef BS__NUMBER

/* X(member of the table, what it returns, the symbol, parameters). */
#define BS__CUDNN_FUNCTIONS(X)                                                                               \
    X(version, size_t, cudnnGetVersion, (void))                                                              \
    X(cuda_version, size_t, cudnnGetCudartVersion, (void))                                                   \
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
       const bs__dn_tensor y_desc, void *y))                                                                 \
    X(make, bs__dn_status, cudnnBackendCreateDescriptor, (bs__dn_kind kind, bs__dn_descriptor * d))          \
    X(release, bs__dn_status, cudnnBackendDestroyDescriptor, (bs__dn_descriptor d))                          \
    X(finalize, bs__dn_status, cudnnBackendFinalize, (bs__dn_descriptor d))                                  \
    X(set, bs__dn_status, cudnnBackendSetAttribute,                                                          \
      (bs__dn_descriptor d, bs__dn_attribute a, bs__dn_type type, int64_t count, const void *values))        \
    X(get, bs__dn_status, cudnnBackendGetAttribute,                                                          \
      (const bs__dn_descriptor d, bs__dn_attribute a, bs__dn_type type, int64_t room, int64_t *count,        \
       void *values))                                                                                        \
    X(execute, bs__dn_status, cudnnBackendExecute,                                                           \
      (bs__dn_handle h, bs__dn_descriptor plan, bs__dn_descriptor pack))

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
