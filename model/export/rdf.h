/* rdf.yaml, the description inside a bioimage.io package (specification 0.5), and the README beside it. Internal to
   model/export. Pure but for the bytes. */
#ifndef BS_MODEL_EXPORT_RDF_H
#define BS_MODEL_EXPORT_RDF_H

#include "kernels/base/sha256.h"
#include "model/export/bytes.h"
#include "model/export/export.h"
#include "model/model.h"

/* Files of the package by role; a name of NULL: not in it. */
enum bs__rdf_file {
    BS__RDF_README,
    BS__RDF_TEST_INPUT,
    BS__RDF_TEST_OUTPUT,
    BS__RDF_STATE_DICT,
    BS__RDF_ENVIRONMENT,
    BS__RDF_ONNX,
    BS__RDF_FILES
};
struct bs__rdf {
    const struct bs_model_info *info;
    const struct bs_export_options *options;
    const char *licence;     /* checked */
    const char *description; /* JSON that the model file has of itself */
    bool present[BS__RDF_FILES];
    char sha256[BS__RDF_FILES][BS_SHA256_TEXT];
};
const char *bs__rdf_name(enum bs__rdf_file file);

/* Checks what a person gives: title, authors and licence, all of them needed. *licence gets the one that counts. */
bs_status bs__rdf_check(const struct bs_model_info *info, const struct bs_export_options *options,
                        const char **licence, struct bs_err *err) BS_NODISCARD;
void bs__rdf_write(const struct bs__rdf *r, struct bs__bytes *yaml);
void bs__rdf_readme(const struct bs__rdf *r, struct bs__bytes *text);
/* A Conda environment that the state dict's network can be made in. */
void bs__rdf_environment(struct bs__bytes *yaml);

#endif
