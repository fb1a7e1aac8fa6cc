/* A folder that data may be read from and nothing beside it: names are opened beneath it step by step, symbolic links are not
   followed at any of them, and only regular files come out. Owns a descriptor; immutable, any thread. */
#ifndef BS_MODEL_DATASET_ROOT_H
#define BS_MODEL_DATASET_ROOT_H

#include "kernels/base/status.h"
#include "model/dataset/names.h"

#define BS_ROOT_MAX_DEPTH 16
#define BS_ROOT_MAX_FILES ((size_t)1 << 20)

struct bs_root;

/* The folder itself may be reached through links: it was named by who administers the machine. */
bs_status bs_root_open(const char *folder, struct bs_root **out, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs_root_close(struct bs_root *r);

/* name: relative, parts divided by '/', none of them "." or ".."; BS_EINVAL otherwise, BS_ENOTFOUND when there is no such
   regular file, BS_EPERMISSION when a part is a link. The caller closes *fd. */
bs_status bs_root_open_file(const struct bs_root *r, const char *name, int *fd,
                            struct bs_err *err) BS_NODISCARD;
/* Appends the names of all regular files below `folder` ("": the root itself), relative to it, in the order of their bytes. Hidden
   files and folders and links are left out. */
bs_status bs_root_list(const struct bs_root *r, const char *folder, struct bs_names *names,
                       struct bs_err *err) BS_NODISCARD;

#endif
