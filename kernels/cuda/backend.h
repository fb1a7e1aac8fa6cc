/* The CUDA backend's table over any image of kernels: the plugin's own, or the tests'. */
#ifndef BS_KERNELS_CUDA_BACKEND_H
#define BS_KERNELS_CUDA_BACKEND_H

#include "kernels/backend.h"

/* NULL for another ABI than the one this file was compiled with. */
const struct bs_backend_i *bs_backend_entry(unsigned abi);

#endif
