/* Numbers as HDF5 files hold them: see hdf5_internal.h. */
#include "model/dataset/hdf5_internal.h"

#include <string.h>

#define EXACT (UINT64_C(1) << 53) /* doubles hold every whole number up to it */

bs_status bs__hdf5_number_of(hid_t type, struct bs__hdf5_number *out, struct bs_err *err)
{
    const struct {
        hid_t type;
        struct bs__hdf5_number number; /* size, big_endian, whole64, unsigned64, into */
    } known[] = {
        {H5T_STD_U8LE, {1, false, false, false, BS_SAMPLE_U8}},
        {H5T_STD_U8BE, {1, true, false, false, BS_SAMPLE_U8}},
        {H5T_STD_I8LE, {1, false, false, false, BS_SAMPLE_I8}},
        {H5T_STD_I8BE, {1, true, false, false, BS_SAMPLE_I8}},
        {H5T_STD_U16LE, {2, false, false, false, BS_SAMPLE_U16}},
        {H5T_STD_U16BE, {2, true, false, false, BS_SAMPLE_U16}},
        {H5T_STD_I16LE, {2, false, false, false, BS_SAMPLE_I16}},
        {H5T_STD_I16BE, {2, true, false, false, BS_SAMPLE_I16}},
        {H5T_STD_U32LE, {4, false, false, false, BS_SAMPLE_U32}},
        {H5T_STD_U32BE, {4, true, false, false, BS_SAMPLE_U32}},
        {H5T_STD_I32LE, {4, false, false, false, BS_SAMPLE_I32}},
        {H5T_STD_I32BE, {4, true, false, false, BS_SAMPLE_I32}},
        {H5T_STD_U64LE, {8, false, true, true, BS_SAMPLE_F64}},
        {H5T_STD_U64BE, {8, true, true, true, BS_SAMPLE_F64}},
        {H5T_STD_I64LE, {8, false, true, false, BS_SAMPLE_F64}},
        {H5T_STD_I64BE, {8, true, true, false, BS_SAMPLE_F64}},
        {H5T_IEEE_F32LE, {4, false, false, false, BS_SAMPLE_F32}},
        {H5T_IEEE_F32BE, {4, true, false, false, BS_SAMPLE_F32}},
        {H5T_IEEE_F64LE, {8, false, false, false, BS_SAMPLE_F64}},
        {H5T_IEEE_F64BE, {8, true, false, false, BS_SAMPLE_F64}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (H5Tequal(type, known[i].type) > 0) {
            *out = known[i].number;
            return BS_OK;
        }
    return BS_FAIL(
        err, BS_EUNSUPPORTED,
        "it does not hold plain numbers: integers of 8 to 64 bits and floats of 32 and 64 bits are "
        "accepted");
}

static void turn_round(unsigned char *raw, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++, raw += size)
        for (size_t k = 0; k < size / 2; k++) {
            unsigned char low = raw[k];
            raw[k] = raw[size - 1 - k];
            raw[size - 1 - k] = low;
        }
}

/* Whole numbers of 64 bits to doubles that say the same. */
static bs_status narrow(const struct bs__hdf5_number *n, const unsigned char *raw, size_t count,
                        double *samples, struct bs_err *err)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, raw + 8 * i, 8);
        const bool negative = !n->unsigned64 && bits >> 63;
        const uint64_t size = negative ? -bits : bits;
        if (n->unsigned64 && bits == UINT64_MAX)
            samples[i] = -1;
        else if (size > EXACT)
            return BS_FAIL(err, BS_EINVAL, "it holds the number %s%llu; up to 2^53 are accepted",
                           negative ? "-" : "", (unsigned long long)size);
        else
            samples[i] = negative ? -(double)size : (double)size;
    }
    return BS_OK;
}

bs_status bs__hdf5_convert(const struct bs__hdf5_number *n, unsigned char *raw, size_t count, void *samples,
                           struct bs_err *err)
{
    const uint16_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    const bool machine_is_big_endian = first == 0;
    if (n->big_endian != machine_is_big_endian)
        turn_round(raw, count, n->size);
    if (n->whole64)
        return narrow(n, raw, count, samples, err);
    memcpy(samples, raw, count * n->size);
    return BS_OK;
}
