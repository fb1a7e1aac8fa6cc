/* NVIDIA's libraries, opened at run time where they are installed: cuBLASLt for products of matrices, cuDNN for convolutions and
   attention. Without them the own kernels serve, and the device's notice says what would make it faster. In the environment
   BS_CUDA_LIBRARIES=none leaves them out, and BS_CUDA_ATTENTION=own or =cudnn decides who attends (fused_attention.h), for
   measurements. Executor thread only. */
#ifndef BS_KERNELS_CUDA_LIBRARIES_H
#define BS_KERNELS_CUDA_LIBRARIES_H

#include "kernels/base/status.h"

enum bs__attention_by { BS__ATTENTION_CHOSEN, BS__ATTENTION_OWN, BS__ATTENTION_LIBRARY };

struct bs__libraries {
    struct bs__cublaslt *cublaslt; /* NULL: not there */
    struct bs__cudnn *cudnn;       /* NULL: not there */
    enum bs__attention_by attention;
    char missing[2][128]; /* why; "" */
};

/* The context is current. Never fails: what is not there stays NULL, with its reason. stream: of all their work. */
void bs__libraries_open(struct bs__libraries *l, void *stream);
/* Accepts what was never opened (zeros). */
void bs__libraries_close(struct bs__libraries *l);
/* "cuBLASLt 12.8.4, cuDNN 9.8.0", or what stands in for them; notice: what is missing ("" when nothing is). */
void bs__libraries_describe(const struct bs__libraries *l, char *text, size_t len, char *notice,
                            size_t notice_len);

#endif
