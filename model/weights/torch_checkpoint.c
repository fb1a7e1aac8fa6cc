/* Finding the model's tensors in a checkpoint; see torch_checkpoint.h. */
#include "model/weights/torch_checkpoint.h"

#include "model/weights/file_io.h"
#include "model/weights/torch_hints.h"
#include "model/weights/torch_tensor.h"
#include "model/weights/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 256

struct entry {
    const char *name; /* owned by the pickle */
    struct bs__torch_tensor tensor;
};

struct bs_torch_checkpoint {
    struct bs__torch_archive *archive;
    struct entry *entry;
    size_t count, decoder; /* of all; the first of decoder_state */
    const char **skipped;
    size_t nskipped;
    const char *key;
    struct bs_torch_hints hints;
};

static bool is_state(const struct bs__pickle_value *v)
{
    const struct bs__pickle_list *pairs = bs__pickle_pairs(v);
    if (!pairs || !pairs->count)
        return false;
    for (size_t i = 1; i < pairs->count; i += 2)
        if (!bs__torch_is_tensor(pairs->item[i]))
            return false;
    return true;
}

/* The keys of a dict, for a message. */
static void list_keys(const struct bs__pickle_list *pairs, char *out, size_t size)
{
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < pairs->count && n < size; i += 2) {
        const struct bs__pickle_value *k = pairs->item[i];
        const bool shown =
            k->type == BS__PICKLE_STRING && k->u.text.len < 40 &&
            strspn(k->u.text.data, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") ==
                k->u.text.len;
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : "", shown ? k->u.text.data : "?");
    }
}

static bs_status find_state(struct bs_torch_checkpoint *c, const struct bs__pickle_value *root,
                            const struct bs__pickle_value **state, struct bs_err *err)
{
    static const char *const keys[] = {"model_state", "model", "state_dict"};
    const struct bs__pickle_list *pairs = bs__pickle_pairs(root);
    char list[300];
    if (!pairs) {
        const char *name = bs__pickle_global_name(root);
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "the file holds %.200s, not a state dict; save model.state_dict() and convert that",
                       name ? name : bs__pickle_type_name(root));
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct bs__pickle_value *v = bs__pickle_get(root, keys[i]);
        if (!v || bs__torch_is_tensor(v))
            continue;
        if (!bs__pickle_pairs(v)) {
            const char *name = bs__pickle_global_name(v);
            return BS_FAIL(err, BS_EUNSUPPORTED,
                           "its %s is %.200s, not a state dict; save model.state_dict() and convert that",
                           keys[i], name ? name : bs__pickle_type_name(v));
        }
        c->key = keys[i];
        *state = v;
        return BS_OK;
    }
    if (is_state(root)) {
        c->key = "";
        *state = root;
        return BS_OK;
    }
    list_keys(pairs, list, sizeof list);
    return BS_FAIL(err, BS_EINVAL,
                   "no model in the checkpoint: wanted is model_state, model or state_dict, there are %s",
                   list);
}

static bs_status check_name(const struct bs__pickle_value *v, size_t i, struct bs_err *err)
{
    if (v->type != BS__PICKLE_STRING)
        return BS_FAIL(err, BS_ECORRUPT, "key %zu of the state dict is %s", i, bs__pickle_type_name(v));
    if (!v->u.text.len || v->u.text.len > MAX_NAME || strlen(v->u.text.data) != v->u.text.len)
        return BS_FAIL(err, BS_ECORRUPT, "key %zu of the state dict is not a name of 1 to %d bytes", i,
                       MAX_NAME);
    for (size_t at = 0; at < v->u.text.len;) {
        const size_t n = bs__utf8_sequence((const unsigned char *)v->u.text.data + at, v->u.text.len - at);
        if (!n || (unsigned char)v->u.text.data[at] < 0x20)
            return BS_FAIL(err, BS_ECORRUPT, "key %zu of the state dict is not printable UTF-8", i);
        at += n;
    }
    return BS_OK;
}

static bs_status read_entries(struct bs_torch_checkpoint *c, const struct bs__pickle_value *state,
                              struct bs_err *err)
{
    const struct bs__pickle_list *pairs = bs__pickle_pairs(state);
    const size_t n = pairs->count / 2;
    if (n > BS_TORCH_MAX_TENSORS)
        return BS_FAIL(err, BS_ELIMIT, "the state dict has %zu entries, at most %zu are accepted", n,
                       BS_TORCH_MAX_TENSORS);
    struct entry *grown = realloc(c->entry, (c->count + n + 1) * sizeof *grown);
    if (!grown)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu tensors", n);
    c->entry = grown;
    for (size_t i = 0; i < n; i++) {
        bs_status rc = check_name(pairs->item[2 * i], i, err);
        if (rc != BS_OK)
            return rc;
        struct entry *e = &c->entry[c->count];
        *e = (struct entry){0};
        e->name = pairs->item[2 * i]->u.text.data;
        if ((rc = bs__torch_tensor_parse(pairs->item[2 * i + 1], &e->tensor, err)) != BS_OK) {
            bs_err_prefix(err, "%.120s", e->name);
            return rc;
        }
        c->count++;
    }
    return BS_OK;
}

/* Removes a prefix when every name from `first` on has it. */
static bool strip(struct bs_torch_checkpoint *c, size_t first, const char *prefix)
{
    const size_t n = strlen(prefix);
    for (size_t i = first; i < c->count; i++)
        if (strncmp(c->entry[i].name, prefix, n) != 0 || !c->entry[i].name[n])
            return false;
    for (size_t i = first; i < c->count; i++)
        c->entry[i].name += n;
    return c->count > first;
}

/* The tensors of one state dict, without the prefixes of wrappers. */
static bs_status read_state(struct bs_torch_checkpoint *c, const struct bs__pickle_value *state,
                            struct bs_err *err)
{
    const size_t first = c->count;
    bs_status rc = read_entries(c, state, err);
    while (rc == BS_OK &&
           (strip(c, first, "module.") || strip(c, first, "_orig_mod.") || strip(c, first, "sam.")))
        ;
    return rc;
}

/* micro-sam keeps its decoder for instance segmentation beside the model. */
static bs_status read_decoder(struct bs_torch_checkpoint *c, const struct bs__pickle_value *root,
                              struct bs_err *err)
{
    const struct bs__pickle_value *state = c->key[0] ? bs__pickle_get(root, "decoder_state") : NULL;
    c->decoder = c->count;
    if (!state || state->type == BS__PICKLE_NONE)
        return BS_OK;
    if (!is_state(state))
        return BS_FAIL(err, BS_EUNSUPPORTED, "its decoder_state is %.200s, not a state dict",
                       bs__pickle_type_name(state));
    return read_state(c, state, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bs_status refuse_repeated_names(const struct bs_torch_checkpoint *c, struct bs_err *err)
{
    bs_status rc = BS_OK;
    const char **names = calloc(c->count ? c->count : 1, sizeof *names);
    if (!names)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu names", c->count);
    for (size_t i = 0; i < c->count; i++)
        names[i] = c->entry[i].name;
    qsort(names, c->count, sizeof *names, by_name);
    for (size_t i = 1; i < c->count && rc == BS_OK; i++)
        if (!strcmp(names[i - 1], names[i]))
            rc = BS_FAIL(err, BS_ECORRUPT, "the state dict has %.120s twice", names[i]);
    free(names);
    return rc;
}

static bs_status list_skipped(struct bs_torch_checkpoint *c, const struct bs__pickle *p, struct bs_err *err)
{
    const size_t n = bs__pickle_global_count(p);
    if (!(c->skipped = calloc(n ? n : 1, sizeof *c->skipped)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu names", n);
    for (size_t i = 0; i < n; i++)
        if (!bs__torch_is_known_global(bs__pickle_global(p, i)))
            c->skipped[c->nskipped++] = bs__pickle_global(p, i);
    return BS_OK;
}

bs_status bs_torch_checkpoint_open_fd(int fd, struct bs_torch_checkpoint **out, struct bs_err *err)
{
    bs_status rc;
    struct bs__torch_archive *archive = NULL;
    struct bs_torch_checkpoint *c = NULL;
    const struct bs__pickle_value *state = NULL;
    *out = NULL;
    if ((rc = bs__torch_archive_open(fd, &archive, err)) != BS_OK)
        goto cleanup;
    if (!(c = calloc(1, sizeof *c))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a checkpoint");
        goto cleanup;
    }
    c->archive = archive;
    archive = NULL;
    const struct bs__pickle *p = bs__torch_archive_pickle(c->archive);
    const struct bs__pickle_value *root = bs__pickle_root(p);
    if ((rc = find_state(c, root, &state, err)) != BS_OK || (rc = read_state(c, state, err)) != BS_OK ||
        (rc = read_decoder(c, root, err)) != BS_OK || (rc = list_skipped(c, p, err)) != BS_OK ||
        (rc = refuse_repeated_names(c, err)) != BS_OK)
        goto cleanup;
    bs__torch_hints_read(root, &c->hints);
    *out = c;
    c = NULL;
cleanup:
    bs__torch_archive_close(archive);
    bs_torch_checkpoint_close(c);
    return rc;
}

bs_status bs_torch_checkpoint_open(const char *path, struct bs_torch_checkpoint **out, struct bs_err *err)
{
    int fd;
    *out = NULL;
    bs_status rc = bs__file_open(path, &fd, err);
    return rc == BS_OK ? bs_torch_checkpoint_open_fd(fd, out, err) : rc;
}

void bs_torch_checkpoint_close(struct bs_torch_checkpoint *c)
{
    if (!c)
        return;
    bs__torch_archive_close(c->archive);
    free(c->entry);
    free(c->skipped);
    free(c);
}

size_t bs_torch_checkpoint_count(const struct bs_torch_checkpoint *c)
{
    return c->count;
}

static const struct entry *entry(const struct bs_torch_checkpoint *c, size_t i)
{
    BS_ASSERT(i < c->count);
    return &c->entry[i];
}

const char *bs_torch_checkpoint_name(const struct bs_torch_checkpoint *c, size_t i)
{
    return entry(c, i)->name;
}

enum bs_dtype bs_torch_checkpoint_dtype(const struct bs_torch_checkpoint *c, size_t i)
{
    return entry(c, i)->tensor.dtype;
}

const struct bs_shape *bs_torch_checkpoint_shape(const struct bs_torch_checkpoint *c, size_t i)
{
    return &entry(c, i)->tensor.shape;
}

bs_status bs_torch_checkpoint_read(struct bs_torch_checkpoint *c, size_t i, void *dst, size_t bytes,
                                   struct bs_err *err)
{
    const struct bs__torch_tensor *t = &entry(c, i)->tensor;
    const unsigned char *storage;
    BS_ASSERT(bytes == bs_shape_count(&t->shape) * bs_dtype_size(t->dtype));
    bs_status rc = bs__torch_archive_storage(c->archive, &t->storage, &storage, err);
    if (rc != BS_OK) {
        bs_err_prefix(err, "%.120s", entry(c, i)->name);
        return rc;
    }
    bs__torch_tensor_gather(t, storage, dst);
    return BS_OK;
}

size_t bs_torch_checkpoint_skipped_count(const struct bs_torch_checkpoint *c)
{
    return c->nskipped;
}

const char *bs_torch_checkpoint_skipped(const struct bs_torch_checkpoint *c, size_t i)
{
    BS_ASSERT(i < c->nskipped);
    return c->skipped[i];
}

const struct bs_torch_hints *bs_torch_checkpoint_hints(const struct bs_torch_checkpoint *c)
{
    return &c->hints;
}

size_t bs_torch_checkpoint_decoder(const struct bs_torch_checkpoint *c)
{
    return c->decoder;
}

const char *bs_torch_checkpoint_key(const struct bs_torch_checkpoint *c)
{
    return c->key;
}
