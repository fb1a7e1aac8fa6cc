/* Runs the steps of a lowered graph: puts addresses in place of buffer numbers and hands the tasks to the threads.
   Executor thread only. */
#include "kernels/cpu/training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct running {
    const struct bs_program *program;
    const struct bs__cpu_program *self;
    const struct bs_run *run;
};

static void *at(const struct running *r, int buffer)
{
    return buffer == BS__NO_BUFFER ? NULL : r->run->arena + r->program->buffer[buffer].offset;
}

static void bind_source(const struct running *r, const struct bs__step *s, int i, struct bs__source *source)
{
    const unsigned char *image = at(r, s->source[i]);
    source->data = image ? image + s->source_offset[i] : NULL;
    source->norm = s->norm[i] == BS__NO_BUFFER ? NULL : (const float *)at(r, s->norm[i]) + s->norm_offset[i];
}

/* Merges the parts in their order: the same sums whatever thread made which part. */
static void merge_parts(const struct running *r, const struct bs__step *s)
{
    const struct bs__moments *part = at(r, s->part);
    struct bs__channel_stats *stats = at(r, s->stats);
    for (int64_t n = 0; n < s->stats_n; n++, stats += s->stats_channels) {
        for (int c = 0; c < s->stats_channels; c++)
            stats[c] = (struct bs__channel_stats){0};
        for (int64_t p = 0; p < s->nparts; p++, part += s->stats_channels)
            for (int c = 0; c < s->stats_channels; c++) {
                if (!(part[c].count > 0))
                    continue;
                double total = stats[c].count + part[c].count, delta = part[c].mean - stats[c].mean;
                stats[c].var += part[c].m2 + delta * delta * (stats[c].count * part[c].count / total);
                stats[c].mean += delta * (part[c].count / total);
                stats[c].count = total;
            }
        for (int c = 0; c < s->stats_channels; c++)
            stats[c].var /= stats[c].count > 0 ? stats[c].count : 1;
    }
}

/* Where channel c of the (concatenated) input lives. */
static const struct bs__channel_stats *stats_of(const struct running *r, const struct bs__norm_step *k,
                                                int64_t n, int c, int lanes, int *padded)
{
    int first = 0;
    for (int s = 0; s < k->nsource; s++) {
        int room = (k->channels[s] + lanes - 1) / lanes * lanes;
        if (c < k->channels[s]) {
            *padded = first + c;
            const struct bs__channel_stats *stats = at(r, k->stats[s]);
            return stats ? &stats[n * k->stats_room[s] + k->stats_first[s] + c] : NULL;
        }
        c -= k->channels[s];
        first += room;
    }
    return NULL;
}

/* mean, scale and shift of every channel: instance norm takes each by itself, group norm pools the channels of a group,
   batch norm takes the running statistics. */
static void make_norm(const struct running *r, const struct bs__step *s)
{
    const struct bs__norm_step *k = &s->norm_of;
    const int lanes = r->self->cpu->simd->lanes;
    int channels = 0, room = 0;
    for (int i = 0; i < k->nsource; i++) {
        channels += k->channels[i];
        room += (k->channels[i] + lanes - 1) / lanes * lanes;
    }
    float *out = at(r, s->dst);
    memset(out, 0, (size_t)k->n * (size_t)room * 3 * sizeof *out);
    const int group = k->op == BS_OP_GROUP_NORM ? channels / k->groups : 1;
    for (int64_t n = 0; n < k->n; n++, out += room * 3)
        for (int g = 0; g < channels; g += group) {
            double mean = 0, var = 0, count = 0;
            int padded = 0;
            for (int c = g; c < g + group && k->op != BS_OP_BATCH_NORM; c++) {
                const struct bs__channel_stats *m = stats_of(r, k, n, c, lanes, &padded);
                double delta = m->mean - mean, total = count + m->count;
                var += m->var * m->count + delta * delta * (count * m->count / total);
                mean += delta * (m->count / total);
                count = total;
            }
            for (int c = g; c < g + group; c++) {
                (void)stats_of(r, k, n, c, lanes, &padded);
                double centre = k->mean ? (double)k->mean[c] : mean;
                double spread = k->var ? (double)k->var[c] : var / count;
                double scale = (k->weight ? (double)k->weight[c] : 1.0) / sqrt(spread + (double)k->eps);
                float *to = out + padded / lanes * 3 * lanes + padded % lanes;
                to[0] = (float)centre;
                to[lanes] = (float)scale;
                to[2 * lanes] = k->bias ? k->bias[c] : 0;
            }
        }
}

/* A concatenation whose first part does not end at a block, or a slice: element by element. */
static void join(const struct running *r, const struct bs__step *s)
{
    const size_t lanes = (size_t)r->self->cpu->simd->lanes, size = r->self->element;
    const int *channels = s->join.channels;
    const size_t pixels = (size_t)s->join.pixels;
    size_t room = ((size_t)(channels[0] + channels[1]) + lanes - 1) / lanes;
    unsigned char *dst = at(r, s->dst);
    memset(dst, 0, (size_t)s->join.n * room * lanes * pixels * size);
    for (size_t n = 0; n < (size_t)s->join.n; n++)
        for (size_t part = 0, to = 0; part < BS__MAX_SOURCE; part++) {
            const unsigned char *src = at(r, s->source[part]);
            size_t blocks = part ? ((size_t)channels[part] + lanes - 1) / lanes : (size_t)s->join.of_blocks;
            size_t first = part ? 0 : (size_t)s->join.first;
            for (size_t c = first; c < first + (size_t)channels[part]; c++, to++)
                for (size_t i = 0; i < pixels; i++)
                    memcpy(dst + (((n * room + to / lanes) * pixels + i) * lanes + to % lanes) * size,
                           src + (((n * blocks + c / lanes) * pixels + i) * lanes + c % lanes) * size, size);
        }
}

static bs_status run_step(const struct bs__cpu *cpu, struct bs_program *program, int step,
                          const struct bs_run *run, struct bs_err *err)
{
    const struct running r = {program, program->private, run};
    if (r.self->training)
        return bs__training_run_step(cpu, program, r.self->training, step, run, err);
    const struct bs__step *s = &r.self->step[step];
    const struct bs__simd_type *type = r.self->type, *products = r.self->pairs ? bs__simd_pairs() : type;
    bs_status rc = BS_OK;
    switch (s->kind) {
    case BS__STEP_WINOGRAD: {
        struct bs__winograd c = s->winograd;
        for (int i = 0; i < c.nsource; i++)
            bind_source(&r, s, i, &c.source[i]);
        c.dst = at(&r, s->dst);
        c.scratch = at(&r, s->scratch);
        c.part = at(&r, s->part);
        bs__parallel(cpu->threads, s->tasks, type->winograd, &c);
        break;
    }
    case BS__STEP_LATTICE: {
        struct bs__lattice c = s->lattice;
        bind_source(&r, s, 0, &c.source);
        c.dst = at(&r, s->dst);
        c.scratch = at(&r, s->scratch);
        bs__parallel(cpu->threads, s->tasks, products->lattice, &c);
        break;
    }
    case BS__STEP_POINTWISE: {
        struct bs__pointwise c = s->pointwise;
        bind_source(&r, s, 0, &c.source);
        c.dst = at(&r, s->dst);
        c.scratch = at(&r, s->scratch);
        bs__parallel(cpu->threads, s->tasks, products->pointwise, &c);
        break;
    }
    case BS__STEP_HEAD: {
        struct bs__head c = s->head;
        bind_source(&r, s, 0, &c.source);
        c.dst = s->host < 0 ? NULL : run->output[s->host].data;
        c.probability = s->second_host < 0 ? NULL : run->output[s->second_host].data;
        bs__parallel(cpu->threads, s->tasks, type->head, &c);
        break;
    }
    case BS__STEP_DIRECT:
        bs__parallel_set_threads(cpu->threads);
        rc = bs__dnnl_conv_run(s->direct.conv, at(&r, s->source[0]), s->direct.weights, s->direct.bias,
                               at(&r, s->dst), at(&r, s->scratch), err);
        break;
    case BS__STEP_NORM:
        make_norm(&r, s);
        break;
    case BS__STEP_JOIN:
        join(&r, s);
        break;
    case BS__STEP_LOAD:
    case BS__STEP_STORE:
    case BS__STEP_APPLY:
    case BS__STEP_MOMENTS:
    case BS__STEP_POOL:
    case BS__STEP_RESIZE:
    case BS__STEP_SMOOTH: {
        struct bs__pass c = s->pass;
        const bs__task_fn fn[BS__STEP_KINDS] = {
            [BS__STEP_LOAD] = type->load,     [BS__STEP_STORE] = type->store,
            [BS__STEP_APPLY] = type->apply,   [BS__STEP_MOMENTS] = type->moments,
            [BS__STEP_POOL] = type->pool,     [BS__STEP_RESIZE] = type->resize,
            [BS__STEP_SMOOTH] = type->smooth,
        };
        bind_source(&r, s, 0, &c.source);
        bind_source(&r, s, 1, &c.other);
        c.dst = at(&r, s->dst);
        c.part = at(&r, s->part);
        c.scratch = at(&r, s->scratch);
        if (s->kind == BS__STEP_LOAD)
            c.plain = run->input[s->host].data;
        if (s->kind == BS__STEP_STORE)
            c.plain = run->output[s->host].data;
        bs__parallel(cpu->threads, s->tasks, fn[s->kind], &c);
        break;
    }
    case BS__STEP_ROWS:
    case BS__STEP_PATCHES:
    case BS__STEP_TOKENS_FROM_IMAGE:
    case BS__STEP_IMAGE_FROM_TOKENS:
    case BS__STEP_LINEAR:
    case BS__STEP_ATTENTION:
    case BS__STEP_CONV1D:
    case BS__STEP_SCAN:
        bs__cpu_run_token_step(cpu, program, s, run);
        break;
    case BS__STEP_KINDS:
        break;
    }
    if (rc == BS_OK && s->stats != BS__NO_BUFFER && s->part != BS__NO_BUFFER)
        merge_parts(&r, s);
    return rc;
}

/* A step that gives way runs steps of other programs in its middle, which give way to nobody, or to others. */
bs_status bs__cpu_run_step(void *dev, struct bs_program *program, int step, const struct bs_run *run,
                           struct bs_err *err)
{
    const struct bs_cancel *before = bs__parallel_yield_to(run->cancel);
    const bs_status rc = run_step(dev, program, step, run, err);
    (void)bs__parallel_yield_to(before);
    return rc;
}

void bs__cpu_destroy_program(void *dev, struct bs_program *program)
{
    (void)dev;
    if (!program)
        return;
    struct bs__cpu_program *p = program->private;
    if (p) {
        bs__training_destroy(p->training);
        for (int i = 0; p->step && i < program->nstep; i++)
            if (p->step[i].kind == BS__STEP_DIRECT)
                bs__dnnl_conv_destroy(p->step[i].direct.conv);
        free(p->step);
        for (struct bs__owned *o = p->owned; o;) {
            struct bs__owned *next = o->next;
            free(o);
            o = next;
        }
    }
    free(p);
    free(program->buffer);
    free(program);
}
