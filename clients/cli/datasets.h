/* What the files of `bioseg datasets` share. */
#ifndef BS_CLIENTS_CLI_DATASETS_H
#define BS_CLIENTS_CLI_DATASETS_H

#include "clients/cli/labels.h"
#include "clients/cli/subcommand.h"

#include "bioseg/v1/datasets.pb-c.h"

#define BS__MAX_PATTERNS 64

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
/* `bioseg datasets add`. */
int bs__datasets_add(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
/* `bioseg datasets unpack`; needs no server. */
extern const struct argp_option bs__datasets_unpack_options[];
error_t bs__datasets_unpack_option(int key, char *arg, struct argp_state *state, void *ctx);
int bs__datasets_unpack(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs,
                        void *ctx);

#endif
