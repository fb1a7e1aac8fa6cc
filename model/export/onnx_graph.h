/* An ONNX graph under construction: nodes by operator name, constants, weights that stay in the model file until the graph is
   written. A value is a number; its name in the file is "v" and the number, of weights and of input and output their own.
   Errors stick: the first is reported when the graph is written. Internal to model/export. One thread. */
#ifndef BS_MODEL_EXPORT_ONNX_GRAPH_H
#define BS_MODEL_EXPORT_ONNX_GRAPH_H

#include "model/export/onnx_wire.h"
#include "model/export/source.h"

#define BS__ONNX_OPSET 17

/* One tensor of the file: a weight, or values that the graph owns. */
struct bs__onnx_tensor {
    const struct bs_safetensors_entry *weight; /* NULL: the values */
    struct bs__bytes values;
    struct bs__bytes head; /* name, shape, type: all of the message but the values */
    uint64_t bytes;
};

struct bs__onnx_graph {
    const struct bs__export_source *source;
    struct bs__bytes nodes;
    struct bs__onnx_tensor *tensor;
    size_t ntensor, cap;
    struct bs_arena *names; /* of values */
    const char **name;
    size_t nname, name_cap;
    struct bs__bytes inputs, outputs;
    bool failed;
};

typedef int bs__onnx_value;

bs_status bs__onnx_create(struct bs__onnx_graph *g, const struct bs__export_source *source,
                          struct bs_err *err) BS_NODISCARD;
void bs__onnx_destroy(struct bs__onnx_graph *g);

/* The graph's input and output; a size below 0 is free, under the name that `free_names` gives for the axis. */
bs__onnx_value bs__onnx_input(struct bs__onnx_graph *g, const char *name, const struct bs_shape *shape,
                              const char *const *free_names);
void bs__onnx_output(struct bs__onnx_graph *g, const char *name, const struct bs_shape *shape,
                     const char *const *free_names, bs__onnx_value v);
bs__onnx_value bs__onnx_weight(struct bs__onnx_graph *g, const char *name);
bs__onnx_value bs__onnx_floats(struct bs__onnx_graph *g, const struct bs_shape *shape, const float *values);
bs__onnx_value bs__onnx_ints(struct bs__onnx_graph *g, const struct bs_shape *shape, const int64_t *values);
/* n ones, n zeros, ... */
bs__onnx_value bs__onnx_constant(struct bs__onnx_graph *g, size_t n, float value);
bs__onnx_value bs__onnx_scalar(struct bs__onnx_graph *g, float value);

/* Attributes of the next node, one call each. */
void bs__onnx_set_float(struct bs__bytes *attributes, const char *name, float value);
void bs__onnx_set_int(struct bs__bytes *attributes, const char *name, int64_t value);
void bs__onnx_set_text(struct bs__bytes *attributes, const char *name, const char *value);
void bs__onnx_set_ints(struct bs__bytes *attributes, const char *name, const int64_t *values, size_t n);
/* A node with one output. An input below 0 is left out. Takes the attributes (may be NULL) and empties them. */
bs__onnx_value bs__onnx_node(struct bs__onnx_graph *g, const char *op_type, const bs__onnx_value *in,
                             size_t nin, struct bs__bytes *attributes);

/* Nodes that are needed often. A size of 0 copies the input's, one size of -1 is what remains. */
bs__onnx_value bs__onnx_one(struct bs__onnx_graph *g, const char *op_type, bs__onnx_value x);
bs__onnx_value bs__onnx_two(struct bs__onnx_graph *g, const char *op_type, bs__onnx_value a,
                            bs__onnx_value b);
bs__onnx_value bs__onnx_reshape(struct bs__onnx_graph *g, bs__onnx_value x, const int64_t *shape, size_t n);
bs__onnx_value bs__onnx_transpose(struct bs__onnx_graph *g, bs__onnx_value x, const int64_t *order, size_t n);
/* [start, start + count) of an axis. */
bs__onnx_value bs__onnx_slice(struct bs__onnx_graph *g, bs__onnx_value x, int64_t axis, int64_t start,
                              int64_t count);
#define BS__ONNX_DIMS(...)                                                                                   \
    (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)

/* Writes the model to fd. data_fd below 0: weights in the model itself; else there, the file's name being data_name. */
bs_status bs__onnx_write(struct bs__onnx_graph *g, int fd, int data_fd, const char *data_name,
                         struct bs_err *err) BS_NODISCARD;

/* Translates a network (onnx_nodes.c); sizes of height and width are free where `any_size`. BS_EUNSUPPORTED names the
   operator that ONNX lacks. */
bs_status bs__onnx_translate(struct bs__onnx_graph *g, const struct bs_arch_config *arch, bool any_size,
                             struct bs_err *err) BS_NODISCARD;
/* bs_graph_attention (onnx_attention.c): x is qkv, `in` its other inputs, below 0 where there is none. */
bs__onnx_value bs__onnx_attention(struct bs__onnx_graph *g, const struct bs_node *n, int64_t head_features,
                                  bs__onnx_value qkv, const bs__onnx_value in[3]);

#endif
