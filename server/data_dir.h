/* The directory that holds everything the daemon keeps: private, locked by one daemon, on a local file system. */
#ifndef BS_SERVER_DATA_DIR_H
#define BS_SERVER_DATA_DIR_H

#include "kernels/base/status.h"

/* Makes it if missing (mode 0700), checks it, takes the exclusive lock. *lock_fd is to be kept open as long as the
   daemon lives; closing it gives the lock back. */
bs_status bs_data_dir_open(const char *path, bool allow_network_filesystem, int *lock_fd,
                           struct bs_err *err) BS_NODISCARD;

#endif
