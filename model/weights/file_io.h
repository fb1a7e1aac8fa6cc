/* Reading and writing whole ranges of files, interrupted calls retried; short reads and full disks become statuses.
   Any thread. */
#ifndef BS_MODEL_WEIGHTS_FILE_IO_H
#define BS_MODEL_WEIGHTS_FILE_IO_H

#include "kernels/base/status.h"

#include <stdint.h>

/* Opens a regular file for reading and yields its size; the message never holds the path. */
bs_status bs__file_open(const char *path, int *fd, struct bs_err *err) BS_NODISCARD;
bs_status bs__file_size(int fd, uint64_t *size, struct bs_err *err) BS_NODISCARD;
/* All of it or BS_EIO. */
bs_status bs__file_read_at(int fd, uint64_t offset, void *dst, size_t bytes, struct bs_err *err) BS_NODISCARD;
bs_status bs__file_write(int fd, const void *data, size_t bytes, struct bs_err *err) BS_NODISCARD;

#endif
