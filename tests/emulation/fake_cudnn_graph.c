/* The graph interface of the fake cuDNN, as far as an attention goes (kernels/cuda/cudnn_attention.c). It checks each descriptor when
   it is finalised (that all attributes were given, in their types, and fit each other) and computes in plain loops when the
   emulated stream comes to it. Three engines are proposed: one without a fixed order of sums, one that cannot be built, and
   number 9, which is right.
   BS_FAKE_CUDNN_NONE=1: none is proposed. BS_FAKE_CUDNN_REFUSE=1: none can be built, as without NVRTC. */
#include "tests/emulation/fake_cudnn.h"

#include "tests/emulation/control.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENGINES = 3, RIGHT_ENGINE = 9, IDS = 5 };

struct tensor {
    int type;
    int64_t size[4], stride[4], id, alignment;
    bool by_value;
};

struct descriptor {
    int kind;
    bool final;
    struct tensor tensor;
    /* Of an operation: q, k, v, y, scale; of a graph its operation; of a heuristic its graph; of a configuration and an engine the
       heuristic; of a plan its configuration. */
    struct descriptor *part[IDS];
    bs__dn_handle handle;
    int mode, engine;
    int64_t id[IDS];
    void *pointer[IDS], *workspace;
    bool ids, pointers;
};

static int alive;

void fake_cudnn_expect_no_descriptors(void)
{
    if (alive) {
        fprintf(stderr, "fake cuDNN: %d descriptors were not destroyed\n", alive);
        abort();
    }
}

#define refuse fake_cudnn_refuse

bs__dn_status cudnnBackendCreateDescriptor(bs__dn_kind kind, bs__dn_descriptor *d)
{
    struct descriptor *made = calloc(1, sizeof *made);
    if (!made)
        return BS__DN_BAD_PARAM;
    made->kind = kind;
    made->engine = -1;
    alive++;
    *d = made;
    return BS__DN_SUCCESS;
}

bs__dn_status cudnnBackendDestroyDescriptor(bs__dn_descriptor d)
{
    alive--;
    free(d);
    return BS__DN_SUCCESS;
}

/* Copies `count` values of `bytes` each where both are as expected. */
static bs__dn_status take(void *to, bs__dn_type type, bs__dn_type wanted, int64_t count, int64_t expected,
                          const void *values, size_t bytes)
{
    if (type != wanted || count != expected)
        return refuse("an attribute of another type or number");
    memcpy(to, values, (size_t)count * bytes);
    return BS__DN_SUCCESS;
}

static bs__dn_status take_part(struct descriptor *d, int part, int kind, bs__dn_type type, int64_t count,
                               const void *values)
{
    struct descriptor *given = NULL;
    const bs__dn_status s =
        take(&given, type, BS__DN_TYPE_DESCRIPTOR, count, 1, values, sizeof(bs__dn_descriptor));
    if (s != BS__DN_SUCCESS)
        return s;
    if (!given || given->kind != kind || (!given->final && kind != BS__DN_CONFIG))
        return refuse("a descriptor of another kind, or not finalised");
    d->part[part] = given;
    return BS__DN_SUCCESS;
}

static bs__dn_status set_tensor(struct tensor *t, bs__dn_attribute a, bs__dn_type type, int64_t count,
                                const void *values)
{
    switch (a) {
    case BS__DN_TENSOR_TYPE:
        return take(&t->type, type, BS__DN_TYPE_DATA, count, 1, values, sizeof t->type);
    case BS__DN_TENSOR_SIZES:
        return take(t->size, type, BS__DN_TYPE_INT64, count, 4, values, sizeof(int64_t));
    case BS__DN_TENSOR_STRIDES:
        return take(t->stride, type, BS__DN_TYPE_INT64, count, 4, values, sizeof(int64_t));
    case BS__DN_TENSOR_ID:
        return take(&t->id, type, BS__DN_TYPE_INT64, count, 1, values, sizeof(int64_t));
    case BS__DN_TENSOR_ALIGNMENT:
        return take(&t->alignment, type, BS__DN_TYPE_INT64, count, 1, values, sizeof(int64_t));
    case BS__DN_TENSOR_BY_VALUE:
        return take(&t->by_value, type, BS__DN_TYPE_BOOL, count, 1, values, sizeof(bool));
    default:
        return refuse("an attribute that a tensor has not");
    }
}

static bs__dn_status set_pack(struct descriptor *d, bs__dn_attribute a, bs__dn_type type, int64_t count,
                              const void *values)
{
    switch (a) {
    case BS__DN_PACK_IDS:
        d->ids = true;
        return take(d->id, type, BS__DN_TYPE_INT64, count, IDS, values, sizeof(int64_t));
    case BS__DN_PACK_POINTERS:
        d->pointers = true;
        return take(d->pointer, type, BS__DN_TYPE_POINTER, count, IDS, values, sizeof(void *));
    case BS__DN_PACK_WORKSPACE:
        return take(&d->workspace, type, BS__DN_TYPE_POINTER, count, 1, values, sizeof(void *));
    default:
        return refuse("an attribute that a variant pack has not");
    }
}

bs__dn_status cudnnBackendSetAttribute(bs__dn_descriptor descriptor, bs__dn_attribute a, bs__dn_type type,
                                       int64_t count, const void *values)
{
    static const struct {
        int kind, attribute, part, of;
    } parts[] = {
        {BS__DN_ATTENTION, BS__DN_ATTENTION_Q, 0, BS__DN_TENSOR},
        {BS__DN_ATTENTION, BS__DN_ATTENTION_K, 1, BS__DN_TENSOR},
        {BS__DN_ATTENTION, BS__DN_ATTENTION_V, 2, BS__DN_TENSOR},
        {BS__DN_ATTENTION, BS__DN_ATTENTION_Y, 3, BS__DN_TENSOR},
        {BS__DN_ATTENTION, BS__DN_ATTENTION_SCALE, 4, BS__DN_TENSOR},
        {BS__DN_GRAPH, BS__DN_GRAPH_OPERATIONS, 0, BS__DN_ATTENTION},
        {BS__DN_HEURISTIC, BS__DN_HEURISTIC_GRAPH, 0, BS__DN_GRAPH},
        {BS__DN_PLAN, BS__DN_PLAN_CONFIG, 0, BS__DN_CONFIG},
    };
    struct descriptor *d = descriptor;
    if (!d || d->final || !values)
        return refuse("an attribute of nothing, or of what is finalised");
    if (d->kind == BS__DN_TENSOR)
        return set_tensor(&d->tensor, a, type, count, values);
    if (d->kind == BS__DN_PACK)
        return set_pack(d, a, type, count, values);
    if ((d->kind == BS__DN_GRAPH && a == BS__DN_GRAPH_HANDLE) ||
        (d->kind == BS__DN_PLAN && a == BS__DN_PLAN_HANDLE))
        return take(&d->handle, type, BS__DN_TYPE_HANDLE, count, 1, values, sizeof(bs__dn_handle));
    if (d->kind == BS__DN_HEURISTIC && a == BS__DN_HEURISTIC_MODE)
        return take(&d->mode, type, BS__DN_TYPE_MODE, count, 1, values, sizeof d->mode);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].kind == d->kind && parts[i].attribute == a)
            return take_part(d, parts[i].part, parts[i].of, type, count, values);
    return refuse("an attribute that a descriptor has not");
}

static bs__dn_status check_tensor(const struct tensor *t)
{
    if (t->id < 1 || t->alignment != 16)
        return refuse("a tensor without a number or an alignment");
    for (int i = 0; i < 4; i++)
        if (t->size[i] < 1 || t->stride[i] < 1)
            return refuse("a tensor that is empty or does not say how it lies");
    if (t->by_value)
        return t->type == BS__DN_F32 && t->size[0] * t->size[1] * t->size[2] * t->size[3] == 1
                   ? BS__DN_SUCCESS
                   : refuse("a value that is not one float");
    if (t->type != BS__DN_F16 && t->type != BS__DN_BF16)
        return BS__DN_NOT_SUPPORTED;
    if (t->stride[3] != 1 || t->stride[0] % 8 || t->stride[1] % 8 || t->stride[2] % 8 || t->size[3] % 8 ||
        t->size[3] > 256)
        return BS__DN_NOT_SUPPORTED;
    return BS__DN_SUCCESS;
}

static bs__dn_status check_attention(struct descriptor *const part[IDS])
{
    for (int i = 0; i < IDS; i++) {
        if (!part[i] || part[i]->tensor.by_value != (i == IDS - 1))
            return refuse("an attention without one of its operands");
        for (int j = 0; j < i; j++)
            if (part[j]->tensor.id == part[i]->tensor.id)
                return refuse("two operands of one number");
    }
    const struct tensor *q = &part[0]->tensor, *k = &part[1]->tensor, *v = &part[2]->tensor,
                        *y = &part[3]->tensor;
    for (int i = 0; i < 3; i++)
        if (k->size[i] != q->size[i] || v->size[i] != q->size[i] || y->size[i] != q->size[i])
            return refuse("operands of an attention that do not fit each other");
    if (k->size[3] != q->size[3] || v->size[3] != y->size[3] || k->type != q->type || v->type != q->type ||
        y->type != q->type)
        return refuse("operands of an attention that do not fit each other");
    return BS__DN_SUCCESS;
}

bs__dn_status cudnnBackendFinalize(bs__dn_descriptor descriptor)
{
    struct descriptor *d = descriptor;
    const char *refused = getenv("BS_FAKE_CUDNN_REFUSE");
    bs__dn_status s = BS__DN_SUCCESS;
    if (!d || d->final)
        return refuse("finalised twice");
    if (d->kind == BS__DN_TENSOR)
        s = check_tensor(&d->tensor);
    else if (d->kind == BS__DN_ATTENTION)
        s = check_attention(d->part);
    else if (d->kind == BS__DN_GRAPH && (!d->part[0] || !d->handle))
        s = refuse("a graph without operation or handle");
    else if (d->kind == BS__DN_HEURISTIC && (!d->part[0] || d->mode != BS__DN_MODE_A))
        s = refuse("a heuristic without graph or mode");
    else if (d->kind == BS__DN_PLAN && (!d->part[0] || d->part[0]->engine < 0 || !d->handle))
        s = refuse("a plan without engine or handle");
    else if (d->kind == BS__DN_PLAN && (d->part[0]->engine != RIGHT_ENGINE || (refused && *refused == '1')))
        s = BS__DN_NOT_SUPPORTED;
    else if (d->kind == BS__DN_PACK && (!d->ids || !d->pointers))
        s = refuse("a variant pack without pointers");
    d->final = s == BS__DN_SUCCESS;
    return s;
}

bs__dn_status cudnnBackendGetAttribute(const bs__dn_descriptor descriptor, bs__dn_attribute a,
                                       bs__dn_type type, int64_t room, int64_t *count, void *values)
{
    static const int engines[ENGINES] = {5, 8, RIGHT_ENGINE};
    const struct descriptor *d = descriptor;
    const char *none = getenv("BS_FAKE_CUDNN_NONE");
    if (d->kind == BS__DN_HEURISTIC && a == BS__DN_HEURISTIC_RESULTS && type == BS__DN_TYPE_DESCRIPTOR &&
        d->final) {
        for (*count = 0; *count < ENGINES && *count < room && !(none && *none == '1'); ++*count) {
            struct descriptor *config = ((bs__dn_descriptor *)values)[*count];
            if (!config || config->kind != BS__DN_CONFIG)
                return refuse("no descriptor for a configuration");
            config->engine = engines[*count];
            config->part[0] = (struct descriptor *)d;
        }
        return BS__DN_SUCCESS;
    }
    *count = 1;
    if (d->kind == BS__DN_CONFIG && a == BS__DN_CONFIG_ENGINE && type == BS__DN_TYPE_DESCRIPTOR) {
        struct descriptor *engine = *(bs__dn_descriptor *)values;
        engine->engine = d->engine;
        return BS__DN_SUCCESS;
    }
    const int64_t workspace = FAKE_CUDNN_WORKSPACE, number = d->engine;
    if (d->kind == BS__DN_ENGINE && a == BS__DN_ENGINE_INDEX && type == BS__DN_TYPE_INT64)
        return memcpy(values, &number, sizeof number), BS__DN_SUCCESS;
    if (d->kind == BS__DN_PLAN && a == BS__DN_PLAN_WORKSPACE && type == BS__DN_TYPE_INT64 && d->final)
        return memcpy(values, &workspace, sizeof workspace), BS__DN_SUCCESS;
    if (d->kind == BS__DN_ENGINE && a == BS__DN_ENGINE_NOTES && type == BS__DN_TYPE_NOTE) {
        const int note[2] = {0, BS__DN_NOTE_NONDETERMINISTIC};
        *count = d->engine == engines[0] ? 2 : 1;
        memcpy(values, note, (size_t)*count * sizeof *note);
        return BS__DN_SUCCESS;
    }
    return refuse("a question that has no answer");
}

/* An attention that waits on the stream. */
struct work {
    struct tensor t[4];
    uint64_t at[4], workspace;
    float scale;
};

/* Bytes from a tensor's first element to behind its last. */
static size_t extent(const struct tensor *t)
{
    size_t last = 0;
    for (int i = 0; i < 4; i++)
        last += (size_t)((t->size[i] - 1) * t->stride[i]);
    return (last + 1) * fake_cudnn_bytes(t->type);
}

static float element(const struct tensor *t, const void *p, int64_t b, int64_t h, int64_t s, int64_t d)
{
    return fake_cudnn_load(p, (size_t)(b * t->stride[0] + h * t->stride[1] + s * t->stride[2] + d), t->type);
}

/* One row of y. */
static void attend(const struct work *k, const void *const p[3], void *y, double *weight, int64_t b,
                   int64_t h, int64_t i)
{
    const int64_t tokens = k->t[0].size[2];
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < tokens; j++) {
        weight[j] = 0;
        for (int64_t d = 0; d < k->t[0].size[3]; d++)
            weight[j] +=
                (double)element(&k->t[0], p[0], b, h, i, d) * (double)element(&k->t[1], p[1], b, h, j, d);
        weight[j] *= (double)k->scale;
        largest = fmax(largest, weight[j]);
    }
    for (int64_t j = 0; j < tokens; j++)
        sum += weight[j] = exp(weight[j] - largest);
    for (int64_t d = 0; d < k->t[2].size[3]; d++) {
        double v = 0;
        for (int64_t j = 0; j < tokens; j++)
            v += weight[j] * (double)element(&k->t[2], p[2], b, h, j, d);
        const struct tensor *t = &k->t[3];
        fake_cudnn_store(y, (size_t)(b * t->stride[0] + h * t->stride[1] + i * t->stride[2] + d), t->type,
                         (float)(v / sum));
    }
}

static int run(void *context)
{
    const struct work *k = context;
    const void *p[3];
    for (int i = 0; i < 3; i++)
        if (!(p[i] = bs_emulation_read(k->at[i], extent(&k->t[i]))))
            return 700;
    void *y = bs_emulation_write(k->at[3], extent(&k->t[3]));
    double *weight = malloc((size_t)k->t[0].size[2] * sizeof *weight);
    if (!y || !weight || !bs_emulation_write(k->workspace, FAKE_CUDNN_WORKSPACE)) {
        free(weight);
        return 700;
    }
    for (int64_t b = 0; b < k->t[0].size[0]; b++)
        for (int64_t h = 0; h < k->t[0].size[1]; h++)
            for (int64_t i = 0; i < k->t[0].size[2]; i++)
                attend(k, p, y, weight, b, h, i);
    free(weight);
    return 0;
}

bs__dn_status cudnnBackendExecute(bs__dn_handle h, bs__dn_descriptor plan, bs__dn_descriptor pack)
{
    const struct descriptor *p = plan, *v = pack;
    if (!h || !p || !v || p->kind != BS__DN_PLAN || v->kind != BS__DN_PACK || !p->final || !v->final ||
        p->handle != h)
        return refuse("run without plan or pointers");
    if (!v->workspace || (uintptr_t)v->workspace % 256)
        return refuse("no workspace, or not aligned");
    struct descriptor *const *part = p->part[0]->part[0]->part[0]->part[0]->part; /* of the operation */
    struct work *k = calloc(1, sizeof *k);
    if (!k)
        return BS__DN_BAD_PARAM;
    int found = 0;
    for (int i = 0; i < IDS; i++)
        for (int j = 0; j < IDS; j++) {
            if (v->id[j] != part[i]->tensor.id)
                continue;
            found++;
            if (i < 4) {
                k->t[i] = part[i]->tensor;
                k->at[i] = (uint64_t)(uintptr_t)v->pointer[j];
            } else if (v->pointer[j])
                memcpy(&k->scale, v->pointer[j], sizeof k->scale);
        }
    k->workspace = (uint64_t)(uintptr_t)v->workspace;
    if (found != IDS || !k->at[0] || !k->at[1] || !k->at[2] || !k->at[3] ||
        (k->at[0] | k->at[1] | k->at[2] | k->at[3]) % 16) {
        free(k);
        return refuse("an operand without address, or not aligned");
    }
    return bs_emulation_queue(h->stream, run, k, free) == 0 ? BS__DN_SUCCESS
                                                            : refuse("the stream takes no work");
}
