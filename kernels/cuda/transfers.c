/* Inputs and outputs of a run through pinned memory, on a stream of their own, so that the GPU computes while they are under way:
   inputs of the next run come as soon as this one's steps have read theirs, outputs of the last run go while this one computes.
   Events say who waits for whom. Buffers of inputs and outputs are alive during the whole program for that (lower.c). */
#include "kernels/cuda/program.h"

#include <stdlib.h>
#include <string.h>

#define STAGE_ALIGN ((size_t)256)

bs_status bs__gpu_traffic_create(struct bs__gpu *gpu, struct bs__gpu_traffic **out, struct bs_err *err)
{
    struct bs__gpu_traffic *t = calloc(1, sizeof *t);
    bs_status rc = BS_OK;
    *out = NULL;
    if (!t)
        return BS_FAIL(err, BS_ENOMEM, "no memory to run a program");
    bs__cu_event *const events[] = {&t->arrived, &t->taken, &t->made, &t->fetched};
    for (size_t i = 0; i < sizeof events / sizeof *events && rc == BS_OK; i++) {
        rc = bs__driver_check(
            &gpu->driver,
            gpu->driver.event_create(events[i], BS__CU_EVENT_BLOCKING_SYNC | BS__CU_EVENT_DISABLE_TIMING),
            err, "cannot make an event on GPU %d", gpu->ordinal);
        if (rc != BS_OK)
            *events[i] = NULL;
    }
    if (rc != BS_OK)
        bs__gpu_traffic_destroy(gpu, t);
    else
        *out = t;
    return rc;
}

void bs__gpu_traffic_destroy(struct bs__gpu *gpu, struct bs__gpu_traffic *t)
{
    if (!t)
        return;
    if (gpu->traffic == t)
        bs__gpu_settle(gpu);
    const bs__cu_event events[] = {t->arrived, t->taken, t->made, t->fetched};
    if (bs__gpu_enter(gpu, NULL) == BS_OK) /* else it is lost, and the driver keeps nothing of ours */
        for (size_t i = 0; i < sizeof events / sizeof *events; i++)
            if (events[i])
                (void)gpu->driver.event_destroy(events[i]);
    free(t);
}

static size_t staged_bytes(size_t bytes)
{
    return (bytes + STAGE_ALIGN - 1) / STAGE_ALIGN * STAGE_ALIGN;
}

/* Pinned memory for all that goes in and comes back. */
static bs_status stage(struct bs__gpu *gpu, const struct bs__gpu_program *p, unsigned char **in,
                       unsigned char **out, struct bs_err *err)
{
    size_t to = 0, back = 0;
    void *staging = NULL;
    for (int i = 0; i < p->ninput; i++)
        to += staged_bytes(p->input[i].bytes);
    for (int i = 0; i < p->noutput; i++)
        back += staged_bytes(p->output[i].bytes);
    bs_status rc = bs__gpu_stage(gpu, to + back, &staging, err);
    *in = staging;
    *out = *in + to;
    return rc;
}

static bs_status record(struct bs__gpu *gpu, bs__cu_event e, bs__cu_stream on, struct bs_err *err)
{
    return bs__driver_check(&gpu->driver, gpu->driver.event_record(e, on), err,
                            "cannot mark a place in the work of GPU %d", gpu->ordinal);
}

static bs_status wait_for(struct bs__gpu *gpu, bs__cu_stream waits, bs__cu_event e, struct bs_err *err)
{
    return bs__driver_check(&gpu->driver, gpu->driver.stream_wait(waits, e, 0), err,
                            "cannot order copies and kernels on GPU %d", gpu->ordinal);
}

/* From the caller's tensors to the arena; `arrived` says when. Pinned memory is free. */
static bs_status send(struct bs__gpu *gpu, const struct bs_program *program, const struct bs_run *run,
                      struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    const bs_address arena = (bs_address)(uintptr_t)run->arena;
    unsigned char *in = NULL, *out = NULL;
    bs_status rc = stage(gpu, p, &in, &out, err);
    for (int i = 0; i < p->ninput && rc == BS_OK; i++) {
        const struct bs__gpu_transfer *t = &p->input[i];
        memcpy(in, run->input[t->host].data, t->bytes);
        rc = bs__driver_check(
            &gpu->driver,
            gpu->driver.copy_in(arena + program->buffer[t->buffer].offset + t->at, in, t->bytes, gpu->copies),
            err, "cannot copy input %d to GPU %d", t->host, gpu->ordinal);
        in += staged_bytes(t->bytes);
    }
    return rc == BS_OK ? record(gpu, p->traffic->arrived, gpu->copies, err) : rc;
}

bs_status bs__gpu_send_inputs(struct bs__gpu *gpu, const struct bs_program *program, const struct bs_run *run,
                              struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    struct bs__gpu_traffic *t = p->traffic;
    const struct bs_meanwhile *m = run->meanwhile;
    bs_status rc = BS_OK;
    if (gpu->traffic != t || (t->left && !(m && m->late)))
        bs__gpu_settle(gpu);
    gpu->traffic = t;
    if (!(t->ahead && m && m->ahead)) {
        if (t->ahead || t->left) /* pinned memory may be in use */
            rc = bs__driver_check(&gpu->driver, gpu->driver.stream_synchronize(gpu->copies), err,
                                  "GPU %d failed while it copied", gpu->ordinal);
        if (rc == BS_OK)
            rc = send(gpu, program, run, err);
    }
    t->ahead = false;
    return rc == BS_OK ? wait_for(gpu, bs__queue_stream(gpu->queue), t->arrived, err) : rc;
}

bs_status bs__gpu_inputs_taken(struct bs__gpu *gpu, const struct bs_program *program, struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    return record(gpu, p->traffic->taken, bs__queue_stream(gpu->queue), err);
}

bs_status bs__gpu_send_ahead(struct bs__gpu *gpu, const struct bs_program *program, const struct bs_run *run,
                             struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    struct bs__gpu_traffic *t = p->traffic;
    /* This run's inputs have left pinned memory long ago: kernels that waited for them are done or under way. */
    bs_status rc = bs__driver_check(&gpu->driver, gpu->driver.event_synchronize(t->arrived), err,
                                    "GPU %d failed while it copied", gpu->ordinal);
    if (rc == BS_OK && (rc = wait_for(gpu, gpu->copies, t->taken, err)) == BS_OK)
        rc = send(gpu, program, run, err);
    t->ahead = rc == BS_OK;
    return rc;
}

bs_status bs__gpu_outputs_free(struct bs__gpu *gpu, const struct bs_program *program, struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    return p->traffic->left ? wait_for(gpu, bs__queue_stream(gpu->queue), p->traffic->fetched, err) : BS_OK;
}

bs_status bs__gpu_fetch_outputs(struct bs__gpu *gpu, const struct bs_program *program,
                                const struct bs_run *run, struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    const bs_address arena = (bs_address)(uintptr_t)run->arena;
    unsigned char *in = NULL, *out = NULL;
    bs_status rc = stage(gpu, p, &in, &out, err);
    if (rc == BS_OK && (rc = record(gpu, p->traffic->made, bs__queue_stream(gpu->queue), err)) == BS_OK)
        rc = wait_for(gpu, gpu->copies, p->traffic->made, err);
    for (int i = 0; i < p->noutput && rc == BS_OK; i++) {
        const struct bs__gpu_transfer *t = &p->output[i];
        rc = bs__driver_check(&gpu->driver,
                              gpu->driver.copy_out(out, arena + program->buffer[t->buffer].offset + t->at,
                                                   t->bytes, gpu->copies),
                              err, "cannot copy output %d from GPU %d", t->host, gpu->ordinal);
        out += staged_bytes(t->bytes);
    }
    return rc == BS_OK ? record(gpu, p->traffic->fetched, gpu->copies, err) : rc;
}

bs_status bs__gpu_hand_out(struct bs__gpu *gpu, const struct bs_program *program, struct bs_tensor *output,
                           struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    unsigned char *in = NULL, *out = NULL;
    bs_status rc = stage(gpu, p, &in, &out, err);
    p->traffic->left = false;
    if (rc == BS_OK)
        rc = bs__driver_check(&gpu->driver, gpu->driver.event_synchronize(p->traffic->fetched), err,
                              "GPU %d failed while it copied outputs", gpu->ordinal);
    for (int i = 0; i < p->noutput && rc == BS_OK; i++) {
        memcpy(output[p->output[i].host].data, out, p->output[i].bytes);
        out += staged_bytes(p->output[i].bytes);
    }
    return rc;
}

bs_status bs__gpu_collect(void *dev, struct bs_program *program, struct bs_tensor *outputs,
                          struct bs_err *err)
{
    struct bs__gpu *gpu = dev;
    const struct bs__gpu_program *p = program->private;
    if (!p->traffic || !p->traffic->left)
        return BS_FAIL(err, BS_EINTERNAL, "outputs of a run that left none are asked for");
    bs_status rc = bs__gpu_enter(gpu, err);
    if (rc == BS_OK)
        rc = bs__gpu_hand_out(gpu, program, outputs, err);
    return bs__gpu_note(gpu, rc);
}
