/* The parts of biosegd-worker: one control thread reads messages, one executor thread owns the device and the models. */
#ifndef BS_SERVER_WORKER_WORKER_H
#define BS_SERVER_WORKER_WORKER_H

#include "model/dataset/files.h"
#include "model/model.h"
#include "server/worker/protocol.h"

struct bs__worker_options {
    const char *device;
    struct bs_device_options device_options;
    size_t model_budget; /* 0: half of what the device has free at the start */
    int64_t idle_ms;     /* a model that nobody used for so long goes; 0: never */
    int sock;
};

/* harden.c: what the process gives up before it reads its first message. */
enum bs__confinement {
    BS__CONFINE_WORKER,
    BS__CONFINE_INSPECT, /* looks at one model file, or one pair */
    BS__CONFINE_CHECK,   /* reads a whole dataset */
};
void bs__harden(int parent, enum bs__confinement confinement);

/* models.c: models by key under a budget. Executor thread only. */
struct bs__models;
/* NULL: no memory. idle_ms as in the options. */
struct bs__models *bs__models_create(struct bs_device *dev, size_t budget, int64_t idle_ms, int sock);
void bs__models_destroy(struct bs__models *m);
/* The model of that key, opened from fd when it is not there yet. Borrowed until the next call. Makes room by dropping
   the least recently used ones. */
bs_status bs__models_get(struct bs__models *m, const char *key, int fd, struct bs_model **out,
                         struct bs_err *err) BS_NODISCARD;
/* BS_ENOTFOUND when it is not loaded. */
bs_status bs__models_drop(struct bs__models *m, const char *key, struct bs_err *err) BS_NODISCARD;
/* Drops the least recently used ones but `keep` (NULL: none is spared) until `more` bytes fit under the budget beside what
   is left, or nothing is left to drop; true when one went. */
bool bs__models_make_room(struct bs__models *m, const char *keep, size_t budget, size_t more);
/* Meets the budget after work that may have compiled executables. */
void bs__models_settle(struct bs__models *m, const char *current);
/* To be called when a request is over: until then the models that it asked for were in use. */
void bs__models_end_work(struct bs__models *m);
/* Milliseconds until the next model will have been idle for the set time; below 0: none will be. */
int64_t bs__models_idle_left(const struct bs__models *m);
/* Drops those that have been. */
void bs__models_drop_idle(struct bs__models *m);

/* result.c: memory that becomes a sealed memfd of the DONE message. */
struct bs__array {
    void *data; /* shared mapping of fd; NULL: none */
    size_t bytes;
    int fd;
};
#define BS__ARRAY_NONE                                                                                       \
    {                                                                                                        \
        .fd = -1                                                                                             \
    }
bs_status bs__array_open(struct bs__array *a, size_t count, size_t size, struct bs_err *err) BS_NODISCARD;
void bs__array_close(struct bs__array *a); /* accepts none */
/* The message's fields and descriptors. Arrays that are open are taken into it, else those of r are copied. */
bs_status bs__result_fill(struct bs_worker_message *m, const struct bs_worker_segment *s,
                          struct bs_segment_result *r, struct bs__array *labels, struct bs__array *maps,
                          struct bs_err *err) BS_NODISCARD;

/* task.c: one request from start to its DONE message. Executor thread only. */
void bs__task_run(struct bs__models *models, struct bs_device *dev, int sock, struct bs_worker_message *m,
                  const struct bs_cancel *cancel);
/* Its last words: done's failure from rc and err, without descriptors after one. Ends the process instead when the device is lost:
   that is no answer. */
void bs__task_end(struct bs_device *dev, int sock, struct bs_worker_message *done, bs_status rc,
                  const struct bs_err *err);

/* train.c: one training run from start to its DONE message. Executor thread only; x runs other requests between its operators. */
struct bs__executor;
/* What a run would take of the device; nothing is kept, and no model goes for it. */
bs_status bs__train_plan(struct bs_device *dev, const struct bs_worker_message *m,
                         struct bs_worker_done *done, struct bs_err *err) BS_NODISCARD;
/* A text in a file of the daemon's; free() it. */
bs_status bs__worker_text(int fd, uint64_t bytes, size_t most, char **out, struct bs_err *err) BS_NODISCARD;
/* The folder of blobs, and files of a manifest in it, by their content's hash; nothing beside it is opened. */
bs_status bs__open_blobs(int fd, struct bs_root **out, struct bs_err *err) BS_NODISCARD;
struct bs_file_opener bs__blob_opener(struct bs_root *blobs);
void bs__train_run(struct bs__executor *x, struct bs__models *models, struct bs_device *dev, int sock,
                   struct bs_worker_message *m, struct bs_cancel *cancel);

/* train_tell.c: what a run tells the daemon. Executor thread only. */
struct bs__teller {
    struct bs__executor *x;
    int sock;
    uint64_t task;
    int folder;       /* where checkpoints are written; -1: into memory */
    bool uncommitted; /* the daemon has not answered the last checkpoint yet */
    const struct bs_cancel *cancel;
};
/* Hooks of a run; ctx is the teller. */
bs_status bs__tell_event(void *ctx, const struct bs_run_event *event, struct bs_err *err);
bs_status bs__tell_checkpoint(void *ctx, enum bs_checkpoint_kind kind, const struct bs_run *run, int64_t step,
                              struct bs_err *err);
void bs__ask_control(void *ctx, struct bs_run_control *control);
/* Waits until the daemon has committed what it was given; what it says against it is the error. */
bs_status bs__await_commit(struct bs__teller *t, struct bs_err *err) BS_NODISCARD;

/* executor.c */
/* Starts the executor thread, which opens the device and says HELLO or REFUSED. */
bs_status bs__executor_start(const struct bs__worker_options *opt, struct bs__executor **out,
                             struct bs_err *err) BS_NODISCARD;
/* Takes the descriptors of m. */
void bs__executor_push(struct bs__executor *x, const struct bs_worker_message *m);
void bs__executor_cancel(struct bs__executor *x, uint64_t task);
/* What the daemon wants of a training run, and its answer to a checkpoint. Control thread. */
void bs__executor_control(struct bs__executor *x, uint64_t task,
                          const struct bs_worker_train_control *control);
void bs__executor_committed(struct bs__executor *x, uint64_t task, const struct bs_worker_failure *failure);
/* Of the training run: takes what is wanted of it (a pause stays wanted). Executor thread. */
void bs__executor_take_control(struct bs__executor *x, struct bs_run_control *control);
/* Waits at most ms for the daemon's answer to the run's checkpoint; true: *failure has it, which goes. Executor thread. */
bool bs__executor_take_commit(struct bs__executor *x, int ms, struct bs_worker_failure *failure);
/* Runs what waits beside training runs. Between two operators of one; executor thread. */
void bs__executor_give_way(struct bs__executor *x);
/* Set while something waits for that. Lives as long as the executor. */
const atomic_bool *bs__executor_wanted(const struct bs__executor *x);
/* bs_cancel_looks of what runs; 0: nothing runs. */
uint64_t bs__executor_looks(struct bs__executor *x);
/* Whether the thread ends by itself, because the device could not be opened. */
bool bs__executor_ended(struct bs__executor *x);
/* Cancels everything, waits for the thread, frees. */
void bs__executor_stop(struct bs__executor *x);

/* inspect.c: answers one INSPECT, PAIR, CHECK or SCORE message; yields the exit status. */
int bs__inspect_main(int sock);
/* inspect_pair.c: fills the answer to a PAIR message. */
void bs__inspect_pair(const struct bs_worker_message *m, struct bs_worker_pair_checked *answer);
/* inspect_dataset.c: fills the answer to a CHECK message. */
void bs__inspect_dataset(const struct bs_worker_message *m, struct bs_worker_checked *answer);

/* Sends and, when the daemon is gone, ends the process: there is nobody left to work for. */
void bs__tell(int sock, const struct bs_worker_message *m);
void bs__set_failure(struct bs_worker_failure *f, bs_status rc, const struct bs_err *err);

#endif
