/* Writes what came back for one image under the names planned for it: labels, maps, table, overlay, and last the
   record. Each file appears whole or not at all. Thread-safe for different images. */
#ifndef BS_CLIENTS_CLI_SAVE_H
#define BS_CLIENTS_CLI_SAVE_H

#include "clients/cli/outputs.h"
#include "clients/cli/result.h"
#include "model/image/image.h"

/* input may be NULL (a job's result, whose image may be elsewhere): then paths must not want an overlay, and no
   fingerprint is recorded. overlay_channel: which channel of a colour image is drawn, -1: the first. about (may be
   NULL) receives a new reference to the result's description. */
bs_status bs__save_result(const struct bs__output_paths *paths, bool png, const struct bs__input *input,
                          const char *input_sha256, const char *fingerprint, int overlay_channel,
                          const struct bs__result *result, json_t **about, struct bs_err *err) BS_NODISCARD;

/* The object table as CSV; new string. */
bs_status bs__table_csv(const struct bs__result *result, char **text, size_t *size,
                        struct bs_err *err) BS_NODISCARD;

/* One plane of an image as floats in the direction the eye expects (MinIsWhite turned round); new array. */
bs_status bs__plane_for_overlay(const struct bs_image *image, int channel, float **plane,
                                struct bs_err *err) BS_NODISCARD;

#endif
