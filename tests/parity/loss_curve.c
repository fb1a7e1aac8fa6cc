/* A training run whose every patch is written down, so that another program can make the same one.
     loss_curve DATA CONFIG OUT [THREADS [direct]]
   DATA holds images/ and labels/ (a quarter of the images validates), CONFIG is a configuration as config.h has it. Into the folder OUT go
   initial.safetensors (the weights that the run begins with), images.f32 and targets.f32 (the batches of all steps, one after the other,
   float32, (step, sample, channel, y, x)); then the run is made as the worker makes it, on the CPU, and the loss of every step is
   printed, one line each. direct: without Winograd's convolutions. */
#include "kernels/executable.h"
#include "model/dataset/collect.h"
#include "model/train/initial.h"
#include "model/train/run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_CONFIG 65536
#define CACHE_BYTES ((size_t)256 << 20)

struct curve {
    const char *out;
    struct bs_train_config config;
    struct bs_manifest manifest;
    struct bs_root *root;
    struct bs_pair_files *train, *validation;
    struct bs_params *initial;
    struct bs_device *device;
    struct bs_run *run;
};

static bs_status read_config(const char *path, struct bs_train_config *config, struct bs_err *err)
{
    char text[MOST_CONFIG];
    FILE *f = fopen(path, "r");
    if (!f)
        return BS_FAIL(err, BS_EIO, "%s cannot be read", path);
    const size_t n = fread(text, 1, sizeof text, f);
    (void)fclose(f);
    return bs_train_config_from_json(text, n, config, err);
}

static bs_status open_data(const char *folder, struct curve *c, struct bs_err *err)
{
    const struct bs_collect_rule rule = {.images = "images", .labels = "labels", .validation = 0.25};
    struct bs_pair_files_rule part = {.parts = BS_PART_BIT(BS_PART_TRAIN), .cache_bytes = CACHE_BYTES};
    struct bs_names problems = {0};
    bs_status rc = bs_root_open(folder, &c->root, err);
    if (rc != BS_OK)
        return rc;
    const struct bs_file_opener opener = bs_files_beneath(c->root);
    if ((rc = bs_collect_folders(c->root, &rule, NULL, &c->manifest, &problems, err)) == BS_OK &&
        problems.count > 0)
        rc = BS_FAIL(err, BS_EINVAL, "%s", problems.at[0]);
    bs_names_clear(&problems);
    if (rc == BS_OK)
        rc = bs_pair_files_create(&c->manifest, &opener, &part, &c->train, err);
    part.parts = BS_PART_BIT(BS_PART_VALIDATION);
    return rc == BS_OK ? bs_pair_files_create(&c->manifest, &opener, &part, &c->validation, err) : rc;
}

static FILE *create_file(const char *folder, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, "wb");
}

static bs_status write_values(FILE *f, const float *v, size_t count, struct bs_err *err)
{
    return fwrite(v, sizeof *v, count, f) == count ? BS_OK
                                                   : BS_FAIL(err, BS_EIO, "a batch cannot be written");
}

/* Sample i of the run is sample i of its seed (batches.h). */
static bs_status write_batches(const struct curve *c, struct bs_err *err)
{
    const struct bs_sample_rule *rule = &c->config.sample;
    const size_t pixels = rule->height * rule->width, channels = bs_sample_target_channels(rule);
    FILE *images = create_file(c->out, "images.f32"), *targets = create_file(c->out, "targets.f32");
    float *image = malloc(pixels * sizeof *image), *target = malloc(channels * pixels * sizeof *target);
    bs_status rc = BS_OK;
    if (!images || !targets || !image || !target)
        rc = BS_FAIL(err, BS_EIO, "no memory for a patch, or no file can be made in %s", c->out);
    for (int64_t i = 0; i < c->config.iterations * c->config.batch && rc == BS_OK; i++)
        if ((rc = bs_sample_make(bs_pair_files_source(c->train), rule, c->config.seed, (uint64_t)i, image,
                                 target, NULL, err)) == BS_OK &&
            (rc = write_values(images, image, pixels, err)) == BS_OK)
            rc = write_values(targets, target, channels * pixels, err);
    if (images && fclose(images) != 0 && rc == BS_OK)
        rc = BS_FAIL(err, BS_EIO, "the batches cannot be written");
    if (targets && fclose(targets) != 0 && rc == BS_OK)
        rc = BS_FAIL(err, BS_EIO, "the batches cannot be written");
    free(image);
    free(target);
    return rc;
}

/* What a run would write as its best model before the first step. */
static bs_status write_initial(const struct curve *c, struct bs_err *err)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/initial.safetensors", c->out);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return BS_FAIL(err, BS_EIO, "%s cannot be made", path);
    bs_status rc = bs_run_write_checkpoint(c->run, BS_CHECKPOINT_BEST, fd, err);
    if (close(fd) != 0 && rc == BS_OK)
        rc = BS_FAIL(err, BS_EIO, "%s cannot be written", path);
    return rc;
}

static bs_status print_loss(void *ctx, const struct bs_run_event *event, struct bs_err *err)
{
    (void)ctx;
    (void)err;
    if (event->kind == BS_RUN_STEP)
        printf("%.9g\n", event->loss);
    return BS_OK;
}

static bs_status make(struct curve *c, const char *data, const char *config,
                      const struct bs_device_options *options, struct bs_err *err)
{
    const struct bs_run_hooks hooks = {.event = print_loss};
    struct bs_run_result result;
    bs_status rc;
    if ((rc = read_config(config, &c->config, err)) != BS_OK || (rc = open_data(data, c, err)) != BS_OK ||
        (rc = bs_device_open("cpu", options, &c->device, err)) != BS_OK ||
        (rc = bs_initial_params(&c->config.arch, c->config.seed, &c->initial, err)) != BS_OK)
        return rc;
    const struct bs_run_setup setup = {.device = c->device,
                                       .config = &c->config,
                                       .initial = c->initial,
                                       .train = bs_pair_files_source(c->train),
                                       .validation = bs_pair_files_source(c->validation),
                                       .dataset_hash = "curve"};
    if ((rc = bs_run_create(&setup, &c->run, err)) != BS_OK || (rc = write_initial(c, err)) != BS_OK ||
        (rc = write_batches(c, err)) != BS_OK)
        return rc;
    return bs_run_execute(c->run, &hooks, NULL, &result, err);
}

int main(int argc, char **argv)
{
    struct curve c = {.manifest = {.channel = BS_PLANE_CHANNEL_ANY}};
    struct bs_err err = {.msg = ""};
    if (argc < 4 || argc > 6 || (argc > 5 && strcmp(argv[5], "direct") != 0)) {
        (void)fprintf(stderr, "usage: %s DATA CONFIG OUT [THREADS [direct]]\n", argv[0]);
        return 2;
    }
    c.out = argv[3];
    const struct bs_device_options options = {.threads = argc > 4 ? atoi(argv[4]) : 0,
                                              .allow_winograd = argc < 6};
    const bs_status rc = make(&c, argv[1], argv[2], &options, &err);
    if (rc != BS_OK)
        (void)fprintf(stderr, "loss_curve: %s\n", err.msg);
    bs_run_destroy(c.run);
    bs_params_unref(c.initial);
    bs_device_close(c.device);
    bs_pair_files_destroy(c.train);
    bs_pair_files_destroy(c.validation);
    bs_root_close(c.root);
    bs_manifest_clear(&c.manifest);
    return rc == BS_OK ? 0 : 1;
}
