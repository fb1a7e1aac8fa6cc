/* ONNX files field by field: every length fits, every node's inputs were made before it, weights are those of the model file.
   That ONNX Runtime computes with them what the original does: tests/exports. And every export survives that memory runs
   out, wherever it does. */
#include "model/export/export.h"
#include "model/export/onnx_wire.h"
#include "model/weights/safetensors.h"
#include "tests/support/fail_alloc.h"
#include "tests/support/formula_model.h"
#include "tests/unit/weights/weights_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct bs_export_options nothing;

static void write_model(const char *path, enum bs_arch_kind kind)
{
    const struct bs_unetr_decoder_config decoder = {
        .out_channels = 3, .initial_features = 2, .sigmoid = true};
    struct bs_model_info info = {
        .arch = {.kind = kind,
                 .unet = {.in_channels = 1, .out_channels = 3, .depth = 1, .initial_features = 2},
                 .unetr = {.in_channels = 3,
                           .image_size = 32,
                           .patch_size = 16,
                           .embed_dim = 4,
                           .depth = 1,
                           .heads = 2,
                           .mlp_features = 4,
                           .window = 3,
                           .neck_channels = 4,
                           .decoder = decoder},
                 .vimunet = {.in_channels = 3,
                             .image_size = 32,
                             .patch_size = 16,
                             .embed_dim = 16,
                             .depth = 1,
                             .inner_features = 32,
                             .state_size = 4,
                             .dt_rank = 1,
                             .conv_kernel = 4,
                             .decoder = decoder}},
        .recipe = BS_RECIPE_DISTANCES,
        .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES),
        .trained = true};
    struct bs_err err = {0};
    if (bs_formula_model_write(path, &info, 1, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

/* A small reader of the wire format. */

struct field {
    int number;
    uint64_t value; /* of a varint or 32 bits */
    const unsigned char *data;
    size_t len; /* of bytes */
};

static uint64_t varint(const unsigned char **at, const unsigned char *end)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        assert_true(*at < end);
        const unsigned char byte = *(*at)++;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return v;
    }
    fail_msg("a number without an end");
    return 0;
}

static bool next(const unsigned char **at, const unsigned char *end, struct field *f)
{
    if (*at == end)
        return false;
    const uint64_t tag = varint(at, end);
    *f = (struct field){.number = (int)(tag >> 3)};
    if ((tag & 7) == 0) {
        f->value = varint(at, end);
    } else if ((tag & 7) == 5) {
        assert_true(end - *at >= 4);
        memcpy(&f->value, *at, 4);
        *at += 4;
    } else {
        assert_int_equal(tag & 7, 2);
        f->len = varint(at, end);
        assert_true((size_t)(end - *at) >= f->len);
        f->data = *at;
        *at += f->len;
    }
    return true;
}

/* Names of values that are there, one after the other. */
struct known {
    char text[1 << 16];
    size_t len;
};

static void add(struct known *k, const struct field *name)
{
    assert_true(k->len + name->len + 2 < sizeof k->text);
    k->len += (size_t)sprintf(k->text + k->len, "%.*s\n", (int)name->len, (const char *)name->data);
}

static bool has(const struct known *k, const struct field *name)
{
    char line[256];
    snprintf(line, sizeof line, "\n%.*s\n", (int)name->len, (const char *)name->data);
    return strstr(k->text, line) != NULL;
}

/* Adds the tensor's name; a weight's values are those of the model file. Yields whether it was one. */
static bool check_tensor(const struct field *tensor, const struct bs_safetensors *st, struct known *known)
{
    struct field f, data = {0};
    char name[256] = "";
    for (const unsigned char *at = tensor->data; next(&at, tensor->data + tensor->len, &f);) {
        if (f.number == BS__ONNX_TENSOR_NAME) {
            snprintf(name, sizeof name, "%.*s", (int)f.len, (const char *)f.data);
            add(known, &f);
        } else if (f.number == BS__ONNX_TENSOR_DATA) {
            data = f;
        }
    }
    const struct bs_safetensors_entry *e = bs_safetensors_find(st, name);
    if (!e)
        return false;
    void *values = malloc(e->bytes);
    assert_int_equal(data.len, e->bytes);
    assert_int_equal(bs_safetensors_read(st, e, values, e->bytes, NULL), BS_OK);
    assert_memory_equal(data.data, values, e->bytes);
    free(values);
    return true;
}

static void check_node(const struct field *node, struct known *known)
{
    struct field f;
    for (const unsigned char *at = node->data; next(&at, node->data + node->len, &f);)
        if (f.number == BS__ONNX_NODE_INPUT && f.len && !has(known, &f))
            fail_msg("%.*s is used before it is made", (int)f.len, (const char *)f.data);
    for (const unsigned char *at = node->data; next(&at, node->data + node->len, &f);)
        if (f.number == BS__ONNX_NODE_OUTPUT)
            add(known, &f);
}

static void check_graph(const struct field *graph, const struct bs_safetensors *st, int *nodes, int *weights)
{
    static struct known known;
    struct field f, name = {0};
    known.len = (size_t)sprintf(known.text, "\n");
    for (const unsigned char *at = graph->data; next(&at, graph->data + graph->len, &f);)
        if (f.number == BS__ONNX_GRAPH_INITIALIZER)
            *weights += check_tensor(&f, st, &known);
    for (const unsigned char *at = graph->data; next(&at, graph->data + graph->len, &f);)
        if (f.number == BS__ONNX_GRAPH_INPUT) {
            const unsigned char *first = f.data;
            assert_true(next(&first, f.data + f.len, &name));
            add(&known, &name);
        }
    for (const unsigned char *at = graph->data; next(&at, graph->data + graph->len, &f);)
        if (f.number == BS__ONNX_GRAPH_NODE) {
            check_node(&f, &known);
            (*nodes)++;
        }
    name = (struct field){.data = (const unsigned char *)"output", .len = 6};
    assert_true(has(&known, &name));
}

static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size + 1);
    assert_int_equal(fread(data, 1, *size, f), *size);
    fclose(f);
    return data;
}

/* Parameters that the network's output depends on: not the neck's, for one. */
static int weights_used(const char *model)
{
    struct bs_model_info info;
    struct bs_graph *g = NULL;
    int count = 0;
    assert_int_equal(bs_model_info_read(model, &info, NULL), BS_OK);
    assert_int_equal(bs_arch_build(&info.arch, 1, 32, 32, &g, NULL), BS_OK);
    for (bs_value v = 0; v < bs_graph_node_count(g); v++)
        count += bs_graph_node(g, v)->op == BS_OP_PARAM && bs_graph_is_live(g, v);
    bs_graph_destroy(g);
    assert_true(count > 10);
    return count;
}

static void a_file_is_well_formed_and_holds_the_weights(void **state)
{
    (void)state;
    static const enum bs_arch_kind kinds[] = {BS_ARCH_UNET, BS_ARCH_UNETR};
    const char *model = scratch_path("model.safetensors"), *out = scratch_path("model.onnx");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct bs_safetensors *st = NULL;
        struct bs_err err = {0};
        struct field f;
        size_t size = 0;
        int nodes = 0, weights = 0, version = 0;
        write_model(model, kinds[i]);
        if (bs_export(BS_EXPORT_ONNX, model, out, &nothing, &err) != BS_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(bs_safetensors_open(model, &st, NULL), BS_OK);
        unsigned char *data = read_file(out, &size);
        for (const unsigned char *at = data; next(&at, data + size, &f);) {
            if (f.number == BS__ONNX_MODEL_IR_VERSION)
                version = (int)f.value;
            if (f.number == BS__ONNX_MODEL_GRAPH)
                check_graph(&f, st, &nodes, &weights);
        }
        assert_int_equal(version, 8);
        assert_int_equal(weights, weights_used(model));
        assert_true(nodes > weights / 2);
        free(data);
        bs_safetensors_close(st);
        assert_int_equal(unlink(out), 0);
        assert_int_equal(unlink(model), 0);
    }
}

static void a_selective_scan_is_refused(void **state)
{
    (void)state;
    struct bs_err err = {0};
    const char *model = scratch_path("model.safetensors"), *out = scratch_path("never.onnx");
    write_model(model, BS_ARCH_VIMUNET);
    assert_int_equal(bs_export(BS_EXPORT_ONNX, model, out, &nothing, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "selective scan"));
    assert_int_not_equal(access(out, F_OK), 0);
    assert_int_equal(unlink(model), 0);
}

/* Fails the first allocation, the second, ... until the export succeeds. */
static void an_export_that_runs_out_of_memory_says_so_and_leaves_nothing(void **state)
{
    (void)state;
    static const enum bs_export_format formats[] = {BS_EXPORT_STATE_DICT, BS_EXPORT_TRAINER, BS_EXPORT_ONNX};
    const char *model = scratch_path("model.safetensors"), *out = scratch_path("out");
    write_model(model, BS_ARCH_UNET);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        bs_status rc = BS_ENOMEM;
        unsigned n = 0;
        while (rc != BS_OK) {
            struct bs_err err = {0};
            bs_test_fail_alloc_at(++n);
            rc = bs_export(formats[i], model, out, &nothing, &err);
            const bool failed = bs_test_alloc_failed();
            bs_test_fail_alloc_at(0);
            if (rc == BS_OK)
                assert_false(failed);
            else if (rc != BS_ENOMEM || access(out, F_OK) == 0)
                fail_msg("format %zu, allocation %u: %s", i, n, err.msg);
        }
        assert_true(n > 20);
        assert_int_equal(unlink(out), 0);
    }
    assert_int_equal(unlink(model), 0);
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
        cmocka_unit_test(a_file_is_well_formed_and_holds_the_weights),
        cmocka_unit_test(a_selective_scan_is_refused),
        cmocka_unit_test(an_export_that_runs_out_of_memory_says_so_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
