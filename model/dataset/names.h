/* A growing list of texts, and what names of files say: which image and label file belong together, and what group a file
   is of. A list owns its texts; one thread. */
#ifndef BS_MODEL_DATASET_NAMES_H
#define BS_MODEL_DATASET_NAMES_H

#include "kernels/base/status.h"

/* Begins as zeros. */
struct bs_names {
    char **at;
    size_t count, room;
};

/* Copies the text. */
bs_status bs_names_add(struct bs_names *n, const char *text, struct bs_err *err) BS_NODISCARD;
/* In the order of their bytes. */
void bs_names_sort(struct bs_names *n);
/* Frees the texts; the list is empty afterwards. */
void bs_names_clear(struct bs_names *n);

/* An image and its labels, as indices into the two lists. */
struct bs_name_pair {
    size_t image, label;
};

/* Pairs files by their names without extension, folders included: a/cell_1.tif goes with a/cell_1.png, or, when there is none, with a
   name that has one of the usual endings of label files ("cell_1_label", "_labels", "_mask", "_masks", "_seg", "_cp_masks", or the same
   with '-'). pairs has room for images->count. What cannot be paired, and what could be paired twice, is one sentence each in
   problems; nothing is guessed. */
bs_status bs_names_pair(const struct bs_names *images, const struct bs_names *labels,
                        struct bs_name_pair *pairs, size_t *count, struct bs_names *problems,
                        struct bs_err *err) BS_NODISCARD;

/* The part of a name that the first '*' of a pattern stands for, as long as fits: "*_z???.tif" takes the stack out of
   "gut_z017.tif". Every '*' stands for any text, '?' for one character. False when the name does not match, or the pattern has
   no '*'. */
bool bs_name_group(const char *pattern, const char *name, size_t *start, size_t *len);

#endif
