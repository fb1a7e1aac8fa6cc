/* What the commands of `bioseg` share: global options, exit codes, the table of commands.
   A command is one function; it runs on the main thread, may start threads of its own and returns an exit code. */
#ifndef BS_CLIENTS_CLI_CLI_H
#define BS_CLIENTS_CLI_CLI_H

#include "kernels/base/status.h"

#include <argp.h>
#include <stdio.h>

/* Documented in docs/cli.md; scripts rely on them. */
enum bs__exit {
    BS__EXIT_OK = 0,
    BS__EXIT_SOME_FAILED = 1, /* some inputs (or the job asked about) failed, the rest is done */
    BS__EXIT_USAGE = 2, /* wrong arguments, no inputs, colliding or existing outputs: nothing was started */
    BS__EXIT_UNREACHABLE = 3,   /* no server there, or it is going down */
    BS__EXIT_REFUSED = 4,       /* no or wrong token, or not allowed */
    BS__EXIT_SERVER = 5,        /* the server answered with an error */
    BS__EXIT_LOCAL = 6,         /* a local file could not be read or written, or its content is unusable */
    BS__EXIT_INTERRUPTED = 130, /* Ctrl-C */
};

struct bs__interrupt;
struct bs__rpc_client;

/* Options that every command takes; strings are borrowed from argv, the environment or `owned`. */
struct bs__cli {
    const char *server;     /* as given; NULL: default */
    const char *token_file; /* NULL: beside the default socket, if there */
    const char *tls_ca;     /* PEM file; NULL: no TLS unless tls */
    const char *tls_name;   /* name expected in the certificate, NULL: the host's */
    bool tls;
    bool json, quiet;
    double timeout; /* seconds for one unary call */
    struct bs__interrupt *interrupt;
    FILE *out; /* results; messages and progress go to stderr */
};

/* Child parser for the options above; its input is a struct bs__cli. */
extern const struct argp bs__cli_argp;
/* Of them only --json and --quiet: for commands that work on this machine alone. */
extern const struct argp bs__output_argp;

struct bs__command {
    const char *name;
    const char *summary;
    int (*run)(struct bs__cli *cli, int argc, char **argv);
};

int bs__segment_main(struct bs__cli *cli, int argc, char **argv);
int bs__models_main(struct bs__cli *cli, int argc, char **argv);
int bs__jobs_main(struct bs__cli *cli, int argc, char **argv);
int bs__evaluate_main(struct bs__cli *cli, int argc, char **argv);
int bs__convert_main(struct bs__cli *cli, int argc, char **argv);
int bs__datasets_main(struct bs__cli *cli, int argc, char **argv);
int bs__info_main(struct bs__cli *cli, int argc, char **argv);
int bs__train_main(struct bs__cli *cli, int argc, char **argv);

/* Connects (lazily: the first call finds out whether anyone is there) as the global options say. */
bs_status bs__cli_connect(const struct bs__cli *cli, struct bs__rpc_client **out,
                          struct bs_err *err) BS_NODISCARD;

/* The exit code for an error that came from the server, and for one that arose here. */
int bs__exit_of_server(bs_status code);
int bs__exit_of_local(bs_status code);
/* Prints "bioseg: message" (or {"error": ...} with --json) and yields the code. */
int bs__complain(const struct bs__cli *cli, const struct bs_err *err, int exit_code);

#endif
