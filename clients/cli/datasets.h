/* What the files of `bioseg datasets` share. */
#ifndef BS_CLIENTS_CLI_DATASETS_H
#define BS_CLIENTS_CLI_DATASETS_H

#include "clients/cli/labels.h"
#include "clients/cli/subcommand.h"

#include "bioseg/v1/datasets.pb-c.h"

#define BS__MAX_PATTERNS 64
#define BS__MAX_BOXES    256

/* Boxes of --annotated or --ignored; list points into region. */
struct bs__datasets_boxes {
    Bioseg__V1__Region region[BS__MAX_BOXES], *list[BS__MAX_BOXES];
    size_t n;
};

struct bs__datasets_options {
    const char *project, *description, *licence; /* create */
    double keep_hours;
    struct bs__labels labels; /* create; list: only with these */
    const char *pair;         /* delete: this one of the dataset, by name */
    Bioseg__V1__Split split;  /* add, pairs; unspecified: not given */
    /* add */
    char *images[BS__MAX_PATTERNS], *label_files[BS__MAX_PATTERNS];
    size_t nimage, nlabel;
    const char *group;
    double validation, test; /* shares of all pairs */
    uint64_t seed;
    bool skip_unpaired, split_groups;
    char *predictions[BS__MAX_PATTERNS];
    size_t nprediction;
    /* add, mark */
    struct bs__datasets_boxes annotated, ignored;
    bool has_ignore_label, predicted, done, not_done, everything;
    int64_t ignore_label;
    /* unpack */
    bool planes_given;
    size_t planes[3]; /* for train, validation and test */
    int64_t min_size; /* pixels; smaller objects are left out */
};

/* All pairs of a dataset, page after page; a failure has been complained about. The caller frees each of them with
   bioseg__v1__pair__free_unpacked, and the array. */
bs_status bs__datasets_pairs(struct bs__cli *cli, struct bs__rpc_client *client, const char *dataset,
                             Bioseg__V1__Split split, Bioseg__V1__Pair ***pairs, size_t *count,
                             int *code) BS_NODISCARD;
/* "train", "validation", "test". */
const char *bs__split_text(Bioseg__V1__Split split);
/* `bioseg datasets pairs` and `delete`. */
int bs__datasets_list_pairs(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs,
                            void *ctx);
int bs__datasets_delete(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs,
                        void *ctx);
/* Options of `mark`, some of which `add` has, too; those of both have keys here. */
enum {
    BS__OPT_PAIR = 0x680,
    BS__OPT_DONE,
    BS__OPT_NOT_DONE,
    BS__OPT_ANNOTATED,
    BS__OPT_IGNORED,
    BS__OPT_IGNORE_LABEL,
    BS__OPT_EVERYTHING,
    BS__OPT_PREDICTED,
};
extern const struct argp_option bs__datasets_mark_options[];
error_t bs__datasets_mark_option(int key, char *arg, struct argp_state *state, void *ctx);
/* Changes *a as the options say, leaving the rest; boxes point into them. */
void bs__datasets_annotation(struct bs__datasets_options *o, bool predicted, Bioseg__V1__Annotation *a);
/* In a few words; NULL: everything counts. */
const char *bs__annotation_text(const Bioseg__V1__Annotation *a);
int bs__datasets_mark(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
/* `bioseg datasets add`. */
int bs__datasets_add(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
/* `bioseg datasets unpack`; needs no server. */
extern const struct argp_option bs__datasets_unpack_options[];
error_t bs__datasets_unpack_option(int key, char *arg, struct argp_state *state, void *ctx);
int bs__datasets_unpack(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs,
                        void *ctx);

#endif
