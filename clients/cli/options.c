/* The options that every command takes, the exit codes, and the connection they describe. */
#include "clients/cli/address.h"
#include "clients/cli/cli.h"
#include "clients/cli/inputs.h"
#include "clients/cli/output.h"
#include "clients/cli/rpc_client.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CA_BYTES (4 << 20)

enum { OPT_TOKEN_FILE = 0x100, OPT_TLS, OPT_TLS_CA, OPT_TLS_NAME, OPT_JSON, OPT_TIMEOUT };

static const struct argp_option connection_options[] = {
    {"server", 's', "ADDRESS", 0,
     "unix:PATH or HOST:PORT (default: $BIOSEG_SERVER, else the socket of this account's own daemon)", 90},
    {"token-file", OPT_TOKEN_FILE, "FILE", 0,
     "file with the token for HOST:PORT (default: $BIOSEG_TOKEN_FILE, else that of this account's own "
     "daemon)",
     90},
    {"tls", OPT_TLS, NULL, 0, "encrypt; trust the certificates that the system trusts", 90},
    {"tls-ca", OPT_TLS_CA, "FILE", 0, "encrypt; trust the certificates of this PEM file ($BIOSEG_TLS_CA)",
     90},
    {"tls-name", OPT_TLS_NAME, "NAME", 0, "the server's certificate names this host", 90},
    {"timeout", OPT_TIMEOUT, "SECONDS", 0,
     "give up a single request after this time (default: 60; never for images)", 90},
    {0},
};
static const struct argp_option output_options[] = {
    {"json", OPT_JSON, NULL, 0, "print results as JSON", 91},
    {"quiet", 'q', NULL, 0, "no progress; errors and results only", 91},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct bs__cli *cli = state->input;
    char *end;
    switch (key) {
    case ARGP_KEY_INIT:
        if (state->child_inputs)
            state->child_inputs[0] = cli;
        return 0;
    case 's':
        cli->server = arg;
        return 0;
    case OPT_TOKEN_FILE:
        cli->token_file = arg;
        return 0;
    case OPT_TLS:
        cli->tls = true;
        return 0;
    case OPT_TLS_CA:
        cli->tls_ca = arg;
        return 0;
    case OPT_TLS_NAME:
        cli->tls_name = arg;
        return 0;
    case OPT_JSON:
        cli->json = true;
        return 0;
    case OPT_TIMEOUT:
        cli->timeout = strtod(arg, &end);
        if (end == arg || *end || !(cli->timeout > 0 && cli->timeout <= 1e7))
            argp_error(state, "--timeout %s is not a number of seconds above 0", arg);
        return 0;
    case 'q':
        cli->quiet = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp bs__output_argp = {.options = output_options, .parser = parse};
static const struct argp_child output_child[] = {{.argp = &bs__output_argp}, {0}};
const struct argp bs__cli_argp = {.options = connection_options, .parser = parse, .children = output_child};

bs_status bs__cli_connect(const struct bs__cli *cli, struct bs__rpc_client **out, struct bs_err *err)
{
    struct bs__address address;
    char token[BS__TOKEN_MAX] = "";
    uint8_t *pem = NULL;
    char *pem_text = NULL;
    size_t size = 0;
    const char *ca = cli->tls_ca ? cli->tls_ca : getenv("BIOSEG_TLS_CA");
    bool tls = cli->tls || cli->tls_ca;
    bs_status rc = bs__address_parse(cli->server, &address, err);
    if (rc != BS_OK)
        goto cleanup;
    /* A variable set for one server must not turn a Unix socket or a loopback port into a TLS connection. */
    if (ca && ca[0] && !address.loopback)
        tls = true;
    if (address.is_unix && tls) {
        rc = BS_FAIL(err, BS_EINVAL, "TLS is not spoken on a Unix socket (%s): leave --tls and --tls-ca away",
                     address.target);
        goto cleanup;
    }
    if (!address.is_unix && (rc = bs__token_read(cli->token_file, token, err)) != BS_OK)
        goto cleanup;
    if (!address.loopback && !tls && token[0]) {
        rc = BS_FAIL(err, BS_EINVAL,
                     "the token would cross the network to %s in the clear: give --tls-ca FILE (the server's "
                     "certificate) or --tls",
                     address.target);
        goto cleanup;
    }
    if (tls && ca && ca[0]) {
        if ((rc = bs__cli_read_file(ca, MAX_CA_BYTES, &pem, &size, err)) != BS_OK)
            goto cleanup;
        pem_text = strndup((const char *)pem, size);
        if (!pem_text || !strstr(pem_text, "-----BEGIN CERTIFICATE-----")) {
            rc = BS_FAIL(err, BS_EINVAL, "%s holds no certificate in PEM form", ca);
            goto cleanup;
        }
    }
    rc = bs__rpc_client_create(&(struct bs__rpc_options){.target = address.target,
                                                         .token = token,
                                                         .tls = tls,
                                                         .tls_ca_pem = pem_text,
                                                         .tls_name = cli->tls_name},
                               out, err);
cleanup:
    explicit_bzero(token, sizeof token);
    free(pem_text);
    free(pem);
    return rc;
}

int bs__exit_of_server(bs_status code)
{
    switch (code) {
    case BS_OK:
        return BS__EXIT_OK;
    case BS_EUNAVAILABLE:
        return BS__EXIT_UNREACHABLE;
    case BS_EUNAUTHENTICATED:
    case BS_EPERMISSION:
        return BS__EXIT_REFUSED;
    case BS_ECANCELLED:
        return BS__EXIT_INTERRUPTED;
    default:
        return BS__EXIT_SERVER;
    }
}

int bs__exit_of_local(bs_status code)
{
    switch (code) {
    case BS_OK:
        return BS__EXIT_OK;
    case BS_EINVAL:
    case BS_EEXIST:
    case BS_ENOTFOUND:
        return BS__EXIT_USAGE;
    case BS_ECANCELLED:
        return BS__EXIT_INTERRUPTED;
    default:
        return BS__EXIT_LOCAL;
    }
}

int bs__complain(const struct bs__cli *cli, const struct bs_err *err, int exit_code)
{
    if (cli->json) {
        json_t *e = json_pack("{s:{s:s, s:o, s:i}}", "error", "kind", bs_status_name(err->code), "message",
                              bs__json_text(err->msg), "exit_code", exit_code);
        bs__print_json(cli->out, e);
        json_decref(e);
    } else {
        fprintf(stderr, "bioseg: %s\n", err->msg);
        if (err->code == BS_EUNAUTHENTICATED)
            fprintf(stderr, "bioseg: the token is taken from --token-file FILE or $BIOSEG_TOKEN_FILE\n");
    }
    return exit_code;
}
