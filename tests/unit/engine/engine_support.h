/* An engine with the real worker on the reference backend, a tiny network with formula weights, and a task to wait for.
   The tests of this folder run one at a time, in one thread but for the engine's own. */
#ifndef BS_TESTS_UNIT_ENGINE_ENGINE_SUPPORT_H
#define BS_TESTS_UNIT_ENGINE_ENGINE_SUPPORT_H

#include "server/jobs.h"
#include "tests/support/sanitized.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Side of an image whose segmentation in tiles takes about a second: long enough to interfere with. */
#define LONG_SIDE (SANITIZED ? 320 : 2048)

struct lab {
    char dir[256];
    char model_path[300];
    int model_fd;
    struct bs_engine *engine;
    struct bs_model_info info;
};

/* cmocka setup and teardown: *state is a struct lab with a running engine. */
int lab_open(void **state);
int lab_close(void **state);
/* An engine as the lab's, with another budget of models. */
struct bs_engine *start_engine(size_t budget);
struct bs_engine_options engine_options(void);
void write_model(const char *path, struct bs_model_info *info);

/* A sealed memfd with these bytes. */
int memory_file(const void *data, size_t bytes);
/* Square uint8 image with blobs, as raw samples. */
int image_file(size_t side);

/* One task and what was heard of it. */
struct task {
    pthread_mutex_t mu;
    pthread_cond_t changed;
    struct bs_engine_task *handle;
    int started, progressed, last_done, total, ended;
    int previews;
    struct bs_preview_part preview; /* all parts together */
    bs_status status;
    struct bs_err err;
    struct bs_engine_result result;
    double end_time;
};

/* tile 0: the whole image at once. Tiles make the work long and cancellable. */
struct bs_engine_request raw_request(struct lab *lab, int image, size_t side, int64_t tile);
void submit(struct bs_engine *e, struct task *t, const struct bs_engine_request *r);
/* Waits, at most 60 s, until that many tiles are done, or for the end. */
void wait_progress(struct task *t, int done);
bs_status wait_end(struct task *t);
void forget(struct task *t);

/* Segments an image of that side and demands success. */
void expect_service(struct lab *lab, size_t side);
double now_s(void);
void sleep_ms(int ms);
int worker_pid(struct bs_engine *e);
/* Resident bytes of a process. */
size_t resident(int pid);

#endif
