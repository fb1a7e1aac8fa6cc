/* bioseg datasets mark: where the labels of a pair count, and what a person has looked at; and the same options for files that are
   added. Main thread. */
#include "clients/cli/datasets.h"

#include "clients/cli/message.h"
#include "clients/cli/output.h"

#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

const struct argp_option bs__datasets_mark_options[] = {
    {"pair", BS__OPT_PAIR, "NAME", 0, "which image of the dataset", 10},
    {"done", BS__OPT_DONE, NULL, 0, "a person has looked at all of it: everything counts", 20},
    {"not-done", BS__OPT_NOT_DONE, NULL, 0, "what a model predicted and nobody changed counts no longer", 20},
    {"annotated", BS__OPT_ANNOTATED, "Y,X,H,W", 0,
     "only this box is annotated: first row and column, rows and columns (0: the rest); can be given again, "
     "and "
     "replaces those that were there",
     30},
    {"ignored", BS__OPT_IGNORED, "Y,X,H,W", 0, "nothing in this box counts; likewise", 30},
    {"ignore-label", BS__OPT_IGNORE_LABEL, "N", 0, "pixels of this label do not count", 30},
    {"everything", BS__OPT_EVERYTHING, NULL, 0, "first forget all boxes and the label to ignore", 30},
    {0}};

static void add_box(struct bs__datasets_boxes *b, const char *name, const char *arg, struct argp_state *state)
{
    unsigned long long v[4] = {0};
    char rest;
    if (strchr(arg, '-') || sscanf(arg, "%llu,%llu,%llu,%llu%c", &v[0], &v[1], &v[2], &v[3], &rest) != 4)
        argp_error(state, "%s %s is no box; Y,X,H,W in whole pixels is accepted, e.g. 0,0,128,256", name,
                   arg);
    if (b->n == BS__MAX_BOXES)
        argp_error(state, "more than %d boxes", BS__MAX_BOXES);
    Bioseg__V1__Region *r = &b->region[b->n];
    bioseg__v1__region__init(r);
    r->y = v[0];
    r->x = v[1];
    r->height = v[2];
    r->width = v[3];
    b->list[b->n++] = r;
}

error_t bs__datasets_mark_option(int key, char *arg, struct argp_state *state, void *ctx)
{
    struct bs__datasets_options *o = ctx;
    char *end;
    switch (key) {
    case BS__OPT_DONE:
    case BS__OPT_NOT_DONE:
        o->done = key == BS__OPT_DONE;
        o->not_done = !o->done;
        return 0;
    case BS__OPT_ANNOTATED:
        add_box(&o->annotated, "--annotated", arg, state);
        return 0;
    case BS__OPT_IGNORED:
        add_box(&o->ignored, "--ignored", arg, state);
        return 0;
    case BS__OPT_IGNORE_LABEL:
        o->has_ignore_label = true;
        o->ignore_label = strtoll(arg, &end, 10);
        if (end == arg || *end)
            argp_error(state, "--ignore-label %s is not a whole number", arg);
        return 0;
    case BS__OPT_EVERYTHING:
        o->everything = true;
        return 0;
    case BS__OPT_PREDICTED:
        o->predicted = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- messages ---- */

void bs__datasets_annotation(struct bs__datasets_options *o, bool predicted, Bioseg__V1__Annotation *a)
{
    if (o->everything) {
        a->ignore_case = BIOSEG__V1__ANNOTATION__IGNORE__NOT_SET;
        a->n_annotated = a->n_ignored = 0;
    }
    if (o->annotated.n) {
        a->annotated = o->annotated.list;
        a->n_annotated = o->annotated.n;
    }
    if (o->ignored.n) {
        a->ignored = o->ignored.list;
        a->n_ignored = o->ignored.n;
    }
    if (o->has_ignore_label) {
        a->ignore_case = BIOSEG__V1__ANNOTATION__IGNORE_IGNORE_LABEL;
        a->ignore_label = o->ignore_label;
    }
    if (predicted)
        a->origin = BIOSEG__V1__LABEL_ORIGIN__LABEL_ORIGIN_PREDICTED;
    if (o->done || o->not_done)
        a->done = o->done;
}

/* ---- mark ---- */

static int update(struct bs__cli *cli, struct bs__rpc_client *client, const char *dataset,
                  const Bioseg__V1__Pair *pair, struct bs__datasets_options *o)
{
    ProtobufCMessage *message = NULL;
    Bioseg__V1__UpdatePairRequest request = BIOSEG__V1__UPDATE_PAIR_REQUEST__INIT;
    Bioseg__V1__Annotation annotation = BIOSEG__V1__ANNOTATION__INIT;
    int code;
    if (pair->annotation)
        annotation = *pair->annotation; /* borrows */
    bs__datasets_annotation(o, false, &annotation);
    request.dataset = (char *)(uintptr_t)dataset;
    request.id = pair->id;
    request.annotation = &annotation;
    if (bs__ask(cli, client, BS__METHOD("Datasets", "UpdatePair"), cli->timeout, &request.base,
                &bioseg__v1__update_pair_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__Pair *now = ((const Bioseg__V1__UpdatePairResponse *)message)->pair;
    if (cli->json && now) {
        json_t *j = bs__json_of_message(&now->base);
        bs__print_json(cli->out, j);
        json_decref(j);
    } else {
        fprintf(cli->out, "%s: %s\n", pair->name, bs__annotation_text(now ? now->annotation : NULL));
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return BS__EXIT_OK;
}

const char *bs__annotation_text(const Bioseg__V1__Annotation *a)
{
    if (!a)
        return "everything counts";
    const bool some =
        a->n_annotated || a->n_ignored || a->ignore_case == BIOSEG__V1__ANNOTATION__IGNORE_IGNORE_LABEL;
    if (a->origin == BIOSEG__V1__LABEL_ORIGIN__LABEL_ORIGIN_PREDICTED && !a->done)
        return "predicted, not done";
    return some ? "some of it counts" : a->done ? "done" : "everything counts";
}

int bs__datasets_mark(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    struct bs__datasets_options *o = ctx;
    struct bs_err err = {.msg = ""};
    Bioseg__V1__Pair **found = NULL;
    size_t n = 0, at = 0;
    int code;
    if (!o->pair) {
        (void)!BS_FAIL(&err, BS_EINVAL, "--pair is needed: it names the image");
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    }
    if (bs__datasets_pairs(cli, client, args[0], BIOSEG__V1__SPLIT__SPLIT_UNSPECIFIED, &found, &n, &code) !=
        BS_OK)
        return code;
    while (at < n && strcmp(found[at]->name, o->pair) != 0)
        at++;
    if (at < n) {
        code = update(cli, client, args[0], found[at], o);
    } else {
        (void)!BS_FAIL(&err, BS_ENOTFOUND, "dataset %s has no pair '%s'", args[0], o->pair);
        code = bs__complain(cli, &err, BS__EXIT_USAGE);
    }
    for (size_t i = 0; i < n; i++)
        bioseg__v1__pair__free_unpacked(found[i], NULL);
    free(found);
    return code;
}
