/* Less memory for more work: a training graph in which the backward makes values of the forward again instead of keeping them.
   The same operators read the same numbers, so every output has the same bits as before; only the order of the nodes and how
   long values live are others. Pure functions of their arguments, but for the device; any thread where none is given.

   What is kept is chosen by a model of the plan: every value counts with its bytes from the node that makes it to its last
   reader. The forward is cut into segments of about equal bytes where few values cross (Chen et al. 2016, "Training deep nets
   with sublinear memory cost"); of each number of segments the crossing values are kept and the others made again, once, just
   before the backward first reads them. Then values are taken back as long as there is room, those that cost most for their
   bytes first, so that norms, activations and concatenations are what is made again where that suffices. Of all these the one
   with the least work wins. */
#ifndef BS_KERNELS_RECOMPUTE_H
#define BS_KERNELS_RECOMPUTE_H

#include "kernels/executable.h"

struct bs_recompute {
    size_t bytes; /* live at once by the model; more than was asked for: that is the least */
    int values;   /* made again */
    double work,
        forward; /* of making them again, and of the forward: multiply-adds times two and what memory costs */
};

/* Of a finished graph, in which what depends on the input `seed` is the backward, one that has at most `bytes` alive at once when it is compiled for that precision, or
   the least. Inputs and outputs are the same in the same order. *did may be NULL. */
bs_status bs_graph_recompute(const struct bs_graph *g, bs_value seed, enum bs_precision precision,
                             size_t bytes, struct bs_graph **out, struct bs_recompute *did,
                             struct bs_err *err) BS_NODISCARD;

/* Compiles the graph as it is when its arena fits into `bytes`, else with as much made again as that takes: *did (may be NULL) says
   what, zeros when nothing. BS_ENOMEM when it never fits; then did->bytes is the least arena that it came to. */
bs_status bs_executable_create_within(struct bs_device *dev, const struct bs_graph *g, bs_value seed,
                                      struct bs_params *params, enum bs_precision precision, size_t bytes,
                                      struct bs_executable **out, struct bs_recompute *did,
                                      struct bs_err *err) BS_NODISCARD;

#endif
