/* The image and label files on this machine that are to become pairs of a dataset: collected, paired by name, hashed.
   Owns what it holds; one thread. */
#ifndef BS_CLIENTS_CLI_DATASET_FILES_H
#define BS_CLIENTS_CLI_DATASET_FILES_H

#include "clients/cli/outputs.h"
#include "model/dataset/names.h"

struct bs__dataset_file {
    const char *path; /* borrowed from the list of inputs */
    uint64_t bytes;
    char sha256[BS__SHA256_TEXT];
};

struct bs__dataset_pair {
    char *name;  /* of the image below the folder that holds all images: the pair's name */
    char *group; /* what the pattern took out of the name; "": no pattern */
    struct bs__dataset_file image, labels;
    struct bs__dataset_file prediction; /* path NULL: none */
};

struct bs__dataset_files {
    struct bs__inputs images, labels, predictions;
    struct bs__dataset_pair *pair;
    size_t count;
    struct bs_names problems; /* one sentence each: what has no partner or several, or is of no group */
};

/* Arguments as bs__inputs_collect takes them; folders are taken with their subfolders. pattern NULL: no groups (see
   bs_name_group). Hashes every paired file, so this takes as long as reading them all. */
bs_status bs__dataset_files_collect(char *const *images, size_t nimage, char *const *labels, size_t nlabel,
                                    const char *pattern, struct bs__dataset_files *out,
                                    struct bs_err *err) BS_NODISCARD;
/* Gives every pair the prediction that its labels were made from, found by name as the labels were; a pair without one is a
   problem. Before anything is sent. */
bs_status bs__dataset_files_predictions(struct bs__dataset_files *f, char *const *files, size_t count,
                                        struct bs_err *err) BS_NODISCARD;
void bs__dataset_files_free(struct bs__dataset_files *f); /* accepts one of zeros */

#endif
