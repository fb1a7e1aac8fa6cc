/* Reading the references to storages: ("storage", type, key, location, number of elements[, view]); see torch_archive.h.
   The location (a device) is of no interest here. Pure functions; any thread. */
#include "model/weights/torch_archive.h"

#include <string.h>

static const struct {
    const char *name; /* torch.<name>Storage */
    bool known;
    enum bs_dtype dtype;
    size_t size;
} storages[] = {
    {"Float", true, BS_F32, 4},     {"Double", true, BS_F64, 8},        {"Half", true, BS_F16, 2},
    {"BFloat16", true, BS_BF16, 2}, {"Long", true, BS_I64, 8},          {"Int", true, BS_I32, 4},
    {"Short", true, BS_I16, 2},     {"Char", true, BS_I8, 1},           {"Byte", true, BS_U8, 1},
    {"Bool", true, BS_BOOL, 1},     {"ComplexFloat", false, BS_F32, 8}, {"ComplexDouble", false, BS_F64, 16},
    {"QInt8", false, BS_I8, 1},     {"QUInt8", false, BS_U8, 1},        {"QInt32", false, BS_I32, 4},
    {"QUInt4x2", false, BS_U8, 1},  {"QUInt2x4", false, BS_U8, 1},
};

/* "torch FloatStorage", also "torch.cuda FloatStorage". */
static bs_status parse_type(const struct bs__pickle_value *v, struct bs__torch_storage *out,
                            struct bs_err *err)
{
    static const char end[] = "Storage";
    if (!v || v->type != BS__PICKLE_GLOBAL)
        return BS_FAIL(err, BS_ECORRUPT, "a storage's type is %s, not a class", bs__pickle_type_name(v));
    if (bs__pickle_is_global(v, "torch.storage UntypedStorage") ||
        bs__pickle_is_global(v, "torch UntypedStorage")) {
        out->untyped = true;
        out->element_size = 1;
        return BS_OK;
    }
    const char *full = v->u.text.data, *name = NULL;
    if (!strncmp(full, "torch ", 6))
        name = full + 6;
    else if (!strncmp(full, "torch.cuda ", 11))
        name = full + 11;
    for (size_t i = 0; name && i < sizeof storages / sizeof *storages; i++) {
        const size_t n = strlen(storages[i].name);
        if (!strncmp(name, storages[i].name, n) && !strcmp(name + n, end)) {
            out->known = storages[i].known;
            out->dtype = storages[i].dtype;
            out->element_size = storages[i].size;
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_EUNSUPPORTED, "a storage of the unknown type %.120s", full);
}

/* Keys become names inside the archive and appear in messages. */
static bool is_key(const struct bs__pickle_value *v)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    return v->type == BS__PICKLE_STRING && v->u.text.len && v->u.text.len <= BS__TORCH_MAX_KEY &&
           strspn(v->u.text.data, allowed) == v->u.text.len;
}

static bool as_size(const struct bs__pickle_value *v, uint64_t *out)
{
    if (v->type != BS__PICKLE_INT || v->u.integer < 0)
        return false;
    *out = (uint64_t)v->u.integer;
    return true;
}

bs_status bs__torch_storage_parse(const struct bs__pickle_value *persistent, struct bs__torch_storage *out,
                                  struct bs_err *err)
{
    *out = (struct bs__torch_storage){0};
    const struct bs__pickle_value *id = persistent->type == BS__PICKLE_PERSISTENT ? persistent->u.id : NULL;
    if (!id || id->type != BS__PICKLE_TUPLE)
        return BS_FAIL(err, BS_ECORRUPT, "a reference to a storage is %s, not a tuple",
                       bs__pickle_type_name(id ? id : persistent));
    struct bs__pickle_value *const *item = id->u.list.item;
    const size_t n = id->u.list.count;
    if (n < 5 || n > 6 || !bs__pickle_is_string(item[0], "storage"))
        return BS_FAIL(err, BS_EUNSUPPORTED, "a persistent reference that is not to a storage");
    bs_status rc = parse_type(item[1], out, err);
    if (rc != BS_OK)
        return rc;
    if (!is_key(item[2]))
        return BS_FAIL(err, BS_ECORRUPT, "a storage's key is not a short alphanumeric string");
    out->key = item[2]->u.text.data;
    if (!as_size(item[4], &out->count))
        return BS_FAIL(err, BS_ECORRUPT, "storage %s: its size is %s", out->key,
                       bs__pickle_type_name(item[4]));
    if (out->count > BS__TORCH_MAX_STORAGE / out->element_size)
        return BS_FAIL(err, BS_ELIMIT,
                       "storage %s has %llu elements of %zu bytes, at most %llu MiB are accepted", out->key,
                       (unsigned long long)out->count, out->element_size,
                       (unsigned long long)(BS__TORCH_MAX_STORAGE >> 20));
    out->view_count = out->count;
    if (n == 5 || item[5]->type == BS__PICKLE_NONE)
        return BS_OK;
    const struct bs__pickle_value *view = item[5];
    if (view->type != BS__PICKLE_TUPLE || view->u.list.count != 3 ||
        !as_size(view->u.list.item[1], &out->view_offset) || !as_size(view->u.list.item[2], &out->view_count))
        return BS_FAIL(err, BS_ECORRUPT, "storage %s: its view is not (key, offset, size)", out->key);
    if (out->view_offset > out->count || out->view_count > out->count - out->view_offset)
        return BS_FAIL(err, BS_ECORRUPT,
                       "storage %s: a view of elements %llu + %llu leaves its %llu elements", out->key,
                       (unsigned long long)out->view_offset, (unsigned long long)out->view_count,
                       (unsigned long long)out->count);
    return BS_OK;
}

bool bs__torch_dtype(const struct bs__pickle_value *v, enum bs_dtype *out)
{
    static const struct {
        const char *name;
        enum bs_dtype dtype;
    } dtypes[] = {{"torch float32", BS_F32},   {"torch float64", BS_F64}, {"torch float16", BS_F16},
                  {"torch bfloat16", BS_BF16}, {"torch int64", BS_I64},   {"torch int32", BS_I32},
                  {"torch int16", BS_I16},     {"torch int8", BS_I8},     {"torch uint8", BS_U8},
                  {"torch bool", BS_BOOL}};
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (bs__pickle_is_global(v, dtypes[i].name)) {
            *out = dtypes[i].dtype;
            return true;
        }
    return false;
}
