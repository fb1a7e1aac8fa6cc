/* The command line of biosegd; see config.h. */
#include "server/config.h"

#include <argp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_LISTEN "127.0.0.1:8764"

enum key {
    KEY_HTTP = 256,
    KEY_DEVICE,
    KEY_THREADS,
    KEY_TLS_CERT,
    KEY_TLS_KEY,
    KEY_DRAIN,
    KEY_HANG,
    KEY_NETWORK,
    KEY_LOG_FORMAT,
    KEY_LOG_LEVEL,
    KEY_DISK_CAP,
    KEY_DISK_RESERVE,
    KEY_MAX_IMAGE,
    KEY_MODEL_BUDGET,
    KEY_IDLE_MINUTES,
    KEY_RESULT_DAYS,
    KEY_KEPT_MAPS,
    KEY_KEPT_MINUTES,
    KEY_NO_WINOGRAD
};

static const struct argp_option options[] = {
    {"data", 'd', "DIR", 0,
     "Everything the daemon keeps; made if missing ($XDG_DATA_HOME/bioseg or ~/.local/share/bioseg)", 1},
    {"listen", 'l', "HOST:PORT", 0,
     "TCP address besides the Unix socket DIR/biosegd.sock, or \"none\" (" DEFAULT_LISTEN
     "). Callers need the token of "
     "DIR/token; an address that other machines can reach needs --tls-cert and --tls-key too",
     1},
    {"http", KEY_HTTP, "HOST:PORT", 0,
     "Health, readiness and metrics (/healthz, /readyz, /metrics) over HTTP, on loopback only (none)", 1},
    {"tls-cert", KEY_TLS_CERT, "FILE", 0, "Certificate chain (PEM) for the TCP address", 2},
    {"tls-key", KEY_TLS_KEY, "FILE", 0, "Its private key (PEM)", 2},
    {"device", KEY_DEVICE, "auto|cpu|ref|cuda:N", 0, "What computes (auto)", 3},
    {"threads", KEY_THREADS, "N", 0, "Threads inside operators (0: what affinity and cgroup allow)", 3},
    {"model-budget", KEY_MODEL_BUDGET, "SIZE", 0,
     "Memory that loaded models may hold together, e.g. 4G; beyond, the least recently used one goes (half "
     "of the free "
     "memory)",
     3},
    {"idle-minutes", KEY_IDLE_MINUTES, "N", 0,
     "How long a loaded model stays after its last use (30; 0: until another needs the room)", 3},
    {"no-winograd", KEY_NO_WINOGRAD, 0, 0, "Direct convolutions only: slower, closest to the reference", 3},
    {"drain-seconds", KEY_DRAIN, "N", 0, "How long running work may finish after SIGTERM (30)", 4},
    {"hang-seconds", KEY_HANG, "N", 0,
     "A worker that shows no sign of life for so long while it works is ended and started again (600; 0: "
     "never)",
     4},
    {"result-days", KEY_RESULT_DAYS, "N", 0, "How long results of jobs are kept (14; 0: for ever)", 4},
    {"kept-maps", KEY_KEPT_MAPS, "SIZE", 0,
     "Disk that network maps may take which are kept for new labels with other thresholds (4G; 0: none)", 4},
    {"kept-minutes", KEY_KEPT_MINUTES, "N", 0, "How long they are kept after their last use (60)", 4},
    {"disk-cap", KEY_DISK_CAP, "SIZE", 0, "Most that stored images, results and models may take (0: no cap)",
     4},
    {"disk-reserve", KEY_DISK_RESERVE, "SIZE", 0, "Space that stays free on the file system (1G)", 4},
    {"max-image", KEY_MAX_IMAGE, "SIZE", 0, "Largest image accepted (8G)", 4},
    {"allow-network-filesystem", KEY_NETWORK, 0, 0,
     "Accept a data directory on NFS, SMB and the like, where locks and fsync may not hold what they promise",
     4},
    {"log-format", KEY_LOG_FORMAT, "text|json", 0, "Log on standard error (text)", 5},
    {"log-level", KEY_LOG_LEVEL, "debug|info|warning|error", 0, "Least level that is logged (info)", 5},
    {0},
};

struct parse {
    struct bs_config *config;
    struct bs_err *err;
    bs_status rc;
};

static bs_status integer(const char *what, const char *text, long min, long max, int *out, struct bs_err *err)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (end == text || *end || v < min || v > max)
        return BS_FAIL(err, BS_EINVAL, "--%s %s: a whole number from %ld to %ld is accepted", what, text, min,
                       max);
    *out = (int)v;
    return BS_OK;
}

/* "8G", "512M", "1048576". */
static bs_status size(const char *what, const char *text, uint64_t *out, struct bs_err *err)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (*end && strchr("KMGT", *end))
        shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 40;
    if (end == text || text[0] == '-' || (shift ? end[1] : end[0]) || v > UINT64_MAX >> (shift + 1))
        return BS_FAIL(err, BS_EINVAL, "--%s %s: bytes, or a number with K, M, G or T is accepted", what,
                       text);
    *out = (uint64_t)v << shift;
    return BS_OK;
}

/* Index of text in words; BS_EINVAL lists them. */
static bs_status word(const char *what, const char *text, const char *const *words, int *out,
                      struct bs_err *err)
{
    char list[96] = "";
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return BS_OK;
        }
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", words[i]);
    }
    return BS_FAIL(err, BS_EINVAL, "--%s %s: one of %s is accepted", what, text, list);
}

/* Absolute, so that the same directory has one name in the log, in the socket's path, and where errors are searched for it. */
static bs_status set_data_dir(struct bs_config *c, const char *arg, struct bs_err *err)
{
    char here[PATH_MAX] = "";
    if (arg[0] && arg[0] != '/' && !getcwd(here, sizeof here))
        return BS_FAIL(err, BS_EIO, "the current directory cannot be found: give --data as an absolute path");
    int n = snprintf(c->data_dir, sizeof c->data_dir, "%s%s%s", here, here[0] ? "/" : "", arg);
    if (!arg[0] || n < 0 || (size_t)n >= sizeof c->data_dir)
        return BS_FAIL(err, BS_EINVAL, "--data: a path of 1 to %zu characters is accepted",
                       sizeof c->data_dir - 1);
    return BS_OK;
}

static bs_status one(int key, char *arg, struct bs_config *c, struct bs_err *err)
{
    static const char *const formats[] = {"text", "json", NULL};
    static const char *const levels[] = {"debug", "info", "warning", "error", NULL};
    bs_status rc = BS_OK;
    int index = 0;
    switch (key) {
    case 'd':
        return set_data_dir(c, arg, err);
    case 'l':
        c->listen = strcmp(arg, "none") == 0 ? NULL : arg;
        return BS_OK;
    case KEY_HTTP:
        c->http = strcmp(arg, "none") == 0 ? NULL : arg;
        return BS_OK;
    case KEY_TLS_CERT:
        c->tls_cert = arg;
        return BS_OK;
    case KEY_TLS_KEY:
        c->tls_key = arg;
        return BS_OK;
    case KEY_DEVICE:
        c->device = arg;
        return BS_OK;
    case KEY_THREADS:
        return integer("threads", arg, 0, 1024, &c->threads, err);
    case KEY_MODEL_BUDGET:
        return size("model-budget", arg, &c->model_budget, err);
    case KEY_IDLE_MINUTES:
        return integer("idle-minutes", arg, 0, 525600, &c->idle_minutes, err);
    case KEY_NO_WINOGRAD:
        c->winograd = false;
        return BS_OK;
    case KEY_DRAIN:
        return integer("drain-seconds", arg, 0, 86400, &c->drain_seconds, err);
    case KEY_HANG:
        return integer("hang-seconds", arg, 0, 86400, &c->hang_seconds, err);
    case KEY_RESULT_DAYS:
        return integer("result-days", arg, 0, 36500, &c->result_days, err);
    case KEY_KEPT_MAPS:
        return size("kept-maps", arg, &c->kept_maps, err);
    case KEY_KEPT_MINUTES:
        return integer("kept-minutes", arg, 1, 525600, &c->kept_minutes, err);
    case KEY_DISK_CAP:
        return size("disk-cap", arg, &c->disk_cap, err);
    case KEY_DISK_RESERVE:
        return size("disk-reserve", arg, &c->disk_reserve, err);
    case KEY_MAX_IMAGE:
        return size("max-image", arg, &c->max_image, err);
    case KEY_NETWORK:
        c->allow_network_filesystem = true;
        return BS_OK;
    case KEY_LOG_FORMAT:
        rc = word("log-format", arg, formats, &index, err);
        c->log_format = (enum bs_log_format)index;
        return rc;
    case KEY_LOG_LEVEL:
        rc = word("log-level", arg, levels, &index, err);
        c->log_level = (enum bs_log_level)index;
        return rc;
    default:
        return BS_OK;
    }
}

static error_t parse_one(int key, char *arg, struct argp_state *state)
{
    struct parse *p = state->input;
    if (key == ARGP_KEY_ARG)
        argp_error(state, "unexpected argument %s", arg);
    if ((key >= KEY_HTTP && key <= KEY_NO_WINOGRAD) || key == 'd' || key == 'l') {
        if (p->rc == BS_OK)
            p->rc = one(key, arg, p->config, p->err);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static bs_status default_data_dir(struct bs_config *c, struct bs_err *err)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg && xdg[0] == '/')
        n = snprintf(c->data_dir, sizeof c->data_dir, "%s/bioseg", xdg);
    else if (home && home[0] == '/')
        n = snprintf(c->data_dir, sizeof c->data_dir, "%s/.local/share/bioseg", home);
    if (n < 0 || (size_t)n >= sizeof c->data_dir)
        return BS_FAIL(err, BS_EINVAL, "neither XDG_DATA_HOME nor HOME names a directory: give --data DIR");
    return BS_OK;
}

bs_status bs_config_parse(int argc, char **argv, struct bs_config *c, struct bs_err *err)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse_one,
        .doc = "biosegd, the segmentation daemon: holds models and serves them over gRPC.\v"
               "It prints one line when it is ready, and drains on SIGTERM.",
    };
    *c = (struct bs_config){
        .listen = DEFAULT_LISTEN,
        .device = "auto",
        .winograd = true,
        .drain_seconds = 30,
        .hang_seconds = 600,
        .log_level = BS_LOG_INFO,
        .disk_reserve = (uint64_t)1 << 30,
        .max_image = (uint64_t)8 << 30,
        .result_days = 14,
        .kept_maps = (uint64_t)4 << 30,
        .kept_minutes = 60,
        .idle_minutes = 30,
    };
    struct parse p = {c, err, BS_OK};
    if (argp_parse(&argp, argc, argv, 0, NULL, &p) != 0)
        return BS_FAIL(err, BS_EINVAL, "the command line cannot be read");
    if (p.rc == BS_OK && !c->data_dir[0])
        p.rc = default_data_dir(c, err);
    if (p.rc == BS_OK && !c->tls_cert != !c->tls_key)
        p.rc = BS_FAIL(err, BS_EINVAL, "--tls-cert and --tls-key belong together; %s is missing",
                       c->tls_cert ? "--tls-key" : "--tls-cert");
    return p.rc;
}
