/* What the files of the engine share: engine.c has the calls, engine_training.c those of training runs, engine_thread.c the thread
   that owns the worker. */
#ifndef BS_SERVER_ENGINE_INTERNAL_H
#define BS_SERVER_ENGINE_INTERNAL_H

#include "server/engine.h"
#include "server/worker/protocol.h"
#include "server/worker/spawn.h"

#include <pthread.h>
#include <stdatomic.h>

struct bs_engine_task {
    atomic_int refs;
    struct bs_worker_message message; /* what is sent, with our duplicates of the descriptors */
    struct bs_engine_callbacks cb;
    bool interactive, report_death;
    char owner[64];
    /* guarded by bs_engine.mu */
    bool cancel_requested, cancel_sent;
    int64_t cancel_deadline_ms; /* when a worker that does not stop is killed */
    int deaths;
    bool finished;
    struct bs_engine_task *next;
    /* what a waiting caller reads once finished */
    bs_status status;
    struct bs_err err;
    uint64_t planned_bytes, parameters;
    struct bs_model_card_plan card;
    /* of a training run */
    struct bs_engine_training_callbacks training;
    bool uncommitted; /* a checkpoint was told and not answered; the engine thread's own */
    /* guarded by bs_engine.mu: what is to be told to the worker */
    bool tell_control, tell_committed;
    struct bs_run_control control;
    struct bs_worker_failure committed;
};

struct bs__loaded {
    char key[BS_WORKER_KEY_LEN + 1];
    size_t bytes;
    struct bs__loaded *next;
};

/* Whether the worker still works at what it was given; see engine_pulse.c. */
struct bs__pulse {
    int64_t alive_ms; /* when there was the last sign of life */
    int64_t asked_ms; /* when it was asked first without an answer since; 0: it has answered */
    int64_t ask_ms;   /* when to ask next */
    uint64_t looks;   /* what it said last */
};

/* When an owner was served last: who waits longest goes next. */
struct bs__share {
    char owner[64];
    uint64_t served;
};
#define BS__SHARES 64

struct bs_engine {
    char *worker_path;
    char *device;
    struct bs_engine_options opt; /* pointers inside are not used */
    pthread_t thread;
    int wake; /* eventfd: something below changed */

    pthread_mutex_t mu;     /* guards everything below; never held over a callback or a wait for the worker */
    pthread_cond_t changed; /* a task finished, or the first worker said hello or refused */
    struct bs_engine_task *waiting;
    struct bs_engine_task *running;  /* with the worker; */
    struct bs_engine_task *training; /* with it, too: has the device when nothing else runs */
    int nwaiting;
    bool closing;
    bool ready;
    bool settled; /* the first worker has answered */
    struct bs_err refusal;
    struct bs_device_info info;
    size_t budget;
    unsigned restarts;
    struct bs__loaded *loaded;
    struct bs__share share[BS__SHARES];
    uint64_t served, last_task;
    uint64_t succeeded, failed, cancelled, refused; /* segmentation tasks */

    /* the engine thread's own, but for pid, which state_get reads under mu */
    struct bs_worker_process worker;
    int64_t hello_deadline_ms, next_start_ms, started_ms;
    int backoff_ms;
    struct bs__pulse pulse;
    struct bs_worker_message *in; /* what arrives */
};

void *bs__engine_thread(void *engine);
int64_t bs__engine_now_ms(void);
/* engine_pulse.c; the engine's thread. A task was given to the worker. */
void bs__pulse_begin(struct bs_engine *e, int64_t now);
/* It has said something. */
void bs__pulse_heard(struct bs_engine *e, const struct bs_worker_message *m);
/* Asks when it is time; true: it hangs and must be killed, *why says so for people. *due is when to look again. Only while
   a task runs. */
bool bs__pulse_check(struct bs_engine *e, int64_t now, int64_t *due, const char **why);
void bs__engine_wake(struct bs_engine *e);
/* engine_inspect.c. Sends m to a new child and receives its one answer into m, of type `answer`. The descriptors of m stay the caller's.
   `what` begins the sentence when the child does not live to answer. */
bs_status bs__engine_ask(struct bs_engine *e, struct bs_worker_message *m, enum bs_worker_type answer,
                         const struct bs_engine_patience *patience, const char *what,
                         struct bs_err *err) BS_NODISCARD;
/* engine.c */
bs_status bs__new_task(enum bs_worker_type type, struct bs_engine_task **out,
                       struct bs_err *err) BS_NODISCARD;
/* Adds our own copy of a descriptor to what is sent. */
bs_status bs__task_duplicate(struct bs_engine_task *t, int fd, struct bs_err *err) BS_NODISCARD;
/* Puts the task into the queue, which gets a reference of its own. */
bs_status bs__task_enqueue(struct bs_engine *e, struct bs_engine_task *t, struct bs_err *err) BS_NODISCARD;
/* Queues the task, waits for its end, and reads what it planned (planned may be NULL). Takes the caller's reference. */
struct bs__planned {
    uint64_t bytes, parameters;
    struct bs_model_card_plan card;
};
bs_status bs__run_and_wait(struct bs_engine *e, struct bs_engine_task *t, struct bs__planned *planned,
                           struct bs_err *err) BS_NODISCARD;
/* engine_queue.c; the engine's thread, mu held. Takes the next task that is no training run out of the queue, the next that is
   one, and all that were cancelled (one list). */
struct bs_engine_task *bs__choose(struct bs_engine *e);
struct bs_engine_task *bs__choose_training(struct bs_engine *e);
struct bs_engine_task *bs__take_cancelled(struct bs_engine *e);
/* engine_training.c; the engine's thread. Messages of a run: false when they break the protocol. */
bool bs__training_event(struct bs_engine_task *t, struct bs_worker_message *m);
bool bs__training_checkpoint(struct bs_engine_task *t, struct bs_worker_message *m);
void bs__training_done(struct bs_engine_task *t, bs_status status, const struct bs_err *err,
                       const struct bs_worker_done *done);
/* Tells the worker what is wanted of its run; false: it does not listen. mu held. */
bool bs__training_tell(struct bs_engine *e);
void bs__task_unref(struct bs_engine_task *t);

#endif
