/* The kernels as nvcc compiled them: one image for every kind of GPU in the build's list, with PTX for others, in the form that
   cuModuleLoadData takes. The build writes the file that defines it (CMakeLists.txt); read only, from any thread. */
#ifndef BS_KERNELS_CUDA_IMAGE_H
#define BS_KERNELS_CUDA_IMAGE_H

extern const unsigned char bs__cuda_image[];
extern const unsigned char bs__cuda_image_end[]; /* one past its last byte */

#endif
