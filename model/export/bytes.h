/* Bytes that grow at their end: what pickles, protobuf messages and texts are put together in. After a failed allocation
   everything else is ignored, and `failed` says so at the end. One thread. */
#ifndef BS_MODEL_EXPORT_BYTES_H
#define BS_MODEL_EXPORT_BYTES_H

#include "kernels/base/status.h"

#include <stdint.h>

struct bs__bytes {
    unsigned char *data;
    size_t len, cap;
    bool failed;
};

void bs__bytes_put(struct bs__bytes *b, const void *data, size_t len);
void bs__bytes_text(struct bs__bytes *b, const char *text);
void bs__bytes_format(struct bs__bytes *b, const char *format, ...) BS_PRINTF(2, 3);
/* The low `width` bytes of value, the lowest first. */
void bs__bytes_uint(struct bs__bytes *b, uint64_t value, int width);
/* BS_ENOMEM when something did not fit. */
bs_status bs__bytes_check(const struct bs__bytes *b, const char *what, struct bs_err *err) BS_NODISCARD;
void bs__bytes_free(struct bs__bytes *b); /* leaves it empty */

#endif
