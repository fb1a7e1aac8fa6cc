/* See atomic_file.h. */
#include "kernels/base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

const char *bs_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bs_status bs_atomic_open(struct bs_atomic_file *f, const char *path, struct bs_err *err)
{
    *f = (struct bs_atomic_file){.fd = -1};
    const char *base = bs_base_name(path);
    size_t folder = (size_t)(base - path);
    size_t len = strlen(path) + 32;
    if (*base == 0)
        return BS_FAIL(err, BS_EINVAL, "an output file needs a name, not a folder");
    f->path = strdup(path);
    f->temp = malloc(len);
    if (!f->path || !f->temp) {
        bs_atomic_abort(f);
        return BS_FAIL(err, BS_ENOMEM, "out of memory while opening %s", base);
    }
    /* Not mkstemp: that one ignores the umask, and results should be as readable as any file of their owner. */
    for (int attempt = 0; attempt < 16 && f->fd < 0; attempt++) {
        uint64_t random = 0;
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            break;
        snprintf(f->temp, len, "%.*s.%.200s.%08x", (int)folder, path, base, (unsigned)random);
        f->fd = open(f->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd < 0 && errno != EEXIST)
            break;
    }
    if (f->fd < 0) {
        int why = errno;
        free(f->temp); /* nothing was created under this name */
        f->temp = NULL;
        bs_atomic_abort(f);
        return BS_FAIL(err, BS_EIO, "cannot create %s: %s", base, strerror(why));
    }
    return BS_OK;
}

bs_status bs_atomic_write(struct bs_atomic_file *f, const void *data, size_t bytes, struct bs_err *err)
{
    const char *from = data;
    while (bytes > 0) {
        ssize_t put = write(f->fd, from, bytes < (size_t)1 << 30 ? bytes : (size_t)1 << 30);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return BS_FAIL(err, BS_EIO, "cannot write %s: %s", bs_base_name(f->path), strerror(errno));
        from += put;
        bytes -= (size_t)put;
    }
    return BS_OK;
}

static int sync_folder(const char *path)
{
    const char *base = bs_base_name(path);
    char *folder = base == path ? strdup(".") : strndup(path, (size_t)(base - path));
    if (!folder)
        return -1;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    close(fd);
    return rc;
}

bs_status bs_atomic_commit(struct bs_atomic_file *f, struct bs_err *err)
{
    bs_status rc = BS_OK;
    int why = 0;
    if (fsync(f->fd) != 0)
        why = errno;
    if (close(f->fd) != 0 && !why)
        why = errno;
    f->fd = -1;
    if (!why && rename(f->temp, f->path) != 0)
        why = errno;
    if (why) {
        rc = BS_FAIL(err, BS_EIO, "cannot write %s: %s", bs_base_name(f->path), strerror(why));
        bs_atomic_abort(f);
        return rc;
    }
    free(f->temp);
    f->temp = NULL;
    (void)sync_folder(f->path); /* some file systems cannot; the data itself is safe by now */
    bs_atomic_abort(f);
    return BS_OK;
}

void bs_atomic_abort(struct bs_atomic_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->temp)
        unlink(f->temp);
    free(f->temp);
    free(f->path);
    *f = (struct bs_atomic_file){.fd = -1};
}
