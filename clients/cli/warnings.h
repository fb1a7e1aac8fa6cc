/* Warnings of a run over many images: each kind is told in full once, and counted. Thread-safe. */
#ifndef BS_CLIENTS_CLI_WARNINGS_H
#define BS_CLIENTS_CLI_WARNINGS_H

#include "clients/cli/progress.h"

struct bs__warnings;

bs_status bs__warnings_create(struct bs__warnings **out, struct bs_err *err) BS_NODISCARD;
void bs__warnings_destroy(struct bs__warnings *w); /* accepts NULL */
/* The first of its kind is shown above the bar. */
void bs__warnings_add(struct bs__warnings *w, struct bs__progress *progress, const char *path,
                      const char *code, const char *text);
/* "objects_removed: 18 images" for each kind that came more than once. */
void bs__warnings_summarise(struct bs__warnings *w, FILE *out);

#endif
