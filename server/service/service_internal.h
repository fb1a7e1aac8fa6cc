/* What the files of this folder share. */
#ifndef BS_SERVER_SERVICE_INTERNAL_H
#define BS_SERVER_SERVICE_INTERNAL_H

#include "proto/wire/chunks.h"
#include "server/service/service.h"
#include "server/store/aliases.h"
#include "server/store/datasets.h"

#include "bioseg/v1/common.pb-c.h"
#include "bioseg/v1/datasets.pb-c.h"
#include "bioseg/v1/jobs.pb-c.h"
#include "bioseg/v1/models.pb-c.h"
#include "bioseg/v1/segmentation.pb-c.h"

#include <openssl/evp.h>

#define BS__METHODS(table) (table), sizeof(table) / sizeof((table)[0])
#define BS__LATER          " come in a later version of bioseg; this server's features are in bioseg.v1.Server.GetInfo"

/* Each service registers itself. */
void bs__health_register(struct bs_services *s, struct bs_rpc *rpc);
bs_status bs__reflection_register(struct bs_services *s, struct bs_rpc *rpc, struct bs_err *err) BS_NODISCARD;
void bs__reflection_free(struct bs_services *s);
void bs__server_register(struct bs_services *s, struct bs_rpc *rpc);
void bs__segmentation_register(struct bs_services *s, struct bs_rpc *rpc);
void bs__models_register(struct bs_services *s, struct bs_rpc *rpc);
void bs__jobs_register(struct bs_services *s, struct bs_rpc *rpc);
void bs__datasets_register(struct bs_services *s, struct bs_rpc *rpc);
void bs__training_register(struct bs_services *s, struct bs_rpc *rpc);
void bs__comparisons_register(struct bs_services *s, struct bs_rpc *rpc);

/* A string of the arena by format; "" when the arena is exhausted (the message is then merely shorter). */
char *bs__format(struct bs_arena *arena, const char *fmt, ...) BS_PRINTF(2, 3);
/* Page size and token within limits. */
bs_status bs__page(const struct bs_services *s, const Bioseg__V1__Page *page, int *size, const char **token,
                   struct bs_err *err) BS_NODISCARD;
/* Refuses project names that are no names. Empty is fine. */
bs_status bs__check_name(const char *what, const char *name, struct bs_err *err) BS_NODISCARD;

/* Refuses texts that are longer or hold control characters other than the end of a line. */
bs_status bs__check_text(const char *what, const char *text, size_t most, struct bs_err *err) BS_NODISCARD;

/* ---- labels.c ---- */

/* Checks a message's map of labels (its entries and their number) and makes them a JSON object, sorted by key; the caller
   frees. */
bs_status bs__labels_to_json(const ProtobufCMessage *const *entries, size_t n, char **json,
                             struct bs_err *err) BS_NODISCARD;
#define BS__LABELS(message)                                                                                  \
    (const ProtobufCMessage *const *)(const void *)(message)->labels, (message)->n_labels
/* The entries (of that type) of a stored JSON object, written to *entries, a pointer to an array; returns how many. */
size_t bs__labels_from_json(struct bs_arena *arena, const char *json, const ProtobufCMessageDescriptor *entry,
                            void *entries);
bs_status bs__check_lifetime(int64_t time_to_live_ms, struct bs_err *err) BS_NODISCARD;

/* ---- inbox.c: bytes that arrive ---- */

/* Counts bytes of images held in memory against the limit; give back with bs__release. */
bs_status bs__hold(struct bs_services *s, uint64_t bytes, struct bs_err *err) BS_NODISCARD;
void bs__release(struct bs_services *s, uint64_t bytes);

/* Receives one sequence of bytes into a memfd (images) or a blob (jobs, models), hashing on the way. */
struct bs__inbox {
    struct bs_services *services;
    struct bs_chunks books;
    int fd;                      /* memfd, or -1 */
    struct bs_blob_writer *blob; /* or a blob; NULL after commit */
    uint64_t held;               /* bytes counted with bs__hold */
    uint64_t limit;              /* of a unary request's pixels */
    EVP_MD_CTX *sha256;
    uint32_t crc;   /* of the piece that is arriving */
    uint64_t piece; /* its bytes so far */
    char hash[65];  /* after bs__inbox_finish */
};
bs_status bs__inbox_open_memory(struct bs__inbox *b, struct bs_services *s, uint64_t total,
                                struct bs_err *err) BS_NODISCARD;
bs_status bs__inbox_open_blob(struct bs__inbox *b, struct bs_services *s, uint64_t total,
                              struct bs_err *err) BS_NODISCARD;
void bs__inbox_close(struct bs__inbox *b); /* accepts one that was zeroed with fd -1, or closed */

/* Looks into a message of a stream: exactly one of both is set, or neither (a start). */
typedef void bs__part_fn(const ProtobufCMessage *message, const Bioseg__V1__Chunk **chunk,
                         const Bioseg__V1__ChunkEnd **end);
/* Reads chunks to the end, checks them, seals the memfd. The pixels of a chunk are field 3 of field 2. */
bs_status bs__inbox_receive(struct bs__inbox *b, struct bs_call *call, bs__part_fn *part,
                            struct bs_err *err) BS_NODISCARD;
/* The chunks of one of several artifacts, as many bytes as were announced; whoever reads the end reads it himself. */
bs_status bs__inbox_receive_artifact(struct bs__inbox *b, struct bs_call *call, bs__part_fn *part,
                                     uint32_t artifact, struct bs_err *err) BS_NODISCARD;
/* A unary request whose field `field` holds the image, at most `limit` bytes; fd stays -1 when it holds none. */
bs_status bs__inbox_receive_unary(struct bs__inbox *b, struct bs_services *s, struct bs_call *call,
                                  uint32_t field, uint64_t limit, ProtobufCMessage **message,
                                  struct bs_err *err) BS_NODISCARD;
uint64_t bs__inbox_bytes(const struct bs__inbox *b);

/* ---- work.c: what is asked for ---- */

struct bs__work {
    struct bs_job_request request; /* decoded and checked */
    struct bs_model_record model;  /* the version that will be used */
    bool has_model_fd; /* its file is held open here: it is the best of a training run, which may go */
    int model_fd;
    struct bs_model_info info;
    bool want_labels;
};
/* BS_EINVAL, BS_EUNSUPPORTED, BS_ENOTFOUND. owner: whose training runs can be named as models; NULL: nobody's. total_bytes is what
   will be sent (0: not known, dry run). */
bs_status bs__work_decode(struct bs_services *s, const char *owner, const Bioseg__V1__SegmentSpec *spec,
                          const Bioseg__V1__ImageDescription *image, uint64_t total_bytes,
                          struct bs__work *out, struct bs_err *err) BS_NODISCARD;
/* The same for an image that is kept, as `kept` describes it; parameters of the network that spec leaves out are its. */
bs_status bs__work_decode_kept(struct bs_services *s, const char *owner, const Bioseg__V1__SegmentSpec *spec,
                               const struct bs_job_request *kept, struct bs__work *out,
                               struct bs_err *err) BS_NODISCARD;
void bs__work_free(struct bs__work *w);
/* The image of a request into it (work_image.c), ... */
bs_status bs__work_image(const Bioseg__V1__ImageDescription *image, uint64_t total_bytes,
                         struct bs_job_request *q, struct bs_err *err) BS_NODISCARD;
/* ... and which part of it, region and planes. */
bs_status bs__work_part(const Bioseg__V1__SegmentSpec *spec, struct bs_job_request *q,
                        struct bs_err *err) BS_NODISCARD;
/* A model by reference. */
bs_status bs__model_find(struct bs_services *s, const Bioseg__V1__ModelRef *ref,
                         struct bs_model_record *record, struct bs_err *err) BS_NODISCARD;
/* The same, or the best weights of a training run of `owner` (run_model.c), whose file is open in *fd then (else -1), which the caller
   closes: it is the only hold on it. */
bs_status bs__model_find_for(struct bs_services *s, const char *owner, const Bioseg__V1__ModelRef *ref,
                             struct bs_model_record *record, int *fd, struct bs_err *err) BS_NODISCARD;
bs_status bs__model_info(const struct bs_model_record *record, struct bs_model_info *info,
                         struct bs_err *err) BS_NODISCARD;

/* ---- run.c: one engine task, waited for ---- */

/* Who hears of a run while it goes on; on the handler's thread, which may block in them: what comes meanwhile is put
   together. An error cancels the run. */
struct bs__audience {
    bs_status (*progress)(struct bs_call *call, int done, int total, struct bs_err *err); /* may be NULL */
    /* pixels: the part's, without gaps. Not called with preview_side 0. */
    bs_status (*preview)(struct bs_call *call, const struct bs_preview_part *part, struct bs_mapping *pixels,
                         struct bs_err *err);
    uint32_t preview_side;
    uint32_t preview_ms; /* least time between two */
};

/* Runs and waits; cancelled with the call. audience may be NULL. The result's descriptors are the caller's. */
bs_status bs__run(struct bs_services *s, struct bs_call *call, const struct bs__work *work, int image_fd,
                  uint64_t image_bytes, const struct bs_segment_maps *kept,
                  const struct bs__audience *audience, struct bs_engine_result *result,
                  struct bs_err *err) BS_NODISCARD;

/* ---- keeping.c: maps that outlive their request ---- */

struct bs__keeping {
    struct bs_kept_entry entry; /* descriptors -1 at first */
    struct bs_segment_maps maps;
    bool found;        /* entry is kept: from before, or since now */
    bool wanted;       /* the request asked to keep what the network makes */
    struct bs_err why; /* it could not */
};
#define BS__KEEPING_NONE                                                                                     \
    {                                                                                                        \
        .entry = {.maps_fd = -1, .image_fd = -1}, .maps = {.fd = -1 }                                        \
    }
/* Maps by their id; fills work for the image that was kept with them. */
bs_status bs__keeping_by_id(struct bs__keeping *k, struct bs_services *s, struct bs_call *call,
                            const char *id, const Bioseg__V1__SegmentSpec *spec, struct bs__work *work,
                            struct bs_err *err) BS_NODISCARD;
/* Maps of the same work that are kept, or a place for those to come. */
void bs__keeping_begin(struct bs__keeping *k, struct bs_services *s, struct bs_call *call,
                       const struct bs__work *work, const char *input_hash);
const struct bs_segment_maps *bs__keeping_maps(const struct bs__keeping *k); /* for bs__run; NULL: none */
/* After the run: what was made is kept, or the result gets a warning that says why not. */
void bs__keeping_end(struct bs__keeping *k, struct bs_services *s, int image_fd, uint64_t image_bytes,
                     struct bs_engine_result *result);
/* False: nothing is kept. Borrows from k. */
bool bs__keeping_message(const struct bs__keeping *k, Bioseg__V1__KeptMaps *message);
void bs__keeping_close(struct bs__keeping *k);

/* ---- follow.c ---- */

/* Calls send at once and again whenever the job has changed, until it sets *last or fails, or the client leaves. */
bs_status bs__follow_job(struct bs_services *s, struct bs_call *call, const char *id,
                         bs_status (*send)(void *ctx, bool *last, struct bs_err *err), void *ctx,
                         struct bs_err *err) BS_NODISCARD;

/* ---- outbox.c: results that leave ---- */

/* SegmentResult from the JSON of bs_job_result_to_json, which live requests and jobs share. pixel_size_um and
   map_channels may be NULL. */
bs_status bs__result_message(struct bs_arena *arena, const char *result_json, Bioseg__V1__SegmentResult **out,
                             uint32_t *map_channels, struct bs_err *err) BS_NODISCARD;
/* rows [first, first + count) of bs_object[] as columns; NULL when the arena is exhausted. */
Bioseg__V1__ObjectTable *bs__object_table(struct bs_arena *arena, const struct bs_object *objects,
                                          size_t count, const Bioseg__V1__SegmentResult *result);
struct bs__artifact {
    Bioseg__V1__Output output;
    uint32_t channels;          /* of maps; 0 for labels */
    struct bs_mapping *mapping; /* where the bytes are, or NULL: */
    int fd;                     /* a file to read them from */
    uint64_t bytes;
};
/* start, object tables, chunks, end: as SegmentStream and GetResult send them. objects NULL or empty: none. */
bs_status bs__send_result(struct bs_call *call, Bioseg__V1__SegmentResult *result,
                          const struct bs__artifact *artifacts, size_t nartifact,
                          const struct bs_object *objects, size_t nobject, struct bs_err *err) BS_NODISCARD;
/* Chunks of one sequence as field `outer` of the answers. */
bs_status bs__send_bytes(struct bs_call *call, uint32_t outer, uint32_t artifact,
                         const struct bs__artifact *source, struct bs_err *err) BS_NODISCARD;

/* aliases.c; methods of Models. */
bs_status bs__models_set_alias(void *service, struct bs_call *call, const ProtobufCMessage *message,
                               struct bs_err *err);
bs_status bs__models_delete_alias(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                  struct bs_err *err);
bs_status bs__models_promote(void *service, struct bs_call *call, const ProtobufCMessage *message,
                             struct bs_err *err);
bs_status bs__models_rollback(void *service, struct bs_call *call, const ProtobufCMessage *message,
                              struct bs_err *err);
bs_status bs__models_list_alias_moves(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                      struct bs_err *err);

/* lineage.c; a method of Models. */
bs_status bs__models_get_lineage(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                 struct bs_err *err);

/* ---- messages ---- */

/* Bioseg__V1__Job from a record, a training job's with what the store has of its run; NULL when the arena is exhausted. */
Bioseg__V1__Job *bs__job_message(struct bs_services *s, struct bs_arena *arena,
                                 const struct bs_job_record *record);
/* Parameters for a client's form; NULL when the arena is exhausted. */
Bioseg__V1__ParameterSpec **bs__parameter_messages(struct bs_arena *arena, const struct bs_param_spec *specs,
                                                   int count);
/* Bioseg__V1__Model from a record; with parameters when asked. NULL when the arena is exhausted. */
Bioseg__V1__Model *bs__model_message(struct bs_services *s, struct bs_arena *arena,
                                     const struct bs_model_record *record, bool with_parameters);
/* Bioseg__V1__Dataset from a record; its groups across splits are looked up when asked. NULL when the arena is exhausted. */
Bioseg__V1__Dataset *bs__dataset_message(struct bs_services *s, struct bs_arena *arena,
                                         const struct bs_dataset_record *record, bool with_groups);
/* What samples without a file are, in a pair's description; ndim 0: it is a file. */
struct bs_raw_image bs__raw_of(const struct bs_file_info *f);
/* Bioseg__V1__Pair from a record; NULL when the arena is exhausted. */
Bioseg__V1__Pair *bs__pair_message(struct bs_arena *arena, const struct bs_pair_record *record);
/* Its card; with plans the device works them out, and this waits for it. */
bs_status bs__model_card_message(struct bs_services *s, struct bs_arena *arena,
                                 const struct bs_model_record *record, bool with_plans,
                                 Bioseg__V1__ModelCard **out, struct bs_err *err) BS_NODISCARD;

#endif
