/* Runs steps over tokens: puts addresses in place of buffer numbers and hands the tasks to the threads. Executor thread
   only. */
#include "kernels/cpu/program_tokens.h"

struct running {
    const struct bs_program *program;
    const struct bs_run *run;
};

static void *at(const struct running *r, int buffer)
{
    return buffer == BS__NO_BUFFER ? NULL : r->run->arena + r->program->buffer[buffer].offset;
}

static struct bs__rows rows_of(const struct running *r, const struct bs__rows_at *a)
{
    unsigned char *base = NULL;
    switch (a->place) {
    case BS__ROWS_NONE:
        return (struct bs__rows){0};
    case BS__ROWS_ARENA:
        base = at(r, a->index);
        break;
    case BS__ROWS_INPUT:
        base = r->run->input[a->index].data;
        break;
    case BS__ROWS_OUTPUT:
        base = r->run->output[a->index].data;
        break;
    }
    return (struct bs__rows){
        .data = base + (size_t)a->offset * (a->bf16 ? sizeof(uint16_t) : sizeof(float)),
        .bf16 = a->bf16,
        .row = a->row,
        .sample = a->sample,
    };
}

/* A kernel's rows are one long sample where lowering has joined the samples. */
static void run_linear(const struct bs__cpu *cpu, const struct running *r, const struct bs__step *s)
{
    const struct bs__token_step *t = s->token;
    struct bs__linear c = t->linear;
    c.x = rows_of(r, &t->at[BS__AT_X]);
    c.residual = rows_of(r, &t->at[BS__AT_OTHER]);
    c.dst = rows_of(r, &t->at[BS__AT_DST]);
    c.scratch = at(r, s->scratch);
    bs__parallel(cpu->threads, s->tasks, t->run, &c);
}

static void run_scan(const struct bs__cpu *cpu, const struct running *r, const struct bs__step *s)
{
    const struct bs__token_step *t = s->token;
    struct bs__scan c = t->scan;
    const struct bs__rows_at *from = &t->at[BS__AT_U];
    for (int i = 0; i < c.ndirection; i++, from += BS__AT_DIRECTION - BS__AT_U) {
        c.direction[i].u = rows_of(r, &from[0]);
        c.direction[i].delta = rows_of(r, &from[BS__AT_DELTA - BS__AT_U]);
        c.direction[i].low = rows_of(r, &from[BS__AT_LOW - BS__AT_U]);
        c.direction[i].b = rows_of(r, &from[BS__AT_B - BS__AT_U]);
        c.direction[i].c = rows_of(r, &from[BS__AT_C - BS__AT_U]);
    }
    c.z = rows_of(r, &t->at[BS__AT_X]);
    c.dst = rows_of(r, &t->at[BS__AT_DST]);
    c.scratch = at(r, s->scratch);
    bs__parallel(cpu->threads, s->tasks, t->run, &c);
}

static void run_relayout(const struct bs__cpu *cpu, const struct running *r, const struct bs__step *s,
                         int image, int rows)
{
    struct bs__relayout c = s->token->relayout;
    c.image = at(r, image);
    c.tokens = rows_of(r, &s->token->at[rows]);
    c.part = at(r, s->part);
    bs__parallel(cpu->threads, s->tasks, s->token->run, &c);
}

void bs__cpu_run_token_step(const struct bs__cpu *cpu, const struct bs_program *program,
                            const struct bs__step *s, const struct bs_run *run)
{
    const struct running r = {program, run};
    const struct bs__token_step *t = s->token;
    switch (s->kind) {
    case BS__STEP_ROWS: {
        struct bs__row_pass c = t->pass;
        c.a = rows_of(&r, &t->at[BS__AT_X]);
        c.b = rows_of(&r, &t->at[BS__AT_OTHER]);
        c.sum = rows_of(&r, &t->at[BS__AT_SUM]);
        c.dst = rows_of(&r, &t->at[BS__AT_DST]);
        if (t->table)
            c.b = (struct bs__rows){.data = (void *)(uintptr_t)t->table, .row = c.features};
        c.scratch = at(&r, s->scratch);
        bs__parallel(cpu->threads, s->tasks, t->run, &c);
        break;
    }
    case BS__STEP_PATCHES: {
        struct bs__patches c = t->patches;
        c.image = run->input[s->host].data;
        c.dst = rows_of(&r, &t->at[BS__AT_DST]);
        bs__parallel(cpu->threads, s->tasks, t->run, &c);
        break;
    }
    case BS__STEP_TOKENS_FROM_IMAGE:
        run_relayout(cpu, &r, s, s->source[0], BS__AT_DST);
        break;
    case BS__STEP_IMAGE_FROM_TOKENS:
        run_relayout(cpu, &r, s, s->dst, BS__AT_X);
        break;
    case BS__STEP_LINEAR:
        run_linear(cpu, &r, s);
        break;
    case BS__STEP_ATTENTION: {
        struct bs__attention c = t->attention;
        c.qkv = rows_of(&r, &t->at[BS__AT_X]);
        c.dst = rows_of(&r, &t->at[BS__AT_DST]);
        c.scratch = at(&r, s->scratch);
        bs__parallel(cpu->threads, s->tasks, t->run, &c);
        break;
    }
    case BS__STEP_CONV1D: {
        struct bs__conv1d c = t->conv1d;
        c.src = rows_of(&r, &t->at[BS__AT_X]);
        c.direction[0].dst = rows_of(&r, &t->at[BS__AT_DST]);
        c.direction[1].dst = rows_of(&r, &t->at[BS__AT_SECOND_DST]);
        bs__parallel(cpu->threads, s->tasks, t->run, &c);
        break;
    }
    case BS__STEP_SCAN:
        run_scan(cpu, &r, s);
        break;
    default:
        break;
    }
}
