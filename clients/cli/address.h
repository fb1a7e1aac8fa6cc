/* Where the server is and with what one gets in: the --server and --token-file options with their defaults.
   Pure but for the environment and the token file; any thread. */
#ifndef BS_CLIENTS_CLI_ADDRESS_H
#define BS_CLIENTS_CLI_ADDRESS_H

#include "kernels/base/status.h"

#define BS__TARGET_MAX 300
#define BS__TOKEN_MAX  512

struct bs__address {
    char target[BS__TARGET_MAX]; /* as gRPC wants it: "unix:/path" or "host:port" */
    bool is_unix;
    bool loopback; /* stays on this machine: Unix socket, 127.0.0.0/8, ::1, localhost */
};

/* The data directory of a daemon started without options: $XDG_DATA_HOME/bioseg or ~/.local/share/bioseg. */
bs_status bs__default_data_dir(char *out, size_t cap, struct bs_err *err) BS_NODISCARD;

/* server NULL: $BIOSEG_SERVER, else the socket of the default data directory. */
bs_status bs__address_parse(const char *server, struct bs__address *out, struct bs_err *err) BS_NODISCARD;

/* file NULL: $BIOSEG_TOKEN_FILE, else `token` in the default data directory; then a missing file is no error and gives
   "". A file named by the user must be there. */
bs_status bs__token_read(const char *file, char token[BS__TOKEN_MAX], struct bs_err *err) BS_NODISCARD;

#endif
