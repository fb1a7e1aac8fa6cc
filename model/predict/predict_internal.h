/* What the files of model/predict share. Data passes in this order:

       region.c    which part of the image
       channel.c   image -> one plane of it (a view; nothing is copied)
       scale.c     rows of the plane at the scale of the network, resampled on the way
       normalise.c mean and standard deviation of the plane, one pass
       layout.c    whole image, or which tiles: what fits the budget; layout_encoder.c: what fits the encoder
       tile.c      a window of the plane, reflected at the border, standardised
       encoder_input.c   a window to the size of an encoder, its maps back
       network.c   runs the executable over the windows and stitches their cores
       norm_statistics.c   for tiles: the statistics that instance and group norms would have seen in the whole image
       maps.c      the stitched maps, in memory or in a file without a name
       kept.c      those of an earlier run, instead of the network
       preview.c   what a viewer is shown of the maps meanwhile
       measure.c   the table of objects
       segment.c   all of it, then model/instances
       stack.c     plane by plane; model/instances/link.c joins them */
#ifndef BS_MODEL_PREDICT_INTERNAL_H
#define BS_MODEL_PREDICT_INTERNAL_H

#include "model/image/plane.h"
#include "model/predict/encoder_input.h"
#include "model/predict/segment.h"

/* The taps of one resampled coordinate: out = sum of weight[first .. first + count) times in[start ..]. */
struct bs__tap {
    uint32_t start, count;
    size_t first;
};
struct bs__resampler {
    size_t in, out;
    struct bs__tap *tap; /* NULL: the same size, nothing to do */
    float *weight;
};

/* A box of a plane. */
struct bs__box {
    size_t top, left, h, w;
};

/* One of the planes of a stack, or a part of it. */
struct bs__place {
    size_t t, z;
    struct bs__box box; /* h 0: all of it */
};

/* One channel of one plane, seen at the network's scale. Borrows the image. */
struct bs__plane {
    struct bs_plane view;
    struct bs__place place;
    size_t source_h, source_w; /* of the view */
    bool has_no_data;
    double no_data;
    size_t h, w; /* at the network's scale */
    struct bs__resampler along_y, along_x;
    double *row, *sums; /* scratch: source_w, and twice that for resampling */
};

/* Picks plane and channel; BS_EINVAL asks when the rule does not decide. (channel.c) */
bs_status bs__plane_open(struct bs__plane *p, const struct bs_image *image,
                         const struct bs_segment_params *params, double scale,
                         struct bs_err *err) BS_NODISCARD;
/* The same of a place in a stack; NULL: the image has to be one plane. */
bs_status bs__plane_open_at(struct bs__plane *p, const struct bs_image *image,
                            const struct bs_segment_params *params, double scale, const struct bs__place *at,
                            struct bs_err *err) BS_NODISCARD;
void bs__plane_close(struct bs__plane *p);
/* Source samples of one row as they are measured: MinIsWhite is turned round, no data becomes NaN. */
void bs__plane_source_row(const struct bs__plane *p, size_t y, size_t x, size_t n, double *out);
/* The same of raw samples (as stored), for the object table. */
void bs__plane_raw_row(const struct bs__plane *p, size_t y, size_t x, size_t n, double *out);

/* Rows at the network's scale, NaN where there is no data. (scale.c) */
void bs__plane_row(struct bs__plane *p, size_t y, size_t x, size_t n, float *out);
bs_status bs__resampler_open(struct bs__resampler *r, size_t in, size_t out, struct bs_err *err) BS_NODISCARD;
/* Resampling of a part: sample i of out lies at first_out + i, sample k of in at first_in + k, of axes of which one sample
   of out's stands for step of in's. */
bs_status bs__resampler_open_part(struct bs__resampler *r, size_t in, size_t first_in, size_t out,
                                  size_t first_out, double step, struct bs_err *err) BS_NODISCARD;
void bs__resampler_close(struct bs__resampler *r);
/* Labels back to the source size, nearest; ids become consecutive again. Returns the new count. */
bs_status bs__labels_resize(const uint32_t *in, size_t in_h, size_t in_w, uint32_t *out, size_t h, size_t w,
                            uint32_t *count, struct bs_err *err) BS_NODISCARD;

/* What a request is about, in a plane. (region.c) */
struct bs__crop {
    struct bs__box region; /* in pixels of the plane's source: labels have its size */
    struct bs__box shown;  /* the same at the network's scale */
    struct bs__box maps;   /* at the network's scale, with the surroundings that labels at its border need */
};
/* The region's rows and columns in an image of that size, sizes filled in. BS_EINVAL says where it ends. */
bs_status bs__region_box(const struct bs_region *region, size_t height, size_t width, struct bs__box *out,
                         struct bs_err *err) BS_NODISCARD;
/* first and count along an axis of n. */
bs_status bs__region_range(const char *what, uint64_t first, uint64_t count, size_t n, size_t *out_first,
                           size_t *out_count, struct bs_err *err) BS_NODISCARD;
/* The part of the image that is opened as the plane: all of it, or where statistics are of the region, that with its
   surroundings. */
struct bs__box bs__region_view(const struct bs_segment_params *params, struct bs__box region, size_t height,
                               size_t width, double scale);
/* region: in the plane's source. (h, w) of it at the network's scale, (source_h, source_w) in pixels. */
struct bs__crop bs__region_crop(struct bs__box region, size_t source_h, size_t source_w, size_t h, size_t w);
/* Labels of crop's maps to those of its region, nearest; ids become consecutive again. (scale.c) */
bs_status bs__labels_crop(const uint32_t *in, const struct bs__crop *crop, const struct bs__plane *plane,
                          uint32_t *out, uint32_t *count, struct bs_err *err) BS_NODISCARD;

/* Mean and population standard deviation of what is data, in double, one pass; refuses samples that are not finite,
   naming the first. (normalise.c) */
struct bs__statistics {
    double mean, std;
    float min, max; /* 0 when there are no data */
    uint64_t count;
};
bs_status bs__plane_statistics(struct bs__plane *p, const struct bs_cancel *cancel,
                               struct bs__statistics *out, struct bs_err *err) BS_NODISCARD;
/* The same of several planes together: zeros, plane by plane, then what they come to. */
struct bs__sums {
    double origin, sum, squares;
    float min, max;
    uint64_t count;
};
bs_status bs__plane_add(struct bs__plane *p, const struct bs_cancel *cancel, struct bs__sums *sums,
                        struct bs_err *err) BS_NODISCARD;
struct bs__statistics bs__sums_statistics(const struct bs__sums *sums);
struct bs__statistics bs__statistics_of(const float *v, size_t n);
/* In place, by the model's rule; NaN (no data) becomes what the mean becomes, 0 without a rule. */
void bs__normalise(float *v, size_t n, enum bs_normalisation rule, struct bs__statistics s);

/* Windows along one axis of length n (already a multiple of the divisor): window k starts at origin and its core
   [from, to) goes to the result. */
struct bs__window {
    int64_t origin, from, to;
};
int64_t bs__window_count(int64_t n, int64_t window, int64_t halo);
struct bs__window bs__window_at(int64_t n, int64_t window, int64_t halo, int64_t k);
/* numpy.pad's "reflect": the index inside [0, n) that stands for i. */
int64_t bs__reflect(int64_t i, int64_t n);
/* Fills out (h, w) with the window at (y, x); what lies outside [0, plane) is reflected. clip: reflect inside the part
   that the window and the image share, as torch_em's blocks do, not inside the image. */
bs_status bs__window_read(struct bs__plane *p, int64_t y, int64_t x, int64_t h, int64_t w, bool clip,
                          float *out, struct bs_err *err) BS_NODISCARD;

/* How the image goes through the network. (layout.c) */
struct bs__layout {
    bool tiled;
    bool blocks; /* the reference's blocks: own statistics, reflected at the image border */
    int64_t padded_h, padded_w;
    int64_t window_h, window_w; /* of a tile with its halo, in pixels of the plane */
    int64_t net_h, net_w;       /* of the executable: the window, or what an encoder needs it brought to */
    bool encoder;               /* windows go through encoder_input.c */
    bool resize;                /* and are resized there, not padded */
    double magnification;       /* relative to training, by the window's size; 1 where that is unknown */
    int64_t halo_h, halo_w;
    int64_t rows, columns; /* of tiles */
    /* Of them those that the crop needs: from first_row, first_column on. run_rows 0: all, and crop is not used. */
    int64_t first_row, first_column, run_rows, run_columns;
    struct bs__crop crop;
    int batch;
    size_t arena_bytes; /* of one executable at window size and batch */
    size_t whole_bytes; /* of the arena that the whole image would need; 0 not asked */
    size_t budget;
};
bs_status bs__layout_choose(struct bs_model *model, size_t h, size_t w,
                            const struct bs_segment_params *params, struct bs__layout *out,
                            struct bs_err *err) BS_NODISCARD;
/* Leaves out the tiles that the crop does not need. */
void bs__layout_crop(struct bs__layout *l, const struct bs__crop *crop);
/* Where tile (row, column) lies: the window's origin, and the part of the plane (h, w) that it decides. */
void bs__layout_place(const struct bs__layout *l, int64_t row, int64_t column, size_t h, size_t w,
                      struct bs__window *y, struct bs__window *x);
/* Tiles that are run. */
int64_t bs__layout_tiles(const struct bs__layout *l);
/* The rule for networks with an encoder of fixed size; see layout_encoder.c. */
bs_status bs__layout_encoder(struct bs_model *model, size_t h, size_t w,
                             const struct bs_segment_params *params, struct bs__layout *out,
                             struct bs_err *err) BS_NODISCARD;
/* What layout.c and layout_encoder.c share. */
size_t bs__layout_budget(struct bs_model *model, const struct bs_segment_params *params);
void bs__layout_set_blocks(struct bs__layout *l, size_t h, size_t w, int64_t block_h, int64_t block_w);
bs_status bs__layout_arena(struct bs_model *model, int64_t batch, int64_t h, int64_t w,
                           enum bs_precision precision, size_t *bytes, struct bs_err *err) BS_NODISCARD;
/* A given layout: blocks of any size (golden fixtures of the reference's tiled prediction). */
bs_status bs__layout_blocks(struct bs_model *model, size_t h, size_t w, int64_t block_h, int64_t block_w,
                            int64_t halo_h, int64_t halo_w, enum bs_precision precision,
                            struct bs__layout *out, struct bs_err *err) BS_NODISCARD;

/* Stitched maps (channels, h, w). (maps.c) */
struct bs__maps {
    int channels;
    size_t h, w;
    float *data;  /* in memory, or NULL */
    int fd;       /* in a file without a name, or -1 */
    size_t first; /* of the file's samples, where they begin */
};
bs_status bs__maps_create(struct bs__maps *m, int channels, size_t h, size_t w, bool in_memory,
                          struct bs_err *err) BS_NODISCARD;
void bs__maps_destroy(struct bs__maps *m);
bs_status bs__maps_write(struct bs__maps *m, int channel, size_t y, size_t x, const float *v, size_t n,
                         struct bs_err *err) BS_NODISCARD;
bs_status bs__maps_read(const struct bs__maps *m, int channel, size_t y, size_t rows, float *out,
                        struct bs_err *err) BS_NODISCARD;

/* Runs every window that the layout's crop needs and stitches. statistics: of the whole plane, NULL with layout->blocks. (network.c) */
struct bs__network_run {
    uint64_t plan_hash;
    char algorithms[256];
    bool fixed_statistics; /* tiles used statistics measured over the whole image */
};
bs_status bs__network_run(struct bs_model *model, struct bs__plane *plane, const struct bs__layout *layout,
                          enum bs_precision precision, const struct bs__statistics *statistics,
                          struct bs__maps *maps, const struct bs_segment_progress *progress,
                          const struct bs_cancel *cancel, struct bs__network_run *run,
                          struct bs_err *err) BS_NODISCARD;

/* Maps in a caller's file instead of a run of the network. (kept.c) */
void bs__kept_network(const struct bs__layout *l, const struct bs__network_run *run, const struct bs__maps *m,
                      struct bs_segment_network *out);
/* What the result and its warnings say of the run that made the maps. */
void bs__kept_layout(const struct bs_segment_network *n, struct bs__layout *l, struct bs__network_run *run);
/* Into m, whose channels and size are set: into memory, or the file itself under another descriptor. */
bs_status bs__kept_read(const struct bs_segment_maps *kept, struct bs__maps *m, bool in_memory,
                        struct bs_err *err) BS_NODISCARD;
/* The caller's file as the place where m, not in memory, is stitched. BS_ELIMIT, BS_EIO: there is no room. */
bs_status bs__kept_begin(const struct bs_segment_maps *kept, struct bs__maps *m,
                         struct bs_err *err) BS_NODISCARD;
/* A copy of m, which is in memory. */
bs_status bs__kept_write(const struct bs_segment_maps *kept, const struct bs__maps *m,
                         struct bs_err *err) BS_NODISCARD;

/* An executable whose instance and group norms use statistics of the whole image. Owns it with its parameters.
   (norm_statistics.c) */
struct bs__fixed_norm;
/* Does the network have norms that tiles share? U-Nets only: where an encoder sees each tile as a whole, norms do too. */
bool bs__has_spatial_norm(const struct bs_arch_config *arch);
bs_status bs__fixed_norm_create(struct bs_model *model, struct bs__plane *plane,
                                const struct bs__layout *layout, enum bs_precision precision,
                                const struct bs__statistics *statistics,
                                const struct bs_segment_progress *progress, const struct bs_cancel *cancel,
                                struct bs__fixed_norm **out, struct bs_err *err) BS_NODISCARD;
struct bs_executable *bs__fixed_norm_executable(struct bs__fixed_norm *f);
void bs__fixed_norm_destroy(struct bs__fixed_norm *f);

/* One plane of an image. (segment.c) */
struct bs__plane_work {
    const struct bs_segment_params *params;
    const struct bs__place *at;              /* NULL: the image is one plane */
    const struct bs__statistics *statistics; /* of the stack; NULL: its own */
    uint32_t *labels;                        /* where they go; NULL: to the result */
    bool want_maps;
    struct bs_segment_maps *kept; /* NULL: none */
    const struct bs_segment_progress *progress;
    const struct bs_cancel *cancel;
};
bs_status bs__segment_plane(struct bs_model *model, const struct bs_image *image,
                            const struct bs__plane_work *work, struct bs_segment_result *result,
                            struct bs_err *err) BS_NODISCARD;
/* The factor for the network, from the request or from pixel sizes. */
bs_status bs__choose_scale(const struct bs_model_info *info, const struct bs_segment_params *params,
                           double pixel_um, double *scale, struct bs_err *err) BS_NODISCARD;

/* The table of objects of a region's labels, r->objects, with mean intensities, and how bright objects and the rest are.
   One pass each, row by row. (measure.c) */
struct bs__contrast {
    double objects, background; /* means, as measured (white is zero turned round) */
    uint64_t object_pixels, background_pixels;
};
bs_status bs__measure(const struct bs__plane *p, const struct bs__box *region, struct bs_segment_result *r,
                      struct bs__contrast *contrast, struct bs_err *err) BS_NODISCARD;

/* Side of a square pixel in um; 0 when unknown or not square (then *not_square). (warnings.c) */
double bs__pixel_um(const struct bs_image *image, bool *not_square);
/* Micrometres per unit; 0: not a unit of length that we know. */
double bs__unit_um(const char *unit);
void bs__warn(struct bs_segment_result *r, const char *code, const char *fmt, ...) BS_PRINTF(3, 4);

/* All parameters against their ranges. (params.c) */
bs_status bs__params_validate(const struct bs_model_info *info, const struct bs_segment_params *p,
                              struct bs_err *err) BS_NODISCARD;

#endif
