/* One plane of an image and one of its channels, seen where they lie in memory: predictions and training read samples
   through it. The rule for channels: one is taken; colour whose channels are all equal (a grey image saved as RGB, an opaque alpha
   channel not counted) is taken as grey; anything else asks, because nobody but the user knows which stain shows the
   objects. A view borrows its image. Pure functions; any thread. */
#ifndef BS_MODEL_IMAGE_PLANE_H
#define BS_MODEL_IMAGE_PLANE_H

#include "model/image/image.h"

#define BS_PLANE_ONLY        (-1) /* the image has one plane; more are an error */
#define BS_PLANE_CHANNEL_ANY (-1) /* the channel by the rule */

struct bs_plane {
    const struct bs_image *image;
    size_t height, width;
    size_t channels;                   /* to choose from */
    size_t offset, stride_y, stride_x; /* of the first sample, and from one to the next, in samples */
    size_t stride_c;
};

/* Planes of an image: the product of its sizes but those of y, x and channels. */
size_t bs_plane_count(const struct bs_image *image);
/* Plane `index` in the order of the file (axes other than y, x and c, slowest first), at its channel 0. BS_EINVAL when there is
   none, or when BS_PLANE_ONLY meets several. */
bs_status bs_plane_find(const struct bs_image *image, int64_t index, struct bs_plane *out,
                        struct bs_err *err) BS_NODISCARD;
/* Moves the view to a channel, BS_PLANE_CHANNEL_ANY: to the one of the rule. BS_EINVAL asks when the rule does not decide. */
bs_status bs_plane_choose_channel(struct bs_plane *p, int wanted, struct bs_err *err) BS_NODISCARD;

/* n samples of row y from column x on, as they are stored. */
void bs_plane_read(const struct bs_plane *p, size_t y, size_t x, size_t n, double *out);
/* Turns stored samples into measured ones: MinIsWhite is turned round. */
void bs_plane_as_measured(const struct bs_plane *p, double *v, size_t n);

#endif
