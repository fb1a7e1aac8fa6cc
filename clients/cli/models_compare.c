/* Comparing two versions from the command line. See models_compare.h. */
#include "clients/cli/models_compare.h"

#include "clients/cli/jobs.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/spec_args.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEEP_MS (INT64_C(14) * 24 * 3600 * 1000) /* a dataset of files from the command line */

enum {
    OPT_DATASET = 0x660,
    OPT_SPLIT,
    OPT_IMAGES,
    OPT_LABELS,
    OPT_FORCE,
    OPT_DETACH,
    OPT_SEED,
    OPT_RESAMPLES,
    OPT_CONFIDENCE
};

const struct argp_option bs__models_compare_options[] = {
    {"dataset", OPT_DATASET, "NAME", 0, "compare on a dataset of the server", 10},
    {"split", OPT_SPLIT, "SPLIT", 0, "which of its images: test (default), validation or train", 10},
    {"images", OPT_IMAGES, "PATH", 0, "or on files: a file, folder or pattern (again for more) ...", 10},
    {"labels", OPT_LABELS, "PATH", 0,
     "... with labels of the same names; they are kept as a dataset for two weeks", 10},
    {"force", OPT_FORCE, NULL, 0, "on images that a version was trained on, too; the result says so", 10},
    {"detach", OPT_DETACH, NULL, 0, "hand it in and print the job; `models comparison JOB` shows the result",
     10},
    {"seed", OPT_SEED, "NUMBER", 0, "of the resampling (default: 1)", 10},
    {"resamples", OPT_RESAMPLES, "NUMBER", 0, "100 to 1000000 (default: 10000)", 10},
    {"confidence", OPT_CONFIDENCE, "SHARE", 0, "of the intervals, 0.5 to 0.999 (default: 0.95)", 10},
    {0}};

static uint64_t whole_number(struct argp_state *state, const char *option, const char *arg)
{
    char *end;
    unsigned long long v = strtoull(arg, &end, 10);
    if (!isdigit((unsigned char)arg[0]) || *end || v > INT64_MAX)
        argp_error(state, "%s %s is not a whole number", option, arg);
    return v;
}

static Bioseg__V1__Split split_of(struct argp_state *state, const char *arg)
{
    static const Bioseg__V1__Split splits[] = {
        BIOSEG__V1__SPLIT__SPLIT_TRAIN, BIOSEG__V1__SPLIT__SPLIT_VALIDATION, BIOSEG__V1__SPLIT__SPLIT_TEST};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(arg, bs__split_text(splits[i])) == 0)
            return splits[i];
    argp_error(state, "--split %s is none of train, validation and test", arg);
    return BIOSEG__V1__SPLIT__SPLIT_UNSPECIFIED;
}

static void add_pattern(struct argp_state *state, char **list, size_t *n, char *arg)
{
    if (*n == BS__MAX_PATTERNS)
        argp_error(state, "more than %d paths", BS__MAX_PATTERNS);
    else
        list[(*n)++] = arg;
}

error_t bs__models_compare_option(int key, char *arg, struct argp_state *state, struct bs__models_compare *o)
{
    char *end;
    switch (key) {
    case OPT_DATASET:
        o->dataset = arg;
        return 0;
    case OPT_SPLIT:
        o->files.split = split_of(state, arg);
        return 0;
    case OPT_IMAGES:
        add_pattern(state, o->files.images, &o->files.nimage, arg);
        return 0;
    case OPT_LABELS:
        add_pattern(state, o->files.label_files, &o->files.nlabel, arg);
        return 0;
    case OPT_FORCE:
        o->force = true;
        return 0;
    case OPT_DETACH:
        o->detach = true;
        return 0;
    case OPT_SEED:
        o->seed = whole_number(state, "--seed", arg);
        return 0;
    case OPT_RESAMPLES:
        o->resamples = (uint32_t)whole_number(state, "--resamples", arg);
        return 0;
    case OPT_CONFIDENCE:
        o->confidence = strtod(arg, &end);
        if (end == arg || *end || !(o->confidence > 0 && o->confidence < 1))
            argp_error(state, "--confidence %s is not a number between 0 and 1", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- showing ---- */

static void print_warnings(FILE *out, const Bioseg__V1__Comparison *c)
{
    for (size_t i = 0; i < c->n_warnings; i++)
        fprintf(out, "%s: %s\n", c->forced && i == 0 ? "NOTE" : "note", c->warnings[i]->text);
}

/* "nuclei@2 (train), nuclei@1 (validation)" */
static json_t *uses_text(const Bioseg__V1__ComparedImage *im)
{
    char text[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < im->n_uses && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s@%lld (%s)", i ? ", " : "",
                              im->uses[i]->model ? im->uses[i]->model->name : "?",
                              im->uses[i]->model ? (long long)im->uses[i]->model->version : 0,
                              bs__split_text(im->uses[i]->split));
    return im->n_uses ? json_string(text) : json_null();
}

static json_t *row_of(const Bioseg__V1__ComparedImage *im)
{
    const Bioseg__V1__Score *a = im->candidate, *b = im->baseline;
    json_t *row = json_pack("{s:o, s:I, s:o}", "image", bs__json_text(im->name), "expected",
                            (json_int_t)im->expected, "seen", uses_text(im));
    if (a && b)
        json_object_update_new(row, json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "a", a->msa, "b", b->msa,
                                              "d", a->msa - b->msa, "a50", a->sa50, "b50", b->sa50, "a75",
                                              a->sa75, "b75", b->sa75));
    return row;
}

static void print_differences(FILE *out, const Bioseg__V1__Comparison *c)
{
    static const char *const shown[] = {"mSA", "SA50", "SA75"};
    for (size_t i = 0; i < c->n_differences && i < 3; i++) {
        const Bioseg__V1__MeanDifference *d = c->differences[i];
        fprintf(out, "%-4s  %.4f - %.4f = %+.4f", shown[i], d->candidate_mean, d->baseline_mean,
                d->difference);
        if (isnan(d->low) || isnan(d->high))
            fprintf(out, "   (one image has no interval)");
        else
            fprintf(out, "   %g %% interval %+.4f to %+.4f%s", 100 * c->confidence, d->low, d->high,
                    d->low > 0    ? ": the candidate is better"
                    : d->high < 0 ? ": the baseline is better"
                                  : "");
        fprintf(out, "%s\n", c->forced ? "   [FORCED: seen in training]" : "");
    }
}

static void print_human(FILE *out, const Bioseg__V1__Comparison *c)
{
    static const struct bs__column columns[] = {{"IMAGE", "image", false},     {"mSA", "a", true},
                                                {"BASE", "b", true},           {"DIFF", "d", true},
                                                {"SA50", "a50", true},         {"BASE", "b50", true},
                                                {"SA75", "a75", true},         {"BASE", "b75", true},
                                                {"OBJECTS", "expected", true}, {"SEEN BY", "seen", false}};
    json_t *rows = json_array();
    fprintf(out, "candidate %s@%lld, baseline %s@%lld, on %zu images of %s (%s)%s\n\n", c->candidate->name,
            (long long)c->candidate->version, c->baseline->name, (long long)c->baseline->version, c->n_images,
            c->dataset, bs__split_text(c->split), c->forced ? "  FORCED" : "");
    for (size_t i = 0; i < c->n_images; i++)
        json_array_append_new(rows, row_of(c->images[i]));
    /* The last column only where there is something in it. */
    bs__print_table(out, rows, columns, sizeof columns / sizeof *columns - (c->forced ? 0 : 1));
    json_decref(rows);
    fprintf(out, "\n");
    print_differences(out, c);
    fprintf(out, "(paired percentile bootstrap over images, %u resamples, seed %llu)\n", c->resamples,
            (unsigned long long)c->seed);
    print_warnings(out, c);
}

int bs__models_comparison_show(struct bs__cli *cli, struct bs__rpc_client *client, const char *job)
{
    ProtobufCMessage *message = NULL;
    Bioseg__V1__GetComparisonRequest request = BIOSEG__V1__GET_COMPARISON_REQUEST__INIT;
    int code;
    request.job_id = (char *)(uintptr_t)job;
    if (bs__ask(cli, client, BS__METHOD("Comparisons", "Get"), cli->timeout, &request.base,
                &bioseg__v1__get_comparison_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__Comparison *c = ((const Bioseg__V1__GetComparisonResponse *)message)->comparison;
    if (cli->json) {
        json_t *j = c ? bs__json_of_message(&c->base) : json_null();
        bs__print_json(cli->out, j);
        json_decref(j);
    } else if (c && c->candidate && c->baseline) {
        print_human(cli->out, c);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return BS__EXIT_OK;
}

/* ---- files of the command line ---- */

static void drop_files(struct bs__cli *cli, struct bs__rpc_client *client, char *name)
{
    Bioseg__V1__DeleteDatasetRequest request = BIOSEG__V1__DELETE_DATASET_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    struct bs_err ignored; /* it goes by itself later */
    request.name = name;
    if (bs__unary(client, BS__METHOD("Datasets", "Delete"), cli->timeout, &request.base,
                  &bioseg__v1__delete_dataset_response__descriptor, &message, &ignored) == BS_OK)
        protobuf_c_message_free_unpacked(message, NULL);
}

/* Makes a dataset of them, which goes by itself after two weeks; name is where its name goes. */
static int keep_files(struct bs__cli *cli, struct bs__rpc_client *client, const struct bs__models_compare *o,
                      char name[65])
{
    struct bs__cli quiet = *cli;
    struct bs__datasets_options add = o->files;
    Bioseg__V1__Dataset dataset = BIOSEG__V1__DATASET__INIT;
    Bioseg__V1__CreateDatasetRequest request = BIOSEG__V1__CREATE_DATASET_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    char *args[] = {name};
    struct timespec now;
    int code;
    clock_gettime(CLOCK_REALTIME, &now);
    (void)snprintf(name, 65, "compare-%llx-%lx", (unsigned long long)now.tv_sec, (unsigned long)now.tv_nsec);
    dataset.name = name;
    dataset.description = (char *)(uintptr_t) "files given to bioseg models compare";
    dataset.expires_ms = (int64_t)now.tv_sec * 1000 + KEEP_MS;
    request.dataset = &dataset;
    if (bs__ask(cli, client, BS__METHOD("Datasets", "Create"), cli->timeout, &request.base,
                &bioseg__v1__create_dataset_response__descriptor, &message, &code) != BS_OK)
        return code;
    protobuf_c_message_free_unpacked(message, NULL);
    add.split = BIOSEG__V1__SPLIT__SPLIT_TEST;
    quiet.out = stderr; /* results are those of the comparison */
    quiet.json = false;
    code = bs__datasets_add(&quiet, client, args, 1, &add);
    if (code != BS__EXIT_OK) /* nothing is compared on half of them */
        drop_files(cli, client, name);
    return code;
}

/* ---- the command ---- */

static void print_seen(const Bioseg__V1__StartComparisonResponse *r)
{
    for (size_t i = 0; i < r->n_seen; i++) {
        json_t *uses = uses_text(r->seen[i]), *name = bs__json_text(r->seen[i]->name);
        fprintf(stderr, "bioseg: %s was seen by %s\n", json_string_value(name), json_string_value(uses));
        json_decref(uses);
        json_decref(name);
    }
    if (r->seen_count > r->n_seen)
        fprintf(stderr, "bioseg: and %llu more\n", (unsigned long long)(r->seen_count - r->n_seen));
}

/* Asks which images were seen and says so; true when there are any. */
static bool list_seen(struct bs__cli *cli, struct bs__rpc_client *client,
                      Bioseg__V1__StartComparisonRequest request)
{
    ProtobufCMessage *message = NULL;
    struct bs_err ignored;
    bool any = false;
    request.dry_run = true;
    if (bs__unary(client, BS__METHOD("Comparisons", "Start"), cli->timeout, &request.base,
                  &bioseg__v1__start_comparison_response__descriptor, &message, &ignored) != BS_OK)
        return false;
    const Bioseg__V1__StartComparisonResponse *r = (const Bioseg__V1__StartComparisonResponse *)message;
    any = r->seen_count > 0;
    if (!cli->json)
        print_seen(r);
    protobuf_c_message_free_unpacked(message, NULL);
    return any;
}

/* Waits for the job and shows the result. */
static int wait_and_show(struct bs__cli *cli, struct bs__rpc_client *client, const char *id)
{
    struct bs__cli quiet = *cli;
    struct bs_err err = {.msg = ""};
    Bioseg__V1__JobState state;
    quiet.out = stderr;
    quiet.json = false;
    if (bs__job_watch(&quiet, client, id, &state, &err) != BS_OK) {
        if (err.code == BS_ECANCELLED && !cli->json)
            fprintf(stderr,
                    "bioseg: the comparison goes on; `bioseg models comparison %s` shows it in the end\n",
                    id);
        return bs__complain_server(cli, &err);
    }
    if (state == BIOSEG__V1__JOB_STATE__JOB_STATE_SUCCEEDED)
        return bs__models_comparison_show(cli, client, id);
    return BS__EXIT_SOME_FAILED;
}

static int start(struct bs__cli *cli, struct bs__rpc_client *client, const struct bs__models_compare *o,
                 Bioseg__V1__StartComparisonRequest *request)
{
    ProtobufCMessage *message = NULL;
    struct bs_err err = {.msg = ""};
    bs_status rc = bs__unary(client, BS__METHOD("Comparisons", "Start"), cli->timeout, &request->base,
                             &bioseg__v1__start_comparison_response__descriptor, &message, &err);
    if (rc == BS_EPRECONDITION && list_seen(cli, client, *request) && !cli->json)
        fprintf(stderr, "bioseg: --force compares all the same, and the result says so\n");
    if (rc != BS_OK)
        return bs__complain_server(cli, &err);
    const Bioseg__V1__StartComparisonResponse *r = (const Bioseg__V1__StartComparisonResponse *)message;
    int code = BS__EXIT_OK;
    if (!r->job)
        code = bs__complain(cli, &err, BS__EXIT_SERVER);
    else if (o->detach && cli->json)
        bs__print_job(cli, r->job);
    else if (o->detach)
        fprintf(cli->out, "%s\n", r->job->id);
    else
        code = wait_and_show(cli, client, r->job->id);
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}

int bs__models_compare_run(struct bs__cli *cli, struct bs__rpc_client *client, char **args,
                           const struct bs__models_compare *o)
{
    char names[2][65], dataset[65] = "";
    Bioseg__V1__ModelRef ref[2];
    Bioseg__V1__StartComparisonRequest request = BIOSEG__V1__START_COMPARISON_REQUEST__INIT;
    struct bs_err err = {.msg = ""};
    bs_status rc = BS_OK;
    for (int i = 0; i < 2 && rc == BS_OK; i++)
        rc = bs__model_ref_parse(args[i], names[i], &ref[i], &err);
    const bool files = o->files.nimage || o->files.nlabel;
    if (rc == BS_OK && (o->dataset != NULL) == files)
        rc = BS_FAIL(&err, BS_EINVAL, "either --dataset or --images and --labels are needed");
    if (rc == BS_OK && files && o->files.split)
        rc = BS_FAIL(&err, BS_EINVAL, "--split is of a dataset; files are taken all");
    if (rc != BS_OK)
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    if (files) {
        int code = keep_files(cli, client, o, dataset);
        if (code != BS__EXIT_OK)
            return code;
    }
    request.candidate = &ref[0];
    request.baseline = &ref[1];
    request.dataset = files ? dataset : (char *)(uintptr_t)o->dataset;
    request.split = files ? BIOSEG__V1__SPLIT__SPLIT_TEST : o->files.split;
    request.force = o->force;
    request.seed = o->seed;
    request.resamples = o->resamples;
    request.confidence = o->confidence;
    return start(cli, client, o, &request);
}
