/* See source.h. */
#include "model/export/source.h"

#include "kernels/graph.h"

#include <stdlib.h>

static int by_offset(const void *a, const void *b)
{
    const struct bs_safetensors_entry *const *x = a, *const *y = b;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

/* Is every parameter of the network there with its shape? */
static bs_status check(const struct bs__export_source *s, struct bs_err *err)
{
    struct bs_graph *g = NULL;
    const int side = bs_arch_image_size(&s->info.arch) ? bs_arch_image_size(&s->info.arch)
                                                       : 2 * bs_arch_divisor(&s->info.arch);
    bs_status rc = bs_arch_build(&s->info.arch, 1, side, side, &g, err);
    for (bs_value v = 0; rc == BS_OK && v < bs_graph_node_count(g); v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        if (n->op != BS_OP_PARAM)
            continue;
        const struct bs_safetensors_entry *e = bs_safetensors_find(s->file, n->name);
        if (!e)
            rc = BS_FAIL(err, BS_EINVAL, "the model file lacks %.120s", n->name);
        else if (!bs_shape_equal(&e->shape, &n->shape))
            rc = BS_FAIL(err, BS_EINVAL, "%.120s of the model file has not the shape that its network needs",
                         n->name);
    }
    bs_graph_destroy(g);
    return rc;
}

bs_status bs__export_open(const char *path, struct bs__export_source *out, struct bs_err *err)
{
    *out = (struct bs__export_source){.path = path};
    bs_status rc;
    if ((rc = bs_model_info_read(path, &out->info, err)) != BS_OK ||
        (rc = bs_safetensors_open(path, &out->file, err)) != BS_OK)
        return rc;
    out->count = bs_safetensors_count(out->file);
    if (!(out->tensor = calloc(out->count ? out->count : 1, sizeof(void *))))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu tensors", out->count);
    for (size_t i = 0; i < out->count; i++) {
        out->tensor[i] = bs_safetensors_entry(out->file, i);
        out->bytes += out->tensor[i]->bytes;
        if (out->tensor[i]->bytes > out->largest)
            out->largest = out->tensor[i]->bytes;
    }
    qsort(out->tensor, out->count, sizeof *out->tensor, by_offset);
    return check(out, err);
}

void bs__export_close(struct bs__export_source *s)
{
    bs_safetensors_close(s->file);
    free(s->tensor);
    *s = (struct bs__export_source){0};
}
