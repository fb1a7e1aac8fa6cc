/* Movable names of versions from the command line. See models_alias.h. */
#include "clients/cli/models_alias.h"

#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/spec_args.h"
#include "clients/cli/subcommand.h"

#include "bioseg/v1/models.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE  200
#define PRODUCTION "production"

enum { OPT_AS = 0x640, OPT_REASON };

const struct argp_option bs__models_alias_options[] = {
    {"as", OPT_AS, "ALIAS", 0, "another name than production", 10},
    {"reason", OPT_REASON, "TEXT", 0, "why; kept in the model's history", 10},
    {0}};

error_t bs__models_alias_option(int key, char *arg, struct argp_state *state, struct bs__models_alias *o)
{
    (void)state;
    switch (key) {
    case OPT_AS:
        o->alias = arg;
        return 0;
    case OPT_REASON:
        o->reason = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static char *borrowed(const char *text)
{
    return text ? (char *)(uintptr_t)text : (char *)(uintptr_t)protobuf_c_empty_string;
}

static const char *alias_of(const struct bs__models_alias *o)
{
    return o->alias ? o->alias : PRODUCTION;
}

/* A move for people; for programs the whole answer. Frees it. */
static int told(struct bs__cli *cli, ProtobufCMessage *answer, const char *name, const char *alias,
                const Bioseg__V1__Model *model, const Bioseg__V1__AliasMove *move)
{
    if (cli->json) {
        json_t *j = bs__json_of_message(answer);
        bs__print_json(cli->out, j);
        json_decref(j);
    } else if (!move) {
        fprintf(cli->out, "%s@%s is version %lld already\n", name, alias,
                (long long)(model ? model->version : 0));
    } else if (!move->to_version) {
        fprintf(cli->out, "%s@%s is no more (it was version %lld)\n", name, alias,
                (long long)move->from_version);
    } else if (move->from_version) {
        fprintf(cli->out, "%s@%s is version %lld now (it was version %lld)\n", name, alias,
                (long long)move->to_version, (long long)move->from_version);
    } else {
        fprintf(cli->out, "%s@%s is version %lld now\n", name, alias, (long long)move->to_version);
    }
    protobuf_c_message_free_unpacked(answer, NULL);
    return BS__EXIT_OK;
}

int bs__models_promote(struct bs__cli *cli, struct bs__rpc_client *client, const char *model,
                       const struct bs__models_alias *o)
{
    char name[65];
    Bioseg__V1__ModelRef ref;
    Bioseg__V1__SetAliasRequest request = BIOSEG__V1__SET_ALIAS_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    struct bs_err err = {0};
    int code;
    bs_status rc = bs__model_ref_parse(model, name, &ref, &err);
    if (rc == BS_OK && ref.selector_case == BIOSEG__V1__MODEL_REF__SELECTOR__NOT_SET)
        rc = BS_FAIL(&err, BS_EINVAL, "which version of %s? give NAME@VERSION or NAME@newest", name);
    if (rc != BS_OK)
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    request.model = &ref;
    request.alias = borrowed(alias_of(o));
    request.reason = borrowed(o->reason);
    if (bs__ask(cli, client, BS__METHOD("Models", "SetAlias"), cli->timeout, &request.base,
                &bioseg__v1__set_alias_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__SetAliasResponse *r = (const Bioseg__V1__SetAliasResponse *)message;
    return told(cli, message, name, alias_of(o), r->model, r->move);
}

int bs__models_rollback(struct bs__cli *cli, struct bs__rpc_client *client, const char *name,
                        const struct bs__models_alias *o)
{
    Bioseg__V1__RollbackModelRequest request = BIOSEG__V1__ROLLBACK_MODEL_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    int code;
    request.name = borrowed(name);
    request.alias = borrowed(alias_of(o));
    request.reason = borrowed(o->reason);
    if (bs__ask(cli, client, BS__METHOD("Models", "Rollback"), cli->timeout, &request.base,
                &bioseg__v1__rollback_model_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__RollbackModelResponse *r = (const Bioseg__V1__RollbackModelResponse *)message;
    return told(cli, message, name, alias_of(o), r->model, r->move);
}

int bs__models_demote(struct bs__cli *cli, struct bs__rpc_client *client, const char *name,
                      const struct bs__models_alias *o)
{
    Bioseg__V1__DeleteAliasRequest request = BIOSEG__V1__DELETE_ALIAS_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    int code;
    request.name = borrowed(name);
    request.alias = borrowed(alias_of(o));
    request.reason = borrowed(o->reason);
    if (bs__ask(cli, client, BS__METHOD("Models", "DeleteAlias"), cli->timeout, &request.base,
                &bioseg__v1__delete_alias_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__DeleteAliasResponse *r = (const Bioseg__V1__DeleteAliasResponse *)message;
    return told(cli, message, name, alias_of(o), NULL, r->move);
}

/* A move as a row; versions that are none are left out for people. */
static json_t *row_of(const struct bs__cli *cli, const Bioseg__V1__AliasMove *move)
{
    json_t *row = bs__json_of_message(&move->base);
    if (cli->json)
        return row;
    if (!move->from_version)
        json_object_set_new(row, "from_version", json_null());
    if (!move->to_version)
        json_object_set_new(row, "to_version", json_null());
    bs__make_times_readable(row);
    return row;
}

int bs__models_history(struct bs__cli *cli, struct bs__rpc_client *client, const char *name,
                       const struct bs__models_alias *o)
{
    static const struct bs__column columns[] = {{"WHEN", "moved", false},   {"ALIAS", "alias", false},
                                                {"HOW", "kind", false},     {"FROM", "from_version", true},
                                                {"TO", "to_version", true}, {"WHO", "who", false},
                                                {"REASON", "reason", false}};
    json_t *rows = json_array();
    char *token = NULL;
    int code = BS__EXIT_OK;
    do {
        ProtobufCMessage *message = NULL;
        Bioseg__V1__Page page = BIOSEG__V1__PAGE__INIT;
        Bioseg__V1__ListAliasMovesRequest request = BIOSEG__V1__LIST_ALIAS_MOVES_REQUEST__INIT;
        page.size = PAGE_SIZE;
        page.token = borrowed(token);
        request.page = &page;
        request.name = borrowed(name);
        request.alias = borrowed(o->alias);
        bs_status rc =
            bs__ask(cli, client, BS__METHOD("Models", "ListAliasMoves"), cli->timeout, &request.base,
                    &bioseg__v1__list_alias_moves_response__descriptor, &message, &code);
        free(token);
        token = NULL;
        if (rc != BS_OK)
            goto cleanup;
        const Bioseg__V1__ListAliasMovesResponse *r = (const Bioseg__V1__ListAliasMovesResponse *)message;
        for (size_t i = 0; i < r->n_moves; i++)
            json_array_append_new(rows, row_of(cli, r->moves[i]));
        if (r->next_page_token && r->next_page_token[0])
            token = strdup(r->next_page_token);
        protobuf_c_message_free_unpacked(message, NULL);
    } while (token);
    if (cli->json)
        bs__print_json(cli->out, rows);
    else if (json_array_size(rows) == 0)
        fprintf(cli->out, "no version of %s was promoted yet\n", name);
    else
        bs__print_table(cli->out, rows, columns, sizeof columns / sizeof *columns);
cleanup:
    json_decref(rows);
    return code;
}
