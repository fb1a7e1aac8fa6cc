/* Names of results and the checks on them. See outputs.h. */
#include "clients/cli/outputs.h"

#include "kernels/base/atomic_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const bs__output_names[BS__OUTPUTS] = {"labels", "maps", "table", "overlay", "record"};

static const char *suffix(const struct bs__output_options *opt, int kind)
{
    switch (kind) {
    case BS__OUTPUT_LABELS:
        return opt->png ? ".png" : ".tif";
    case BS__OUTPUT_MAPS:
        return ".maps.tif";
    case BS__OUTPUT_TABLE:
        return ".csv";
    case BS__OUTPUT_OVERLAY:
        return ".overlay.png";
    default:
        return ".json";
    }
}

static bs_status make_folder(const char *folder, struct bs_err *err)
{
    char *path = strdup(folder);
    bs_status rc = BS_OK;
    if (!path)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a path");
    for (char *c = path + 1; rc == BS_OK; c++) {
        if (*c != '/' && *c != '\0')
            continue;
        char end = *c;
        *c = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            rc = BS_FAIL(err, BS_EIO, "cannot create the folder %s: %s", path, strerror(errno));
        *c = end;
        if (end == '\0')
            break;
    }
    struct stat st;
    if (rc == BS_OK && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
        rc = BS_FAIL(err, BS_EIO, "%s is not a folder", path);
    if (rc == BS_OK && access(path, W_OK | X_OK) != 0)
        rc = BS_FAIL(err, BS_EIO, "cannot write into the folder %s: %s", path, strerror(errno));
    free(path);
    return rc;
}

struct claim {
    const char *path;
    size_t input;
};

static int compare_claims(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    int c = strcmp(x->path, y->path);
    return c ? c : (x->input > y->input) - (x->input < y->input);
}

static bs_status refuse_collisions(const struct bs__inputs *in, const struct bs__output_paths *paths,
                                   struct bs_err *err)
{
    bs_status rc = BS_OK;
    size_t n = 0;
    struct claim *claim = calloc(in->count ? in->count : 1, BS__OUTPUTS * sizeof *claim);
    if (!claim)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the names of %zu results", in->count);
    for (size_t i = 0; i < in->count; i++)
        for (int k = 0; k < BS__OUTPUTS; k++)
            if (paths[i].path[k])
                claim[n++] = (struct claim){paths[i].path[k], i};
    qsort(claim, n, sizeof *claim, compare_claims);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(claim[i].path, claim[i - 1].path) != 0)
            continue;
        rc = BS_FAIL(err, BS_EEXIST,
                     "%s and %s would both be written to %s: give them different output folders",
                     in->item[claim[i - 1].input].path, in->item[claim[i].input].path, claim[i].path);
        break;
    }
    free(claim);
    return rc;
}

struct inode {
    dev_t dev;
    ino_t ino;
    size_t input;
};

static int compare_inodes(const void *a, const void *b)
{
    const struct inode *x = a, *y = b;
    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return (x->ino > y->ino) - (x->ino < y->ino);
}

/* Is what stands at this place ours to replace? By identity of the file, so that links do not fool us. */
static bs_status refuse_overwriting(const struct bs__inputs *in, const struct bs__output_options *opt,
                                    const struct bs__output_paths *paths, struct bs_err *err)
{
    bs_status rc = BS_OK;
    size_t n = 0;
    struct stat st;
    struct inode *inode = calloc(in->count ? in->count : 1, sizeof *inode);
    if (!inode)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a list of %zu images", in->count);
    for (size_t i = 0; i < in->count; i++)
        if (stat(in->item[i].path, &st) == 0)
            inode[n++] = (struct inode){st.st_dev, st.st_ino, i};
    qsort(inode, n, sizeof *inode, compare_inodes);
    for (size_t i = 0; rc == BS_OK && i < in->count; i++) {
        bool ours = opt->resume && bs__record_is_ours(paths[i].path[BS__OUTPUT_RECORD]);
        for (int k = 0; rc == BS_OK && k < BS__OUTPUTS; k++) {
            const char *path = paths[i].path[k];
            if (!path || stat(path, &st) != 0)
                continue;
            struct inode key = {st.st_dev, st.st_ino, 0};
            const struct inode *hit = bsearch(&key, inode, n, sizeof *inode, compare_inodes);
            if (hit)
                rc = BS_FAIL(err, BS_EEXIST,
                             "%s is an input and would be overwritten: give another output folder",
                             in->item[hit->input].path);
            else if (!S_ISREG(st.st_mode))
                rc = BS_FAIL(err, BS_EEXIST, "%s is in the way and is not a regular file", path);
            else if (!opt->overwrite && !ours)
                rc = BS_FAIL(err, BS_EEXIST,
                             opt->resume
                                 ? "%s exists and is not from an earlier run of bioseg: move it away, or "
                                   "give --overwrite"
                                 : "%s exists: --resume goes on with an earlier run, --overwrite replaces "
                                   "what is there",
                             path);
        }
    }
    free(inode);
    return rc;
}

bs_status bs__outputs_plan(const struct bs__inputs *in, const struct bs__output_options *opt,
                           struct bs__output_paths **out, struct bs_err *err)
{
    struct bs__output_paths *paths = calloc(in->count ? in->count : 1, sizeof *paths);
    if (!paths)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the names of %zu results", in->count);
    bs_status rc = make_folder(opt->folder, err);
    size_t n = strlen(opt->folder);
    const char *slash = n && opt->folder[n - 1] == '/' ? "" : "/";
    for (size_t i = 0; rc == BS_OK && i < in->count; i++)
        for (int k = 0; k < BS__OUTPUTS; k++) {
            if (!opt->want[k] && k != BS__OUTPUT_LABELS && k != BS__OUTPUT_RECORD)
                continue;
            if (asprintf(&paths[i].path[k], "%s%s%s%s", opt->folder, slash, in->item[i].stem,
                         suffix(opt, k)) < 0) {
                paths[i].path[k] = NULL;
                rc = BS_FAIL(err, BS_ENOMEM, "no memory for the names of %zu results", in->count);
                break;
            }
        }
    if (rc == BS_OK)
        rc = refuse_collisions(in, paths, err);
    if (rc == BS_OK)
        rc = refuse_overwriting(in, opt, paths, err);
    if (rc != BS_OK) {
        bs__outputs_free(paths, in->count);
        return rc;
    }
    *out = paths;
    return BS_OK;
}

void bs__outputs_free(struct bs__output_paths *paths, size_t count)
{
    for (size_t i = 0; paths && i < count; i++)
        for (int k = 0; k < BS__OUTPUTS; k++)
            free(paths[i].path[k]);
    free(paths);
}

bs_status bs__write_text(const char *path, const char *text, size_t size, struct bs_err *err)
{
    struct bs_atomic_file file = {.fd = -1};
    bs_status rc = bs_atomic_open(&file, path, err);
    if (rc == BS_OK && (rc = bs_atomic_write(&file, text, size, err)) == BS_OK)
        rc = bs_atomic_commit(&file, err);
    bs_atomic_abort(&file);
    return rc;
}
