/* A network cut at its instance and group norms: the part up to one norm's input, with all earlier norms fixed, and the
   whole network with all norms fixed. What norm_statistics.c measures and runs. Pure functions over graphs; any thread. */
#ifndef BS_MODEL_PREDICT_NORM_GRAPH_H
#define BS_MODEL_PREDICT_NORM_GRAPH_H

#include "model/predict/predict_internal.h"

#define BS__MAX_NORMS 62

/* The network at one size, and where its norms are. */
struct bs__norm_plan {
    struct bs_graph *graph;
    int64_t h; /* of the image */
    int nnode, nnorm;
    int *norm_at;                /* per node: the number of this norm, or NO_NORM */
    int *tap_at;                 /* per node: the number of the norm whose input it is, or NO_NORM */
    bs_value tap[BS__MAX_NORMS]; /* the input of each norm */
    bs_value norm[BS__MAX_NORMS];
};

/* Copying a part of the network: values that are known already come in as inputs. */
struct bs__norm_part {
    const struct bs__norm_plan *plan;
    int level; /* inputs of norms above this level (0: full size) are computed again, from the image if need be */
    struct bs_graph *to;
    bs_value *copy; /* per node of the plan; BS_NO_VALUE: not copied yet */
    int target;     /* the norm whose input is wanted; nnorm: the whole network, nothing is known */
    int input[BS__MAX_NORMS], ninput; /* norms whose inputs come in, in the order of the graph's inputs */
};

bs_status bs__norm_plan_open(struct bs__norm_plan *p, const struct bs_arch_config *arch, int64_t n, int64_t h,
                             int64_t w, struct bs_err *err) BS_NODISCARD;
void bs__norm_plan_close(struct bs__norm_plan *p); /* accepts an empty one */
/* Is the input of this norm kept, given the finest level that is? The image itself always is. */
bool bs__norm_is_held(const struct bs__norm_plan *p, int tap, int level);
/* target < nnorm: the part that ends at this norm's input, output "tap", inputs as part->input says. target nnorm: the whole
   network with fixed norms, inputs and outputs as it has them. Fixed norms read parameters fixed.<k>.{weight,bias,mean,var}. */
bs_status bs__norm_part_build(const struct bs__norm_plan *plan, int target, int level,
                              struct bs__norm_part *part, struct bs_graph **out,
                              struct bs_err *err) BS_NODISCARD;

#endif
