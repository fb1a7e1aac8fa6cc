/* Our declarations of cuDNN (kernels/cuda/cudnn.h) against the vendor's cudnn.h: what does not agree does not compile. Running it
   tells how much was compared. */
#include <cudnn.h>

#include <stdio.h>

#define BS__CUDNN_TYPES
typedef cudnnStatus_t bs__dn_status;
typedef cudnnDataType_t bs__dn_data;
typedef cudnnTensorFormat_t bs__dn_format;
typedef cudnnConvolutionMode_t bs__dn_mode;
typedef cudnnMathType_t bs__dn_math;
typedef cudnnActivationMode_t bs__dn_activation_mode;
typedef cudnnNanPropagation_t bs__dn_nan;
typedef cudnnConvolutionFwdAlgo_t bs__dn_algorithm;
typedef cudnnDeterminism_t bs__dn_determinism;
typedef cudnnBackendDescriptorType_t bs__dn_kind;
typedef cudnnBackendAttributeName_t bs__dn_attribute;
typedef cudnnBackendAttributeType_t bs__dn_type;
typedef cudnnBackendDescriptor_t bs__dn_descriptor;
typedef cudnnHandle_t bs__dn_handle;
typedef cudnnTensorDescriptor_t bs__dn_tensor;
typedef cudnnFilterDescriptor_t bs__dn_filter;
typedef cudnnConvolutionDescriptor_t bs__dn_convolution;
typedef cudnnActivationDescriptor_t bs__dn_activation;
typedef cudaStream_t bs__dn_stream;
typedef cudnnConvolutionFwdAlgoPerf_t bs__dn_proposal;
#include "kernels/cuda/cudnn.h"

_Static_assert(sizeof(cudnnStatus_t) == sizeof(int) && sizeof(cudnnDataType_t) == sizeof(int) &&
                   sizeof(cudnnTensorFormat_t) == sizeof(int) && sizeof(cudnnMathType_t) == sizeof(int) &&
                   sizeof(cudnnConvolutionFwdAlgo_t) == sizeof(int) &&
                   sizeof(cudnnBackendDescriptorType_t) == sizeof(int) &&
                   sizeof(cudnnBackendAttributeName_t) == sizeof(int) &&
                   sizeof(cudnnBackendAttributeType_t) == sizeof(int) &&
                   sizeof(cudnnBackendHeurMode_t) == sizeof(int) &&
                   sizeof(cudnnBackendNumericalNote_t) == sizeof(int),
               "enums are passed as int");

/* What cudnn.h of ours has in its place. */
struct proposal {
    int algo, status;
    float time;
    size_t memory;
    int determinism, mathType, reserved[3];
};
#define SAME_PLACE(member)                                                                                   \
    _Static_assert(offsetof(struct proposal, member) == offsetof(cudnnConvolutionFwdAlgoPerf_t, member),     \
                   #member)
_Static_assert(sizeof(struct proposal) == sizeof(cudnnConvolutionFwdAlgoPerf_t), "proposal");
SAME_PLACE(algo);
SAME_PLACE(status);
SAME_PLACE(time);
SAME_PLACE(memory);
SAME_PLACE(determinism);
SAME_PLACE(mathType);

#define COMPARE(ours, theirs, number) _Static_assert((int)theirs == number, #theirs);
BS__CUDNN_NUMBERS(COMPARE)
#if CUDNN_VERSION >= BS__CUDNN_ATTENTION_VERSION /* whose headers have them */
BS__CUDNN_ATTENTION_NUMBERS(COMPARE)
#endif
#undef COMPARE

#define COMPARE(member, result, symbol, parameters)                                                          \
    typedef result(*type_of_##symbol) parameters;                                                            \
    _Static_assert(__builtin_types_compatible_p(type_of_##symbol, __typeof__(&symbol)), #symbol);
BS__CUDNN_FUNCTIONS(COMPARE)
#undef COMPARE

int main(void)
{
    int functions = 0, numbers = 0;
#define COUNT(member, result, symbol, parameters) functions++;
    BS__CUDNN_FUNCTIONS(COUNT)
#undef COUNT
#define COUNT(ours, theirs, number) numbers++;
    BS__CUDNN_NUMBERS(COUNT)
#if CUDNN_VERSION >= BS__CUDNN_ATTENTION_VERSION
    BS__CUDNN_ATTENTION_NUMBERS(COUNT)
#endif
#undef COUNT
    printf("%d functions and %d numbers agree with cudnn.h of version %d.%d\n", functions, numbers,
           CUDNN_MAJOR, CUDNN_MINOR);
    return 0;
}
