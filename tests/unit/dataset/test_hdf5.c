/* Promises about HDF5 volumes: every layout and number that is accepted reads as libhdf5 itself reads it, what leads out of the file or
   needs more than its built-in filters is refused in words, damaged files are errors and unpacked chunks have bounds. */
#include "model/dataset/files.h"
#include "model/dataset/hdf5.h"
#include "tests/unit/dataset/folder_support.h"

#include <fcntl.h>
#include <hdf5.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

enum { Z = 5, H = 13, W = 17, COUNT = Z * H * W };

static const hsize_t dims[3] = {Z, H, W};

/* How a volume is written. */
struct volume {
    const char *name;
    hid_t type; /* in the file */
    hsize_t chunk[3];
    bool gzip, shuffle, checksum;
};

static void write_volume(hid_t file, const struct volume *v, const void *numbers, hid_t type)
{
    hid_t space = H5Screate_simple(3, dims, NULL), plist = H5Pcreate(H5P_DATASET_CREATE),
          links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    if (v->chunk[0])
        H5Pset_chunk(plist, 3, v->chunk);
    if (v->shuffle)
        H5Pset_shuffle(plist);
    if (v->gzip)
        H5Pset_deflate(plist, 4);
    if (v->checksum)
        H5Pset_fletcher32(plist);
    hid_t array = H5Dcreate2(file, v->name, v->type, space, links, plist, H5P_DEFAULT);
    assert_true(array >= 0);
    if (numbers)
        assert_true(H5Dwrite(array, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
    H5Dclose(array);
    H5Pclose(links);
    H5Pclose(plist);
    H5Sclose(space);
}

static hid_t create(const char *name)
{
    hid_t file = H5Fcreate(folder_path(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

static int open_file(const char *name)
{
    int fd = open(folder_path(name), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static bs_status read_plane(const char *file, const char *volume, int64_t plane, struct bs_image **im,
                            struct bs_err *err)
{
    int fd = open_file(file);
    bs_status rc = bs_hdf5_read_plane(fd, volume, plane, NULL, im, err);
    close(fd);
    return rc;
}

static double sample_at(const struct bs_image *im, size_t i)
{
    struct bs_plane p;
    double v;
    assert_int_equal(bs_plane_find(im, BS_PLANE_ONLY, &p, NULL), BS_OK);
    bs_plane_read(&p, i / im->dim[1], i % im->dim[1], 1, &v);
    return v;
}

static void every_layout_and_number_reads_as_written(void **state)
{
    (void)state;
    const struct volume volumes[] = {
        {"contiguous", H5T_STD_U8LE, {0}, false, false, false},
        {"volumes/raw", H5T_STD_U8LE, {2, 5, 4}, true, false, false},
        {"volumes/labels/neuron_ids", H5T_STD_U64LE, {3, 13, 17}, true, true, false},
        {"u64be", H5T_STD_U64BE, {1, 4, 15}, false, false, true},
        {"i64", H5T_STD_I64LE, {5, 13, 17}, true, false, true},
        {"i8", H5T_STD_I8BE, {0}, false, false, false},
        {"u16be", H5T_STD_U16BE, {2, 3, 3}, true, true, true},
        {"i16", H5T_STD_I16LE, {4, 6, 7}, false, true, false},
        {"u32", H5T_STD_U32LE, {1, 1, 17}, true, true, true},
        {"i32be", H5T_STD_I32BE, {0}, false, false, false},
        {"f32be", H5T_IEEE_F32BE, {2, 7, 5}, true, true, false},
        {"f32", H5T_IEEE_F32LE, {0}, false, false, false},
        {"f64be", H5T_IEEE_F64BE, {5, 3, 16}, true, false, false},
        {"f64", H5T_IEEE_F64LE, {2, 2, 2}, false, false, false},
    };
    static const enum bs_sample samples[] = {BS_SAMPLE_U8,  BS_SAMPLE_U8,  BS_SAMPLE_F64, BS_SAMPLE_F64,
                                             BS_SAMPLE_F64, BS_SAMPLE_I8,  BS_SAMPLE_U16, BS_SAMPLE_I16,
                                             BS_SAMPLE_U32, BS_SAMPLE_I32, BS_SAMPLE_F32, BS_SAMPLE_F32,
                                             BS_SAMPLE_F64, BS_SAMPLE_F64};
    static int numbers[COUNT];
    for (int i = 0; i < COUNT; i++)
        numbers[i] = i * 7 % 127;
    hid_t file = create("all.h5");
    for (size_t i = 0; i < sizeof volumes / sizeof *volumes; i++)
        write_volume(file, &volumes[i], numbers, H5T_NATIVE_INT);
    H5Fclose(file);
    for (size_t i = 0; i < sizeof volumes / sizeof *volumes; i++) {
        struct bs_err err;
        struct bs_hdf5_size size;
        int fd = open_file("all.h5");
        if (bs_hdf5_size(fd, volumes[i].name, NULL, &size, &err) != BS_OK)
            fail_msg("%s: %s", volumes[i].name, err.msg);
        close(fd);
        assert_true(size.planes == Z && size.height == H && size.width == W);
        for (int z = 0; z < Z; z++) {
            struct bs_image *im;
            if (read_plane("all.h5", volumes[i].name, z, &im, &err) != BS_OK)
                fail_msg("%s: %s", volumes[i].name, err.msg);
            assert_int_equal(im->sample, samples[i]);
            for (size_t k = 0; k < H * W; k++)
                assert_true(sample_at(im, k) == numbers[z * H * W + (int)k]);
            bs_image_unref(im);
        }
    }
}

/* 64 bits that doubles cannot hold are refused, but for CREMI's mark; chunks that nobody wrote hold the fill value; two dimensions are
   one plane. */
static void numbers_and_sizes_at_the_edge(void **state)
{
    (void)state;
    static uint64_t numbers[COUNT];
    const struct volume v = {"ids", H5T_STD_U64LE, {1, 13, 17}, true, false, false};
    const uint16_t seven = 7;
    const hsize_t chunk[3] = {2, 4, 4};
    struct bs_image *im;
    struct bs_err err;
    hid_t file = create("edge.h5");
    numbers[0] = UINT64_C(1) << 53;
    numbers[1] = UINT64_MAX;
    numbers[H * W] = (UINT64_C(1) << 53) + 1;
    write_volume(file, &v, numbers, H5T_NATIVE_UINT64);
    hid_t space = H5Screate_simple(3, dims, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 3, chunk);
    H5Pset_fill_value(plist, H5T_NATIVE_UINT16, &seven);
    H5Dclose(H5Dcreate2(file, "unwritten", H5T_STD_U16BE, space, H5P_DEFAULT, plist, H5P_DEFAULT));
    hid_t flat = H5Screate_simple(2, dims + 1, NULL);
    hid_t array = H5Dcreate2(file, "flat", H5T_STD_U64LE, flat, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(array, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
    H5Dclose(array);
    H5Sclose(flat);
    H5Pclose(plist);
    H5Sclose(space);
    H5Fclose(file);
    assert_int_equal(read_plane("edge.h5", "ids", 0, &im, &err), BS_OK);
    assert_true(sample_at(im, 0) == 9007199254740992.0 && sample_at(im, 1) == -1 && sample_at(im, 2) == 0);
    bs_image_unref(im);
    assert_int_equal(read_plane("edge.h5", "ids", 1, &im, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "9007199254740993"));
    assert_null(im);
    assert_int_equal(read_plane("edge.h5", "unwritten", 4, &im, &err), BS_OK);
    for (size_t k = 0; k < H * W; k++)
        assert_true(sample_at(im, k) == 7);
    bs_image_unref(im);
    assert_int_equal(read_plane("edge.h5", "flat", BS_PLANE_ONLY, &im, &err), BS_OK);
    assert_true(sample_at(im, 1) == -1);
    bs_image_unref(im);
    assert_int_equal(read_plane("edge.h5", "flat", 1, &im, &err), BS_EINVAL);
    assert_int_equal(read_plane("edge.h5", "ids", BS_PLANE_ONLY, &im, &err), BS_EINVAL);
    assert_int_equal(read_plane("edge.h5", "ids", Z, &im, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "0 to 4 are accepted"));
}

static void what_leads_out_of_the_file_is_refused(void **state)
{
    (void)state;
    static uint8_t numbers[COUNT];
    const struct volume v = {"raw", H5T_STD_U8LE, {0}, false, false, false};
    struct bs_err err;
    struct bs_image *im;
    hid_t file = create("secret.h5");
    write_volume(file, &v, numbers, H5T_NATIVE_UINT8);
    H5Fclose(file);
    folder_write_text("secret.raw", "0123456789");
    file = create("links.h5");
    write_volume(file, &v, numbers, H5T_NATIVE_UINT8);
    H5Lcreate_external(folder_path("secret.h5"), "/raw", file, "external", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external(folder_path("secret.h5"), "/", file, "group", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/raw", file, "soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(file, "/raw", file, "hard", H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(3, dims, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(plist, folder_path("secret.raw"), 0, COUNT);
    H5Dclose(H5Dcreate2(file, "stored", H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT));
    H5Pclose(plist);
    plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_virtual(plist, space, folder_path("secret.h5"), "/raw", space);
    H5Dclose(H5Dcreate2(file, "virtual", H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT));
    H5Pclose(plist);
    H5Sclose(space);
    H5Fclose(file);
    static const struct {
        const char *volume, *says;
        bs_status code;
    } cases[] = {
        {"external", "link to somewhere else", BS_EUNSUPPORTED},
        {"group/raw", "link to somewhere else", BS_EUNSUPPORTED},
        {"soft", "link to somewhere else", BS_EUNSUPPORTED},
        {"stored", "lie in other files", BS_EUNSUPPORTED},
        {"virtual", "virtual volume", BS_EUNSUPPORTED},
        {"missing", "no \"missing\" in the file", BS_ENOTFOUND},
        {"raw/more", "no volume \"raw/more\"", BS_ENOTFOUND},
        {"/raw", "no name of a volume", BS_EINVAL},
        {"raw/", "no name of a volume", BS_EINVAL},
        {"../raw", "no name of a volume", BS_EINVAL},
        {"./raw", "no name of a volume", BS_EINVAL},
        {"", "no name of a volume", BS_EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bs_status rc = read_plane("links.h5", cases[i].volume, 0, &im, &err);
        if (rc != cases[i].code || !strstr(err.msg, cases[i].says))
            fail_msg("%s: %s: %s", cases[i].volume, bs_status_name(rc), err.msg);
    }
    assert_int_equal(read_plane("links.h5", "hard", 0, &im, &err), BS_OK);
    bs_image_unref(im);
}

static void refused(const char *volume, bs_status code, const char *says)
{
    struct bs_err err;
    struct bs_image *im;
    bs_status rc = read_plane("odd.h5", volume, 0, &im, &err);
    if (rc != code || !strstr(err.msg, says))
        fail_msg("%s: %s: %s", volume, bs_status_name(rc), err.msg);
}

static void add_odd(hid_t file, const char *name, hid_t type, int ndim, const hsize_t *dim, hid_t plist)
{
    hid_t space = H5Screate_simple(ndim, dim, NULL),
          array = H5Dcreate2(file, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    assert_true(array >= 0);
    H5Dclose(array);
    H5Sclose(space);
}

static void what_this_reader_does_not_know_is_refused(void **state)
{
    (void)state;
    const hsize_t huge[3] = {2, 1 << 20, 1 << 20}, four[4] = {2, 2, 2, 2}, big_chunk[3] = {64, 4096, 4096},
                  big[3] = {64, 4096, 4096}, one[3] = {1, 1, 1}, plane[3] = {1, 2048, 2048};
    hid_t file = create("odd.h5"), nbit = H5Pcreate(H5P_DATASET_CREATE),
          large = H5Pcreate(H5P_DATASET_CREATE), small = H5Pcreate(H5P_DATASET_CREATE),
          text = H5Tcopy(H5T_C_S1), odd = H5Tcopy(H5T_STD_U32LE);
    H5Pset_chunk(nbit, 3, dims);
    H5Pset_nbit(nbit);
    H5Pset_chunk(large, 3, big_chunk);
    H5Pset_chunk(small, 3, one);
    H5Tset_precision(odd, 20);
    add_odd(file, "nbit", H5T_STD_U8LE, 3, dims, nbit);
    add_odd(file, "text", text, 3, dims, H5P_DEFAULT);
    add_odd(file, "precision", odd, 3, dims, H5P_DEFAULT);
    add_odd(file, "four", H5T_STD_U8LE, 4, four, H5P_DEFAULT);
    add_odd(file, "line", H5T_STD_U8LE, 1, dims, H5P_DEFAULT);
    add_odd(file, "huge", H5T_STD_U8LE, 3, huge, H5P_DEFAULT);
    add_odd(file, "chunk", H5T_STD_U8LE, 3, big, large);
    add_odd(file, "many", H5T_STD_U8LE, 3, plane, small);
    H5Gclose(H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Tclose(text);
    H5Tclose(odd);
    H5Pclose(nbit);
    H5Pclose(large);
    H5Pclose(small);
    H5Fclose(file);
    refused("nbit", BS_EUNSUPPORTED, "gzip, shuffle and fletcher32 are accepted");
    refused("text", BS_EUNSUPPORTED, "plain numbers");
    refused("precision", BS_EUNSUPPORTED, "plain numbers");
    refused("four", BS_EUNSUPPORTED, "4 dimensions");
    refused("line", BS_EUNSUPPORTED, "1 dimensions");
    refused("huge", BS_ELIMIT, "over the limit");
    refused("chunk", BS_ELIMIT, "larger than 256 MiB");
    refused("many", BS_ELIMIT, "chunks");
    refused("group", BS_ENOTFOUND, "is no array");
}

/* A chunk of 64 numbers that unpacks to 16 MiB, one with a wrong checksum, one cut short, one that is not deflated at all. */
static void chunks_that_lie_are_errors(void **state)
{
    (void)state;
    enum { BOMB = 16 << 20 };
    const hsize_t dim[3] = {4, 8, 8}, chunk[3] = {1, 8, 8};
    unsigned char *zeros = calloc(1, BOMB), *packed = malloc(BOMB);
    assert_non_null(zeros);
    assert_non_null(packed);
    hid_t file = create("lies.h5"), plist = H5Pcreate(H5P_DATASET_CREATE),
          space = H5Screate_simple(3, dim, NULL);
    H5Pset_chunk(plist, 3, chunk);
    H5Pset_deflate(plist, 4);
    hid_t array = H5Dcreate2(file, "gzip", H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    for (hsize_t z = 0; z < 4; z++) {
        const hsize_t offset[3] = {z, 0, 0};
        uLongf bytes = BOMB;
        assert_int_equal(compress2(packed, &bytes, zeros, z == 0 ? BOMB : z == 1 ? 63 : 64, 9), Z_OK);
        if (z == 2)
            bytes -= 3;
        if (z == 3)
            memset(packed, 0x55, bytes);
        if (z == 0)
            bytes = bytes < 4000 ? bytes : 4000;
        assert_true(H5Dwrite_chunk(array, H5P_DEFAULT, 0, offset, bytes, packed) >= 0);
    }
    H5Dclose(array);
    H5Pclose(plist);
    plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 3, chunk);
    H5Pset_fletcher32(plist);
    array = H5Dcreate2(file, "sum", H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    for (hsize_t z = 0; z < 3; z++) {
        const hsize_t offset[3] = {z, 0, 0};
        zeros[10] = z == 1;
        assert_true(H5Dwrite_chunk(array, H5P_DEFAULT, 0, offset, z == 2 ? 3 : 68, zeros) >= 0);
    }
    H5Dclose(array);
    H5Pclose(plist);
    H5Sclose(space);
    H5Fclose(file);
    free(zeros);
    free(packed);
    struct bs_err err;
    struct bs_image *im;
    for (int z = 0; z < 4; z++) {
        assert_int_equal(read_plane("lies.h5", "gzip", z, &im, &err), BS_ECORRUPT);
        assert_non_null(strstr(err.msg, z == 1 ? "63 bytes" : "cannot be unpacked"));
    }
    assert_int_equal(read_plane("lies.h5", "sum", 0, &im, &err), BS_OK); /* zeros have the sum 0 */
    bs_image_unref(im);
    assert_int_equal(read_plane("lies.h5", "sum", 1, &im, &err), BS_ECORRUPT);
    assert_non_null(strstr(err.msg, "checksum"));
    assert_int_equal(read_plane("lies.h5", "sum", 2, &im, &err), BS_ECORRUPT);
    assert_non_null(strstr(err.msg, "too short"));
}

static void a_file_that_ends_too_soon_is_an_error(void **state)
{
    (void)state;
    static uint8_t numbers[COUNT];
    const struct volume v = {"volumes/raw", H5T_STD_U8LE, {1, 13, 17}, true, true, true};
    struct bs_err err;
    struct bs_image *im;
    for (int i = 0; i < COUNT; i++)
        numbers[i] = (uint8_t)(i * i % 251);
    hid_t file = create("whole.h5");
    write_volume(file, &v, numbers, H5T_NATIVE_UINT8);
    H5Fclose(file);
    assert_int_equal(read_plane("whole.h5", "volumes/raw", Z - 1, &im, &err), BS_OK);
    bs_image_unref(im);
    FILE *f = fopen(folder_path("whole.h5"), "rb");
    assert_non_null(f);
    static char bytes[1 << 16];
    const size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    for (size_t cut = 0; cut < size; cut += 97) {
        f = fopen(folder_path("cut.h5"), "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, cut, f), cut);
        fclose(f);
        bs_status rc = read_plane("cut.h5", "volumes/raw", Z - 1, &im, &err);
        if (rc == BS_OK)
            fail_msg("%zu of %zu bytes were enough", cut, size);
    }
    folder_write_text("no.h5", "this is no HDF5 file");
    assert_int_equal(read_plane("no.h5", "raw", 0, &im, &err), BS_ECORRUPT);
    assert_non_null(strstr(err.msg, "no readable HDF5 file"));
}

/* Slices of a volume as pairs: each decoded by itself, numbers of 64 bits as labels, CREMI's mark as what does not count. */
static void slices_are_pairs(void **state)
{
    (void)state;
    static uint64_t ids[COUNT];
    static uint8_t raw[COUNT];
    const struct volume image = {"volumes/raw", H5T_STD_U8LE, {2, 8, 8}, true, false, false},
                        labels = {"volumes/labels/neuron_ids", H5T_STD_U64LE, {2, 8, 8}, true, false, false};
    for (int i = 0; i < COUNT; i++) {
        raw[i] = (uint8_t)(i % 256);
        ids[i] = i % 11 == 0 ? UINT64_MAX : (uint64_t)i;
    }
    hid_t file = create("cremi.h5");
    write_volume(file, &image, raw, H5T_NATIVE_UINT8);
    write_volume(file, &labels, ids, H5T_NATIVE_UINT64);
    H5Fclose(file);
    struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY, .has_ignore_label = true, .ignore_label = -1};
    struct bs_manifest_pair p = folder_pair("cremi.h5", "cremi.h5");
    p.image.volume = (char *)"volumes/raw";
    p.labels.volume = (char *)"volumes/labels/neuron_ids";
    for (p.image_plane = 0; p.image_plane < Z; p.image_plane++) {
        p.labels_plane = p.image_plane;
        folder_add_pair(&m, p);
    }
    struct bs_pair_files *f;
    const struct bs_pair_files_rule rule = {.parts = BS_PARTS_ALL, .cache_bytes = 1 << 20};
    const struct bs_file_opener opener = bs_files_beneath(folder_root);
    assert_int_equal(bs_pair_files_create(&m, &opener, &rule, &f, NULL), BS_OK);
    const struct bs_pair_source *s = bs_pair_files_source(f);
    for (size_t z = 0; z < Z; z++) {
        struct bs_pair pair;
        struct bs_err err;
        if (s->load(s->ctx, z, &pair, &err) != BS_OK)
            fail_msg("%s", err.msg);
        for (size_t k = 0; k < H * W; k++) {
            const size_t i = z * H * W + k;
            assert_true(pair.image[k] == (float)(i % 256));
            assert_int_equal(pair.labels[k], i % 11 == 0 ? 0 : i);
            assert_int_equal(pair.ignored[k], i % 11 == 0);
        }
        s->release(s->ctx, &pair);
    }
    bs_pair_files_destroy(f);
    bs_manifest_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_and_number_reads_as_written),
        cmocka_unit_test(numbers_and_sizes_at_the_edge),
        cmocka_unit_test(what_leads_out_of_the_file_is_refused),
        cmocka_unit_test(what_this_reader_does_not_know_is_refused),
        cmocka_unit_test(chunks_that_lie_are_errors),
        cmocka_unit_test(a_file_that_ends_too_soon_is_an_error),
        cmocka_unit_test(slices_are_pairs),
    };
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
