/* Fuzzes the reader of rdf.yaml, the description in a bioimage.io package: YAML, then what it says of a model. The name of the
   weights that it yields must lie inside the archive. The archive itself is libzip's, and the weights are fuzzed as checkpoints. */
#include "model/weights/package_internal.h"
#include "model/weights/yaml.h"
#include "tests/fuzz/input_file.h"

#include <stdlib.h>
#include <string.h>

/* No part of the name is "..", and it begins at no root. */
static void check_name(const char *name)
{
    char copy[4096], *rest = copy;
    if (!*name || *name == '/')
        abort();
    if (strlen(name) >= sizeof copy)
        return;
    memcpy(copy, name, strlen(name) + 1);
    for (char *part = strtok_r(copy, "/\\", &rest); part; part = strtok_r(NULL, "/\\", &rest))
        if (!strcmp(part, ".."))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bs_json *doc = NULL;
    struct bs__package package = {.fd = -1};
    struct bs__package_weights weights;
    if (bs__yaml_parse((const char *)data, size, 4096, &doc, NULL) == BS_OK &&
        bs__package_describe(bs_json_root(doc), &weights, &package, NULL) == BS_OK) {
        check_name(weights.source);
        if (strlen(package.source) + strlen(package.description) + strlen(package.licence) >
            sizeof package.source + sizeof package.description + sizeof package.licence)
            abort();
    }
    bs__package_close(&package);
    bs_json_free(doc);
    return 0;
}
