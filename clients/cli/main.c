/* bioseg: the command line. Finds the command and hands over; each command parses its own arguments. */
#include "clients/cli/cli.h"
#include "clients/cli/interrupt.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The C library looks for this symbol, so it must be visible to it. */
__attribute__((visibility("default"))) const char *argp_program_version = "bioseg " BS_VERSION;

static const struct bs__command commands[] = {
    {"segment", "segment images: files, folders, patterns", bs__segment_main},
    {"jobs", "submit work that outlives this shell; list, watch, cancel, fetch, delete", bs__jobs_main},
    {"models", "list, describe, import, export, load, unload, delete", bs__models_main},
    {"datasets", "images with labels to train on: create, add, list, show, pairs, delete", bs__datasets_main},
    {"evaluate", "compare label images with the truth: mSA, SA50, SA75 (no server needed)",
     bs__evaluate_main},
    {"convert", "turn a PyTorch checkpoint into a model file (no server needed)", bs__convert_main},
    {"info", "what the server is and can do", bs__info_main},
    {"train", "train a network, or train a model on, with a dataset of the server", bs__train_main},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const char doc[] = "Segments microscopy images with the help of a bioseg server.\v"
                          "Commands:\n"
                          "  segment    images in, label images out: files, folders, patterns\n"
                          "  jobs       submit work that outlives this shell; list, watch, fetch ...\n"
                          "  models     list, describe, import, load, unload, delete\n"
                          "  datasets   images with labels to train on\n"
                          "  train      make a model, or a better one, from a dataset\n"
                          "  evaluate   compare labels with the truth: mSA, SA50, SA75 (no server)\n"
                          "  convert    PyTorch checkpoint to model file (no server)\n"
                          "  info       what the server is and can do\n"
                          "\n"
                          "`bioseg COMMAND --help` explains each of them.\n"
                          "\n"
                          "Examples:\n"
                          "  bioseg models list\n"
                          "  bioseg segment -m unet-nuclei -o results images/\n"
                          "  bioseg --server gpu-box:50051 --tls-ca lab.pem info\n"
                          "\n"
                          "Exit codes:\n"
                          "  0 done   1 some inputs failed   2 wrong usage, nothing was started\n"
                          "  3 no server there   4 refused by the server (token, permission)\n"
                          "  5 the server answered with an error   6 a local file is unusable\n"
                          "  130 interrupted";

struct choice {
    struct bs__cli *cli;
    int command_at; /* index in argv, 0: none given */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct choice *choice = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = choice->cli;
        return 0;
    case ARGP_KEY_ARG:
        (void)arg;
        choice->command_at = state->next - 1;
        state->next = state->argc; /* the rest belongs to the command */
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no command given");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    struct bs__cli cli = {.timeout = 60, .out = stdout};
    struct choice choice = {.cli = &cli};
    const struct argp_child children[] = {{.argp = &bs__cli_argp}, {0}};
    const struct argp argp = {
        .parser = parse, .args_doc = "COMMAND [ARGUMENT...]", .doc = doc, .children = children};
    struct bs_err err = {0};

    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    /* Room for our longer words, and no sentence that explains what everyone knows. */
    setenv("ARGP_HELP_FMT", "rmargin=100,opt-doc-col=32,no-dup-args-note", 0);
    argp_err_exit_status = BS__EXIT_USAGE;
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &choice);

    const struct bs__command *command = NULL;
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, argv[choice.command_at]) == 0)
            command = &commands[i];
    if (!command) {
        fprintf(stderr, "bioseg: there is no command '%s'; there are:\n", argv[choice.command_at]);
        for (size_t i = 0; i < COMMANDS; i++)
            fprintf(stderr, "  %-10s %s\n", commands[i].name, commands[i].summary);
        return BS__EXIT_USAGE;
    }
    if (bs__interrupt_create(&cli.interrupt, &err) != BS_OK)
        return bs__complain(&cli, &err, BS__EXIT_LOCAL);
    /* argp takes the program's name in messages from argv[0]. */
    char name[64];
    snprintf(name, sizeof name, "bioseg %s", command->name);
    argv[choice.command_at] = name;
    int rc = command->run(&cli, argc - choice.command_at, argv + choice.command_at);
    bs__interrupt_destroy(cli.interrupt);
    if (fflush(stdout) != 0 && rc == BS__EXIT_OK)
        rc = BS__EXIT_LOCAL;
    return rc;
}
