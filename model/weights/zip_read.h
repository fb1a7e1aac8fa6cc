/* Entries of zip archives that nobody vouches for: sizes compared with a limit before anything is read, checksums by libzip at
   the end. Internal to model/weights. One thread. */
#ifndef BS_MODEL_WEIGHTS_ZIP_READ_H
#define BS_MODEL_WEIGHTS_ZIP_READ_H

#include "kernels/base/status.h"

#include <stdint.h>
#include <zip.h>

/* Takes fd, also on failure. */
bs_status bs__zip_open(int fd, zip_t **out, struct bs_err *err) BS_NODISCARD;
/* Unpacked bytes of an entry, at most `limit`; `what` begins messages. */
bs_status bs__zip_size(zip_t *zip, zip_uint64_t index, const char *what, uint64_t limit, uint64_t *size,
                       struct bs_err *err) BS_NODISCARD;
/* A whole entry of exactly `bytes`. */
bs_status bs__zip_read(zip_t *zip, zip_uint64_t index, const char *what, void *dst, size_t bytes,
                       struct bs_err *err) BS_NODISCARD;
/* The same, piece by piece. */
typedef bs_status (*bs__zip_take)(void *ctx, const unsigned char *data, size_t bytes, struct bs_err *err);
bs_status bs__zip_stream(zip_t *zip, zip_uint64_t index, const char *what, uint64_t bytes, bs__zip_take take,
                         void *ctx, struct bs_err *err) BS_NODISCARD;

#endif
