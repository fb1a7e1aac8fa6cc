/* Batches of training samples, made ahead by threads of their own while the device computes. Batch k of a stream is a pure
   function of source, rule and seed, whatever the number of threads. Belongs to one thread, the device's; the source is called
   from the others. */
#ifndef BS_MODEL_TRAIN_BATCHES_H
#define BS_MODEL_TRAIN_BATCHES_H

#include "kernels/base/cancel.h"
#include "kernels/tensor.h"
#include "model/dataset/sample.h"

struct bs_batches;

struct bs_batches_setup {
    const struct bs_pair_source *source; /* borrowed */
    struct bs_sample_rule rule;
    uint64_t seed;
    int64_t first; /* number of the first batch that is asked for */
    int64_t end;   /* one past the last that will be; 0: no end */
    /* (samples, channels, h, w) of what the network takes: at least as large as the rule's windows, which are filled up with
       zeros below and on the right. A source of one channel is shown in all of them. */
    struct bs_shape image;
    int threads; /* 0: made by the caller when asked for */
};

struct bs_batch {
    const float *image;  /* the setup's shape */
    const float *target; /* (samples, target channels, rule.height, rule.width) */
    const size_t *pair;  /* per sample: index of the source's pair that it was cut from */
};

bs_status bs_batches_create(const struct bs_batches_setup *setup, struct bs_batches **out,
                            struct bs_err *err) BS_NODISCARD;
/* Waits for the threads. Accepts NULL. */
void bs_batches_destroy(struct bs_batches *b);
/* Bytes that such batches take. */
size_t bs_batches_bytes(const struct bs_batches_setup *setup);

/* The next batch; borrowed until the next call. Waits for it, looking at cancel and yielding meanwhile. An error is that of the
   batch's first sample that failed. */
bs_status bs_batches_next(struct bs_batches *b, const struct bs_cancel *cancel, struct bs_batch *out,
                          struct bs_err *err) BS_NODISCARD;

#endif
