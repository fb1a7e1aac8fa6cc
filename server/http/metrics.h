/* Writes the Prometheus text exposition format, version 0.0.4, into memory: a family (HELP and TYPE) and then its samples.
   Knows nothing of what is counted. A writer belongs to one thread at a time. */
#ifndef BS_SERVER_HTTP_METRICS_H
#define BS_SERVER_HTTP_METRICS_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define BS_METRICS_MAX_BYTES    ((size_t)1 << 20)

enum bs_metric_type { BS_METRIC_COUNTER, BS_METRIC_GAUGE };

/* Names are ours (asserted); values may be anything: they are escaped. */
struct bs_metric_label {
    const char *name, *value;
};

struct bs_metrics_writer;

/* NULL when memory ran out. */
struct bs_metrics_writer *bs_metrics_create(void);
void bs_metrics_destroy(struct bs_metrics_writer *m); /* accepts NULL */

/* Begins a family; the samples that follow are its. Each name once. */
void bs_metrics_family(struct bs_metrics_writer *m, enum bs_metric_type type, const char *name,
                       const char *help);
void bs_metrics_sample(struct bs_metrics_writer *m, const struct bs_metric_label *labels, size_t nlabel,
                       double value);
/* A family of one sample without labels. */
void bs_metrics_single(struct bs_metrics_writer *m, enum bs_metric_type type, const char *name,
                       const char *help, double value);

/* The text so far, not NUL-terminated, borrowed until the next call. BS_ENOMEM or BS_ELIMIT when something did not fit:
   half a page of figures would be read as the truth. */
bs_status bs_metrics_text(const struct bs_metrics_writer *m, const char **text, size_t *n,
                          struct bs_err *err) BS_NODISCARD;

#endif
