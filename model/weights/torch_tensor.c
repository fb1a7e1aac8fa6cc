/* From pickled calls to checked views of storages; see torch_tensor.h. */
#include "model/weights/torch_tensor.h"

#include "kernels/base/checked.h"

#include <string.h>

#define MAX_DEPTH        8    /* of plain data inside a tensor's arguments */
#define MAX_INSIDE       4096 /* values of it */
#define MAX_TENSOR_BYTES BS__TORCH_MAX_STORAGE

enum form { FORM_V1, FORM_V2, FORM_V3, FORM_PARAMETER };
static const struct {
    const char *name;
    enum form form;
    size_t least, most; /* arguments */
} rebuild[] = {
    {"torch._utils _rebuild_tensor", FORM_V1, 4, 4},    /* storage, offset, size, stride */
    {"torch._utils _rebuild_tensor_v2", FORM_V2, 6, 7}, /* ..., requires_grad, hooks[, metadata] */
    {"torch._utils _rebuild_tensor_v3", FORM_V3, 7, 8}, /* ..., requires_grad, hooks, dtype[, metadata] */
    {"torch._utils _rebuild_parameter", FORM_PARAMETER, 3, 3},            /* tensor, requires_grad, hooks */
    {"torch._utils _rebuild_parameter_with_state", FORM_PARAMETER, 4, 4}, /* ..., state */
};
#define NREBUILD (sizeof rebuild / sizeof *rebuild)

static size_t which(const struct bs__pickle_value *v)
{
    size_t i = 0;
    while (i < NREBUILD && !bs__pickle_is_call(v, rebuild[i].name))
        i++;
    return i;
}

bool bs__torch_is_tensor(const struct bs__pickle_value *v)
{
    return which(v) < NREBUILD;
}

bool bs__torch_is_known_global(const char *name)
{
    static const char *const plain[] = {"collections OrderedDict", "torch Size", "torch device",
                                        "__builtin__ set", "builtins set"};
    static const char *const families[] = {"torch float", "torch int", "torch bfloat16", "torch uint8",
                                           "torch bool"};
    for (size_t i = 0; i < NREBUILD; i++)
        if (!strcmp(name, rebuild[i].name))
            return true;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (!strcmp(name, plain[i]))
            return true;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strncmp(name, families[i], strlen(families[i])))
            return true;
    const size_t n = strlen(name);
    return (!strncmp(name, "torch ", 6) || !strncmp(name, "torch.cuda ", 11) ||
            !strncmp(name, "torch.storage ", 14)) &&
           n > 7 && !strcmp(name + n - 7, "Storage");
}

/* Hooks and metadata must be plain data: an object there would be a part of the tensor that we leave out. */
static bs_status check_plain(const struct bs__pickle_value *v, int depth, int *budget, struct bs_err *err)
{
    const struct bs__pickle_list *items;
    if (depth == MAX_DEPTH || --*budget < 0)
        return BS_FAIL(err, BS_EUNSUPPORTED, "a tensor with deeply nested attributes");
    switch (v->type) {
    case BS__PICKLE_TUPLE:
    case BS__PICKLE_LIST:
    case BS__PICKLE_SET:
    case BS__PICKLE_DICT:
        items = &v->u.list;
        break;
    case BS__PICKLE_OBJECT:
        items = bs__pickle_pairs(v);
        if (items && !v->u.object->state && !v->u.object->elements.count)
            break;
        /* fall through */
    case BS__PICKLE_GLOBAL:
    case BS__PICKLE_PERSISTENT: {
        const char *name = bs__pickle_global_name(v);
        return BS_FAIL(err, BS_EUNSUPPORTED, "a tensor refers to %.200s, which is not plain data",
                       name ? name : bs__pickle_type_name(v));
    }
    default:
        return BS_OK;
    }
    for (size_t i = 0; i < items->count; i++) {
        bs_status rc = check_plain(items->item[i], depth + 1, budget, err);
        if (rc != BS_OK)
            return rc;
    }
    return BS_OK;
}

/* A tuple of sizes, also as torch.Size. */
static bs_status parse_sizes(const struct bs__pickle_value *v, const char *what, uint64_t out[BS_MAX_DIM],
                             int *ndim, struct bs_err *err)
{
    if (bs__pickle_is_call(v, "torch Size") && v->u.object->args->u.list.count == 1)
        v = v->u.object->args->u.list.item[0];
    if (v->type != BS__PICKLE_TUPLE)
        return BS_FAIL(err, BS_ECORRUPT, "a tensor's %s is %s, not a tuple", what, bs__pickle_type_name(v));
    if (v->u.list.count > BS_MAX_DIM)
        return BS_FAIL(err, BS_EUNSUPPORTED, "a tensor has %zu axes, at most %d are supported",
                       v->u.list.count, BS_MAX_DIM);
    *ndim = (int)v->u.list.count;
    for (int i = 0; i < *ndim; i++) {
        const struct bs__pickle_value *n = v->u.list.item[i];
        if (n->type != BS__PICKLE_INT || n->u.integer < 0)
            return BS_FAIL(err, BS_ECORRUPT, "a tensor's %s holds something other than sizes", what);
        out[i] = (uint64_t)n->u.integer;
    }
    return BS_OK;
}

/* Every element between offset and the last one lies inside the storage (or its part that the reference names). */
static bs_status check_bounds(const struct bs__torch_tensor *t, uint64_t first, uint64_t available,
                              struct bs_err *err)
{
    size_t bytes = bs_dtype_size(t->dtype), last = (size_t)first;
    bool empty = false;
    for (int i = 0; i < t->shape.ndim; i++) {
        size_t n = (size_t)t->shape.dim[i], reach;
        empty |= n == 0;
        if (!bs_mul(bytes, n ? n : 1, &bytes) || bytes > MAX_TENSOR_BYTES)
            return BS_FAIL(err, BS_ELIMIT, "a tensor of more than %llu MiB",
                           (unsigned long long)(MAX_TENSOR_BYTES >> 20));
        if (!bs_mul(n ? n - 1 : 0, (size_t)t->stride[i], &reach) || !bs_add(last, reach, &last))
            return BS_FAIL(err, BS_ECORRUPT, "a tensor's strides do not fit 64 bits");
    }
#ifndef BS_FUZZ_PLANT /* see tests/fuzz/fuzz.cmake */
    if (!empty && last >= available)
        return BS_FAIL(err, BS_ECORRUPT, "a tensor reaches element %zu of storage %s, which has %llu", last,
                       t->storage.key, (unsigned long long)available);
#else
    (void)empty, (void)available;
#endif
    return BS_OK;
}

static bs_status parse_view(const struct bs__pickle_list *args, enum form form, struct bs__torch_tensor *out,
                            struct bs_err *err)
{
    uint64_t size[BS_MAX_DIM] = {0}, offset, available;
    int strides;
    bs_status rc;
    if ((rc = bs__torch_storage_parse(args->item[0], &out->storage, err)) != BS_OK)
        return rc;
    if (args->item[1]->type != BS__PICKLE_INT || args->item[1]->u.integer < 0)
        return BS_FAIL(err, BS_ECORRUPT, "a tensor's offset is not a size");
    offset = (uint64_t)args->item[1]->u.integer;
    if ((rc = parse_sizes(args->item[2], "shape", size, &out->shape.ndim, err)) != BS_OK ||
        (rc = parse_sizes(args->item[3], "strides", out->stride, &strides, err)) != BS_OK)
        return rc;
    if (strides != out->shape.ndim)
        return BS_FAIL(err, BS_ECORRUPT, "a tensor with %d axes has %d strides", out->shape.ndim, strides);
    for (int i = 0; i < out->shape.ndim; i++)
        out->shape.dim[i] = (int64_t)size[i];
    out->dtype = out->storage.dtype;
    available = out->storage.view_count;
    if (form == FORM_V3) {
        if (!bs__torch_dtype(args->item[6], &out->dtype))
            return BS_FAIL(err, BS_EUNSUPPORTED, "a tensor of the unknown type %.100s",
                           bs__pickle_global_name(args->item[6]) ? bs__pickle_global_name(args->item[6])
                                                                 : bs__pickle_type_name(args->item[6]));
        if (!out->storage.untyped && (!out->storage.known || out->storage.dtype != out->dtype))
            return BS_FAIL(err, BS_ECORRUPT, "a tensor's type is not that of its storage");
    } else if (!out->storage.known) {
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "a tensor of complex, quantised or untyped elements (storage %s)", out->storage.key);
    }
    if (out->storage.untyped)
        available /= bs_dtype_size(out->dtype);
    if (out->storage.untyped && out->storage.view_offset)
        return BS_FAIL(err, BS_EUNSUPPORTED, "a view of an untyped storage");
    out->offset = offset + out->storage.view_offset; /* both below 2^63 */
    return check_bounds(out, offset, available, err);
}

bs_status bs__torch_tensor_parse(const struct bs__pickle_value *v, struct bs__torch_tensor *out,
                                 struct bs_err *err)
{
    int budget = MAX_INSIDE;
    *out = (struct bs__torch_tensor){0};
    for (int depth = 0;; depth++) {
        const size_t i = which(v);
        if (i == NREBUILD) {
            const char *name = bs__pickle_global_name(v);
            return BS_FAIL(err, BS_EUNSUPPORTED, "not a tensor but %.200s",
                           name ? name : bs__pickle_type_name(v));
        }
        const struct bs__pickle_list *args = &v->u.object->args->u.list;
        if (args->count < rebuild[i].least || args->count > rebuild[i].most)
            return BS_FAIL(err, BS_ECORRUPT, "a tensor is described by %zu values, not %zu", args->count,
                           rebuild[i].least);
        if (v->u.object->state || v->u.object->pairs.count || v->u.object->elements.count)
            return BS_FAIL(err, BS_EUNSUPPORTED, "a tensor with attributes of its own");
        const enum form form = rebuild[i].form;
        for (size_t k = form == FORM_PARAMETER ? 1 : 4; k < args->count; k++) {
            if (form == FORM_V3 && k == 6)
                continue; /* the dtype */
            bs_status rc = check_plain(args->item[k], 0, &budget, err);
            if (rc != BS_OK)
                return rc;
        }
        if (form != FORM_PARAMETER)
            return parse_view(args, form, out, err);
        if (depth == MAX_DEPTH)
            return BS_FAIL(err, BS_ECORRUPT, "a parameter of a parameter of a parameter");
        v = args->item[0];
    }
}

void bs__torch_tensor_gather(const struct bs__torch_tensor *t, const unsigned char *storage, void *dst)
{
    const size_t size = bs_dtype_size(t->dtype), count = bs_shape_count(&t->shape);
    uint64_t index[BS_MAX_DIM] = {0}, at = t->offset;
    unsigned char *to = dst;
    for (size_t i = 0; i < count; i++) {
        memcpy(to, storage + at * size, size);
        to += size;
        for (int d = t->shape.ndim - 1; d >= 0; d--) { /* the next element in C order */
            at += t->stride[d];
            if (++index[d] < (uint64_t)t->shape.dim[d])
                break;
            at -= t->stride[d] * index[d];
            index[d] = 0;
        }
    }
}
