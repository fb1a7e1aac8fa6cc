/* What is known of an image and its labels once both files have been decoded: plain values, so that they can come from
   another process, and their JSON, as a dataset keeps them. Pure functions; any thread. */
#ifndef BS_SERVER_PAIR_INFO_H
#define BS_SERVER_PAIR_INFO_H

#include "model/image/image.h"

/* An image file without its samples. */
struct bs_file_info {
    enum bs_sample sample;
    int ndim;
    char axes[BS_IMAGE_MAX_DIM + 1]; /* as in bs_image */
    uint64_t dim[BS_IMAGE_MAX_DIM];
    double pixel_size[BS_IMAGE_MAX_DIM];
    char unit[16];
};

struct bs_pair_info {
    struct bs_file_info image, labels;
    uint64_t objects; /* in the labels: distinct values other than 0, plane by plane */
};

/* False: no worker of ours would say so. */
bool bs_pair_info_valid(const struct bs_pair_info *info);
bs_status bs_pair_info_to_json(const struct bs_pair_info *info, char **json, struct bs_err *err) BS_NODISCARD;
/* The text is ours, but it outlives the program that wrote it: checked. */
bs_status bs_pair_info_from_json(const char *json, struct bs_pair_info *info,
                                 struct bs_err *err) BS_NODISCARD;

#endif
