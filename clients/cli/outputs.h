/* Where results go: names made from the stem of each image, refused before anything starts when two would be the same
   file, when one would overwrite an input, or when something is there that we should not replace. Every result of an
   image is complete once its record (STEM.json) is there, for that is written last: --resume goes by it.
   Owns the names it returns; writing is thread-safe for different images. */
#ifndef BS_CLIENTS_CLI_OUTPUTS_H
#define BS_CLIENTS_CLI_OUTPUTS_H

#include "clients/cli/inputs.h"

#include <jansson.h>

enum bs__output {
    BS__OUTPUT_LABELS,  /* STEM.tif or STEM.png */
    BS__OUTPUT_MAPS,    /* STEM.maps.tif */
    BS__OUTPUT_TABLE,   /* STEM.csv */
    BS__OUTPUT_OVERLAY, /* STEM.overlay.png */
    BS__OUTPUT_RECORD,  /* STEM.json */
    BS__OUTPUTS
};
extern const char *const bs__output_names[BS__OUTPUTS]; /* "labels", "maps", ... */

struct bs__output_options {
    const char *folder;
    bool png;               /* labels as PNG, else TIFF */
    bool want[BS__OUTPUTS]; /* labels and record are always wanted */
    bool overwrite;         /* files that are there may be replaced, whoever wrote them */
    bool resume;            /* results with our record may be replaced or kept */
};

/* The names of one image's results; NULL where not wanted. */
struct bs__output_paths {
    char *path[BS__OUTPUTS];
};

/* One element per input; creates the folder. BS_EEXIST names both files when two results or a result and an input are
   the same file, and the file when one is in the way. */
bs_status bs__outputs_plan(const struct bs__inputs *in, const struct bs__output_options *opt,
                           struct bs__output_paths **out, struct bs_err *err) BS_NODISCARD;
void bs__outputs_free(struct bs__output_paths *paths, size_t count);

/* Text that appears whole under its name or not at all. */
bs_status bs__write_text(const char *path, const char *text, size_t size, struct bs_err *err) BS_NODISCARD;

/* SHA-256 as 64 hexadecimal digits. */
#define BS__SHA256_TEXT 65
bs_status bs__sha256_hex(const void *data, size_t size, char out[BS__SHA256_TEXT],
                         struct bs_err *err) BS_NODISCARD;

/* Before the first output of an image: a record without result, so that an interrupted run knows its own files again. */
bs_status bs__record_begin(const struct bs__output_paths *paths, struct bs_err *err) BS_NODISCARD;
/* A file that one of the two functions around here wrote. */
bool bs__record_is_ours(const char *path);
/* Writes the record of a finished image: `about` (borrowed) plus the sizes of the outputs and, unless
   input is NULL, input and fingerprint. */
bs_status bs__record_write(const struct bs__output_paths *paths, const struct bs__input *input,
                           const char *input_sha256, const char *fingerprint, json_t *about,
                           struct bs_err *err) BS_NODISCARD;
/* True when the record is there, was made with this fingerprint from this very file, and every wanted output still has
   the size that was written. When time or size of the input differ, its bytes decide. */
bool bs__record_is_current(const struct bs__output_paths *paths, const struct bs__input *input,
                           const char *fingerprint, json_t **record);

#endif
