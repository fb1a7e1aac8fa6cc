#include "kernels/cuda/conv1d_grad.h"

#define FEATURES    32  /* of one block */
#define MOST_SLICES 128 /* partial sums that are added one after another */
#define PIECES      16  /* of a slice at least: two for each warp of a block */

/* From the shape alone, so that the order of sums is. */
static int slices_of(const struct bs__conv1d *c)
{
    const int64_t slices = bs__pieces(c->samples * bs__pieces(c->length, BS__CONV1D_TOKENS), PIECES);
    return slices < MOST_SLICES ? (int)slices : MOST_SLICES;
}

static int64_t sums_of(const struct bs__conv1d *c)
{
    return (int64_t)c->directions * (c->taps + 1) * c->features;
}

size_t bs__cuda_conv1d_grad_workspace(const struct bs__conv1d_grad *g)
{
    return (size_t)slices_of(&g->forward) * (size_t)sums_of(&g->forward) * sizeof(float);
}

bs_status bs__cuda_conv1d_grad(struct bs__queue *q, enum bs__element e, const struct bs__conv1d_grad *given,
                               struct bs_err *err)
{
    static const char kernel[] = "conv1d_grad";
    struct bs__conv1d_grad g = *given;
    struct bs__conv1d *c = &g.forward;
    bs_status rc = bs__conv1d_prepare(c, e, err);
    for (int i = 0; rc == BS_OK && i < c->directions; i++)
        rc = bs__need_rows(kernel, "gy", &g.gy[i], c->features, err);
    if (rc != BS_OK || (rc = bs__need_rows_if(kernel, "gx", &g.gx, c->features, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "workspace", g.workspace, 16, err)) != BS_OK)
        return rc;
    g.slices = slices_of(c);
    struct bs__launch launch = {
        .kernel = kernel,
        .element = e,
        .grid = {(unsigned)(bs__pieces(c->features, FEATURES) * g.slices), 1, 1},
        .threads = BS__CONV1D_GRAD_THREADS,
    };
    if ((rc = bs__queue_launch(q, &launch, &g, sizeof g, err)) != BS_OK)
        return rc;
    launch.kernel = "conv1d_grad_sum";
    launch.element = BS__F32;
    launch.grid[0] = (unsigned)bs__pieces(sums_of(c), BS__CONV1D_GRAD_THREADS);
    return bs__queue_launch(q, &launch, &g, sizeof g, err);
}
