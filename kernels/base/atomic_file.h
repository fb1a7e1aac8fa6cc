/* A file that appears under its name whole or not at all: written under a temporary name in the same folder, synced, renamed,
   the folder synced. A struct bs_atomic_file owns its descriptor and names; one thread at a time. */
#ifndef BS_KERNELS_BASE_ATOMIC_FILE_H
#define BS_KERNELS_BASE_ATOMIC_FILE_H

#include "kernels/base/status.h"

struct bs_atomic_file {
    int fd;     /* -1: not open */
    char *temp; /* its name meanwhile, in the same folder */
    char *path;
};
bs_status bs_atomic_open(struct bs_atomic_file *f, const char *path, struct bs_err *err) BS_NODISCARD;
/* All of data, after what was written before. */
bs_status bs_atomic_write(struct bs_atomic_file *f, const void *data, size_t bytes,
                          struct bs_err *err) BS_NODISCARD;
/* fsync, rename, fsync of the folder. The file is closed in any case, and removed when that failed. */
bs_status bs_atomic_commit(struct bs_atomic_file *f, struct bs_err *err) BS_NODISCARD;
/* Removes what was written; does nothing after a commit, or to one that is {.fd = -1}. */
void bs_atomic_abort(struct bs_atomic_file *f);
/* The part of a path after the last slash: all that messages show. */
const char *bs_base_name(const char *path);

#endif
