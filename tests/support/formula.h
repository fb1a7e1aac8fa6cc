/* Weights and images that follow from names and a seed (golden/README.md, "The formula rule"), so that full-size networks
   can be checked without shipping them. Pure functions; any thread. */
#ifndef BS_TESTS_SUPPORT_FORMULA_H
#define BS_TESTS_SUPPORT_FORMULA_H

#include "kernels/tensor.h"

/* The 64-bit hash of element i. */
uint64_t bs_formula_hash(const char *name, uint64_t seed, uint64_t i);
/* Element i of a state entry. BS_EUNSUPPORTED when no line of the rule's table fits the name and shape. */
bs_status bs_formula_value(const char *name, const struct bs_shape *shape, uint64_t seed, uint64_t i,
                           float *out, struct bs_err *err) BS_NODISCARD;
/* All elements, in C order. */
bs_status bs_formula_values(const char *name, const struct bs_shape *shape, uint64_t seed, float *out,
                            struct bs_err *err) BS_NODISCARD;
/* The image (channels, height, width). */
void bs_formula_image(uint64_t seed, int64_t channels, int64_t height, int64_t width, float *out);

#endif
