/* See manifest.h. */
#include "manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct manifest *manifest_read(const char *name)
{
    char path[512], line[512];
    struct manifest *m = calloc(1, sizeof *m);
    assert_non_null(m);
    snprintf(path, sizeof path, "%s/golden/full/%s/manifest.tsv", BS_TEST_FIXTURES, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    while (fgets(line, sizeof line, f)) {
        struct bs_shape shape = {0};
        char *column[4] = {line};
        assert_true(m->count < MANIFEST_MOST);
        for (int i = 1; i < 4; i++) {
            assert_non_null(column[i] = strchr(column[i - 1], '\t'));
            *column[i]++ = 0;
        }
        for (char *at = column[3]; *at != '\t'; at += *at == ',') /* a scalar's shape is empty */
            shape.dim[shape.ndim++] = strtoll(at, &at, 10);
        snprintf(m->name[m->count], sizeof m->name[0], "%.95s", column[0]);
        if (!strcmp(column[1], "param"))
            m->parameters += bs_shape_count(&shape);
        manifest_add(m, m->name[m->count], shape);
    }
    fclose(f);
    return m;
}

struct bs_state_entry *manifest_find(struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (!strcmp(m->entry[i].name, name))
            return &m->entry[i];
    fail_msg("the manifest has no %s", name);
    return NULL;
}

void manifest_add(struct manifest *m, const char *name, struct bs_shape shape)
{
    assert_true(m->count < MANIFEST_MOST);
    m->entry[m->count++] = (struct bs_state_entry){name, shape};
}

void manifest_remove(struct manifest *m, const char *name)
{
    *manifest_find(m, name) = m->entry[m->count - 1];
    m->count--;
}
