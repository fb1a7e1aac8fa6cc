/* What the ViM-UNet's graph promises: the original's names, shapes and counts, variants recovered from them and the rest
   assumed by name, the original's order of tokens and directions, and refusals that say what is accepted. */
#include "manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bs_arch_config vimunet(int embed_dim, enum bs_upsampling upsampling)
{
    return (struct bs_arch_config){.kind = BS_ARCH_VIMUNET,
                                   .vimunet = {.in_channels = 3,
                                               .image_size = 1024,
                                               .patch_size = 16,
                                               .embed_dim = embed_dim,
                                               .depth = 24,
                                               .inner_features = 2 * embed_dim,
                                               .state_size = 16,
                                               .dt_rank = embed_dim / 16,
                                               .conv_kernel = 4,
                                               .head_classes = 1000,
                                               .class_token = true,
                                               .divide_by_directions = true,
                                               .decoder = {.out_channels = 3,
                                                           .initial_features = 64,
                                                           .upsampling = upsampling,
                                                           .sigmoid = true}}};
}

/* The kind before the original changed: rotary embedding, class token first, directions summed. */
static struct bs_arch_config older(void)
{
    struct bs_arch_config cfg = vimunet(192, BS_UPSAMPLING_TRANSPOSED);
    cfg.vimunet.rotary = cfg.vimunet.class_token_first = true;
    cfg.vimunet.divide_by_directions = false;
    return cfg;
}

static struct bs_graph *build(const struct bs_arch_config *cfg, int64_t h, int64_t w)
{
    struct bs_graph *g = NULL;
    struct bs_err err = {0};
    if (bs_arch_build(cfg, 1, h, w, &g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return g;
}

static const struct variant {
    const char *name;
    uint64_t parameters; /* of golden/full/NAME/info.json */
    int embed_dim;
    enum bs_upsampling upsampling;
} variants[] = {
    {"vim_t", 17160363, 192, BS_UPSAMPLING_BILINEAR},
    {"vim_s", 37540779, 384, BS_UPSAMPLING_BILINEAR},
    {"vim_t_ct", 18499755, 192, BS_UPSAMPLING_TRANSPOSED},
};
#define VARIANTS (sizeof variants / sizeof *variants)

static void parameter_counts_are_those_of_the_original(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        const struct bs_arch_config cfg = vimunet(variants[i].embed_dim, variants[i].upsampling);
        struct manifest *m = manifest_read(variants[i].name);
        uint64_t count = 0;
        assert_int_equal(bs_arch_parameter_count(&cfg, &count, NULL), BS_OK);
        assert_int_equal(count, variants[i].parameters);
        assert_int_equal(m->parameters, variants[i].parameters);
        free(m);
    }
}

static void assert_recovered(const struct manifest *m, const struct bs_arch_config *want,
                             const char *want_assumed)
{
    struct bs_arch_config have;
    struct bs_err err = {0};
    char assumed[128] = "";
    if (bs_arch_recover(m->entry, m->count, &have, assumed, sizeof assumed, &err) != BS_OK)
        fail_msg("%s", err.msg);
    const struct bs_vimunet_config *h = &have.vimunet, *w = &want->vimunet;
    assert_int_equal(have.kind, BS_ARCH_VIMUNET);
    assert_int_equal(h->in_channels, w->in_channels);
    assert_int_equal(h->image_size, w->image_size);
    assert_int_equal(h->patch_size, w->patch_size);
    assert_int_equal(h->embed_dim, w->embed_dim);
    assert_int_equal(h->depth, w->depth);
    assert_int_equal(h->inner_features, w->inner_features);
    assert_int_equal(h->state_size, w->state_size);
    assert_int_equal(h->dt_rank, w->dt_rank);
    assert_int_equal(h->conv_kernel, w->conv_kernel);
    assert_int_equal(h->head_classes, w->head_classes);
    assert_int_equal(h->class_token, w->class_token);
    assert_int_equal(h->class_token_first, w->class_token_first);
    assert_int_equal(h->rotary, w->rotary);
    assert_int_equal(h->divide_by_directions, w->divide_by_directions);
    assert_int_equal(h->decoder.out_channels, w->decoder.out_channels);
    assert_int_equal(h->decoder.initial_features, w->decoder.initial_features);
    assert_int_equal(h->decoder.upsampling, w->decoder.upsampling);
    assert_int_equal(h->decoder.sigmoid, w->decoder.sigmoid);
    assert_string_equal(assumed, want_assumed);
}

/* Recovery compares every name and shape of the state dict with the graph, in both directions. */
static void every_name_and_shape_is_the_originals_and_tells_the_variant(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        const struct bs_arch_config cfg = vimunet(variants[i].embed_dim, variants[i].upsampling);
        struct manifest *m = manifest_read(variants[i].name);
        assert_recovered(m, &cfg, "final_activation=Sigmoid,class_token=middle,divide_by_directions=true");
        free(m);
    }
}

static void rotary_tables_tell_the_older_kind(void **state)
{
    (void)state;
    struct bs_arch_config cfg = older();
    struct manifest *m = manifest_read("vim_t_ct");
    manifest_add(m, "encoder.rope.freqs_cos", BS_SHAPE(4096, 192));
    manifest_add(m, "encoder.rope.freqs_sin", BS_SHAPE(4096, 192));
    assert_recovered(m, &cfg, "final_activation=Sigmoid,class_token=first,divide_by_directions=false");
    uint64_t count = 0;
    assert_int_equal(bs_arch_parameter_count(&cfg, &count, NULL), BS_OK);
    assert_int_equal(count, m->parameters); /* the tables are no parameters */
    free(m);
}

static void class_token_and_head_may_be_missing(void **state)
{
    (void)state;
    struct bs_arch_config cfg = vimunet(192, BS_UPSAMPLING_BILINEAR);
    struct manifest *m = manifest_read("vim_t");
    manifest_remove(m, "encoder.head.weight");
    manifest_remove(m, "encoder.head.bias");
    cfg.vimunet.head_classes = 0;
    assert_recovered(m, &cfg, "final_activation=Sigmoid,class_token=middle,divide_by_directions=true");
    manifest_remove(m, "encoder.cls_token");
    manifest_find(m, "encoder.pos_embed")->shape = BS_SHAPE(1, 4096, 192);
    cfg.vimunet.class_token = false;
    assert_recovered(m, &cfg, "final_activation=Sigmoid,divide_by_directions=true");
    manifest_add(m, "encoder.rope.freqs_cos", BS_SHAPE(4096, 192));
    manifest_add(m, "encoder.rope.freqs_sin", BS_SHAPE(4096, 192));
    cfg.vimunet.rotary = true;
    cfg.vimunet.divide_by_directions = false;
    assert_recovered(m, &cfg, "final_activation=Sigmoid,divide_by_directions=false");
    free(m);
}

/* Leaving out any one tensor, or changing any one shape, is noticed. */
static void nothing_may_be_missing_or_of_another_shape(void **state)
{
    (void)state;
    struct manifest *m = manifest_read("vim_t");
    char assumed[128];
    struct bs_arch_config cfg;
    for (size_t i = 0; i < m->count; i++) {
        const struct bs_state_entry kept = m->entry[i];
        if (strstr(kept.name, ".num_batches_tracked"))
            continue;
        m->entry[i].shape.dim[kept.shape.ndim - 1] += 1;
        if (bs_arch_recover(m->entry, m->count, &cfg, assumed, sizeof assumed, NULL) == BS_OK)
            fail_msg("%s may have another shape", kept.name);
        m->entry[i] = m->entry[--m->count];
        if (bs_arch_recover(m->entry, m->count, &cfg, assumed, sizeof assumed, NULL) == BS_OK)
            fail_msg("%s may be missing", kept.name);
        m->entry[m->count++] = m->entry[i];
        m->entry[i] = kept;
    }
    free(m);
}

static void assert_not_recovered(const struct manifest *m, bs_status status, const char *words)
{
    struct bs_arch_config cfg;
    struct bs_err err = {0};
    char assumed[128];
    assert_int_equal(bs_arch_recover(m->entry, m->count, &cfg, assumed, sizeof assumed, &err), status);
    if (!strstr(err.msg, words))
        fail_msg("\"%s\" does not say %s", err.msg, words);
}

static void what_is_not_supported_is_named(void **state)
{
    (void)state;
    struct manifest *m = manifest_read("vim_t");
    manifest_add(m, "encoder.cls_token_head", BS_SHAPE(1, 1, 192));
    assert_not_recovered(m, BS_EUNSUPPORTED, "two class tokens");
    m->count--;
    manifest_find(m, "encoder.pos_embed")->shape = BS_SHAPE(1, 4098, 192);
    assert_not_recovered(m, BS_EINVAL, "positions for 4097 patches");
    manifest_find(m, "encoder.pos_embed")->shape = BS_SHAPE(1, 4097, 192);
    manifest_add(m, "encoder.layers.0.mixer.gamma", BS_SHAPE(192));
    assert_not_recovered(m, BS_EINVAL, "encoder.layers.0.mixer.gamma does not belong");
    m->count--;
    manifest_add(m, "encoder.rope.freqs_cos", BS_SHAPE(4096, 192));
    assert_not_recovered(m, BS_EINVAL, "encoder.rope.freqs_sin");
    m->count--;
    manifest_find(m, "encoder.layers.23.norm.weight")->name = "encoder.layers.33.norm.weight";
    assert_not_recovered(m, BS_EINVAL, "encoder.layers.23.");
    free(m);
}

static int count_ops(const struct bs_graph *g, enum bs_op op, int reverse)
{
    int count = 0;
    for (int i = 0; i < bs_graph_node_count(g); i++) {
        const struct bs_node *n = bs_graph_node(g, i);
        count += n->op == op && (reverse < 0 || n->attr.reverse == reverse);
    }
    return count;
}

static const struct bs_node *only(const struct bs_graph *g, enum bs_op op)
{
    const struct bs_node *found = NULL;
    assert_int_equal(count_ops(g, op, -1), 1);
    for (int i = 0; i < bs_graph_node_count(g); i++)
        if (bs_graph_node(g, i)->op == op)
            found = bs_graph_node(g, i);
    return found;
}

static void the_first_token_is_dropped_wherever_the_class_token_is(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct bs_arch_config cfg = vimunet(192, BS_UPSAMPLING_BILINEAR);
        cfg.vimunet.class_token_first = first;
        struct bs_graph *g = build(&cfg, 1024, 1024);
        assert_int_equal(only(g, BS_OP_INSERT_TOKEN)->attr.start, first ? 0 : 2048);
        assert_int_equal(only(g, BS_OP_ADD_POSITION)->attr.start, first ? 0 : 2048);
        assert_int_equal(only(g, BS_OP_SLICE_TOKENS)->attr.start, 1);
        assert_int_equal(only(g, BS_OP_SLICE_TOKENS)->attr.count, 4096);
        bs_graph_destroy(g);
    }
    struct bs_arch_config none = vimunet(192, BS_UPSAMPLING_BILINEAR);
    none.vimunet.class_token = false;
    struct bs_graph *g = build(&none, 1024, 1024);
    assert_int_equal(count_ops(g, BS_OP_INSERT_TOKEN, -1), 0);
    assert_int_equal(count_ops(g, BS_OP_SLICE_TOKENS, -1), 0);
    bs_graph_destroy(g);
}

static void every_block_scans_both_ways_and_the_older_kind_does_not_average(void **state)
{
    (void)state;
    struct bs_arch_config newer = vimunet(192, BS_UPSAMPLING_BILINEAR), old = older();
    struct bs_graph *g = build(&newer, 1024, 1024);
    for (int reverse = 0; reverse < 2; reverse++) {
        assert_int_equal(count_ops(g, BS_OP_SELECTIVE_SCAN, reverse), 24);
        assert_int_equal(count_ops(g, BS_OP_CAUSAL_CONV1D, reverse), 24);
    }
    assert_int_equal(count_ops(g, BS_OP_SCALE, -1), 24);
    assert_int_equal(count_ops(g, BS_OP_ROTARY, -1), 0);
    bs_graph_destroy(g);
    g = build(&old, 1024, 1024);
    assert_int_equal(count_ops(g, BS_OP_SCALE, -1), 0);
    assert_int_equal(count_ops(g, BS_OP_ROTARY, -1),
                     24 + 23); /* hidden and, from the second block on, residual */
    bs_graph_destroy(g);
}

static void the_classification_head_is_in_the_file_and_not_computed(void **state)
{
    (void)state;
    struct bs_arch_config cfg = vimunet(192, BS_UPSAMPLING_BILINEAR);
    struct bs_graph *g = build(&cfg, 1024, 1024);
    int seen = 0;
    for (int i = 0; i < bs_graph_node_count(g); i++) {
        const struct bs_node *n = bs_graph_node(g, i);
        if (n->op == BS_OP_PARAM && !strncmp(n->name, "encoder.head.", 13)) {
            assert_false(bs_graph_is_live(g, i));
            seen++;
        }
    }
    assert_int_equal(seen, 2);
    bs_graph_destroy(g);
}

static void assert_size_refused(const struct bs_arch_config *cfg, int64_t h, int64_t w, bs_status status,
                                const char *words)
{
    struct bs_graph *g = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs_arch_build(cfg, 1, h, w, &g, &err), status);
    assert_null(g);
    if (!strstr(err.msg, words))
        fail_msg("\"%s\" does not say %s", err.msg, words);
}

static void other_sizes_resample_the_positions_and_impossible_ones_are_refused(void **state)
{
    (void)state;
    struct bs_arch_config cfg = vimunet(192, BS_UPSAMPLING_BILINEAR), old = older();
    struct bs_graph *g = build(&cfg, 512, 768);
    const struct bs_node *output = bs_graph_node(g, bs_graph_output_value(g, 1));
    assert_string_equal(bs_graph_output_name(g, 1), "output");
    assert_true(bs_shape_equal(&output->shape, &BS_SHAPE(1, 3, 512, 768)));
    assert_int_equal(only(g, BS_OP_INSERT_TOKEN)->attr.start, 32 * 48 / 2);
    bs_graph_destroy(g);
    assert_int_equal(bs_arch_divisor(&cfg), 16);
    assert_int_equal(bs_arch_receptive_radius(&cfg), BS_RADIUS_UNBOUNDED);
    assert_size_refused(&cfg, 1024, 1000, BS_EINVAL, "multiples of 16");
    assert_size_refused(&cfg, 512, 2048, BS_EUNSUPPORTED, "512 x 2048");
    assert_size_refused(&old, 512, 512, BS_EUNSUPPORTED, "rotary");
    bs_graph_destroy(build(&old, 1024, 1024));
}

static void impossible_configs_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t field;
        int value;
        const char *words;
    } bad[] = {
#define FIELD(name) offsetof(struct bs_vimunet_config, name)
        {FIELD(in_channels), 0, "in_channels is 0"},
        {FIELD(image_size), 1000, "image_size is 1000"},
        {FIELD(image_size), 1 << 20, "image_size is 1048576"},
        {FIELD(patch_size), 8, "patches of 8"},
        {FIELD(embed_dim), -1, "embed_dim is -1"},
        {FIELD(depth), 0, "depth is 0"},
        {FIELD(inner_features), 0, "inner_features is 0"},
        {FIELD(state_size), 257, "state_size is 257"},
        {FIELD(dt_rank), 0, "dt_rank is 0"},
        {FIELD(conv_kernel), 65, "conv_kernel is 65"},
        {FIELD(head_classes), -1, "head_classes is -1"},
        {FIELD(decoder.out_channels), 0, "out_channels is 0"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bs_arch_config cfg = vimunet(192, BS_UPSAMPLING_BILINEAR);
        memcpy((char *)&cfg.vimunet + bad[i].field, &bad[i].value, sizeof bad[i].value);
        assert_size_refused(&cfg, 1024, 1024, BS_EINVAL, bad[i].words);
    }
    struct bs_arch_config cfg = vimunet(192, BS_UPSAMPLING_BILINEAR);
    cfg.vimunet.class_token = false;
    cfg.vimunet.class_token_first = true;
    assert_size_refused(&cfg, 1024, 1024, BS_EINVAL, "class token");
    cfg = older();
    cfg.vimunet.embed_dim = 191;
    assert_size_refused(&cfg, 1024, 1024, BS_EINVAL, "embed_dim is 191");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameter_counts_are_those_of_the_original),
        cmocka_unit_test(every_name_and_shape_is_the_originals_and_tells_the_variant),
        cmocka_unit_test(rotary_tables_tell_the_older_kind),
        cmocka_unit_test(class_token_and_head_may_be_missing),
        cmocka_unit_test(nothing_may_be_missing_or_of_another_shape),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(the_first_token_is_dropped_wherever_the_class_token_is),
        cmocka_unit_test(every_block_scans_both_ways_and_the_older_kind_does_not_average),
        cmocka_unit_test(the_classification_head_is_in_the_file_and_not_computed),
        cmocka_unit_test(other_sizes_resample_the_positions_and_impossible_ones_are_refused),
        cmocka_unit_test(impossible_configs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
