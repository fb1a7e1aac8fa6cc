/* State dicts without values, as golden/full/NAME/manifest.tsv lists them. Reading ends the test where it fails.
   One thread. */
#ifndef BS_TESTS_UNIT_ARCH_MANIFEST_H
#define BS_TESTS_UNIT_ARCH_MANIFEST_H

#include "model/arch/arch.h"

#define MANIFEST_MOST 1024

struct manifest {
    size_t count;
    struct bs_state_entry entry[MANIFEST_MOST];
    char name[MANIFEST_MOST][96];
    uint64_t parameters; /* elements, buffers not counted */
};

/* free() it. */
struct manifest *manifest_read(const char *name);
/* The entry of that name; it has to be there. */
struct bs_state_entry *manifest_find(struct manifest *m, const char *name);
/* The name has to outlive the manifest. */
void manifest_add(struct manifest *m, const char *name, struct bs_shape shape);
void manifest_remove(struct manifest *m, const char *name);

#endif
