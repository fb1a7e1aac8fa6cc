#include "kernels/cuda/losses.h"

#include <inttypes.h>

static const struct kind {
    const char *sums, *grad;
} kinds[BS__LOSS_COUNT] = {
    [BS__LOSS_DICE] = {"loss_dice", "loss_dice_grad"},
    [BS__LOSS_BCE] = {"loss_bce", "loss_bce_grad"},
    [BS__LOSS_MSE] = {"loss_mse", "loss_mse_grad"},
};

size_t bs__cuda_loss_workspace(int64_t rows, int64_t channels)
{
    return (size_t)(2 * (bs__columns_slabs(1, rows, channels) + 1) * channels) * sizeof(float);
}

/* Checks, and says where everything is. */
static bs_status prepare(enum bs__element e, enum bs__loss_kind which, struct bs__loss *l, struct bs_err *err)
{
    const char *kernel = kinds[which].sums;
    const size_t bytes = bs__element_bytes(e);
    bs_status rc;
    if ((rc = bs__columns_of(kernel, 1, l->rows, l->channels, &l->geometry, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "the prediction", &l->p, l->channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "the target", &l->t, l->channels, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the loss", l->loss, sizeof(float), err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the workspace", l->workspace, 16, err)) != BS_OK ||
        (rc = bs__need_items(kernel, (double)l->rows * (double)bs__pieces(l->channels, 4), err)) != BS_OK)
        return rc;
    if (which != BS__LOSS_DICE) {
        l->groups = 1;
        l->eps = 0;
    } else if ((rc = bs__need_positive(kernel, "eps", l->eps, err)) != BS_OK) {
        return rc;
    } else if (l->groups < 1 || l->channels % l->groups != 0) {
        return BS_FAIL(err, BS_EINTERNAL, "%s: %" PRId64 " channels in %" PRId64 " groups", kernel,
                       l->channels, l->groups);
    }
    l->totals = l->workspace;
    l->partial = l->workspace + (bs_address)(2 * l->channels) * sizeof(float);
    l->in_fours = bs__in_fours(&l->p, l->channels, bytes) && bs__in_fours(&l->t, l->channels, bytes) &&
                  bs__in_fours(&l->gp, l->channels, bytes);
    l->by_fours = bs__divisor_of(bs__pieces(l->channels, 4));
    l->by_channels = bs__divisor_of(l->channels / l->groups);
    return BS_OK;
}

static bs_status launch_sums(struct bs__queue *q, enum bs__element e, enum bs__loss_kind which,
                             const struct bs__loss *l, struct bs_err *err)
{
    bs_status rc = bs__launch_columns(q, kinds[which].sums, e, &l->geometry, l, sizeof *l, err);
    if (rc != BS_OK)
        return rc;
    const struct bs__launch total = {"loss_total", BS__F32, {1, 1, 1}, BS__COLUMNS_BLOCK, 0};
    return bs__queue_launch(q, &total, l, sizeof *l, err);
}

bs_status bs__cuda_loss(struct bs__queue *q, enum bs__element e, enum bs__loss_kind which,
                        const struct bs__loss *given, struct bs_err *err)
{
    BS_ASSERT((unsigned)which < BS__LOSS_COUNT);
    struct bs__loss l = *given;
    l.gp = (struct bs__rows){0};
    bs_status rc = prepare(e, which, &l, err);
    return rc == BS_OK ? launch_sums(q, e, which, &l, err) : rc;
}

bs_status bs__cuda_loss_grad(struct bs__queue *q, enum bs__element e, enum bs__loss_kind which,
                             const struct bs__loss *given, struct bs_err *err)
{
    BS_ASSERT((unsigned)which < BS__LOSS_COUNT);
    struct bs__loss l = *given;
    bs_status rc = prepare(e, which, &l, err);
    if (rc != BS_OK || (rc = bs__need_rows(kinds[which].grad, "gp", &l.gp, l.channels, err)) != BS_OK)
        return rc;
    if (which == BS__LOSS_DICE && (rc = launch_sums(q, e, which, &l, err)) != BS_OK)
        return rc;
    return bs__launch_items(q, kinds[which].grad, e, l.rows * bs__pieces(l.channels, 4), 1, &l, sizeof l,
                            err);
}
