/* The ONNX file: nodes, then every tensor with its values straight from the model file, one in memory at a time; see
   onnx_graph.h. Lengths stand before contents, so they are added up first. */
#include "model/export/onnx_graph.h"

#include "model/weights/file_io.h"

#include <stdlib.h>
#include <string.h>

#define IR_VERSION        8
#define LOCATION_EXTERNAL 1
#define MAX_MODEL         ((uint64_t)2 << 30) /* of one protobuf message */
#define EXTERNAL_ALIGN    4096 /* of tensors in a file of their own, so that they can be mapped */

/* Where a tensor's values are, as its message says it; fills in the end of the head. */
static void refer(struct bs__onnx_tensor *t, const char *file, uint64_t offset)
{
    const char *const keys[] = {"location", "offset", "length"};
    for (int i = 0; i < 3; i++) {
        struct bs__bytes pair = {0}, number = {0};
        bs__wire_text(&pair, BS__ONNX_PAIR_KEY, keys[i]);
        if (i == 0) {
            bs__wire_text(&pair, BS__ONNX_PAIR_VALUE, file);
        } else {
            bs__bytes_format(&number, "%llu", (unsigned long long)(i == 1 ? offset : t->bytes));
            bs__wire_message(&pair, BS__ONNX_PAIR_VALUE, &number);
        }
        bs__wire_message(&t->head, BS__ONNX_TENSOR_EXTERNAL, &pair);
    }
    bs__wire_int(&t->head, BS__ONNX_TENSOR_LOCATION, LOCATION_EXTERNAL);
}

static bs_status write_values(const struct bs__onnx_graph *g, const struct bs__onnx_tensor *t, int fd,
                              float *buffer, struct bs_err *err)
{
    if (!t->weight)
        return bs__file_write(fd, t->values.data, t->values.len, err);
    bs_status rc = bs_safetensors_read_f32(g->source->file, t->weight, buffer, t->bytes / sizeof(float), err);
    return rc == BS_OK ? bs__file_write(fd, buffer, t->bytes, err) : rc;
}

/* Weights into the file beside the model; constants stay in it. */
static bs_status write_external(struct bs__onnx_graph *g, int fd, const char *name, float *buffer,
                                struct bs_err *err)
{
    static const unsigned char zeros[EXTERNAL_ALIGN];
    uint64_t at = 0;
    for (size_t i = 0; i < g->ntensor; i++) {
        struct bs__onnx_tensor *t = &g->tensor[i];
        if (!t->weight)
            continue;
        const uint64_t gap = (EXTERNAL_ALIGN - at % EXTERNAL_ALIGN) % EXTERNAL_ALIGN;
        bs_status rc = bs__file_write(fd, zeros, (size_t)gap, err);
        if (rc == BS_OK)
            rc = write_values(g, t, fd, buffer, err);
        if (rc != BS_OK)
            return rc;
        refer(t, name, at + gap);
        at += gap + t->bytes;
    }
    return BS_OK;
}

static void model_head(struct bs__bytes *b, const struct bs__export_source *source, const char *description)
{
    struct bs__bytes opset = {0};
    const char *const pairs[][2] = {{"description", source->info.description},
                                    {"licence", source->info.licence},
                                    {"source", source->info.source},
                                    {"bioseg", description}};
    bs__wire_int(b, BS__ONNX_MODEL_IR_VERSION, IR_VERSION);
    bs__wire_text(b, BS__ONNX_MODEL_PRODUCER, "bioseg");
    bs__wire_int(&opset, BS__ONNX_OPSET_VERSION, BS__ONNX_OPSET);
    bs__wire_message(b, BS__ONNX_MODEL_OPSET, &opset);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct bs__bytes pair = {0};
        if (!pairs[i][1][0])
            continue;
        bs__wire_text(&pair, BS__ONNX_PAIR_KEY, pairs[i][0]);
        bs__wire_text(&pair, BS__ONNX_PAIR_VALUE, pairs[i][1]);
        bs__wire_message(b, BS__ONNX_MODEL_METADATA, &pair);
    }
}

/* Head, and the tag and length of the values that follow it; `whole` gets the length of the message. */
static void tensor_head(const struct bs__onnx_tensor *t, bool inside, struct bs__bytes *b, uint64_t *whole)
{
    bs__bytes_put(b, t->head.data, t->head.len);
    b->failed = b->failed || t->head.failed || t->values.failed;
    if (inside)
        bs__wire_head(b, BS__ONNX_TENSOR_DATA, t->bytes);
    *whole = b->len + (inside ? t->bytes : 0);
}

static bs_status write_tensors(const struct bs__onnx_graph *g, int fd, bool external, float *buffer,
                               struct bs_err *err)
{
    bs_status rc = BS_OK;
    for (size_t i = 0; rc == BS_OK && i < g->ntensor; i++) {
        const struct bs__onnx_tensor *t = &g->tensor[i];
        const bool inside = !external || !t->weight;
        struct bs__bytes head = {0}, field = {0};
        uint64_t whole;
        tensor_head(t, inside, &head, &whole);
        bs__wire_head(&field, BS__ONNX_GRAPH_INITIALIZER, whole);
        if ((rc = bs__bytes_check(&head, "a tensor's name", err)) == BS_OK &&
            (rc = bs__bytes_check(&field, "a tensor's length", err)) == BS_OK &&
            (rc = bs__file_write(fd, field.data, field.len, err)) == BS_OK &&
            (rc = bs__file_write(fd, head.data, head.len, err)) == BS_OK && inside)
            rc = write_values(g, t, fd, buffer, err);
        bs__bytes_free(&head);
        bs__bytes_free(&field);
    }
    return rc;
}

/* Bytes of the graph's tensors, tags and lengths included. */
static uint64_t tensor_bytes(const struct bs__onnx_graph *g, bool external, bool *failed)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < g->ntensor; i++) {
        struct bs__bytes head = {0}, field = {0};
        uint64_t whole;
        tensor_head(&g->tensor[i], !external || !g->tensor[i].weight, &head, &whole);
        bs__wire_head(&field, BS__ONNX_GRAPH_INITIALIZER, whole);
        sum += field.len + whole;
        *failed = *failed || head.failed || field.failed;
        bs__bytes_free(&head);
        bs__bytes_free(&field);
    }
    return sum;
}

bs_status bs__onnx_write(struct bs__onnx_graph *g, int fd, int data_fd, const char *data_name,
                         struct bs_err *err)
{
    bs_status rc;
    struct bs__bytes head = {0}, begin = {0}, end = {0};
    char *description = NULL;
    size_t largest = 1;
    const bool external = data_fd >= 0;
    bool failed = g->failed;
    for (size_t i = 0; i < g->ntensor; i++)
        if (g->tensor[i].weight && g->tensor[i].bytes > largest)
            largest = g->tensor[i].bytes;
    float *buffer = malloc(largest);
    if (!buffer) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a tensor of %zu bytes", largest);
        goto cleanup;
    }
    if ((external && (rc = write_external(g, data_fd, data_name, buffer, err)) != BS_OK) ||
        (rc = bs_model_info_to_json(&g->source->info, &description, err)) != BS_OK)
        goto cleanup;
    model_head(&head, g->source, description);
    bs__bytes_put(&begin, g->nodes.data, g->nodes.len);
    bs__wire_text(&begin, BS__ONNX_GRAPH_NAME, bs_arch_name(g->source->info.arch.kind));
    bs__bytes_put(&end, g->inputs.data, g->inputs.len);
    bs__bytes_put(&end, g->outputs.data, g->outputs.len);
    const uint64_t graph = begin.len + tensor_bytes(g, external, &failed) + end.len;
    bs__wire_head(&head, BS__ONNX_MODEL_GRAPH, graph);
    if (failed || g->nodes.failed || g->inputs.failed || g->outputs.failed || head.failed || begin.failed ||
        end.failed) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for an ONNX graph");
        goto cleanup;
    }
    if (head.len + graph >= MAX_MODEL) {
        rc = BS_FAIL(err, BS_ELIMIT, "the ONNX model would have %llu bytes, at most 2 GiB are possible",
                     (unsigned long long)(head.len + graph));
        goto cleanup;
    }
    if ((rc = bs__file_write(fd, head.data, head.len, err)) != BS_OK ||
        (rc = bs__file_write(fd, begin.data, begin.len, err)) != BS_OK ||
        (rc = write_tensors(g, fd, external, buffer, err)) != BS_OK)
        goto cleanup;
    rc = bs__file_write(fd, end.data, end.len, err);
cleanup:
    free(buffer);
    free(description);
    bs__bytes_free(&head);
    bs__bytes_free(&begin);
    bs__bytes_free(&end);
    return rc;
}
