/* Checkpoint files of every format: values bit by bit, refusals for the broken, and hostile ones that stay data. */
#include "tests/golden/golden.h"

#include "model/weights/safetensors.h"
#include "model/weights/torch_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXECUTED "HOSTILE_WAS_EXECUTED" /* what the hostile files would make in the current folder */

#ifdef BS_HAVE_TORCH_CONVERT
/* Every tensor of the checkpoint equals the one of that name, and none is missing. */
static bs_status compare(struct bs_torch_checkpoint *c, const struct bs_safetensors *want, size_t *equal,
                         struct bs_err *err)
{
    if (bs_torch_checkpoint_count(c) != bs_safetensors_count(want))
        return BS_FAIL(err, BS_EINVAL, "%zu tensors, expected are %zu", bs_torch_checkpoint_count(c),
                       bs_safetensors_count(want));
    for (size_t i = 0; i < bs_torch_checkpoint_count(c); i++) {
        const char *name = bs_torch_checkpoint_name(c, i);
        const struct bs_safetensors_entry *e = bs_safetensors_find(want, name);
        if (!e || e->dtype != bs_torch_checkpoint_dtype(c, i) ||
            !bs_shape_equal(&e->shape, bs_torch_checkpoint_shape(c, i)))
            return BS_FAIL(err, BS_EINVAL, "%s is unknown or has another type or shape", name);
        void *have = malloc(e->bytes + 1), *expected = malloc(e->bytes + 1);
        BS_ASSERT(have && expected);
        bs_status rc = bs_torch_checkpoint_read(c, i, have, e->bytes, err);
        if (rc == BS_OK)
            rc = bs_safetensors_read(want, e, expected, e->bytes, err);
        if (rc == BS_OK && memcmp(have, expected, e->bytes) != 0)
            rc = BS_FAIL(err, BS_EINVAL, "%s has other values", name);
        free(have);
        free(expected);
        if (rc != BS_OK)
            return rc;
        ++*equal;
    }
    return BS_OK;
}

static void check_values(struct golden *g, const char *folder, const char *file, const char *expected_folder,
                         const char *expected)
{
    struct bs_err err = {0};
    struct bs_torch_checkpoint *c = NULL;
    struct bs_safetensors *want = NULL;
    size_t equal = 0;
    char name[160];
    if (!golden_has(g, folder, file) || !golden_has(g, expected_folder, expected))
        return;
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (bs_torch_checkpoint_open(golden_path(g, folder, file), &c, &err) != BS_OK ||
        bs_safetensors_open(golden_path(g, expected_folder, expected), &want, &err) != BS_OK ||
        compare(c, want, &equal, &err) != BS_OK)
        golden_error(g, name, &err);
    else
        golden_verdict(g, name, access(EXECUTED, F_OK) != 0, "bit by bit, nothing executed",
                       "%zu tensors equal, %zu globals left alone", equal,
                       bs_torch_checkpoint_skipped_count(c));
    bs_torch_checkpoint_close(c);
    bs_safetensors_close(want);
}

static void check_refused(struct golden *g, const char *folder, const char *file, bs_status expected)
{
    struct bs_err err = {0};
    struct bs_torch_checkpoint *c = NULL;
    char name[160];
    if (!golden_has(g, folder, file))
        return;
    snprintf(name, sizeof name, "%s/%s", folder, file);
    const bs_status rc = bs_torch_checkpoint_open(golden_path(g, folder, file), &c, &err);
    golden_verdict(g, name, rc == expected && access(EXECUTED, F_OK) != 0, "refused, nothing executed",
                   "%s: %s", bs_status_name(rc), rc == BS_OK ? "accepted" : err.msg);
    bs_torch_checkpoint_close(c);
}
#endif

void check_checkpoints(struct golden *g, const char *folder)
{
#ifdef BS_HAVE_TORCH_CONVERT
    static const char *const same[] = {
        "state_dict.pth", "state_dict_oldformat.pth", "state_dict_compiled_prefix.pth", "vim_style.pth",
        "hostile.pt",     "hostile_oldformat.pth"};
    if (access(EXECUTED, F_OK) == 0) {
        golden_fail(g, folder, NULL, "%s is there before anything was read; remove it", EXECUTED);
        return;
    }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        check_values(g, folder, same[i], folder, "expected.safetensors");
    check_values(g, folder, "odd_tensors.pt", folder, "odd_tensors_expected.safetensors");
    check_values(g, folder, "odd_tensors_oldformat.pt", folder, "odd_tensors_expected.safetensors");
    check_values(g, "small/unet_in", "model.pt", "small/unet_in", "weights.safetensors");
    check_refused(g, folder, "hostile_bare.pt", BS_EUNSUPPORTED);
    check_refused(g, folder, "truncated.pth", BS_ECORRUPT);
    golden_skip_unread(g, folder, ".pt");
    golden_skip_unread(g, folder, ".pth");
#else
    golden_skip(g, folder, "this build cannot read PyTorch checkpoints");
#endif
}
