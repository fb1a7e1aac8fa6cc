/* The image of kernels (kernels/cuda/image.h) that the fake driver takes: a word; the kernels are in the driver itself. */
#include "kernels/cuda/image.h"

const unsigned char bs__cuda_image[] = "emulation";
const unsigned char bs__cuda_image_end[1] = {0};
