/* What has been decoded, kept as long as there is room: values 0 .. count-1, each made at most once at a time, whoever is not held and
   was used least recently goes first. Thread-safe; the lock is not held while a value is made. */
#ifndef BS_MODEL_DATASET_CACHE_H
#define BS_MODEL_DATASET_CACHE_H

#include "kernels/base/status.h"

struct bs__cache;

/* How values are made and freed. make runs in the thread that asks; others who want the same value wait for it. When it fails the next
   of them tries. */
struct bs__cache_maker {
    void *ctx;
    bs_status (*make)(void *ctx, size_t key, void **value, size_t *bytes, struct bs_err *err);
    void (*destroy)(void *ctx, size_t key, void *value);
};

/* max_bytes: of values that nobody holds; what is held is not counted out. Copies the maker. */
bs_status bs__cache_create(size_t count, size_t max_bytes, const struct bs__cache_maker *maker,
                           struct bs__cache **out, struct bs_err *err) BS_NODISCARD;
/* Nothing may be held any more. Accepts NULL. */
void bs__cache_destroy(struct bs__cache *c);

/* The value of a key, made if need be, held until it is given back. A maker may take other keys of the same cache, as long
   as keys never wait for each other in a circle. */
bs_status bs__cache_take(struct bs__cache *c, size_t key, void **value, struct bs_err *err) BS_NODISCARD;
void bs__cache_give_back(struct bs__cache *c, size_t key);

#endif
