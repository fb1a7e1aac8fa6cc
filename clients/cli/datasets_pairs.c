/* bioseg datasets pairs and delete: what is in a dataset, and removing it or one pair of it. Main thread. */
#include "clients/cli/datasets.h"

#include "clients/cli/message.h"
#include "clients/cli/output.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE 500

const char *bs__split_text(Bioseg__V1__Split split)
{
    switch (split) {
    case BIOSEG__V1__SPLIT__SPLIT_TRAIN:
        return "train";
    case BIOSEG__V1__SPLIT__SPLIT_VALIDATION:
        return "validation";
    case BIOSEG__V1__SPLIT__SPLIT_TEST:
        return "test";
    default:
        return "?";
    }
}

bs_status bs__datasets_pairs(struct bs__cli *cli, struct bs__rpc_client *client, const char *dataset,
                             Bioseg__V1__Split split, Bioseg__V1__Pair ***pairs, size_t *count, int *code)
{
    char *token = NULL;
    bs_status rc = BS_OK;
    *pairs = NULL;
    *count = 0;
    do {
        ProtobufCMessage *message = NULL;
        Bioseg__V1__Page page = BIOSEG__V1__PAGE__INIT;
        Bioseg__V1__ListPairsRequest request = BIOSEG__V1__LIST_PAIRS_REQUEST__INIT;
        page.size = PAGE_SIZE;
        page.token = token ? token : (char *)protobuf_c_empty_string;
        request.page = &page;
        request.dataset = (char *)(uintptr_t)dataset;
        request.split = split;
        rc = bs__ask(cli, client, BS__METHOD("Datasets", "ListPairs"), cli->timeout, &request.base,
                     &bioseg__v1__list_pairs_response__descriptor, &message, code);
        free(token);
        token = NULL;
        if (rc != BS_OK)
            break;
        Bioseg__V1__ListPairsResponse *r = (Bioseg__V1__ListPairsResponse *)message;
        Bioseg__V1__Pair **more = realloc(*pairs, (*count + r->n_pairs + 1) * sizeof **pairs);
        if (more) {
            *pairs = more;
            for (size_t i = 0; i < r->n_pairs; i++)
                more[(*count)++] = r->pairs[i];
            r->n_pairs = 0; /* they are ours now */
            if (r->next_page_token && r->next_page_token[0])
                token = strdup(r->next_page_token);
        }
        protobuf_c_message_free_unpacked(message, NULL);
        if (!more) {
            struct bs_err err;
            rc = BS_FAIL(&err, BS_ENOMEM, "no memory for the list of pairs");
            *code = bs__complain(cli, &err, BS__EXIT_LOCAL);
        }
    } while (rc == BS_OK && token);
    if (rc != BS_OK) {
        for (size_t i = 0; i < *count; i++)
            bioseg__v1__pair__free_unpacked((*pairs)[i], NULL);
        free(*pairs);
        *pairs = NULL;
        *count = 0;
    }
    return rc;
}

int bs__datasets_list_pairs(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs,
                            void *ctx)
{
    (void)nargs;
    const struct bs__datasets_options *o = ctx;
    static const struct bs__column columns[] = {
        {"NAME", "name", false}, {"SPLIT", "split", false},         {"GROUP", "group", false},
        {"SIZE", "size", false}, {"OBJECTS", "object_count", true}, {"COUNTS", "counts", false}};
    Bioseg__V1__Pair **found;
    size_t n;
    int code;
    if (bs__datasets_pairs(cli, client, args[0], o->split, &found, &n, &code) != BS_OK)
        return code;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *row = bs__json_of_message(&found[i]->base);
        char size[128] = "";
        for (size_t a = 0, at = 0; found[i]->image && a < found[i]->image->n_axes && at < sizeof size; a++)
            at += (size_t)snprintf(size + at, sizeof size - at, "%s%llu", a ? " x " : "",
                                   (unsigned long long)found[i]->image->axes[a]->size);
        if (!cli->json) {
            json_object_set_new(row, "size", json_string(size));
            json_object_set_new(row, "split", json_string(bs__split_text(found[i]->split)));
            json_object_set_new(row, "counts", json_string(bs__annotation_text(found[i]->annotation)));
        }
        json_array_append_new(rows, row);
        bioseg__v1__pair__free_unpacked(found[i], NULL);
    }
    free(found);
    if (cli->json)
        bs__print_json(cli->out, rows);
    else if (json_array_size(rows) == 0)
        fprintf(cli->out, "no pairs\n");
    else
        bs__print_table(cli->out, rows, columns, sizeof columns / sizeof *columns);
    json_decref(rows);
    return BS__EXIT_OK;
}

static int delete_pair(struct bs__cli *cli, struct bs__rpc_client *client, const char *dataset,
                       const char *name)
{
    Bioseg__V1__Pair **found;
    size_t n;
    int code;
    char *id = NULL;
    struct bs_err err;
    if (bs__datasets_pairs(cli, client, dataset, BIOSEG__V1__SPLIT__SPLIT_UNSPECIFIED, &found, &n, &code) !=
        BS_OK)
        return code;
    for (size_t i = 0; i < n; i++) {
        if (!id && strcmp(found[i]->name, name) == 0)
            id = strdup(found[i]->id);
        bioseg__v1__pair__free_unpacked(found[i], NULL);
    }
    free(found);
    if (!id) {
        (void)!BS_FAIL(&err, BS_ENOTFOUND, "dataset %s has no pair '%s'", dataset, name);
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    }
    ProtobufCMessage *message = NULL;
    Bioseg__V1__DeletePairRequest request = BIOSEG__V1__DELETE_PAIR_REQUEST__INIT;
    request.dataset = (char *)(uintptr_t)dataset;
    request.id = id;
    bs_status rc = bs__ask(cli, client, BS__METHOD("Datasets", "DeletePair"), cli->timeout, &request.base,
                           &bioseg__v1__delete_pair_response__descriptor, &message, &code);
    free(id);
    if (rc != BS_OK)
        return code;
    protobuf_c_message_free_unpacked(message, NULL);
    if (cli->json)
        fprintf(cli->out, "{}\n");
    else
        fprintf(cli->out, "%s is no longer in %s\n", name, dataset);
    return BS__EXIT_OK;
}

int bs__datasets_delete(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct bs__datasets_options *o = ctx;
    ProtobufCMessage *message = NULL;
    Bioseg__V1__DeleteDatasetRequest request = BIOSEG__V1__DELETE_DATASET_REQUEST__INIT;
    int code;
    if (o->pair)
        return delete_pair(cli, client, args[0], o->pair);
    request.name = args[0];
    if (bs__ask(cli, client, BS__METHOD("Datasets", "Delete"), cli->timeout, &request.base,
                &bioseg__v1__delete_dataset_response__descriptor, &message, &code) != BS_OK)
        return code;
    protobuf_c_message_free_unpacked(message, NULL);
    if (cli->json)
        fprintf(cli->out, "{}\n");
    else
        fprintf(cli->out, "%s is deleted\n", args[0]);
    return BS__EXIT_OK;
}
