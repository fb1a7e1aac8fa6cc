/* The parameters of one loaded model: where their values come from, and the packed forms (blocked, Winograd, bf16)
   that backends made of them. Packed once, shared by all executables of the model.
   Reference-counted; thread-safe. */
#ifndef BS_KERNELS_PARAMS_H
#define BS_KERNELS_PARAMS_H

#include "kernels/tensor.h"

/* Where values come from. The set borrows ctx until its last reference goes, then calls release (may be NULL). */
struct bs_param_source {
    void *ctx;
    /* Shape of a parameter; BS_ENOTFOUND when there is none of that name. */
    bs_status (*shape)(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err);
    /* Fills dst with count float32 values. May fail at any time (the file may have been truncated meanwhile). */
    bs_status (*read)(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err);
    void (*release)(void *ctx);
};

struct bs_params;

/* Takes the source, also on failure. */
bs_status bs_params_create(struct bs_param_source source, struct bs_params **out,
                           struct bs_err *err) BS_NODISCARD;
/* A set to plan with: packed forms are counted and their address space is taken, but nothing is packed and no memory is
   touched. What is compiled over it tells its arena and its weights' bytes exactly, in milliseconds; it cannot run. */
bs_status bs_params_create_planning(struct bs_param_source source, struct bs_params **out,
                                    struct bs_err *err) BS_NODISCARD;
bool bs_params_is_planning(const struct bs_params *p);
struct bs_params *bs_params_ref(struct bs_params *p);
/* Accepts NULL. */
void bs_params_unref(struct bs_params *p);

bs_status bs_params_shape(struct bs_params *p, const char *name, struct bs_shape *shape,
                          struct bs_err *err) BS_NODISCARD;
/* Is the parameter there with this shape? BS_EINVAL says which one the file has. */
bs_status bs_params_need(struct bs_params *p, const char *name, const struct bs_shape *shape,
                         struct bs_err *err) BS_NODISCARD;
bs_status bs_params_read(struct bs_params *p, const char *name, float *dst, size_t count,
                         struct bs_err *err) BS_NODISCARD;

/* A packed form under a key such as "cpu/wino/encoder.blocks.0.block.1.weight". The first caller builds it: it gets
   `bytes` of 64-byte aligned memory to fill; everybody gets the same memory afterwards, valid until the set goes. */
typedef bs_status (*bs_pack_fn)(struct bs_params *p, void *dst, size_t bytes, void *ctx, struct bs_err *err);
bs_status bs_params_packed(struct bs_params *p, const char *key, size_t bytes, bs_pack_fn pack, void *ctx,
                           const void **out, struct bs_err *err) BS_NODISCARD;
/* Where a packed form lies when it is not the host's memory. What alloc yields is handed to the pack function and to callers
   as it is: an address that only the backend understands. free may be called by any thread that lets go of the set, also
   after the device was closed, so what ctx points to must live until the last form is freed. */
struct bs_pack_memory {
    void *ctx;
    bs_status (*alloc)(void *ctx, size_t bytes, void **out, struct bs_err *err);
    void (*free)(void *ctx, void *memory, size_t bytes);
};
/* The same there; borrows `where` during the call. In a set to plan with nothing is allocated and *out is NULL. */
bs_status bs_params_packed_in(struct bs_params *p, const struct bs_pack_memory *where, const char *key,
                              size_t bytes, bs_pack_fn pack, void *ctx, const void **out,
                              struct bs_err *err) BS_NODISCARD;
/* Bytes held in packed forms now, wherever they lie. */
size_t bs_params_packed_bytes(struct bs_params *p);

#endif
