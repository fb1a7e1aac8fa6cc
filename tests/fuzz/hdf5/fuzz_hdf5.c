/* Fuzzes what we do with the bytes of an HDF5 volume ourselves: layouts, filters, chunks and numbers. The input says what the volume
   is and what lies in its chunks; libhdf5 writes the file around them, so that its own metadata are sound. (Files whose metadata
   are hostile are libhdf5's to read, in a process that may die of them: the daemon has none of it, tests/layers.)

     byte 0     type of the numbers           1          planes (0: two dimensions)
     2, 3       height, width                 4 - 6      size of a chunk along each dimension
     7          filters, two bits each: none, deflate, shuffle, fletcher32
     8          bit 0: chunked; bit 1: a fill value
   then for every chunk: filters that were skipped, how many bytes (two bytes), and the bytes. */
#include "model/dataset/hdf5.h"
#include "tests/fuzz/input_file.h"

#include <hdf5.h>
#include <stdlib.h>
#include <unistd.h>

enum { TYPE, PLANES, HEIGHT, WIDTH, CHUNK, FILTERS = CHUNK + 3, FLAGS, HEADER };

static int dimensions(const uint8_t *in, hsize_t dim[3], hsize_t chunk[3])
{
    const int ndim = in[PLANES] % 4 ? 3 : 2;
    hsize_t all[3] = {in[PLANES] % 4, 1 + in[HEIGHT] % 32, 1 + in[WIDTH] % 32};
    for (int i = 0; i < ndim; i++) {
        dim[i] = all[3 - ndim + i];
        /* Never larger than twice the volume, which libhdf5 would refuse to write. */
        chunk[i] = 1 + in[CHUNK + i] % dim[i];
    }
    return ndim;
}

static void add_filters(hid_t plist, unsigned filters)
{
    for (; filters; filters >>= 2) {
        if ((filters & 3) == 1)
            (void)H5Pset_deflate(plist, 3);
        else if ((filters & 3) == 2)
            (void)H5Pset_shuffle(plist);
        else if ((filters & 3) == 3)
            (void)H5Pset_fletcher32(plist);
    }
}

/* The next chunk's bytes from the input, as they are, past the filters. */
static void write_chunk(hid_t array, const hsize_t *offset, const uint8_t **in, size_t *left)
{
    if (*left < 3)
        return;
    const uint32_t skipped = (*in)[0];
    size_t bytes = (size_t)(*in)[1] | (size_t)(*in)[2] << 8;
    *in += 3;
    *left -= 3;
    bytes = bytes < *left ? bytes : *left;
    if (bytes > 0)
        (void)H5Dwrite_chunk(array, H5P_DEFAULT, skipped, offset, bytes, *in);
    *in += bytes;
    *left -= bytes;
}

static void write_chunks(hid_t array, int ndim, const hsize_t *dim, const hsize_t *chunk, const uint8_t *in,
                         size_t left)
{
    hsize_t offset[3] = {0};
    for (;;) {
        write_chunk(array, offset, &in, &left);
        int i = ndim - 1;
        while (i >= 0 && (offset[i] += chunk[i]) >= dim[i])
            offset[i--] = 0;
        if (i < 0)
            return;
    }
}

static void write_volume(hid_t file, const uint8_t *in, size_t size)
{
    const hid_t types[] = {H5T_STD_U8LE,   H5T_STD_I8LE,   H5T_STD_U16BE, H5T_STD_I16LE,
                           H5T_STD_U32LE,  H5T_STD_I32BE,  H5T_STD_U64LE, H5T_STD_I64BE,
                           H5T_IEEE_F32LE, H5T_IEEE_F64BE, H5T_C_S1};
    const hid_t type = types[in[TYPE] % (sizeof types / sizeof *types)];
    hsize_t dim[3], chunk[3];
    const int ndim = dimensions(in, dim, chunk);
    const uint64_t value = 1;
    hid_t space = H5Screate_simple(ndim, dim, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    if (in[FLAGS] & 1) {
        (void)H5Pset_chunk(plist, ndim, chunk);
        add_filters(plist, in[FILTERS]);
    }
    if (in[FLAGS] & 2)
        (void)H5Pset_fill_value(plist, H5T_NATIVE_UINT64, &value);
    hid_t array = H5Dcreate2(file, "raw", type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    if (array >= 0 && in[FLAGS] & 1)
        write_chunks(array, ndim, dim, chunk, in + HEADER, size - HEADER);
    if (array >= 0)
        (void)H5Dclose(array);
    (void)H5Pclose(plist);
    (void)H5Sclose(space);
}

/* A file in memory; -1: libhdf5 writes no such volume. */
static int make_file(const uint8_t *data, size_t size)
{
    int fd = -1;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    (void)H5Pset_fapl_core(access, 1 << 16, false);
    hid_t file = H5Fcreate("fuzzed", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    (void)H5Pclose(access);
    write_volume(file, data, size);
    (void)H5Fflush(file, H5F_SCOPE_GLOBAL);
    const ssize_t bytes = H5Fget_file_image(file, NULL, 0);
    uint8_t *image = bytes > 0 ? malloc((size_t)bytes) : NULL;
    if (image && H5Fget_file_image(file, image, (size_t)bytes) == bytes)
        fd = bs_fuzz_file(image, (size_t)bytes);
    free(image);
    (void)H5Fclose(file);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bs_hdf5_size is;
    struct bs_err err;
    if (size < HEADER)
        return 0;
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const int fd = make_file(data, size);
    if (fd < 0)
        return 0;
    if (bs_hdf5_size(fd, "raw", NULL, &is, &err) == BS_OK)
        for (size_t plane = 0; plane < (is.planes ? is.planes : 1); plane++) {
            struct bs_image *im = NULL;
            unsigned sum = 0;
            if (bs_hdf5_read_plane(fd, "raw", (int64_t)plane, NULL, &im, &err) != BS_OK) {
                if (im)
                    abort(); /* an error leaves nothing behind */
                continue;
            }
            if (im->ndim != 2 || im->dim[0] != is.height || im->dim[1] != is.width)
                abort();
            for (size_t i = 0; i < im->bytes; i++)
                sum += ((const unsigned char *)im->data)[i];
            if (sum == 0 && im->bytes == 0)
                abort();
            bs_image_unref(im);
        }
    close(fd);
    return 0;
}
