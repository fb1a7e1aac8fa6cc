/* How blocks share sums down the columns of rows (the pixels of a channel, the tokens of a feature): a block has a tile of
   columns and a slab of rows of one sample; partial sums of the slabs are added up by a second kernel, in their order. The
   division depends on the shape alone, not on the device, so that results do not either. */
#ifndef BS_KERNELS_CUDA_COLUMNS_H
#define BS_KERNELS_CUDA_COLUMNS_H

#include "kernels/cuda/views.h"

#define BS__COLUMNS_BLOCK 256 /* threads */

struct bs__columns {
    int64_t samples, rows, columns; /* rows: of one sample */
    int64_t slab;                   /* rows of a slab; the last may have fewer */
    int32_t slabs, tiles;
    int32_t across; /* threads side by side, four columns each; the others lie below one another */
    struct bs__divisor by_slabs, by_tiles;
};
/* BS_ELIMIT where there would be too many blocks. */
bs_status bs__columns_of(const char *kernel, int64_t samples, int64_t rows, int64_t columns,
                         struct bs__columns *c, struct bs_err *err) BS_NODISCARD;
/* Slabs of a sample, for sizes of workspaces. */
int64_t bs__columns_slabs(int64_t samples, int64_t rows, int64_t columns);

/* Launches a kernel with a block for every tile of every slab. */
bs_status bs__launch_columns(struct bs__queue *q, const char *kernel, enum bs__element e,
                             const struct bs__columns *c, const void *arguments, size_t bytes,
                             struct bs_err *err) BS_NODISCARD;

/* out[plane][column] = the sum over parts of partial[plane][part][column]; a plane whose out is 0 is left out. */
struct bs__column_totals {
    bs_address partial; /* float */
    bs_address out[2];  /* float */
    int64_t parts, columns;
};
bs_status bs__cuda_column_totals(struct bs__queue *q, const struct bs__column_totals *t,
                                 struct bs_err *err) BS_NODISCARD;

/* out[column] = the sum over rows of x: the gradient of a bias, BS_OP_SUM_TO_CHANNEL. */
struct bs__column_sums {
    struct bs__rows x;
    bs_address out;       /* (columns) float */
    bs_address workspace; /* 16-byte aligned, bs__cuda_column_sums_workspace bytes */
    int64_t rows, columns;
    /* set by the launch */
    int32_t in_fours;
    struct bs__columns geometry;
};
size_t bs__cuda_column_sums_workspace(int64_t rows, int64_t columns);
bs_status bs__cuda_column_sums(struct bs__queue *q, enum bs__element e, const struct bs__column_sums *s,
                               struct bs_err *err) BS_NODISCARD;

#endif
