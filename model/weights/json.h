/* A small strict JSON reader (RFC 8259) for texts from outside: safetensors headers and model descriptions.
   Whole text in, tree out; depth, size and number of values are bounded, a key may occur once per object, strings are
   valid UTF-8 without NUL, integers are exact. The document owns everything; read-only after parsing, then any thread. */
#ifndef BS_MODEL_WEIGHTS_JSON_H
#define BS_MODEL_WEIGHTS_JSON_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_JSON_MAX_DEPTH 32

enum bs_json_type {
    BS_JSON_NULL,
    BS_JSON_BOOL,
    BS_JSON_INT,
    BS_JSON_DOUBLE,
    BS_JSON_STRING,
    BS_JSON_ARRAY,
    BS_JSON_OBJECT
};

struct bs_json;       /* the document */
struct bs_json_value; /* one value in it */

/* Parses len bytes; more than max_values values are refused. Copies what it keeps. */
bs_status bs_json_parse(const char *text, size_t len, size_t max_values, struct bs_json **out,
                        struct bs_err *err) BS_NODISCARD;
void bs_json_free(struct bs_json *doc); /* accepts NULL */
const struct bs_json_value *bs_json_root(const struct bs_json *doc);

enum bs_json_type bs_json_type_of(const struct bs_json_value *v);
/* Type for people: "a string". */
const char *bs_json_type_name(enum bs_json_type type);
/* Members of an array or object in the order of the text; NULL at the end (and for other types). */
const struct bs_json_value *bs_json_first(const struct bs_json_value *v);
const struct bs_json_value *bs_json_next(const struct bs_json_value *v);
size_t bs_json_count(const struct bs_json_value *v);
/* Key of an object's member, NULL of anything else. */
const char *bs_json_key(const struct bs_json_value *v);
/* Member of that key, NULL when there is none or v is no object (or NULL). */
const struct bs_json_value *bs_json_get(const struct bs_json_value *v, const char *key);

/* False, leaving *out alone, when v is NULL or of another type. A double never passes as an integer; an integer passes
   as a double. */
bool bs_json_as_bool(const struct bs_json_value *v, bool *out);
bool bs_json_as_int(const struct bs_json_value *v, int64_t *out);
bool bs_json_as_double(const struct bs_json_value *v, double *out);
bool bs_json_as_string(const struct bs_json_value *v, const char **out);

/* Appends to a growing text; after a failed allocation everything else is ignored and text is NULL at the end.
   The caller frees text. */
struct bs_json_writer {
    char *text;
    size_t len, cap;
    bool failed, comma;
};
void bs_json_write_open(struct bs_json_writer *w, const char *key,
                        char bracket); /* '{' or '['; key NULL in arrays and at the top */
void bs_json_write_close(struct bs_json_writer *w, char bracket);
void bs_json_write_string(struct bs_json_writer *w, const char *key, const char *value);
void bs_json_write_int(struct bs_json_writer *w, const char *key, int64_t value);
void bs_json_write_double(struct bs_json_writer *w, const char *key,
                          double value); /* finite; shortest text that reads back equal */
void bs_json_write_bool(struct bs_json_writer *w, const char *key, bool value);
/* NULL when any call ran out of memory. */
char *bs_json_write_end(struct bs_json_writer *w);

#endif
