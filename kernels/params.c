/* Parameter values and their packed forms; see params.h.
   Two locks: `source_mu` serialises calls into the source, `mu` guards the table of packed forms. A pack function runs
   under neither, so it may read parameters; source_mu is never taken while mu is held, nor the other way round. */
#include "kernels/params.h"

#include "kernels/base/checked.h"
#include "kernels/base/pages.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PACK_ALIGN ((size_t)64)
/* From here on memory comes straight from the kernel, on huge pages where they fit. */
#define PAGES_FROM ((size_t)256 << 10)

struct packed {
    struct packed *next;
    void *memory;
    size_t bytes;
    bool ready;                  /* false: its first caller is filling it */
    struct bs_pack_memory where; /* alloc NULL: the host's */
    char key[];
};

struct bs_params {
    atomic_int refs;
    bool planning; /* packed forms are never filled */
    struct bs_param_source source;
    pthread_mutex_t source_mu; /* one caller inside the source at a time */
    pthread_mutex_t mu;        /* guards packed and packed_bytes */
    pthread_cond_t changed;    /* a packed form became ready, or its making failed */
    struct packed *packed;
    size_t packed_bytes;
};

static void *memory_alloc(size_t bytes)
{
    size_t size;
    if (bytes >= PAGES_FROM)
        return bs_pages_alloc(bytes);
    return bs_round_up(bytes ? bytes : 1, PACK_ALIGN, &size) ? aligned_alloc(PACK_ALIGN, size) : NULL;
}

static void memory_free(void *p, size_t bytes)
{
    if (bytes >= PAGES_FROM)
        bs_pages_free(p, bytes);
    else
        free(p);
}

static void packed_destroy(struct packed *e)
{
    if (e && !e->where.alloc)
        memory_free(e->memory, e->bytes);
    else if (e && e->memory)
        e->where.free(e->where.ctx, e->memory, e->bytes);
    free(e);
}

/* Memory for the form, filled unless the set is there to plan with. */
static bs_status make(struct bs_params *p, struct packed *e, bs_pack_fn pack, void *ctx, struct bs_err *err)
{
    bs_status rc;
    if (e->where.alloc) {
        if (p->planning)
            return BS_OK;
        if ((rc = e->where.alloc(e->where.ctx, e->bytes, &e->memory, err)) != BS_OK)
            return rc;
        return pack(p, e->memory, e->bytes, ctx, err);
    }
    if (!(e->memory = memory_alloc(e->bytes)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the packed form \"%s\" of %zu bytes", e->key, e->bytes);
    if (!p->planning)
        return pack(p, e->memory, e->bytes, ctx, err);
    if (e->bytes < PAGES_FROM) /* pages come as zeros */
        memset(e->memory, 0, e->bytes);
    return BS_OK;
}

bs_status bs_params_create(struct bs_param_source source, struct bs_params **out, struct bs_err *err)
{
    BS_ASSERT(source.shape && source.read);
    struct bs_params *p = calloc(1, sizeof *p);
    *out = p;
    if (!p) {
        if (source.release)
            source.release(source.ctx);
        return BS_FAIL(err, BS_ENOMEM, "no memory for a parameter set");
    }
    atomic_init(&p->refs, 1);
    p->source = source;
    /* with default attributes neither of these can fail on Linux */
    BS_ASSERT(pthread_mutex_init(&p->source_mu, NULL) == 0);
    BS_ASSERT(pthread_mutex_init(&p->mu, NULL) == 0);
    BS_ASSERT(pthread_cond_init(&p->changed, NULL) == 0);
    return BS_OK;
}

bs_status bs_params_create_planning(struct bs_param_source source, struct bs_params **out, struct bs_err *err)
{
    bs_status rc = bs_params_create(source, out, err);
    if (rc == BS_OK)
        (*out)->planning = true;
    return rc;
}

bool bs_params_is_planning(const struct bs_params *p)
{
    return p->planning;
}

struct bs_params *bs_params_ref(struct bs_params *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void bs_params_unref(struct bs_params *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct packed *e = p->packed; e;) {
        struct packed *next = e->next;
        packed_destroy(e);
        e = next;
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mu);
    pthread_mutex_destroy(&p->source_mu);
    if (p->source.release)
        p->source.release(p->source.ctx);
    free(p);
}

bs_status bs_params_shape(struct bs_params *p, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    pthread_mutex_lock(&p->source_mu);
    bs_status rc = p->source.shape(p->source.ctx, name, shape, err);
    pthread_mutex_unlock(&p->source_mu);
    return rc;
}

bs_status bs_params_need(struct bs_params *p, const char *name, const struct bs_shape *shape,
                         struct bs_err *err)
{
    struct bs_shape have;
    bs_status rc = bs_params_shape(p, name, &have, err);
    if (rc != BS_OK || bs_shape_equal(&have, shape))
        return rc;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    return BS_FAIL(err, BS_EINVAL, "parameter \"%s\" is %s in the file; the network needs %s", name,
                   bs_shape_text(&have, a, sizeof a), bs_shape_text(shape, b, sizeof b));
}

bs_status bs_params_read(struct bs_params *p, const char *name, float *dst, size_t count, struct bs_err *err)
{
    pthread_mutex_lock(&p->source_mu);
    bs_status rc = p->source.read(p->source.ctx, name, dst, count, err);
    pthread_mutex_unlock(&p->source_mu);
    return rc;
}

static struct packed *find(struct bs_params *p, const char *key)
{
    struct packed *e = p->packed;
    while (e && strcmp(e->key, key) != 0)
        e = e->next;
    return e;
}

static void unlink_entry(struct bs_params *p, struct packed *e)
{
    struct packed **at = &p->packed;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
}

bs_status bs_params_packed(struct bs_params *p, const char *key, size_t bytes, bs_pack_fn pack, void *ctx,
                           const void **out, struct bs_err *err)
{
    return bs_params_packed_in(p, &(struct bs_pack_memory){NULL, NULL, NULL}, key, bytes, pack, ctx, out,
                               err);
}

bs_status bs_params_packed_in(struct bs_params *p, const struct bs_pack_memory *where, const char *key,
                              size_t bytes, bs_pack_fn pack, void *ctx, const void **out, struct bs_err *err)
{
    *out = NULL;
    pthread_mutex_lock(&p->mu);
    struct packed *e;
    /* When a maker fails its entry goes, and one of those who waited tries in its place (and gets its own error). */
    while ((e = find(p, key)) && !e->ready)
        pthread_cond_wait(&p->changed, &p->mu);
    if (e) {
        bs_status rc = BS_OK;
        if (e->bytes == bytes)
            *out = e->memory;
        else
            rc =
                BS_FAIL(err, BS_EINTERNAL, "packed form \"%s\" has %zu bytes, not %zu", key, e->bytes, bytes);
        pthread_mutex_unlock(&p->mu);
        return rc;
    }
    size_t key_bytes = strlen(key) + 1;
    e = calloc(1, sizeof *e + key_bytes);
    if (e) {
        memcpy(e->key, key, key_bytes);
        e->bytes = bytes;
        e->where = *where;
        e->next = p->packed;
        p->packed = e;
    }
    pthread_mutex_unlock(&p->mu);
    if (!e)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the packed form \"%s\"", key);

    bs_status rc = make(p, e, pack, ctx, err);
    pthread_mutex_lock(&p->mu);
    if (rc == BS_OK) {
        e->ready = true;
        p->packed_bytes += bytes;
        *out = e->memory;
    } else {
        unlink_entry(p, e);
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mu);
    if (rc != BS_OK)
        packed_destroy(e);
    return rc;
}

size_t bs_params_packed_bytes(struct bs_params *p)
{
    pthread_mutex_lock(&p->mu);
    size_t bytes = p->packed_bytes;
    pthread_mutex_unlock(&p->mu);
    return bytes;
}
