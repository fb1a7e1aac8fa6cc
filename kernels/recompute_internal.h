/* What the files of recomputation share: recompute.c chooses what is kept, recompute_schedule.c says in which order things are
   made then, how much is alive and what it costs. */
#ifndef BS_KERNELS_RECOMPUTE_INTERNAL_H
#define BS_KERNELS_RECOMPUTE_INTERNAL_H

#include "kernels/recompute.h"

/* What is known of one node. */
struct bs__remade {
    size_t bytes;   /* in the arena; 0: a parameter */
    double work;    /* of making it */
    bool forward;   /* does not depend on the seed */
    bool fixed;     /* input or parameter: never made again */
    bool read_back; /* the backward reads it */
    int place;      /* in the order */
};

/* A node in the order of a schedule: the one of the graph, or the second making of a forward value. */
struct bs__making {
    bs_value value;
    bool again;
};

struct bs__schedule {
    const struct bs_graph *g;
    int count;               /* nodes of g */
    struct bs__remade *node; /* per node */
    bool *narrow;            /* per node: 16 bits of it are stored */
    bs_value *order;         /* live nodes and all inputs: the forward, then the backward */
    int norder, nforward;
    /* Of the last bs__schedule_run. */
    struct bs__making *making; /* room for 2 count */
    int nmaking;
    size_t peak;
    double work; /* of what is made again */
    int values;
    /* Its own. */
    int *first, *last; /* per instance: node v, or count + v made again */
    int *stack;
    int64_t *change;
};

bs_status bs__schedule_create(const struct bs_graph *g, bs_value seed, enum bs_precision precision,
                              struct bs__schedule *s, struct bs_err *err) BS_NODISCARD;
void bs__schedule_clear(struct bs__schedule *s);
/* keep: per node; read for forward values that are not fixed. */
void bs__schedule_run(struct bs__schedule *s, const bool *keep);
/* The graph in that order. */
bs_status bs__schedule_write(const struct bs__schedule *s, const bool *keep, struct bs_graph **out,
                             struct bs_err *err) BS_NODISCARD;

#endif
