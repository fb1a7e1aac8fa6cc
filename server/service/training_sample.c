/* bioseg.v1.Training.GetSample: the picture of a run's last validation. */
#include "server/service/training_internal.h"

#include "server/store/runs.h"

#include <string.h>

#define FIELD_PLANES 7

bs_status bs__training_get_sample(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                  struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__GetSampleRequest *q = (const Bioseg__V1__GetSampleRequest *)message;
    Bioseg__V1__GetSampleResponse answer = BIOSEG__V1__GET_SAMPLE_RESPONSE__INIT;
    struct bs_job_record job = {.owner = NULL};
    struct bs_run_sample sample = {.planes = NULL};
    struct bs_mapping *planes = NULL;
    void *data;
    bs_status rc = bs__training_find(s, call, q->job_id, &job, err);
    if (rc != BS_OK || (rc = bs_store_run_sample_get(s->store, job.id, &sample, err)) != BS_OK ||
        (rc = bs_mapping_create_buffer(sample.bytes, &planes, &data, err)) != BS_OK)
        goto cleanup;
    memcpy(data, sample.planes, sample.bytes);
    answer.step = (uint64_t)sample.step;
    answer.height = sample.height;
    answer.width = sample.width;
    answer.channels = sample.channels;
    answer.target_channels = sample.target_channels;
    answer.reduction = sample.reduction;
    const struct bs_call_bytes bytes = {FIELD_PLANES, planes, 0, sample.bytes};
    rc = bs_call_write_with(call, &answer.base, &bytes, 1, err);
cleanup:
    bs_mapping_unref(planes);
    bs_run_sample_free(&sample);
    bs_job_record_free(&job);
    return rc;
}
