/* Devices open by name, executables know their memory before they take it, run what they were compiled for and nothing
   else, stop between steps when asked, and share the packed weights of a model. */
#include "kernels_support.h"

#include "kernels/backend.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct bs_device *open_device(const char *spec)
{
    struct bs_device *d = NULL;
    struct bs_err err = {.msg = ""};
    if (bs_device_open(spec, NULL, &d, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return d;
}

/* y = sigmoid(conv(relu(instance_norm(x)))), z = the same before the sigmoid. */
static struct bs_graph *small_network(int64_t n, int64_t size)
{
    struct bs_graph *g = bs_graph_create();
    struct bs_err err = {.msg = ""};
    bs_value x = bs_graph_input(g, "image", BS_SHAPE(n, 2, size, size));
    bs_value w = bs_graph_param(g, "conv.weight", BS_SHAPE(3, 2, 3, 3)),
             b = bs_graph_param(g, "conv.bias", BS_SHAPE(3));
    bs_value z = bs_graph_conv2d(g, bs_graph_relu(g, bs_graph_instance_norm(g, x, 1e-5f)), w, b, 1, 1);
    bs_graph_output(g, "logits", z);
    bs_graph_output(g, "output", bs_graph_sigmoid(g, z));
    if (bs_graph_finish(g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return g;
}

struct fixture {
    struct numbers r;
    struct named_tensor list[2];
    struct named_tensors source;
    struct bs_params *params;
    struct bs_device *dev;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->r.state = 21;
    f->list[0] = (struct named_tensor){"conv.weight", random_tensor(&f->r, BS_SHAPE(3, 2, 3, 3))};
    f->list[1] = (struct named_tensor){"conv.bias", random_tensor(&f->r, BS_SHAPE(3))};
    f->source = (struct named_tensors){.list = f->list, .count = 2};
    f->params = params_of(&f->source);
    f->dev = open_device("ref");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bs_device_close(f->dev);
    bs_params_unref(f->params);
    free_tensor(&f->list[0].tensor);
    free_tensor(&f->list[1].tensor);
    free(f);
    return 0;
}

static struct bs_executable *compile(struct fixture *f, int64_t n, int64_t size, enum bs_precision precision)
{
    struct bs_executable *exe = NULL;
    struct bs_err err = {.msg = ""};
    struct bs_graph *g = small_network(n, size);
    if (bs_executable_create(f->dev, g, f->params, precision, &exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_graph_destroy(g); /* not needed afterwards */
    return exe;
}

static void an_unknown_device_is_refused_with_what_there_is(void **state)
{
    (void)state;
    static const char *const wrong[] = {"gpu", "", "REF", "ref ", "cuda:", "cuda:x", "cuda:-1", "cuda0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct bs_device *d = (struct bs_device *)&d;
        struct bs_err err;
        assert_int_equal(bs_device_open(wrong[i], NULL, &d, &err), BS_EUNSUPPORTED);
        assert_null(d);
        assert_non_null(strstr(err.msg, "\"ref\""));
        assert_non_null(strstr(err.msg, "\"auto\""));
        assert_non_null(strstr(err.msg, wrong[i]));
    }
    bs_device_close(NULL);
}

static void auto_takes_the_best_backend_of_this_build(void **state)
{
    (void)state;
    setenv("BS_CUDA_PLUGIN", "/nowhere/plugin.so", 1); /* of this machine's processor: it may have a GPU */
    struct bs_device *d = open_device("auto");
    unsetenv("BS_CUDA_PLUGIN");
    struct bs_device_info info;
    bs_device_describe(d, &info);
    assert_non_null(strstr(info.notice, "no GPU is used"));
    assert_true(bs_device_memory_available(d) > 0);
    assert_false(bs_device_is_lost(d));
    assert_string_equal(info.backend, bs_backend_cpu() ? "cpu" : "ref");
    assert_true(info.threads >= 1);
    assert_true(strlen(info.name) && strlen(info.libraries) && strlen(info.isa));
    bs_device_close(d);
}

static void a_run_computes_the_network(void **state)
{
    struct fixture *f = *state;
    struct bs_executable *exe = compile(f, 2, 8, BS_PRECISION_F32);
    struct bs_err err = {.msg = ""};
    struct bs_tensor x = random_tensor(&f->r, BS_SHAPE(2, 2, 8, 8));
    struct bs_tensor out[] = {new_tensor(BS_SHAPE(2, 3, 8, 8)), new_tensor(BS_SHAPE(2, 3, 8, 8))};
    assert_int_equal(bs_executable_run(exe, &x, 1, out, 2, NULL, &err), BS_OK);
    struct bs_tensor norm = apply(BS_OP_INSTANCE_NORM, (struct bs_attr){.eps = 1e-5f}, &x, 1);
    struct bs_tensor relu = apply(BS_OP_RELU, (struct bs_attr){0}, &norm, 1);
    struct bs_tensor z = apply(BS_OP_CONV2D, (struct bs_attr){.stride = 1, .pad = 1},
                               (struct bs_tensor[]){relu, f->list[0].tensor, f->list[1].tensor}, 3);
    assert_tensor(&out[0], floats(&z), 0);
    for (int i = 0; i < 2 * 3 * 64; i++)
        assert_close(floats(&out[1])[i], 1 / (1 + exp(-(double)floats(&z)[i])), 1e-7);
    free_tensor(&norm);
    free_tensor(&relu);
    free_tensor(&z);
    free_tensor(&x);
    free_tensor(&out[0]);
    free_tensor(&out[1]);
    bs_executable_destroy(exe);
    bs_executable_destroy(NULL);
}

static void repeated_and_trimmed_runs_give_the_same_bits(void **state)
{
    struct fixture *f = *state;
    struct bs_executable *exe = compile(f, 1, 16, BS_PRECISION_F32);
    struct bs_err err;
    struct bs_tensor x = random_tensor(&f->r, BS_SHAPE(1, 2, 16, 16));
    struct bs_tensor first[] = {new_tensor(BS_SHAPE(1, 3, 16, 16)), new_tensor(BS_SHAPE(1, 3, 16, 16))};
    struct bs_tensor later[] = {new_tensor(BS_SHAPE(1, 3, 16, 16)), new_tensor(BS_SHAPE(1, 3, 16, 16))};
    assert_int_equal(bs_executable_run(exe, &x, 1, first, 2, NULL, &err), BS_OK);
    for (int round = 0; round < 4; round++) {
        if (round % 2)
            bs_executable_trim(exe);
        assert_int_equal(bs_executable_run(exe, &x, 1, later, 2, NULL, &err), BS_OK);
        for (int i = 0; i < 2; i++)
            assert_memory_equal(first[i].data, later[i].data, 3 * 256 * sizeof(float));
    }
    for (int i = 0; i < 2; i++) {
        free_tensor(&first[i]);
        free_tensor(&later[i]);
    }
    free_tensor(&x);
    bs_executable_destroy(exe);
}

static void count_call(void *ctx)
{
    ++*(int *)ctx;
}

static void what_is_done_meanwhile_is_done_once_for_a_run_that_succeeds(void **state)
{
    struct fixture *f = *state;
    struct bs_executable *exe = compile(f, 1, 8, BS_PRECISION_F32);
    struct bs_err err;
    struct bs_cancel cancel = {0};
    int calls = 0;
    const struct bs_meanwhile meanwhile = {.ctx = &calls, .call = count_call};
    struct bs_tensor x = random_tensor(&f->r, BS_SHAPE(1, 2, 8, 8));
    struct bs_tensor out[] = {new_tensor(BS_SHAPE(1, 3, 8, 8)), new_tensor(BS_SHAPE(1, 3, 8, 8))};
    assert_int_equal(bs_executable_run_while(exe, &x, 1, out, 2, &meanwhile, &cancel, &err), BS_OK);
    assert_int_equal(calls, 1);
    bs_cancel_request(&cancel);
    assert_int_equal(bs_executable_run_while(exe, &x, 1, out, 2, &meanwhile, &cancel, &err), BS_ECANCELLED);
    assert_int_equal(calls, 1);
    free_tensor(&x);
    free_tensor(&out[0]);
    free_tensor(&out[1]);
    bs_executable_destroy(exe);
}

static void memory_is_known_before_it_is_taken(void **state)
{
    struct fixture *f = *state;
    struct bs_executable *exe = compile(f, 1, 16, BS_PRECISION_F32);
    size_t image = 2 * 256 * sizeof(float), maps = 3 * 256 * sizeof(float);
    /* at the busiest step the logits wait for their store while the sigmoid is made from them */
    assert_int_equal(bs_executable_arena_bytes(exe), 2 * maps > image + maps ? 2 * maps : image + maps);
    bs_executable_destroy(exe);
}

static void weights_are_packed_once_for_all_executables(void **state)
{
    struct fixture *f = *state;
    struct bs_executable *a = compile(f, 1, 8, BS_PRECISION_F32), *b = compile(f, 2, 16, BS_PRECISION_F32);
    assert_int_equal(f->source.reads, 2);
    size_t packed = bs_params_packed_bytes(f->params);
    struct bs_executable *c = compile(f, 1, 8, BS_PRECISION_BF16);
    assert_int_equal(f->source.reads, 3); /* the rounded weights; the bias is shared */
    assert_true(bs_params_packed_bytes(f->params) > packed);
    bs_executable_destroy(a);
    bs_executable_destroy(b);
    bs_executable_destroy(c);
}

static void the_plan_hash_tells_plans_apart(void **state)
{
    struct fixture *f = *state;
    struct bs_executable *a = compile(f, 1, 8, BS_PRECISION_F32), *same = compile(f, 1, 8, BS_PRECISION_F32);
    struct bs_executable *larger = compile(f, 1, 16, BS_PRECISION_F32),
                         *bf16 = compile(f, 1, 8, BS_PRECISION_BF16);
    assert_true(bs_executable_plan_hash(a) == bs_executable_plan_hash(same));
    assert_true(bs_executable_plan_hash(a) != bs_executable_plan_hash(larger));
    assert_true(bs_executable_plan_hash(a) != bs_executable_plan_hash(bf16));
    assert_string_equal(bs_executable_algorithms(a), "reference loops");
    bs_executable_destroy(a);
    bs_executable_destroy(same);
    bs_executable_destroy(larger);
    bs_executable_destroy(bf16);
}

static void bf16_rounds_weights_and_what_flows_between_operators(void **state)
{
    struct fixture *f = *state;
    struct bs_executable *exe = compile(f, 1, 8, BS_PRECISION_BF16),
                         *full = compile(f, 1, 8, BS_PRECISION_F32);
    struct bs_err err;
    struct bs_tensor x = random_tensor(&f->r, BS_SHAPE(1, 2, 8, 8));
    struct bs_tensor out[] = {new_tensor(BS_SHAPE(1, 3, 8, 8)), new_tensor(BS_SHAPE(1, 3, 8, 8))};
    struct bs_tensor exact[] = {new_tensor(BS_SHAPE(1, 3, 8, 8)), new_tensor(BS_SHAPE(1, 3, 8, 8))};
    assert_int_equal(bs_executable_run(exe, &x, 1, out, 2, NULL, &err), BS_OK);
    assert_int_equal(bs_executable_run(full, &x, 1, exact, 2, NULL, &err), BS_OK);
    bool differs = false;
    for (int i = 0; i < 3 * 64; i++) {
        float v = floats(&out[0])[i];
        assert_true(v == bs_bf16_to_f32(bs_f32_to_bf16(v)));
        assert_close(v, (double)floats(&exact[0])[i], 0.05);
        differs = differs || v != floats(&exact[0])[i];
    }
    assert_true(differs);
    for (int i = 0; i < 2; i++) {
        free_tensor(&out[i]);
        free_tensor(&exact[i]);
    }
    free_tensor(&x);
    bs_executable_destroy(exe);
    bs_executable_destroy(full);
}

static void tensors_that_do_not_fit_are_refused_by_name(void **state)
{
    struct fixture *f = *state;
    struct bs_executable *exe = compile(f, 1, 8, BS_PRECISION_F32);
    struct bs_err err;
    struct bs_tensor x = random_tensor(&f->r, BS_SHAPE(1, 2, 8, 8)),
                     out[] = {new_tensor(BS_SHAPE(1, 3, 8, 8)), new_tensor(BS_SHAPE(1, 3, 8, 8))};
    assert_int_equal(bs_executable_run(exe, &x, 0, out, 2, NULL, &err), BS_EINVAL);
    assert_int_equal(bs_executable_run(exe, &x, 1, out, 1, NULL, &err), BS_EINVAL);
    struct bs_tensor wrong = x;
    wrong.shape = BS_SHAPE(1, 2, 8, 9);
    assert_int_equal(bs_executable_run(exe, &wrong, 1, out, 2, NULL, &err), BS_EINVAL);
    assert_string_equal(err.msg, "input \"image\" is 1x2x8x9; compiled for 1x2x8x8");
    wrong = x;
    wrong.dtype = BS_U8;
    assert_int_equal(bs_executable_run(exe, &wrong, 1, out, 2, NULL, &err), BS_EINVAL);
    assert_string_equal(err.msg, "input \"image\" is u8; f32 is accepted");
    wrong = x;
    wrong.data = NULL;
    assert_int_equal(bs_executable_run(exe, &wrong, 1, out, 2, NULL, &err), BS_EINVAL);
    struct bs_tensor outs[] = {out[0], out[1]};
    outs[1].shape = BS_SHAPE(1, 3, 64);
    assert_int_equal(bs_executable_run(exe, &x, 1, outs, 2, NULL, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "output \"output\""));
    free_tensor(&x);
    free_tensor(&out[0]);
    free_tensor(&out[1]);
    bs_executable_destroy(exe);
}

static void parameters_that_do_not_fit_the_network_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int which;
        struct bs_shape shape;
        bs_status code;
        const char *words;
    } cases[] = {
        {0, {.ndim = 4, .dim = {3, 2, 5, 5}}, BS_EINVAL, "\"conv.weight\" is 3x2x5x5"},
        {1, {.ndim = 1, .dim = {4}}, BS_EINVAL, "\"conv.bias\" is 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct named_tensor list[2] = {f->list[0], f->list[1]};
        list[cases[i].which].tensor.shape = cases[i].shape;
        struct named_tensors source = {.list = list, .count = 2};
        struct bs_params *p = params_of(&source);
        struct bs_graph *g = small_network(1, 8);
        struct bs_executable *exe;
        struct bs_err err;
        assert_int_equal(bs_executable_create(f->dev, g, p, BS_PRECISION_F32, &exe, &err), cases[i].code);
        assert_non_null(strstr(err.msg, cases[i].words));
        assert_null(exe);
        source.count = 1; /* the bias is missing altogether */
        list[0].tensor.shape = BS_SHAPE(3, 2, 3, 3);
        assert_int_equal(bs_executable_create(f->dev, g, p, BS_PRECISION_F32, &exe, &err), BS_ENOTFOUND);
        assert_non_null(strstr(err.msg, "conv.bias"));
        bs_graph_destroy(g);
        bs_params_unref(p);
        assert_int_equal(source.releases, 1);
    }
}

static void weights_that_cannot_be_read_are_an_error_of_their_own_kind(void **state)
{
    struct fixture *f = *state;
    struct bs_graph *g = small_network(1, 8);
    struct bs_executable *exe;
    struct bs_err err;
    f->source.fail = true; /* the file was truncated under us */
    assert_int_equal(bs_executable_create(f->dev, g, f->params, BS_PRECISION_F32, &exe, &err), BS_EIO);
    assert_null(exe);
    f->source.fail = false;
    assert_int_equal(bs_executable_create(f->dev, g, f->params, BS_PRECISION_F32, &exe, &err), BS_OK);
    bs_executable_destroy(exe);
    bs_graph_destroy(g);
}

static void a_cancelled_run_stops_before_its_first_step(void **state)
{
    struct fixture *f = *state;
    struct bs_executable *exe = compile(f, 1, 8, BS_PRECISION_F32);
    struct bs_err err;
    struct bs_cancel cancel = {.requested = true};
    struct bs_tensor x = random_tensor(&f->r, BS_SHAPE(1, 2, 8, 8)),
                     out[] = {new_tensor(BS_SHAPE(1, 3, 8, 8)), new_tensor(BS_SHAPE(1, 3, 8, 8))};
    assert_int_equal(bs_executable_run(exe, &x, 1, out, 2, &cancel, &err), BS_ECANCELLED);
    assert_non_null(strstr(err.msg, "before step 1 of"));
    for (int i = 0; i < 3 * 64; i++)
        assert_true(floats(&out[0])[i] == 0 && floats(&out[1])[i] == 0);
    struct bs_cancel not_asked = {.requested = false};
    assert_int_equal(bs_executable_run(exe, &x, 1, out, 2, &not_asked, &err), BS_OK);
    free_tensor(&x);
    free_tensor(&out[0]);
    free_tensor(&out[1]);
    bs_executable_destroy(exe);
}

static void *cancel_soon(void *arg)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    bs_cancel_request(arg);
    return NULL;
}

static void a_running_network_stops_between_steps(void **state)
{
    struct fixture *f = *state;
    /* two thousand small steps take long enough to be cancelled among them; the run after it finishes undisturbed */
    struct bs_graph *g = bs_graph_create();
    struct bs_err err = {.msg = ""};
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(1, 4, 64, 64));
    for (int i = 0; i < 2000; i++)
        x = bs_graph_sigmoid(g, x);
    bs_graph_output(g, "y", x);
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    struct bs_executable *exe;
    assert_int_equal(bs_executable_create(f->dev, g, f->params, BS_PRECISION_F32, &exe, &err), BS_OK);
    bs_graph_destroy(g);
    struct bs_cancel cancel = {.requested = false};
    struct bs_tensor in = random_tensor(&f->r, BS_SHAPE(1, 4, 64, 64)),
                     out = new_tensor(BS_SHAPE(1, 4, 64, 64));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &cancel), 0);
    bs_status rc = bs_executable_run(exe, &in, 1, &out, 1, &cancel, &err);
    pthread_join(thread, NULL);
    assert_int_equal(rc, BS_ECANCELLED);
    assert_null(strstr(err.msg, "before step 1 of"));
    free_tensor(&in);
    free_tensor(&out);
    bs_executable_destroy(exe);
}

static void a_network_beyond_the_machine_is_out_of_memory_and_not_killed(void **state)
{
    struct fixture *f = *state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err = {.msg = ""};
    struct bs_shape absurd =
        BS_SHAPE(1, 1, 1 << 20, 1 << 20); /* 4 TiB of float32: the largest tensor there may be */
    bs_graph_output(g, "y", bs_graph_relu(g, bs_graph_input(g, "x", absurd)));
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    struct bs_executable *exe;
    assert_int_equal(bs_executable_create(f->dev, g, f->params, BS_PRECISION_F32, &exe, &err), BS_OK);
    assert_true(bs_executable_arena_bytes(exe) == (size_t)8 << 40);
    float nothing = 0; /* never touched: the arena comes first */
    struct bs_tensor in = {BS_F32, absurd, &nothing}, out = {BS_F32, absurd, &nothing};
    assert_int_equal(bs_executable_run(exe, &in, 1, &out, 1, NULL, &err), BS_ENOMEM);
    assert_non_null(strstr(err.msg, "8388608 MiB"));
    bs_executable_destroy(exe);
    bs_graph_destroy(g);
}

static void dead_operators_cost_nothing_and_dead_inputs_stay_in_the_signature(void **state)
{
    struct fixture *f = *state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err = {.msg = ""};
    bs_value unused = bs_graph_input(g, "unused", BS_SHAPE(1, 1, 64, 64)),
             x = bs_graph_input(g, "x", BS_SHAPE(4));
    bs_graph_conv2d(g, unused, bs_graph_param(g, "not in the file", BS_SHAPE(8, 1, 3, 3)), BS_NO_VALUE, 1, 1);
    bs_graph_output(g, "same", x);
    bs_graph_output(g, "relu", bs_graph_relu(g, x));
    bs_graph_output(g, "bias", bs_graph_param(g, "conv.bias", BS_SHAPE(3)));
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    struct bs_executable *exe;
    assert_int_equal(bs_executable_create(f->dev, g, f->params, BS_PRECISION_F32, &exe, &err), BS_OK);
    assert_int_equal(bs_executable_arena_bytes(exe), 128);
    struct bs_tensor in[] = {new_tensor(BS_SHAPE(1, 1, 64, 64)),
                             tensor_of(BS_SHAPE(4), (float[]){-1, 2, -3, 4})};
    struct bs_tensor out[] = {new_tensor(BS_SHAPE(4)), new_tensor(BS_SHAPE(4)), new_tensor(BS_SHAPE(3))};
    assert_int_equal(bs_executable_run(exe, in, 2, out, 3, NULL, &err), BS_OK);
    assert_tensor(&out[0], (float[]){-1, 2, -3, 4}, 0);
    assert_tensor(&out[1], (float[]){0, 2, 0, 4}, 0);
    assert_tensor(&out[2], floats(&f->list[1].tensor), 0);
    for (int i = 0; i < 2; i++)
        free_tensor(&in[i]);
    for (int i = 0; i < 3; i++)
        free_tensor(&out[i]);
    bs_executable_destroy(exe);
    bs_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_device_is_refused_with_what_there_is),
        cmocka_unit_test(auto_takes_the_best_backend_of_this_build),
#define WITH_NETWORK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        WITH_NETWORK(a_run_computes_the_network),
        WITH_NETWORK(repeated_and_trimmed_runs_give_the_same_bits),
        WITH_NETWORK(what_is_done_meanwhile_is_done_once_for_a_run_that_succeeds),
        WITH_NETWORK(memory_is_known_before_it_is_taken),
        WITH_NETWORK(weights_are_packed_once_for_all_executables),
        WITH_NETWORK(the_plan_hash_tells_plans_apart),
        WITH_NETWORK(bf16_rounds_weights_and_what_flows_between_operators),
        WITH_NETWORK(tensors_that_do_not_fit_are_refused_by_name),
        WITH_NETWORK(parameters_that_do_not_fit_the_network_are_refused),
        WITH_NETWORK(weights_that_cannot_be_read_are_an_error_of_their_own_kind),
        WITH_NETWORK(a_cancelled_run_stops_before_its_first_step),
        WITH_NETWORK(a_running_network_stops_between_steps),
        WITH_NETWORK(a_network_beyond_the_machine_is_out_of_memory_and_not_killed),
        WITH_NETWORK(dead_operators_cost_nothing_and_dead_inputs_stay_in_the_signature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
