/* Collects the images named on the command line. See inputs.h. */
#include "clients/cli/inputs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Deeper folders than this are a loop or a mistake. */
#define MAX_DEPTH 32

int bs__natural_compare(const char *a, const char *b)
{
    const char *whole_a = a, *whole_b = b;
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            while (*a == '0')
                a++;
            while (*b == '0')
                b++;
            size_t na = strspn(a, "0123456789"), nb = strspn(b, "0123456789");
            if (na != nb)
                return na < nb ? -1 : 1;
            int c = strncmp(a, b, na);
            if (c != 0)
                return c < 0 ? -1 : 1;
            a += na;
            b += nb;
        } else {
            if (*a != *b)
                return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
            a++;
            b++;
        }
    }
    if (*a || *b)
        return *a ? 1 : -1;
    /* Equal but for leading zeros: any fixed order will do. */
    int c = strcmp(whole_a, whole_b);
    return (c > 0) - (c < 0);
}

bool bs__is_image_name(const char *name)
{
    static const char *const extensions[] = {".tif", ".tiff", ".png"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof extensions / sizeof *extensions; i++)
        if (strcasecmp(dot, extensions[i]) == 0)
            return true;
    return false;
}

char *bs__stem_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return strndup(name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
}

bs_status bs__cli_read_file(const char *path, size_t limit, uint8_t **data, size_t *size, struct bs_err *err)
{
    bs_status rc = BS_OK;
    uint8_t *buffer = NULL;
    struct stat st;
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        rc = BS_FAIL(err, errno == ENOENT ? BS_ENOTFOUND : BS_EIO, "cannot read %s: %s", path,
                     strerror(errno));
        goto cleanup;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = BS_FAIL(err, BS_EINVAL, "%s is not a regular file", path);
        goto cleanup;
    }
    if ((uint64_t)st.st_size > limit) {
        rc = BS_FAIL(err, BS_ELIMIT, "%s has %lld bytes, at most %zu are accepted", path,
                     (long long)st.st_size, limit);
        goto cleanup;
    }
    buffer = malloc(st.st_size ? (size_t)st.st_size : 1);
    if (!buffer) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the %lld bytes of %s", (long long)st.st_size, path);
        goto cleanup;
    }
    while (n < (size_t)st.st_size) {
        ssize_t got = read(fd, buffer + n, (size_t)st.st_size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            rc = BS_FAIL(err, BS_EIO, "cannot read %s: %s", path,
                         got < 0 ? strerror(errno) : "it became shorter");
            goto cleanup;
        }
        n += (size_t)got;
    }
    *data = buffer;
    *size = n;
    buffer = NULL;
cleanup:
    free(buffer);
    if (fd >= 0)
        close(fd);
    return rc;
}

static bs_status add(struct bs__inputs *in, const char *path, const struct stat *st, struct bs_err *err)
{
    if (in->count == BS__INPUTS_MAX)
        return BS_FAIL(err, BS_ELIMIT, "more than %d images in one command", BS__INPUTS_MAX);
    if (in->count == in->cap) {
        size_t cap = in->cap ? 2 * in->cap : 64;
        struct bs__input *item = reallocarray(in->item, cap, sizeof *item);
        if (!item)
            return BS_FAIL(err, BS_ENOMEM, "no memory for a list of %zu images", cap);
        in->item = item;
        in->cap = cap;
    }
    struct bs__input *it = &in->item[in->count];
    it->path = strdup(path);
    it->stem = bs__stem_of(path);
    it->bytes = (uint64_t)st->st_size;
    it->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    if (!it->path || !it->stem) {
        free(it->path);
        free(it->stem);
        return BS_FAIL(err, BS_ENOMEM, "no memory for a list of images");
    }
    in->count++;
    return BS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return bs__natural_compare(*(char *const *)a, *(char *const *)b);
}

static bool same_file(const char *path, const struct stat *st)
{
    struct stat other;
    return path && stat(path, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

/* The entries of a folder, sorted; hidden ones (ours among them, while they are being written) are left out. */
static bs_status list_folder(const char *folder, char ***names, size_t *count, struct bs_err *err)
{
    bs_status rc = BS_OK;
    size_t cap = 0;
    *names = NULL;
    *count = 0;
    DIR *d = opendir(folder);
    if (!d)
        return BS_FAIL(err, BS_EIO, "cannot read the folder %s: %s", folder, strerror(errno));
    const struct dirent *e;
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        if (*count == cap) {
            cap = cap ? 2 * cap : 64;
            char **grown = reallocarray(*names, cap, sizeof *grown);
            if (!grown) {
                rc = BS_FAIL(err, BS_ENOMEM, "no memory for the list of %s", folder);
                break;
            }
            *names = grown;
        }
        if (!((*names)[*count] = strdup(e->d_name))) {
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for the list of %s", folder);
            break;
        }
        ++*count;
    }
    closedir(d);
    if (*count)
        qsort(*names, *count, sizeof **names, compare_names);
    return rc;
}

static bs_status add_folder(struct bs__inputs *in, const char *folder, bool recursive, const char *exclude,
                            int depth, struct bs_err *err)
{
    char **names = NULL;
    size_t count = 0;
    if (depth > MAX_DEPTH)
        return BS_FAIL(err, BS_ELIMIT, "%s is more than %d folders deep", folder, MAX_DEPTH);
    bs_status rc = list_folder(folder, &names, &count, err);
    for (size_t i = 0; rc == BS_OK && i < count; i++) {
        char *path = NULL;
        struct stat st;
        size_t n = strlen(folder);
        if (asprintf(&path, "%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", names[i]) < 0) {
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for the list of %s", folder);
            break;
        }
        if (stat(path, &st) == 0) {
            if (S_ISREG(st.st_mode) && bs__is_image_name(names[i]))
                rc = add(in, path, &st, err);
            else if (S_ISDIR(st.st_mode) && recursive && !same_file(exclude, &st))
                rc = add_folder(in, path, recursive, exclude, depth + 1, err);
        }
        free(path);
    }
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return rc;
}

static bs_status add_pattern(struct bs__inputs *in, const char *pattern, struct bs_err *err)
{
    glob_t g = {0};
    bs_status rc = BS_OK;
    if (strpbrk(pattern, "*?[") == NULL)
        return BS_FAIL(err, BS_ENOTFOUND, "%s: no such file or folder", pattern);
    int e = glob(pattern, GLOB_NOSORT, NULL, &g);
    if (e == GLOB_NOMATCH) {
        rc = BS_FAIL(err, BS_ENOTFOUND, "no file matches the pattern %s", pattern);
        goto cleanup;
    }
    if (e != 0) {
        rc = BS_FAIL(err, BS_EIO, "cannot expand the pattern %s", pattern);
        goto cleanup;
    }
    qsort(g.gl_pathv, g.gl_pathc, sizeof *g.gl_pathv, compare_names);
    for (size_t i = 0; rc == BS_OK && i < g.gl_pathc; i++) {
        struct stat st;
        if (stat(g.gl_pathv[i], &st) == 0 && S_ISREG(st.st_mode))
            rc = add(in, g.gl_pathv[i], &st, err);
    }
cleanup:
    globfree(&g);
    return rc;
}

struct identity {
    char *real;
    size_t index;
};

static int compare_identity(const void *a, const void *b)
{
    const struct identity *x = a, *y = b;
    int c = strcmp(x->real, y->real);
    return c ? c : (x->index > y->index) - (x->index < y->index);
}

/* Keeps the first mention of every file. */
static bs_status drop_repeated(struct bs__inputs *in, struct bs_err *err)
{
    bs_status rc = BS_OK;
    size_t total = in->count;
    struct identity *id = calloc(in->count ? in->count : 1, sizeof *id);
    bool *repeated = calloc(in->count ? in->count : 1, sizeof *repeated);
    if (!id || !repeated) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a list of %zu images", in->count);
        goto cleanup;
    }
    for (size_t i = 0; i < in->count; i++) {
        id[i].index = i;
        if (!(id[i].real = realpath(in->item[i].path, NULL)) && !(id[i].real = strdup(in->item[i].path))) {
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for a list of %zu images", in->count);
            goto cleanup;
        }
    }
    qsort(id, in->count, sizeof *id, compare_identity);
    for (size_t i = 1; i < in->count; i++)
        if (strcmp(id[i].real, id[i - 1].real) == 0)
            repeated[id[i].index] = true;
    size_t kept = 0;
    for (size_t i = 0; i < in->count; i++) {
        if (repeated[i]) {
            free(in->item[i].path);
            free(in->item[i].stem);
        } else {
            in->item[kept++] = in->item[i];
        }
    }
    in->count = kept;
cleanup:
    for (size_t i = 0; id && i < total; i++)
        free(id[i].real);
    free(id);
    free(repeated);
    return rc;
}

bs_status bs__inputs_collect(char *const *args, size_t nargs, bool recursive, const char *exclude,
                             struct bs__inputs *out, struct bs_err *err)
{
    memset(out, 0, sizeof *out);
    bs_status rc = BS_OK;
    for (size_t i = 0; rc == BS_OK && i < nargs; i++) {
        struct stat st;
        size_t before = out->count;
        if (stat(args[i], &st) != 0) {
            if (errno != ENOENT && errno != ENOTDIR)
                rc = BS_FAIL(err, BS_EIO, "cannot read %s: %s", args[i], strerror(errno));
            else
                rc = add_pattern(out, args[i], err);
        } else if (S_ISDIR(st.st_mode)) {
            rc = add_folder(out, args[i], recursive, exclude, 0, err);
            if (rc == BS_OK && out->count == before)
                rc = BS_FAIL(err, BS_ENOTFOUND, "the folder %s holds no image (.tif, .tiff, .png)%s", args[i],
                             recursive ? "" : "; -r looks into its subfolders too");
        } else {
            rc = add(out, args[i], &st, err);
        }
    }
    if (rc == BS_OK)
        rc = drop_repeated(out, err);
    if (rc == BS_OK && out->count == 0)
        rc = BS_FAIL(err, BS_ENOTFOUND, "no image given");
    if (rc != BS_OK)
        bs__inputs_free(out);
    return rc;
}

void bs__inputs_free(struct bs__inputs *in)
{
    for (size_t i = 0; i < in->count; i++) {
        free(in->item[i].path);
        free(in->item[i].stem);
    }
    free(in->item);
    memset(in, 0, sizeof *in);
}
