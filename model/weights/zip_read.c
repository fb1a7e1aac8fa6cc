/* See zip_read.h. */
#include "model/weights/zip_read.h"

#include <unistd.h>

#define PIECE ((size_t)64 << 10)

bs_status bs__zip_open(int fd, zip_t **out, struct bs_err *err)
{
    int code = 0;
    zip_error_t error;
    if ((*out = zip_fdopen(fd, 0, &code)))
        return BS_OK;
    zip_error_init_with_code(&error, code);
    bs_status rc = BS_FAIL(err, BS_ECORRUPT, "the zip archive cannot be read (is it truncated?): %s",
                           zip_error_strerror(&error));
    zip_error_fini(&error);
    close(fd);
    return rc;
}

bs_status bs__zip_size(zip_t *zip, zip_uint64_t index, const char *what, uint64_t limit, uint64_t *size,
                       struct bs_err *err)
{
    zip_stat_t st;
    if (zip_stat_index(zip, index, 0, &st) != 0 || !(st.valid & ZIP_STAT_SIZE))
        return BS_FAIL(err, BS_ECORRUPT, "%s has no size", what);
    if (st.size > limit)
        return BS_FAIL(err, BS_ELIMIT, "%s has %llu bytes, at most %llu are accepted", what,
                       (unsigned long long)st.size, (unsigned long long)limit);
    *size = st.size;
    return BS_OK;
}

static bs_status read_piece(zip_file_t *f, const char *what, void *dst, uint64_t done, uint64_t bytes,
                            size_t most, size_t *got, struct bs_err *err)
{
    const zip_int64_t n = zip_fread(f, dst, bytes - done < most ? bytes - done : most);
    if (n <= 0)
        return BS_FAIL(err, BS_ECORRUPT, "%s ends after %llu of %llu bytes: %s", what,
                       (unsigned long long)done, (unsigned long long)bytes, zip_file_strerror(f));
    *got = (size_t)n;
    return BS_OK;
}

static bs_status open_entry(zip_t *zip, zip_uint64_t index, const char *what, zip_file_t **out,
                            struct bs_err *err)
{
    if ((*out = zip_fopen_index(zip, index, 0)))
        return BS_OK;
    return BS_FAIL(err, BS_ECORRUPT, "%s cannot be opened: %s", what, zip_strerror(zip));
}

/* Nothing may follow; reading on makes libzip compare the checksum. */
static bs_status check_end(zip_file_t *f, const char *what, struct bs_err *err)
{
    unsigned char beyond;
    if (zip_fread(f, &beyond, 1) == 0)
        return BS_OK;
    return BS_FAIL(err, BS_ECORRUPT, "%s is damaged: %s", what, zip_file_strerror(f));
}

bs_status bs__zip_read(zip_t *zip, zip_uint64_t index, const char *what, void *dst, size_t bytes,
                       struct bs_err *err)
{
    size_t got = 0;
    zip_file_t *f = NULL;
    bs_status rc = open_entry(zip, index, what, &f, err);
    if (rc != BS_OK)
        return rc;
    for (size_t done = 0; rc == BS_OK && done < bytes; done += got)
        rc = read_piece(f, what, (unsigned char *)dst + done, done, bytes, bytes, &got, err);
    if (rc == BS_OK)
        rc = check_end(f, what, err);
    zip_fclose(f);
    return rc;
}

bs_status bs__zip_stream(zip_t *zip, zip_uint64_t index, const char *what, uint64_t bytes, bs__zip_take take,
                         void *ctx, struct bs_err *err)
{
    unsigned char piece[PIECE];
    size_t got = 0;
    zip_file_t *f = NULL;
    bs_status rc = open_entry(zip, index, what, &f, err);
    if (rc != BS_OK)
        return rc;
    for (uint64_t done = 0; rc == BS_OK && done < bytes; done += got)
        if ((rc = read_piece(f, what, piece, done, bytes, sizeof piece, &got, err)) == BS_OK)
            rc = take(ctx, piece, got, err);
    if (rc == BS_OK)
        rc = check_end(f, what, err);
    zip_fclose(f);
    return rc;
}
