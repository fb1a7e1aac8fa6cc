/* Whole-range file access; see file_io.h. */
#include "model/weights/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 30) /* Linux moves less than 2 GiB per call */

bs_status bs__file_open(const char *path, int *fd, struct bs_err *err)
{
    /* O_NONBLOCK: a FIFO in the file's place must not make us wait; bs__file_size then refuses it. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd >= 0)
        return BS_OK;
    return BS_FAIL(err, errno == ENOENT ? BS_ENOTFOUND : BS_EIO, "the file cannot be opened: %s",
                   strerror(errno));
}

bs_status bs__file_size(int fd, uint64_t *size, struct bs_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return BS_FAIL(err, BS_EIO, "the file cannot be examined: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return BS_FAIL(err, BS_EINVAL, "not a regular file");
    *size = (uint64_t)st.st_size;
    return BS_OK;
}

bs_status bs__file_read_at(int fd, uint64_t offset, void *dst, size_t bytes, struct bs_err *err)
{
    unsigned char *to = dst;
    while (bytes) {
        ssize_t n = pread(fd, to, bytes < CHUNK ? bytes : CHUNK, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return BS_FAIL(err, BS_EIO, "the file cannot be read at byte %llu: %s",
                           (unsigned long long)offset, strerror(errno));
        if (n == 0)
            return BS_FAIL(err, BS_EIO, "the file ends at byte %llu, %zu bytes early (was it truncated?)",
                           (unsigned long long)offset, bytes);
        to += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return BS_OK;
}

bs_status bs__file_write(int fd, const void *data, size_t bytes, struct bs_err *err)
{
    const unsigned char *from = data;
    while (bytes) {
        ssize_t n = write(fd, from, bytes < CHUNK ? bytes : CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return BS_FAIL(err, BS_EIO, "the file cannot be written: %s", strerror(errno));
        from += n;
        bytes -= (size_t)n;
    }
    return BS_OK;
}
