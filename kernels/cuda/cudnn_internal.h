/* The table of cuDNN's functions, for the files that plan work with it (cudnn.c, cudnn_attention.c). */
#ifndef BS_KERNELS_CUDA_CUDNN_INTERNAL_H
#define BS_KERNELS_CUDA_CUDNN_INTERNAL_H

#include "kernels/cuda/cudnn.h"

/* What a plan may want of the device besides its operands. */
#define BS__CUDNN_MOST_WORKSPACE ((size_t)256 << 20)

struct bs__cudnn {
    void *library;
    bs__dn_handle handle;
/* A declaration takes no parentheses: NOLINTNEXTLINE(bugprone-macro-parentheses) */
#define MEMBER(member, result, symbol, parameters) result(*member) parameters;
    BS__CUDNN_FUNCTIONS(MEMBER)
#undef MEMBER
};

/* Opens the library without a device: plans for one that is described (bs__cudnn_attention_plan), and nothing more, can be made.
   Closed by bs__cudnn_close. */
bs_status bs__cudnn_load(struct bs__cudnn **out, struct bs_err *err) BS_NODISCARD;
/* BS_EINTERNAL "cuDNN cannot ..." with the library's own words, unless s is success. */
bs_status bs__cudnn_check(const struct bs__cudnn *dn, bs__dn_status s, const char *tried,
                          struct bs_err *err) BS_NODISCARD;

#endif
