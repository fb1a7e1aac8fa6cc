/* Which images a command works on: files, folders and glob patterns, in the order a person would list them.
   Owns the list it returns; any thread. */
#ifndef BS_CLIENTS_CLI_INPUTS_H
#define BS_CLIENTS_CLI_INPUTS_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS__INPUTS_MAX 1000000

struct bs__input {
    char *path;
    char *stem; /* file name without its last extension: names the outputs */
    uint64_t bytes;
    int64_t mtime_ns;
};

struct bs__inputs {
    struct bs__input *item;
    size_t count, cap;
};

/* Natural order: "img2" before "img10". */
int bs__natural_compare(const char *a, const char *b);
bool bs__is_image_name(const char *name);
/* "dir/a.b.tif" -> "a.b"; returns a new string, NULL without memory. */
char *bs__stem_of(const char *path);
/* Reads a whole file; refuses one larger than limit. The caller frees. */
bs_status bs__cli_read_file(const char *path, size_t limit, uint8_t **data, size_t *size,
                            struct bs_err *err) BS_NODISCARD;

/* Each argument is a file (taken whatever its name), a folder (its images; with recursive those of its subfolders too,
   but not of `exclude`, the output folder, which may be NULL) or, when nothing of that name exists, a glob pattern.
   A file named twice is taken once. No image at all, or an argument that names nothing, is BS_ENOTFOUND. */
bs_status bs__inputs_collect(char *const *args, size_t nargs, bool recursive, const char *exclude,
                             struct bs__inputs *out, struct bs_err *err) BS_NODISCARD;
void bs__inputs_free(struct bs__inputs *in);

#endif
