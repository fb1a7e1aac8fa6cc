/* Planes of volumes in HDF5 files, as CREMI keeps them ("volumes/raw", "volumes/labels/neuron_ids"): arrays (z, y, x) or (y, x) of
   whole or floating-point numbers. libhdf5 finds its way through the file; what it would do beyond it is refused: links to other
   files, external storage, virtual data sets, filter plugins. Compressed chunks are unpacked here, each into the space it may
   take and no more. Any thread; libhdf5 is entered by one at a time.
   Without BS_WITH_HDF5 every call says that this build does not read such files. */
#ifndef BS_MODEL_DATASET_HDF5_H
#define BS_MODEL_DATASET_HDF5_H

#include "model/image/image.h"

struct bs_hdf5_size {
    size_t planes, height, width; /* planes 0: the array has two dimensions, and is one plane */
};

/* Of the volume of that name: parts divided by '/', each a group but the last. fd: a regular file, opened once more through /proc, so it must
   be readable. BS_ENOTFOUND: no such volume; BS_EUNSUPPORTED: what is refused; BS_ECORRUPT. */
bs_status bs_hdf5_size(int fd, const char *volume, const struct bs_image_limits *limits,
                       struct bs_hdf5_size *out, struct bs_err *err) BS_NODISCARD;
/* One plane as an image "yx" of 8, 16 or 32-bit integers, or floats. Numbers of 64 bits become doubles: more than 2^53 is
   BS_EINVAL, but 2^64 - 1, CREMI's "no label", becomes -1. plane BS_PLANE_ONLY: there is one. Returns new ref. */
bs_status bs_hdf5_read_plane(int fd, const char *volume, int64_t plane, const struct bs_image_limits *limits,
                             struct bs_image **out, struct bs_err *err) BS_NODISCARD;

#endif
