/* What a comparison is made of: its images, who saw them, and the differences. See comparison.h. */
#include "server/comparison.h"

#include <stdlib.h>
#include <string.h>

const char *const bs_comparison_metric[BS_COMPARISON_METRICS] = {"msa", "sa50", "sa75"};

void bs_comparison_images_free(struct bs_comparison_images *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->image[i].name);
        free(c->image[i].use);
    }
    free(c->image);
    free(c->unknown);
    memset(c, 0, sizeof *c);
}

static bool same_version(const struct bs_comparison_version *a, const struct bs_comparison_version *b)
{
    return a->version == b->version && strcmp(a->name, b->name) == 0;
}

bs_status bs_comparison_add_use(struct bs_comparison_image *image, const struct bs_comparison_use *use,
                                struct bs_err *err)
{
    for (size_t i = 0; i < image->nuse; i++)
        if (image->use[i].split == use->split && same_version(&image->use[i].by, &use->by))
            return BS_OK;
    struct bs_comparison_use *more = realloc(image->use, (image->nuse + 1) * sizeof *more);
    if (!more)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the list of versions that saw %.80s", image->name);
    image->use = more;
    image->use[image->nuse++] = *use;
    return BS_OK;
}

bs_status bs_comparison_add_unknown(struct bs_comparison_images *c, const struct bs_comparison_version *v,
                                    struct bs_err *err)
{
    for (size_t i = 0; i < c->nunknown; i++)
        if (same_version(&c->unknown[i], v))
            return BS_OK;
    struct bs_comparison_version *more = realloc(c->unknown, (c->nunknown + 1) * sizeof *more);
    if (!more)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the list of imported versions");
    c->unknown = more;
    c->unknown[c->nunknown++] = *v;
    return BS_OK;
}

size_t bs_comparison_seen(const struct bs_comparison_images *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++)
        n += c->image[i].nuse > 0;
    return n;
}

static double metric_of(const struct bs_label_score *s, int metric)
{
    return metric == 0 ? s->msa : metric == 1 ? s->sa50 : s->sa75;
}

bs_status bs_comparison_summarise(struct bs_comparison_images *c, const struct bs_bootstrap_options *options,
                                  struct bs_err *err)
{
    double *a = calloc(c->count + 1, sizeof *a), *b = calloc(c->count + 1, sizeof *b);
    bs_status rc = a && b ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for %zu scores", c->count);
    for (int k = 0; k < BS_COMPARISON_METRICS && rc == BS_OK; k++) {
        for (size_t i = 0; i < c->count; i++) {
            a[i] = metric_of(&c->image[i].candidate, k);
            b[i] = metric_of(&c->image[i].baseline, k);
        }
        rc = bs_bootstrap_paired(a, b, c->count, options, &c->difference[k], err);
    }
    free(a);
    free(b);
    c->scored = rc == BS_OK;
    return rc;
}
