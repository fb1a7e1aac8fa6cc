/* Looks at files from outside in a process of its own, so that whatever they do happens to nobody else: one model file's
   description, an image with its labels (inspect_pair.c), a dataset (inspect_dataset.c), or labels that were found against those of
   a file. */
#include "server/worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int bs__inspect_main(int sock)
{
    static struct bs_worker_message m, reply; /* static: too large for a small stack; one thread, one call */
    struct bs_model_info info;
    struct bs_err err = {.msg = ""};
    char path[64], *json = NULL;
    if (bs_worker_receive(sock, true, &m, &err) != BS_OK)
        return 1;
    if (m.type == BS_WORKER_PAIR) {
        reply.type = BS_WORKER_PAIR_CHECKED;
        bs__inspect_pair(&m, &reply.body.pair);
        bs__tell(sock, &reply);
        bs_worker_message_release(&m);
        return 0;
    }
    if (m.type == BS_WORKER_CHECK) {
        reply.type = BS_WORKER_CHECKED;
        bs__inspect_dataset(&m, &reply.body.checked);
        bs__tell(sock, &reply);
        bs_worker_message_release(&m);
        return 0;
    }
    if (m.type == BS_WORKER_SCORE) {
        const struct bs_worker_score *q = &m.body.score;
        bs_status scored = bs_score_labels(m.fd[1], &q->truth, m.fd[0], q->planes, q->height, q->width,
                                           &reply.body.scored.score, &err);
        reply.type = BS_WORKER_SCORED;
        bs__set_failure(&reply.body.scored.failure, scored, &err);
        bs__tell(sock, &reply);
        bs_worker_message_release(&m);
        return 0;
    }
    if (m.type != BS_WORKER_INSPECT)
        return 1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", m.fd[0]);
    bs_status rc = bs_model_info_read(path, &info, &err);
    if (rc == BS_OK)
        rc = bs_model_info_to_json(&info, &json, &err);
    if (rc == BS_OK && strlen(json) >= sizeof reply.body.inspected.info)
        rc = BS_FAIL(&err, BS_ELIMIT, "the model's description is longer than %zu bytes",
                     sizeof reply.body.inspected.info - 1);
    reply.type = BS_WORKER_INSPECTED;
    if (rc == BS_OK) {
        reply.body.inspected.bytes = (uint32_t)strlen(json);
        memcpy(reply.body.inspected.info, json, strlen(json));
    }
    bs__set_failure(&reply.body.inspected.failure, rc, &err);
    bs__tell(sock, &reply);
    free(json);
    bs_worker_message_release(&m);
    return 0;
}
