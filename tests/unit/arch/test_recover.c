/* A config is recovered from keys and shapes alone, and whatever does not fit is named. */
#include "model/arch/arch.h"
#include "manifest.h"
#include "model/weights/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MOST 256

struct dict {
    struct bs_safetensors *st; /* or */
    struct manifest *m;
    struct bs_state_entry entry[MOST];
    size_t count;
};

/* From the weights, or from the list of names and shapes that stands for them. */
static void load(struct dict *d, const char *name)
{
    char path[512];
    *d = (struct dict){.count = 0};
    snprintf(path, sizeof path, "%s/golden/small/%s/weights.safetensors", BS_TEST_FIXTURES, name);
    if (access(path, F_OK) != 0) {
        snprintf(path, sizeof path, "../small/%s", name);
        d->m = manifest_read(path);
        assert_true(d->m->count <= MOST - 1);
        d->count = d->m->count;
        memcpy(d->entry, d->m->entry, d->count * sizeof *d->entry);
        return;
    }
    assert_int_equal(bs_safetensors_open(path, &d->st, NULL), BS_OK);
    d->count = bs_safetensors_count(d->st);
    assert_true(d->count <= MOST - 1);
    for (size_t i = 0; i < d->count; i++)
        d->entry[i] = (struct bs_state_entry){bs_safetensors_entry(d->st, i)->name,
                                              bs_safetensors_entry(d->st, i)->shape};
}

static void unload(struct dict *d)
{
    bs_safetensors_close(d->st);
    free(d->m);
}

static bs_status recover(const struct dict *d, struct bs_arch_config *cfg, struct bs_err *err)
{
    char assumed[64];
    return bs_arch_recover(d->entry, d->count, cfg, assumed, sizeof assumed, err);
}

static void every_variant_is_recovered(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct bs_unet_config cfg;
    } cases[] = {
        {"unet_in", {1, 3, 4, 4, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR, true}},
        {"unet_gn", {1, 2, 4, 4, BS_NORM_GROUP, BS_UPSAMPLING_BILINEAR, true}},
        {"unet_bn", {1, 3, 4, 4, BS_NORM_BATCH, BS_UPSAMPLING_BILINEAR, true}},
        {"unet_none", {1, 2, 4, 4, BS_NORM_NONE, BS_UPSAMPLING_BILINEAR, true}},
        {"unet_ct", {1, 3, 4, 4, BS_NORM_INSTANCE, BS_UPSAMPLING_TRANSPOSED, true}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dict d;
        struct bs_arch_config cfg;
        struct bs_err err = {0};
        char assumed[64] = "";
        load(&d, cases[i].name);
        if (bs_arch_recover(d.entry, d.count, &cfg, assumed, sizeof assumed, &err) != BS_OK)
            fail_msg("%s: %s", cases[i].name, err.msg);
        assert_string_equal(assumed, "final_activation=Sigmoid");
        assert_int_equal(cfg.kind, BS_ARCH_UNET);
        assert_int_equal(cfg.unet.in_channels, cases[i].cfg.in_channels);
        assert_int_equal(cfg.unet.out_channels, cases[i].cfg.out_channels);
        assert_int_equal(cfg.unet.depth, cases[i].cfg.depth);
        assert_int_equal(cfg.unet.initial_features, cases[i].cfg.initial_features);
        assert_int_equal(cfg.unet.norm, cases[i].cfg.norm);
        assert_int_equal(cfg.unet.upsampling, cases[i].cfg.upsampling);
        unload(&d);
    }
}

/* Leaving out any one tensor, or changing any one shape, is noticed. */
static void nothing_may_be_missing_or_of_another_shape(void **state)
{
    (void)state;
    struct dict d;
    struct bs_arch_config cfg;
    load(&d, "unet_gn");
    for (size_t i = 0; i < d.count; i++) {
        struct dict less = d, other = d;
        less.entry[i] = less.entry[--less.count];
        assert_int_not_equal(recover(&less, &cfg, NULL), BS_OK);
        other.entry[i].shape.dim[other.entry[i].shape.ndim - 1] += 1;
        assert_int_not_equal(recover(&other, &cfg, NULL), BS_OK);
    }
    unload(&d);
}

static void what_does_not_belong_is_named(void **state)
{
    (void)state;
    struct dict d;
    struct bs_arch_config cfg;
    struct bs_err err = {0};
    load(&d, "unet_in");
    d.entry[d.count++] = (struct bs_state_entry){"surprise.weight", BS_SHAPE(3)};
    assert_int_equal(recover(&d, &cfg, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "surprise.weight"));
    d.entry[d.count - 1].name = d.entry[0].name;
    assert_int_equal(recover(&d, &cfg, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "twice"));
    unload(&d);
}

static void other_networks_are_recognised_and_refused(void **state)
{
    (void)state;
    static const struct {
        struct bs_state_entry entry;
        const char *word;
    } cases[] = {
        {{"encoder.blocks.0.attn.qkv.weight", {2, {96, 32}}}, "UNETR"},
        {{"encoder.blocks.0.block.1.weight", {5, {4, 1, 3, 3, 3}}}, "3D"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_arch_config cfg;
        struct bs_err err = {0};
        char assumed[64];
        assert_int_equal(bs_arch_recover(&cases[i].entry, 1, &cfg, assumed, sizeof assumed, &err),
                         BS_EUNSUPPORTED);
        assert_non_null(strstr(err.msg, cases[i].word));
    }
    struct bs_arch_config cfg;
    char assumed[64];
    assert_int_equal(bs_arch_recover(NULL, 0, &cfg, assumed, sizeof assumed, NULL), BS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_is_recovered),
        cmocka_unit_test(nothing_may_be_missing_or_of_another_shape),
        cmocka_unit_test(what_does_not_belong_is_named),
        cmocka_unit_test(other_networks_are_recognised_and_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
