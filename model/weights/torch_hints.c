/* Final activation, training patch, normalisation and label transform from a trainer checkpoint; see torch_hints.h.
   init = {model_kwargs: {final_activation, ...}, train_dataset: dataset, ...}; a dataset's attributes are the state of its
   pickled object, and a concatenation of datasets holds several. Pure functions; any thread. */
#include "model/weights/torch_hints.h"

#include <stdio.h>
#include <string.h>

#define MAX_NESTED 4 /* datasets inside datasets */

/* A value under a key of a dict, or an attribute of an object. */
static const struct bs__pickle_value *attribute(const struct bs__pickle_value *v, const char *key)
{
    if (v && v->type == BS__PICKLE_OBJECT && !bs__pickle_pairs(v))
        v = v->u.object->state;
    return bs__pickle_get(v, key);
}

/* "Name" of "package.module Name". */
static void class_name(const struct bs__pickle_value *v, char *out, size_t size)
{
    const char *full = bs__pickle_global_name(v);
    const char *name = full ? strrchr(full, ' ') : NULL;
    if (name && strlen(name + 1) < size)
        snprintf(out, size, "%s", name + 1);
}

static void read_activation(const struct bs__pickle_value *v, struct bs_torch_hints *out)
{
    if (!v)
        return;
    if (v->type == BS__PICKLE_NONE)
        snprintf(out->final_activation, sizeof out->final_activation, "none");
    else if (v->type == BS__PICKLE_STRING && v->u.text.len < sizeof out->final_activation &&
             strspn(v->u.text.data, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") ==
                 v->u.text.len)
        snprintf(out->final_activation, sizeof out->final_activation, "%s", v->u.text.data);
    else
        class_name(v, out->final_activation, sizeof out->final_activation);
    out->has_activation = out->final_activation[0] != 0;
}

static int64_t shorter_side(const struct bs__pickle_value *v)
{
    int64_t side = INT64_MAX;
    if (!v || (v->type != BS__PICKLE_TUPLE && v->type != BS__PICKLE_LIST) || v->u.list.count < 2)
        return 0;
    for (size_t i = v->u.list.count - 2; i < v->u.list.count; i++) {
        const struct bs__pickle_value *n = v->u.list.item[i];
        if (n->type != BS__PICKLE_INT || n->u.integer < 1 || n->u.integer > 1 << 16)
            return 0;
        side = n->u.integer < side ? n->u.integer : side;
    }
    return side;
}

void bs__torch_hints_read(const struct bs__pickle_value *root, struct bs_torch_hints *out)
{
    *out = (struct bs_torch_hints){0};
    const struct bs__pickle_value *init = bs__pickle_get(root, "init");
    read_activation(bs__pickle_get(bs__pickle_get(init, "model_kwargs"), "final_activation"), out);

    const struct bs__pickle_value *dataset = attribute(init, "train_dataset");
    for (int i = 0; dataset && i < MAX_NESTED; i++) {
        out->patch = shorter_side(attribute(dataset, "patch_shape"));
        class_name(attribute(dataset, "label_transform"), out->label_transform, sizeof out->label_transform);
        if (!out->label_transform[0])
            class_name(attribute(dataset, "label_transform2"), out->label_transform,
                       sizeof out->label_transform);
        class_name(attribute(attribute(dataset, "raw_transform"), "normalizer"), out->normaliser,
                   sizeof out->normaliser);
        if (out->patch)
            return;
        const struct bs__pickle_value *parts = attribute(dataset, "datasets");
        dataset = parts && (parts->type == BS__PICKLE_LIST || parts->type == BS__PICKLE_TUPLE) &&
                          parts->u.list.count
                      ? parts->u.list.item[0]
                      : NULL;
    }
}
