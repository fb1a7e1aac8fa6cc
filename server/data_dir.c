/* Checks and lock of the data directory; see data_dir.h. Called once, by main. */
#include "server/data_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* As mkdir -p; directories on the way get the usual mode, the last one is private. */
static bs_status make(const char *path, struct bs_err *err)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part)
        return BS_FAIL(err, BS_EINVAL, "the data directory's path is too long");
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != 0)
            continue;
        char end = part[i];
        part[i] = 0;
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return BS_FAIL(err, BS_EIO, "cannot make the data directory %s: %s", path, strerror(errno));
        part[i] = end;
    }
    return BS_OK;
}

static bool is_empty(int fd)
{
    bool empty = true;
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    if (!d)
        return false;
    for (const struct dirent *e; (e = readdir(d));)
        empty = empty && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0);
    closedir(d);
    return empty;
}

/* Ours and closed to others. A fresh empty directory is closed here; one with contents may be anything ("/tmp"), so its
   owner decides. */
static bs_status check_private(int fd, const char *path, struct bs_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return BS_FAIL(err, BS_EIO, "cannot look at the data directory: %s", strerror(errno));
    if (st.st_uid != geteuid())
        return BS_FAIL(err, BS_EPRECONDITION,
                       "the data directory %s belongs to another user (%u); biosegd runs as %u", path,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & 077) == 0)
        return BS_OK;
    if (is_empty(fd) && fchmod(fd, 0700) == 0)
        return BS_OK;
    return BS_FAIL(err, BS_EPRECONDITION,
                   "the data directory %s is open to others (mode %04o); it holds tokens and private images: "
                   "chmod 700 it, or "
                   "choose another one",
                   path, (unsigned)st.st_mode & 07777);
}

static bs_status check_local(int fd, const char *path, struct bs_err *err)
{
    static const struct {
        unsigned magic;
        const char *name;
    } network[] = {
        {0x6969, "NFS"},        {0x517b, "SMB"},       {0xff534d42, "CIFS"},
        {0xfe534d42, "SMB2"},   {0x5346414f, "AFS"},   {0x00c36400, "Ceph"},
        {0x0bd00bd0, "Lustre"}, {0x47504653, "GPFS"},  {0x73757245, "Coda"},
        {0x19830326, "BeeGFS"}, {0x7461636f, "OCFS2"}, {0x65735546, "FUSE (sshfs and others)"},
        {0x01161970, "GFS2"},   {0x564c, "NCP"},       {0xaad7aaea, "PanFS"},
    };
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return BS_FAIL(err, BS_EIO, "cannot look at the data directory's file system: %s", strerror(errno));
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++) {
        if ((unsigned)fs.f_type == network[i].magic)
            return BS_FAIL(
                err, BS_EPRECONDITION,
                "the data directory %s is on a network file system (%s), where locks and fsync may not hold "
                "what "
                "they promise and jobs can be lost; use a local disk, or --allow-network-filesystem",
                path, network[i].name);
    }
    return BS_OK;
}

bs_status bs_data_dir_open(const char *path, bool allow_network_filesystem, int *lock_fd, struct bs_err *err)
{
    int dir = -1, lock = -1;
    bs_status rc = make(path, err);
    if (rc != BS_OK)
        goto cleanup;
    if ((dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        rc = BS_FAIL(err, BS_EIO, "cannot open the data directory %s: %s", path, strerror(errno));
        goto cleanup;
    }
    if ((rc = check_private(dir, path, err)) != BS_OK ||
        (!allow_network_filesystem && (rc = check_local(dir, path, err)) != BS_OK))
        goto cleanup;
    if ((lock = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0) {
        rc = BS_FAIL(err, BS_EIO, "cannot write into the data directory %s: %s", path, strerror(errno));
        goto cleanup;
    }
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        rc = BS_FAIL(err, BS_EPRECONDITION,
                     "another biosegd uses the data directory %s; end it first, or choose another one", path);
        goto cleanup;
    }
    *lock_fd = lock;
    lock = -1;

cleanup:
    if (lock >= 0)
        close(lock);
    if (dir >= 0)
        close(dir);
    return rc;
}
