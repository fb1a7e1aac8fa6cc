/* The losses of the reference (torch_em), written into a graph: a value of shape (1) over the network's output p and the
   target t, both (N,C,H,W); bs_graph_backward turns it into the gradient of p. Values and gradients are sums in double.
   Pure functions; any thread.

     dice        sum over channels of 1 - 2 sum(p t) / max(sum(p^2) + sum(t^2), 1e-7), sums over samples and pixels
     bce-dice    alpha dice + beta mean(-(t log p + (1-t) log(1-p)))
     distance    of three channels: dice of the foreground + mean squared errors of the two distances
     dice-distance   the same with dice of each distance
   A masked loss takes a target with one more channel that is 1 where a pixel counts, else 0: prediction and target are multiplied by it
   before anything else (torch_em's ApplyAndRemoveMask, method "multiply"); means still run over all pixels.
   With mask_background the distances of prediction and target are multiplied by the target's foreground first; means still
   run over all pixels. */
#ifndef BS_MODEL_TRAIN_LOSS_H
#define BS_MODEL_TRAIN_LOSS_H

#include "kernels/graph.h"

enum bs_loss_kind { BS_LOSS_DICE, BS_LOSS_BCE_DICE, BS_LOSS_DISTANCE, BS_LOSS_DICE_DISTANCE };

struct bs_loss {
    enum bs_loss_kind kind;
    bool mask_background; /* DISTANCE, DICE_DISTANCE */
    bool all_channels;    /* DICE, BCE_DICE: one sum over all channels, not one for each */
    bool channel_mean;    /* DICE: mean over channels, not sum. Not with all_channels */
    bool masked;          /* the target's last channel says what counts */
    float alpha, beta;    /* BCE_DICE: weights of dice and cross entropy; the reference has 1 and 1 */
};

/* "dice", "bce-dice", "distance", "dice-distance". */
const char *bs_loss_name(enum bs_loss_kind kind);
/* BS_EINVAL names what is accepted. */
bs_status bs_loss_parse(const char *name, enum bs_loss_kind *kind, struct bs_err *err) BS_NODISCARD;

/* Does the loss fit a network with this many output channels? */
bs_status bs_loss_check(const struct bs_loss *loss, int64_t channels, struct bs_err *err) BS_NODISCARD;
/* Adds the loss to a graph; an error sticks to the graph. The loss has been checked for p's channels; t has as many, and one more
   when the loss is masked. */
bs_value bs_loss_build(struct bs_graph *g, const struct bs_loss *loss, bs_value p, bs_value t);

#endif
