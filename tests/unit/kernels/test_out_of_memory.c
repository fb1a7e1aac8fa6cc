/* Memory may run out at any allocation: building, differentiating, compiling and running a network then end with
   BS_ENOMEM, leak nothing (sanitizer builds look), and the same calls succeed once there is memory again.
   The linker hands the kernels' allocations to the functions below (--wrap, see CMakeLists.txt). */
#include "kernels_support.h"

#include "kernels/base/arena.h"

#include <string.h>
#include <sys/mman.h>

static long allowed = -1; /* allocations left before one fails; negative: none fails */
static bool failed;       /* one has */

static bool fail_now(void)
{
    if (allowed < 0 || allowed-- > 0)
        return false;
    allowed = -1; /* one failure a run; the rest of the machine works */
    return failed = true;
}

void *__real_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);

void *__wrap_calloc(size_t n, size_t size)
{
    return fail_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
    return fail_now() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fail_now() ? NULL : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return fail_now() ? NULL : __real_aligned_alloc(align, size);
}

void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    return fail_now() ? MAP_FAILED : __real_mmap(at, len, prot, flags, fd, offset);
}

/* A block and its gradient, from nothing to a result. */
static bs_status whole_life(struct named_tensors *source, const struct bs_tensor *in, struct bs_tensor *out,
                            struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct bs_params *params = NULL;
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    struct bs_graph *g = bs_graph_create();
    if (!g)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a graph");
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(1, 1, 8, 8)),
             gy = bs_graph_input(g, "gy", BS_SHAPE(1, 1, 8, 8));
    bs_value w = bs_graph_param(g, "w", BS_SHAPE(1, 1, 3, 3)), gradient = BS_NO_VALUE;
    bs_value y =
        bs_graph_relu(g, bs_graph_conv2d(g, bs_graph_instance_norm(g, x, 1e-5f), w, BS_NO_VALUE, 1, 1));
    if ((rc = bs_graph_backward(g, y, gy, &w, 1, &gradient, err)) != BS_OK)
        goto cleanup;
    bs_graph_output(g, "y", y);
    bs_graph_output(g, "gw", gradient);
    if ((rc = bs_graph_finish(g, err)) != BS_OK || (rc = try_params_of(source, &params, err)) != BS_OK ||
        (rc = bs_device_open("ref", NULL, &dev, err)) != BS_OK ||
        (rc = bs_executable_create(dev, g, params, BS_PRECISION_F32, &exe, err)) != BS_OK)
        goto cleanup;
    rc = bs_executable_run(exe, in, 2, out, 2, NULL, err);

cleanup:
    bs_executable_destroy(exe);
    bs_device_close(dev);
    bs_params_unref(params);
    bs_graph_destroy(g);
    return rc;
}

static void memory_may_run_out_anywhere_between_graph_and_result(void **state)
{
    (void)state;
    struct numbers r = {31};
    struct named_tensor w = {"w", random_tensor(&r, BS_SHAPE(1, 1, 3, 3))};
    struct bs_shape image = BS_SHAPE(1, 1, 8, 8);
    struct bs_tensor in[] = {random_tensor(&r, image), random_tensor(&r, image)};
    struct bs_tensor want[] = {new_tensor(image), new_tensor(w.tensor.shape)};
    struct bs_tensor have[] = {new_tensor(image), new_tensor(w.tensor.shape)};
    struct bs_err err = {.msg = ""};
    struct named_tensors source = {.list = &w, .count = 1};
    assert_int_equal(whole_life(&source, in, want, &err), BS_OK);

    int failures = 0;
    for (long n = 0;; n++) {
        source = (struct named_tensors){.list = &w, .count = 1};
        memset(have[0].data, 0, 64 * sizeof(float));
        failed = false;
        allowed = n;
        bs_status rc = whole_life(&source, in, have, &err);
        allowed = -1;
        if (!failed) {
            assert_int_equal(rc, BS_OK);
            break;
        }
        failures++;
        if (rc != BS_ENOMEM)
            fail_msg("allocation %ld: %s, \"%s\"", n, bs_status_name(rc), err.msg);
        assert_true(strlen(err.msg) > 0);
        assert_true(source.releases <= 1);
    }
    print_message("%d allocations failed in turn\n", failures);
    assert_in_range(failures, 15, 200);
    assert_tensor(&have[0], floats(&want[0]), 0);
    assert_tensor(&have[1], floats(&want[1]), 0);
    for (int i = 0; i < 2; i++) {
        free_tensor(&in[i]);
        free_tensor(&want[i]);
        free_tensor(&have[i]);
    }
    free_tensor(&w.tensor);
}

static void an_arena_without_memory_says_so(void **state)
{
    (void)state;
    allowed = 0;
    assert_null(bs_arena_create(1000));
    struct bs_arena *a = bs_arena_create(1000);
    assert_non_null(a);
    allowed = 0;
    assert_null(bs_arena_alloc(a, 10));
    assert_non_null(bs_arena_alloc(a, 10));
    bs_arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_may_run_out_anywhere_between_graph_and_result),
        cmocka_unit_test(an_arena_without_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
