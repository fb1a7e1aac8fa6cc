/* Values, stack, marks, memo and arguments of the pickle machine, each within its limit; see pickle_machine.h. */
#include "model/weights/pickle_machine.h"

#include "kernels/base/checked.h"

#include <stdlib.h>
#include <string.h>

typedef struct bs__pickle_value value;
typedef struct bs__pickle_list list;

bs_status bs__pm_too_large(struct bs__pm *m)
{
    return BS_FAIL(m->err, BS_ELIMIT, "pickle: its values need more than %zu MiB",
                   BS__PICKLE_MAX_MEMORY >> 20);
}

bs_status bs__pm_make(struct bs__pm *m, enum bs__pickle_type type, value **out)
{
    value *v = bs_arena_alloc(m->pickle->arena, sizeof *v);
    if (!v)
        return bs__pm_too_large(m);
    v->type = type;
    *out = v;
    return BS_OK;
}

bs_status bs__pm_push(struct bs__pm *m, value *v)
{
    if (m->depth == m->stack_cap) {
        if (m->stack_cap == BS__PICKLE_MAX_STACK)
            return BS_FAIL(m->err, BS_ELIMIT, "pickle: more than %zu values on its stack",
                           BS__PICKLE_MAX_STACK);
        const size_t cap = 2 * m->stack_cap;
        value **grown = realloc(m->stack, cap * sizeof(value *));
        if (!grown)
            return BS_FAIL(m->err, BS_ENOMEM, "no memory for the pickle's stack");
        m->stack = grown;
        m->stack_cap = cap;
    }
    m->stack[m->depth++] = v;
    return BS_OK;
}

bs_status bs__pm_push_new(struct bs__pm *m, enum bs__pickle_type type, value **out)
{
    BS__PM_CHECK(bs__pm_make(m, type, out));
    return bs__pm_push(m, *out);
}

/* Values above the innermost mark are all that an opcode may take. */
size_t bs__pm_bottom(const struct bs__pm *m)
{
    return m->marks ? m->mark[m->marks - 1] : 0;
}

bs_status bs__pm_pop(struct bs__pm *m, value **out)
{
    if (m->depth <= bs__pm_bottom(m))
        return BS__PM_BAD(m, "its stack is empty", m->at);
    *out = m->stack[--m->depth];
    return BS_OK;
}

bs_status bs__pm_top(struct bs__pm *m, value **out)
{
    if (m->depth <= bs__pm_bottom(m))
        return BS__PM_BAD(m, "its stack is empty", m->at);
    *out = m->stack[m->depth - 1];
    return BS_OK;
}

/* Removes the innermost mark; the values above it are stack[*from .. depth). */
bs_status bs__pm_pop_mark(struct bs__pm *m, size_t *from)
{
    if (!m->marks)
        return BS__PM_BAD(m, "a mark is missing", m->at);
    *from = m->mark[--m->marks];
    return BS_OK;
}

bs_status bs__pm_append(struct bs__pm *m, list *to, value *const *from, size_t n)
{
    size_t need;
    if (!bs_add(to->count, n, &need))
        return bs__pm_too_large(m);
    if (need > to->cap) {
        size_t cap = to->cap ? to->cap : 4;
        while (cap < need)
            cap *= 2;
        value **grown = bs_arena_array(m->pickle->arena, cap, sizeof(value *));
        if (!grown)
            return bs__pm_too_large(m);
        if (to->count)
            memcpy(grown, to->item, to->count * sizeof(value *));
        to->item = grown;
        to->cap = cap;
    }
    if (n)
        memcpy(to->item + to->count, from, n * sizeof(value *));
    to->count = need;
    return BS_OK;
}

/* Takes the values from `from` up into a new list of that type. */
bs_status bs__pm_push_list(struct bs__pm *m, enum bs__pickle_type type, size_t from)
{
    value *v = NULL;
    BS__PM_CHECK(bs__pm_make(m, type, &v));
    BS__PM_CHECK(bs__pm_append(m, &v->u.list, m->stack + from, m->depth - from));
    m->depth = from;
    return bs__pm_push(m, v);
}

bs_status bs__pm_push_marked(struct bs__pm *m, enum bs__pickle_type type)
{
    size_t from = 0;
    BS__PM_CHECK(bs__pm_pop_mark(m, &from));
    if (type == BS__PICKLE_DICT && (m->depth - from) % 2)
        return BS__PM_BAD(m, "a dict's key has no value", m->at);
    return bs__pm_push_list(m, type, from);
}

bs_status bs__pm_push_tuple(struct bs__pm *m, size_t n)
{
    if (m->depth - bs__pm_bottom(m) < n)
        return BS__PM_BAD(m, "its stack is empty", m->at);
    return bs__pm_push_list(m, BS__PICKLE_TUPLE, m->depth - n);
}

bs_status bs__pm_push_text(struct bs__pm *m, enum bs__pickle_type type, const void *text, size_t len)
{
    value *v = NULL;
    char *copy = bs_arena_alloc(m->pickle->arena, len + 1);
    if (!copy)
        return bs__pm_too_large(m);
    memcpy(copy, text, len);
    BS__PM_CHECK(bs__pm_push_new(m, type, &v));
    v->u.text.data = copy;
    v->u.text.len = len;
    return BS_OK;
}

bs_status bs__pm_take(struct bs__pm *m, size_t n, const unsigned char **out)
{
    if (m->len - m->at < n)
        return BS_FAIL(m->err, BS_ECORRUPT, "pickle: it ends in the middle (is the file truncated?)");
    *out = m->data + m->at;
    m->at += n;
    return BS_OK;
}

bs_status bs__pm_take_uint(struct bs__pm *m, size_t n, uint64_t *out)
{
    const unsigned char *p = NULL;
    BS__PM_CHECK(bs__pm_take(m, n, &p));
    *out = 0;
    while (n--)
        *out = *out << 8 | p[n];
    return BS_OK;
}

/* A length of n bytes and that many bytes. */
bs_status bs__pm_take_sized(struct bs__pm *m, size_t n, const unsigned char **out, size_t *len)
{
    uint64_t size = 0;
    BS__PM_CHECK(bs__pm_take_uint(m, n, &size));
    if (size > m->len - m->at)
        return BS_FAIL(m->err, BS_ECORRUPT, "pickle: it ends in the middle (is the file truncated?)");
    *len = (size_t)size;
    return bs__pm_take(m, *len, out);
}

bs_status bs__pm_take_line(struct bs__pm *m, char line[BS__PM_MAX_LINE + 1])
{
    const unsigned char *p = m->data + m->at;
    const size_t rest = m->len - m->at, most = rest < BS__PM_MAX_LINE + 1 ? rest : BS__PM_MAX_LINE + 1;
    const unsigned char *end = memchr(p, '\n', most);
    if (!end)
        return most == rest
                   ? BS_FAIL(m->err, BS_ECORRUPT, "pickle: it ends in the middle (is the file truncated?)")
                   : BS__PM_BAD(m, "a line of more than %d characters", m->at, BS__PM_MAX_LINE);
    const size_t len = (size_t)(end - p);
    memcpy(line, p, len);
    line[len] = 0;
    m->at += len + 1;
    return BS_OK;
}

bs_status bs__pm_memo_put(struct bs__pm *m, uint64_t i)
{
    value *v = NULL;
    BS__PM_CHECK(bs__pm_top(m, &v));
    if (i >= BS__PICKLE_MAX_MEMO)
        return BS_FAIL(m->err, BS_ELIMIT, "pickle: memo entry %llu, at most %zu are accepted",
                       (unsigned long long)i, BS__PICKLE_MAX_MEMO);
    if (i >= m->memo_cap) {
        size_t cap = m->memo_cap ? m->memo_cap : 256;
        while (cap <= i)
            cap *= 2;
        value **grown = realloc(m->memo, cap * sizeof(value *));
        if (!grown)
            return BS_FAIL(m->err, BS_ENOMEM, "no memory for the pickle's memo");
        memset(grown + m->memo_cap, 0, (cap - m->memo_cap) * sizeof(value *));
        m->memo = grown;
        m->memo_cap = cap;
    }
    m->memo[i] = v;
    m->memo_next++;
    return BS_OK;
}

bs_status bs__pm_memo_get(struct bs__pm *m, uint64_t i)
{
    if (i >= m->memo_cap || !m->memo[i])
        return BS__PM_BAD(m, "memo entry %llu is not there", m->at, (unsigned long long)i);
    return bs__pm_push(m, m->memo[i]);
}

bs_status bs__pm_mark(struct bs__pm *m)
{
    if (m->marks == m->mark_cap) {
        if (m->marks >= BS__PM_MAX_MARKS)
            return BS_FAIL(m->err, BS_ELIMIT, "pickle: nested deeper than %d", BS__PM_MAX_MARKS);
        const size_t cap = 2 * m->mark_cap;
        size_t *grown = realloc(m->mark, cap * sizeof *grown);
        if (!grown)
            return BS_FAIL(m->err, BS_ENOMEM, "no memory for the pickle's marks");
        m->mark = grown;
        m->mark_cap = cap;
    }
    m->mark[m->marks++] = m->depth;
    return BS_OK;
}
