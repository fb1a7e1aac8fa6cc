/* Looking at pickled values; see pickle.h. */
#include "model/weights/pickle.h"

#include <string.h>

#define MAX_CALLS 16 /* of calls of calls that are followed */

const char *bs__pickle_type_name(const struct bs__pickle_value *v)
{
    static const char *const name[] = {
        [BS__PICKLE_NONE] = "None",        [BS__PICKLE_BOOL] = "a boolean",
        [BS__PICKLE_INT] = "an integer",   [BS__PICKLE_BIG_INT] = "an integer",
        [BS__PICKLE_FLOAT] = "a number",   [BS__PICKLE_STRING] = "a string",
        [BS__PICKLE_BYTES] = "bytes",      [BS__PICKLE_TUPLE] = "a tuple",
        [BS__PICKLE_LIST] = "a list",      [BS__PICKLE_SET] = "a set",
        [BS__PICKLE_DICT] = "a dict",      [BS__PICKLE_GLOBAL] = "a class or function",
        [BS__PICKLE_OBJECT] = "an object", [BS__PICKLE_PERSISTENT] = "a storage"};
    return v ? name[v->type] : "nothing";
}

const char *bs__pickle_global_name(const struct bs__pickle_value *v)
{
    for (int i = 0; v && i < MAX_CALLS; i++) {
        if (v->type == BS__PICKLE_GLOBAL)
            return v->u.text.data;
        if (v->type != BS__PICKLE_OBJECT)
            return NULL;
        v = v->u.object->callable;
    }
    return NULL;
}

bool bs__pickle_is_global(const struct bs__pickle_value *v, const char *name)
{
    return v && v->type == BS__PICKLE_GLOBAL && !strcmp(v->u.text.data, name);
}

bool bs__pickle_is_call(const struct bs__pickle_value *v, const char *name)
{
    return v && v->type == BS__PICKLE_OBJECT && bs__pickle_is_global(v->u.object->callable, name);
}

const struct bs__pickle_list *bs__pickle_pairs(const struct bs__pickle_value *v)
{
    if (!v)
        return NULL;
    if (v->type == BS__PICKLE_DICT)
        return &v->u.list;
    /* With arguments an OrderedDict has content that only a call would give. */
    if (bs__pickle_is_call(v, "collections OrderedDict") && !v->u.object->args->u.list.count)
        return &v->u.object->pairs;
    return NULL;
}

bool bs__pickle_is_string(const struct bs__pickle_value *v, const char *text)
{
    return v && v->type == BS__PICKLE_STRING && v->u.text.len == strlen(text) &&
           !memcmp(v->u.text.data, text, v->u.text.len);
}

struct bs__pickle_value *bs__pickle_get(const struct bs__pickle_value *v, const char *key)
{
    const struct bs__pickle_list *pairs = bs__pickle_pairs(v);
    if (!pairs)
        return NULL;
    for (size_t i = pairs->count; i >= 2; i -= 2)
        if (bs__pickle_is_string(pairs->item[i - 2], key))
            return pairs->item[i - 1];
    return NULL;
}
