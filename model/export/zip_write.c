/* See zip_write.h. Layout after PKWARE's application note (APPNOTE.TXT): per entry a local header, name, an extra field that
   only aligns, data; then the central directory and its end record. The checksum is written into the header afterwards. */
#include "model/export/zip_write.h"

#include "model/weights/file_io.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LOCAL_SIGNATURE   0x04034b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define END_SIGNATURE     0x06054b50u
#define LOCAL_BYTES       30
#define COMMON_CRC_AT     10 /* behind the first bytes of what both headers have */
#define LOCAL_CRC_AT      (4 + COMMON_CRC_AT)
#define CRC_POLYNOMIAL    0xedb88320u /* CRC-32 of ISO 3309, reflected */
#define VERSION           20
#define FLAG_UTF8         0x0800
#define DATE_1980         0x0021 /* 1 January */
#define PADDING_ID        0x4246 /* the extra field that PyTorch's own writer pads with */
#define MAX_ENTRIES       65534
#define MAX_BYTES         ((uint64_t)UINT32_MAX - 1)

void bs__zip_create(struct bs__zip_writer *z, int fd)
{
    *z = (struct bs__zip_writer){.fd = fd};
    for (uint32_t i = 0; i < 256; i++) {
        z->table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            z->table[i] = z->table[i] >> 1 ^ (z->table[i] & 1 ? CRC_POLYNOMIAL : 0);
    }
}

void bs__zip_destroy(struct bs__zip_writer *z)
{
    bs__bytes_free(&z->directory);
}

static uint32_t checksum(const struct bs__zip_writer *z, uint32_t crc, const unsigned char *data,
                         size_t bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < bytes; i++)
        crc = crc >> 8 ^ z->table[(crc ^ data[i]) & 255];
    return ~crc;
}

static bs_status too_large(const char *what, struct bs_err *err)
{
    return BS_FAIL(err, BS_ELIMIT, "%.100s would make the archive larger than 4 GiB, which is not supported",
                   what);
}

static bs_status put(struct bs__zip_writer *z, const void *data, size_t bytes, struct bs_err *err)
{
    bs_status rc = bs__file_write(z->fd, data, bytes, err);
    if (rc == BS_OK)
        z->at += bytes;
    return rc;
}

/* What the local header and the directory say alike: flags, method, time, checksum, sizes, length of the name. */
static void common(struct bs__bytes *b, uint32_t bytes, size_t name_len)
{
    bs__bytes_uint(b, VERSION, 2);
    bs__bytes_uint(b, FLAG_UTF8, 2);
    bs__bytes_uint(b, 0, 2); /* stored */
    bs__bytes_uint(b, 0, 2);
    bs__bytes_uint(b, DATE_1980, 2);
    bs__bytes_uint(b, 0, 4); /* the checksum, later */
    bs__bytes_uint(b, bytes, 4);
    bs__bytes_uint(b, bytes, 4);
    bs__bytes_uint(b, name_len, 2);
}

bs_status bs__zip_begin(struct bs__zip_writer *z, const char *name, uint64_t bytes, unsigned align,
                        struct bs_err *err)
{
    const size_t name_len = strlen(name);
    struct bs__bytes local = {0};
    BS_ASSERT(z->left == 0 && name_len < 1024);
    if (z->entries >= MAX_ENTRIES)
        return BS_FAIL(err, BS_ELIMIT, "an archive holds at most %d entries", MAX_ENTRIES);
    if (bytes > MAX_BYTES || z->at + LOCAL_BYTES + name_len + 2 * align + bytes > MAX_BYTES)
        return too_large(name, err);
    /* The extra field has a head of four bytes; where there is nothing to pad it is left out. */
    const uint64_t plain = z->at + LOCAL_BYTES + name_len;
    size_t extra = (size_t)((align - plain % align) % align);
    while (extra > 0 && extra < 4)
        extra += align;
    z->header = z->at;
    z->left = (uint32_t)bytes;
    z->crc = 0;
    bs__bytes_uint(&local, LOCAL_SIGNATURE, 4);
    common(&local, (uint32_t)bytes, name_len);
    bs__bytes_uint(&local, extra, 2);
    bs__bytes_text(&local, name);
    if (extra) {
        bs__bytes_uint(&local, PADDING_ID, 2);
        bs__bytes_uint(&local, extra - 4, 2);
        for (size_t i = 4; i < extra; i++)
            bs__bytes_uint(&local, 0, 1);
    }
    struct bs__bytes *d = &z->directory;
    bs__bytes_uint(d, CENTRAL_SIGNATURE, 4);
    bs__bytes_uint(d, VERSION, 2);
    z->directory_crc = d->len + COMMON_CRC_AT;
    common(d, (uint32_t)bytes, name_len);
    bs__bytes_uint(d, 0, 2); /* extra field, comment, disk, attributes */
    bs__bytes_uint(d, 0, 2);
    bs__bytes_uint(d, 0, 2);
    bs__bytes_uint(d, 0, 2);
    bs__bytes_uint(d, 0, 4);
    bs__bytes_uint(d, z->header, 4);
    bs__bytes_text(d, name);
    z->entries++;
    bs_status rc = bs__bytes_check(&local, "an archive's entry", err);
    if (rc == BS_OK)
        rc = bs__bytes_check(d, "an archive's directory", err);
    if (rc == BS_OK)
        rc = put(z, local.data, local.len, err);
    bs__bytes_free(&local);
    return rc;
}

bs_status bs__zip_data(struct bs__zip_writer *z, const void *data, size_t bytes, struct bs_err *err)
{
    BS_ASSERT(bytes <= z->left);
    z->crc = checksum(z, z->crc, data, bytes);
    z->left -= (uint32_t)bytes;
    return put(z, data, bytes, err);
}

bs_status bs__zip_end(struct bs__zip_writer *z, struct bs_err *err)
{
    unsigned char crc[4];
    BS_ASSERT(z->left == 0);
    for (int i = 0; i < 4; i++)
        crc[i] = (unsigned char)(z->crc >> 8 * i);
    memcpy(z->directory.data + z->directory_crc, crc, sizeof crc);
    ssize_t put_back;
    do {
        put_back = pwrite(z->fd, crc, sizeof crc, (off_t)(z->header + LOCAL_CRC_AT));
    } while (put_back < 0 && errno == EINTR);
    if (put_back != (ssize_t)sizeof crc)
        return BS_FAIL(err, BS_EIO, "the file cannot be written: %s", strerror(errno));
    return BS_OK;
}

bs_status bs__zip_entry(struct bs__zip_writer *z, const char *name, const void *data, size_t bytes,
                        unsigned align, struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__zip_begin(z, name, bytes, align, err)) != BS_OK ||
        (rc = bs__zip_data(z, data, bytes, err)) != BS_OK)
        return rc;
    return bs__zip_end(z, err);
}

bs_status bs__zip_finish(struct bs__zip_writer *z, struct bs_err *err)
{
    const uint64_t start = z->at, bytes = z->directory.len;
    if (start + bytes > MAX_BYTES)
        return too_large("its directory", err);
    struct bs__bytes *d = &z->directory;
    bs__bytes_uint(d, END_SIGNATURE, 4);
    bs__bytes_uint(d, 0, 2); /* disks */
    bs__bytes_uint(d, 0, 2);
    bs__bytes_uint(d, z->entries, 2);
    bs__bytes_uint(d, z->entries, 2);
    bs__bytes_uint(d, bytes, 4);
    bs__bytes_uint(d, start, 4);
    bs__bytes_uint(d, 0, 2); /* comment */
    bs_status rc = bs__bytes_check(d, "an archive's directory", err);
    return rc == BS_OK ? put(z, d->data, d->len, err) : rc;
}
