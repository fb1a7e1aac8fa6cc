/* See training_support.h. */
#include "training_support.h"

#include "kernels/base/sha256.h"
#include "model/dataset/manifest.h"
#include "model/image/image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define SIDE 48

/* Discs on a grid, another one for every image. */
static void draw(int number, uint8_t *rgb, uint32_t *labels)
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            const int dy = y % 16 - 8 + (number + x / 16) % 3, dx = x % 16 - 7 - (number + y / 16) % 2;
            const bool inside = dy * dy + dx * dx < 20;
            labels[y * SIDE + x] = inside ? (uint32_t)(1 + y / 16 * 3 + x / 16) : 0;
            for (int c = 0; c < 3; c++)
                rgb[3 * (y * SIDE + x) + c] = (uint8_t)((inside ? 180 : 30) + (x * 7 + y * 13 + number) % 23);
        }
}

/* Gives a file the name of its content. */
static void keep_as_blob(const struct dataset *d, const char *path, char *hash)
{
    char to[400];
    struct bs_err err = {.msg = ""};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(bs_sha256_file(fd, hash, &err), BS_OK);
    close(fd);
    snprintf(to, sizeof to, "%s/%s", d->folder, hash);
    assert_int_equal(rename(path, to), 0);
}

static void add_pair(const struct dataset *d, int number, struct bs_manifest *m)
{
    static uint8_t rgb[3 * SIDE * SIDE];
    static uint32_t labels[SIDE * SIDE];
    char path[400], name[32];
    struct bs_err err = {.msg = ""};
    struct bs_manifest_pair pair = {.image = {.name = name},
                                    .labels = {.name = name},
                                    .image_plane = BS_PLANE_ONLY,
                                    .labels_plane = BS_PLANE_ONLY,
                                    .group = name,
                                    .part = number < 4 ? BS_PART_TRAIN : BS_PART_VALIDATION};
    snprintf(name, sizeof name, "discs_%d.png", number);
    draw(number, rgb, labels);
    snprintf(path, sizeof path, "%s/new", d->folder);
    assert_int_equal(bs_rgb_write_png(path, rgb, SIDE, SIDE, &err), BS_OK);
    keep_as_blob(d, path, pair.image.sha256);
    assert_int_equal(bs_labels_write_png(path, labels, SIDE, SIDE, &err), BS_OK);
    keep_as_blob(d, path, pair.labels.sha256);
    if (bs_manifest_add(m, &pair, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

void make_dataset(const struct lab *lab, struct dataset *d)
{
    struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY};
    struct bs_err err = {.msg = ""};
    snprintf(d->folder, sizeof d->folder, "%s/blobs", lab->dir);
    (void)mkdir(d->folder, 0700);
    d->folder_fd = open(d->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(d->folder_fd >= 0);
    for (int i = 0; i < 6; i++)
        add_pair(d, i, &m);
    if (bs_manifest_write(&m, &d->manifest, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_manifest_clear(&m);
}

void clear_dataset(struct dataset *d)
{
    close(d->folder_fd);
    free(d->manifest);
}

struct trial *new_trial(struct lab *lab, const struct dataset *data)
{
    struct trial *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->lab = lab;
    t->data = data;
    bs_train_config_default(BS_ARCH_UNET, BS_RECIPE_DISTANCES, 1, &t->config);
    t->config.arch = lab->info.arch;
    bs_train_config_set_patch(&t->config, 16);
    t->config.sample.target_min_size = 0;
    t->config.optimizer.learning_rate = 1e-2;
    t->config.iterations = 12;
    t->config.validate_every = 4;
    t->config.checkpoint_every = 1;
    t->config.seed = 3;
    t->initial_fd = t->resume_fd = t->latest_fd = t->best_fd = -1;
    t->latest_step = -1;
    pthread_mutex_init(&t->mu, NULL);
    pthread_cond_init(&t->changed, NULL);
    return t;
}

static void on_started(void *ctx)
{
    struct trial *t = ctx;
    pthread_mutex_lock(&t->mu);
    t->started++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
}

static void on_event(void *ctx, const struct bs_run_event *event, int picture)
{
    struct trial *t = ctx;
    pthread_mutex_lock(&t->mu);
    if (t->events < MAX_EVENTS) {
        t->event[t->events] = *event;
        t->event[t->events].images_per_second = t->event[t->events].seconds_left = 0;
        t->events++;
    }
    t->last_step = event->step;
    t->pictures += picture >= 0;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
    if (picture >= 0)
        close(picture);
}

static void on_checkpoint(void *ctx, enum bs_checkpoint_kind kind, int64_t step, int fd, uint64_t bytes)
{
    struct trial *t = ctx;
    (void)bytes;
    pthread_mutex_lock(&t->mu);
    int *kept = kind == BS_CHECKPOINT_LATEST ? &t->latest_fd : &t->best_fd;
    if (t->refuse) {
        close(fd);
    } else {
        if (*kept >= 0)
            close(*kept);
        *kept = fd;
        if (kind == BS_CHECKPOINT_LATEST)
            t->latest_step = step;
    }
    ++*(kind == BS_CHECKPOINT_LATEST ? &t->latests : &t->bests);
    t->to_answer++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
}

static void on_done(void *ctx, bs_status status, const struct bs_err *err,
                    const struct bs_engine_training_result *result)
{
    struct trial *t = ctx;
    pthread_mutex_lock(&t->mu);
    t->ended++;
    t->status = status;
    if (err)
        t->err = *err;
    if (result)
        t->result = *result;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
}

static void *answer(void *arg)
{
    struct trial *t = arg;
    pthread_mutex_lock(&t->mu);
    for (;;) {
        while (!t->closing &&
               (!t->to_answer || !t->handle || (t->hold_after && t->answered >= t->hold_after)))
            pthread_cond_wait(&t->changed, &t->mu);
        if (t->closing)
            break;
        t->to_answer--;
        t->answered++;
        pthread_mutex_unlock(&t->mu);
        bs_engine_training_committed(t->lab->engine, t->handle, t->refuse ? BS_EIO : BS_OK, t->refuse);
        pthread_mutex_lock(&t->mu);
    }
    pthread_mutex_unlock(&t->mu);
    return NULL;
}

void start_trial(struct trial *t)
{
    const struct bs_engine_training_callbacks cb = {
        .ctx = t, .started = on_started, .event = on_event, .checkpoint = on_checkpoint, .done = on_done};
    struct bs_err err = {.msg = ""};
    struct bs_engine_task *handle;
    char *config = NULL;
    const char *manifest = t->manifest ? t->manifest : t->data->manifest;
    if (bs_train_config_to_json(&t->config, &config, &err) != BS_OK)
        fail_msg("%s", err.msg);
    const struct bs_engine_training run = {.config_fd = memory_file(config, strlen(config)),
                                           .manifest_fd = memory_file(manifest, strlen(manifest)),
                                           .blobs_fd = t->data->folder_fd,
                                           .checkpoint_fd = t->in_memory ? -1 : t->data->folder_fd,
                                           .initial_fd = t->initial_fd,
                                           .resume_fd = t->resume_fd};
    assert_int_equal(pthread_create(&t->answerer, NULL, answer, t), 0);
    if (bs_engine_train(t->lab->engine, &run, &cb, &handle, &err) != BS_OK)
        fail_msg("not accepted: %s", err.msg);
    pthread_mutex_lock(&t->mu);
    t->handle = handle;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
    close(run.config_fd);
    close(run.manifest_fd);
    free(config);
}

static void wait_for(struct trial *t, int64_t step, int64_t checkpoint)
{
    struct timespec until;
    int rc = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 120;
    pthread_mutex_lock(&t->mu);
    while (rc == 0 && !t->ended && !(step >= 0 && t->last_step >= step) &&
           !(checkpoint >= 0 && t->latest_step >= checkpoint))
        rc = pthread_cond_timedwait(&t->changed, &t->mu, &until);
    pthread_mutex_unlock(&t->mu);
    assert_int_equal(rc, 0);
}

void await_step(struct trial *t, int64_t step)
{
    wait_for(t, step, -1);
    if (t->ended)
        fail_msg("ended before step %d: %s", (int)step, t->err.msg);
}

void await_checkpoint(struct trial *t, int64_t step)
{
    wait_for(t, -1, step);
    if (t->ended)
        fail_msg("ended before the checkpoint of step %d: %s", (int)step, t->err.msg);
}

void answer_all(struct trial *t)
{
    pthread_mutex_lock(&t->mu);
    t->hold_after = 0;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
}

bs_status await_end(struct trial *t)
{
    wait_for(t, -1, -1);
    assert_int_equal(t->ended, 1);
    return t->status;
}

void succeed(struct trial *t)
{
    start_trial(t);
    if (await_end(t) != BS_OK)
        fail_msg("%s", t->err.msg);
}

void end_trial(struct trial *t)
{
    pthread_mutex_lock(&t->mu);
    t->closing = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
    pthread_join(t->answerer, NULL);
    bs_engine_task_release(t->handle);
    if (t->latest_fd >= 0)
        close(t->latest_fd);
    if (t->best_fd >= 0)
        close(t->best_fd);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->mu);
    free(t);
}

void steer(struct trial *t, struct bs_run_control control)
{
    bs_engine_training_control(t->lab->engine, t->handle, &control);
}

bool same_files(int a, int b)
{
    char left[BS_SHA256_TEXT], right[BS_SHA256_TEXT];
    struct bs_err err = {.msg = ""};
    if (bs_sha256_file(a, left, &err) != BS_OK || bs_sha256_file(b, right, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return !strcmp(left, right);
}
