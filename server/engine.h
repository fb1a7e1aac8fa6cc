/* The daemon's side of the worker: submits segmentation work to a biosegd-worker process, one per device, over a Unix
   socket (control) and memfds (pixels), and hears of progress and results. Survives the worker's death: what was running is
   retried once, then fails with that reason; the worker is started again.
   Thread-safe. Callbacks come on the engine's own thread and must not block. */
#ifndef BS_SERVER_ENGINE_H
#define BS_SERVER_ENGINE_H

#include "kernels/executable.h"
#include "model/card.h"
#include "model/dataset/score.h"
#include "model/predict/preview.h"
#include "model/predict/segment.h"
#include "model/train/run.h"
#include "server/dataset_report.h"
#include "server/pair_info.h"

struct bs_engine;
struct bs_engine_task;

struct bs_engine_options {
    const char *worker_path; /* biosegd-worker beside the daemon's own binary */
    const char *device;      /* auto|cpu|ref|cuda:N */
    int threads;             /* 0: automatic */
    size_t model_budget;     /* bytes of resident models; 0: automatic */
    int64_t idle_ms;         /* a model that nobody used for so long is let go; 0: never */
    bool winograd;
    int cancel_grace_ms; /* a worker that does not stop that long after a cancel is killed; 0: 10 s */
    /* A worker that shows no sign of life for so long while it runs something is killed, and what it ran counts that as
       a death; one that does not even answer is killed after at most a minute. 0: 10 min; below 0: never. */
    int hang_ms;
    /* Told when a worker ended unasked, for the log; on the engine's thread. NULL: nobody. */
    void (*worker_died)(void *ctx, const char *how, int restart_in_ms);
    void *worker_died_ctx;
};

/* Work for the worker. Descriptors are duplicated; the caller keeps its own. */
struct bs_engine_request {
    const char *model_key; /* hash of the model file: identity in the worker's cache */
    int model_fd;          /* the model file, opened read-only by the daemon */
    int image_fd; /* memfd: raw samples (raw = true) or a PNG/TIFF file to be decoded by the worker */
    size_t image_bytes;
    bool raw; /* then the next five describe it */
    enum bs_sample sample;
    int ndim;
    char axes[BS_IMAGE_MAX_DIM + 1];
    size_t dim[BS_IMAGE_MAX_DIM];
    char pages;        /* of a file that does not say what its pages are: 't', 'z' or 'c'; 0: it does */
    double pixel_size; /* um, 0 unknown; overrides the file's when > 0, */
    double spacing;    /* together with that of planes along z */
    struct bs_segment_params params;
    bool want_maps, want_objects;
    /* > 0: the foreground map is shown while it is computed, reduced to that side (model/predict/preview.h). preview_fd
       is a sealed memfd of preview_side * preview_side zeros that the worker paints into. */
    uint32_t preview_side;
    int preview_fd;
    /* Maps that outlive the request (model/predict/segment.h); NULL: none. The descriptor is duplicated. */
    const struct bs_segment_maps *kept;
    bool interactive; /* goes before batch work */
    const char
        *owner; /* who asked: interactive requests take turns between owners; NULL: nobody in particular */
    /* For durable jobs, which count the deaths themselves: the first death of the worker already ends the task, with
       BS_EUNAVAILABLE, a status no other end has. Else it is retried once and fails with BS_EINTERNAL. */
    bool report_death;
};

/* What comes back. Descriptors are sealed memfds that the receiver of the callback owns. */
struct bs_engine_result {
    int labels_fd;                     /* uint32 (planes, h, w) */
    int maps_fd;                       /* float32 (planes, channels, h, w) or -1 */
    int objects_fd;                    /* struct bs_object[count] or -1 */
    struct bs_segment_result info;     /* pointers inside are NULL */
    struct bs_segment_network network; /* of maps that were written to be kept; map_h 0: none were */
};

struct bs_engine_callbacks {
    void *ctx;
    void (*started)(void *ctx);
    void (*progress)(void *ctx, int done, int total);
    /* Optional: rows of the preview's file lie width bytes apart. Before the progress that counts the tile. */
    void (*preview)(void *ctx, const struct bs_preview_part *part);
    /* Exactly once per accepted task, result NULL unless status is BS_OK. Takes over result's descriptors. */
    void (*done)(void *ctx, bs_status status, const struct bs_err *err,
                 const struct bs_engine_result *result);
};

/* Starts the worker and waits until its device is open; what it says against it is the error. */
bs_status bs_engine_create(const struct bs_engine_options *opt, struct bs_engine **out,
                           struct bs_err *err) BS_NODISCARD;
/* Cancels everything, ends the worker, waits. Accepts NULL. */
void bs_engine_destroy(struct bs_engine *e);

bs_status bs_engine_submit(struct bs_engine *e, const struct bs_engine_request *req,
                           const struct bs_engine_callbacks *cb, struct bs_engine_task **task,
                           struct bs_err *err) BS_NODISCARD;
/* Asks the task to stop; done still comes. */
void bs_engine_cancel(struct bs_engine *e, struct bs_engine_task *task);
/* The handle is valid until released, also after done. */
void bs_engine_task_release(struct bs_engine_task *task);

/* A training run. It has the worker's device only while nothing else wants it: whatever is submitted meanwhile runs between two
   of its operators. Descriptors are duplicated; the caller keeps its own. */
struct bs_engine_training {
    int config_fd;   /* memfd: JSON of the configuration (model/train/config.h) */
    int manifest_fd; /* memfd: JSON of the dataset (model/dataset/manifest.h); every file has its hash */
    int blobs_fd; /* the folder in which these hashes are names of files; nothing beside it is opened, links are not followed */
    int checkpoint_fd; /* a folder on the file system where checkpoints will be kept, maybe blobs_fd: they are written there
                          as files without names. -1: into memory */
    int initial_fd; /* a model file whose weights the run begins with; -1: random ones by the configuration's seed */
    int resume_fd; /* a LATEST checkpoint of the same run to go on from; -1: begin */
};

/* What a finished, stopped or paused run says; its checkpoints have been handed over and committed before. */
struct bs_engine_training_result {
    struct bs_run_result run;
    char algorithms[256];
};

/* Events come from a run that may be repeated from its last checkpoint after a resume: a step that was told before is told again
   with the same numbers (its clock aside). */
struct bs_engine_training_callbacks {
    void *ctx;
    void (*started)(void *ctx);
    /* preview: -1, or after a validation a sealed memfd for the receiver to own: uint8 planes of width x height, channels of the
       image (smallest to 0, largest to 255), then as many of the target and of the network's output (0 to 1 as 0 to 255).
       Pointers in event are NULL. */
    void (*event)(void *ctx, const struct bs_run_event *event, int preview);
    /* A checkpoint of `bytes` bytes was written; the receiver owns fd, a regular file without a name or a memfd, readable from its
       start. It has to be hashed, synced and committed by another thread, which then calls bs_engine_training_committed once; the run
       goes on meanwhile, and waits for that before the next checkpoint and before its end. */
    void (*checkpoint)(void *ctx, enum bs_checkpoint_kind kind, int64_t step, int fd, uint64_t bytes);
    /* Exactly once per accepted run; result NULL unless status is BS_OK (finished, stopped early or paused: result->run.end).
       BS_EUNAVAILABLE: the worker died, whatever made it; submit again with the last committed LATEST. BS_EIO: a
       checkpoint could not be written or committed (disk full), likewise. BS_ECANCELLED: as asked. BS_EINVAL, BS_EPRECONDITION: in
       words. */
    void (*done)(void *ctx, bs_status status, const struct bs_err *err,
                 const struct bs_engine_training_result *result);
};

/* Waits its turn: one run is with the worker at a time, the others wait in their order. bs_engine_cancel and
   bs_engine_task_release as for other tasks. */
bs_status bs_engine_train(struct bs_engine *e, const struct bs_engine_training *run,
                          const struct bs_engine_training_callbacks *cb, struct bs_engine_task **task,
                          struct bs_err *err) BS_NODISCARD;
/* What such a run would take: bytes of the device, numbers that are trained. checkpoint_fd and resume_fd do not count. Waits for the worker,
   not for runs; never from a callback. BS_ENOMEM: in words, more than there is. */
bs_status bs_engine_plan_training(struct bs_engine *e, const struct bs_engine_training *run, uint64_t *bytes,
                                  uint64_t *parameters, struct bs_err *err) BS_NODISCARD;
/* The last checkpoint told was committed, or why not; a failure ends the run with that error. Any thread, also from the callback. */
void bs_engine_training_committed(struct bs_engine *e, struct bs_engine_task *task, bs_status status,
                                  const char *text);
/* Between two steps: end after a checkpoint, another learning rate, weights to try now (model/train/run.h). A run that still waits
   takes note of it when it starts. */
void bs_engine_training_control(struct bs_engine *e, struct bs_engine_task *task,
                                const struct bs_run_control *control);

/* Resident models: load ahead, drop, list. These and bs_engine_plan wait for the worker; never from a callback. */
bs_status bs_engine_load(struct bs_engine *e, const char *model_key, int model_fd,
                         struct bs_err *err) BS_NODISCARD;
bs_status bs_engine_unload(struct bs_engine *e, const char *model_key, struct bs_err *err) BS_NODISCARD;
bool bs_engine_is_loaded(struct bs_engine *e, const char *model_key);
size_t bs_engine_resident(struct bs_engine *e, const char *model_key); /* bytes; 0: not loaded */
/* Planned peak for an image of this size (dry run). Loads the model. */
bs_status bs_engine_plan(struct bs_engine *e, const char *model_key, int model_fd, size_t height,
                         size_t width, const struct bs_segment_params *params, size_t *bytes,
                         struct bs_err *err) BS_NODISCARD;
/* Planned memory of a batch of the model's tiles (see model/card.h). Loads nothing. */
bs_status bs_engine_card(struct bs_engine *e, int model_fd, int batch, enum bs_precision precision,
                         struct bs_model_card_plan *plan, struct bs_err *err) BS_NODISCARD;
/* Reads a model file's description in a child (the daemon itself parses no file from outside). */
bs_status bs_engine_inspect(struct bs_engine *e, int model_fd, struct bs_model_info *info,
                            struct bs_err *err) BS_NODISCARD;
/* Decodes an image, its labels and the prediction that they were made from (third, if the question has one) in a child and says
   what they are. What cannot be trained on is BS_EINVAL or BS_ECORRUPT with words: unreadable, of different sizes, labels that are no
   whole numbers, samples that are no numbers. */
bs_status bs_engine_check_pair(struct bs_engine *e, const int fd[3], const struct bs_pair_question *question,
                               struct bs_pair_info *info, struct bs_err *err) BS_NODISCARD;

/* How long somebody waits for a child. */
struct bs_engine_patience {
    int ms;
    bool large;              /* the child has more memory and time */
    bool (*gone)(void *ctx); /* nobody waits any more; NULL: nobody asks. Several times a second */
    void *ctx;
};
/* Reads a dataset through in a child and lists all that is wrong with it. manifest_fd: a file of its JSON (model/dataset/manifest.h), every
   file with its hash; blobs_fd: as in bs_engine_training. Of patience only gone counts. The caller frees *out by
   bs_dataset_report_free, also on failure. BS_ECANCELLED: nobody waits any more. */
bs_status bs_engine_check_dataset(struct bs_engine *e, int manifest_fd, int blobs_fd, size_t patch_height,
                                  size_t patch_width, const struct bs_engine_patience *patience,
                                  struct bs_dataset_report *out, struct bs_err *err) BS_NODISCARD;
/* Scores labels of a result (uint32 of planes, height, width) against a file of labels, decoded in a child;
   truth->ndim 0: the file says itself what it is. */
bs_status bs_engine_score(struct bs_engine *e, int labels_fd, uint64_t planes, uint64_t height,
                          uint64_t width, int truth_fd, const struct bs_raw_image *truth,
                          struct bs_label_score *score, struct bs_err *err) BS_NODISCARD;

struct bs_engine_state {
    bool ready; /* worker up and device open */
    struct bs_device_info device;
    int waiting, running;
    unsigned restarts;
    int worker_pid;  /* 0: none at this moment */
    size_t budget;   /* bytes that loaded models may hold, by the worker that runs or ran last */
    size_t resident; /* bytes of loaded models */
    int nresident;   /* loaded models */
    /* Segmentation tasks since the start, by their end; refused ones found the queue full. */
    uint64_t succeeded, failed, cancelled, refused;
};
void bs_engine_state_get(struct bs_engine *e, struct bs_engine_state *state);

#endif
