/* What the UNETR's graph promises: the original's names, shapes and counts for every size and variant, variants recovered
   from them, sizes other than the encoder's, and refusals that say what is accepted. */
#include "tests/support/same_arch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 1024

static struct bs_arch_config unetr(int embed_dim, int depth, int heads, uint64_t global_blocks)
{
    return (struct bs_arch_config){.kind = BS_ARCH_UNETR,
                                   .unetr = {.in_channels = 3,
                                             .image_size = 1024,
                                             .patch_size = 16,
                                             .embed_dim = embed_dim,
                                             .depth = depth,
                                             .heads = heads,
                                             .mlp_features = 4 * embed_dim,
                                             .window = 14,
                                             .global_blocks = global_blocks,
                                             .neck_channels = 256,
                                             .resize_input = true,
                                             .decoder = {.out_channels = 3,
                                                         .initial_features = 64,
                                                         .upsampling = BS_UPSAMPLING_BILINEAR,
                                                         .sigmoid = true}}};
}

#define BLOCKS(a, b, c, d) ((uint64_t)1 << (a) | (uint64_t)1 << (b) | (uint64_t)1 << (c) | (uint64_t)1 << (d))

static struct bs_arch_config base(void)
{
    return unetr(768, 12, 12, BLOCKS(2, 5, 8, 11));
}

/* A state dict as the reference lists it. */
struct manifest {
    size_t count;
    struct bs_state_entry entry[MOST];
    char name[MOST][96];
    uint64_t parameters; /* elements, buffers not counted */
};

static struct manifest *read_manifest(const char *name)
{
    char path[512], line[512];
    struct manifest *m = calloc(1, sizeof *m);
    assert_non_null(m);
    snprintf(path, sizeof path, "%s/golden/full/%s/manifest.tsv", BS_TEST_FIXTURES, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    while (fgets(line, sizeof line, f)) {
        assert_true(m->count < MOST - 1);
        struct bs_state_entry *e = &m->entry[m->count];
        char *column[4] = {line};
        for (int i = 1; i < 4; i++) {
            assert_non_null(column[i] = strchr(column[i - 1], '\t'));
            *column[i]++ = 0;
        }
        snprintf(m->name[m->count], sizeof m->name[0], "%.95s", column[0]);
        e->name = m->name[m->count++];
        for (char *at = column[3]; *at != '\t'; at += *at == ',') /* a scalar's shape is empty */
            e->shape.dim[e->shape.ndim++] = strtoll(at, &at, 10);
        if (!strcmp(column[1], "param"))
            m->parameters += bs_shape_count(&e->shape);
    }
    fclose(f);
    return m;
}

static struct bs_graph *build(const struct bs_arch_config *cfg, int64_t n, int64_t h, int64_t w)
{
    struct bs_graph *g = NULL;
    struct bs_err err = {0};
    if (bs_arch_build(cfg, n, h, w, &g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return g;
}

static uint64_t count_of(struct bs_arch_config cfg)
{
    uint64_t count = 0;
    struct bs_err err = {0};
    if (bs_arch_parameter_count(&cfg, &count, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return count;
}

static bs_status recover(const struct manifest *m, struct bs_arch_config *cfg, char *assumed, size_t len,
                         struct bs_err *err)
{
    return bs_arch_recover(m->entry, m->count, cfg, assumed, len, err);
}

struct variant {
    const char *name;
    uint64_t parameters; /* of golden/full/NAME/info.json */
    enum bs_upsampling upsampling;
    bool skip;
};
static const struct variant variants[] = {
    {"unetr_vit_b_pad", 101883587, BS_UPSAMPLING_BILINEAR, false},
    {"unetr_vit_b_ct_resize", 104107715, BS_UPSAMPLING_TRANSPOSED, false},
    {"unetr_vit_b_skip_resize", 108108035, BS_UPSAMPLING_BILINEAR, true},
};
#define VARIANTS (sizeof variants / sizeof *variants)

static struct bs_arch_config config_of(const struct variant *v)
{
    struct bs_arch_config cfg = base();
    cfg.unetr.decoder.upsampling = v->upsampling;
    cfg.unetr.skip_connections = v->skip;
    return cfg;
}

static void parameter_counts_are_those_of_the_original(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct manifest *m = read_manifest(variants[i].name);
        assert_int_equal(m->parameters, variants[i].parameters);
        assert_int_equal(count_of(config_of(&variants[i])), variants[i].parameters);
        free(m);
    }
}

/* Recovery compares every name and shape of the state dict with the graph, in both directions. */
static void every_name_and_shape_is_the_originals_and_tells_the_variant(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct manifest *m = read_manifest(variants[i].name);
        struct bs_arch_config cfg, want = config_of(&variants[i]);
        struct bs_err err = {0};
        char assumed[128] = "";
        if (recover(m, &cfg, assumed, sizeof assumed, &err) != BS_OK)
            fail_msg("%s: %s", variants[i].name, err.msg);
        assert_int_equal(cfg.kind, BS_ARCH_UNETR);
        assert_true(same_unetr(&cfg.unetr, &want.unetr));
        assert_string_equal(assumed, "final_activation=Sigmoid,resize_input=true,use_sam_stats=false");
        free(m);
    }
}

static void a_name_missing_or_a_shape_changed_is_noticed(void **state)
{
    (void)state;
    struct manifest *m = read_manifest("unetr_vit_b_skip_resize");
    struct bs_arch_config cfg;
    char assumed[128];
    for (size_t i = 0; i < m->count; i += 5) {
        const struct bs_state_entry kept = m->entry[i];
        if (kept.shape.ndim == 0)
            continue; /* num_batches_tracked belongs to nobody */
        m->entry[i].shape.dim[kept.shape.ndim - 1]++;
        assert_int_not_equal(recover(m, &cfg, assumed, sizeof assumed, NULL), BS_OK);
        m->entry[i] = m->entry[m->count - 1];
        m->count--;
        assert_int_not_equal(recover(m, &cfg, assumed, sizeof assumed, NULL), BS_OK);
        m->entry[m->count++] = m->entry[i];
        m->entry[i] = kept;
    }
    free(m);
}

/* Of the three encoders' shapes; the decoder depends on the width only. Counted by hand from the definitions: a block has
   two norms (4 C), qkv (3 C C + 3 C), proj (C C + C), two tables, lin1 and lin2 (8 C C + 5 C). */
static uint64_t count_by_formula(uint64_t c, uint64_t depth, uint64_t heads, uint64_t global)
{
    const uint64_t tables = c / heads * 2 * (global * 127 + (depth - global) * 27);
    const uint64_t blocks = depth * (12 * c * c + 13 * c) + tables;
    const uint64_t embedding = c * 3 * 256 + c + 64 * 64 * c;
    const uint64_t neck = 256 * c + 2 * 256 + 256 * 256 * 9 + 2 * 256;
    /* of the decoder, all that does not see the encoder's width is what Base has beside its own */
    return embedding + blocks + neck + c * 512 /* deconv1's 1x1 */ + c * 512 * 9 /* base's first 3x3 */;
}

static void large_and_huge_count_as_the_original_and_as_their_definition(void **state)
{
    (void)state;
    /* what the original's constructor counts */
    assert_int_equal(count_of(unetr(1024, 24, 16, BLOCKS(5, 11, 17, 23))), 321801667);
    assert_int_equal(count_of(unetr(1280, 32, 16, BLOCKS(7, 15, 23, 31))), 651860163);
    struct bs_arch_config skip[] = {unetr(1024, 24, 16, BLOCKS(5, 11, 17, 23)),
                                    unetr(1280, 32, 16, BLOCKS(7, 15, 23, 31))};
    skip[0].unetr.skip_connections = skip[1].unetr.skip_connections = true;
    assert_int_equal(count_of(skip[0]), 328288259);
    assert_int_equal(count_of(skip[1]), 658608899);
    const uint64_t rest = 101883587 - count_by_formula(768, 12, 12, 4);
    assert_int_equal(count_of(unetr(1024, 24, 16, BLOCKS(5, 11, 17, 23))),
                     rest + count_by_formula(1024, 24, 16, 4));
    assert_int_equal(count_of(unetr(1280, 32, 16, BLOCKS(7, 15, 23, 31))),
                     rest + count_by_formula(1280, 32, 16, 4));
}

/* 113M, 334M and 665M: skip connections and transposed convolutions. */
static void the_papers_table_counts_this_configuration(void **state)
{
    (void)state;
    struct bs_arch_config cfg[] = {base(), unetr(1024, 24, 16, BLOCKS(5, 11, 17, 23)),
                                   unetr(1280, 32, 16, BLOCKS(7, 15, 23, 31))};
    static const uint64_t millions[] = {113, 334, 665};
    for (int i = 0; i < 3; i++) {
        cfg[i].unetr.skip_connections = true;
        cfg[i].unetr.decoder.upsampling = BS_UPSAMPLING_TRANSPOSED;
        assert_int_equal(count_of(cfg[i]) / 1000000, millions[i]);
    }
}

static void another_size_than_the_encoders_keeps_the_parameters(void **state)
{
    (void)state;
    struct bs_arch_config cfg = base();
    static const int64_t sizes[][2] = {{512, 512}, {32, 1024}, {1024, 1024}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct bs_graph *g = build(&cfg, 1, sizes[i][0], sizes[i][1]);
        const struct bs_shape out = BS_SHAPE(1, 3, sizes[i][0], sizes[i][1]),
                              position = BS_SHAPE(1, 64, 64, 768);
        assert_true(bs_shape_equal(&bs_graph_node(g, bs_graph_output_value(g, 1))->shape, &out));
        for (int v = 0; v < bs_graph_node_count(g); v++)
            if (bs_graph_node(g, v)->op == BS_OP_PARAM &&
                !strcmp(bs_graph_node(g, v)->name, "encoder.pos_embed"))
                assert_true(bs_shape_equal(&bs_graph_node(g, v)->shape, &position));
        bs_graph_destroy(g);
    }
}

static void what_kind_of_network_need_not_be_known_to_ask(void **state)
{
    (void)state;
    struct bs_arch_config cfg = base();
    assert_int_equal(bs_arch_in_channels(&cfg), 3);
    assert_int_equal(bs_arch_out_channels(&cfg), 3);
    assert_int_equal(bs_arch_image_size(&cfg), 1024);
    assert_int_equal(bs_arch_divisor(&cfg), 16);
    assert_int_equal(bs_arch_receptive_radius(&cfg), BS_RADIUS_UNBOUNDED);
    assert_true(bs_arch_sigmoid(&cfg));
    bs_arch_set_sigmoid(&cfg, false);
    assert_false(bs_arch_sigmoid(&cfg) || cfg.unetr.decoder.sigmoid);
}

/* The neck is in every file; only where it is applied does the decoder begin with its channels. */
static void the_neck_counts_and_narrows_the_decoder_when_applied(void **state)
{
    (void)state;
    struct bs_arch_config cfg = base();
    cfg.unetr.apply_neck = true;
    const uint64_t narrower = (uint64_t)(768 - 256) * (512 + 512 * 9);
    assert_int_equal(count_of(cfg), 101883587 - narrower);
    struct bs_graph *g = build(&cfg, 1, 64, 64);
    struct bs_state_entry entry[MOST];
    size_t count = 0;
    for (int v = 0; v < bs_graph_node_count(g); v++)
        if (bs_graph_node(g, v)->op == BS_OP_PARAM)
            entry[count++] = (struct bs_state_entry){bs_graph_node(g, v)->name, bs_graph_node(g, v)->shape};
    struct bs_arch_config again;
    char assumed[128];
    assert_int_equal(bs_arch_recover(entry, count, &again, assumed, sizeof assumed, NULL), BS_OK);
    assert_true(same_unetr(&again.unetr, &cfg.unetr));
    bs_graph_destroy(g);
}

static void impossible_configs_are_refused_with_what_is_accepted(void **state)
{
    (void)state;
    struct {
        struct bs_arch_config cfg;
        const char *words;
    } bad[] = {
        {base(), "in_channels is 0"},   {base(), "image_size is 1000"},   {base(), "12 heads"},
        {base(), "even numbers"},       {base(), "behind the 12 blocks"}, {base(), "window is 0"},
        {base(), "exclude each other"}, {base(), "need 3 global blocks"}, {base(), "patches of 8"},
        {base(), "out_channels is 0"},  {base(), "depth is 65"},          {base(), "upsampling 7"},
    };
    bad[0].cfg.unetr.in_channels = 0;
    bad[1].cfg.unetr.image_size = 1000;
    bad[2].cfg.unetr.embed_dim = 770;
    bad[3].cfg.unetr.decoder.initial_features = 5;
    bad[4].cfg.unetr.global_blocks |= (uint64_t)1 << 12;
    bad[5].cfg.unetr.window = 0;
    bad[6].cfg.unetr.skip_connections = bad[6].cfg.unetr.apply_neck = true;
    bad[7].cfg.unetr.skip_connections = true;
    bad[7].cfg.unetr.global_blocks = 6;
    bad[8].cfg.unetr.patch_size = 8;
    bad[9].cfg.unetr.decoder.out_channels = 0;
    bad[10].cfg.unetr.depth = 65;
    bad[11].cfg.unetr.decoder.upsampling = (enum bs_upsampling)7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bs_graph *g = NULL;
        struct bs_err err = {0};
        assert_int_equal(bs_arch_build(&bad[i].cfg, 1, 64, 64, &g, &err), BS_EINVAL);
        assert_null(g);
        if (!strstr(err.msg, bad[i].words))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, bad[i].words);
    }
}

static void odd_encoders_are_refused_by_name(void **state)
{
    (void)state;
    struct {
        const char *entry;
        struct bs_shape shape; /* ndim 0: the entry is left out */
        const char *words;
    } cases[] = {
        {"encoder.blocks.3.attn.rel_pos_h", BS_SHAPE(28, 64), "has 28 rows"},
        {"encoder.blocks.3.attn.rel_pos_h", BS_SHAPE(15, 64), "has 15 rows"},
        {"encoder.blocks.0.attn.rel_pos_h", {0}, "rel_pos_h is missing"},
        {"encoder.blocks.0.attn.rel_pos_h", BS_SHAPE(27, 65), "65 wide"},
        {"encoder.pos_embed", BS_SHAPE(1, 4096, 768), "encoder.pos_embed has 3 axes"},
        {"encoder.neck.0.weight", {0}, "encoder.neck.0.weight is missing"},
        {"encoder.neck.0.weight", BS_SHAPE(768, 768, 1, 1), "as many channels as the encoder (768)"},
        {"deconv1.block.0.conv.weight", {0}, "no upsampling"},
        {"out_conv.weight", {0}, "out_conv.weight is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct manifest *m = read_manifest("unetr_vit_b_pad");
        struct bs_arch_config cfg;
        struct bs_err err = {0};
        char assumed[128];
        size_t at = 0;
        while (at < m->count && strcmp(m->entry[at].name, cases[i].entry) != 0)
            at++;
        assert_true(at < m->count);
        if (cases[i].shape.ndim)
            m->entry[at].shape = cases[i].shape;
        else
            m->entry[at] = m->entry[--m->count];
        assert_int_not_equal(recover(m, &cfg, assumed, sizeof assumed, &err), BS_OK);
        if (!strstr(err.msg, cases[i].words))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, cases[i].words);
        free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameter_counts_are_those_of_the_original),
        cmocka_unit_test(every_name_and_shape_is_the_originals_and_tells_the_variant),
        cmocka_unit_test(a_name_missing_or_a_shape_changed_is_noticed),
        cmocka_unit_test(large_and_huge_count_as_the_original_and_as_their_definition),
        cmocka_unit_test(the_papers_table_counts_this_configuration),
        cmocka_unit_test(another_size_than_the_encoders_keeps_the_parameters),
        cmocka_unit_test(what_kind_of_network_need_not_be_known_to_ask),
        cmocka_unit_test(the_neck_counts_and_narrows_the_decoder_when_applied),
        cmocka_unit_test(impossible_configs_are_refused_with_what_is_accepted),
        cmocka_unit_test(odd_encoders_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
