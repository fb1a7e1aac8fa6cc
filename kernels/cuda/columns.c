#include "kernels/cuda/columns.h"

#include <inttypes.h>

#define EACH 8 /* rows that are worth a thread */
/* About as many blocks as a large device holds at once (132 multiprocessors with four each). */
#define BLOCKS      512
#define MOST_BLOCKS INT64_C(0x7fffffff)

/* Threads side by side: all of a warp, or fewer where that leaves fewer of them idle; at least 8 where the columns last, so
   that a warp reads whole sectors. */
static int32_t across_of(int64_t columns)
{
    const int64_t fours = bs__pieces(columns, 4);
    int32_t across = 32;
    while (across > 8 && fours % across != 0)
        across /= 2;
    while (across > 1 && across / 2 >= fours)
        across /= 2;
    return across;
}

int64_t bs__columns_slabs(int64_t samples, int64_t rows, int64_t columns)
{
    const int32_t across = across_of(columns);
    const int64_t tiles = bs__pieces(bs__pieces(columns, 4), across);
    const int64_t least = (int64_t)EACH * (BS__COLUMNS_BLOCK / across); /* rows worth a block */
    const int64_t most = bs__pieces(rows, least);
    int64_t wanted = samples < BLOCKS && tiles < BLOCKS ? BLOCKS / (samples * tiles) : 1;
    wanted = wanted < 1 ? 1 : (wanted > most ? most : wanted);
    return bs__pieces(rows, bs__pieces(rows, wanted));
}

bs_status bs__columns_of(const char *kernel, int64_t samples, int64_t rows, int64_t columns,
                         struct bs__columns *c, struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__need_size(kernel, "the number of samples", samples, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of rows", rows, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of columns", columns, 1, err)) != BS_OK)
        return rc;
    const int32_t across = across_of(columns);
    const int64_t tiles = bs__pieces(bs__pieces(columns, 4), across),
                  slabs = bs__columns_slabs(samples, rows, columns);
    if (rows > MOST_BLOCKS || (double)samples * (double)tiles * (double)slabs > (double)MOST_BLOCKS)
        return BS_FAIL(err, BS_ELIMIT,
                       "%s: %" PRId64 " samples of %" PRId64 " x %" PRId64 "; fewer are accepted", kernel,
                       samples, rows, columns);
    *c = (struct bs__columns){
        .samples = samples,
        .rows = rows,
        .columns = columns,
        .slab = bs__pieces(rows, slabs),
        .slabs = (int32_t)slabs,
        .tiles = (int32_t)tiles,
        .across = across,
        .by_slabs = bs__divisor_of(slabs),
        .by_tiles = bs__divisor_of(tiles),
    };
    return BS_OK;
}

bs_status bs__launch_columns(struct bs__queue *q, const char *kernel, enum bs__element e,
                             const struct bs__columns *c, const void *arguments, size_t bytes,
                             struct bs_err *err)
{
    struct bs__launch l = {
        .kernel = kernel,
        .element = e,
        .grid = {(unsigned)(c->samples * c->slabs * c->tiles), 1, 1},
        .threads = BS__COLUMNS_BLOCK,
    };
    return bs__queue_launch(q, &l, arguments, bytes, err);
}

bs_status bs__cuda_column_totals(struct bs__queue *q, const struct bs__column_totals *t, struct bs_err *err)
{
    struct bs__launch l = {
        .kernel = "column_totals",
        .element = BS__F32,
        .grid = {(unsigned)bs__pieces(2 * t->columns, BS__COLUMNS_BLOCK / 32), 1, 1},
        .threads = BS__COLUMNS_BLOCK,
    };
    return bs__queue_launch(q, &l, t, sizeof *t, err);
}

size_t bs__cuda_column_sums_workspace(int64_t rows, int64_t columns)
{
    return (size_t)(bs__columns_slabs(1, rows, columns) * columns) * sizeof(float);
}

bs_status bs__cuda_column_sums(struct bs__queue *q, enum bs__element e, const struct bs__column_sums *given,
                               struct bs_err *err)
{
    static const char kernel[] = "column_sums";
    struct bs__column_sums s = *given;
    bs_status rc;
    if ((rc = bs__columns_of(kernel, 1, s.rows, s.columns, &s.geometry, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", &s.x, s.columns, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the sum", s.out, sizeof(float), err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the workspace", s.workspace, 16, err)) != BS_OK)
        return rc;
    s.in_fours = bs__in_fours(&s.x, s.columns, bs__element_bytes(e));
    if ((rc = bs__launch_columns(q, kernel, e, &s.geometry, &s, sizeof s, err)) != BS_OK)
        return rc;
    struct bs__column_totals t = {
        .partial = s.workspace, .out = {s.out, 0}, .parts = s.geometry.slabs, .columns = s.columns};
    return bs__cuda_column_totals(q, &t, err);
}
