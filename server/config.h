/* What biosegd is told on its command line, checked. Plain data; filled once by main. */
#ifndef BS_SERVER_CONFIG_H
#define BS_SERVER_CONFIG_H

#include "server/log.h"

#include <limits.h>
#include <stdint.h>

struct bs_config {
    char data_dir[PATH_MAX];
    const char *listen;             /* HOST:PORT; NULL: Unix socket only */
    const char *http;               /* HOST:PORT on loopback; NULL: none */
    const char *tls_cert, *tls_key; /* file names or NULL */
    const char *device;
    int threads; /* 0: automatic */
    bool winograd;
    int drain_seconds;
    int hang_seconds; /* 0: a worker is never taken for hung */
    bool allow_network_filesystem;
    enum bs_log_format log_format;
    enum bs_log_level log_level;
    uint64_t disk_cap, disk_reserve;  /* bytes; cap 0: none */
    uint64_t max_image, model_budget; /* bytes; budget 0: automatic */
    uint64_t kept_maps;               /* bytes; 0: none are kept */
    int kept_minutes;
    int idle_minutes; /* 0: models stay loaded */
    int result_days;  /* 0: results are kept for ever */
};

/* Exits with help or usage as argp does. BS_EINVAL names what is wrong and what is accepted. */
bs_status bs_config_parse(int argc, char **argv, struct bs_config *c, struct bs_err *err) BS_NODISCARD;

#endif
