/* bioseg datasets: images with labels to train on. Adding files is in datasets_add.c, what is in them in
   datasets_pairs.c, what of them counts in datasets_mark.c. */
#include "clients/cli/datasets.h"

#include "clients/cli/message.h"
#include "clients/cli/output.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE_SIZE 500

static void print_message(struct bs__cli *cli, const ProtobufCMessage *message)
{
    json_t *j = bs__json_of_message(message);
    char size[16];
    if (cli->json) {
        bs__print_json(cli->out, j);
    } else {
        bs__make_times_readable(j);
        json_object_set_new(
            j, "total_bytes",
            json_string(bs__human_bytes(json_number_value(json_object_get(j, "total_bytes")), size)));
        bs__print_fields(cli->out, j, 0);
    }
    json_decref(j);
}

/* ---- list, show, create ---- */

static int list(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)args, (void)nargs;
    struct bs__datasets_options *o = ctx;
    static const struct bs__column columns[] = {{"NAME", "name", false},
                                                {"TRAIN", "train_count", true},
                                                {"VALIDATION", "validation_count", true},
                                                {"TEST", "test_count", true},
                                                {"SIZE", "size", true},
                                                {"CREATED", "created", false},
                                                {"DESCRIPTION", "description", false}};
    json_t *rows = json_array();
    char *token = NULL;
    int code = BS__EXIT_OK;
    do {
        ProtobufCMessage *message = NULL;
        Bioseg__V1__Page page = BIOSEG__V1__PAGE__INIT;
        Bioseg__V1__ListDatasetsRequest request = BIOSEG__V1__LIST_DATASETS_REQUEST__INIT;
        page.size = PAGE_SIZE;
        page.token = token ? token : (char *)protobuf_c_empty_string;
        request.page = &page;
        request.labels =
            bs__labels_entries(&o->labels, &bioseg__v1__list_datasets_request__labels_entry__descriptor);
        request.n_labels = o->labels.n;
        request.project = o->project ? (char *)o->project : (char *)protobuf_c_empty_string;
        bs_status rc = bs__ask(cli, client, BS__METHOD("Datasets", "List"), cli->timeout, &request.base,
                               &bioseg__v1__list_datasets_response__descriptor, &message, &code);
        free(token);
        token = NULL;
        if (rc != BS_OK)
            goto cleanup;
        const Bioseg__V1__ListDatasetsResponse *r = (const Bioseg__V1__ListDatasetsResponse *)message;
        for (size_t i = 0; i < r->n_datasets; i++) {
            json_t *row = bs__json_of_message(&r->datasets[i]->base);
            char size[16];
            if (!cli->json) {
                json_object_set_new(row, "size",
                                    json_string(bs__human_bytes((double)r->datasets[i]->total_bytes, size)));
                bs__make_times_readable(row);
            }
            json_array_append_new(rows, row);
        }
        if (r->next_page_token && r->next_page_token[0])
            token = strdup(r->next_page_token);
        protobuf_c_message_free_unpacked(message, NULL);
    } while (token);
    if (cli->json)
        bs__print_json(cli->out, rows);
    else if (json_array_size(rows) == 0)
        fprintf(cli->out, o->labels.n || o->project
                              ? "no such datasets\n"
                              : "no datasets yet; `bioseg datasets create NAME` makes one\n");
    else
        bs__print_table(cli->out, rows, columns, sizeof columns / sizeof *columns);
cleanup:
    json_decref(rows);
    return code;
}

static int show(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    ProtobufCMessage *message = NULL;
    Bioseg__V1__GetDatasetRequest request = BIOSEG__V1__GET_DATASET_REQUEST__INIT;
    int code;
    request.name = args[0];
    if (bs__ask(cli, client, BS__METHOD("Datasets", "Get"), cli->timeout, &request.base,
                &bioseg__v1__get_dataset_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__Dataset *d = ((const Bioseg__V1__GetDatasetResponse *)message)->dataset;
    if (d)
        print_message(cli, &d->base);
    protobuf_c_message_free_unpacked(message, NULL);
    return BS__EXIT_OK;
}

static int create(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    struct bs__datasets_options *o = ctx;
    ProtobufCMessage *message = NULL;
    Bioseg__V1__Dataset dataset = BIOSEG__V1__DATASET__INIT;
    Bioseg__V1__CreateDatasetRequest request = BIOSEG__V1__CREATE_DATASET_REQUEST__INIT;
    int code;
    dataset.name = args[0];
    if (o->project)
        dataset.project = (char *)o->project;
    if (o->description)
        dataset.description = (char *)o->description;
    if (o->licence)
        dataset.licence = (char *)o->licence;
    if (o->keep_hours > 0)
        dataset.expires_ms = (int64_t)time(NULL) * 1000 + (int64_t)(o->keep_hours * 3600e3);
    dataset.labels = bs__labels_entries(&o->labels, &bioseg__v1__dataset__labels_entry__descriptor);
    dataset.n_labels = o->labels.n;
    request.dataset = &dataset;
    if (bs__ask(cli, client, BS__METHOD("Datasets", "Create"), cli->timeout, &request.base,
                &bioseg__v1__create_dataset_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__Dataset *d = ((const Bioseg__V1__CreateDatasetResponse *)message)->dataset;
    if (d && cli->json)
        print_message(cli, &d->base);
    else if (d)
        fprintf(cli->out,
                "made dataset %s; `bioseg datasets add %s --images FOLDER --labels FOLDER` fills it\n",
                d->name, d->name);
    protobuf_c_message_free_unpacked(message, NULL);
    return BS__EXIT_OK;
}

/* ---- options ---- */

enum {
    OPT_KEEP = 0x600,
    OPT_LABEL,
    OPT_PROJECT,
    OPT_DESCRIPTION,
    OPT_LICENCE,
    OPT_SPLIT,
    OPT_IMAGES,
    OPT_LABELS,
    OPT_PREDICTIONS,
    OPT_GROUP,
    OPT_VALIDATION,
    OPT_TEST,
    OPT_SEED,
    OPT_SKIP,
    OPT_TEAR,
};

static const struct argp_option create_options[] = {
    {"description", OPT_DESCRIPTION, "TEXT", 0, "what it is", 10},
    {"licence", OPT_LICENCE, "TEXT", 0, "licence of the data, e.g. CC0-1.0", 10},
    {"project", OPT_PROJECT, "NAME", 0, "project it belongs to", 10},
    {"keep", OPT_KEEP, "HOURS", 0, "delete it after so long (default: never)", 10},
    {"label", OPT_LABEL, "KEY=VALUE", 0, "a mark of your own; can be given again", 10},
    {0}};
static const struct argp_option list_options[] = {
    {"project", OPT_PROJECT, "NAME", 0, "only of this project", 10},
    {"label", OPT_LABEL, "KEY=VALUE", 0, "only with this label; several: with all of them", 10},
    {0}};
static const struct argp_option pairs_options[] = {
    {"split", OPT_SPLIT, "PART", 0, "only those for train, validation or test", 10}, {0}};
static const struct argp_option delete_options[] = {
    {"pair", BS__OPT_PAIR, "NAME", 0, "only this pair of the dataset", 10}, {0}};
static const struct argp_option add_options[] = {
    {"images", OPT_IMAGES, "FILES", 0,
     "a folder (with its subfolders), a file, or a pattern in quotes; can be given again", 10},
    {"labels", OPT_LABELS, "FILES", 0, "the label images, likewise; paired with the images by name", 10},
    {"predictions", OPT_PREDICTIONS, "FILES", 0,
     "what a model predicted before the labels were corrected, likewise: what nobody changed does not count",
     12},
    {"predicted", BS__OPT_PREDICTED, NULL, 0,
     "the labels are a model's, and nothing of them counts until they are marked", 12},
    {"done", BS__OPT_DONE, NULL, 0, "a person has looked at all of these: everything counts", 12},
    {"annotated", BS__OPT_ANNOTATED, "Y,X,H,W", 0, "only this box is annotated; can be given again", 12},
    {"ignored", BS__OPT_IGNORED, "Y,X,H,W", 0, "nothing in this box counts; can be given again", 12},
    {"ignore-label", BS__OPT_IGNORE_LABEL, "N", 0, "pixels of this label do not count, e.g. 255 or -1", 12},
    {"split", OPT_SPLIT, "PART", 0, "train (the default), validation or test: what these files are for", 20},
    {"validation", OPT_VALIDATION, "SHARE", 0,
     "instead: this share of the files, e.g. 0.2, chooses the best network", 20},
    {"test", OPT_TEST, "SHARE", 0, "and this share only judges it in the end", 20},
    {"seed", OPT_SEED, "NUMBER", 0, "of the draw that shares are made by (default: 0)", 20},
    {"group", OPT_GROUP, "PATTERN", 0,
     "what belongs together: the part of a name that the first * stands for, as in '*_z???.tif'; a group "
     "goes "
     "into one part as a whole",
     30},
    {"split-groups", OPT_TEAR, NULL, 0, "let groups stand in several parts all the same", 30},
    {"skip-unpaired", OPT_SKIP, NULL, 0, "leave out files that have no partner, and say so", 30},
    {0}};

static bool parse_split(const char *text, Bioseg__V1__Split *split)
{
    for (int s = BIOSEG__V1__SPLIT__SPLIT_TRAIN; s <= BIOSEG__V1__SPLIT__SPLIT_TEST; s++) {
        if (strcmp(text, bs__split_text((Bioseg__V1__Split)s)) == 0) {
            *split = (Bioseg__V1__Split)s;
            return true;
        }
    }
    return false;
}

static double parse_share(const char *name, const char *arg, struct argp_state *state)
{
    char *end;
    double v = strtod(arg, &end);
    if (end == arg || *end || !(v >= 0 && v < 1))
        argp_error(state, "%s %s is not a share of 0 or more and below 1", name, arg);
    return v;
}

static void add_pattern(char **list, size_t *n, char *arg, struct argp_state *state)
{
    if (*n == BS__MAX_PATTERNS)
        argp_error(state, "more than %d folders or patterns", BS__MAX_PATTERNS);
    list[(*n)++] = arg;
}

static error_t option(int key, char *arg, struct argp_state *state, void *ctx)
{
    struct bs__datasets_options *o = ctx;
    struct bs_err err;
    char *end;
    switch (key) {
    case OPT_KEEP:
        o->keep_hours = strtod(arg, &end);
        if (end == arg || *end || !(o->keep_hours > 0 && o->keep_hours <= 24 * 3650))
            argp_error(state, "--keep %s is not a number of hours above 0 and up to 87600", arg);
        return 0;
    case OPT_LABEL:
        if (bs__labels_parse(&o->labels, arg, &err) != BS_OK)
            argp_error(state, "%s", err.msg);
        return 0;
    case OPT_PROJECT:
        o->project = arg;
        return 0;
    case OPT_DESCRIPTION:
        o->description = arg;
        return 0;
    case OPT_LICENCE:
        o->licence = arg;
        return 0;
    case BS__OPT_PAIR:
        o->pair = arg;
        return 0;
    case OPT_SPLIT:
        if (!parse_split(arg, &o->split))
            argp_error(state, "--split %s is not one of train, validation and test", arg);
        return 0;
    case OPT_IMAGES:
        add_pattern(o->images, &o->nimage, arg, state);
        return 0;
    case OPT_LABELS:
        add_pattern(o->label_files, &o->nlabel, arg, state);
        return 0;
    case OPT_PREDICTIONS:
        add_pattern(o->predictions, &o->nprediction, arg, state);
        return 0;
    case OPT_GROUP:
        o->group = arg;
        return 0;
    case OPT_VALIDATION:
        o->validation = parse_share("--validation", arg, state);
        return 0;
    case OPT_TEST:
        o->test = parse_share("--test", arg, state);
        return 0;
    case OPT_SEED:
        o->seed = strtoull(arg, &end, 10);
        if (end == arg || *end || arg[0] == '-')
            argp_error(state, "--seed %s is not a whole number", arg);
        return 0;
    case OPT_SKIP:
        o->skip_unpaired = true;
        return 0;
    case OPT_TEAR:
        o->split_groups = true;
        return 0;
    default:
        return bs__datasets_mark_option(key, arg, state, ctx);
    }
}

static const struct bs__subcommand commands[] = {
    {.name = "create",
     .args_doc = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "make an empty dataset",
     .run = create,
     .options = create_options,
     .option = option,
     .examples =
         "  bioseg datasets create nuclei --licence CC0-1.0 --description 'DSB 2018, fluorescence'\n"},
    {.name = "add",
     .args_doc = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "add images with their labels; again: sends only what is missing",
     .run = bs__datasets_add,
     .options = add_options,
     .option = option,
     .examples =
         "  bioseg datasets add nuclei --images images/ --labels masks/ --validation 0.2\n"
         "  bioseg datasets add nuclei --images test/images --labels test/masks --split test\n"
         "  bioseg datasets add gut --images raw --labels seg --validation 0.2 --group '*_z???.tif'\n"},
    {.name = "mark",
     .args_doc = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "say where the labels of an image count, and that it is done",
     .run = bs__datasets_mark,
     .options = bs__datasets_mark_options,
     .option = option,
     .examples =
         "  bioseg datasets mark nuclei --pair cell_07.png --done\n"
         "  bioseg datasets mark nuclei --pair cell_08.png --annotated 0,0,256,256 --ignore-label 255\n"},
    {.name = "unpack",
     .args_doc = "FILE FOLDER",
     .min_args = 2,
     .max_args = 2,
     .summary = "make files to add of a volume in CREMI's layout, or of COCO annotations; needs no server",
     .run = bs__datasets_unpack,
     .options = bs__datasets_unpack_options,
     .option = bs__datasets_unpack_option,
     .examples =
         "  bioseg datasets unpack sample_A.hdf sample_A\n"
         "  bioseg datasets add cremi --images sample_A/train/images --labels sample_A/train/labels "
         "--group '*_z???.tif' --split train --split-groups\n"
         "  bioseg datasets unpack livecell_coco_val.json val_labels\n"
         "  bioseg datasets add livecell --images val_images --labels val_labels --split validation\n"},
    {.name = "list",
     .args_doc = "",
     .summary = "your datasets",
     .run = list,
     .options = list_options,
     .option = option},
    {.name = "show",
     .args_doc = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "all that is known of one",
     .run = show},
    {.name = "pairs",
     .args_doc = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "the images in it",
     .run = bs__datasets_list_pairs,
     .options = pairs_options,
     .option = option},
    {.name = "delete",
     .args_doc = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "remove it, or with --pair one image of it",
     .run = bs__datasets_delete,
     .options = delete_options,
     .option = option,
     .examples = "  bioseg datasets delete nuclei\n  bioseg datasets delete nuclei --pair cell_07.png\n"},
};

int bs__datasets_main(struct bs__cli *cli, int argc, char **argv)
{
    static struct bs__datasets_options o; /* too large for a small stack; one thread, one call */
    int code = bs__subcommand_main(cli, argc, argv, "datasets", "Images with labels to train on.", commands,
                                   sizeof commands / sizeof *commands, &o);
    bs__labels_free(&o.labels);
    return code;
}
