/* A small run for tests: discs on noise as data, a tiny U-Net, and what was heard and kept of the run. One thread, but for the
   run's own. */
#ifndef BS_TESTS_UNIT_TRAIN_RUN_SUPPORT_H
#define BS_TESTS_UNIT_TRAIN_RUN_SUPPORT_H

#include "train_support.h"

#include "model/train/run.h"

#define PAIRS      4
#define IMAGE_SIDE 40
#define MAX_EVENTS 256

/* Images with discs of brightness 1 on noise; the last one of a broken source is not a number anywhere. */
struct discs {
    float image[PAIRS][IMAGE_SIDE * IMAGE_SIDE];
    uint32_t labels[PAIRS][IMAGE_SIDE * IMAGE_SIDE];
    uint8_t ignored[PAIRS][IMAGE_SIDE * IMAGE_SIDE]; /* where source.partial */
    struct bs_pair_source source;
};
void make_discs(struct discs *d, uint64_t seed);
void break_discs(struct discs *d);
/* The third column of discs, and what is beside it, does not count; wipe: nor is it labelled. */
void ignore_discs(struct discs *d, bool wipe);

/* Patches of 16, batches of 2, 12 steps, validation every 4. */
struct bs_train_config small_config(enum bs_norm norm);

/* A checkpoint that was kept. */
struct kept {
    unsigned char *bytes;
    size_t size;
    int64_t step;
};

struct trial {
    struct bs_train_config config;
    const char *device, *dataset;
    int threads;                  /* that make samples */
    const struct kept *from;      /* resume; NULL: begin */
    struct bs_run_control at[64]; /* asked for before step i + 1 */
    struct bs_cancel cancel;
    bool broken;  /* one training image is not a number */
    bool partial; /* ignore_discs */
    bool wiped;
    int64_t poison_at; /* a weight is set to no number before that step's checkpoint; 0: never */
    size_t max_bytes;
    /* Called with the run's device before the run begins and after it has ended; NULL: nobody. */
    void (*opened)(void *ctx, struct bs_device *dev);
    void (*closing)(void *ctx);
    void *device_ctx;
    /* heard */
    struct bs_run_event event[MAX_EVENTS]; /* clock and pointers removed */
    int events;
    struct kept latest[64]; /* by step */
    struct kept best;
    int bests;
    struct bs_run_result result;
    struct bs_err err;
};

/* A trial of the small run on `ref`; end_trial frees what it kept. */
struct trial *new_trial(enum bs_norm norm);
bs_status run_trial(struct trial *t);
void end_trial(struct trial *t);
/* Demands BS_OK. */
void succeed(struct trial *t);
/* The bytes as a file to be read; close it. */
struct bs_safetensors *open_kept(const struct kept *k);
/* The same bytes? */
bool same_kept(const struct kept *a, const struct kept *b);
/* Descriptor of a file in memory with these bytes, at its start. */
int kept_file(const struct kept *k);

#endif
