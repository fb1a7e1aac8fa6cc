/* What the files of the HDF5 reader share: one volume while it is read (hdf5.c opens it), its chunks (hdf5_chunk.c), and numbers as
   they stand in a file (hdf5_number.c). */
#ifndef BS_MODEL_DATASET_HDF5_INTERNAL_H
#define BS_MODEL_DATASET_HDF5_INTERNAL_H

#include "model/dataset/hdf5.h"

#include <hdf5.h>

#define BS__HDF5_MAX_FILTERS 8
/* Of one chunk as it is unpacked; writers keep them below a few MiB. */
#define BS__HDF5_MAX_CHUNK ((size_t)256 << 20)

/* How numbers stand in the file. */
struct bs__hdf5_number {
    size_t size;         /* bytes */
    bool big_endian;     /* the most significant byte first */
    bool whole64;        /* a whole number of 64 bits; */
    bool unsigned64;     /* one without sign */
    enum bs_sample into; /* F64 for whole numbers of 64 bits */
};

struct bs__hdf5_volume {
    hid_t file, array, plist, type, space; /* H5I_INVALID_HID: not open */
    struct bs__hdf5_number number;
    int ndim;           /* 2 or 3 */
    hsize_t dim[3];     /* (z, y, x) or (y, x) */
    bool chunked;       /* else contiguous or compact, without filters */
    hsize_t chunk[3];   /* of chunked ones */
    size_t chunk_bytes; /* unpacked */
    int nfilter;
    H5Z_filter_t filter[BS__HDF5_MAX_FILTERS]; /* in the order in which a writer applied them */
};

/* Numbers of the type, BS_EUNSUPPORTED for others than plain ones of 1, 2, 4 or 8 bytes. */
bs_status bs__hdf5_number_of(hid_t type, struct bs__hdf5_number *out, struct bs_err *err) BS_NODISCARD;
/* count numbers as they stand in the file into samples of n->into; raw is changed. BS_EINVAL: a number of 64 bits is too large. */
bs_status bs__hdf5_convert(const struct bs__hdf5_number *n, unsigned char *raw, size_t count, void *samples,
                           struct bs_err *err) BS_NODISCARD;

/* Layout and filters of a volume that has been opened: what this reader accepts, or BS_EUNSUPPORTED. */
bs_status bs__hdf5_layout(struct bs__hdf5_volume *v, struct bs_err *err) BS_NODISCARD;
/* The numbers of one plane (0 where ndim is 2) of a chunked volume as they stand in the file, into plane (y, x). */
bs_status bs__hdf5_read_chunks(const struct bs__hdf5_volume *v, size_t plane_index, unsigned char *plane,
                               struct bs_err *err) BS_NODISCARD;

/* An error of libhdf5 in its own words, prefixed by ours. */
bs_status bs__hdf5_fail(struct bs_err *err, const char *what);

#endif
