/* bioseg.v1.Models: movable names of versions. Promoting is giving the name "production", which requests follow that name a model
   without a version; rolling back returns it to what it meant before. Who may is the store's to say (aliases.h), and it notes
   who did. */
#include "server/service/service_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bs_status no_memory(struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
}

static char *keep(struct bs_arena *arena, const char *text)
{
    char *copy = bs_arena_strdup(arena, text ? text : "");
    return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

static Bioseg__V1__AliasMove *move_message(struct bs_arena *arena, const struct bs_alias_move_record *r)
{
    static const char *const kinds[] = {
        [BS_ALIAS_SET] = "set", [BS_ALIAS_ROLLED_BACK] = "roll back", [BS_ALIAS_DELETED] = "delete"};
    Bioseg__V1__AliasMove *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__alias_move__init(m);
    m->number = r->number;
    m->alias = keep(arena, r->alias);
    m->kind = keep(arena, kinds[r->kind]);
    m->from_version = r->from_version;
    m->to_version = r->to_version;
    m->who = keep(arena, r->who);
    m->moved_ms = r->moved_ms;
    m->reason = keep(arena, r->reason);
    return m;
}

static struct bs_alias_wish wish_of(struct bs_call *call, const char *name, const char *alias,
                                    const char *reason)
{
    const struct bs_caller *caller = bs_call_caller(call);
    return (struct bs_alias_wish){
        .name = name, .alias = alias, .who = caller->name, .admin = caller->admin, .reason = reason};
}

static bs_status check_wish(const struct bs_alias_wish *w, struct bs_err *err)
{
    bs_status rc = bs__check_name("name", w->name, err);
    if (rc == BS_OK)
        rc = bs__check_name("alias", w->alias, err);
    return rc == BS_OK ? bs__check_text("reason", w->reason, BS_ALIAS_MAX_REASON, err) : rc;
}

static void log_move(struct bs_services *s, struct bs_call *call, const struct bs_alias_wish *w,
                     const struct bs_alias_move_record *move)
{
    if (move->number)
        BS_LOG(s->log, BS_LOG_INFO, "alias moved", BS_LOG_TEXT("request_id", bs_call_request_id(call)),
               BS_LOG_TEXT("model", w->name), BS_LOG_TEXT("alias", w->alias),
               BS_LOG_NUMBER("from", move->from_version), BS_LOG_NUMBER("to", move->to_version),
               BS_LOG_TEXT("who", w->who));
}

/* What moved, and the version that the alias means now, as messages; *move stays NULL when nothing moved. */
static bs_status describe(struct bs_services *s, struct bs_call *call, const struct bs_alias_wish *w,
                          const struct bs_alias_move_record *moved, int64_t version,
                          Bioseg__V1__Model **model, Bioseg__V1__AliasMove **move, struct bs_err *err)
{
    struct bs_model_record record = {.name = NULL};
    bs_status rc = bs_store_model_get(s->store, w->name, version, &record, err);
    if (rc != BS_OK)
        return rc;
    *model = bs__model_message(s, bs_call_arena(call), &record, false);
    if (moved->number)
        *move = move_message(bs_call_arena(call), moved);
    bs_model_record_free(&record);
    return *model && (*move || !moved->number) ? BS_OK : no_memory(err);
}

/* Points an alias of the model that ref names to the version that it names. */
static bs_status set(struct bs_services *s, struct bs_call *call, const Bioseg__V1__ModelRef *ref,
                     const char *alias, const char *reason, Bioseg__V1__Model **model,
                     Bioseg__V1__AliasMove **move, struct bs_err *err)
{
    struct bs_model_record record = {.name = NULL};
    struct bs_alias_move_record moved = {.number = 0};
    bs_status rc;
    if (ref && ref->selector_case == BIOSEG__V1__MODEL_REF__SELECTOR__NOT_SET)
        return BS_FAIL(err, BS_EINVAL,
                       "model.version is missing; a version, or the alias \"" BS_ALIAS_NEWEST
                       "\" or another, must be stated");
    if ((rc = bs__model_find(s, ref, &record, err)) != BS_OK)
        return rc;
    const struct bs_alias_wish w = wish_of(call, record.name, alias, reason);
    if ((rc = check_wish(&w, err)) != BS_OK ||
        (rc = bs_store_alias_set(s->store, &w, record.version, &moved, err)) != BS_OK)
        goto cleanup;
    log_move(s, call, &w, &moved);
    rc = describe(s, call, &w, &moved, record.version, model, move, err);
cleanup:
    bs_alias_move_record_free(&moved);
    bs_model_record_free(&record);
    return rc;
}

bs_status bs__models_set_alias(void *service, struct bs_call *call, const ProtobufCMessage *message,
                               struct bs_err *err)
{
    const Bioseg__V1__SetAliasRequest *q = (const Bioseg__V1__SetAliasRequest *)message;
    Bioseg__V1__SetAliasResponse answer = BIOSEG__V1__SET_ALIAS_RESPONSE__INIT;
    bs_status rc = set(service, call, q->model, q->alias, q->reason, &answer.model, &answer.move, err);
    return rc == BS_OK ? bs_call_write(call, &answer.base, err) : rc;
}

bs_status bs__models_promote(void *service, struct bs_call *call, const ProtobufCMessage *message,
                             struct bs_err *err)
{
    const Bioseg__V1__PromoteModelRequest *q = (const Bioseg__V1__PromoteModelRequest *)message;
    Bioseg__V1__PromoteModelResponse answer = BIOSEG__V1__PROMOTE_MODEL_RESPONSE__INIT;
    bs_status rc =
        set(service, call, q->model, BS_ALIAS_PROMOTED, q->reason, &answer.model, &answer.move, err);
    return rc == BS_OK ? bs_call_write(call, &answer.base, err) : rc;
}

bs_status bs__models_rollback(void *service, struct bs_call *call, const ProtobufCMessage *message,
                              struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__RollbackModelRequest *q = (const Bioseg__V1__RollbackModelRequest *)message;
    Bioseg__V1__RollbackModelResponse answer = BIOSEG__V1__ROLLBACK_MODEL_RESPONSE__INIT;
    struct bs_alias_move_record moved = {.number = 0};
    const struct bs_alias_wish w =
        wish_of(call, q->name, q->alias[0] ? q->alias : BS_ALIAS_PROMOTED, q->reason);
    bs_status rc = check_wish(&w, err);
    if (rc != BS_OK || (rc = bs_store_alias_roll_back(s->store, &w, &moved, err)) != BS_OK)
        return rc;
    log_move(s, call, &w, &moved);
    rc = describe(s, call, &w, &moved, moved.to_version, &answer.model, &answer.move, err);
    if (rc == BS_OK)
        rc = bs_call_write(call, &answer.base, err);
    bs_alias_move_record_free(&moved);
    return rc;
}

bs_status bs__models_delete_alias(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                  struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__DeleteAliasRequest *q = (const Bioseg__V1__DeleteAliasRequest *)message;
    Bioseg__V1__DeleteAliasResponse answer = BIOSEG__V1__DELETE_ALIAS_RESPONSE__INIT;
    struct bs_alias_move_record moved = {.number = 0};
    const struct bs_alias_wish w = wish_of(call, q->name, q->alias, q->reason);
    bs_status rc = check_wish(&w, err);
    if (rc != BS_OK || (rc = bs_store_alias_delete(s->store, &w, &moved, err)) != BS_OK)
        return rc;
    log_move(s, call, &w, &moved);
    answer.move = move_message(bs_call_arena(call), &moved);
    rc = answer.move ? bs_call_write(call, &answer.base, err) : no_memory(err);
    bs_alias_move_record_free(&moved);
    return rc;
}

/* The number that a page token says; "": 0. */
static bs_status parse_token(const char *token, int64_t *number, struct bs_err *err)
{
    char *end = NULL;
    *number = 0;
    if (!token)
        return BS_OK;
    *number = strtoll(token, &end, 10);
    if (end == token || *end || *number < 1)
        return BS_FAIL(err, BS_EINVAL, "page token \"%.40s\" is not accepted", token);
    return BS_OK;
}

bs_status bs__models_list_alias_moves(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                      struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__ListAliasMovesRequest *q = (const Bioseg__V1__ListAliasMovesRequest *)message;
    Bioseg__V1__ListAliasMovesResponse answer = BIOSEG__V1__LIST_ALIAS_MOVES_RESPONSE__INIT;
    struct bs_arena *arena = bs_call_arena(call);
    struct bs_alias_move_record *rows = NULL;
    const char *token;
    int64_t before;
    int size, count = 0;
    bs_status rc;
    if ((rc = bs__check_name("name", q->name, err)) != BS_OK ||
        (q->alias[0] && (rc = bs__check_name("alias", q->alias, err)) != BS_OK) ||
        (rc = bs__page(s, q->page, &size, &token, err)) != BS_OK ||
        (rc = parse_token(token, &before, err)) != BS_OK)
        return rc;
    /* One more than asked for tells whether there is a next page. */
    rc = bs_store_alias_moves(s->store, q->name, q->alias[0] ? q->alias : NULL, before, size + 1, &rows,
                              &count, err);
    if (rc != BS_OK)
        return rc;
    int shown = count > size ? size : count;
    answer.moves = bs_arena_array(arena, (size_t)shown + 1, sizeof *answer.moves);
    for (int i = 0; i < shown && answer.moves; i++) {
        if (!(answer.moves[i] = move_message(arena, &rows[i])))
            break;
        answer.n_moves++;
    }
    if (count > size)
        answer.next_page_token = bs__format(arena, "%" PRId64, rows[shown - 1].number);
    rc = answer.n_moves == (size_t)shown ? bs_call_write(call, &answer.base, err) : no_memory(err);
    for (int i = 0; i < count; i++)
        bs_alias_move_record_free(&rows[i]);
    free(rows);
    return rc;
}
