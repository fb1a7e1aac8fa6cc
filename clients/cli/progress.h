/* How far a command is: one line that renews itself on a terminal, a line per finished item elsewhere, nothing with
   --quiet. Thread-safe; an item belongs to one thread at a time. */
#ifndef BS_CLIENTS_CLI_PROGRESS_H
#define BS_CLIENTS_CLI_PROGRESS_H

#include "kernels/base/status.h"

#include <stdint.h>
#include <stdio.h>

struct bs__progress;

enum bs__progress_style { BS__PROGRESS_BAR, BS__PROGRESS_LINES, BS__PROGRESS_QUIET };
/* What suits the stream: a bar on a terminal, else lines. */
enum bs__progress_style bs__progress_style_for(FILE *out, bool quiet);

/* One of `total` things that are worked on. */
struct bs__progress_item {
    const char *name; /* borrowed */
    double share;     /* of it that is done, 0 to 1 */
};

bs_status bs__progress_create(FILE *out, enum bs__progress_style style, size_t total,
                              struct bs__progress **result, struct bs_err *err) BS_NODISCARD;
void bs__progress_destroy(struct bs__progress *p); /* clears the bar; accepts NULL */

/* The bar never goes back: a smaller share than before is passed over. */
void bs__progress_set(struct bs__progress *p, struct bs__progress_item *item, double share);
/* The item has ended; text (may be NULL) says how. */
void bs__progress_finish(struct bs__progress *p, struct bs__progress_item *item, const char *text);
/* A line that is shown even with --quiet (failures, warnings), above the bar. */
void bs__progress_message(struct bs__progress *p, const char *fmt, ...) BS_PRINTF(2, 3);

#endif
