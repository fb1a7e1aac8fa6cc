/* Names of versions and where they come from, in the world; see world.h. "nuclei" has one version, which "production" means. */
#include "tests/fuzz/requests/world.h"

#include "server/store/aliases.h"
#include "server/store/origins.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(cond) ((cond) ? (void)0 : abort())

static char *copy(const char *text)
{
    char *out = strdup(text);
    REQUIRE(out);
    return out;
}

static void fill_move(struct bs_alias_move_record *m)
{
    *m = (struct bs_alias_move_record){.number = 1,
                                       .alias = copy(BS_ALIAS_PROMOTED),
                                       .who = copy("ann"),
                                       .reason = copy("better"),
                                       .kind = BS_ALIAS_SET,
                                       .from_version = 0,
                                       .to_version = 1,
                                       .moved_ms = 1};
}

void bs_alias_move_record_free(struct bs_alias_move_record *m)
{
    free(m->alias);
    free(m->who);
    free(m->reason);
    memset(m, 0, sizeof *m);
}

static bs_status move(const struct bs_alias_wish *w, struct bs_alias_move_record *m, struct bs_err *err)
{
    REQUIRE(w->name && w->alias && w->alias[0] && strcmp(w->who, "ann") == 0 && w->reason);
    REQUIRE(strlen(w->reason) <= BS_ALIAS_MAX_REASON);
    memset(m, 0, sizeof *m);
    if (strcmp(w->name, "nuclei") != 0)
        return BS_FAIL(err, BS_ENOTFOUND, "no such model");
    fill_move(m);
    return BS_OK;
}

bs_status bs_store_alias_set(struct bs_store *s, const struct bs_alias_wish *w, int64_t version,
                             struct bs_alias_move_record *m, struct bs_err *err)
{
    (void)s;
    REQUIRE(version == 1);
    return move(w, m, err);
}

bs_status bs_store_alias_roll_back(struct bs_store *s, const struct bs_alias_wish *w,
                                   struct bs_alias_move_record *m, struct bs_err *err)
{
    (void)s;
    return move(w, m, err);
}

bs_status bs_store_alias_delete(struct bs_store *s, const struct bs_alias_wish *w,
                                struct bs_alias_move_record *m, struct bs_err *err)
{
    (void)s;
    return move(w, m, err);
}

bs_status bs_store_alias_moves(struct bs_store *s, const char *name, const char *alias, int64_t before,
                               int limit, struct bs_alias_move_record **out, int *count, struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(name && before >= 0 && (!alias || *alias) && limit >= 1);
    REQUIRE((*out = calloc((size_t)limit, sizeof **out)));
    *count = before ? 0 : limit < 2 ? limit : 2;
    for (int i = 0; i < *count; i++)
        fill_move(&(*out)[i]);
    return BS_OK;
}

bs_status bs_store_aliases_of(struct bs_store *s, const char *name, int64_t version, char ***out, int *count,
                              struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(name && version >= 1 && (*out = calloc(1, sizeof **out)));
    (*out)[0] = copy(BS_ALIAS_PROMOTED);
    *count = 1;
    return BS_OK;
}

bs_status bs_store_model_by_alias(struct bs_store *s, const char *name, const char *alias,
                                  struct bs_model_record *out, struct bs_err *err)
{
    if (alias && strcmp(alias, BS_ALIAS_PROMOTED) != 0 && strcmp(alias, BS_ALIAS_NEWEST) != 0)
        return BS_FAIL(err, BS_ENOTFOUND, "no such alias");
    return bs_store_model_get(s, name, 0, out, err);
}

void bs_origin_record_free(struct bs_origin_record *o)
{
    free(o->name);
    free(o->lineage_json);
    memset(o, 0, sizeof *o);
}

/* What it learned from was lost with its job. */
bs_status bs_store_origin_get(struct bs_store *s, const char *name, int64_t version, const char *blob,
                              struct bs_origin_record *out, struct bs_err *err)
{
    (void)s;
    memset(out, 0, sizeof *out);
    REQUIRE(name && version >= 1 && (!blob || strlen(blob) == 64));
    if (strcmp(name, "nuclei") != 0)
        return BS_FAIL(err, BS_ENOTFOUND, "it was imported");
    *out = (struct bs_origin_record){
        .name = copy(name),
        .version = version,
        .lineage_json = copy("{\"how\":\"train\",\"job\":\"run\",\"dataset\":{\"name\":\"plate7\"}}"),
        .created_ms = 1};
    return BS_OK;
}
