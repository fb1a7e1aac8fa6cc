/* Promises of the metrics writer: what Prometheus reads back is what was meant. */
#include "server/http/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_text(const struct bs_metrics_writer *m, const char *expected)
{
    const char *text;
    size_t n;
    struct bs_err err;
    assert_int_equal(bs_metrics_text(m, &text, &n, &err), BS_OK);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(text, expected, n);
}

static void families_are_written_with_help_and_type(void **state)
{
    (void)state;
    struct bs_metrics_writer *m = bs_metrics_create();
    bs_metrics_single(m, BS_METRIC_COUNTER, "a_total", "What a is.", 3);
    bs_metrics_family(m, BS_METRIC_GAUGE, "b:c", "Two samples.");
    bs_metrics_sample(m, (const struct bs_metric_label[]){{"state", "queued"}}, 1, 1);
    bs_metrics_sample(m, (const struct bs_metric_label[]){{"state", "running"}, {"device", "cpu"}}, 2, 0);
    expect_text(m, "# HELP a_total What a is.\n# TYPE a_total counter\na_total 3\n"
                   "# HELP b:c Two samples.\n# TYPE b:c gauge\n"
                   "b:c{state=\"queued\"} 1\nb:c{state=\"running\",device=\"cpu\"} 0\n");
    bs_metrics_destroy(m);
}

static void quotes_backslashes_and_line_feeds_are_escaped(void **state)
{
    (void)state;
    struct bs_metrics_writer *m = bs_metrics_create();
    bs_metrics_family(m, BS_METRIC_GAUGE, "x", "a \"b\" \\ c\nd");
    bs_metrics_sample(m, (const struct bs_metric_label[]){{"l", "q\"} 1\ny 2 \\"}}, 1, 1);
    expect_text(m, "# HELP x a \"b\" \\\\ c\\nd\n# TYPE x gauge\nx{l=\"q\\\"} 1\\ny 2 \\\\\"} 1\n");
    bs_metrics_destroy(m);
}

static void numbers_come_back_as_they_were(void **state)
{
    (void)state;
    const double values[] = {0, -1, 0.1, 1e300, 9007199254740992.0, 1234567890123.0, -2.5e-9};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const char *text;
        size_t n;
        struct bs_err err;
        struct bs_metrics_writer *m = bs_metrics_create();
        bs_metrics_single(m, BS_METRIC_GAUGE, "x", "h", values[i]);
        assert_int_equal(bs_metrics_text(m, &text, &n, &err), BS_OK);
        char line[64] = "";
        memcpy(line, text + strlen("# HELP x h\n# TYPE x gauge\nx "),
               n - strlen("# HELP x h\n# TYPE x gauge\nx "));
        assert_true(strtod(line, NULL) == values[i]);
        bs_metrics_destroy(m);
    }
}

static void what_is_no_number_has_prometheus_names(void **state)
{
    (void)state;
    struct bs_metrics_writer *m = bs_metrics_create();
    bs_metrics_family(m, BS_METRIC_GAUGE, "x", "h");
    bs_metrics_sample(m, NULL, 0, NAN);
    bs_metrics_sample(m, NULL, 0, INFINITY);
    bs_metrics_sample(m, NULL, 0, -INFINITY);
    expect_text(m, "# HELP x h\n# TYPE x gauge\nx NaN\nx +Inf\nx -Inf\n");
    bs_metrics_destroy(m);
}

static void too_much_is_an_error_and_not_half_a_page(void **state)
{
    (void)state;
    const char *text;
    size_t n;
    struct bs_err err;
    struct bs_metrics_writer *m = bs_metrics_create();
    bs_metrics_family(m, BS_METRIC_GAUGE, "x", "h");
    for (size_t i = 0; i < BS_METRICS_MAX_BYTES / 4 + 1; i++)
        bs_metrics_sample(m, NULL, 0, 1);
    assert_int_equal(bs_metrics_text(m, &text, &n, &err), BS_ELIMIT);
    bs_metrics_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_are_written_with_help_and_type),
        cmocka_unit_test(quotes_backslashes_and_line_feeds_are_escaped),
        cmocka_unit_test(numbers_come_back_as_they_were),
        cmocka_unit_test(what_is_no_number_has_prometheus_names),
        cmocka_unit_test(too_much_is_an_error_and_not_half_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
