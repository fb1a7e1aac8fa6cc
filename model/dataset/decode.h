/* One file of a manifest, opened, held against its hash and decoded. Pure functions of the file; any thread. */
#ifndef BS_MODEL_DATASET_DECODE_H
#define BS_MODEL_DATASET_DECODE_H

#include "model/dataset/files.h"

#include <sys/stat.h>

/* Which file was found to hold what its hash says: not to be read through again as long as nobody writes to it. */
struct bs__verified {
    struct stat seen;
    bool valid;
};

/* Opens a file and, where its hash is known, compares it with the content; *verified (not shared between threads at a time) is
   what an earlier call saw. The caller closes *fd. */
bs_status bs__decode_open(const struct bs_file_opener *opener, const struct bs_manifest_file *file,
                          struct bs__verified *verified, int *fd, struct bs_err *err) BS_NODISCARD;
/* All planes of a file, of a volume the one plane. Returns new ref. */
bs_status bs__decode_file(int fd, const struct bs_manifest_file *file, int64_t plane,
                          const struct bs_image_limits *limits, struct bs_image **out,
                          struct bs_err *err) BS_NODISCARD;

/* A pair's numbers, one channel. */
struct bs__pair_data {
    size_t height, width;
    float *image;
    uint32_t *labels;
    uint8_t *ignored; /* NULL: every pixel counts */
};
void bs__pair_data_free(struct bs__pair_data *d);

/* The image of a pair, or its labels with what does not count, from decoded files; the plane is the pair's, or the only one of a
   volume's. The first of the two decides
   the size, the other must have it. The caller frees *d, also on failure. */
bs_status bs__pair_data_image(const struct bs_manifest *m, const struct bs_manifest_pair *pair,
                              const struct bs_image *from, struct bs__pair_data *d,
                              struct bs_err *err) BS_NODISCARD;
bs_status bs__pair_data_labels(const struct bs_manifest *m, const struct bs_manifest_pair *pair,
                               const struct bs_image *from, struct bs__pair_data *d,
                               struct bs_err *err) BS_NODISCARD;
/* After the labels: leaves out what stands as the prediction has it. */
bs_status bs__pair_data_untouched(const struct bs_manifest_pair *pair, const struct bs_image *from,
                                  struct bs__pair_data *d, struct bs_err *err) BS_NODISCARD;

/* The decoded files of a pair; prediction NULL where it does not matter. */
struct bs__pair_images {
    const struct bs_image *image, *labels, *prediction;
};
/* All of a pair; errors name the file. */
bs_status bs__pair_data_make(const struct bs_manifest *m, const struct bs_manifest_pair *pair,
                             const struct bs__pair_images *from, struct bs__pair_data *out,
                             struct bs_err *err) BS_NODISCARD;

/* May pixels of the pair be left out? */
bool bs__pair_is_partial(const struct bs_manifest *m, const struct bs_manifest_pair *pair);
/* Does the prediction of the pair decide what counts? */
bool bs__pair_needs_prediction(const struct bs_manifest_pair *pair);

#endif
