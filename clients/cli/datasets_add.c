/* bioseg datasets add: files on this machine become pairs of a dataset. What is there already, pair or file, is not sent again,
   so that the same command goes on where an earlier one ended. Main thread. */
#include "clients/cli/dataset_files.h"
#include "clients/cli/datasets.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/progress.h"
#include "clients/cli/upload.h"

#include "model/dataset/split.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HASHES_A_REQUEST 1000

/* One local pair and what becomes of it. */
struct plan {
    const struct bs__dataset_pair *pair;
    Bioseg__V1__Split split;
    bool there;                                             /* the dataset has it already */
    bool image_missing, labels_missing, prediction_missing; /* the server has to be sent these bytes */
};

struct adding {
    struct bs__cli *cli;
    struct bs__rpc_client *client;
    struct bs__datasets_options *o;
    const char *dataset;
    struct bs__dataset_files files;
    Bioseg__V1__Pair **known; /* pairs of the dataset */
    size_t nknown;
    struct plan *plan; /* one for each pair of files */
    struct bs__progress *progress;
    json_t *failed; /* names and reasons */
    size_t added, there;
};

static void note_failure(struct adding *a, const char *name, const char *why)
{
    json_array_append_new(a->failed,
                          json_pack("{s:o, s:o}", "name", bs__json_text(name), "error", bs__json_text(why)));
    if (!a->cli->json)
        bs__progress_message(a->progress, "bioseg: %s", why);
}

/* ---- splits ---- */

static int by_name(const void *x, const void *y)
{
    return strcmp((*(Bioseg__V1__Pair *const *)x)->name, (*(Bioseg__V1__Pair *const *)y)->name);
}

static const Bioseg__V1__Pair *find_known(const struct adding *a, const char *name)
{
    Bioseg__V1__Pair wanted = {.name = (char *)(uintptr_t)name}, *key = &wanted;
    Bioseg__V1__Pair *const *found =
        a->nknown ? bsearch(&key, a->known, a->nknown, sizeof *a->known, by_name) : NULL;
    return found ? *found : NULL;
}

/* Where a pair stands already, by its name or by its group; unspecified: nowhere. */
static Bioseg__V1__Split standing(const struct adding *a, const struct bs__dataset_pair *p)
{
    const Bioseg__V1__Pair *same = find_known(a, p->name);
    if (same)
        return same->split;
    for (size_t i = 0; p->group[0] && i < a->nknown; i++)
        if (strcmp(a->known[i]->group, p->group) == 0)
            return a->known[i]->split;
    return BIOSEG__V1__SPLIT__SPLIT_UNSPECIFIED;
}

/* Shares: pairs that are there, and groups of which some are, stay as they are; the rest is drawn. */
static bs_status draw_splits(struct adding *a, struct bs_err *err)
{
    const struct bs__datasets_options *o = a->o;
    size_t n = 0, count = a->files.count;
    bs_status rc = BS_OK;
    const char **group = calloc(count, sizeof *group);
    size_t *which = calloc(count, sizeof *which);
    enum bs_part *part = calloc(count, sizeof *part);
    if (!group || !which || !part) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a list of files");
        goto cleanup;
    }
    for (size_t i = 0; i < count; i++) {
        const struct bs__dataset_pair *p = &a->files.pair[i];
        a->plan[i].split = standing(a, p);
        if (a->plan[i].split)
            continue;
        /* Equal images go together whatever their names are. */
        group[n] = p->group[0] ? p->group : p->image.sha256;
        which[n++] = i;
    }
    if (n > 0) {
        rc = bs_split(group, n, o->seed, o->validation, o->test, part, err);
        /* Too few new ones for a share of their own: they are trained on, the shares are there. */
        if (rc == BS_EPRECONDITION && n < count) {
            memset(part, 0, count * sizeof *part);
            rc = BS_OK;
        }
    }
    for (size_t i = 0; rc == BS_OK && i < n; i++)
        a->plan[which[i]].split = part[i] == BS_PART_TRAIN        ? BIOSEG__V1__SPLIT__SPLIT_TRAIN
                                  : part[i] == BS_PART_VALIDATION ? BIOSEG__V1__SPLIT__SPLIT_VALIDATION
                                                                  : BIOSEG__V1__SPLIT__SPLIT_TEST;
cleanup:
    free(group);
    free(which);
    free(part);
    return rc;
}

static bs_status choose_splits(struct adding *a, struct bs_err *err)
{
    const struct bs__datasets_options *o = a->o;
    if (o->validation > 0 || o->test > 0)
        return draw_splits(a, err);
    for (size_t i = 0; i < a->files.count; i++)
        a->plan[i].split = o->split ? o->split : BIOSEG__V1__SPLIT__SPLIT_TRAIN;
    return BS_OK;
}

/* ---- what has to be sent ---- */

static bool listed(char *const *hashes, size_t n, const char *sha256)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(hashes[i], sha256) == 0)
            return true;
    return false;
}

/* Asks about the files of plans [first, last). */
static bs_status ask_missing(struct adding *a, size_t first, size_t last, int *code)
{
    char *hashes[HASHES_A_REQUEST];
    ProtobufCMessage *message = NULL;
    Bioseg__V1__MissingFilesRequest request = BIOSEG__V1__MISSING_FILES_REQUEST__INIT;
    request.sha256 = hashes;
    for (size_t i = first; i < last; i++) {
        hashes[request.n_sha256++] = (char *)(uintptr_t)a->files.pair[i].image.sha256;
        hashes[request.n_sha256++] = (char *)(uintptr_t)a->files.pair[i].labels.sha256;
        if (a->files.pair[i].prediction.path)
            hashes[request.n_sha256++] = (char *)(uintptr_t)a->files.pair[i].prediction.sha256;
    }
    bs_status rc = bs__ask(a->cli, a->client, BS__METHOD("Datasets", "Missing"), a->cli->timeout,
                           &request.base, &bioseg__v1__missing_files_response__descriptor, &message, code);
    if (rc != BS_OK)
        return rc;
    const Bioseg__V1__MissingFilesResponse *r = (const Bioseg__V1__MissingFilesResponse *)message;
    for (size_t i = first; i < last; i++) {
        a->plan[i].image_missing = listed(r->sha256, r->n_sha256, a->files.pair[i].image.sha256);
        a->plan[i].labels_missing = listed(r->sha256, r->n_sha256, a->files.pair[i].labels.sha256);
        a->plan[i].prediction_missing = a->files.pair[i].prediction.path &&
                                        listed(r->sha256, r->n_sha256, a->files.pair[i].prediction.sha256);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return BS_OK;
}

static bs_status look_for_files(struct adding *a, int *code)
{
    const size_t step = HASHES_A_REQUEST / 3;
    bs_status rc = BS_OK;
    for (size_t i = 0; rc == BS_OK && i < a->files.count; i += step)
        rc = ask_missing(a, i, i + step < a->files.count ? i + step : a->files.count, code);
    for (size_t i = 0; rc == BS_OK && i < a->files.count; i++) {
        const struct bs__dataset_pair *p = a->plan[i].pair;
        const Bioseg__V1__Pair *k = find_known(a, p->name);
        a->plan[i].there = k && k->split == a->plan[i].split && strcmp(k->group, p->group) == 0 &&
                           strcmp(k->image_sha256, p->image.sha256) == 0 &&
                           strcmp(k->labels_sha256, p->labels.sha256) == 0 &&
                           strcmp(k->prediction_sha256, p->prediction.sha256) == 0;
    }
    return rc;
}

/* ---- sending ---- */

struct sending {
    struct adding *a;
    struct bs__progress_item item;
    uint64_t before, total;
};

static void on_sent(void *ctx, uint64_t done, uint64_t total)
{
    struct sending *s = ctx;
    (void)total;
    bs__progress_set(s->a->progress, &s->item, (double)(s->before + done) / (double)s->total);
}

static bs_status send_file(struct sending *s, struct bs__rpc_call *call, const struct bs__dataset_file *f,
                           uint32_t artifact, struct bs_err *err)
{
    const struct bs__upload_progress progress = {.ctx = s, .sent = on_sent};
    char sha256[BS__SHA256_TEXT];
    uint64_t bytes;
    int fd;
    bs_status rc = bs__upload_open(f->path, &fd, &bytes, err);
    if (rc != BS_OK)
        return rc;
    if (bytes != f->bytes)
        rc = BS_FAIL(err, BS_EIO, "%s has changed since it was read first", f->path);
    else
        rc = bs__upload_chunks(call, fd, bytes, artifact, f->path, &progress, sha256, err);
    close(fd);
    s->before += bytes;
    return rc;
}

static bs_status send_pair(struct sending *s, const struct plan *plan, struct bs_err *err)
{
    struct adding *a = s->a;
    const struct bs__dataset_pair *p = plan->pair;
    struct bs__rpc_call *call = NULL;
    ProtobufCMessage *response = NULL;
    Bioseg__V1__Pair pair = BIOSEG__V1__PAIR__INIT;
    Bioseg__V1__Annotation annotation = BIOSEG__V1__ANNOTATION__INIT;
    Bioseg__V1__AddPairStart start = BIOSEG__V1__ADD_PAIR_START__INIT;
    Bioseg__V1__AddPairRequest first = BIOSEG__V1__ADD_PAIR_REQUEST__INIT;
    pair.name = p->name;
    pair.group = p->group;
    pair.split = plan->split;
    pair.image_sha256 = (char *)(uintptr_t)p->image.sha256;
    pair.labels_sha256 = (char *)(uintptr_t)p->labels.sha256;
    pair.prediction_sha256 = (char *)(uintptr_t)p->prediction.sha256;
    bs__datasets_annotation(a->o, a->o->predicted || p->prediction.path, &annotation);
    pair.annotation = &annotation;
    start.dataset = (char *)(uintptr_t)a->dataset;
    start.pair = &pair;
    start.image_bytes = plan->image_missing ? p->image.bytes : 0;
    start.labels_bytes = plan->labels_missing ? p->labels.bytes : 0;
    start.prediction_bytes = plan->prediction_missing ? p->prediction.bytes : 0;
    start.group_across_splits = a->o->split_groups;
    first.part_case = BIOSEG__V1__ADD_PAIR_REQUEST__PART_START;
    first.start = &start;
    const uint64_t sent = start.image_bytes + start.labels_bytes + start.prediction_bytes;
    s->total = sent + 1;
    bs_status rc = bs__rpc_call_start(a->client, BS__METHOD("Datasets", "AddPair"), 0, &call, err);
    if (rc == BS_OK)
        rc = bs__message_send(call, &first.base, false, err);
    if (rc == BS_OK && plan->image_missing)
        rc = send_file(s, call, &p->image, 0, err);
    if (rc == BS_OK && plan->labels_missing)
        rc = send_file(s, call, &p->labels, 1, err);
    if (rc == BS_OK && plan->prediction_missing)
        rc = send_file(s, call, &p->prediction, 2, err);
    if (rc == BS_OK)
        rc = bs__upload_end(call, sent, NULL, err);
    if (rc == BS_OK)
        rc = bs__message_receive_only(call, &bioseg__v1__add_pair_response__descriptor, &response, err);
    bs__rpc_call_destroy(call);
    if (response)
        protobuf_c_message_free_unpacked(response, NULL);
    return rc;
}

/* A pair that is refused does not stop the others; a server that is gone does. */
static int send_all(struct adding *a)
{
    for (size_t i = 0; i < a->files.count; i++) {
        struct sending s = {.a = a, .item = {.name = a->plan[i].pair->name}};
        struct bs_err err = {.msg = ""};
        if (a->plan[i].there) {
            a->there++;
            bs__progress_finish(a->progress, &s.item, "is there already");
            continue;
        }
        bs_status rc = send_pair(&s, &a->plan[i], &err);
        if (rc == BS_EUNAVAILABLE || rc == BS_EUNAUTHENTICATED || rc == BS_EPERMISSION || rc == BS_ECANCELLED)
            return bs__complain_server(a->cli, &err);
        if (rc != BS_OK)
            note_failure(a, a->plan[i].pair->name, err.msg);
        else
            a->added++;
        bs__progress_finish(a->progress, &s.item, rc == BS_OK ? "added" : "refused");
    }
    return json_array_size(a->failed) ? BS__EXIT_SOME_FAILED : BS__EXIT_OK;
}

/* ---- the command ---- */

static int collect(struct adding *a)
{
    const struct bs__datasets_options *o = a->o;
    struct bs_err err = {.msg = ""};
    bs_status rc;
    if (o->nimage == 0 || o->nlabel == 0) {
        (void)!BS_FAIL(&err, BS_EINVAL, "--images and --labels are needed");
        return bs__complain(a->cli, &err, BS__EXIT_USAGE);
    }
    if (o->split && (o->validation > 0 || o->test > 0)) {
        (void)!BS_FAIL(&err, BS_EINVAL, "--split puts all files into one part; it does not go with shares");
        return bs__complain(a->cli, &err, BS__EXIT_USAGE);
    }
    rc =
        bs__dataset_files_collect(o->images, o->nimage, o->label_files, o->nlabel, o->group, &a->files, &err);
    if (rc == BS_OK && o->nprediction)
        rc = bs__dataset_files_predictions(&a->files, o->predictions, o->nprediction, &err);
    if (rc != BS_OK)
        return bs__complain(a->cli, &err, bs__exit_of_local(rc));
    for (size_t i = 0; i < a->files.problems.count; i++)
        fprintf(stderr, "bioseg: %s\n", a->files.problems.at[i]);
    if (a->files.problems.count && !o->skip_unpaired) {
        (void)!BS_FAIL(
            &err, BS_EINVAL,
            "%zu of the files cannot be used as they are; nothing was sent (--skip-unpaired leaves "
            "them out)",
            a->files.problems.count);
        return bs__complain(a->cli, &err, BS__EXIT_USAGE);
    }
    if (a->files.count == 0) {
        (void)!BS_FAIL(&err, BS_ENOTFOUND, "no image has labels");
        return bs__complain(a->cli, &err, BS__EXIT_USAGE);
    }
    return BS__EXIT_OK;
}

static void report(const struct adding *a)
{
    size_t of[4] = {0};
    for (size_t i = 0; i < a->files.count; i++)
        of[a->plan[i].split]++;
    if (a->cli->json) {
        json_t *j = json_pack("{s:I, s:I, s:O}", "added", (json_int_t)a->added, "existing",
                              (json_int_t)a->there, "failed", a->failed);
        bs__print_json(a->cli->out, j);
        json_decref(j);
        return;
    }
    fprintf(a->cli->out,
            "%s: %zu added, %zu there already, %zu refused (of these files %zu for train, %zu for "
            "validation, %zu for test)\n",
            a->dataset, a->added, a->there, json_array_size(a->failed), of[BIOSEG__V1__SPLIT__SPLIT_TRAIN],
            of[BIOSEG__V1__SPLIT__SPLIT_VALIDATION], of[BIOSEG__V1__SPLIT__SPLIT_TEST]);
}

int bs__datasets_add(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    struct adding a = {.cli = cli, .client = client, .o = ctx, .dataset = args[0], .failed = json_array()};
    struct bs_err err = {.msg = ""};
    int code = collect(&a);
    bs_status rc = BS_OK;
    if (code != BS__EXIT_OK ||
        bs__datasets_pairs(cli, client, a.dataset, BIOSEG__V1__SPLIT__SPLIT_UNSPECIFIED, &a.known, &a.nknown,
                           &code) != BS_OK)
        goto cleanup;
    if (a.nknown)
        qsort(a.known, a.nknown, sizeof *a.known, by_name);
    if (!(a.plan = calloc(a.files.count, sizeof *a.plan)))
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory for a list of files");
    for (size_t i = 0; rc == BS_OK && i < a.files.count; i++)
        a.plan[i].pair = &a.files.pair[i];
    if (rc == BS_OK)
        rc = choose_splits(&a, &err);
    if (rc == BS_OK)
        rc = bs__progress_create(stderr, bs__progress_style_for(stderr, cli->quiet), a.files.count,
                                 &a.progress, &err);
    if (rc != BS_OK) {
        code = bs__complain(cli, &err, rc == BS_EPRECONDITION ? BS__EXIT_USAGE : bs__exit_of_local(rc));
        goto cleanup;
    }
    if (look_for_files(&a, &code) != BS_OK)
        goto cleanup;
    code = send_all(&a);
    bs__progress_destroy(a.progress);
    a.progress = NULL;
    if (code == BS__EXIT_OK || code == BS__EXIT_SOME_FAILED)
        report(&a);
cleanup:
    bs__progress_destroy(a.progress);
    for (size_t i = 0; i < a.nknown; i++)
        bioseg__v1__pair__free_unpacked(a.known[i], NULL);
    free(a.known);
    free(a.plan);
    json_decref(a.failed);
    bs__dataset_files_free(&a.files);
    return code;
}
