/* Random numbers that are a function of what they are for: seed, purpose and position give the number, whatever was drawn
   before and by whichever thread. So sample i of seed s is always the same. Pure functions, any thread. */
#ifndef BS_MODEL_DATASET_RANDOM_H
#define BS_MODEL_DATASET_RANDOM_H

#include <stdint.h>

/* One stream of numbers; copying it copies its position. */
struct bs_random {
    uint64_t key, drawn;
};

/* The stream of one item, e.g. of sample `item`; purpose keeps streams of different uses apart. */
struct bs_random bs_random_of(uint64_t seed, uint64_t purpose, uint64_t item);
uint64_t bs_random_next(struct bs_random *r);
/* Each of 0 .. count-1 equally likely; count at least 1. */
uint64_t bs_random_below(struct bs_random *r, uint64_t count);
/* In [0, 1), 53 bits. */
double bs_random_unit(struct bs_random *r);

/* Where position i of 0 .. count-1 goes in a shuffle: for fixed seed and round every result once. */
uint64_t bs_random_shuffled(uint64_t seed, uint64_t round, uint64_t count, uint64_t i);

#endif
