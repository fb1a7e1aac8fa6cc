/* See cudnn_attention.h. */
#include "kernels/cuda/cudnn_attention.h"

#include "kernels/cuda/cudnn_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROPOSALS 8
#define NOTES     32

enum { ID_Q = 1, ID_K, ID_V, ID_Y, ID_SCALE, IDS = ID_SCALE };

struct bs__cudnn_attention_plan {
    const struct bs__cudnn *dn;
    bs__dn_descriptor tensor[IDS], operation, graph, heuristic, config[PROPOSALS], plan;
    int64_t workspace, engine;
    float scale;
    bs__dn_status status; /* the first that was not success, and what was tried then */
    const char *tried;
};

/* Calls of the library, of which the first that fails is kept and those after it are not made. */
static bool went_well(struct bs__cudnn_attention_plan *p, bs__dn_status s, const char *tried)
{
    if (p->status == BS__DN_SUCCESS && s != BS__DN_SUCCESS) {
        p->status = s;
        p->tried = tried;
    }
    return p->status == BS__DN_SUCCESS;
}

static void make(struct bs__cudnn_attention_plan *p, bs__dn_kind kind, bs__dn_descriptor *out,
                 const char *what)
{
    if (p->status == BS__DN_SUCCESS && !went_well(p, p->dn->make(kind, out), what))
        *out = NULL;
}

static void set(struct bs__cudnn_attention_plan *p, bs__dn_descriptor d, bs__dn_attribute a, bs__dn_type type,
                int64_t count, const void *values, const char *what)
{
    if (p->status == BS__DN_SUCCESS)
        (void)went_well(p, p->dn->set(d, a, type, count, values), what);
}

static void finalize(struct bs__cudnn_attention_plan *p, bs__dn_descriptor d, const char *what)
{
    if (p->status == BS__DN_SUCCESS)
        (void)went_well(p, p->dn->finalize(d), what);
}

static void add_tensor(struct bs__cudnn_attention_plan *p, int64_t id, bs__dn_data type,
                       const int64_t size[4], const int64_t stride[4], bool by_value)
{
    static const char what[] = "describe an operand of attention";
    const int64_t alignment = 16;
    bs__dn_descriptor *d = &p->tensor[id - 1];
    make(p, BS__DN_TENSOR, d, what);
    set(p, *d, BS__DN_TENSOR_TYPE, BS__DN_TYPE_DATA, 1, &type, what);
    set(p, *d, BS__DN_TENSOR_SIZES, BS__DN_TYPE_INT64, 4, size, what);
    set(p, *d, BS__DN_TENSOR_STRIDES, BS__DN_TYPE_INT64, 4, stride, what);
    set(p, *d, BS__DN_TENSOR_ID, BS__DN_TYPE_INT64, 1, &id, what);
    set(p, *d, BS__DN_TENSOR_ALIGNMENT, BS__DN_TYPE_INT64, 1, &alignment, what);
    if (by_value)
        set(p, *d, BS__DN_TENSOR_BY_VALUE, BS__DN_TYPE_BOOL, 1, &by_value, what);
    finalize(p, *d, what);
}

/* To the library a batch of heads is (sample, head, token, feature), at any distances. */
static void add_heads(struct bs__cudnn_attention_plan *p, int64_t id, const struct bs__cudnn_attention *c,
                      int64_t features, const struct bs__cudnn_heads *at)
{
    const bs__dn_data type = (bs__dn_data)(c->element == BS__F16 ? BS__DN_F16 : BS__DN_BF16);
    const int64_t size[4] = {c->samples, c->heads, c->tokens, features},
                  stride[4] = {at->sample, at->head, at->token, 1};
    add_tensor(p, id, type, size, stride, false);
}

static void describe(struct bs__cudnn_attention_plan *p, const struct bs__cudnn_attention *c)
{
    static const char what[] = "describe attention";
    static const bs__dn_attribute role[IDS] = {BS__DN_ATTENTION_Q, BS__DN_ATTENTION_K, BS__DN_ATTENTION_V,
                                               BS__DN_ATTENTION_Y, BS__DN_ATTENTION_SCALE};
    const int64_t one[4] = {1, 1, 1, 1};
    add_heads(p, ID_Q, c, c->width, &c->q);
    add_heads(p, ID_K, c, c->width, &c->k);
    add_heads(p, ID_V, c, c->features, &c->v);
    add_heads(p, ID_Y, c, c->features, &c->y);
    add_tensor(p, ID_SCALE, (bs__dn_data)BS__DN_F32, one, one, true);
    make(p, BS__DN_ATTENTION, &p->operation, what);
    for (int i = 0; i < IDS; i++)
        set(p, p->operation, role[i], BS__DN_TYPE_DESCRIPTOR, 1, &p->tensor[i], what);
    finalize(p, p->operation, what);
    make(p, BS__DN_GRAPH, &p->graph, what);
    if (p->dn->handle) /* without one it is a graph for a device that is described */
        set(p, p->graph, BS__DN_GRAPH_HANDLE, BS__DN_TYPE_HANDLE, 1, &p->dn->handle, what);
    set(p, p->graph, BS__DN_GRAPH_OPERATIONS, BS__DN_TYPE_DESCRIPTOR, 1, &p->operation, what);
    finalize(p, p->graph, what);
}

/* How many engines the heuristic proposes. */
static int64_t propose(struct bs__cudnn_attention_plan *p, bs__dn_descriptor device)
{
    static const char what[] = "propose engines for attention";
    const int mode = BS__DN_MODE_A;
    int64_t count = 0;
    make(p, BS__DN_HEURISTIC, &p->heuristic, what);
    set(p, p->heuristic, BS__DN_HEURISTIC_GRAPH, BS__DN_TYPE_DESCRIPTOR, 1, &p->graph, what);
    set(p, p->heuristic, BS__DN_HEURISTIC_MODE, BS__DN_TYPE_MODE, 1, &mode, what);
    if (device)
        set(p, p->heuristic, BS__DN_HEURISTIC_DEVICE, BS__DN_TYPE_DESCRIPTOR, 1, &device, what);
    finalize(p, p->heuristic, what);
    for (int i = 0; i < PROPOSALS; i++)
        make(p, BS__DN_CONFIG, &p->config[i], what);
    if (p->status == BS__DN_SUCCESS &&
        !went_well(p,
                   p->dn->get(p->heuristic, BS__DN_HEURISTIC_RESULTS, BS__DN_TYPE_DESCRIPTOR, PROPOSALS,
                              &count, p->config),
                   what))
        return 0;
    return count < PROPOSALS ? count : PROPOSALS;
}

/* The number of a proposal's engine, and whether its sums have one order. */
static bool is_deterministic(struct bs__cudnn_attention_plan *p, bs__dn_descriptor config)
{
    static const char what[] = "describe an engine";
    bs__dn_descriptor engine = NULL;
    int note[NOTES];
    int64_t count = 0, notes = 0;
    make(p, BS__DN_ENGINE, &engine, what);
    if (p->status == BS__DN_SUCCESS)
        (void)(went_well(p,
                         p->dn->get(config, BS__DN_CONFIG_ENGINE, BS__DN_TYPE_DESCRIPTOR, 1, &count, &engine),
                         what) &&
               went_well(p, p->dn->get(engine, BS__DN_ENGINE_INDEX, BS__DN_TYPE_INT64, 1, &count, &p->engine),
                         what) &&
               went_well(p, p->dn->get(engine, BS__DN_ENGINE_NOTES, BS__DN_TYPE_NOTE, NOTES, &notes, note),
                         what));
    bool deterministic = p->status == BS__DN_SUCCESS;
    for (int64_t i = 0; i < notes && i < NOTES; i++)
        deterministic &= note[i] != BS__DN_NOTE_NONDETERMINISTIC;
    if (engine)
        (void)p->dn->release(engine);
    return deterministic;
}

/* Builds the proposal; false: the library cannot after all, and the plan is as before. */
static bool build(struct bs__cudnn_attention_plan *p, bs__dn_descriptor config, bs__dn_descriptor device)
{
    static const char what[] = "build attention";
    int64_t count = 0;
    make(p, BS__DN_PLAN, &p->plan, what);
    set(p, p->plan, BS__DN_PLAN_CONFIG, BS__DN_TYPE_DESCRIPTOR, 1, &config, what);
    if (p->dn->handle)
        set(p, p->plan, BS__DN_PLAN_HANDLE, BS__DN_TYPE_HANDLE, 1, &p->dn->handle, what);
    if (device)
        set(p, p->plan, BS__DN_PLAN_DEVICE, BS__DN_TYPE_DESCRIPTOR, 1, &device, what);
    finalize(p, p->plan, what);
    if (p->status == BS__DN_SUCCESS)
        (void)went_well(
            p, p->dn->get(p->plan, BS__DN_PLAN_WORKSPACE, BS__DN_TYPE_INT64, 1, &count, &p->workspace), what);
    if (p->status == BS__DN_SUCCESS && p->workspace >= 0 &&
        (uint64_t)p->workspace <= BS__CUDNN_MOST_WORKSPACE)
        return true;
    if (p->plan)
        (void)p->dn->release(p->plan);
    p->plan = NULL;
    return false;
}

bs_status bs__cudnn_attention_plan(const struct bs__cudnn *dn, const struct bs__cudnn_attention *c,
                                   bs__dn_descriptor device, struct bs__cudnn_attention_plan **out, char *why,
                                   size_t len, struct bs_err *err)
{
    const size_t version = dn->version();
    *out = NULL;
    why[0] = '\0';
    if (version < BS__CUDNN_ATTENTION_VERSION)
        snprintf(why, len, "cuDNN %zu.%zu.%zu has none, 9.13.1 has", version / 10000, version / 100 % 100,
                 version % 100);
    else if (c->element == BS__F32)
        snprintf(why, len, "cuDNN has none in float32");
    else if (c->width % 8 || c->features % 8 || c->width > BS__CUDNN_ATTENTION_WIDTH ||
             c->features > BS__CUDNN_ATTENTION_WIDTH)
        snprintf(why, len, "cuDNN has none of %lld and %lld features", (long long)c->width,
                 (long long)c->features);
    if (why[0])
        return BS_OK;
    struct bs__cudnn_attention_plan *p = calloc(1, sizeof *p);
    if (!p)
        return BS_FAIL(err, BS_ENOMEM, "no memory to plan an attention");
    p->dn = dn;
    p->scale = c->scale;
    describe(p, c);
    const int64_t count = propose(p, device);
    for (int64_t i = 0; i < count && !p->plan; i++) {
        p->status = BS__DN_SUCCESS; /* of the proposal before */
        if (is_deterministic(p, p->config[i]) && build(p, p->config[i], device))
            break;
    }
    if (p->plan) {
        *out = p;
        return BS_OK;
    }
    if (p->status == BS__DN_SUCCESS)
        snprintf(why, len, "cuDNN proposes no engine");
    else
        snprintf(why, len, "cuDNN cannot %s: %s", p->tried, dn->status_text(p->status));
    bs__cudnn_attention_plan_destroy(p);
    return BS_OK;
}

void bs__cudnn_attention_plan_destroy(struct bs__cudnn_attention_plan *p)
{
    if (!p)
        return;
    bs__dn_descriptor all[] = {p->plan, p->heuristic, p->graph, p->operation};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            (void)p->dn->release(all[i]);
    for (int i = 0; i < PROPOSALS; i++)
        if (p->config[i])
            (void)p->dn->release(p->config[i]);
    for (int i = 0; i < IDS; i++)
        if (p->tensor[i])
            (void)p->dn->release(p->tensor[i]);
    free(p);
}

size_t bs__cudnn_attention_workspace(const struct bs__cudnn_attention_plan *p)
{
    return (size_t)p->workspace;
}

int bs__cudnn_attention_engine(const struct bs__cudnn_attention_plan *p)
{
    return (int)p->engine;
}

bs_status bs__cudnn_attend(const struct bs__cudnn_attention_plan *p, bs_address q, bs_address k, bs_address v,
                           bs_address y, bs_address workspace, struct bs_err *err)
{
    static const char what[] = "queue attention";
    const struct bs__cudnn *dn = p->dn;
    const int64_t id[IDS] = {ID_Q, ID_K, ID_V, ID_Y, ID_SCALE};
    float scale = p->scale;
    void *const pointer[IDS] = {(void *)(uintptr_t)q, (void *)(uintptr_t)k, (void *)(uintptr_t)v,
                                (void *)(uintptr_t)y, &scale},
                *const room = (void *)(uintptr_t)workspace;
    bs__dn_descriptor pack = NULL;
    bs__dn_status s = dn->make(BS__DN_PACK, &pack);
    if (s != BS__DN_SUCCESS)
        return bs__cudnn_check(dn, s, what, err);
    if ((s = dn->set(pack, BS__DN_PACK_IDS, BS__DN_TYPE_INT64, IDS, id)) == BS__DN_SUCCESS &&
        (s = dn->set(pack, BS__DN_PACK_POINTERS, BS__DN_TYPE_POINTER, IDS, pointer)) == BS__DN_SUCCESS &&
        (s = dn->set(pack, BS__DN_PACK_WORKSPACE, BS__DN_TYPE_POINTER, 1, &room)) == BS__DN_SUCCESS &&
        (s = dn->finalize(pack)) == BS__DN_SUCCESS)
        s = dn->execute(dn->handle, p->plan, pack);
    (void)dn->release(pack);
    return bs__cudnn_check(dn, s, what, err);
}
