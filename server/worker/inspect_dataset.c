/* Whether a dataset can be trained on: every file is read, and all that is wrong is written down. Runs in a process of its own. */
#include "server/worker/worker.h"

#include "model/dataset/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROOM (BS_REPORT_MAX_FINDINGS * sizeof(struct bs_report_finding))

static void write_down(const struct bs_check_report *r, struct bs_report_finding *to,
                       struct bs_worker_checked *answer)
{
    answer->problems = r->problems;
    answer->warnings = r->warnings;
    for (size_t i = 0; i < r->count && i < BS_REPORT_MAX_FINDINGS; i++) {
        const struct bs_finding *f = &r->finding[i];
        to[i].kind = (uint32_t)f->kind;
        to[i].warning = f->warning;
        to[i].pair = f->pair == BS_FINDING_NO_PAIR ? UINT64_MAX : f->pair;
        (void)snprintf(to[i].text, sizeof to[i].text, "%s", f->text);
        answer->count++;
    }
}

void bs__inspect_dataset(const struct bs_worker_message *m, struct bs_worker_checked *answer)
{
    const struct bs_report_question *q = &m->body.check;
    const struct bs_check_rule rule = {
        .patch_height = (size_t)q->patch_height,
        .patch_width = (size_t)q->patch_width,
        /* Groups are kept together when pairs are added, unless that was asked for. */
        .groups_may_be_torn = true,
        .max_findings = BS_REPORT_MAX_FINDINGS};
    struct bs_manifest manifest = {.channel = BS_PLANE_CHANNEL_ANY};
    struct bs_check_report report = {0};
    struct bs_root *blobs = NULL;
    struct bs_err err = {.msg = ""};
    char *text = NULL;
    struct bs_report_finding *to = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd[2], 0);
    bs_status rc = to != MAP_FAILED ? BS_OK : BS_FAIL(&err, BS_ENOMEM, "no memory for what is found");
    if (rc == BS_OK &&
        (rc = bs__worker_text(m->fd[0], q->manifest_bytes, BS_MANIFEST_MAX_TEXT, &text, &err)) == BS_OK &&
        (rc = bs_manifest_parse(text, (size_t)q->manifest_bytes, &manifest, &err)) == BS_OK &&
        (rc = bs__open_blobs(m->fd[1], &blobs, &err)) == BS_OK) {
        const struct bs_file_opener opener = bs__blob_opener(blobs);
        rc = bs_dataset_check(&manifest, &opener, &rule, NULL, &report, &err);
        if (rc == BS_OK)
            write_down(&report, to, answer);
        bs_check_report_free(&report);
    }
    bs__set_failure(&answer->failure, rc, &err);
    free(text);
    bs_root_close(blobs);
    bs_manifest_clear(&manifest);
    if (to != MAP_FAILED)
        munmap(to, ROOM);
}
