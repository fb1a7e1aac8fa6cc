/* See json_fields.h. */
#include "model/json_fields.h"

#include <stdio.h>
#include <string.h>

static const char *of(const struct bs__fields *f)
{
    return f->of ? f->of : "model description";
}

/* Of a member; 0 beyond the bits there are, which then counts as unknown. */
static uint64_t bit(const struct bs__fields *f, const struct bs_json_value *v)
{
    int i = 0;
    for (const struct bs_json_value *m = bs_json_first(f->object); m != v; m = bs_json_next(m))
        i++;
    return i < 64 ? UINT64_C(1) << i : 0;
}

const struct bs_json_value *bs__field(struct bs__fields *f, const char *key, bool required)
{
    if (f->rc != BS_OK)
        return NULL;
    const struct bs_json_value *v = bs_json_get(f->object, key);
    if (v)
        f->read |= bit(f, v);
    else if (required)
        f->rc = BS_FAIL(f->err, BS_EINVAL, "%s: %s is missing", of(f), key);
    return v;
}

void bs__field_wrong_type(struct bs__fields *f, const char *key, const struct bs_json_value *v,
                          const char *wanted)
{
    f->rc = BS_FAIL(f->err, BS_EINVAL, "%s: %s is %s, %s is needed", of(f), key,
                    bs_json_type_name(bs_json_type_of(v)), wanted);
}

void bs__read_int64(struct bs__fields *f, const char *key, bool required, int64_t low, int64_t high,
                    int64_t *out)
{
    const struct bs_json_value *v = bs__field(f, key, required);
    if (!v)
        return;
    if (!bs_json_as_int(v, out))
        bs__field_wrong_type(f, key, v, "an integer");
    else if (*out < low || *out > high)
        f->rc = BS_FAIL(f->err, BS_EINVAL, "%s: %s is %lld, accepted is %lld to %lld", of(f), key,
                        (long long)*out, (long long)low, (long long)high);
}

void bs__read_int(struct bs__fields *f, const char *key, int low, int high, int *out)
{
    int64_t v = *out;
    bs__read_int64(f, key, true, low, high, &v);
    *out = (int)v;
}

void bs__read_double(struct bs__fields *f, const char *key, double low, double high, double *out)
{
    const struct bs_json_value *v = bs__field(f, key, false);
    if (!v)
        return;
    if (!bs_json_as_double(v, out))
        bs__field_wrong_type(f, key, v, "a number");
    else if (!(*out >= low && *out <= high))
        f->rc = BS_FAIL(f->err, BS_EINVAL, "%s: %s is %g, accepted is %g to %g", of(f), key, *out, low, high);
}

void bs__read_bool(struct bs__fields *f, const char *key, bool required, bool *out)
{
    const struct bs_json_value *v = bs__field(f, key, required);
    if (v && !bs_json_as_bool(v, out))
        bs__field_wrong_type(f, key, v, "true or false");
}

void bs__read_text(struct bs__fields *f, const char *key, char *out, size_t size)
{
    const char *text;
    const struct bs_json_value *v = bs__field(f, key, false);
    if (!v)
        return;
    if (!bs_json_as_string(v, &text))
        bs__field_wrong_type(f, key, v, "a string");
    else if (strlen(text) >= size)
        f->rc = BS_FAIL(f->err, BS_ELIMIT, "%s: %s has %zu bytes, at most %zu are accepted", of(f), key,
                        strlen(text), size - 1);
    else
        memcpy(out, text, strlen(text) + 1);
}

int bs__read_name(struct bs__fields *f, const char *key, bool required, const char *const *names, int count,
                  int otherwise)
{
    const char *text;
    char known[128] = "";
    const struct bs_json_value *v = bs__field(f, key, required);
    if (!v)
        return otherwise;
    if (!bs_json_as_string(v, &text)) {
        bs__field_wrong_type(f, key, v, "a string");
        return otherwise;
    }
    for (int i = 0; i < count; i++) {
        if (!strcmp(names[i], text))
            return i;
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", names[i]);
    }
    f->rc = BS_FAIL(f->err, BS_EINVAL, "%s: %s is \"%.60s\", accepted are %s", of(f), key, text, known);
    return otherwise;
}

void bs__read_end(struct bs__fields *f, const char *what)
{
    if (f->rc != BS_OK)
        return;
    for (const struct bs_json_value *m = bs_json_first(f->object); m; m = bs_json_next(m))
        if (!(f->read & bit(f, m))) {
            f->rc =
                BS_FAIL(f->err, BS_EUNSUPPORTED,
                        "%s: %s has a field \"%.60s\" that this version does not know; a newer one wrote it, "
                        "or its name is misspelled",
                        of(f), what, bs_json_key(m));
            return;
        }
}

void bs__open_object(struct bs__fields *f, struct bs__fields *in, const char *key, bool required)
{
    const struct bs_json_value *v = bs__field(f, key, required);
    *in = (struct bs__fields){.of = f->of, .object = v, .rc = f->rc, .err = f->err};
    if (v && bs_json_type_of(v) != BS_JSON_OBJECT) {
        bs__field_wrong_type(f, key, v, "an object");
        in->rc = f->rc;
    }
}
