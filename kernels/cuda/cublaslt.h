/* cuBLASLt, opened at run time: our own declarations of the functions and numbers that are used, all of its stable C interface
   (tests compare them with cublasLt.h), and products of matrices made of them. Which algorithm multiplies is the library's own
   first proposal for the sizes, fixed when a network is compiled; nothing is timed. Executor thread only. */
#ifndef BS_KERNELS_CUDA_CUBLASLT_H
#define BS_KERNELS_CUDA_CUBLASLT_H

#include "kernels/cuda/launch.h"

#ifndef BS__CUBLASLT_TYPES /* the comparison with cublasLt.h puts its types here */
typedef int bs__lt_status;
typedef int bs__lt_compute;
typedef int bs__lt_data;
typedef int bs__lt_desc_attribute;
typedef int bs__lt_preference_attribute;
typedef struct bs__lt_context *bs__lt_handle;
typedef struct bs__lt_opaque_desc *bs__lt_desc;
typedef struct bs__lt_opaque_layout *bs__lt_layout;
typedef struct bs__lt_opaque_preference *bs__lt_preference;
typedef void *bs__lt_stream;
typedef struct {
    uint64_t data[8];
} bs__lt_algorithm;
typedef struct {
    bs__lt_algorithm algo;
    size_t workspaceSize;
    bs__lt_status state;
    float wavesCount;
    int reserved[4];
} bs__lt_proposal;
#endif

/* X(our name, cublasLt.h's name, number). */
#define BS__CUBLASLT_NUMBERS(X)                                                                              \
    X(BS__LT_SUCCESS, CUBLAS_STATUS_SUCCESS, 0)                                                              \
    X(BS__LT_NOT_SUPPORTED, CUBLAS_STATUS_NOT_SUPPORTED, 15)                                                 \
    X(BS__LT_COMPUTE_32F, CUBLAS_COMPUTE_32F, 68)                                                            \
    X(BS__LT_COMPUTE_TF32, CUBLAS_COMPUTE_32F_FAST_TF32, 77)                                                 \
    X(BS__LT_F32, CUDA_R_32F, 0)                                                                             \
    X(BS__LT_F16, CUDA_R_16F, 2)                                                                             \
    X(BS__LT_BF16, CUDA_R_16BF, 14)                                                                          \
    X(BS__LT_TRANSPOSED, CUBLAS_OP_T, 1)                                                                     \
    X(BS__LT_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA, 3)                                                         \
    X(BS__LT_EPILOGUE, CUBLASLT_MATMUL_DESC_EPILOGUE, 7)                                                     \
    X(BS__LT_BIAS_POINTER, CUBLASLT_MATMUL_DESC_BIAS_POINTER, 8)                                             \
    X(BS__LT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_DEFAULT, 1)                                                 \
    X(BS__LT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_RELU, 2)                                                       \
    X(BS__LT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_BIAS, 4)                                                       \
    X(BS__LT_MAX_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1)                                     \
    X(BS__LT_ALIGNMENT_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 5)                                     \
    X(BS__LT_ALIGNMENT_B, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 6)                                     \
    X(BS__LT_ALIGNMENT_C, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 7)                                     \
    X(BS__LT_ALIGNMENT_D, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 8)

#define BS__NUMBER(ours, theirs, number) ours = (number),
enum { BS__CUBLASLT_NUMBERS(BS__NUMBER) };
#undef BS__NUMBER

/* X(member of the table, what it returns, the symbol, parameters). */
#define BS__CUBLASLT_FUNCTIONS(X)                                                                            \
    X(version, size_t, cublasLtGetVersion, (void))                                                           \
    X(status_text, const char *, cublasLtGetStatusString, (bs__lt_status s))                                 \
    X(create, bs__lt_status, cublasLtCreate, (bs__lt_handle * h))                                            \
    X(destroy, bs__lt_status, cublasLtDestroy, (bs__lt_handle h))                                            \
    X(desc_create, bs__lt_status, cublasLtMatmulDescCreate,                                                  \
      (bs__lt_desc * d, bs__lt_compute compute, bs__lt_data scale))                                          \
    X(desc_destroy, bs__lt_status, cublasLtMatmulDescDestroy, (bs__lt_desc d))                               \
    X(desc_set, bs__lt_status, cublasLtMatmulDescSetAttribute,                                               \
      (bs__lt_desc d, bs__lt_desc_attribute a, const void *value, size_t bytes))                             \
    X(layout_create, bs__lt_status, cublasLtMatrixLayoutCreate,                                              \
      (bs__lt_layout * l, bs__lt_data type, uint64_t rows, uint64_t columns, int64_t ld))                    \
    X(layout_destroy, bs__lt_status, cublasLtMatrixLayoutDestroy, (bs__lt_layout l))                         \
    X(preference_create, bs__lt_status, cublasLtMatmulPreferenceCreate, (bs__lt_preference * p))             \
    X(preference_destroy, bs__lt_status, cublasLtMatmulPreferenceDestroy, (bs__lt_preference p))             \
    X(preference_set, bs__lt_status, cublasLtMatmulPreferenceSetAttribute,                                   \
      (bs__lt_preference p, bs__lt_preference_attribute a, const void *value, size_t bytes))                 \
    X(propose, bs__lt_status, cublasLtMatmulAlgoGetHeuristic,                                                \
      (bs__lt_handle h, bs__lt_desc d, bs__lt_layout a, bs__lt_layout b, bs__lt_layout c, bs__lt_layout y,   \
       bs__lt_preference p, int wanted, bs__lt_proposal *found, int *count))                                 \
    X(multiply, bs__lt_status, cublasLtMatmul,                                                               \
      (bs__lt_handle h, bs__lt_desc d, const void *alpha, const void *a, bs__lt_layout a_layout,             \
       const void *b, bs__lt_layout b_layout, const void *beta, const void *c, bs__lt_layout c_layout,       \
       void *y, bs__lt_layout y_layout, const bs__lt_algorithm *algorithm, void *workspace, size_t bytes,    \
       bs__lt_stream stream))

struct bs__cublaslt;
struct bs__cublaslt_plan;

/* y (rows, columns) = relu(x (rows, depth) w^T + bias), or x w^T + bias + residual; w (columns, depth), bias (columns), all of
   one element type, sums in float. Strides in elements. Addresses are multiples of `alignment` bytes. */
struct bs__cublaslt_product {
    enum bs__element element;
    int64_t rows, columns, depth, x_stride, y_stride, residual_stride;
    bool bias, relu, residual; /* not both of the last */
    bool tf32;
    uint32_t x_alignment, y_alignment, residual_alignment;
};

/* BS_EUNSUPPORTED: the library is not there, or not one that we know. The context is current. */
bs_status bs__cublaslt_open(void *stream, struct bs__cublaslt **out, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__cublaslt_close(struct bs__cublaslt *lt);
size_t bs__cublaslt_version(const struct bs__cublaslt *lt);

/* *out NULL and BS_OK: the library has no algorithm for it. Closed before the library. */
bs_status bs__cublaslt_plan(struct bs__cublaslt *lt, const struct bs__cublaslt_product *p,
                            struct bs__cublaslt_plan **out, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__cublaslt_plan_destroy(struct bs__cublaslt_plan *plan);
/* Bytes of workspace that it needs (addresses: multiples of 256), and a number that tells algorithms apart. */
size_t bs__cublaslt_plan_workspace(const struct bs__cublaslt_plan *plan);
uint64_t bs__cublaslt_plan_algorithm(const struct bs__cublaslt_plan *plan);
/* Queues it. */
bs_status bs__cublaslt_multiply(const struct bs__cublaslt_plan *plan, bs_address x, bs_address w,
                                bs_address bias, bs_address residual, bs_address y, bs_address workspace,
                                struct bs_err *err) BS_NODISCARD;

#endif
