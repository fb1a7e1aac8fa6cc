/* See root.h. Every part of a name is opened from the descriptor of the part before it, without following links, so nothing that
   changes meanwhile can lead out of the folder. */
#include "model/dataset/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct bs_root {
    int fd;
};

#define FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
/* O_NONBLOCK: a pipe in place of a file must not hold us up. */
#define PLAIN (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

bs_status bs_root_open(const char *folder, struct bs_root **out, struct bs_err *err)
{
    *out = NULL;
    struct bs_root *r = malloc(sizeof *r);
    if (!r)
        return BS_FAIL(err, BS_ENOMEM, "no memory to open a folder");
    r->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->fd < 0) {
        int why = errno;
        free(r);
        return BS_FAIL(err,
                       why == ENOENT   ? BS_ENOTFOUND
                       : why == EACCES ? BS_EPERMISSION
                                       : BS_EIO,
                       "a data folder cannot be opened: %s", strerror(why));
    }
    *out = r;
    return BS_OK;
}

void bs_root_close(struct bs_root *r)
{
    if (r)
        close(r->fd);
    free(r);
}

static bs_status cannot_open(const char *name, int why, struct bs_err *err)
{
    if (why == ELOOP || why == ENOTDIR)
        return BS_FAIL(err, BS_EPERMISSION,
                       "\"%.200s\" leads through a symbolic link or something that is no folder", name);
    return BS_FAIL(err,
                   why == ENOENT   ? BS_ENOTFOUND
                   : why == EACCES ? BS_EPERMISSION
                                   : BS_EIO,
                   "\"%.200s\" cannot be opened: %s", name, strerror(why));
}

/* Opens one part after the other, the last one with `flags`. */
static bs_status open_beneath(const struct bs_root *r, const char *name, int flags, int *out,
                              struct bs_err *err)
{
    char part[256];
    int at = r->fd, depth = 0;
    for (const char *rest = name;;) {
        size_t len = strcspn(rest, "/");
        bool last = !rest[len];
        if (len == 0 || len >= sizeof part || (len <= 2 && strncmp(rest, "..", len) == 0) ||
            ++depth > BS_ROOT_MAX_DEPTH) {
            if (at != r->fd)
                close(at);
            return BS_FAIL(
                err, BS_EINVAL,
                "\"%.200s\" is no name of a file in the folder: parts of 1 to %zu bytes, up to %d of them, "
                "none \".\" or \"..\"",
                name, sizeof part - 1, BS_ROOT_MAX_DEPTH);
        }
        memcpy(part, rest, len);
        part[len] = '\0';
        int fd = openat(at, part, last ? flags : FOLDER), why = errno;
        if (at != r->fd)
            close(at);
        if (fd < 0)
            return cannot_open(name, why, err);
        if (last) {
            *out = fd;
            return BS_OK;
        }
        at = fd;
        rest += len + 1;
    }
}

bs_status bs_root_open_file(const struct bs_root *r, const char *name, int *fd, struct bs_err *err)
{
    struct stat st;
    bs_status rc = open_beneath(r, name, PLAIN, fd, err);
    if (rc != BS_OK)
        return rc;
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode))
        return BS_OK;
    close(*fd);
    return BS_FAIL(err, BS_ENOTFOUND, "\"%.200s\" is no regular file", name);
}

/* Takes the descriptor. */
static bs_status list_folder(int fd, const char *prefix, int depth, struct bs_names *names,
                             struct bs_err *err);

static bs_status list_entry(int folder, const char *prefix, const char *entry, int depth,
                            struct bs_names *names, struct bs_err *err)
{
    struct stat st;
    if (entry[0] == '.' || fstatat(folder, entry, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return BS_OK;
    size_t room = strlen(prefix) + strlen(entry) + 2;
    char *name = malloc(room);
    if (!name)
        return BS_FAIL(err, BS_ENOMEM, "no memory to list a folder");
    snprintf(name, room, "%s%s%s", prefix, *prefix ? "/" : "", entry);
    bs_status rc = BS_OK;
    if (S_ISREG(st.st_mode)) {
        rc = names->count < BS_ROOT_MAX_FILES
                 ? bs_names_add(names, name, err)
                 : BS_FAIL(err, BS_ELIMIT, "the folder holds more than %zu files", BS_ROOT_MAX_FILES);
    } else {
        int fd = openat(folder, entry, FOLDER);
        if (fd >= 0)
            rc = list_folder(fd, name, depth + 1, names, err);
        else if (errno != ENOENT && errno != ELOOP) /* it went, or became a link, meanwhile */
            rc = cannot_open(name, errno, err);
    }
    free(name);
    return rc;
}

static bs_status list_folder(int fd, const char *prefix, int depth, struct bs_names *names,
                             struct bs_err *err)
{
    if (depth > BS_ROOT_MAX_DEPTH) {
        close(fd);
        return BS_FAIL(err, BS_ELIMIT, "folders lie over %d deep in one another", BS_ROOT_MAX_DEPTH);
    }
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return BS_FAIL(err, BS_ENOMEM, "no memory to list a folder");
    }
    bs_status rc = BS_OK;
    struct dirent *e;
    while (rc == BS_OK && (e = readdir(dir)))
        rc = list_entry(fd, prefix, e->d_name, depth, names, err);
    closedir(dir);
    return rc;
}

bs_status bs_root_list(const struct bs_root *r, const char *folder, struct bs_names *names,
                       struct bs_err *err)
{
    int fd;
    bs_status rc = BS_OK;
    if (*folder)
        rc = open_beneath(r, folder, FOLDER, &fd, err);
    else if ((fd = openat(r->fd, ".", FOLDER)) < 0)
        rc = cannot_open(".", errno, err);
    if (rc == BS_OK)
        rc = list_folder(fd, "", 0, names, err);
    bs_names_sort(names);
    return rc;
}
