/* See loss_scale.h. */
#include "model/train/loss_scale.h"

bool bs_loss_scale_step(struct bs_loss_scale *s, bool overflow)
{
    if (overflow) {
        const bool helps = s->scale > 1;
        s->scale = helps ? s->scale / 2 : 1;
        s->good = 0;
        return helps;
    }
    if (++s->good == BS_LOSS_SCALE_ROW) {
        s->scale = s->scale < BS_LOSS_SCALE_MOST ? s->scale * 2 : s->scale;
        s->good = 0;
    }
    return true;
}
