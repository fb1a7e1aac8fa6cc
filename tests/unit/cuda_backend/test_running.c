/* Runs on a GPU: the first, the captured and the replayed ones give the same bits, also after the arena moved; inputs are read
   anew each time; copies of neighbouring runs overlap and none takes another's bytes; a cancel leaves nothing under way; memory
   comes back to where it was and is looked at anew; a plan takes none of it. */
#include "tests/unit/cuda_backend/gpu.h"

#include <stdlib.h>
#include <string.h>

struct network {
    struct bs_graph *g;
    struct filled filled;
    struct bs_tensor in, other, out, again;
    struct bs_device *dev;
    struct bs_executable *exe;
    size_t baseline; /* bytes free before anything was compiled */
};

static int setup(void **state)
{
    struct network *n = calloc(1, sizeof *n);
    struct numbers r = {3};
    struct bs_err err = {.msg = ""};
    n->g = small_unet(1, 1, 2, 8, 1, 12, 8, 'i', true, false);
    fill_params(&n->filled, n->g, 7);
    n->in = random_tensor(&r, BS_SHAPE(1, 1, 12, 8));
    n->other = random_tensor(&r, BS_SHAPE(1, 1, 12, 8));
    n->out = new_tensor(BS_SHAPE(1, 2, 12, 8));
    n->again = new_tensor(BS_SHAPE(1, 2, 12, 8));
    if (bs_device_open("cuda", NULL, &n->dev, &err) != BS_OK)
        fail_msg("%s", err.msg);
    n->baseline = bs_device_memory_available(n->dev);
    if (bs_executable_create(n->dev, n->g, n->filled.params, BS_PRECISION_F32, &n->exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    struct network *n = *state;
    bs_executable_destroy(n->exe);
    bs_device_close(n->dev);
    free_params(&n->filled);
    bs_graph_destroy(n->g);
    free_tensor(&n->in);
    free_tensor(&n->other);
    free_tensor(&n->out);
    free_tensor(&n->again);
    free(n);
    expect_no_findings(); /* a leak is one */
    return 0;
}

static void run(struct network *n, struct bs_tensor *in, struct bs_tensor *out)
{
    struct bs_err err = {.msg = ""};
    if (bs_executable_run(n->exe, in, 1, out, 1, NULL, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static size_t bytes_of(const struct bs_tensor *t)
{
    return bs_shape_count(&t->shape) * sizeof(float);
}

static void every_run_gives_the_same_bits(void **state)
{
    struct network *n = *state;
    run(n, &n->in, &n->out);
    for (int i = 0; i < 4; i++) { /* captured at the first of these */
        if (i == 3)
            bs_executable_trim(n->exe);
        memset(n->again.data, 0xFF, bytes_of(&n->again));
        run(n, &n->in, &n->again);
        assert_memory_equal(n->out.data, n->again.data, bytes_of(&n->out));
    }
    run(n, &n->other, &n->again);
    assert_memory_not_equal(n->out.data, n->again.data, bytes_of(&n->out));
}

static void a_cancelled_run_stops_and_the_next_one_works(void **state)
{
    struct network *n = *state;
    struct bs_cancel cancel = {0};
    struct bs_err err = {.msg = ""};
    run(n, &n->in, &n->out);
    bs_cancel_request(&cancel);
    assert_int_equal(bs_executable_run(n->exe, &n->in, 1, &n->again, 1, &cancel, &err), BS_ECANCELLED);
    assert_non_null(strstr(err.msg, "cancelled before step 1"));
    run(n, &n->in, &n->again);
    assert_memory_equal(n->out.data, n->again.data, bytes_of(&n->out));
}

static void a_run_looks_at_the_flag_between_segments(void **state)
{
    struct network *n = *state;
    struct bs_cancel watched = {0};
    struct bs_err err = {.msg = ""};
    assert_int_equal(bs_executable_run(n->exe, &n->in, 1, &n->out, 1, &watched, &err), BS_OK);
    assert_true(bs_cancel_looks(&watched) >= 2);
}

/* Overwrites the input of the run that is under way. */
struct spoiler {
    struct bs_tensor *in;
    int calls;
};

static void spoil(void *ctx)
{
    struct spoiler *s = ctx;
    memset(s->in->data, 0xFF, bytes_of(s->in));
    s->calls++;
}

static void the_next_input_may_be_prepared_while_the_gpu_computes(void **state)
{
    struct network *n = *state;
    struct bs_err err = {.msg = ""};
    run(n, &n->in, &n->out);
    for (int i = 0; i < 2; i++) { /* captured, then replayed */
        struct bs_tensor copy = new_tensor(n->in.shape);
        struct spoiler spoiler = {&copy, 0};
        const struct bs_meanwhile meanwhile = {.ctx = &spoiler, .call = spoil};
        memcpy(copy.data, n->in.data, bytes_of(&copy));
        if (bs_executable_run_while(n->exe, &copy, 1, &n->again, 1, &meanwhile, NULL, &err) != BS_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(spoiler.calls, 1);
        assert_memory_equal(n->out.data, n->again.data, bytes_of(&n->out));
        free_tensor(&copy);
    }
}

enum { ROW = 4 };

/* Runs in a row, each with its own input: which one's outputs have come, and which input is next. */
struct row {
    const struct bs_tensor *all; /* inputs */
    struct bs_tensor in;         /* what runs are given */
    struct bs_tensor out[2];     /* in turns */
    struct bs_tensor want[ROW];
    int came, next, wrong;
};

static void compare_one(struct row *r, int run)
{
    const size_t bytes = bytes_of(&r->want[run]);
    r->wrong += memcmp(r->out[run % 2].data, r->want[run].data, bytes) != 0;
    memset(r->out[run % 2].data, 0xFF, bytes);
    r->came++;
}

static void take_and_give(void *ctx)
{
    struct row *r = ctx;
    if (r->next >= 2)
        compare_one(r, r->next - 2);
    if (r->next < ROW)
        memcpy(r->in.data, r->all[r->next].data, bytes_of(&r->in));
    r->next++;
}

static bs_status run_row(struct network *n, struct row *r, struct bs_err *err)
{
    bs_status rc = BS_OK;
    r->came = r->next = r->wrong = 0;
    take_and_give(r);
    for (int i = 0; i < ROW && rc == BS_OK; i++) {
        const struct bs_meanwhile meanwhile = {.ctx = r,
                                               .call = take_and_give,
                                               .next = i + 1 < ROW,
                                               .ahead = i > 0,
                                               .leave = true,
                                               .late = i > 0 ? &r->out[(i + 1) % 2] : NULL};
        rc = bs_executable_run_while(n->exe, &r->in, 1, &r->out[i % 2], 1, &meanwhile, NULL, err);
    }
    if (rc == BS_OK)
        rc = bs_executable_collect(n->exe, &r->out[(ROW - 1) % 2], 1, err);
    if (rc == BS_OK)
        compare_one(r, ROW - 1);
    return rc;
}

/* Outputs of each input by a run of its own. */
static void prepare_row(struct network *n, struct row *r, struct bs_tensor all[ROW])
{
    struct numbers numbers = {11};
    *r = (struct row){.all = all, .in = new_tensor(n->in.shape)};
    for (int i = 0; i < ROW; i++) {
        all[i] = random_tensor(&numbers, n->in.shape);
        r->want[i] = new_tensor(n->out.shape);
        run(n, &all[i], &r->want[i]);
    }
    for (int i = 0; i < 2; i++)
        r->out[i] = new_tensor(n->out.shape);
}

static void free_row(struct row *r, struct bs_tensor all[ROW])
{
    for (int i = 0; i < ROW; i++) {
        free_tensor(&all[i]);
        free_tensor(&r->want[i]);
    }
    free_tensor(&r->out[0]);
    free_tensor(&r->out[1]);
    free_tensor(&r->in);
}

static void copies_overlap_with_other_runs_and_none_is_mistaken(void **state)
{
    struct network *n = *state;
    struct bs_tensor all[ROW];
    struct row r;
    struct bs_err err = {.msg = ""};
    assert_true(bs_executable_overlaps(n->exe));
    prepare_row(n, &r, all);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        set_order(seed);
        if (run_row(n, &r, &err) != BS_OK)
            fail_msg("seed %d: %s", (int)seed, err.msg);
        assert_int_equal(r.came, ROW);
        assert_int_equal(r.wrong, 0);
    }
    free_row(&r, all);
}

/* The network on a device with a planned fault or property. */
static void reopen_with(struct network *n, const char *name, const char *value)
{
    struct bs_err err = {.msg = ""};
    bs_executable_destroy(n->exe);
    n->exe = NULL;
    bs_device_close(n->dev);
    n->dev = NULL;
    free_params(&n->filled);
    assert_int_equal(setenv(name, value, 1), 0);
    fill_params(&n->filled, n->g, 7);
    const bs_status rc = bs_device_open("cuda", NULL, &n->dev, &err);
    assert_int_equal(unsetenv(name), 0);
    if (rc != BS_OK ||
        bs_executable_create(n->dev, n->g, n->filled.params, BS_PRECISION_F32, &n->exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

/* The same with waits that are left out: the test above notices. */
static void a_wait_that_is_missing_shows(void **state)
{
    struct network *n = *state;
    struct bs_tensor all[ROW];
    struct row r;
    struct bs_err err = {.msg = ""};
    int seen = 0;
    prepare_row(n, &r, all);
    reopen_with(n, "BS_FAKE_CUDA_DEAF_STREAMS", "1");
    for (uint64_t seed = 1; seed <= 5; seed++) {
        set_order(seed);
        const bs_status rc = run_row(n, &r, &err);
        seen += rc != BS_OK || r.wrong > 0;
        seen += forget_findings() > 0;
    }
    assert_true(seen > 2);
    free_row(&r, all);
}

static void what_was_left_or_sent_ahead_counts_only_for_the_next_run(void **state)
{
    struct network *n = *state;
    struct bs_err err = {.msg = ""};
    struct spoiler spoiler = {&n->other, 0}; /* sends ahead what no run takes */
    struct bs_tensor given = new_tensor(n->in.shape);
    const struct bs_meanwhile leave = {
        .ctx = &spoiler, .call = spoil, .next = true, .leave = true, .late = NULL};
    run(n, &n->in, &n->out);
    assert_int_equal(bs_executable_collect(n->exe, &n->again, 1, &err), BS_EINTERNAL);
    for (int what = 0; what < 3; what++) {
        spoiler.in = &given;
        memcpy(given.data, n->in.data, bytes_of(&given));
        assert_int_equal(bs_executable_run_while(n->exe, &given, 1, &n->again, 1, &leave, NULL, &err), BS_OK);
        if (what == 1)
            bs_executable_trim(n->exe); /* the arena goes while copies are under way */
        if (what == 2) {
            assert_int_equal(bs_executable_collect(n->exe, &n->again, 1, &err), BS_OK);
            assert_memory_equal(n->out.data, n->again.data, bytes_of(&n->out));
        }
        run(n, &n->in, &n->again); /* neither spoiled by what came ahead, nor mixed with what was left */
        assert_memory_equal(n->out.data, n->again.data, bytes_of(&n->out));
        assert_int_equal(bs_executable_collect(n->exe, &n->again, 1, &err), BS_EINTERNAL);
    }
    /* The end of all with copies under way. */
    memcpy(given.data, n->in.data, bytes_of(&given));
    assert_int_equal(bs_executable_run_while(n->exe, &given, 1, &n->again, 1, &leave, NULL, &err), BS_OK);
    free_tensor(&given);
}

/* Another program on the same GPU takes memory between compiling and running, and gives it back. */
static void free_memory_is_looked_at_when_it_is_needed(void **state)
{
    struct network *n = *state;
    struct bs_err err = {.msg = ""};
    reopen_with(n, "BS_FAKE_CUDA_MEMORY", "4194304");
    const size_t available = bs_device_memory_available(n->dev), arena = bs_executable_arena_bytes(n->exe);
    const uint64_t taken = take_device_memory(available - arena / 2);
    assert_true(bs_device_memory_available(n->dev) < arena);
    assert_int_equal(bs_executable_run(n->exe, &n->in, 1, &n->out, 1, NULL, &err), BS_ENOMEM);
    assert_non_null(strstr(err.msg, "of the GPU's memory"));
    give_device_memory(taken);
    assert_int_equal(bs_device_memory_available(n->dev), available);
    run(n, &n->in, &n->out);
}

static void memory_comes_back(void **state)
{
    struct network *n = *state;
    const size_t weights = bs_device_memory_available(n->dev);
    assert_true(weights < n->baseline);
    assert_int_equal(bs_executable_held_bytes(n->exe), 0);
    run(n, &n->in, &n->out);
    assert_true(bs_device_memory_available(n->dev) <= weights - bs_executable_arena_bytes(n->exe));
    bs_executable_trim(n->exe);
    assert_int_equal(bs_device_memory_available(n->dev), weights);
    run(n, &n->in, &n->out);
    bs_executable_destroy(n->exe);
    n->exe = NULL;
    assert_int_equal(bs_device_memory_available(n->dev), weights);
    free_params(&n->filled);
    memset(&n->filled, 0, sizeof n->filled);
    assert_int_equal(bs_device_memory_available(n->dev), n->baseline);
}

static bs_status shape_of(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    return bs_params_shape(ctx, name, shape, err);
}

static bs_status never_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    (void)ctx, (void)dst, (void)count;
    return BS_FAIL(err, BS_EINTERNAL, "a plan reads %s", name);
}

static void a_plan_knows_the_sizes_and_takes_no_memory(void **state)
{
    struct network *n = *state;
    struct bs_params *planning = NULL;
    struct bs_executable *exe = NULL;
    struct bs_err err = {.msg = ""};
    const size_t before = bs_device_memory_available(n->dev);
    assert_int_equal(
        bs_params_create_planning((struct bs_param_source){n->filled.params, shape_of, never_read, NULL},
                                  &planning, &err),
        BS_OK);
    if (bs_executable_create(n->dev, n->g, planning, BS_PRECISION_F32, &exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(bs_executable_arena_bytes(exe), bs_executable_arena_bytes(n->exe));
    assert_int_equal(bs_params_packed_bytes(planning), bs_params_packed_bytes(n->filled.params));
    assert_true(bs_executable_plan_hash(exe) == bs_executable_plan_hash(n->exe));
    assert_int_equal(bs_device_memory_available(n->dev), before);
    bs_executable_destroy(exe);
    bs_params_unref(planning);
}

static void a_backward_operator_is_refused_by_name(void **state)
{
    struct network *n = *state;
    struct bs_graph *g = bs_graph_create();
    struct bs_executable *exe = NULL;
    struct bs_err err = {.msg = ""};
    const bs_value y = bs_graph_input(g, "y", BS_SHAPE(1, 1, 2, 2)),
                   gy = bs_graph_input(g, "gy", BS_SHAPE(1, 1, 2, 2));
    bs_graph_output(
        g, "gx",
        bs_graph_apply(g, BS_OP_INSTANCE_NORM_GRAD, (bs_value[]){y, gy}, 2, (struct bs_attr){.eps = 1e-5f}));
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    assert_int_equal(bs_executable_create(n->dev, g, n->filled.params, BS_PRECISION_F32, &exe, &err),
                     BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "instance_norm_grad"));
    bs_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_run_gives_the_same_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cancelled_run_stops_and_the_next_one_works, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_looks_at_the_flag_between_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(the_next_input_may_be_prepared_while_the_gpu_computes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(copies_overlap_with_other_runs_and_none_is_mistaken, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wait_that_is_missing_shows, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_left_or_sent_ahead_counts_only_for_the_next_run, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(free_memory_is_looked_at_when_it_is_needed, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_plan_knows_the_sizes_and_takes_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(a_backward_operator_is_refused_by_name, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
