/* The two halves of reading a package: the archive (package.c) and its description (package_rdf.c). */
#ifndef BS_MODEL_WEIGHTS_PACKAGE_INTERNAL_H
#define BS_MODEL_WEIGHTS_PACKAGE_INTERNAL_H

#include "model/weights/json.h"
#include "model/weights/package.h"

struct bs__package_weights {
    const char *source; /* name in the archive; owned by the description */
    const char *sha256; /* NULL: not stated */
};

/* Everything of *out but fd. BS_EUNSUPPORTED says which kinds of weights the package has when none can be read. */
bs_status bs__package_describe(const struct bs_json_value *rdf, struct bs__package_weights *weights,
                               struct bs__package *out, struct bs_err *err) BS_NODISCARD;

#endif
