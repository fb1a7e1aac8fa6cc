/* In the place of hdf5.c where libhdf5 is not there: see hdf5.h. */
#include "model/dataset/hdf5.h"

static bs_status absent(struct bs_err *err)
{
    return BS_FAIL(err, BS_EUNSUPPORTED, "this build of bioseg reads no HDF5 files (BS_WITH_HDF5)");
}

bs_status bs_hdf5_size(int fd, const char *volume, const struct bs_image_limits *limits,
                       struct bs_hdf5_size *out, struct bs_err *err)
{
    (void)fd, (void)volume, (void)limits, (void)out;
    return absent(err);
}

bs_status bs_hdf5_read_plane(int fd, const char *volume, int64_t plane, const struct bs_image_limits *limits,
                             struct bs_image **out, struct bs_err *err)
{
    (void)fd, (void)volume, (void)plane, (void)limits;
    *out = NULL;
    return absent(err);
}
