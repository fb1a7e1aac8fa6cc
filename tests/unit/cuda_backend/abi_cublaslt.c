/* Our declarations of cuBLASLt (kernels/cuda/cublaslt.h) against the vendor's cublasLt.h: what does not agree does not compile.
   Running it tells how much was compared. */
#include <cublasLt.h>

#include <stdio.h>

#define BS__CUBLASLT_TYPES
typedef cublasStatus_t bs__lt_status;
typedef cublasComputeType_t bs__lt_compute;
typedef cudaDataType_t bs__lt_data;
typedef cublasLtMatmulDescAttributes_t bs__lt_desc_attribute;
typedef cublasLtMatmulPreferenceAttributes_t bs__lt_preference_attribute;
typedef cublasLtHandle_t bs__lt_handle;
typedef cublasLtMatmulDesc_t bs__lt_desc;
typedef cublasLtMatrixLayout_t bs__lt_layout;
typedef cublasLtMatmulPreference_t bs__lt_preference;
typedef cudaStream_t bs__lt_stream;
typedef cublasLtMatmulAlgo_t bs__lt_algorithm;
typedef cublasLtMatmulHeuristicResult_t bs__lt_proposal;
#include "kernels/cuda/cublaslt.h"

_Static_assert(sizeof(cublasStatus_t) == sizeof(int) && sizeof(cublasComputeType_t) == sizeof(int) &&
                   sizeof(cudaDataType_t) == sizeof(int) &&
                   sizeof(cublasLtMatmulDescAttributes_t) == sizeof(int) &&
                   sizeof(cublasLtMatmulPreferenceAttributes_t) == sizeof(int),
               "enums are passed as int");

/* What cublaslt.h has in their place. */
struct algorithm {
    uint64_t data[8];
};
struct proposal {
    struct algorithm algo;
    size_t workspaceSize;
    int state;
    float wavesCount;
    int reserved[4];
};
#define SAME_PLACE(member)                                                                                   \
    _Static_assert(offsetof(struct proposal, member) == offsetof(cublasLtMatmulHeuristicResult_t, member),   \
                   #member)
_Static_assert(sizeof(struct algorithm) == sizeof(cublasLtMatmulAlgo_t), "algorithm");
_Static_assert(sizeof(struct proposal) == sizeof(cublasLtMatmulHeuristicResult_t), "proposal");
SAME_PLACE(algo);
SAME_PLACE(workspaceSize);
SAME_PLACE(state);
SAME_PLACE(wavesCount);

#define COMPARE(ours, theirs, number) _Static_assert((int)theirs == number, #theirs);
BS__CUBLASLT_NUMBERS(COMPARE)
#undef COMPARE

#define COMPARE(member, result, symbol, parameters)                                                          \
    typedef result(*type_of_##symbol) parameters;                                                            \
    _Static_assert(__builtin_types_compatible_p(type_of_##symbol, __typeof__(&symbol)), #symbol);
BS__CUBLASLT_FUNCTIONS(COMPARE)
#undef COMPARE

int main(void)
{
    int functions = 0, numbers = 0;
#define COUNT(member, result, symbol, parameters) functions++;
    BS__CUBLASLT_FUNCTIONS(COUNT)
#undef COUNT
#define COUNT(ours, theirs, number) numbers++;
    BS__CUBLASLT_NUMBERS(COUNT)
#undef COUNT
    printf("%d functions and %d numbers agree with cublasLt.h\n", functions, numbers);
    return 0;
}
