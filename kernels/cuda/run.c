/* Runs a program: inputs to the arena, the steps, outputs back (transfers.c). The first run queues step by step, which
   loads kernels and libraries; the second captures the steps as CUDA graphs, and later ones replay them for as long as the
   arena stays where it is.
   Steps are cut into segments of about the same work. Two of them are under way at a time, so that the GPU never waits and yet
   a cancel takes effect within two segments. The thread sleeps while it waits, without a look at the flag: to whoever watches,
   a GPU that hangs is a run that gives no sign of life. */
#include "kernels/cuda/program.h"

#include <stdlib.h>

#define SEGMENTS      16
#define SEGMENT_STEPS 6 /* at least, while there are more than one */

struct bs__gpu_replay {
    int segments, end[SEGMENTS]; /* one past the last step of each */
    bs__cu_event passed[2];      /* of the segments with even and odd numbers */
    bool warm;                   /* ran once */
    bs_address arena;            /* that the graphs were captured with */
    bs__cu_graph_exec graph[SEGMENTS];
};

static void drop_graphs(struct bs__gpu *gpu, struct bs__gpu_replay *r)
{
    for (int i = 0; i < SEGMENTS; i++) {
        if (r->graph[i])
            (void)gpu->driver.graph_exec_destroy(r->graph[i]);
        r->graph[i] = NULL;
    }
    r->arena = 0;
}

void bs__gpu_replay_destroy(struct bs__gpu *gpu, struct bs__gpu_replay *r)
{
    if (!r)
        return;
    if (bs__gpu_enter(gpu, NULL) == BS_OK) { /* else it is lost, and the driver keeps nothing of ours */
        drop_graphs(gpu, r);
        for (int i = 0; i < 2; i++)
            if (r->passed[i])
                (void)gpu->driver.event_destroy(r->passed[i]);
    }
    free(r);
}

/* Ends of the segments, by the steps' costs. */
static void cut(const struct bs_program *program, struct bs__gpu_replay *r)
{
    const struct bs__gpu_program *p = program->private;
    double all = 0, sum = 0;
    int wanted = program->nstep / SEGMENT_STEPS;
    wanted = wanted < 1 ? 1 : wanted > SEGMENTS ? SEGMENTS : wanted;
    for (int i = 0; i < program->nstep; i++)
        all += p->step[i].cost;
    for (int i = 0; i < program->nstep; i++) {
        sum += p->step[i].cost;
        if (r->segments < wanted - 1 && sum >= all * (r->segments + 1) / wanted)
            r->end[r->segments++] = i + 1;
    }
    if (!r->segments || r->end[r->segments - 1] < program->nstep)
        r->end[r->segments++] = program->nstep;
}

static bs_status prepare(struct bs__gpu *gpu, const struct bs_program *program, struct bs_err *err)
{
    struct bs__gpu_program *p = program->private;
    bs_status rc = BS_OK;
    if (p->replay)
        return BS_OK;
    if (!p->traffic && (rc = bs__gpu_traffic_create(gpu, &p->traffic, err)) != BS_OK)
        return rc;
    struct bs__gpu_replay *r = calloc(1, sizeof *r);
    if (!r)
        return BS_FAIL(err, BS_ENOMEM, "no memory to run a program of %d steps", program->nstep);
    cut(program, r);
    for (int i = 0; i < 2 && rc == BS_OK; i++)
        if ((rc = bs__driver_check(&gpu->driver,
                                   gpu->driver.event_create(&r->passed[i], BS__CU_EVENT_BLOCKING_SYNC |
                                                                               BS__CU_EVENT_DISABLE_TIMING),
                                   err, "cannot make an event on GPU %d", gpu->ordinal)) != BS_OK)
            r->passed[i] = NULL;
    if (rc != BS_OK) {
        bs__gpu_replay_destroy(gpu, r);
        return rc;
    }
    p->replay = r;
    return BS_OK;
}

static int begin_of(const struct bs__gpu_replay *r, int segment)
{
    return segment ? r->end[segment - 1] : 0;
}

static bs_status queue_steps(struct bs__gpu *gpu, const struct bs_program *program, int segment,
                             bs_address arena, struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    bs_status rc = BS_OK;
    for (int i = begin_of(p->replay, segment); i < p->replay->end[segment] && rc == BS_OK; i++)
        rc = bs__gpu_queue_step(gpu, program, i, arena, err);
    return rc;
}

static bs_status capture(struct bs__gpu *gpu, const struct bs_program *program, int segment, bs_address arena,
                         struct bs_err *err)
{
    const struct bs__driver *d = &gpu->driver;
    struct bs__gpu_replay *r = ((struct bs__gpu_program *)program->private)->replay;
    bs__cu_stream stream = bs__queue_stream(gpu->queue);
    bs__cu_graph graph = NULL;
    bs_status rc = bs__driver_check(d, d->capture_begin(stream, BS__CU_CAPTURE_THREAD_LOCAL), err,
                                    "cannot capture steps on GPU %d", gpu->ordinal);
    if (rc != BS_OK)
        return rc;
    rc = queue_steps(gpu, program, segment, arena, err);
    const bs__cu_result ended = d->capture_end(stream, &graph);
    if (rc == BS_OK)
        rc = bs__driver_check(d, ended, err, "cannot end the capture of steps on GPU %d", gpu->ordinal);
    if (rc == BS_OK)
        rc = bs__driver_check(d, d->graph_instantiate(&r->graph[segment], graph, 0), err,
                              "cannot make a graph of %d steps on GPU %d",
                              r->end[segment] - begin_of(r, segment), gpu->ordinal);
    if (rc != BS_OK)
        r->graph[segment] = NULL;
    if (graph)
        (void)d->graph_destroy(graph);
    return rc;
}

static bs_status queue_segment(struct bs__gpu *gpu, const struct bs_program *program, int segment,
                               bs_address arena, struct bs_err *err)
{
    const struct bs__driver *d = &gpu->driver;
    struct bs__gpu_replay *r = ((struct bs__gpu_program *)program->private)->replay;
    bs_status rc;
    if (!r->warm) {
        rc = queue_steps(gpu, program, segment, arena, err);
    } else {
        rc = r->graph[segment] ? BS_OK : capture(gpu, program, segment, arena, err);
        if (rc == BS_OK)
            rc = bs__driver_check(d, d->graph_launch(r->graph[segment], bs__queue_stream(gpu->queue)), err,
                                  "cannot queue steps %d to %d on GPU %d", begin_of(r, segment) + 1,
                                  r->end[segment], gpu->ordinal);
    }
    if (rc == BS_OK)
        rc = bs__driver_check(d, d->event_record(r->passed[segment % 2], bs__queue_stream(gpu->queue)), err,
                              "cannot mark the end of step %d on GPU %d", r->end[segment], gpu->ordinal);
    return rc;
}

/* The segment in which a step lies. */
static int segment_of(const struct bs__gpu_replay *r, int step)
{
    int segment = 0;
    while (segment < r->segments && r->end[segment] <= step)
        segment++;
    return segment;
}

/* The caller's work beside the GPU's: what the last run left goes to it, then it is called. */
static bs_status turn_to_caller(struct bs__gpu *gpu, const struct bs_program *program,
                                const struct bs_meanwhile *meanwhile, struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    bs_status rc = BS_OK;
    if (meanwhile->late && p->traffic->left)
        rc = bs__gpu_hand_out(gpu, program, meanwhile->late, err);
    else if (meanwhile->late)
        rc = BS_FAIL(err, BS_EINTERNAL, "outputs of a run that left none are asked for");
    if (rc == BS_OK)
        meanwhile->call(meanwhile->ctx);
    return rc;
}

/* The caller is turned to when half of the segments are queued, so that the GPU has work while it is busy. */
static bs_status run_segments(struct bs__gpu *gpu, const struct bs_program *program, const struct bs_run *run,
                              const struct bs_cancel *cancel, struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    const bs_address arena = (bs_address)(uintptr_t)run->arena;
    struct bs__gpu_replay *r = p->replay;
    const struct bs_meanwhile *meanwhile = run->meanwhile;
    const int reads = segment_of(r, p->inputs_read), writes = segment_of(r, p->outputs_written);
    bool send = meanwhile && meanwhile->next;
    bs_status rc = BS_OK;
    if (r->arena != arena)
        drop_graphs(gpu, r);
    r->arena = arena;
    for (int i = 0; i < r->segments && rc == BS_OK; i++) {
        if (bs_cancel_requested(cancel))
            return BS_FAIL(err, BS_ECANCELLED, "cancelled before step %d of %d", begin_of(r, i) + 1,
                           program->nstep);
        if ((i == writes && (rc = bs__gpu_outputs_free(gpu, program, err)) != BS_OK) ||
            (rc = queue_segment(gpu, program, i, arena, err)) != BS_OK ||
            (i == reads && (rc = bs__gpu_inputs_taken(gpu, program, err)) != BS_OK))
            return rc;
        if (meanwhile && i < r->segments / 2)
            continue;
        if (meanwhile && (rc = turn_to_caller(gpu, program, meanwhile, err)) != BS_OK)
            return rc;
        meanwhile = NULL;
        if (send && i >= reads) {
            send = false;
            if ((rc = bs__gpu_send_ahead(gpu, program, run, err)) != BS_OK)
                return rc;
        }
        if (i > 0) /* the one before is done when this returns; the one just queued runs on */
            rc = bs__driver_check(&gpu->driver, gpu->driver.event_synchronize(r->passed[(i - 1) % 2]), err,
                                  "GPU %d failed in steps %d to %d", gpu->ordinal, begin_of(r, i - 1) + 1,
                                  r->end[i - 1]);
    }
    return rc;
}

bs_status bs__gpu_run_program(void *dev, struct bs_program *program, const struct bs_run *run,
                              const struct bs_cancel *cancel, struct bs_err *err)
{
    struct bs__gpu *gpu = dev;
    struct bs__gpu_program *p = program->private;
    bs_status rc;
    if ((rc = bs__gpu_enter(gpu, err)) != BS_OK)
        return rc;
    if ((rc = prepare(gpu, program, err)) != BS_OK)
        return bs__gpu_note(gpu, rc);
    if ((rc = bs__gpu_send_inputs(gpu, program, run, err)) == BS_OK &&
        (rc = run_segments(gpu, program, run, cancel, err)) == BS_OK)
        rc = bs__gpu_fetch_outputs(gpu, program, run, err);
    /* No kernel stays under way, whatever happened; the first error is the one to tell. */
    const bs_status waited = bs__queue_wait(gpu->queue, rc == BS_OK ? err : NULL);
    if (rc == BS_OK)
        rc = waited;
    (void)bs__gpu_note(gpu, waited);
    if (rc == BS_OK && run->meanwhile && run->meanwhile->leave)
        p->traffic->left = true;
    else if (rc == BS_OK)
        rc = bs__gpu_hand_out(gpu, program, run->output, err);
    if (rc == BS_OK)
        p->replay->warm = true;
    else
        bs__gpu_settle(gpu);
    return bs__gpu_note(gpu, rc);
}
