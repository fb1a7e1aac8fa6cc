/* Appends steps and buffers to a program; see lower.h. */
#include "kernels/base/checked.h"
#include "kernels/cuda/lower.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Buffers are multiples of this, so each begins at one: what vector loads and the libraries ask for. */
#define BUFFER_ALIGN ((size_t)256)

int bs__gpu_add_buffer(struct bs__gpu_lowering *l, size_t bytes)
{
    struct bs_program *p = l->program;
    size_t room;
    if (l->rc != BS_OK)
        return BS__NO_BUFFER;
    if (!bs_round_up(bytes ? bytes : 1, BUFFER_ALIGN, &room)) {
        l->rc = BS_FAIL(l->err, BS_ELIMIT, "a value of %zu bytes", bytes);
        return BS__NO_BUFFER;
    }
    if (p->nbuffer == l->buffer_room) {
        const int more = l->buffer_room ? 2 * l->buffer_room : 64;
        struct bs_plan_buffer *list = realloc(p->buffer, (size_t)more * sizeof *list);
        if (!list) {
            l->rc = BS_FAIL(l->err, BS_ENOMEM, "no memory for a program of %d buffers", more);
            return BS__NO_BUFFER;
        }
        p->buffer = list;
        l->buffer_room = more;
    }
    p->buffer[p->nbuffer] =
        (struct bs_plan_buffer){.bytes = room, .first = p->nstep, .last = p->nstep, .parent = BS_NO_PARENT};
    return p->nbuffer++;
}

struct bs__gpu_step *bs__gpu_add_step(struct bs__gpu_lowering *l, enum bs__gpu_step_kind kind,
                                      enum bs__element element, const char *text, ...)
{
    struct bs_program *p = l->program;
    if (p->nstep == l->step_room) {
        const int more = 2 * l->step_room;
        struct bs__gpu_step *list =
            l->rc == BS_OK ? realloc(l->self->step, (size_t)more * sizeof *list) : NULL;
        if (list) {
            l->self->step = list;
            l->step_room = more;
        } else {
            if (l->rc == BS_OK)
                l->rc = BS_FAIL(l->err, BS_ENOMEM, "no memory for a program of %d steps", more);
            p->nstep--; /* the program is not going to run */
        }
    }
    struct bs__gpu_step *s = &l->self->step[p->nstep];
    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->element = s->from = element;
    va_list ap;
    va_start(ap, text);
    vsnprintf(s->text, sizeof s->text, text, ap);
    va_end(ap);
    p->nstep++;
    l->counts[kind]++;
    return s;
}

void bs__gpu_bind(struct bs__gpu_lowering *l, struct bs__gpu_step *s, bs_address *field,
                  const struct bs__gpu_place *p)
{
    if (l->rc != BS_OK)
        return;
    const ptrdiff_t at = (unsigned char *)field - (unsigned char *)&s->a;
    BS_ASSERT(at >= 0 && (size_t)at < sizeof s->a && s->nbind < BS__GPU_BINDS);
    BS_ASSERT(p->buffer >= 0 && p->buffer < l->program->nbuffer &&
              s == &l->self->step[l->program->nstep - 1]);
    s->bind[s->nbind++] = (struct bs__gpu_bind){.field = (uint32_t)at,
                                                .buffer = p->buffer,
                                                .bytes = (size_t)p->offset * bs__element_bytes(p->element)};
    struct bs_plan_buffer *b = &l->program->buffer[p->buffer];
    b->last = l->program->nstep - 1;
    s->cost += (double)b->bytes;
}

void bs__gpu_bind_rows(struct bs__gpu_lowering *l, struct bs__gpu_step *s, struct bs__rows *rows,
                       const struct bs__gpu_place *p)
{
    rows->stride = p->stride;
    bs__gpu_bind(l, s, &rows->at, p);
}

void bs__gpu_bind_workspace(struct bs__gpu_lowering *l, struct bs__gpu_step *s, bs_address *field,
                            size_t bytes)
{
    if (!bytes)
        return;
    struct bs__gpu_place p = {.buffer = bs__gpu_add_buffer(l, bytes), .element = BS__F32};
    if (l->rc != BS_OK)
        return;
    l->program->buffer[p.buffer].first = l->program->nstep - 1;
    bs__gpu_bind(l, s, field, &p);
}

struct bs__gpu_place bs__gpu_room(struct bs__gpu_lowering *l, int64_t rows, int64_t columns,
                                  enum bs__element e)
{
    struct bs__gpu_place p = {.buffer = BS__NO_BUFFER, .stride = columns, .element = e};
    size_t bytes = 0;
    if (l->rc == BS_OK &&
        (!bs_mul((size_t)rows, (size_t)columns, &bytes) || !bs_mul(bytes, bs__element_bytes(e), &bytes)))
        l->rc = BS_FAIL(l->err, BS_ELIMIT, "a value of %lld x %lld elements", (long long)rows,
                        (long long)columns);
    p.buffer = bs__gpu_add_buffer(l, bytes);
    return p;
}

void bs__gpu_add_copy(struct bs__gpu_lowering *l, const char *text, const struct bs__gpu_place *to,
                      int64_t to_batch, const struct bs__gpu_place *from, int64_t from_batch, int64_t batches,
                      int64_t rows, int64_t columns)
{
    struct bs__gpu_step *s = bs__gpu_add_step(l, BS__GPU_COPY, to->element, "%s %lldx%lldx%lld %s -> %s",
                                              text, (long long)batches, (long long)rows, (long long)columns,
                                              bs__element_name(from->element), bs__element_name(to->element));
    struct bs__copy *c = &s->a.copy;
    s->from = from->element;
    *c = (struct bs__copy){
        .to_batch = to_batch, .from_batch = from_batch, .batches = batches, .rows = rows, .columns = columns};
    bs__gpu_bind_rows(l, s, &c->to, to);
    bs__gpu_bind_rows(l, s, &c->from, from);
}
