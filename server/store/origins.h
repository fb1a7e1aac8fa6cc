/* What trained versions learned from: kept when a run makes a version, apart from its job, which is forgotten, and from the version
   itself, as long as another descends from it. So an image that a deleted ancestor saw is still known as seen. Thread-safe. */
#ifndef BS_SERVER_STORE_ORIGINS_H
#define BS_SERVER_STORE_ORIGINS_H

#include "server/store/store.h"

struct bs_origin_record {
    char *name; /* of the version whose origin it is */
    int64_t version;
    char *lineage_json;  /* server/training_json.h */
    char *manifest_blob; /* model/dataset/manifest.h; NULL: made before it was kept, and the job is gone */
    char *parent;        /* NULL: began with random weights */
    int64_t parent_version;
    int64_t created_ms;
};
void bs_origin_record_free(struct bs_origin_record *o);

/* Of a version; else, where its file (blob, may be NULL) is that of a version which was trained here, of that one: a model that was
   exported and imported again has seen what it saw. BS_ENOTFOUND: it was imported, or is not known. */
bs_status bs_store_origin_get(struct bs_store *s, const char *name, int64_t version, const char *blob,
                              struct bs_origin_record *out, struct bs_err *err) BS_NODISCARD;

#endif
