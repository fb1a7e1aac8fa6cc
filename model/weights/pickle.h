/* Python's pickle format read as data: nothing is imported, looked up or called. A class or function that the stream
   names becomes a GLOBAL value, calling one becomes an OBJECT value that records callable and arguments. What such
   values mean is for the reader to decide (torch_tensor.c knows the few that tensors are made of).
   Stack, memo, values and memory are bounded. The tree may share values and hold cycles: walk it with a depth limit.
   Internal to model/weights. A parsed pickle is read-only; any thread. */
#ifndef BS_MODEL_WEIGHTS_PICKLE_H
#define BS_MODEL_WEIGHTS_PICKLE_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS__PICKLE_MAX_BYTES   ((size_t)64 << 20)  /* of one stream */
#define BS__PICKLE_MAX_MEMORY  ((size_t)256 << 20) /* of all values */
#define BS__PICKLE_MAX_STACK   ((size_t)1 << 20)
#define BS__PICKLE_MAX_MEMO    ((size_t)1 << 20)
#define BS__PICKLE_MAX_GLOBALS ((size_t)1 << 10) /* different ones */

enum bs__pickle_type {
    BS__PICKLE_NONE,
    BS__PICKLE_BOOL,
    BS__PICKLE_INT,
    BS__PICKLE_BIG_INT, /* beyond 64 bits: as it stands in the stream */
    BS__PICKLE_FLOAT,
    BS__PICKLE_STRING, /* UTF-8 as far as the stream said the truth */
    BS__PICKLE_BYTES,
    BS__PICKLE_TUPLE,
    BS__PICKLE_LIST,
    BS__PICKLE_SET,
    BS__PICKLE_DICT,       /* items alternate: key, value */
    BS__PICKLE_GLOBAL,     /* "module name" */
    BS__PICKLE_OBJECT,     /* result of calling something */
    BS__PICKLE_PERSISTENT, /* reference to something outside the stream */
};

struct bs__pickle_value;

struct bs__pickle_list {
    struct bs__pickle_value **item;
    size_t count, cap;
};

struct bs__pickle_value {
    enum bs__pickle_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct {
            const char *data; /* NUL-terminated copy; may hold NULs as well */
            size_t len;
        } text;                      /* STRING, BYTES, BIG_INT; GLOBAL: "module name" */
        struct bs__pickle_list list; /* TUPLE, LIST, SET, DICT */
        struct {
            struct bs__pickle_value *callable, *args;
            struct bs__pickle_value *state;  /* of the last BUILD, or NULL */
            struct bs__pickle_list pairs;    /* set on it like on a dict: key, value, ... */
            struct bs__pickle_list elements; /* appended or added to it */
        } * object;
        struct bs__pickle_value *id; /* PERSISTENT */
    } u;
};

struct bs__pickle;

/* Reads one pickle from the start of data; *consumed says where it ends. Keeps no reference to data. */
bs_status bs__pickle_parse(const unsigned char *data, size_t len, struct bs__pickle **out, size_t *consumed,
                           struct bs_err *err) BS_NODISCARD;
void bs__pickle_free(struct bs__pickle *p); /* accepts NULL */
struct bs__pickle_value *bs__pickle_root(const struct bs__pickle *p);

/* Every different "module name" that the stream mentions, in order of appearance. */
size_t bs__pickle_global_count(const struct bs__pickle *p);
const char *bs__pickle_global(const struct bs__pickle *p, size_t i);
/* Every PERSISTENT value, in order of appearance. */
const struct bs__pickle_list *bs__pickle_persistent(const struct bs__pickle *p);

/* Type for people: "a string". */
const char *bs__pickle_type_name(const struct bs__pickle_value *v);
/* Is v the global "module name", or a call of it? False for NULL. */
bool bs__pickle_is_global(const struct bs__pickle_value *v, const char *name);
bool bs__pickle_is_call(const struct bs__pickle_value *v, const char *name);
/* The name of the global that v is or is a call of (also through calls of calls), else NULL. */
const char *bs__pickle_global_name(const struct bs__pickle_value *v);
/* Key-value pairs of a dict or of an OrderedDict, else NULL. */
const struct bs__pickle_list *bs__pickle_pairs(const struct bs__pickle_value *v);
/* Value of a string key in such a thing; NULL when there is none. The last one counts, as in Python. */
struct bs__pickle_value *bs__pickle_get(const struct bs__pickle_value *v, const char *key);
/* Is v a string equal to text? */
bool bs__pickle_is_string(const struct bs__pickle_value *v, const char *text);

#endif
