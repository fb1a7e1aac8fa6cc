/* See loss.h. */
#include "model/train/loss.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define EPS 1e-7f /* of the dice loss, torch_em's default */

static const char *const names[] = {[BS_LOSS_DICE] = "dice",
                                    [BS_LOSS_BCE_DICE] = "bce-dice",
                                    [BS_LOSS_DISTANCE] = "distance",
                                    [BS_LOSS_DICE_DISTANCE] = "dice-distance"};

const char *bs_loss_name(enum bs_loss_kind kind)
{
    BS_ASSERT((size_t)kind < sizeof names / sizeof *names);
    return names[kind];
}

bs_status bs_loss_parse(const char *name, enum bs_loss_kind *kind, struct bs_err *err)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], name)) {
            *kind = (enum bs_loss_kind)i;
            return BS_OK;
        }
    return BS_FAIL(
        err, BS_EINVAL,
        "loss is \"%.64s\"; \"dice\", \"bce-dice\", \"distance\" and \"dice-distance\" are accepted", name);
}

bs_status bs_loss_check(const struct bs_loss *loss, int64_t channels, struct bs_err *err)
{
    const bool distance = loss->kind == BS_LOSS_DISTANCE || loss->kind == BS_LOSS_DICE_DISTANCE;
    if ((size_t)loss->kind >= sizeof names / sizeof *names)
        return BS_FAIL(err, BS_EINVAL, "loss %d is unknown", (int)loss->kind);
    if (distance && channels != 3)
        return BS_FAIL(err, BS_EINVAL,
                       "loss \"%s\" compares foreground and two distances; the network has %" PRId64
                       " output channels, 3 are accepted",
                       bs_loss_name(loss->kind), channels);
    if (loss->channel_mean && (loss->all_channels || loss->kind != BS_LOSS_DICE))
        return BS_FAIL(err, BS_EINVAL, "a mean over channels needs the dice loss, channel by channel");
    if (loss->kind == BS_LOSS_BCE_DICE &&
        !(isfinite(loss->alpha) && isfinite(loss->beta) && loss->alpha >= 0 && loss->beta >= 0))
        return BS_FAIL(err, BS_EINVAL, "weights of the loss are %g and %g; finite values from 0 are accepted",
                       (double)loss->alpha, (double)loss->beta);
    return BS_OK;
}

/* Of one channel that says how far it is, inside the foreground where there is a mask. */
static bs_value distance(struct bs_graph *g, const struct bs_loss *loss, bs_value p, bs_value t,
                         int64_t channel)
{
    bs_value have = bs_graph_slice_channel(g, p, channel, 1), want = bs_graph_slice_channel(g, t, channel, 1);
    if (loss->mask_background) {
        bs_value foreground = bs_graph_slice_channel(g, t, 0, 1);
        have = bs_graph_mul(g, have, foreground);
        want = bs_graph_mul(g, want, foreground);
    }
    return loss->kind == BS_LOSS_DICE_DISTANCE ? bs_graph_dice_loss(g, have, want, 1, EPS)
                                               : bs_graph_mse_loss(g, have, want);
}

/* Every channel of x times the mask. */
static bs_value masked(struct bs_graph *g, bs_value x, bs_value mask, int channels)
{
    bs_value all = BS_NO_VALUE;
    for (int c = 0; c < channels; c++) {
        bs_value one = bs_graph_mul(g, bs_graph_slice_channel(g, x, c, 1), mask);
        all = c == 0 ? one : bs_graph_concat(g, all, one);
    }
    return all;
}

bs_value bs_loss_build(struct bs_graph *g, const struct bs_loss *loss, bs_value p, bs_value t)
{
    if (bs_graph_failed(g))
        return BS_NO_VALUE;
    const int channels = (int)bs_graph_node(g, p)->shape.dim[1];
    bs_value dice;
    if (loss->masked) {
        bs_value mask = bs_graph_slice_channel(g, t, channels, 1);
        p = masked(g, p, mask, channels);
        t = masked(g, t, mask, channels);
    }
    switch (loss->kind) {
    case BS_LOSS_DICE:
        dice = bs_graph_dice_loss(g, p, t, loss->all_channels ? 1 : channels, EPS);
        return loss->channel_mean ? bs_graph_scale(g, dice, 1.0f / (float)channels) : dice;
    case BS_LOSS_BCE_DICE:
        dice = bs_graph_dice_loss(g, p, t, loss->all_channels ? 1 : channels, EPS);
        return bs_graph_add(g, bs_graph_scale(g, dice, loss->alpha),
                            bs_graph_scale(g, bs_graph_bce_loss(g, p, t), loss->beta));
    case BS_LOSS_DISTANCE:
    case BS_LOSS_DICE_DISTANCE:
        break;
    }
    dice =
        bs_graph_dice_loss(g, bs_graph_slice_channel(g, p, 0, 1), bs_graph_slice_channel(g, t, 0, 1), 1, EPS);
    return bs_graph_add(g, bs_graph_add(g, dice, distance(g, loss, p, t, 1)), distance(g, loss, p, t, 2));
}
