/* bioseg.v1.Models.GetLineage: how a version came to be, back to what was imported or began with random weights. */
#include "server/service/service_internal.h"

#include "server/store/origins.h"
#include "server/training_json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 1000

static char *keep(struct bs_arena *arena, const char *text)
{
    char *copy = bs_arena_strdup(arena, text ? text : "");
    return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

static Bioseg__V1__ModelRef *reference(struct bs_arena *arena, const char *name, int64_t version)
{
    Bioseg__V1__ModelRef *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__model_ref__init(m);
    m->name = keep(arena, name);
    m->selector_case = BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    m->version = version;
    return m;
}

/* A version as far as it is known: its record, or what is kept of it after it was deleted. */
struct known {
    char *name, *lineage_json;
    int64_t version, created_ms;
};

static void forget(struct known *k)
{
    free(k->name);
    free(k->lineage_json);
    memset(k, 0, sizeof *k);
}

/* False when nothing is known of it: it was imported and deleted. */
static bool look_up(struct bs_services *s, const char *name, int64_t version, struct known *k)
{
    struct bs_model_record record = {.name = NULL};
    struct bs_origin_record origin = {.name = NULL};
    struct bs_err ignored;
    if (bs_store_model_get(s->store, name, version, &record, &ignored) == BS_OK) {
        *k = (struct known){.name = record.name,
                            .version = record.version,
                            .lineage_json = record.lineage_json,
                            .created_ms = record.created_ms};
        record.name = record.lineage_json = NULL;
        bs_model_record_free(&record);
        return true;
    }
    if (bs_store_origin_get(s->store, name, version, NULL, &origin, &ignored) != BS_OK)
        return false;
    *k = (struct known){.name = origin.name,
                        .version = origin.version,
                        .lineage_json = origin.lineage_json,
                        .created_ms = origin.created_ms};
    origin.name = origin.lineage_json = NULL;
    bs_origin_record_free(&origin);
    return true;
}

/* One step; *parent says where to look next. NULL when the arena is exhausted. */
static Bioseg__V1__LineageStep *step_of(struct bs_arena *arena, const struct known *k,
                                        struct bs_training_lineage *parent)
{
    struct bs_err ignored;
    Bioseg__V1__LineageStep *m = bs_arena_alloc(arena, sizeof *m);
    memset(parent, 0, sizeof *parent);
    if (!m)
        return NULL;
    bioseg__v1__lineage_step__init(m);
    m->model = reference(arena, k->name, k->version);
    m->created_ms = k->created_ms;
    /* What a newer bioseg wrote and this one cannot read stays empty. */
    if (!k->lineage_json || bs_training_lineage_from_json(k->lineage_json, parent, &ignored) != BS_OK) {
        m->how = keep(arena, k->lineage_json ? "" : "import");
        return m->model ? m : NULL;
    }
    m->how = keep(arena, parent->how);
    m->dataset = keep(arena, parent->dataset);
    m->job_id = keep(arena, parent->job);
    if (parent->parent[0])
        m->parent = reference(arena, parent->parent, parent->parent_version);
    return m->model && (m->parent || !parent->parent[0]) ? m : NULL;
}

bs_status bs__models_get_lineage(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                 struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__GetLineageRequest *q = (const Bioseg__V1__GetLineageRequest *)message;
    Bioseg__V1__GetLineageResponse answer = BIOSEG__V1__GET_LINEAGE_RESPONSE__INIT;
    struct bs_arena *arena = bs_call_arena(call);
    struct bs_model_record record = {.name = NULL};
    struct known k = {.name = NULL};
    bs_status rc = bs__model_find(s, q->model, &record, err);
    if (rc != BS_OK)
        return rc;
    answer.steps = bs_arena_array(arena, MAX_STEPS, sizeof *answer.steps);
    bool more = answer.steps && look_up(s, record.name, record.version, &k);
    while (more && answer.n_steps < MAX_STEPS) {
        struct bs_training_lineage parent;
        Bioseg__V1__LineageStep *m = step_of(arena, &k, &parent);
        forget(&k);
        if (!m) {
            answer.steps = NULL;
            break;
        }
        answer.steps[answer.n_steps++] = m;
        more = parent.parent[0] && look_up(s, parent.parent, parent.parent_version, &k);
    }
    forget(&k);
    bs_model_record_free(&record);
    if (!answer.steps)
        return BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
    return bs_call_write(call, &answer.base, err);
}
