/* How far two label images are the same segmentation whatever their ids. Pure; any thread. */
#ifndef BS_TESTS_SUPPORT_LABEL_COMPARE_H
#define BS_TESTS_SUPPORT_LABEL_COMPARE_H

#include <stddef.h>
#include <stdint.h>

struct bs_label_agreement {
    size_t objects_a, objects_b;
    double fraction; /* of pixels whose labels correspond; 1 for an image without pixels */
};

/* Ids are matched one to one, largest overlap first, background with background only. */
struct bs_label_agreement bs_label_compare(const uint32_t *a, const uint32_t *b, size_t pixels);

#endif
