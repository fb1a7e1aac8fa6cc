/* Models in the worker: memory comes back, the least recently used one goes, hostile files are errors. */
#include "engine_support.h"

#include <fcntl.h>
#include <sys/stat.h>

static bs_status segment_with(struct bs_engine *e, struct lab *lab, const char *key, int fd, size_t side)
{
    struct task t;
    int image = image_file(side);
    struct bs_engine_request r = raw_request(lab, image, side, 0);
    r.model_key = key;
    r.model_fd = fd;
    submit(e, &t, &r);
    bs_status rc = wait_end(&t);
    forget(&t);
    close(image);
    return rc;
}

static void unloading_gives_the_memory_back(void **state)
{
    struct lab *lab = *state;
    struct bs_err err;
    int pid = worker_pid(lab->engine);
    size_t before = 0, loaded = 0, after = 0;
    /* The first round touches code and buffers that stay. */
    for (int round = 0; round < 4; round++) {
        before = round == 1 ? resident(pid) : before;
        assert_int_equal(bs_engine_load(lab->engine, "tiny", lab->model_fd, &err), BS_OK);
        assert_int_equal(segment_with(lab->engine, lab, "tiny", lab->model_fd, 256), BS_OK);
        assert_true(bs_engine_is_loaded(lab->engine, "tiny"));
        loaded = resident(pid);
        assert_int_equal(bs_engine_unload(lab->engine, "tiny", &err), BS_OK);
        assert_false(bs_engine_is_loaded(lab->engine, "tiny"));
        after = resident(pid);
    }
    printf("resident: %zu KiB before, %zu loaded, %zu after\n", before >> 10, loaded >> 10, after >> 10);
    if (!SANITIZED)
        assert_true(after < before + ((size_t)2 << 20));
    assert_int_equal(bs_engine_unload(lab->engine, "tiny", &err), BS_ENOTFOUND);
}

static void under_a_small_budget_the_least_recently_used_model_goes(void **state)
{
    struct lab *lab = *state;
    struct bs_engine_state s;
    /* What one model holds once it has run. */
    assert_int_equal(segment_with(lab->engine, lab, "a", lab->model_fd, 64), BS_OK);
    bs_engine_state_get(lab->engine, &s);
    assert_true(s.resident > 0);
    struct bs_engine *e = start_engine(s.resident * 5 / 2);
    assert_int_equal(segment_with(e, lab, "a", lab->model_fd, 64), BS_OK);
    assert_int_equal(segment_with(e, lab, "b", lab->model_fd, 64), BS_OK);
    assert_true(bs_engine_is_loaded(e, "a") && bs_engine_is_loaded(e, "b"));
    assert_int_equal(segment_with(e, lab, "a", lab->model_fd, 64), BS_OK);
    assert_int_equal(segment_with(e, lab, "c", lab->model_fd, 64), BS_OK);
    assert_true(bs_engine_is_loaded(e, "a") && bs_engine_is_loaded(e, "c"));
    assert_false(bs_engine_is_loaded(e, "b"));
    bs_engine_destroy(e);
    /* A budget below a single model still serves it. */
    e = start_engine(1);
    assert_int_equal(segment_with(e, lab, "a", lab->model_fd, 64), BS_OK);
    assert_int_equal(segment_with(e, lab, "b", lab->model_fd, 64), BS_OK);
    assert_false(bs_engine_is_loaded(e, "a"));
    bs_engine_destroy(e);
}

static void three_models_take_turns_under_a_budget_for_two(void **state)
{
    struct lab *lab = *state;
    static const char *const keys[] = {"one", "two", "three"};
    struct bs_model_info info;
    struct bs_engine_state s;
    struct bs_err err = {.msg = ""};
    char path[300];
    int fd[3];
    for (int i = 0; i < 3; i++) { /* different files, as users have them */
        snprintf(path, sizeof path, "%s/%s.safetensors", lab->dir, keys[i]);
        write_model(path, &info);
        fd[i] = open(path, O_RDONLY | O_CLOEXEC);
    }
    assert_int_equal(segment_with(lab->engine, lab, keys[0], fd[0], 64), BS_OK);
    size_t one = bs_engine_resident(lab->engine, keys[0]);
    assert_true(one > 0);
    struct bs_engine *e = start_engine(one * 5 / 2);
    bs_engine_state_get(e, &s);
    assert_int_equal(s.budget, one * 5 / 2);
    /* Another model with every request; after each, the last two are there and the budget is kept. */
    for (int i = 0; i < 9; i++) {
        assert_int_equal(segment_with(e, lab, keys[i % 3], fd[i % 3], 64), BS_OK);
        bs_engine_state_get(e, &s);
        assert_true(s.resident <= s.budget);
        assert_true(bs_engine_is_loaded(e, keys[i % 3]));
        if (i >= 1)
            assert_true(bs_engine_is_loaded(e, keys[(i + 2) % 3]));
        if (i >= 2) {
            assert_false(bs_engine_is_loaded(e, keys[(i + 1) % 3]));
            assert_int_equal(bs_engine_resident(e, keys[(i + 1) % 3]), 0);
        }
        assert_int_equal(s.nresident, i ? 2 : 1);
    }
    /* Loading ahead keeps to it as well, and unloading makes room: last used were "two" and "three". */
    assert_int_equal(bs_engine_unload(e, keys[1], &err), BS_OK);
    assert_int_equal(bs_engine_load(e, keys[0], fd[0], &err), BS_OK);
    assert_true(bs_engine_is_loaded(e, keys[0]) && bs_engine_is_loaded(e, keys[2]));
    assert_int_equal(segment_with(e, lab, keys[1], fd[1], 64), BS_OK);
    bs_engine_state_get(e, &s);
    assert_true(s.resident <= s.budget && bs_engine_is_loaded(e, keys[1]));
    bs_engine_destroy(e);
    for (int i = 0; i < 3; i++)
        close(fd[i]);
}

/* Waits, with what is to be done meanwhile, until a model is gone. */
static void wait_gone(struct bs_engine *e, const char *key, struct lab *lab, const char *meanwhile)
{
    const double began = now_s();
    while (bs_engine_is_loaded(e, key)) {
        if (now_s() - began > 60)
            fail_msg("%s is still loaded", key);
        if (meanwhile)
            assert_int_equal(segment_with(e, lab, meanwhile, lab->model_fd, 32), BS_OK);
        else
            sleep_ms(20);
    }
}

static void a_model_that_nobody_uses_goes_after_the_set_time(void **state)
{
    struct lab *lab = *state;
    struct bs_engine_options opt = engine_options();
    struct bs_engine *e = NULL;
    struct bs_engine_state s;
    struct bs_err err = {.msg = ""};
    opt.idle_ms = 400;
    if (bs_engine_create(&opt, &e, &err) != BS_OK)
        fail_msg("%s", err.msg);
    const double began = now_s();
    assert_int_equal(segment_with(e, lab, "a", lab->model_fd, 64), BS_OK);
    wait_gone(e, "a", lab, NULL);
    assert_true(now_s() - began >= 0.4);
    bs_engine_state_get(e, &s);
    assert_int_equal(s.resident, 0);
    assert_int_equal(s.restarts, 0);
    /* One goes while another is at work, and comes back when it is asked for. */
    assert_int_equal(bs_engine_load(e, "a", lab->model_fd, &err), BS_OK);
    wait_gone(e, "a", lab, "b");
    assert_int_equal(segment_with(e, lab, "a", lab->model_fd, 64), BS_OK);
    wait_gone(e, "a", lab, NULL);
    wait_gone(e, "b", lab, NULL);
    bs_engine_destroy(e);
}

static void a_card_is_planned_without_loading_the_model(void **state)
{
    struct lab *lab = *state;
    struct bs_model_card_plan one, four;
    struct bs_err err = {.msg = ""};
    struct bs_engine_state s;
    if (bs_engine_card(lab->engine, lab->model_fd, 1, BS_PRECISION_F32, &one, &err) != BS_OK ||
        bs_engine_card(lab->engine, lab->model_fd, 4, BS_PRECISION_F32, &four, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(one.peak_bytes, one.arena_bytes + one.weight_bytes + one.window_bytes);
    assert_true(one.tile > 0 && one.peak_bytes > 0 && four.peak_bytes > one.peak_bytes);
    assert_int_equal(bs_engine_card(lab->engine, lab->model_fd, 0, BS_PRECISION_F32, &one, &err), BS_EINVAL);
    bs_engine_state_get(lab->engine, &s);
    assert_int_equal(s.nresident, 0);
}

static void a_model_file_describes_itself(void **state)
{
    struct lab *lab = *state;
    struct bs_model_info info;
    struct bs_err err = {.msg = ""};
    if (bs_engine_inspect(lab->engine, lab->model_fd, &info, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(info.arch.unet.initial_features, 2);
    assert_int_equal(info.parameters, lab->info.parameters);
}

static void hostile_model_files_are_errors_and_nothing_dies(void **state)
{
    struct lab *lab = *state;
    struct bs_model_info info;
    struct bs_err err;
    struct stat st;
    int pid = worker_pid(lab->engine);
    char *whole = NULL;
    fstat(lab->model_fd, &st);
    whole = malloc((size_t)st.st_size);
    assert_int_equal(pread(lab->model_fd, whole, (size_t)st.st_size, 0), st.st_size);
    unsigned seed = 1;
    for (int i = 0; i < 24; i++) {
        size_t length = i < 10 ? (size_t)i : (size_t)(seed >> 4) % (size_t)st.st_size;
        seed = seed * 1103515245u + 12345u;
        char *copy = malloc(length + 1);
        memcpy(copy, whole, length);
        int fd = memory_file(copy, length);
        assert_int_not_equal(bs_engine_inspect(lab->engine, fd, &info, &err) == BS_OK &&
                                 bs_engine_load(lab->engine, "cut", fd, &err) == BS_OK &&
                                 segment_with(lab->engine, lab, "cut", fd, 32) == BS_OK,
                             true);
        close(fd);
        free(copy);
    }
    /* A header that promises more than there is. */
    memset(whole, 0xff, 8);
    int fd = memory_file(whole, (size_t)st.st_size);
    assert_int_not_equal(bs_engine_inspect(lab->engine, fd, &info, &err), BS_OK);
    assert_int_not_equal(bs_engine_load(lab->engine, "bad", fd, &err), BS_OK);
    assert_false(bs_engine_is_loaded(lab->engine, "bad"));
    close(fd);
    free(whole);
    assert_int_equal(worker_pid(lab->engine), pid);
    expect_service(lab, 32);
}

static void a_model_truncated_after_loading_is_an_error_not_a_crash(void **state)
{
    struct lab *lab = *state;
    struct bs_model_info info;
    struct bs_err err;
    char path[300];
    snprintf(path, sizeof path, "%s/cut.safetensors", lab->dir);
    write_model(path, &info);
    int fd = open(path, O_RDONLY | O_CLOEXEC), pid = worker_pid(lab->engine);
    assert_int_equal(bs_engine_load(lab->engine, "cut", fd, &err), BS_OK);
    struct stat st;
    fstat(fd, &st);
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    assert_int_not_equal(segment_with(lab->engine, lab, "cut", fd, 64), BS_OK);
    close(fd);
    assert_int_equal(worker_pid(lab->engine), pid);
    expect_service(lab, 32);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, lab_open, lab_close)
    const struct CMUnitTest tests[] = {
        T(unloading_gives_the_memory_back),
        T(under_a_small_budget_the_least_recently_used_model_goes),
        T(three_models_take_turns_under_a_budget_for_two),
        T(a_model_that_nobody_uses_goes_after_the_set_time),
        T(a_card_is_planned_without_loading_the_model),
        T(a_model_file_describes_itself),
        T(hostile_model_files_are_errors_and_nothing_dies),
        T(a_model_truncated_after_loading_is_an_error_not_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
