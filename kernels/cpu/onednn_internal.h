/* What the files that call oneDNN share (onednn.c, onednn_grad.c): how the 2.x and the 3.x interfaces hold a descriptor, and how
   a failed call becomes an error. */
#ifndef BS_KERNELS_CPU_ONEDNN_INTERNAL_H
#define BS_KERNELS_CPU_ONEDNN_INTERNAL_H

#include "kernels/cpu/onednn.h"

#include <dnnl.h>

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t desc_t;
typedef const_dnnl_memory_desc_t const_desc_t;
#define DESC(d) (d)
static inline dnnl_status_t bs__desc_init(desc_t *d, int ndim, const dnnl_dims_t dims, dnnl_data_type_t type,
                                          dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(d, ndim, dims, type, tag);
}
static inline void bs__desc_free(desc_t *d)
{
    if (*d)
        dnnl_memory_desc_destroy(*d);
    *d = NULL;
}
#else
typedef dnnl_memory_desc_t desc_t;
typedef const dnnl_memory_desc_t *const_desc_t;
#define DESC(d) (&(d))
static inline dnnl_status_t bs__desc_init(desc_t *d, int ndim, const dnnl_dims_t dims, dnnl_data_type_t type,
                                          dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(d, ndim, dims, type, tag);
}
static inline void bs__desc_free(desc_t *d)
{
    (void)d;
}
#endif

struct bs__dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

/* "oneDNN: dnnl_engine_create: ..." */
bs_status bs__dnnl_failed(struct bs_err *err, dnnl_status_t status, const char *call);

/* Every call of the library passes through here, so that a failure names the call. */
#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        dnnl_status_t status_ = (call);                                                                      \
        if (status_ != dnnl_success) {                                                                       \
            rc = bs__dnnl_failed(err, status_, #call);                                                       \
            goto cleanup;                                                                                    \
        }                                                                                                    \
    } while (0)

#endif
