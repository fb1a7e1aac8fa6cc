/* Protocol buffers' wire format, as far as ONNX needs it: one call per field, messages put together from the inside out. The
   numbers are those of ONNX's published message definitions (IR version 8). Internal to model/export. Pure but for the bytes. */
#ifndef BS_MODEL_EXPORT_ONNX_WIRE_H
#define BS_MODEL_EXPORT_ONNX_WIRE_H

#include "model/export/bytes.h"

enum { /* fields by message */
       BS__ONNX_MODEL_IR_VERSION = 1,
       BS__ONNX_MODEL_PRODUCER = 2,
       BS__ONNX_MODEL_GRAPH = 7,
       BS__ONNX_MODEL_OPSET = 8,
       BS__ONNX_MODEL_METADATA = 14,
       BS__ONNX_OPSET_VERSION = 2,
       BS__ONNX_PAIR_KEY = 1,
       BS__ONNX_PAIR_VALUE = 2,
       BS__ONNX_GRAPH_NODE = 1,
       BS__ONNX_GRAPH_NAME = 2,
       BS__ONNX_GRAPH_INITIALIZER = 5,
       BS__ONNX_GRAPH_INPUT = 11,
       BS__ONNX_GRAPH_OUTPUT = 12,
       BS__ONNX_NODE_INPUT = 1,
       BS__ONNX_NODE_OUTPUT = 2,
       BS__ONNX_NODE_OPERATOR = 4,
       BS__ONNX_NODE_ATTRIBUTE = 5,
       BS__ONNX_ATTRIBUTE_NAME = 1,
       BS__ONNX_ATTRIBUTE_FLOAT = 2,
       BS__ONNX_ATTRIBUTE_INT = 3,
       BS__ONNX_ATTRIBUTE_TEXT = 4,
       BS__ONNX_ATTRIBUTE_INTS = 8,
       BS__ONNX_ATTRIBUTE_TYPE = 20,
       BS__ONNX_TENSOR_DIM = 1,
       BS__ONNX_TENSOR_TYPE = 2,
       BS__ONNX_TENSOR_NAME = 8,
       BS__ONNX_TENSOR_DATA = 9,
       BS__ONNX_TENSOR_EXTERNAL = 13,
       BS__ONNX_TENSOR_LOCATION = 14,
       BS__ONNX_VALUE_NAME = 1,
       BS__ONNX_VALUE_TYPE = 2,
       BS__ONNX_TYPE_TENSOR = 1,
       BS__ONNX_TYPE_ELEMENT = 1,
       BS__ONNX_TYPE_SHAPE = 2,
       BS__ONNX_SHAPE_DIM = 1,
       BS__ONNX_DIM_VALUE = 1,
       BS__ONNX_DIM_NAME = 2,
};
enum { BS__ONNX_FLOAT = 1, BS__ONNX_INT64 = 7 }; /* element types */
enum {
    BS__ONNX_IS_FLOAT = 1,
    BS__ONNX_IS_INT,
    BS__ONNX_IS_TEXT,
    BS__ONNX_IS_INTS = 7
}; /* types of attributes */

void bs__wire_int(struct bs__bytes *b, int field, int64_t value);
void bs__wire_float(struct bs__bytes *b, int field, float value);
void bs__wire_text(struct bs__bytes *b, int field, const char *value);
/* Tag and length of a field whose `len` bytes come next. */
void bs__wire_head(struct bs__bytes *b, int field, uint64_t len);
/* A whole message, which is emptied. A failure of it becomes one of b. */
void bs__wire_message(struct bs__bytes *b, int field, struct bs__bytes *message);

#endif
