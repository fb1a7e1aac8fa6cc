/* bioimage.io packages: descriptions are read as YAML means them, weights come out as they went in, and an archive that is odd in
   any way is refused with nothing left behind. */
#include "kernels/base/sha256.h"
#include "model/export/zip_write.h"
#include "model/weights/convert.h"
#include "model/weights/package.h"
#include "model/weights/safetensors.h"
#include "model/weights/yaml.h"
#include "tests/support/fail_alloc.h"
#include "tests/unit/weights/weights_support.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- YAML ---- */

static void scalars_and_collections_mean_what_the_core_schema_says(void **state)
{
    (void)state;
    static const char text[] = "# a comment\n"
                               "plain: some words # here too\n"
                               "quoted: 'it''s'\n"
                               "double: \"a\\tb \\u00e4\"\n"
                               "folded: >\n  two\n  lines\n"
                               "whole: -12\n"
                               "real: 1.5e3\n"
                               "version: 0.5.4\n"
                               "yes: true\n"
                               "nothing: null\n"
                               "text of a number: '12'\n"
                               "list:\n- 1\n- {a: b}\n- [x, y]\n";
    struct bs_json *doc = NULL;
    struct bs_err err = {0};
    int64_t whole = 0;
    double real = 0;
    bool yes = false;
    if (bs__yaml_parse(text, sizeof text - 1, 100, &doc, &err) != BS_OK)
        fail_msg("%s", err.msg);
    const struct bs_json_value *root = bs_json_root(doc);
    static const char *const texts[][2] = {
        {"plain", "some words"}, {"quoted", "it's"}, {"double", "a\tb \xc3\xa4"}, {"folded", "two lines\n"},
        {"version", "0.5.4"},    {"nothing", ""},    {"text of a number", "12"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *value = NULL;
        assert_true(bs_json_as_string(bs_json_get(root, texts[i][0]), &value));
        assert_string_equal(value, texts[i][1]);
    }
    assert_true(bs_json_as_int(bs_json_get(root, "whole"), &whole) && whole == -12);
    assert_true(bs_json_as_double(bs_json_get(root, "real"), &real) && real == 1500);
    assert_true(bs_json_as_bool(bs_json_get(root, "yes"), &yes) && yes);
    const struct bs_json_value *list = bs_json_get(root, "list");
    assert_int_equal(bs_json_count(list), 3);
    assert_non_null(bs_json_get(bs_json_next(bs_json_first(list)), "a"));
    bs_json_free(doc);
}

static void what_makes_small_texts_large_is_refused(void **state)
{
    (void)state;
    char deep[256], wide[1024] = "";
    memset(deep, '[', sizeof deep);
    for (size_t i = 0; i < 200; i++)
        strcat(wide, "- 1\n");
    const struct {
        const char *text;
        size_t len;
        const char *word;
    } cases[] = {{"a: &x [1]\nb: *x\n", 0, "anchors"},
                 {"b: *x\n", 0, "aliases"},
                 {"a: !!python/object:os.system x\n", 0, "tags"},
                 {"a: 1\n---\nb: 2\n", 0, "second document"},
                 {"a: 1\na: 2\n", 0, "twice"},
                 {"[1, 2]: x\n", 0, "a key must be a text"},
                 {"a: \"x\\0y\"\n", 0, "NUL"},
                 {"a: [1, 2\n", 0, "YAML, line"},
                 {"\xff\xfe", 0, "YAML, line"},
                 {"", 0, "nothing in it"},
                 {deep, sizeof deep, "deeply"},
                 {wide, 0, "more than 100 values"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_json *doc = NULL;
        struct bs_err err = {0};
        const size_t len = cases[i].len ? cases[i].len : strlen(cases[i].text);
        if (bs__yaml_parse(cases[i].text, len, 100, &doc, &err) == BS_OK || !strstr(err.msg, cases[i].word))
            fail_msg("case %zu: %s (expected: %s)", i, err.msg, cases[i].word);
        assert_null(doc);
    }
}

/* ---- Packages ---- */

#define RDF                                                                                                  \
    "format_version: 0.5.4\ntype: model\nname: cells\nlicense: MIT\nauthors: [{name: A. Person}]\n"          \
    "inputs: [{id: in, preprocessing: [{id: zero_mean_unit_variance}]}]\noutputs: [{id: out}]\n"             \
    "weights:\n  pytorch_state_dict:\n    source: state.pth\n    sha256: %s\n"                               \
    "    architecture: {kwargs: {final_activation: Sigmoid}}\n"

/* A package with that description ("%s" in it: the weights' hash) and a checkpoint of the fixtures as state.pth. */
static void write_package(const char *path, const char *format)
{
    struct bs__zip_writer z;
    struct bs_sha256 h;
    struct bs_err err = {0};
    unsigned char digest[BS_SHA256_BYTES];
    char hash[BS_SHA256_TEXT], rdf[4096];
    size_t size = 0;
    unsigned char *weights = fixture("golden/checkpoints/state_dict.pth", &size);
    bs_sha256_begin(&h);
    bs_sha256_add(&h, weights, size);
    bs_sha256_end(&h, digest);
    bs_sha256_text(digest, hash);
    snprintf(rdf, sizeof rdf, format, hash);
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    bs__zip_create(&z, fd);
    assert_int_equal(bs__zip_entry(&z, "rdf.yaml", rdf, strlen(rdf), 4, &err), BS_OK);
    assert_int_equal(bs__zip_entry(&z, "state.pth", weights, size, 4, &err), BS_OK);
    assert_int_equal(bs__zip_finish(&z, &err), BS_OK);
    bs__zip_destroy(&z);
    close(fd);
    free(weights);
}

static bs_status convert(const char *in, const char *out, struct bs_convert_report *report,
                         struct bs_err *err)
{
    const struct bs_convert_options options = {0};
    return bs_convert_checkpoint(in, out, &options, report, err);
}

static void a_package_gives_its_weights_and_what_it_says(void **state)
{
    (void)state;
    static struct bs_convert_report report;
    struct bs_err err = {0};
    struct bs_safetensors *made = NULL, *expected = NULL;
    const char *package = scratch_path("package.zip"), *out = scratch_path("out");
    write_package(package, RDF);
    assert_true(bs__package_is_one(package));
    assert_false(bs__package_is_one(fixture_path("golden/checkpoints/state_dict.pth")));
    if (convert(package, out, &report, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(report.format, "bioimage.io package");
    assert_string_equal(report.info.assumed, "recipe=boundaries");
    assert_string_equal(report.info.licence, "MIT");
    assert_string_equal(report.info.source, "bioimage.io package cells by A. Person");
    assert_int_equal(bs_safetensors_open(out, &made, NULL), BS_OK);
    assert_int_equal(
        bs_safetensors_open(fixture_path("golden/checkpoints/expected.safetensors"), &expected, NULL), BS_OK);
    assert_int_equal(bs_safetensors_count(made), bs_safetensors_count(expected));
    for (size_t i = 0; i < bs_safetensors_count(made); i++) {
        const struct bs_safetensors_entry *e = bs_safetensors_entry(made, i),
                                          *f = bs_safetensors_find(expected, e->name);
        assert_non_null(f);
        assert_int_equal(e->bytes, f->bytes);
        void *a = malloc(e->bytes), *b = malloc(e->bytes);
        assert_int_equal(bs_safetensors_read(made, e, a, e->bytes, NULL), BS_OK);
        assert_int_equal(bs_safetensors_read(expected, f, b, e->bytes, NULL), BS_OK);
        assert_memory_equal(a, b, e->bytes);
        free(a);
        free(b);
    }
    bs_safetensors_close(made);
    bs_safetensors_close(expected);
    assert_int_equal(unlink(out), 0);
    assert_int_equal(unlink(package), 0);
}

/* Replaces `from` in RDF. */
static const char *changed(const char *from, const char *to)
{
    static char text[8192];
    const char *at = strstr(RDF, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - RDF), RDF, to, at + strlen(from));
    return text;
}

static void what_a_package_does_not_say_is_assumed_and_named(void **state)
{
    (void)state;
    static struct bs_convert_report report;
    struct bs_err err = {0};
    const char *package = scratch_path("package.zip"), *out = scratch_path("out");
    write_package(package, changed("    architecture: {kwargs: {final_activation: Sigmoid}}\n", ""));
    if (convert(package, out, &report, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(report.info.assumed, "final_activation=Sigmoid,recipe=boundaries");
    assert_int_equal(unlink(out), 0);
    assert_int_equal(unlink(package), 0);
}

static void what_is_odd_is_refused_in_words(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *word;
    } cases[] = {
        {"source: state.pth", "source: /etc/passwd", "only a file inside"},
        {"source: state.pth", "source: a/../../state.pth", "only a file inside"},
        {"source: state.pth", "source: ..", "only a file inside"},
        {"source: state.pth", "source: 'a\\b'", "only a file inside"},
        {"source: state.pth", "source: http://x/state.pth", "only a file inside"},
        {"source: state.pth", "source: rdf.yaml", "is not what rdf.yaml says"},
        {"sha256: %s", "sha256: 0", "not a text"},
        {"source: state.pth", "source: nothing.pth", "lacks nothing.pth"},
        {"pytorch_state_dict", "onnx", "weights are onnx"},
        {"type: model", "type: dataset", "describes a dataset"},
        {"0.5.4", "0.3.6", "0.4 and 0.5"},
        {"zero_mean_unit_variance", "scale_range", "scale_range"},
        {"{id: zero_mean_unit_variance}", "{id: zero_mean_unit_variance, kwargs: {axes: [y]}}", "zero_mean"},
        {"{id: zero_mean_unit_variance}", "{id: clip}", "clip"},
        {"outputs: [{id: out}]", "outputs: [{id: out}, {id: more}]", "2 outputs"},
        {"outputs: [{id: out}]", "outputs: [{id: out, postprocessing: [{id: binarize}]}]", "binarize"},
    };
    const char *package = scratch_path("package.zip"), *out = scratch_path("never");
    static struct bs_convert_report report;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_err err = {0};
        write_package(package, changed(cases[i].from, cases[i].to));
        if (convert(package, out, &report, &err) == BS_OK || !strstr(err.msg, cases[i].word))
            fail_msg("%s: %s", cases[i].to, err.msg);
    }
    assert_int_equal(unlink(package), 0);
}

/* Cut anywhere, or with any byte changed: refused or, where the byte means nothing, read as before; nothing is left behind (the
   last of the tests looks). */
static void a_damaged_archive_is_no_danger(void **state)
{
    (void)state;
    const char *package = scratch_path("package.zip"), *damaged = scratch_path("damaged.zip"),
               *out = scratch_path("out");
    static struct bs_convert_report report;
    struct bs_err err = {0};
    write_package(package, RDF);
    const int fd = open(package, O_RDONLY | O_CLOEXEC);
    unsigned char *data = malloc(1 << 20);
    const ssize_t size = read(fd, data, 1 << 20);
    close(fd);
    assert_in_range(size, 1000, (1 << 20) - 1);
    for (int i = 0; i < 300; i++) {
        const bool cut = i < 100;
        const size_t at = (size_t)(size * (i % 100) / 100) + (size_t)(i / 100) * 7 % (size_t)size;
        const unsigned char before = data[at];
        const int to = open(damaged, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (!cut)
            data[at] ^= (unsigned char)(1 << i % 8);
        const size_t len = cut ? at : (size_t)size;
        assert_int_equal(write(to, data, len), len);
        close(to);
        data[at] = before;
        if (convert(damaged, out, &report, &err) == BS_OK)
            assert_int_equal(unlink(out), 0);
        else
            assert_int_not_equal(access(out, F_OK), 0);
        assert_false(cut && access(out, F_OK) == 0);
    }
    free(data);
    assert_int_equal(unlink(damaged), 0);
    assert_int_equal(unlink(package), 0);
}

static void an_import_that_runs_out_of_memory_says_so(void **state)
{
    (void)state;
    const char *package = scratch_path("package.zip"), *out = scratch_path("out");
    static struct bs_convert_report report;
    bs_status rc = BS_ENOMEM;
    unsigned n = 0;
    write_package(package, RDF);
    while (rc != BS_OK) {
        struct bs_err err = {0};
        bs_test_fail_alloc_at(++n);
        rc = convert(package, out, &report, &err);
        bs_test_fail_alloc_at(0);
        if (rc != BS_OK && rc != BS_ENOMEM && rc != BS_ELIMIT) /* of arenas: their cap, as they see it */
            fail_msg("allocation %u: %s", n, err.msg);
    }
    assert_true(n > 20);
    assert_int_equal(unlink(out), 0);
    assert_int_equal(unlink(package), 0);
}

static int remove_folder(void **state)
{
    (void)state;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", scratch_path("x"));
    *strrchr(folder, '/') = 0;
    return rmdir(folder); /* fails when anything was left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_and_collections_mean_what_the_core_schema_says),
        cmocka_unit_test(what_makes_small_texts_large_is_refused),
        cmocka_unit_test(a_package_gives_its_weights_and_what_it_says),
        cmocka_unit_test(what_a_package_does_not_say_is_assumed_and_named),
        cmocka_unit_test(what_is_odd_is_refused_in_words),
        cmocka_unit_test(a_damaged_archive_is_no_danger),
        cmocka_unit_test(an_import_that_runs_out_of_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
