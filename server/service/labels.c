/* Labels, the owner's own marks of jobs and models: checked and made JSON for the store, and back into messages. Maps of
   every message have the same two fields, so one piece reads and makes them all by their descriptor. Any thread. */
#include "server/service/service_internal.h"

#include "model/weights/json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LABELS  16
#define MAX_KEY     63
#define MAX_VALUE   255
#define FIELD_KEY   0 /* positions in the descriptor of a map's entry */
#define FIELD_VALUE 1

static char **text_field(const ProtobufCMessage *entry, unsigned field)
{
    return (char **)((char *)(uintptr_t)entry + entry->descriptor->fields[field].offset);
}

static bs_status check(const char *key, const char *value, struct bs_err *err)
{
    static const char accepted[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-";
    size_t n = strlen(key), m = strlen(value);
    if (n == 0 || n > MAX_KEY || !isalnum((unsigned char)key[0]) || strspn(key, accepted) != n)
        return BS_FAIL(
            err, BS_EINVAL,
            "the label \"%.80s\" has a key that is not accepted: 1 to %d characters of A-Z a-z 0-9 . _ / - "
            "starting with a letter or digit",
            key, MAX_KEY);
    if (m > MAX_VALUE)
        return BS_FAIL(err, BS_EINVAL, "the label %s has a value of %zu bytes; at most %d are accepted", key,
                       m, MAX_VALUE);
    for (const char *c = value; *c; c++) {
        if (iscntrl((unsigned char)*c))
            return BS_FAIL(err, BS_EINVAL, "the label %s has a control character in its value", key);
    }
    return BS_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(*text_field(*(const ProtobufCMessage *const *)a, FIELD_KEY),
                  *text_field(*(const ProtobufCMessage *const *)b, FIELD_KEY));
}

bs_status bs__labels_to_json(const ProtobufCMessage *const *entries, size_t n, char **json,
                             struct bs_err *err)
{
    struct bs_json_writer w = {0};
    const ProtobufCMessage *sorted[MAX_LABELS];
    *json = NULL;
    if (n > MAX_LABELS)
        return BS_FAIL(err, BS_EINVAL, "%zu labels are given; at most %d are accepted", n, MAX_LABELS);
    for (size_t i = 0; i < n; i++) {
        sorted[i] = entries[i];
        bs_status rc = check(*text_field(entries[i], FIELD_KEY), *text_field(entries[i], FIELD_VALUE), err);
        if (rc != BS_OK)
            return rc;
    }
    /* The same labels are the same text, whatever order they came in. */
    qsort(sorted, n, sizeof sorted[0], by_key);
    bs_json_write_open(&w, NULL, '{');
    for (size_t i = 0; i < n; i++)
        bs_json_write_string(&w, *text_field(sorted[i], FIELD_KEY), *text_field(sorted[i], FIELD_VALUE));
    bs_json_write_close(&w, '}');
    *json = bs_json_write_end(&w);
    return *json ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory");
}

size_t bs__labels_from_json(struct bs_arena *arena, const char *json, const ProtobufCMessageDescriptor *entry,
                            void *entries)
{
    struct bs_json *doc = NULL;
    struct bs_err ignored;
    size_t n = 0;
    ProtobufCMessage **made = NULL;
    if (!json || bs_json_parse(json, strlen(json), 2 * MAX_LABELS + 2, &doc, &ignored) != BS_OK)
        return 0;
    const struct bs_json_value *root = bs_json_root(doc);
    made = bs_arena_array(arena, bs_json_count(root) + 1, sizeof *made);
    for (const struct bs_json_value *v = made ? bs_json_first(root) : NULL; v; v = bs_json_next(v)) {
        const char *text;
        ProtobufCMessage *m = bs_arena_alloc(arena, entry->sizeof_message);
        if (!m || !bs_json_as_string(v, &text))
            break;
        protobuf_c_message_init(entry, m);
        char *key = bs_arena_strdup(arena, bs_json_key(v)), *value = bs_arena_strdup(arena, text);
        if (!key || !value)
            break;
        *text_field(m, FIELD_KEY) = key;
        *text_field(m, FIELD_VALUE) = value;
        made[n++] = m;
    }
    memcpy(entries, &made, sizeof made);
    bs_json_free(doc);
    return n;
}

bs_status bs__check_lifetime(int64_t time_to_live_ms, struct bs_err *err)
{
    static const int64_t longest = INT64_C(3653) * 24 * 3600 * 1000;
    if (time_to_live_ms < 0 || time_to_live_ms > longest)
        return BS_FAIL(err, BS_EINVAL,
                       "time_to_live_ms is %lld; 0 (not stated) to %lld (ten years) is accepted",
                       (long long)time_to_live_ms, (long long)longest);
    return BS_OK;
}
