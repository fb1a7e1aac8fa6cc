/* Which objects of one plane of a stack go on in the next. Two objects may be one when their intersection is at least
   `overlap` of their union (intersection over union, seen along the stack). Of all pairs that may be, the one with the
   largest such part is joined first, then the next whose objects are both still free, and so on; of equal ones the pair
   with the smaller id in the plane before, then in this plane, comes first. So each object continues at most one and is
   continued by at most one, nothing depends on threads, and above a half the pairs are the only ones there can be.
   Pure; any thread. */
#ifndef BS_MODEL_INSTANCES_LINK_H
#define BS_MODEL_INSTANCES_LINK_H

#include "kernels/base/status.h"

#include <stdint.h>

/* before: any ids. now: ids up to count. partner: count + 1 values; partner[i] becomes the id in `before` that object i
   continues, 0 where it begins here. overlap: 0 (any) to 1 (the very same pixels). */
bs_status bs_link_planes(const uint32_t *before, const uint32_t *now, size_t pixels, uint32_t count,
                         double overlap, uint32_t *partner, struct bs_err *err) BS_NODISCARD;

#endif
