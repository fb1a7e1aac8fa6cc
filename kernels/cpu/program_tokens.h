/* Steps over tokens as a program holds them: a kernel's arguments, and where its rows lie. Written by build_tokens.c, run
   by steps_tokens.c on the executor thread. */
#ifndef BS_KERNELS_CPU_PROGRAM_TOKENS_H
#define BS_KERNELS_CPU_PROGRAM_TOKENS_H

#include "kernels/cpu/attention.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/program.h"
#include "kernels/cpu/scan.h"

enum bs__rows_place { BS__ROWS_NONE, BS__ROWS_ARENA, BS__ROWS_INPUT, BS__ROWS_OUTPUT };

/* A value that is tokens: N samples of `tokens` rows of `features`; offset and distances in elements. */
struct bs__rows_at {
    enum bs__rows_place place;
    int index; /* of the buffer, the input or the output */
    int64_t n, tokens;
    int features;
    int64_t offset, row, sample;
    bool bf16;
};

/* Which rows a step binds; those of a scan's second direction come after its first's. */
enum {
    BS__AT_X,
    BS__AT_DST,
    BS__AT_OTHER,
    BS__AT_SUM,
    BS__AT_SECOND_DST,
    BS__AT_U = BS__AT_OTHER,
    BS__AT_DELTA,
    BS__AT_LOW,
    BS__AT_B,
    BS__AT_C,
    BS__AT_DIRECTION,
    BS__AT_COUNT = BS__AT_U + 2 * (BS__AT_DIRECTION - BS__AT_U)
};

struct bs__token_step {
    struct bs__rows_at at[BS__AT_COUNT];
    const float *table; /* of a pass over rows: a row for each token, added in all samples; NULL: none */
    union {
        struct bs__row_pass pass;
        struct bs__patches patches;
        struct bs__relayout relayout;
        struct bs__linear linear;
        struct bs__attention attention;
        struct bs__conv1d conv1d;
        struct bs__scan scan;
    };
    bs__task_fn run;
};

#endif
