/* Whatever names are like, a report is a page that shows them: nothing in it runs, and nothing comes from elsewhere. */
#include "clients/cli/chart.h"
#include "clients/cli/html.h"
#include "clients/cli/report.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_escaped(const char *text, const char *expected)
{
    struct bs__html w = {0};
    size_t size;
    bs__html_text(&w, text);
    bs__html_raw(&w, ""); /* there is a text, also of nothing */
    char *out = bs__html_end(&w, &size);
    assert_string_equal(out, expected);
    assert_int_equal(size, strlen(expected));
    free(out);
}

static void what_means_something_in_html_is_escaped(void **state)
{
    (void)state;
    expect_escaped("plain", "plain");
    expect_escaped("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
    expect_escaped("\" onload=\"x", "&quot; onload=&quot;x");
    expect_escaped("a & b &amp; c", "a &amp; b &amp;amp; c");
    expect_escaped("--><!--", "--&gt;&lt;!--");
    expect_escaped("\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\xac", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\xac");
    expect_escaped("a\nb", "a\nb");
}

#define BAD "\xef\xbf\xbd"

static void what_is_no_text_is_shown_as_such(void **state)
{
    (void)state;
    expect_escaped("a\x01\x1b[2Jb\x7f", "a" BAD BAD "[2Jb" BAD);
    expect_escaped("\xff\xfe", BAD BAD);
    expect_escaped("\xc0\xbcscript", BAD BAD "script"); /* an overlong "<" */
    expect_escaped("\xe2\x82", BAD BAD);                /* cut */
    expect_escaped("\xed\xa0\x80", BAD BAD BAD);        /* a surrogate */
    expect_escaped("\xc3<b>", BAD "&lt;b&gt;");         /* a lead byte does not swallow what follows */
}

#define HOSTILE "</td><script>alert(1)</script>\"'&.png"

/* A report in which every text is hostile. */
static char *hostile_report(void)
{
    static char text[] = HOSTILE;
    static char config[] = "{\"<script>k</script>\": {\"in\": \"<script>v</script>\"}, \"n\": [1, \"<b>\"]}";
    Bioseg__V1__Job job = BIOSEG__V1__JOB__INIT;
    Bioseg__V1__JobError error = BIOSEG__V1__JOB_ERROR__INIT;
    Bioseg__V1__TrainingState training = BIOSEG__V1__TRAINING_STATE__INIT;
    Bioseg__V1__ModelRef ref = BIOSEG__V1__MODEL_REF__INIT;
    Bioseg__V1__Dataset dataset = BIOSEG__V1__DATASET__INIT;
    Bioseg__V1__Pair pair = BIOSEG__V1__PAIR__INIT, *pairs[] = {&pair};
    Bioseg__V1__Model model = BIOSEG__V1__MODEL__INIT;
    Bioseg__V1__LineageStep step = BIOSEG__V1__LINEAGE_STEP__INIT, *steps[] = {&step};
    Bioseg__V1__GetLineageResponse lineage = BIOSEG__V1__GET_LINEAGE_RESPONSE__INIT;
    Bioseg__V1__Comparison comparison = BIOSEG__V1__COMPARISON__INIT;
    const Bioseg__V1__Comparison *comparisons[] = {&comparison};
    Bioseg__V1__ComparedImage image = BIOSEG__V1__COMPARED_IMAGE__INIT, *images[] = {&image};
    Bioseg__V1__ImageUse use = BIOSEG__V1__IMAGE_USE__INIT, *uses[] = {&use};
    Bioseg__V1__Warning warning = BIOSEG__V1__WARNING__INIT, *warnings[] = {&warning};
    Bioseg__V1__MeanDifference difference = BIOSEG__V1__MEAN_DIFFERENCE__INIT, *differences[] = {&difference};
    char *groups[] = {text};
    ref.name = text;
    use.model = &ref;
    job.id = job.owner = error.message = training.dataset = training.model_name = text;
    training.dataset_sha256 = text;
    training.config_json = config;
    training.initial = job.model = &ref;
    job.state = BIOSEG__V1__JOB_STATE__JOB_STATE_FAILED;
    job.error = &error;
    job.training = &training;
    dataset.name = dataset.description = text;
    dataset.groups_across_splits = groups;
    dataset.n_groups_across_splits = 1;
    pair.name = pair.group = pair.image_sha256 = text;
    model.sha256 = model.architecture = text;
    step.model = step.parent = &ref;
    step.how = step.dataset = step.job_id = text;
    lineage.steps = steps;
    lineage.n_steps = 1;
    comparison.candidate = comparison.baseline = &ref;
    comparison.dataset = text;
    comparison.forced = 1;
    comparison.images = images;
    comparison.warnings = warnings;
    comparison.differences = differences;
    comparison.n_images = comparison.n_warnings = comparison.n_differences = 1;
    image.name = warning.text = difference.metric = text;
    image.uses = uses;
    image.n_uses = 1;
    const struct bs__report r = {.job = &job,
                                 .dataset = &dataset,
                                 .pairs = pairs,
                                 .npair = 1,
                                 .model = &model,
                                 .lineage = &lineage,
                                 .comparisons = comparisons,
                                 .ncomparison = 1};
    struct bs_err err = {.msg = ""};
    char *html = NULL;
    size_t size;
    if (bs__report_write(&r, &html, &size, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(size, strlen(html));
    return html;
}

static void no_name_gets_out_of_its_place(void **state)
{
    (void)state;
    char *html = hostile_report();
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, "<b>"));
    size_t shown = 0;
    for (const char *p = html;
         (p = strstr(p, "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;.png")); p++)
        shown++;
    assert_true(shown >= 20); /* it is not left out either */
    assert_non_null(strstr(html, "&lt;script&gt;k&lt;/script&gt;.in"));
    assert_non_null(strstr(html, "&lt;script&gt;v&lt;/script&gt;"));
    assert_non_null(strstr(html, "FORCED"));
    assert_non_null(strstr(html, "(seen in training)"));
    free(html);
}

static void nothing_comes_from_elsewhere(void **state)
{
    (void)state;
    static const char *const outside[] = {
        "http:", "https:", "src=", "href=", "url(", "@import", "<link", "<iframe"};
    char *html = hostile_report();
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        assert_null(strstr(html, outside[i]));
    assert_non_null(strstr(html, "default-src 'none'"));
    free(html);
}

static void curves_are_drawn_whatever_their_numbers(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 4}, y[] = {0.5, NAN, INFINITY, 0.25}, flat[] = {1, 1, 1, 1},
                 zero[] = {0, 0, 0, 0};
    const double *const values[] = {y, flat, zero};
    for (size_t i = 0; i < 6; i++) {
        struct bs__html w = {0};
        size_t size;
        const struct bs__chart_series s = {"a < b", "#000", x, values[i % 3], 4, i < 3};
        bs__chart_write(&w, &(struct bs__chart){.title = "t",
                                                .x_label = "x",
                                                .series = &s,
                                                .nseries = 1,
                                                .logarithmic = i >= 3,
                                                .mark = 3,
                                                .marked = "best"});
        char *out = bs__html_end(&w, &size);
        assert_non_null(out);
        assert_null(strstr(out, "nan"));
        assert_null(strstr(out, "inf"));
        /* nothing can be drawn of zeros on a logarithmic axis, and that is said */
        assert_true((strstr(out, "<polyline") != NULL) == (i != 5));
        assert_true((strstr(out, "Nothing was told") != NULL) == (i == 5));
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_means_something_in_html_is_escaped),
        cmocka_unit_test(what_is_no_text_is_shown_as_such),
        cmocka_unit_test(no_name_gets_out_of_its_place),
        cmocka_unit_test(nothing_comes_from_elsewhere),
        cmocka_unit_test(curves_are_drawn_whatever_their_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
