/* Network maps of made-up cells: discs on a jittered grid, some touching, with noise; a pure function of position, so that
   maps of any size can be read strip by strip without being held. Any thread. */
#ifndef BS_TESTS_UNIT_INSTANCES_SYNTHETIC_H
#define BS_TESTS_UNIT_INSTANCES_SYNTHETIC_H

#include "model/instances/blockwise.h"

/* About one disc for every cell x cell pixels; a tenth of the cells is empty. */
struct synthetic {
    enum bs_recipe recipe;
    size_t width;
    unsigned cell; /* pixels; at least 8 */
    uint64_t seed;
};

/* ctx is a struct synthetic. */
struct bs_map_source synthetic_source(struct synthetic *s);
/* A number in [0, 1) that depends on its arguments alone. */
double synthetic_random(uint64_t seed, uint64_t a, uint64_t b);

#endif
