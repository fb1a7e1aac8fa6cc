/* Network maps that are kept for a while with their image, so that labels can be made again with other thresholds and no
   network: files without names in the data folder, which go with the daemon. Bounded in bytes and number, the least
   recently used goes first; each goes some time after its last use. An entry belongs to its owner: for others it does not
   exist. Thread-safe. */
#ifndef BS_SERVER_KEPT_H
#define BS_SERVER_KEPT_H

#include "server/jobs.h"

#define BS_KEPT_ID_LEN 32 /* hex digits */

struct bs_kept;

struct bs_kept_options {
    const char *dir;         /* where the files lie; made if missing */
    uint64_t max_bytes;      /* of maps and images together; 0: nothing is kept */
    uint64_t reserve_bytes;  /* of the file system that must stay free */
    int64_t lifetime_ms;     /* after the last use */
    int max_entries;         /* each holds two descriptors */
    int64_t (*now_ms)(void); /* NULL: the clock; for tests */
};

struct bs_kept_entry {
    char id[BS_KEPT_ID_LEN + 1];
    char owner[64];
    char model_blob[BS_BLOB_HASH_LEN + 1];
    char input_hash[BS_BLOB_HASH_LEN + 1];
    struct bs_job_request request; /* image and parameters of the run that made the maps */
    struct bs_segment_network network;
    int maps_fd, image_fd; /* whoever has the entry owns them */
    uint64_t map_bytes, image_bytes;
    int64_t expires_ms; /* since 1970, as it stood when the entry was given out */
};

bs_status bs_kept_create(const struct bs_kept_options *opt, struct bs_kept **out,
                         struct bs_err *err) BS_NODISCARD;
void bs_kept_destroy(struct bs_kept *k); /* accepts NULL */

/* A file for maps to be written to, and how many bytes there is room for at present. BS_ELIMIT: nothing is kept here. */
bs_status bs_kept_file(struct bs_kept *k, int *fd, uint64_t *room, struct bs_err *err) BS_NODISCARD;
/* Takes e's maps_fd and copies the image out of e's image_fd, which stays the caller's; also on failure. Fills e->id and
   e->expires_ms. The oldest others go to make room; BS_ELIMIT when that does not help. */
bs_status bs_kept_put(struct bs_kept *k, struct bs_kept_entry *e, struct bs_err *err) BS_NODISCARD;

/* A use: the entry lives on. Descriptors in *out are the caller's (bs_kept_entry_close). BS_ENOTFOUND says what to do. */
bs_status bs_kept_get(struct bs_kept *k, const char *owner, const char *id, struct bs_kept_entry *out,
                      struct bs_err *err) BS_NODISCARD;
/* The same by what it was made of: model, image bytes and what they mean, parameters of the network. */
bs_status bs_kept_find(struct bs_kept *k, const char *owner, const char *model_blob, const char *input_hash,
                       const struct bs_job_request *request, struct bs_kept_entry *out,
                       struct bs_err *err) BS_NODISCARD;
void bs_kept_entry_close(struct bs_kept_entry *e); /* accepts one with descriptors -1 */

struct bs_kept_state {
    uint64_t bytes, max_bytes;
    int entries;
    int64_t lifetime_ms;
    uint64_t used, evicted; /* since the start */
};
void bs_kept_state_get(struct bs_kept *k, struct bs_kept_state *state); /* k may be NULL: zeros */

#endif
