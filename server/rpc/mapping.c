/* Reference-counted mmap; see mapping.h. */
#include "server/rpc/mapping.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct bs_mapping {
    atomic_int refs;
    void *data;
    size_t size;
    bool heap; /* data lies behind this struct */
};

bs_status bs_mapping_create(int fd, struct bs_mapping **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct stat st = {.st_size = 0};
    struct bs_mapping *m = calloc(1, sizeof *m);
    if (!m) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory");
        goto cleanup;
    }
    atomic_init(&m->refs, 1);
    if (fd >= 0 && fstat(fd, &st) != 0) {
        rc = BS_FAIL(err, BS_EIO, "cannot look at a result: %s", strerror(errno));
        goto cleanup;
    }
    if (st.st_size > 0) {
        m->data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (m->data == MAP_FAILED) {
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for %lld bytes of a result", (long long)st.st_size);
            goto cleanup;
        }
        m->size = (size_t)st.st_size;
    }
    *out = m;
    m = NULL;

cleanup:
    free(m);
    if (fd >= 0)
        close(fd);
    return rc;
}

bs_status bs_mapping_create_buffer(size_t n, struct bs_mapping **out, void **data, struct bs_err *err)
{
    struct bs_mapping *m = malloc(sizeof *m + n);
    if (!m)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    atomic_init(&m->refs, 1);
    m->data = m + 1;
    m->size = n;
    m->heap = true;
    *data = m->data;
    *out = m;
    return BS_OK;
}

struct bs_mapping *bs_mapping_ref(struct bs_mapping *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void bs_mapping_unref(struct bs_mapping *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    if (m->size && !m->heap)
        munmap(m->data, m->size);
    free(m);
}

const void *bs_mapping_data(const struct bs_mapping *m)
{
    return m->data;
}

size_t bs_mapping_size(const struct bs_mapping *m)
{
    return m->size;
}
