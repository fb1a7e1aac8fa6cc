/* Labels against a file: equal ones score 1, sizes are compared, and what ends early is said. */
#include "model/dataset/score.h"
#include "model/image/image.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define TRUTH BS_TEST_FIXTURES "/images/dsb_0161.labels.png"
#define SIDE  256

/* The labels of the file, as a result has them. */
static uint32_t *read_truth(void)
{
    struct bs_image *im = NULL;
    struct bs_err err = {.msg = ""};
    uint32_t *labels = calloc((size_t)SIDE * SIDE, sizeof *labels);
    if (bs_image_read_file(TRUTH, &bs_image_default_limits, &im, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_true(labels && im->sample == BS_SAMPLE_U16);
    for (size_t i = 0; i < (size_t)SIDE * SIDE; i++)
        labels[i] = ((const uint16_t *)im->data)[i];
    bs_image_unref(im);
    return labels;
}

static int memory_file(const void *data, size_t n)
{
    int fd = memfd_create("labels", MFD_CLOEXEC);
    assert_true(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    return fd;
}

static bs_status score(const uint32_t *labels, size_t bytes, uint64_t planes, uint64_t height,
                       struct bs_label_score *out, struct bs_err *err)
{
    int truth = open(TRUTH, O_RDONLY | O_CLOEXEC), found = memory_file(labels, bytes);
    assert_true(truth >= 0);
    bs_status rc = bs_score_labels(truth, NULL, found, planes, height, SIDE, out, err);
    close(truth);
    close(found);
    return rc;
}

static void equal_labels_score_one_and_none_score_nothing(void **state)
{
    (void)state;
    const size_t bytes = (size_t)SIDE * SIDE * sizeof(uint32_t);
    uint32_t *labels = read_truth();
    struct bs_label_score s;
    struct bs_err err = {.msg = ""};
    assert_int_equal(score(labels, bytes, 1, SIDE, &s, &err), BS_OK);
    assert_true(s.msa == 1 && s.sa50 == 1 && s.sa75 == 1);
    assert_true(s.expected > 1 && s.predicted == s.expected);
    const uint64_t objects = s.expected;
    for (size_t i = 0; i < (size_t)SIDE * SIDE; i++) /* one object less */
        labels[i] = labels[i] == 1 ? 0 : labels[i];
    assert_int_equal(score(labels, bytes, 1, SIDE, &s, &err), BS_OK);
    assert_true(s.predicted == objects - 1 && s.msa == (double)(objects - 1) / (double)objects);
    memset(labels, 0, bytes);
    assert_int_equal(score(labels, bytes, 1, SIDE, &s, &err), BS_OK);
    assert_true(s.msa == 0 && s.predicted == 0 && s.expected == objects);
    free(labels);
}

static void other_sizes_and_short_results_are_refused(void **state)
{
    (void)state;
    const size_t bytes = (size_t)SIDE * SIDE * sizeof(uint32_t);
    uint32_t *labels = read_truth();
    struct bs_label_score s;
    struct bs_err err;
    assert_int_equal(score(labels, bytes, 1, SIDE - 1, &s, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "256 x 256"));
    assert_int_equal(score(labels, bytes, 2, SIDE, &s, &err), BS_EINVAL);
    assert_int_equal(score(labels, bytes - 4, 1, SIDE, &s, &err), BS_EIO);
    free(labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_labels_score_one_and_none_score_nothing),
        cmocka_unit_test(other_sizes_and_short_results_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
