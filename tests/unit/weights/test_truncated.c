/* Weight files cut off at every length up to 64 KiB and at 2,000 seeded lengths beyond: a clear error each time. */
#include "model/weights/safetensors.h"
#include "model/weights/torch_checkpoint.h"
#include "tests/unit/weights/weights_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define EVERY  ((size_t)64 << 10)
#define SEEDED 2000

static bs_status open_safetensors(int fd, struct bs_err *err)
{
    struct bs_safetensors *st = NULL;
    bs_status rc = bs_safetensors_open_fd(fd, &st, err);
    bs_safetensors_close(st);
    return rc;
}

static bs_status open_torch(int fd, struct bs_err *err)
{
    struct bs_torch_checkpoint *c = NULL;
    bs_status rc = bs_torch_checkpoint_open_fd(fd, &c, err);
    bs_torch_checkpoint_close(c);
    return rc;
}

/* One file shrinks in place, so that nothing has to be copied. */
static void shrink(int fd, size_t length, bs_status (*open_fd)(int, struct bs_err *))
{
    struct bs_err err = {0};
    assert_int_equal(ftruncate(fd, (off_t)length), 0);
    int copy = dup(fd);
    assert_true(copy >= 0);
    bs_status rc = open_fd(copy, &err);
    if (rc != BS_ECORRUPT && rc != BS_EINVAL)
        fail_msg("cut to %zu bytes: %s: %s", length, bs_status_name(rc), err.msg);
    if (!err.msg[0])
        fail_msg("cut to %zu bytes: an error without words", length);
}

static int longest_first(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void cut(const char *name, bs_status (*open_fd)(int, struct bs_err *))
{
    size_t size, lengths[SEEDED];
    unsigned char *data = fixture(name, &size);
    int fd = memory_file(data, size);
    uint64_t random = 0x9E3779B97F4A7C15u;
    assert_true(size > EVERY);
    for (size_t i = 0; i < SEEDED; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        lengths[i] = EVERY + (size_t)(random >> 33) % (size - EVERY);
    }
    qsort(lengths, SEEDED, sizeof *lengths, longest_first);
    for (size_t i = 0; i < SEEDED; i++)
        shrink(fd, lengths[i], open_fd);
    for (size_t n = EVERY; n-- > 0;)
        shrink(fd, n, open_fd);
    close(fd);
    free(data);
}

static void cut_safetensors_give_a_clear_error(void **state)
{
    (void)state;
    cut("golden/small/unet_in/weights.safetensors", open_safetensors);
}

static void cut_zip_checkpoints_give_a_clear_error(void **state)
{
    (void)state;
    cut("golden/checkpoints/state_dict.pth", open_torch);
}

static void cut_legacy_checkpoints_give_a_clear_error(void **state)
{
    (void)state;
    cut("golden/checkpoints/state_dict_oldformat.pth", open_torch);
}

/* test_truncated [PATTERN]: the tests whose names match. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_safetensors_give_a_clear_error),
        cmocka_unit_test(cut_zip_checkpoints_give_a_clear_error),
        cmocka_unit_test(cut_legacy_checkpoints_give_a_clear_error),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
