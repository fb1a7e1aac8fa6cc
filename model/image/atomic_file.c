/* Files that appear complete or not at all: a temporary name in the same folder, fsync, rename, fsync of the folder.
   A struct bs__atomic_file owns its descriptor and names; one thread at a time. */
#include "model/image/image_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

const char *bs__base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bs_status bs__atomic_open(struct bs__atomic_file *f, const char *path, struct bs_err *err)
{
    *f = (struct bs__atomic_file){.fd = -1};
    const char *base = bs__base_name(path);
    size_t folder = (size_t)(base - path);
    size_t len = strlen(path) + 32;
    if (*base == 0)
        return BS_FAIL(err, BS_EINVAL, "an output file needs a name, not a folder");
    f->path = strdup(path);
    f->temp = malloc(len);
    if (!f->path || !f->temp) {
        bs__atomic_abort(f);
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
        bs__atomic_abort(f);
        return BS_FAIL(err, BS_EIO, "cannot create %s: %s", base, strerror(why));
    }
    return BS_OK;
}

static int sync_folder(const char *path)
{
    const char *base = bs__base_name(path);
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

bs_status bs__atomic_commit(struct bs__atomic_file *f, struct bs_err *err)
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
        rc = BS_FAIL(err, BS_EIO, "cannot write %s: %s", bs__base_name(f->path), strerror(why));
        bs__atomic_abort(f);
        return rc;
    }
    free(f->temp);
    f->temp = NULL;
    (void)sync_folder(f->path); /* some file systems cannot; the data itself is safe by now */
    bs__atomic_abort(f);
    return BS_OK;
}

void bs__atomic_abort(struct bs__atomic_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->temp)
        unlink(f->temp);
    free(f->temp);
    free(f->path);
    *f = (struct bs__atomic_file){.fd = -1};
}
