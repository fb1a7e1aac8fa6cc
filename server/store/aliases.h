/* Movable names of versions: "production" is the one that requests without a version get. A move is one transaction that notes who
   moved it, when, from where and why; those notes stay, and rolling back goes through them like undo: each time to what the
   name meant before its last move that was not undone. Thread-safe, as all of the store. */
#ifndef BS_SERVER_STORE_ALIASES_H
#define BS_SERVER_STORE_ALIASES_H

#include "server/store/store.h"

#define BS_ALIAS_PROMOTED   "production"
#define BS_ALIAS_NEWEST     "newest" /* always the version with the highest number; nobody sets it */
#define BS_ALIASES_MAX      32       /* of one model */
#define BS_ALIAS_MAX_REASON 500      /* bytes */

enum bs_alias_move_kind { BS_ALIAS_SET, BS_ALIAS_ROLLED_BACK, BS_ALIAS_DELETED };

struct bs_alias_move_record {
    int64_t number; /* 0: nothing moved */
    char *alias, *who, *reason;
    enum bs_alias_move_kind kind;
    int64_t from_version, to_version; /* 0: nothing */
    int64_t moved_ms;
};
void bs_alias_move_record_free(struct bs_alias_move_record *m);

/* A model's name, one of its aliases, and who wants to move it why. Who is no administrator may point it to own versions only,
   and move it when they moved it last or own what it means (or it means nothing). */
struct bs_alias_wish {
    const char *name, *alias;
    const char *who;
    bool admin;
    const char *reason; /* NULL: none */
};
/* The alias means this version. BS_ENOTFOUND: there is no such version; BS_EPERMISSION. When it means it already, move->number is 0. */
bs_status bs_store_alias_set(struct bs_store *s, const struct bs_alias_wish *w, int64_t version,
                             struct bs_alias_move_record *move, struct bs_err *err) BS_NODISCARD;
/* BS_EPRECONDITION: it never meant anything else, or that version was deleted. */
bs_status bs_store_alias_roll_back(struct bs_store *s, const struct bs_alias_wish *w,
                                   struct bs_alias_move_record *move, struct bs_err *err) BS_NODISCARD;
bs_status bs_store_alias_delete(struct bs_store *s, const struct bs_alias_wish *w,
                                struct bs_alias_move_record *move, struct bs_err *err) BS_NODISCARD;
/* Newest first, before the number `before` (0: from the newest). alias NULL: of all. The caller frees each and the array. */
bs_status bs_store_alias_moves(struct bs_store *s, const char *name, const char *alias, int64_t before,
                               int limit, struct bs_alias_move_record **out, int *count,
                               struct bs_err *err) BS_NODISCARD;
/* The names of a version, in order. The caller frees each and the array. */
bs_status bs_store_aliases_of(struct bs_store *s, const char *name, int64_t version, char ***out, int *count,
                              struct bs_err *err) BS_NODISCARD;
/* The version that an alias means; alias NULL: the promoted one, the newest while none is. */
bs_status bs_store_model_by_alias(struct bs_store *s, const char *name, const char *alias,
                                  struct bs_model_record *out, struct bs_err *err) BS_NODISCARD;

#endif
