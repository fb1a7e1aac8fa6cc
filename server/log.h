/* The daemon's log: one line per event on a descriptor, as key=value or JSON, with the request id where there is one.
   Thread-safe; never fails, never blocks on anything but the descriptor. Secrets and pixels never go in. */
#ifndef BS_SERVER_LOG_H
#define BS_SERVER_LOG_H

#include "kernels/base/status.h"

#include <stdint.h>

enum bs_log_level { BS_LOG_DEBUG, BS_LOG_INFO, BS_LOG_WARNING, BS_LOG_ERROR };
enum bs_log_format { BS_LOG_FORMAT_TEXT, BS_LOG_FORMAT_JSON };

struct bs_log;

/* One key with a text or a number. */
struct bs_log_field {
    const char *key;
    const char *text; /* NULL with is_number */
    int64_t number;
    bool is_number;
};
#define BS_LOG_TEXT(k, t)   ((struct bs_log_field){.key = (k), .text = (t)})
#define BS_LOG_NUMBER(k, n) ((struct bs_log_field){.key = (k), .number = (int64_t)(n), .is_number = true})

/* Borrows fd. NULL when memory ran out. */
struct bs_log *bs_log_create(int fd, enum bs_log_format format, enum bs_log_level least);
void bs_log_destroy(struct bs_log *log);
void bs_log_write(struct bs_log *log, enum bs_log_level level, const char *event,
                  const struct bs_log_field *fields, size_t nfield);
/* BS_LOG(log, BS_LOG_INFO, "job requeued", BS_LOG_TEXT("job", id), BS_LOG_NUMBER("attempt", 2)) */
#define BS_LOG(log, level, event, ...)                                                                       \
    bs_log_write((log), (level), (event), (const struct bs_log_field[]){__VA_ARGS__},                        \
                 sizeof((const struct bs_log_field[]){__VA_ARGS__}) / sizeof(struct bs_log_field))

#endif
