/* Walks the top of a JSON text that is too large to be held: the members of the outermost object, and the elements of those
   that are arrays, as ranges of bytes for the strict parser. Skipped parts are checked for brackets and strings only.
   Owns its buffer, borrows the file. One thread. */
#ifndef BS_MODEL_DATASET_JSON_SCAN_H
#define BS_MODEL_DATASET_JSON_SCAN_H

#include "kernels/base/status.h"

#include <stdint.h>

struct bs__json_scan;

struct bs__json_range {
    uint64_t offset, bytes;
};

bs_status bs__json_scan_create(int fd, struct bs__json_scan **out, struct bs_err *err) BS_NODISCARD;
void bs__json_scan_destroy(struct bs__json_scan *s); /* accepts NULL */

/* The next member of the outermost object: its key (cut to fit; escapes are left as they are) and, by *is_array, whether its
   elements follow by bs__json_scan_element. Otherwise its value is passed over. *more false: the object and the text ended. */
bs_status bs__json_scan_member(struct bs__json_scan *s, char *key, size_t room, bool *is_array, bool *more,
                               struct bs_err *err) BS_NODISCARD;
/* The next element of the member's array; *more false at its end. Must be called until then. */
bs_status bs__json_scan_element(struct bs__json_scan *s, struct bs__json_range *element, bool *more,
                                struct bs_err *err) BS_NODISCARD;

#endif
