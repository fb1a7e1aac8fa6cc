/* What to train, as --config says it in YAML and the command line completes it: a flat mapping of texts, and one of parameters
   whose names and values the server knows. docs/training.md has the format. Owns its texts; one thread. */
#ifndef BS_CLIENTS_CLI_TRAIN_CONFIG_H
#define BS_CLIENTS_CLI_TRAIN_CONFIG_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS__TRAIN_MAX_PARAMS 64

struct bs__train_config {
    char *dataset, *model;     /* NULL: not given */
    char *architecture, *from; /* one of them */
    char *recipe, *seed;
    size_t n;
    struct {
        char *name, *value;
    } param[BS__TRAIN_MAX_PARAMS];
};

/* Adds what the file says to *c. BS_EINVAL names the line and what is accepted; aliases, tags and anything nested are not. */
bs_status bs__train_config_read(const char *path, struct bs__train_config *c,
                                struct bs_err *err) BS_NODISCARD;
/* Replaces one of the texts above (a pointer to it). */
bs_status bs__train_config_set(char **field, const char *value, struct bs_err *err) BS_NODISCARD;
/* Adds a parameter or replaces its value: what the command line says counts. */
bs_status bs__train_config_param(struct bs__train_config *c, const char *name, const char *value,
                                 struct bs_err *err) BS_NODISCARD;
void bs__train_config_free(struct bs__train_config *c); /* accepts one of zeros */

#endif
