/* A descriptor's contents as shared, read-only memory with a reference count: results leave through it without being
   copied, staying alive until the last slice that points into it is gone. Thread-safe. */
#ifndef BS_SERVER_RPC_MAPPING_H
#define BS_SERVER_RPC_MAPPING_H

#include "kernels/base/status.h"

struct bs_mapping;

/* Takes fd, also on failure; -1 or an empty file gives a mapping of no bytes. The file must not shrink: use sealed memfds
   only, never files that others can write. */
bs_status bs_mapping_create(int fd, struct bs_mapping **out, struct bs_err *err) BS_NODISCARD;
/* n bytes of ordinary memory behind the same handle; to be filled before it is shared. */
bs_status bs_mapping_create_buffer(size_t n, struct bs_mapping **out, void **data,
                                   struct bs_err *err) BS_NODISCARD;
struct bs_mapping *bs_mapping_ref(struct bs_mapping *m);
void bs_mapping_unref(struct bs_mapping *m); /* accepts NULL */
const void *bs_mapping_data(const struct bs_mapping *m);
size_t bs_mapping_size(const struct bs_mapping *m);

#endif
