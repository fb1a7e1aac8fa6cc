/* A dataset is read through by a child of its own, with limits and without the network, before it is trained on. Any thread; the
   caller waits for the answer. */
#include "server/engine_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_MS                                                                                             \
    1230000 /* a little more than the child's own limit of processor time, twice: the disk may be slow */
#define ROOM (BS_REPORT_MAX_FINDINGS * sizeof(struct bs_report_finding))

void bs_dataset_report_free(struct bs_dataset_report *r)
{
    free(r->finding);
    memset(r, 0, sizeof *r);
}

static int problems_first(const void *left, const void *right)
{
    const struct bs_report_finding *a = left, *b = right;
    if (a->warning != b->warning)
        return a->warning ? 1 : -1;
    return (a->pair > b->pair) - (a->pair < b->pair);
}

/* The child wrote into memory that it may still change: what counts is our copy. */
static bs_status take(const struct bs_worker_checked *c, const struct bs_report_finding *from,
                      struct bs_dataset_report *out, struct bs_err *err)
{
    if (c->count > BS_REPORT_MAX_FINDINGS || c->problems + c->warnings < c->count)
        return BS_FAIL(err, BS_ECORRUPT, "what was found about the dataset contradicts itself");
    if (!(out->finding = calloc((size_t)c->count + 1, sizeof *out->finding)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %llu findings", (unsigned long long)c->count);
    memcpy(out->finding, from, (size_t)c->count * sizeof *from);
    out->count = (size_t)c->count;
    out->problems = c->problems;
    out->warnings = c->warnings;
    for (size_t i = 0; i < out->count; i++)
        out->finding[i].text[sizeof out->finding[i].text - 1] = '\0';
    qsort(out->finding, out->count, sizeof *out->finding, problems_first);
    return BS_OK;
}

bs_status bs_engine_check_dataset(struct bs_engine *e, int manifest_fd, int blobs_fd, size_t patch_height,
                                  size_t patch_width, const struct bs_engine_patience *patience,
                                  struct bs_dataset_report *out, struct bs_err *err)
{
    struct bs_engine_patience how = *patience;
    struct bs_worker_message *m = calloc(1, sizeof *m);
    struct bs_report_finding *found = MAP_FAILED;
    struct stat manifest;
    int fd = memfd_create("bioseg-findings", MFD_CLOEXEC);
    bs_status rc = BS_OK;
    memset(out, 0, sizeof *out);
    how.ms = CHECK_MS;
    how.large = true;
    if (!m || fd < 0 || ftruncate(fd, (off_t)ROOM) != 0 ||
        (found = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED ||
        fstat(manifest_fd, &manifest) != 0) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to check a dataset");
        goto cleanup;
    }
    m->type = BS_WORKER_CHECK;
    m->nfd = 3;
    m->fd[0] = manifest_fd;
    m->fd[1] = blobs_fd;
    m->fd[2] = fd;
    m->body.check = (struct bs_report_question){(uint64_t)manifest.st_size, patch_height, patch_width};
    if ((rc = bs__engine_ask(e, m, BS_WORKER_CHECKED, &how, "the dataset", err)) != BS_OK)
        goto cleanup;
    const struct bs_worker_checked *c = &m->body.checked;
    if (c->failure.status != BS_OK)
        rc = BS_FAIL(err, c->failure.status <= BS_EINTERNAL ? (bs_status)c->failure.status : BS_ECORRUPT,
                     "%s", c->failure.text);
    else
        rc = take(c, found, out, err);
cleanup:
    if (found != MAP_FAILED)
        munmap(found, ROOM);
    if (fd >= 0)
        close(fd);
    free(m);
    return rc;
}
