/* How an image comes to the size of an encoder and its maps come back: what torch_em's UNETR and ViM-UNet do around their
   network, outside the graph.

       resize:     longest side to the encoder's size, bilinear; when the image shrinks the triangle widens (antialias)
       no resize:  as it is
       then (v - mean) / std per channel, with SAM's statistics or 0 and 1, then zeros on the right and below
       back:       what shows the image is cut out and brought to the image's size, bilinear without antialias

   Weights are doubles. A struct bs_encoder_input is made once per image size and used for any number of images of that
   size; one thread at a time. */
#ifndef BS_MODEL_PREDICT_ENCODER_INPUT_H
#define BS_MODEL_PREDICT_ENCODER_INPUT_H

#include "kernels/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of SAM's training images, red, green, blue, on a scale of 0 to 255. */
#define BS_SAM_CHANNELS 3
extern const double bs_sam_mean[BS_SAM_CHANNELS], bs_sam_std[BS_SAM_CHANNELS];

struct bs_encoder_input_options {
    int64_t net_h, net_w; /* what the network takes */
    bool resize;          /* longest side to the network's side; then net_h equals net_w */
    bool sam_statistics;  /* three channels of 0 to 255, by SAM's mean and deviation */
    /* Larger than the network without resize: the reference cuts off what lies beyond and stretches the maps over the whole
       image, so that they no longer fit it. For comparison with it only; false: refused. */
    bool crop_larger;
};

struct bs_encoder_input;

/* For images of h x w. BS_EINVAL: larger than the network without resize, or so long that the short side vanishes. */
bs_status bs_encoder_input_create(const struct bs_encoder_input_options *options, int64_t h, int64_t w,
                                  struct bs_encoder_input **out, struct bs_err *err) BS_NODISCARD;
void bs_encoder_input_destroy(struct bs_encoder_input *e); /* accepts NULL */
/* The part of the network's input that shows the image, from the top left. */
void bs_encoder_input_shown(const struct bs_encoder_input *e, int64_t *h, int64_t *w);
/* image (image_channels, h, w) to out (channels, net_h, net_w). One channel is shown in all of them. */
void bs_encoder_input_fill(struct bs_encoder_input *e, const float *image, int image_channels, int channels,
                           float *out);
/* maps (channels, net_h, net_w), after the final activation, to out (channels, h, w). */
void bs_encoder_input_maps(struct bs_encoder_input *e, const float *maps, int channels, float *out);

#endif
