/* See run_support.h. */
#include "run_support.h"

#include "model/train/initial.h"
#include "model/train/run_internal.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bs_status load(void *ctx, size_t index, struct bs_pair *pair, struct bs_err *err)
{
    const struct discs *d = ctx;
    (void)err;
    *pair = (struct bs_pair){.image = d->image[index],
                             .labels = d->labels[index],
                             .ignored = d->source.partial ? d->ignored[index] : NULL,
                             .channels = 1,
                             .height = IMAGE_SIDE,
                             .width = IMAGE_SIDE};
    return BS_OK;
}

/* Discs of different size on a grid, moved about by the seed. */
static void draw(struct discs *d, int pair, uint64_t seed)
{
    float *noise = random_values(IMAGE_SIDE * IMAGE_SIDE, seed + 100 * (uint64_t)pair, 0, 0.3);
    for (int y = 0; y < IMAGE_SIDE; y++)
        for (int x = 0; x < IMAGE_SIDE; x++) {
            const int at = y * IMAGE_SIDE + x, cell_y = y / 13, cell_x = x / 13;
            const double dy = y - (cell_y * 13 + 5 + (pair + cell_x) % 3),
                         dx = x - (cell_x * 13 + 6 - (pair + cell_y) % 3);
            const bool inside = dy * dy + dx * dx < 12 + 4 * ((pair + cell_y + cell_x) % 3);
            d->labels[pair][at] = inside ? (uint32_t)(1 + cell_y * 4 + cell_x) : 0;
            d->image[pair][at] = noise[at] + (inside ? 1.0f : 0.0f);
        }
    free(noise);
}

void make_discs(struct discs *d, uint64_t seed)
{
    for (int i = 0; i < PAIRS; i++)
        draw(d, i, seed);
    d->source = (struct bs_pair_source){.ctx = d, .count = PAIRS, .channels = 1, .load = load};
}

void break_discs(struct discs *d)
{
    for (int i = 0; i < IMAGE_SIDE * IMAGE_SIDE; i++)
        d->image[PAIRS - 1][i] = NAN;
}

void ignore_discs(struct discs *d, bool wipe)
{
    d->source.partial = true;
    for (int pair = 0; pair < PAIRS; pair++)
        for (int at = 0; at < IMAGE_SIDE * IMAGE_SIDE; at++) {
            d->ignored[pair][at] = at % IMAGE_SIDE >= 2 * 13;
            if (wipe && d->labels[pair][at] % 4 == 3)
                d->labels[pair][at] = 0;
        }
}

struct bs_train_config small_config(enum bs_norm norm)
{
    struct bs_train_config c;
    bs_train_config_default(BS_ARCH_UNET, BS_RECIPE_DISTANCES, 1, &c);
    c.arch = small_unet(norm);
    bs_train_config_set_patch(&c, 16);
    c.sample.target_min_size = 0;
    c.optimizer.learning_rate = 1e-2;
    c.iterations = 12;
    c.validate_every = 4;
    c.seed = 5;
    return c;
}

struct trial *new_trial(enum bs_norm norm)
{
    struct trial *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->config = small_config(norm);
    t->device = "ref";
    t->dataset = "d1";
    return t;
}

static void forget(struct kept *k)
{
    free(k->bytes);
    *k = (struct kept){0};
}

void end_trial(struct trial *t)
{
    for (int i = 0; i < 64; i++)
        forget(&t->latest[i]);
    forget(&t->best);
    free(t);
}

static bs_status on_event(void *ctx, const struct bs_run_event *event, struct bs_err *err)
{
    struct trial *t = ctx;
    (void)err;
    if (event->kind == BS_RUN_VALIDATION) {
        assert_non_null(event->image);
        assert_int_equal(event->target_channels, 3);
        for (size_t i = 0; i < 3 * event->height * event->width; i++)
            assert_true(event->output[i] >= 0 && event->output[i] <= 1);
    }
    assert_in_range(t->events, 0, MAX_EVENTS - 1);
    struct bs_run_event *kept = &t->event[t->events++];
    memset(kept, 0, sizeof *kept); /* what lies between members is compared, too */
    kept->kind = event->kind;
    kept->step = event->step;
    kept->epoch = event->epoch;
    kept->steps = event->steps;
    kept->loss = event->loss;
    kept->learning_rate = event->learning_rate;
    kept->metric = event->metric;
    kept->best_metric = event->best_metric;
    kept->best_step = event->best_step;
    kept->better = event->better;
    return BS_OK;
}

static bs_status on_checkpoint(void *ctx, enum bs_checkpoint_kind kind, const struct bs_run *run,
                               int64_t step, struct bs_err *err)
{
    struct trial *t = ctx;
    struct stat st;
    int fd = memfd_create("checkpoint", MFD_CLOEXEC);
    if (t->poison_at && step == t->poison_at)
        bs_step_tensor_at(run->step, 0)->value[0] = NAN;
    bs_status rc = bs_run_write_checkpoint(run, kind, fd, err);
    if (rc == BS_OK) {
        assert_int_equal(fstat(fd, &st), 0);
        assert_in_range(step, 0, 63);
        struct kept *k = kind == BS_CHECKPOINT_BEST ? &t->best : &t->latest[step];
        forget(k);
        *k = (struct kept){malloc((size_t)st.st_size), (size_t)st.st_size, step};
        assert_int_equal(pread(fd, k->bytes, k->size, 0), st.st_size);
        t->bests += kind == BS_CHECKPOINT_BEST;
    }
    close(fd);
    return rc;
}

static void on_control(void *ctx, struct bs_run_control *control)
{
    const struct trial *t = ctx;
    const int64_t step = t->events ? t->event[t->events - 1].step : t->from ? t->from->step : 0;
    *control = t->at[step];
}

int kept_file(const struct kept *k)
{
    int fd = memfd_create("checkpoint", MFD_CLOEXEC);
    assert_int_equal(write(fd, k->bytes, k->size), (ssize_t)k->size);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

struct bs_safetensors *open_kept(const struct kept *k)
{
    struct bs_safetensors *st = NULL;
    struct bs_err err = {.msg = ""};
    if (bs_safetensors_open_fd(kept_file(k), &st, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return st;
}

bool same_kept(const struct kept *a, const struct kept *b)
{
    return a->size && a->size == b->size && !memcmp(a->bytes, b->bytes, a->size);
}

static const char *name_of(void *ctx, size_t index)
{
    static const char *const names[PAIRS] = {"one.tif", "two.tif", "three.tif", "four.tif"};
    (void)ctx;
    return names[index];
}

static bs_status resume(struct bs_run *run, const struct kept *from, struct bs_err *err)
{
    struct bs_safetensors *st = open_kept(from);
    bs_status rc = bs_run_resume(run, st, err);
    bs_safetensors_close(st);
    return rc;
}

bs_status run_trial(struct trial *t)
{
    static struct discs train, validation;
    struct bs_device *dev = NULL;
    struct bs_params *params = NULL;
    struct bs_run *run = NULL;
    const struct bs_device_options options = {.threads = 1, .allow_winograd = true};
    make_discs(&train, 1);
    make_discs(&validation, 2);
    if (t->broken)
        break_discs(&train);
    if (t->partial) {
        ignore_discs(&train, t->wiped);
        ignore_discs(&validation, t->wiped);
    }
    const struct bs_run_hooks hooks = {t, on_event, on_checkpoint, on_control};
    bs_status rc = bs_device_open(t->device, &options, &dev, &t->err);
    if (rc == BS_OK && t->opened)
        t->opened(t->device_ctx, dev);
    if (rc == BS_OK)
        rc = bs_initial_params(&t->config.arch, t->config.seed, &params, &t->err);
    const struct bs_run_setup setup = {.device = dev,
                                       .config = &t->config,
                                       .initial = params,
                                       .train = &train.source,
                                       .validation = &validation.source,
                                       .train_name = name_of,
                                       .dataset_hash = t->dataset,
                                       .sample_threads = t->threads,
                                       .max_bytes = t->max_bytes};
    if (rc == BS_OK)
        rc = bs_run_create(&setup, &run, &t->err);
    if (rc == BS_OK && t->from)
        rc = resume(run, t->from, &t->err);
    if (rc == BS_OK)
        rc = bs_run_execute(run, &hooks, &t->cancel, &t->result, &t->err);
    bs_run_destroy(run);
    bs_params_unref(params);
    if (t->closing)
        t->closing(t->device_ctx);
    bs_device_close(dev);
    return rc;
}

void succeed(struct trial *t)
{
    if (run_trial(t) != BS_OK)
        fail_msg("%s", t->err.msg);
}
