/* The paper's six networks by name, and formula weights for any graph: what benchmarks run. */
#ifndef BS_TESTS_SUPPORT_NAMED_NETWORK_H
#define BS_TESTS_SUPPORT_NAMED_NETWORK_H

#include "kernels/params.h"
#include "model/arch/arch.h"

/* unet (64 features, depth 4, InstanceNorm, two outputs), unetr_b, unetr_l, unetr_h (Segment Anything's encoders), vimunet_t,
   vimunet_s (three outputs); up-sampling bilinear unless transposed; skip: UNETR's skip connections. False: no such network. */
bool bs_named_network(const char *name, bool transposed, bool skip, struct bs_arch_config *out);

/* Formula weights (formula.h) of the shapes that g has; borrows g as long as the result lives. */
bs_status bs_formula_params(struct bs_graph *g, uint64_t seed, struct bs_params **out,
                            struct bs_err *err) BS_NODISCARD;

#endif
