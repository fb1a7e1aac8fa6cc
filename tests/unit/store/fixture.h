/* A data directory of its own for each test, and jobs to put into it. */
#ifndef BS_TESTS_UNIT_STORE_FIXTURE_H
#define BS_TESTS_UNIT_STORE_FIXTURE_H

#include "server/store/blobs.h"
#include "server/store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HASH_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static inline int make_directory(void **state)
{
    const char *base = getenv("TMPDIR");
    char *dir = NULL;
    if (asprintf(&dir, "%s/bs-store-XXXXXX", base ? base : "/tmp") < 0 || !mkdtemp(dir))
        return -1;
    *state = dir;
    return 0;
}

static inline int remove_directory(void **state)
{
    char *command = NULL;
    int rc = asprintf(&command, "rm -rf '%s'", (char *)*state) < 0 ? -1 : system(command);
    free(command);
    free(*state);
    return rc;
}

static inline struct bs_job_record new_job(const char *owner, const char *key, const char *payload)
{
    struct bs_job_record j = {0};
    j.owner = strdup(owner);
    j.project = strdup("");
    j.idempotency_key = strdup(key);
    j.payload_hash = strdup(payload);
    j.kind = strdup("segment");
    j.request = strdup("{}");
    j.input_blob = strdup(HASH_A);
    return j;
}

/* Adds a job and writes its id. */
static inline void add_job(struct bs_store *s, const char *owner, char *id)
{
    struct bs_job_record j = new_job(owner, "", HASH_B);
    bool existing;
    struct bs_err err;
    assert_int_equal(bs_store_job_add(s, &j, &existing, &err), BS_OK);
    assert_false(existing);
    strcpy(id, j.id);
    bs_job_record_free(&j);
}

static inline struct bs_store *open_store(const char *dir)
{
    struct bs_store *s = NULL;
    struct bs_err err = {.msg = ""};
    if (bs_store_open(dir, &s, &err) != BS_OK)
        fail_msg("store did not open: %s", err.msg);
    return s;
}

static inline struct bs_job_record get_job(struct bs_store *s, const char *id)
{
    struct bs_job_record j;
    struct bs_err err;
    assert_int_equal(bs_store_job_get(s, id, &j, &err), BS_OK);
    return j;
}

static inline enum bs_job_state state_of(struct bs_store *s, const char *id)
{
    struct bs_job_record j = get_job(s, id);
    enum bs_job_state state = j.state;
    bs_job_record_free(&j);
    return state;
}

#endif
