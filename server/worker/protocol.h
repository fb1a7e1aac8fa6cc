/* What biosegd and biosegd-worker say to each other: one message per packet of a SOCK_SEQPACKET Unix socket, a fixed
   header and a body whose size the type fixes, pixels and models as descriptors beside it. Both programs come from one
   build, so numbers are in host order; the version is checked all the same. What comes from the worker is treated as
   hostile: it handles files from outside. A message may be sent from several threads; it arrives whole. */
#ifndef BS_SERVER_WORKER_PROTOCOL_H
#define BS_SERVER_WORKER_PROTOCOL_H

#include "kernels/executable.h"
#include "model/card.h"
#include "model/dataset/score.h"
#include "model/predict/preview.h"
#include "model/predict/segment.h"
#include "model/train/run.h"
#include "server/dataset_report.h"
#include "server/pair_info.h"

#define BS_WORKER_PROTOCOL  9u
#define BS_WORKER_SOCKET_FD 3 /* where the worker finds its end */
#define BS_WORKER_MAX_FDS   6
#define BS_WORKER_KEY_LEN   64
#define BS_WORKER_INFO_LEN  16384 /* JSON of a model's description */
#define BS_WORKER_LOST      86    /* exit status: the device failed for good, a new process gets it back */

enum bs_worker_type {
    /* daemon to worker */
    BS_WORKER_SEGMENT = 1, /* fds: model, image; preview and kept maps if wanted */
    BS_WORKER_LOAD,        /* fds: model */
    BS_WORKER_UNLOAD,
    BS_WORKER_PLAN,  /* fds: model */
    BS_WORKER_CARD,  /* fds: model */
    BS_WORKER_TRAIN, /* fds: configuration, manifest, folder of blobs; folder for checkpoints, initial weights, checkpoint to go on from if there */
    BS_WORKER_TRAIN_PLAN, /* fds: configuration, manifest, folder of blobs; initial weights if there */
    BS_WORKER_TRAIN_CONTROL,
    BS_WORKER_TRAIN_COMMITTED, /* answers every TRAIN_CHECKPOINT */
    BS_WORKER_CANCEL,
    BS_WORKER_STOP,
    BS_WORKER_PING,    /* answered by the control thread, whatever the executor does */
    BS_WORKER_INSPECT, /* fds: model */
    BS_WORKER_PAIR,    /* fds: image, labels; prediction if there is one */
    BS_WORKER_CHECK,   /* fds: manifest, folder of blobs, room for what is found */
    BS_WORKER_SCORE,   /* fds: labels of a result, the truth's file */
    /* worker to daemon */
    BS_WORKER_HELLO,   /* the device is open */
    BS_WORKER_REFUSED, /* it could not be opened; the worker ends */
    BS_WORKER_STARTED,
    BS_WORKER_PROGRESS,
    BS_WORKER_TRAIN_EVENT,      /* fds: after a validation a picture of it */
    BS_WORKER_TRAIN_CHECKPOINT, /* fds: the file */
    BS_WORKER_DONE,             /* fds on success of SEGMENT: labels, maps and objects as announced */
    BS_WORKER_LOADED,
    BS_WORKER_DROPPED,
    BS_WORKER_INSPECTED,
    BS_WORKER_PAIR_CHECKED,
    BS_WORKER_CHECKED,
    BS_WORKER_SCORED,
    BS_WORKER_PONG,
    BS_WORKER_TYPES
};

enum bs_worker_kept { BS_WORKER_KEPT_NONE, BS_WORKER_KEPT_MAKE, BS_WORKER_KEPT_MADE };

struct bs_worker_segment {
    char model_key[BS_WORKER_KEY_LEN + 1];
    uint64_t image_bytes;
    uint32_t raw, sample, ndim;
    char axes[BS_IMAGE_MAX_DIM + 1];
    uint64_t dim[BS_IMAGE_MAX_DIM];
    double pixel_size, spacing; /* of pixels, and of planes along z, in um */
    char pages;                 /* what the pages of a file are that does not say so; 0: it does */
    uint32_t want_maps, want_objects, interactive;
    uint32_t preview_side; /* 0: nobody looks; else the third descriptor is a file to paint into, of that many
                              bytes squared */
    uint32_t kept;         /* enum bs_worker_kept: the last descriptor is their file */
    uint64_t kept_max_bytes;
    struct bs_segment_network network; /* of BS_WORKER_KEPT_MADE */
    struct bs_segment_params params;
};

struct bs_worker_model {
    char model_key[BS_WORKER_KEY_LEN + 1];
    uint64_t bytes; /* LOADED: resident */
};

struct bs_worker_plan {
    char model_key[BS_WORKER_KEY_LEN + 1];
    uint64_t height, width;
    struct bs_segment_params params;
};

struct bs_worker_card {
    int32_t batch, precision;
};

struct bs_worker_train {
    uint64_t config_bytes, manifest_bytes;
    uint32_t has_checkpoint_folder, has_initial, has_resume;
};

struct bs_worker_train_control {
    uint32_t pause, best_now;
    double learning_rate; /* 0: as it is */
};

struct bs_worker_train_event {
    uint32_t kind, better; /* enum bs_run_event_kind */
    int64_t step, epoch, steps, best_step;
    double loss, learning_rate, metric, best_metric, images_per_second, seconds_left;
    int32_t channels, target_channels; /* of the picture: uint8 planes, channels and twice target_channels */
    uint64_t height, width;
};

struct bs_worker_train_checkpoint {
    uint32_t kind; /* enum bs_checkpoint_kind */
    int64_t step;
    uint64_t bytes;
};

struct bs_worker_trained {
    uint32_t end; /* enum bs_run_end */
    int64_t step, best_step, latest_step;
    double best_metric;
    uint64_t plan_hash;
    char algorithms[256];
};

struct bs_worker_hello {
    char name[96], backend[16], libraries[128], isa[64], notice[256];
    int32_t threads;
    uint32_t fast_bf16;
    uint64_t memory;       /* bytes of the device's own; 0: none */
    uint64_t model_budget; /* bytes */
};

struct bs_worker_failure {
    uint32_t status;
    char text[sizeof((struct bs_err *)0)->msg];
};

struct bs_worker_progress {
    int32_t done, total;
    struct bs_preview_part preview; /* what has been painted since the message before; may be empty */
};

struct bs_worker_pong {
    uint64_t looks; /* how often what runs has looked whether to stop: grows while it lives */
};

struct bs_worker_done {
    struct bs_worker_failure failure; /* status BS_OK: the rest counts */
    uint64_t planned_bytes;           /* PLAN, TRAIN_PLAN */
    uint64_t parameters;              /* TRAIN_PLAN: numbers that are trained */
    struct bs_model_card_plan card;   /* CARD */
    struct bs_worker_trained trained; /* TRAIN */
    uint64_t height, width;
    struct bs_stack stack;
    struct bs_region region; /* zeros: all of the image */
    uint32_t linked;
    int32_t channels;
    uint32_t count;
    double pixel_size;
    uint32_t tiled, has_maps, has_objects;
    int64_t tile, halo;
    int32_t nwarning;
    struct bs_warning warning[BS_MAX_WARNINGS];
    double seconds_network, seconds_instances;
    uint64_t plan_hash;
    char algorithms[256];
    uint32_t kept_maps;                /* the network did not run */
    struct bs_segment_network network; /* of maps that were written to be kept; map_h 0: none were */
};

struct bs_worker_inspected {
    struct bs_worker_failure failure;
    uint32_t bytes; /* of info, without NUL */
    char info[BS_WORKER_INFO_LEN];
};

struct bs_worker_pair_checked {
    struct bs_worker_failure failure;
    struct bs_pair_info info;
};

struct bs_worker_checked {
    struct bs_worker_failure failure;
    uint64_t problems, warnings;
    uint64_t count; /* of findings that were written down */
};

struct bs_worker_score {
    uint64_t planes, height, width; /* of the result */
    struct bs_raw_image truth;      /* ndim 0: the truth's file says itself what it is */
};

struct bs_worker_scored {
    struct bs_worker_failure failure;
    struct bs_label_score score;
};

struct bs_worker_message {
    enum bs_worker_type type;
    uint64_t task;
    int nfd;
    int fd[BS_WORKER_MAX_FDS];
    union {
        struct bs_worker_segment segment;
        struct bs_worker_model model;
        struct bs_worker_plan plan;
        struct bs_worker_card card;
        struct bs_worker_train train;
        struct bs_worker_train_control train_control;
        struct bs_worker_train_event train_event;
        struct bs_worker_train_checkpoint train_checkpoint;
        struct bs_worker_hello hello;
        struct bs_worker_failure failure; /* REFUSED, TRAIN_COMMITTED */
        struct bs_worker_progress progress;
        struct bs_worker_pong pong;
        struct bs_worker_done done;
        struct bs_worker_inspected inspected;
        struct bs_pair_question question; /* PAIR */
        struct bs_worker_pair_checked pair;
        struct bs_report_question check;
        struct bs_worker_checked checked;
        struct bs_worker_score score;
        struct bs_worker_scored scored;
    } body;
};

/* Borrows m. wait false: BS_ELIMIT when the socket is full. BS_EUNAVAILABLE when the other side is gone. */
bs_status bs_worker_send(int sock, const struct bs_worker_message *m, bool wait,
                         struct bs_err *err) BS_NODISCARD;
/* The receiver owns the descriptors of m. BS_EUNAVAILABLE at the end of the other side, BS_ENOTFOUND when nothing is
   there and wait is false, BS_ECORRUPT for what no worker of ours would send. */
bs_status bs_worker_receive(int sock, bool wait, struct bs_worker_message *m,
                            struct bs_err *err) BS_NODISCARD;
/* Closes the descriptors that are left (set one to -1 to keep it). */
void bs_worker_message_release(struct bs_worker_message *m);

/* Checks a finished task's message and its sealed descriptors before anybody maps them. */
bs_status bs_worker_check_done(const struct bs_worker_message *m, struct bs_err *err) BS_NODISCARD;
/* The same of what a training run tells. */
bs_status bs_worker_check_event(const struct bs_worker_message *m, struct bs_err *err) BS_NODISCARD;
bs_status bs_worker_check_checkpoint(const struct bs_worker_message *m, struct bs_err *err) BS_NODISCARD;

#endif
