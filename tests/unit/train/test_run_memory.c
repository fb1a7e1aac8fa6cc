/* Memory may run out at any allocation in the life of a run, its checkpoint and its resumption: that ends with BS_ENOMEM and
   leaves nothing behind (LeakSanitizer looks on). */
#include "run_support.h"

#include "model/train/initial.h"
#include "tests/support/fail_alloc.h"

#include <sys/mman.h>
#include <unistd.h>

static struct discs discs;

/* Each to a file of its own. */
static bs_status on_checkpoint(void *ctx, enum bs_checkpoint_kind kind, const struct bs_run *run,
                               int64_t step, struct bs_err *err)
{
    int *fd = ctx;
    (void)step;
    if (fd[kind] < 0)
        fd[kind] = memfd_create("checkpoint", MFD_CLOEXEC);
    return bs_run_write_checkpoint(run, kind, fd[kind], err);
}

static bs_status on_event(void *ctx, const struct bs_run_event *event, struct bs_err *err)
{
    (void)ctx;
    (void)event;
    (void)err;
    return BS_OK;
}

static bs_status resume(struct bs_run *run, int fd, struct bs_err *err)
{
    struct bs_safetensors *st = NULL;
    bs_status rc = bs_safetensors_open_fd(dup(fd), &st, err);
    if (rc == BS_OK)
        rc = bs_run_resume(run, st, err);
    bs_safetensors_close(st);
    return rc;
}

static bs_status whole_life(struct bs_err *err)
{
    struct bs_train_config config = small_config(BS_NORM_BATCH);
    struct bs_device *dev = NULL;
    struct bs_params *params = NULL;
    struct bs_run *run = NULL, *again = NULL;
    struct bs_run_result result;
    int fd[BS_CHECKPOINT_KINDS] = {-1, -1};
    const struct bs_run_hooks hooks = {.ctx = fd, .event = on_event, .checkpoint = on_checkpoint};
    bs_status rc;
    config.iterations = 1;
    config.batch = 1;
    config.validation_count = 1;
    if ((rc = bs_device_open("ref", NULL, &dev, err)) != BS_OK ||
        (rc = bs_initial_params(&config.arch, 1, &params, err)) != BS_OK)
        goto cleanup;
    const struct bs_run_setup setup = {.device = dev,
                                       .config = &config,
                                       .initial = params,
                                       .train = &discs.source,
                                       .validation = &discs.source,
                                       .dataset_hash = "d"};
    if ((rc = bs_run_create(&setup, &run, err)) == BS_OK &&
        (rc = bs_run_execute(run, &hooks, NULL, &result, err)) == BS_OK &&
        (rc = bs_run_create(&setup, &again, err)) == BS_OK)
        rc = resume(again, fd[BS_CHECKPOINT_LATEST], err);
cleanup:
    bs_run_destroy(again);
    bs_run_destroy(run);
    bs_params_unref(params);
    bs_device_close(dev);
    for (int i = 0; i < BS_CHECKPOINT_KINDS; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    return rc;
}

static void memory_may_run_out_anywhere_in_a_run(void **state)
{
    (void)state;
    unsigned n = 1;
    make_discs(&discs, 3);
    for (bool failed = true; failed; n++) {
        struct bs_err err = {.msg = ""};
        assert_true(n < 20000);
        bs_test_fail_alloc_at(n);
        bs_status rc = whole_life(&err);
        failed = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        if (rc != (failed ? BS_ENOMEM : BS_OK))
            fail_msg("allocation %u: %s, \"%s\"", n, bs_status_name(rc), err.msg);
    }
    print_message("%u allocations failed in turn\n", n - 2);
    assert_true(n > 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_may_run_out_anywhere_in_a_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
