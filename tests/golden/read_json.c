/* See read_json.h. */
#include "tests/golden/read_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE   ((size_t)16 << 20)
#define MAX_VALUES ((size_t)1 << 20)

bs_status golden_json(struct golden *g, const char *folder, const char *file, struct bs_json **out,
                      struct bs_err *err)
{
    char *text = NULL;
    bs_status rc = BS_OK;
    *out = NULL;
    FILE *f = fopen(golden_path(g, folder, file), "rb");
    if (!f)
        return BS_FAIL(err, BS_EIO, "%s cannot be opened", file);
    if (!(text = malloc(MAX_FILE))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for %s", file);
        goto cleanup;
    }
    const size_t len = fread(text, 1, MAX_FILE, f);
    if (ferror(f) || len == MAX_FILE)
        rc = BS_FAIL(err, BS_EIO, "%s cannot be read or has more than 16 MiB", file);
    else
        rc = bs_json_parse(text, len, MAX_VALUES, out, err);
cleanup:
    free(text);
    fclose(f);
    return rc;
}

int64_t golden_json_int(const struct bs_json_value *object, const char *key)
{
    int64_t v = -1;
    (void)bs_json_as_int(bs_json_get(object, key), &v);
    return v;
}

double golden_json_number(const struct bs_json_value *object, const char *key)
{
    double v = HUGE_VAL;
    (void)bs_json_as_double(bs_json_get(object, key), &v);
    return v;
}

const char *golden_json_string(const struct bs_json_value *object, const char *key)
{
    const char *v = NULL;
    (void)bs_json_as_string(bs_json_get(object, key), &v);
    return v;
}
