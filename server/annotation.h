/* Where the labels of a pair count: a label to ignore, boxes, and whether a model or a person made them; as a dataset keeps it, and
   as training takes it plane by plane. Pure functions; any thread. */
#ifndef BS_SERVER_ANNOTATION_H
#define BS_SERVER_ANNOTATION_H

#include "model/dataset/manifest.h"
#include "model/predict/segment.h"
#include "server/pair_info.h"

#define BS_ANNOTATION_MAX_REGIONS 1000

/* Zeros: all of the labels count. */
struct bs_annotation {
    bool has_ignore_label;
    int64_t ignore_label;        /* pixels of it do not count */
    struct bs_region *annotated; /* when there are any: nothing outside of all of them counts */
    size_t nannotated;
    struct bs_region *ignored; /* nothing inside counts */
    size_t nignored;
    bool predicted; /* by a model; what nobody changed counts only */
    bool done;      /* when a person has marked it so */
};
/* Frees the regions. */
void bs_annotation_clear(struct bs_annotation *a);

/* Makes sizes of 0 definite, by the labels' own. BS_EINVAL names a region that reaches beyond the labels. */
bs_status bs_annotation_resolve(struct bs_annotation *a, const struct bs_file_info *labels,
                                struct bs_err *err) BS_NODISCARD;

/* The same annotation is the same text; of one that says nothing "{}". The caller frees *json. */
bs_status bs_annotation_to_json(const struct bs_annotation *a, char **json, struct bs_err *err) BS_NODISCARD;
/* The text is ours, but it outlives the program that wrote it: checked. The caller clears *a, also on failure. */
bs_status bs_annotation_from_json(const char *json, struct bs_annotation *a, struct bs_err *err) BS_NODISCARD;

/* What a plane has of it. Boxes are the caller's to free. */
struct bs_annotation_plane {
    struct bs_manifest_box *only, *ignore;
    size_t nonly, nignore;
    bool nothing; /* no pixel of the plane counts: there are annotated regions, and none is on it */
};
bs_status bs_annotation_plane(const struct bs_annotation *a, const struct bs_file_info *labels,
                              uint64_t index, struct bs_annotation_plane *out,
                              struct bs_err *err) BS_NODISCARD;
void bs_annotation_plane_clear(struct bs_annotation_plane *p);

#endif
