/* See models_import.h. A package is converted as `bioseg convert` does it, into a folder that goes away again. */
#include "clients/cli/models_import.h"

#include "clients/cli/convert_child.h"
#include "clients/cli/message.h"
#include "clients/cli/progress.h"
#include "clients/cli/subcommand.h"
#include "clients/cli/upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PACKAGE "bioimage.io package" /* what the report of a conversion calls one */

enum { OPT_KEEP = 0x700, OPT_LABEL };

const struct argp_option bs__models_import_options[] = {
    {"name", 'n', "NAME", 0, "name on the server (default: the file's); an existing name gets a new version",
     10},
    {"keep", OPT_KEEP, "HOURS", 0, "delete it after so long (default: never)", 10},
    {"label", OPT_LABEL, "KEY=VALUE", 0, "a mark of your own; can be given again", 10},
    {0}};

error_t bs__models_import_option(int key, char *arg, struct argp_state *state, struct bs__models_import *o)
{
    struct bs_err err;
    char *end;
    switch (key) {
    case 'n':
        o->name = arg;
        return 0;
    case OPT_KEEP:
        o->keep_hours = strtod(arg, &end);
        if (end == arg || *end || !(o->keep_hours > 0 && o->keep_hours <= 24 * 3650))
            argp_error(state, "--keep %s is not a number of hours above 0 and up to 87600", arg);
        return 0;
    case OPT_LABEL:
        if (bs__labels_parse(&o->labels, arg, &err) != BS_OK)
            argp_error(state, "%s", err.msg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- A package becomes a model file ---- */

/* Where it is meanwhile; empty: not made. */
struct converted {
    char folder[512], path[544];
};

static bool is_zip(int fd)
{
    char magic[4] = "";
    return pread(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic && memcmp(magic, "PK\3\4", 4) == 0;
}

static void remove_converted(const struct converted *c)
{
    if (c->path[0])
        unlink(c->path);
    if (c->folder[0])
        rmdir(c->folder);
}

static void cancel_calls(void *client)
{
    bs__rpc_client_cancel_all(client);
}

static bs_status convert(const struct bs__cli *cli, struct bs__rpc_client *client, const char *path,
                         uint64_t bytes, struct converted *out, struct bs_err *err)
{
    const struct bs_convert_options options = {0};
    const char *parent = getenv("TMPDIR");
    struct bs__convert_answer *answer = calloc(1, sizeof *answer);
    if (!answer)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a report");
    bs_status rc = BS_OK;
    snprintf(out->folder, sizeof out->folder, "%.400s/bioseg-import-XXXXXX",
             parent && *parent ? parent : "/tmp");
    if (!mkdtemp(out->folder)) {
        rc = BS_FAIL(err, BS_EIO, "cannot make a folder in %s: %s", parent && *parent ? parent : "/tmp",
                     strerror(errno));
        out->folder[0] = 0;
        goto cleanup;
    }
    snprintf(out->path, sizeof out->path, "%s/model.safetensors", out->folder);
    const struct bs__convert_call call = {
        .in = path, .out = out->path, .file_bytes = bytes, .options = &options};
    rc = bs__convert_in_child(cli->interrupt, &call, answer, err);
    bs__interrupt_notify(cli->interrupt, cancel_calls, client);
    if (rc == BS_OK && strcmp(answer->report.format, PACKAGE) != 0)
        rc = BS_FAIL(err, BS_EINVAL,
                     "%s is a checkpoint; `bioseg convert %s -o MODEL.safetensors` makes a model file of it",
                     path, path);
    if (rc == BS_OK && answer->report.info.assumed[0])
        fprintf(
            stderr,
            "bioseg: %s does not say, so this was assumed: %s (`bioseg convert` takes your word instead)\n",
            path, answer->report.info.assumed);
cleanup:
    free(answer);
    return rc;
}

/* ---- Sending ---- */

struct sending {
    struct bs__progress *progress;
    struct bs__progress_item item;
};

static void on_sent(void *ctx, uint64_t done, uint64_t total)
{
    struct sending *s = ctx;
    bs__progress_set(s->progress, &s->item, (double)done / (double)total);
}

static bs_status send_file(struct bs__rpc_client *client, int fd, uint64_t bytes, const char *path,
                           const char *name, struct bs__models_import *o, struct sending *sending,
                           ProtobufCMessage **response, struct bs_err *err)
{
    struct bs__rpc_call *call = NULL;
    char sha256[BS__SHA256_TEXT];
    Bioseg__V1__ImportModelStart start = BIOSEG__V1__IMPORT_MODEL_START__INIT;
    Bioseg__V1__ImportModelRequest first = BIOSEG__V1__IMPORT_MODEL_REQUEST__INIT;
    const struct bs__upload_progress progress = {.ctx = sending, .sent = on_sent};
    start.name = (char *)(uintptr_t)name;
    start.total_bytes = bytes;
    start.time_to_live_ms = (int64_t)(o->keep_hours * 3600e3);
    start.labels = bs__labels_entries(&o->labels, &bioseg__v1__import_model_start__labels_entry__descriptor);
    start.n_labels = o->labels.n;
    first.part_case = BIOSEG__V1__IMPORT_MODEL_REQUEST__PART_START;
    first.start = &start;
    bs_status rc = bs__rpc_call_start(client, BS__METHOD("Models", "Import"), 0, &call, err);
    if (rc == BS_OK)
        rc = bs__message_send(call, &first.base, false, err);
    if (rc == BS_OK)
        rc = bs__upload(call, fd, bytes, path, &progress, sha256, err);
    if (rc == BS_OK)
        rc = bs__message_receive_only(call, &bioseg__v1__import_model_response__descriptor, response, err);
    bs__rpc_call_destroy(call);
    return rc;
}

/* Opens what is to be sent: the file, or the model file made of the package. */
static bs_status open_model(const struct bs__cli *cli, struct bs__rpc_client *client, const char *path,
                            struct converted *converted, int *fd, uint64_t *bytes, struct bs_err *err)
{
    bs_status rc = bs__upload_open(path, fd, bytes, err);
    if (rc != BS_OK || !is_zip(*fd))
        return rc;
    close(*fd);
    *fd = -1;
    rc = convert(cli, client, path, *bytes, converted, err);
    return rc == BS_OK ? bs__upload_open(converted->path, fd, bytes, err) : rc;
}

int bs__models_import_run(struct bs__cli *cli, struct bs__rpc_client *client, const char *path,
                          struct bs__models_import *o, Bioseg__V1__ImportModelResponse **out)
{
    struct sending sending = {.item = {.name = path}};
    struct converted converted = {.folder = ""};
    ProtobufCMessage *response = NULL;
    struct bs_err err = {0};
    char *stem = NULL;
    uint64_t bytes = 0;
    int fd = -1, code = BS__EXIT_OK;
    *out = NULL;
    bs_status rc = open_model(cli, client, path, &converted, &fd, &bytes, &err);
    if (rc == BS_OK)
        rc = bs__progress_create(stderr, bs__progress_style_for(stderr, cli->quiet), 1, &sending.progress,
                                 &err);
    if (rc == BS_OK && !(stem = bs__stem_of(path)))
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory for a name");
    if (rc != BS_OK) {
        code = bs__complain(cli, &err,
                            rc == BS_ECANCELLED   ? BS__EXIT_INTERRUPTED
                            : converted.folder[0] ? BS__EXIT_LOCAL /* the package's content */
                                                  : bs__exit_of_local(rc));
        goto cleanup;
    }
    rc = send_file(client, fd, bytes, path, o->name ? o->name : stem, o, &sending, &response, &err);
    bs__progress_destroy(sending.progress);
    sending.progress = NULL;
    if (rc != BS_OK) {
        code = rc == BS_EIO ? bs__complain(cli, &err, BS__EXIT_LOCAL) : bs__complain_server(cli, &err);
        goto cleanup;
    }
    *out = (Bioseg__V1__ImportModelResponse *)response;
cleanup:
    bs__progress_destroy(sending.progress);
    remove_converted(&converted);
    free(stem);
    if (fd >= 0)
        close(fd);
    return code;
}
