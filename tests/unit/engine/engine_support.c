/* See engine_support.h. */
#include "engine_support.h"

#include "tests/support/formula_model.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

struct bs_engine_options engine_options(void)
{
    return (struct bs_engine_options){.worker_path = BS_TEST_WORKER, .device = "ref", .threads = 1};
}

struct bs_engine *start_engine(size_t budget)
{
    struct bs_engine_options opt = engine_options();
    struct bs_engine *e = NULL;
    struct bs_err err = {.msg = ""};
    opt.model_budget = budget;
    if (bs_engine_create(&opt, &e, &err) != BS_OK)
        fail_msg("engine did not start: %s", err.msg);
    return e;
}

void write_model(const char *path, struct bs_model_info *info)
{
    struct bs_err err = {.msg = ""};
    *info = (struct bs_model_info){
        .arch = {.kind = BS_ARCH_UNET,
                 .unet = {.in_channels = 1,
                          .out_channels = 3,
                          .depth = 1,
                          .initial_features = 2,
                          .norm = BS_NORM_NONE,
                          .upsampling = BS_UPSAMPLING_TRANSPOSED,
                          .sigmoid = true}},
        .recipe = BS_RECIPE_DISTANCES,
        .normalisation = BS_NORMALISE_STANDARDISE,
        .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES),
        .trained = true,
    };
    if (bs_arch_parameter_count(&info->arch, &info->parameters, &err) != BS_OK ||
        bs_formula_model_write(path, info, 7, &err) != BS_OK)
        fail_msg("model: %s", err.msg);
}

int lab_open(void **state)
{
    struct lab *lab = calloc(1, sizeof *lab);
    const char *base = getenv("TMPDIR");
    snprintf(lab->dir, sizeof lab->dir, "%s/bs-engine-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(lab->dir))
        return -1;
    snprintf(lab->model_path, sizeof lab->model_path, "%s/model.safetensors", lab->dir);
    write_model(lab->model_path, &lab->info);
    lab->model_fd = open(lab->model_path, O_RDONLY | O_CLOEXEC);
    lab->engine = start_engine(0);
    *state = lab;
    return 0;
}

int lab_close(void **state)
{
    struct lab *lab = *state;
    char command[300];
    bs_engine_destroy(lab->engine);
    close(lab->model_fd);
    snprintf(command, sizeof command, "rm -rf '%s'", lab->dir);
    int rc = system(command);
    free(lab);
    return rc;
}

int memory_file(const void *data, size_t bytes)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
    return fd;
}

int image_file(size_t side)
{
    unsigned char *pixel = malloc(side * side);
    for (size_t y = 0; y < side; y++)
        for (size_t x = 0; x < side; x++) {
            size_t dy = y % 24 > 12 ? y % 24 - 12 : 12 - y % 24, dx = x % 24 > 12 ? x % 24 - 12 : 12 - x % 24;
            pixel[y * side + x] =
                (unsigned char)(dy * dy + dx * dx < 64 ? 200 + (x * 7 + y * 3) % 20 : 20 + (x + y) % 9);
        }
    int fd = memory_file(pixel, side * side);
    free(pixel);
    return fd;
}

struct bs_engine_request raw_request(struct lab *lab, int image, size_t side, int64_t tile)
{
    struct bs_engine_request r = {
        .model_key = "tiny",
        .model_fd = lab->model_fd,
        .image_fd = image,
        .image_bytes = side * side,
        .raw = true,
        .sample = BS_SAMPLE_U8,
        .ndim = 2,
        .axes = "yx",
        .dim = {side, side},
        .params = bs_segment_params_default(&lab->info),
        .want_objects = true,
        .interactive = true,
    };
    r.params.tile = tile;
    return r;
}

static void on_started(void *ctx)
{
    struct task *t = ctx;
    pthread_mutex_lock(&t->mu);
    t->started++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
}

static void on_progress(void *ctx, int done, int total)
{
    struct task *t = ctx;
    pthread_mutex_lock(&t->mu);
    t->progressed++;
    t->last_done = done;
    t->total = total;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
}

static void on_preview(void *ctx, const struct bs_preview_part *part)
{
    struct task *t = ctx;
    pthread_mutex_lock(&t->mu);
    t->previews++;
    bs_preview_join(&t->preview, part);
    pthread_mutex_unlock(&t->mu);
}

static void on_done(void *ctx, bs_status status, const struct bs_err *err,
                    const struct bs_engine_result *result)
{
    struct task *t = ctx;
    pthread_mutex_lock(&t->mu);
    t->ended++;
    t->status = status;
    if (err)
        t->err = *err;
    if (result)
        t->result = *result;
    t->end_time = now_s();
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
}

void submit(struct bs_engine *e, struct task *t, const struct bs_engine_request *r)
{
    struct bs_engine_callbacks cb = {
        .ctx = t, .started = on_started, .progress = on_progress, .preview = on_preview, .done = on_done};
    struct bs_err err = {.msg = ""};
    memset(t, 0, sizeof *t);
    t->result = (struct bs_engine_result){.labels_fd = -1, .maps_fd = -1, .objects_fd = -1};
    pthread_mutex_init(&t->mu, NULL);
    pthread_cond_init(&t->changed, NULL);
    if (bs_engine_submit(e, r, &cb, &t->handle, &err) != BS_OK)
        fail_msg("not accepted: %s", err.msg);
}

static void wait_for(struct task *t, int done)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 120;
    int rc = 0;
    pthread_mutex_lock(&t->mu);
    while (rc == 0 && !t->ended && !(done >= 0 && t->last_done >= done))
        rc = pthread_cond_timedwait(&t->changed, &t->mu, &until);
    pthread_mutex_unlock(&t->mu);
    assert_int_equal(rc, 0);
}

void wait_progress(struct task *t, int done)
{
    wait_for(t, done);
    assert_int_equal(t->ended, 0);
}

bs_status wait_end(struct task *t)
{
    wait_for(t, -1);
    return t->status;
}

void forget(struct task *t)
{
    bs_engine_task_release(t->handle);
    int fds[] = {t->result.labels_fd, t->result.maps_fd, t->result.objects_fd};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->mu);
}

void expect_service(struct lab *lab, size_t side)
{
    struct task t;
    int image = image_file(side);
    struct bs_engine_request r = raw_request(lab, image, side, 0);
    submit(lab->engine, &t, &r);
    if (wait_end(&t) != BS_OK)
        fail_msg("the engine does not serve: %s", t.err.msg);
    forget(&t);
    close(image);
}

int worker_pid(struct bs_engine *e)
{
    struct bs_engine_state state;
    bs_engine_state_get(e, &state);
    return state.worker_pid;
}

size_t resident(int pid)
{
    char path[64];
    long pages = 0, all;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%ld %ld", &all, &pages) != 2)
            pages = 0;
        fclose(f);
    }
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}
