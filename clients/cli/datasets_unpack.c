/* bioseg datasets unpack: files of other formats become images and labels that `bioseg datasets add` takes. Works on this machine
   alone. Main thread. */
#include "clients/cli/datasets.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/output.h"
#include "clients/cli/progress.h"

#include "model/dataset/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_PLANES = 0x800, OPT_MIN_SIZE };

const struct argp_option bs__datasets_unpack_options[] = {
    {"planes", OPT_PLANES, "N,N,N", 0,
     "of a volume: how many planes from its start are for train, how many after them for validation, how "
     "many at "
     "its end for test (default: CREMI's 75,25,25)",
     10},
    {"min-size", OPT_MIN_SIZE, "PIXELS", 0, "of annotations: leave out smaller objects (default: 0)", 10},
    {0}};

static bool parse_planes(const char *text, size_t planes[3])
{
    for (int i = 0; i < 3; i++) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || *end != (i < 2 ? ',' : '\0') || n > 1000000)
            return false;
        planes[i] = n;
        text = end + 1;
    }
    return planes[0] + planes[1] + planes[2] > 0;
}

error_t bs__datasets_unpack_option(int key, char *arg, struct argp_state *state, void *ctx)
{
    struct bs__datasets_options *o = ctx;
    char *end;
    switch (key) {
    case OPT_PLANES:
        if (!parse_planes(arg, o->planes))
            argp_error(state, "--planes %s is not three numbers with commas between them, e.g. 75,25,25",
                       arg);
        o->planes_given = true;
        return 0;
    case OPT_MIN_SIZE:
        o->min_size = strtoll(arg, &end, 10);
        if (end == arg || *end || o->min_size < 0)
            argp_error(state, "--min-size %s is not a number of pixels", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const unsigned char hdf5_signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

struct unpacking {
    struct bs__cli *cli;
    struct bs__progress *progress;
    struct bs__progress_item item;
    struct bs_cancel cancel;
};

static void on_file(void *ctx, size_t done, size_t total)
{
    struct unpacking *u = ctx;
    if (bs__interrupted(u->cli->interrupt))
        bs_cancel_request(&u->cancel);
    bs__progress_set(u->progress, &u->item, total ? (double)done / (double)total : 0);
}

/* What files made of a volume are called after: its own name without folder and extension. */
static void stem_of(const char *path, char *stem, size_t room)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    (void)snprintf(stem, room, "%.*s", (int)(dot && dot != name ? (size_t)(dot - name) : strlen(name)), name);
}

/* Takes the descriptor. */
static bs_status unpack(struct unpacking *u, int fd, const char *path, const char *folder,
                        const struct bs__datasets_options *o, size_t *written, struct bs_err *err)
{
    const struct bs_unpack_progress progress = {u, on_file};
    unsigned char first[sizeof hdf5_signature];
    bs_status rc;
    if (pread(fd, first, sizeof first, 0) == (ssize_t)sizeof first &&
        memcmp(first, hdf5_signature, sizeof first) == 0) {
        struct bs_collect_volume v = bs_collect_cremi(path);
        char stem[256];
        stem_of(path, stem, sizeof stem);
        if (o->planes_given) {
            v.train = o->planes[0];
            v.validation = o->planes[1];
            v.test = o->planes[2];
        }
        rc = bs_unpack_volume(fd, &v, stem, folder, &progress, &u->cancel, written, err);
        close(fd);
        return rc;
    }
    struct bs_coco *coco = NULL;
    const struct bs_coco_rule rule = {.order = BS_COCO_BY_AREA, .min_size = o->min_size};
    if ((rc = bs_coco_open_fd(fd, NULL, &coco, err)) == BS_OK)
        rc = bs_unpack_coco(coco, &rule, folder, &progress, &u->cancel, written, err);
    bs_coco_close(coco);
    return rc;
}

static void report(const struct bs__cli *cli, const char *folder, size_t written)
{
    if (cli->json) {
        json_t *j = json_pack("{s:o, s:I}", "folder", bs__json_text(folder), "written", (json_int_t)written);
        bs__print_json(cli->out, j);
        json_decref(j);
    } else {
        fprintf(cli->out, "%s: %zu label images written\n", folder, written);
    }
}

int bs__datasets_unpack(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)client, (void)nargs;
    struct unpacking u = {.cli = cli, .item = {.name = args[0]}};
    struct bs_err err = {.msg = ""};
    size_t written = 0;
    int fd = open(args[0], O_RDONLY | O_CLOEXEC);
    bs_status rc;
    if (fd < 0)
        rc = BS_FAIL(&err, errno == ENOENT ? BS_ENOTFOUND : BS_EIO, "%s cannot be opened: %s", args[0],
                     strerror(errno));
    else if ((rc = bs__progress_create(stderr, bs__progress_style_for(stderr, cli->quiet), 1, &u.progress,
                                       &err)) != BS_OK)
        close(fd);
    else
        rc = unpack(&u, fd, args[0], args[1], ctx, &written, &err);
    if (rc == BS_OK)
        bs__progress_finish(u.progress, &u.item, "unpacked");
    bs__progress_destroy(u.progress);
    if (rc == BS_ECANCELLED)
        return BS__EXIT_INTERRUPTED;
    if (rc != BS_OK)
        return bs__complain(cli, &err, bs__exit_of_local(rc));
    report(cli, args[1], written);
    return BS__EXIT_OK;
}
