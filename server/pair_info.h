/* What is known of an image and its labels once both files have been decoded: plain values, so that they can come from
   another process, and their JSON, as a dataset keeps them. Pure functions; any thread. */
#ifndef BS_SERVER_PAIR_INFO_H
#define BS_SERVER_PAIR_INFO_H

#include "model/image/raw.h"

/* An image file without its samples. */
struct bs_file_info {
    enum bs_sample sample;
    int ndim;
    char axes[BS_IMAGE_MAX_DIM + 1]; /* as in bs_image */
    uint64_t dim[BS_IMAGE_MAX_DIM];
    double pixel_size[BS_IMAGE_MAX_DIM];
    char unit[16];
    uint32_t raw; /* 1: samples alone, of which the one who sent them said the rest */
};

/* What is asked about the files of a pair. raw.ndim 0: a PNG or TIFF file. */
struct bs_pair_question {
    struct bs_raw_image image, labels, prediction;
    bool has_prediction;   /* there is a third file */
    bool has_ignore_label; /* which is no object, and may be below 0 */
    int64_t ignore_label;
};

struct bs_pair_info {
    struct bs_file_info image, labels, prediction;
    uint32_t has_prediction; /* 0 or 1 */
    uint64_t objects; /* in the labels: distinct values other than 0 and what is ignored, plane by plane */
};

/* Height, width and planes along z (of pages of which nobody said what they are, too) and t; 1 where there is no such axis. */
uint64_t bs_file_info_along(const struct bs_file_info *f, char axis);
/* Planes of height times width, channels not counted. */
uint64_t bs_file_info_planes(const struct bs_file_info *f);
/* Where plane `index`, in the order of the file, is along t and z. */
void bs_file_info_plane_at(const struct bs_file_info *f, uint64_t index, uint64_t *t, uint64_t *z);

/* What must be said about the file to read it; ndim 0: it says so itself. */
struct bs_raw_image bs_file_info_raw(const struct bs_file_info *f);

/* False: no worker of ours would say so. */
bool bs_pair_info_valid(const struct bs_pair_info *info);
bs_status bs_pair_info_to_json(const struct bs_pair_info *info, char **json, struct bs_err *err) BS_NODISCARD;
/* The text is ours, but it outlives the program that wrote it: checked. */
bs_status bs_pair_info_from_json(const char *json, struct bs_pair_info *info,
                                 struct bs_err *err) BS_NODISCARD;

#endif
