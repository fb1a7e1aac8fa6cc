/* golden_check: how a check of one area of reference values reports. An area is a folder of the reference values
   (labels/, primitives/, ...); its checks live in check_AREA.c and are entered in the table of golden_check.c.
   Everything belongs to the main thread. */
#ifndef BS_TESTS_GOLDEN_GOLDEN_H
#define BS_TESTS_GOLDEN_GOLDEN_H

#include "kernels/base/status.h"
#include "tests/support/npy.h"

struct golden;

/* One line per fixture: "PASS labels/img0 seg_components 1.000000 (>= 0.999)". figure and tolerance are text of the
   check's own making; on failure the figure says what was found. Name starts with the folder. */
void golden_pass(struct golden *g, const char *name, const char *tolerance, const char *figure, ...)
    BS_PRINTF(4, 5);
void golden_fail(struct golden *g, const char *name, const char *tolerance, const char *figure, ...)
    BS_PRINTF(4, 5);
void golden_skip(struct golden *g, const char *name, const char *reason, ...) BS_PRINTF(3, 4);
/* Passes or fails by ok. */
void golden_verdict(struct golden *g, const char *name, bool ok, const char *tolerance, const char *figure,
                    ...) BS_PRINTF(5, 6);
/* A failure because something could not be computed or read at all. */
void golden_error(struct golden *g, const char *name, const struct bs_err *err);

/* Path of a file below the folder being checked ("labels", "img0_labels.npy"), valid until the run ends; the file counts
   as looked at. */
const char *golden_path(struct golden *g, const char *folder, const char *file);
/* Whether it is there; a fixture that is not there is not checked, as folders may hold a subset. */
bool golden_has(struct golden *g, const char *folder, const char *file);
/* Reads folder/file, which then counts as looked at. */
bs_status golden_npy(struct golden *g, const char *folder, const char *file, struct bs_npy *out,
                     struct bs_err *err) BS_NODISCARD;
/* Reports as SKIP every file of folder with this ending that was not looked at, so that nothing is passed over silently. */
void golden_skip_unread(struct golden *g, const char *folder, const char *ending);

/* The ways in which this run computes networks, one after another; NULL behind the last. */
struct golden_way;
const struct golden_way *golden_way(const struct golden *g, size_t i);

/* Checks of one area. folder is below the run's directory and exists. */
typedef void golden_check_fn(struct golden *g, const char *folder);
golden_check_fn check_checkpoints;
golden_check_fn check_formula;
golden_check_fn check_full;
golden_check_fn check_labels;
golden_check_fn check_losses;
golden_check_fn check_predict;
golden_check_fn check_primitives;
golden_check_fn check_scan;
golden_check_fn check_small;

#endif
