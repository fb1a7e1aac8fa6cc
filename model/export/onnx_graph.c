/* See onnx_graph.h. */
#include "model/export/onnx_graph.h"

#include "kernels/base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAMES ((size_t)64 << 20) /* bytes */

bs_status bs__onnx_create(struct bs__onnx_graph *g, const struct bs__export_source *source,
                          struct bs_err *err)
{
    *g = (struct bs__onnx_graph){.source = source, .names = bs_arena_create(MAX_NAMES)};
    if (!g->names)
        return BS_FAIL(err, BS_ENOMEM, "no memory for an ONNX graph");
    return BS_OK;
}

void bs__onnx_destroy(struct bs__onnx_graph *g)
{
    for (size_t i = 0; i < g->ntensor; i++) {
        bs__bytes_free(&g->tensor[i].values);
        bs__bytes_free(&g->tensor[i].head);
    }
    free(g->tensor);
    free(g->name);
    bs__bytes_free(&g->nodes);
    bs__bytes_free(&g->inputs);
    bs__bytes_free(&g->outputs);
    bs_arena_destroy(g->names);
    *g = (struct bs__onnx_graph){0};
}

/* Room for one more of `size` bytes in an array. */
static bool grow(void **array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return true;
    const size_t more = *cap ? 2 * *cap : 64;
    void *grown = realloc(*array, more * size);
    if (!grown)
        return false;
    *array = grown;
    *cap = more;
    return true;
}

/* A new value; name NULL: "v" and its number. */
static bs__onnx_value value(struct bs__onnx_graph *g, const char *name)
{
    char own[24];
    snprintf(own, sizeof own, "v%zu", g->nname);
    const char *kept = bs_arena_strdup(g->names, name ? name : own);
    if (!kept || !grow((void **)&g->name, g->nname, &g->name_cap, sizeof *g->name)) {
        g->failed = true;
        return 0;
    }
    g->name[g->nname] = kept;
    return (bs__onnx_value)g->nname++;
}

static const char *name_of(const struct bs__onnx_graph *g, bs__onnx_value v)
{
    return v >= 0 && (size_t)v < g->nname ? g->name[v] : "";
}

static void describe(struct bs__bytes *list, int field, const char *name, const struct bs_shape *shape,
                     const char *const *free_names)
{
    struct bs__bytes info = {0}, type = {0}, tensor = {0}, dims = {0};
    for (int d = 0; d < shape->ndim; d++) {
        struct bs__bytes dim = {0};
        if (shape->dim[d] < 0)
            bs__wire_text(&dim, BS__ONNX_DIM_NAME, free_names[d]);
        else
            bs__wire_int(&dim, BS__ONNX_DIM_VALUE, shape->dim[d]);
        bs__wire_message(&dims, BS__ONNX_SHAPE_DIM, &dim);
    }
    bs__wire_int(&tensor, BS__ONNX_TYPE_ELEMENT, BS__ONNX_FLOAT);
    bs__wire_message(&tensor, BS__ONNX_TYPE_SHAPE, &dims);
    bs__wire_message(&type, BS__ONNX_TYPE_TENSOR, &tensor);
    bs__wire_text(&info, BS__ONNX_VALUE_NAME, name);
    bs__wire_message(&info, BS__ONNX_VALUE_TYPE, &type);
    bs__wire_message(list, field, &info);
}

bs__onnx_value bs__onnx_input(struct bs__onnx_graph *g, const char *name, const struct bs_shape *shape,
                              const char *const *free_names)
{
    describe(&g->inputs, BS__ONNX_GRAPH_INPUT, name, shape, free_names);
    return value(g, name);
}

void bs__onnx_output(struct bs__onnx_graph *g, const char *name, const struct bs_shape *shape,
                     const char *const *free_names, bs__onnx_value v)
{
    struct bs__bytes node = {0};
    describe(&g->outputs, BS__ONNX_GRAPH_OUTPUT, name, shape, free_names);
    bs__wire_text(&node, BS__ONNX_NODE_INPUT, name_of(g, v));
    bs__wire_text(&node, BS__ONNX_NODE_OUTPUT, name);
    bs__wire_text(&node, BS__ONNX_NODE_OPERATOR, "Identity");
    bs__wire_message(&g->nodes, BS__ONNX_GRAPH_NODE, &node);
}

/* A tensor without values yet; NULL when memory ran out. */
static struct bs__onnx_tensor *tensor(struct bs__onnx_graph *g, const char *name,
                                      const struct bs_shape *shape, int type)
{
    if (!grow((void **)&g->tensor, g->ntensor, &g->cap, sizeof *g->tensor)) {
        g->failed = true;
        return NULL;
    }
    struct bs__onnx_tensor *t = &g->tensor[g->ntensor++];
    *t = (struct bs__onnx_tensor){0};
    for (int d = 0; d < shape->ndim; d++)
        bs__wire_int(&t->head, BS__ONNX_TENSOR_DIM, shape->dim[d]);
    bs__wire_int(&t->head, BS__ONNX_TENSOR_TYPE, type);
    bs__wire_text(&t->head, BS__ONNX_TENSOR_NAME, name);
    return t;
}

bs__onnx_value bs__onnx_weight(struct bs__onnx_graph *g, const char *name)
{
    const struct bs_safetensors_entry *e = bs_safetensors_find(g->source->file, name);
    BS_ASSERT(e); /* bs__export_open has looked */
    struct bs__onnx_tensor *t = tensor(g, name, &e->shape, BS__ONNX_FLOAT);
    if (t) {
        t->weight = e;
        t->bytes = bs_shape_count(&e->shape) * sizeof(float);
    }
    return value(g, name);
}

static bs__onnx_value own_tensor(struct bs__onnx_graph *g, const struct bs_shape *shape, int type,
                                 const void *values, size_t bytes)
{
    const bs__onnx_value v = value(g, NULL);
    struct bs__onnx_tensor *t = tensor(g, name_of(g, v), shape, type);
    if (t) {
        bs__bytes_put(&t->values, values, bytes);
        t->bytes = bytes;
    }
    return v;
}

bs__onnx_value bs__onnx_floats(struct bs__onnx_graph *g, const struct bs_shape *shape, const float *values)
{
    return own_tensor(g, shape, BS__ONNX_FLOAT, values, bs_shape_count(shape) * sizeof *values);
}

bs__onnx_value bs__onnx_ints(struct bs__onnx_graph *g, const struct bs_shape *shape, const int64_t *values)
{
    return own_tensor(g, shape, BS__ONNX_INT64, values, bs_shape_count(shape) * sizeof *values);
}

bs__onnx_value bs__onnx_constant(struct bs__onnx_graph *g, size_t n, float value_of_all)
{
    float *values = malloc(n * sizeof *values);
    bs__onnx_value v = 0;
    g->failed = g->failed || !values;
    for (size_t i = 0; values && i < n; i++)
        values[i] = value_of_all;
    if (values)
        v = bs__onnx_floats(g, &BS_SHAPE((int64_t)n), values);
    free(values);
    return v;
}

bs__onnx_value bs__onnx_scalar(struct bs__onnx_graph *g, float value_of_it)
{
    return bs__onnx_floats(g, &(struct bs_shape){.ndim = 0}, &value_of_it);
}

static void set(struct bs__bytes *attributes, struct bs__bytes *attribute, const char *name, int type)
{
    bs__wire_text(attribute, BS__ONNX_ATTRIBUTE_NAME, name);
    bs__wire_int(attribute, BS__ONNX_ATTRIBUTE_TYPE, type);
    bs__wire_message(attributes, BS__ONNX_NODE_ATTRIBUTE, attribute);
}

void bs__onnx_set_float(struct bs__bytes *attributes, const char *name, float v)
{
    struct bs__bytes a = {0};
    bs__wire_float(&a, BS__ONNX_ATTRIBUTE_FLOAT, v);
    set(attributes, &a, name, BS__ONNX_IS_FLOAT);
}

void bs__onnx_set_int(struct bs__bytes *attributes, const char *name, int64_t v)
{
    struct bs__bytes a = {0};
    bs__wire_int(&a, BS__ONNX_ATTRIBUTE_INT, v);
    set(attributes, &a, name, BS__ONNX_IS_INT);
}

void bs__onnx_set_text(struct bs__bytes *attributes, const char *name, const char *v)
{
    struct bs__bytes a = {0};
    bs__wire_text(&a, BS__ONNX_ATTRIBUTE_TEXT, v);
    set(attributes, &a, name, BS__ONNX_IS_TEXT);
}

void bs__onnx_set_ints(struct bs__bytes *attributes, const char *name, const int64_t *values, size_t n)
{
    struct bs__bytes a = {0};
    for (size_t i = 0; i < n; i++)
        bs__wire_int(&a, BS__ONNX_ATTRIBUTE_INTS, values[i]);
    set(attributes, &a, name, BS__ONNX_IS_INTS);
}

bs__onnx_value bs__onnx_node(struct bs__onnx_graph *g, const char *op_type, const bs__onnx_value *in,
                             size_t nin, struct bs__bytes *attributes)
{
    struct bs__bytes node = {0};
    const bs__onnx_value v = value(g, NULL);
    for (size_t i = 0; i < nin; i++) /* "": not given */
        bs__wire_text(&node, BS__ONNX_NODE_INPUT, name_of(g, in[i]));
    bs__wire_text(&node, BS__ONNX_NODE_OUTPUT, name_of(g, v));
    bs__wire_text(&node, BS__ONNX_NODE_OPERATOR, op_type);
    if (attributes) {
        bs__bytes_put(&node, attributes->data, attributes->len);
        node.failed = node.failed || attributes->failed;
        bs__bytes_free(attributes);
    }
    bs__wire_message(&g->nodes, BS__ONNX_GRAPH_NODE, &node);
    return v;
}

bs__onnx_value bs__onnx_one(struct bs__onnx_graph *g, const char *op_type, bs__onnx_value x)
{
    return bs__onnx_node(g, op_type, &x, 1, NULL);
}

bs__onnx_value bs__onnx_two(struct bs__onnx_graph *g, const char *op_type, bs__onnx_value a, bs__onnx_value b)
{
    const bs__onnx_value in[] = {a, b};
    return bs__onnx_node(g, op_type, in, 2, NULL);
}

bs__onnx_value bs__onnx_reshape(struct bs__onnx_graph *g, bs__onnx_value x, const int64_t *shape, size_t n)
{
    return bs__onnx_two(g, "Reshape", x, bs__onnx_ints(g, &BS_SHAPE((int64_t)n), shape));
}

bs__onnx_value bs__onnx_transpose(struct bs__onnx_graph *g, bs__onnx_value x, const int64_t *order, size_t n)
{
    struct bs__bytes a = {0};
    bs__onnx_set_ints(&a, "perm", order, n);
    return bs__onnx_node(g, "Transpose", &x, 1, &a);
}

bs__onnx_value bs__onnx_slice(struct bs__onnx_graph *g, bs__onnx_value x, int64_t axis, int64_t start,
                              int64_t count)
{
    const struct bs_shape one = BS_SHAPE(1);
    const int64_t end = start + count;
    const bs__onnx_value in[] = {x, bs__onnx_ints(g, &one, &start), bs__onnx_ints(g, &one, &end),
                                 bs__onnx_ints(g, &one, &axis)};
    return bs__onnx_node(g, "Slice", in, 4, NULL);
}
