/* The pickle machine, protocols 0 to 5: a stack, a memo and one handler per opcode; see pickle.h. Opcodes that only make
   sense with code at hand (extension registry, out-of-band buffers) are refused. */
#include "model/weights/pickle.h"

#include "kernels/base/arena.h"
#include "kernels/base/checked.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_STACK    256
#define MAX_LINE       256 /* characters of a text argument (protocol 0, names of globals) */
#define MAX_MARKS      65536
#define MAX_GLOBAL_OPS 65536 /* occurrences */

typedef struct bs__pickle_value value;
typedef struct bs__pickle_list list;

struct bs__pickle {
    struct bs_arena *arena;
    value *root;
    const char **global;
    size_t nglobal;
    list persistent;
};

struct machine {
    const unsigned char *data;
    size_t len, at;
    struct bs__pickle *pickle;
    value **stack;
    size_t depth, stack_cap;
    size_t *mark; /* stack depths */
    size_t marks, mark_cap;
    value **memo;               /* NULL: nothing there */
    size_t memo_cap, memo_next; /* memo_next: what MEMOIZE uses */
    size_t global_ops;
    locale_t plain;
    struct bs_err *err;
};

#define BAD(m, ...) BS_FAIL((m)->err, BS_ECORRUPT, "pickle, byte %zu: " __VA_ARGS__)
#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        bs_status check_rc = (call);                                                                         \
        if (check_rc != BS_OK)                                                                               \
            return check_rc;                                                                                 \
    } while (0)

static bs_status too_large(struct machine *m)
{
    return BS_FAIL(m->err, BS_ELIMIT, "pickle: its values need more than %zu MiB",
                   BS__PICKLE_MAX_MEMORY >> 20);
}

/* Values. */

static bs_status make(struct machine *m, enum bs__pickle_type type, value **out)
{
    value *v = bs_arena_alloc(m->pickle->arena, sizeof *v);
    if (!v)
        return too_large(m);
    v->type = type;
    *out = v;
    return BS_OK;
}

static bs_status push(struct machine *m, value *v)
{
    if (m->depth == m->stack_cap) {
        if (m->stack_cap == BS__PICKLE_MAX_STACK)
            return BS_FAIL(m->err, BS_ELIMIT, "pickle: more than %zu values on its stack",
                           BS__PICKLE_MAX_STACK);
        const size_t cap = 2 * m->stack_cap;
        value **grown = realloc(m->stack, cap * sizeof *grown);
        if (!grown)
            return BS_FAIL(m->err, BS_ENOMEM, "no memory for the pickle's stack");
        m->stack = grown;
        m->stack_cap = cap;
    }
    m->stack[m->depth++] = v;
    return BS_OK;
}

static bs_status push_new(struct machine *m, enum bs__pickle_type type, value **out)
{
    CHECK(make(m, type, out));
    return push(m, *out);
}

/* Values above the innermost mark are all that an opcode may take. */
static size_t bottom(const struct machine *m)
{
    return m->marks ? m->mark[m->marks - 1] : 0;
}

static bs_status pop(struct machine *m, value **out)
{
    if (m->depth <= bottom(m))
        return BAD(m, "its stack is empty", m->at);
    *out = m->stack[--m->depth];
    return BS_OK;
}

static bs_status top(struct machine *m, value **out)
{
    if (m->depth <= bottom(m))
        return BAD(m, "its stack is empty", m->at);
    *out = m->stack[m->depth - 1];
    return BS_OK;
}

/* Removes the innermost mark; the values above it are stack[*from .. depth). */
static bs_status pop_mark(struct machine *m, size_t *from)
{
    if (!m->marks)
        return BAD(m, "a mark is missing", m->at);
    *from = m->mark[--m->marks];
    return BS_OK;
}

static bs_status append(struct machine *m, list *to, value *const *from, size_t n)
{
    size_t need;
    if (!bs_add(to->count, n, &need))
        return too_large(m);
    if (need > to->cap) {
        size_t cap = to->cap ? to->cap : 4;
        while (cap < need)
            cap *= 2;
        value **grown = bs_arena_array(m->pickle->arena, cap, sizeof *grown);
        if (!grown)
            return too_large(m);
        if (to->count)
            memcpy(grown, to->item, to->count * sizeof *grown);
        to->item = grown;
        to->cap = cap;
    }
    if (n)
        memcpy(to->item + to->count, from, n * sizeof *from);
    to->count = need;
    return BS_OK;
}

/* Takes the values from `from` up into a new list of that type. */
static bs_status push_list(struct machine *m, enum bs__pickle_type type, size_t from)
{
    value *v = NULL;
    CHECK(make(m, type, &v));
    CHECK(append(m, &v->u.list, m->stack + from, m->depth - from));
    m->depth = from;
    return push(m, v);
}

static bs_status push_marked(struct machine *m, enum bs__pickle_type type)
{
    size_t from = 0;
    CHECK(pop_mark(m, &from));
    if (type == BS__PICKLE_DICT && (m->depth - from) % 2)
        return BAD(m, "a dict's key has no value", m->at);
    return push_list(m, type, from);
}

static bs_status push_tuple(struct machine *m, size_t n)
{
    if (m->depth - bottom(m) < n)
        return BAD(m, "its stack is empty", m->at);
    return push_list(m, BS__PICKLE_TUPLE, m->depth - n);
}

static bs_status push_int(struct machine *m, int64_t i)
{
    value *v = NULL;
    CHECK(push_new(m, BS__PICKLE_INT, &v));
    v->u.integer = i;
    return BS_OK;
}

static bs_status push_bool(struct machine *m, bool b)
{
    value *v = NULL;
    CHECK(push_new(m, BS__PICKLE_BOOL, &v));
    v->u.boolean = b;
    return BS_OK;
}

static bs_status push_number(struct machine *m, double d)
{
    value *v = NULL;
    CHECK(push_new(m, BS__PICKLE_FLOAT, &v));
    v->u.number = d;
    return BS_OK;
}

static bs_status push_text(struct machine *m, enum bs__pickle_type type, const void *text, size_t len)
{
    value *v = NULL;
    char *copy = bs_arena_alloc(m->pickle->arena, len + 1);
    if (!copy)
        return too_large(m);
    memcpy(copy, text, len);
    CHECK(push_new(m, type, &v));
    v->u.text.data = copy;
    v->u.text.len = len;
    return BS_OK;
}

/* Arguments of opcodes. */

static bs_status take(struct machine *m, size_t n, const unsigned char **out)
{
    if (m->len - m->at < n)
        return BS_FAIL(m->err, BS_ECORRUPT, "pickle: it ends in the middle (is the file truncated?)");
    *out = m->data + m->at;
    m->at += n;
    return BS_OK;
}

static bs_status take_uint(struct machine *m, size_t n, uint64_t *out)
{
    const unsigned char *p = NULL;
    CHECK(take(m, n, &p));
    *out = 0;
    while (n--)
        *out = *out << 8 | p[n];
    return BS_OK;
}

/* A length of n bytes and that many bytes. */
static bs_status take_sized(struct machine *m, size_t n, const unsigned char **out, size_t *len)
{
    uint64_t size = 0;
    CHECK(take_uint(m, n, &size));
    if (size > m->len - m->at)
        return BS_FAIL(m->err, BS_ECORRUPT, "pickle: it ends in the middle (is the file truncated?)");
    *len = (size_t)size;
    return take(m, *len, out);
}

static bs_status take_line(struct machine *m, char line[MAX_LINE + 1])
{
    const unsigned char *p = m->data + m->at;
    const size_t rest = m->len - m->at, most = rest < MAX_LINE + 1 ? rest : MAX_LINE + 1;
    const unsigned char *end = memchr(p, '\n', most);
    if (!end)
        return most == rest
                   ? BS_FAIL(m->err, BS_ECORRUPT, "pickle: it ends in the middle (is the file truncated?)")
                   : BAD(m, "a line of more than %d characters", m->at, MAX_LINE);
    const size_t len = (size_t)(end - p);
    memcpy(line, p, len);
    line[len] = 0;
    m->at += len + 1;
    return BS_OK;
}

/* Names go into messages, so only what a Python name has may pass. */
static bool is_name(const char *s, size_t len)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.<>";
    return len && len <= MAX_LINE && strspn(s, allowed) == len;
}

static bs_status push_global(struct machine *m, const char *module, const char *name)
{
    struct bs__pickle *p = m->pickle;
    char both[2 * MAX_LINE + 2];
    if (!is_name(module, strlen(module)) || !is_name(name, strlen(name)))
        return BAD(m, "not the name of a class or function", m->at);
    if (++m->global_ops > MAX_GLOBAL_OPS)
        return BS_FAIL(m->err, BS_ELIMIT, "pickle: classes and functions are named more than %d times",
                       MAX_GLOBAL_OPS);
    const size_t n = strlen(module), k = strlen(name);
    memcpy(both, module, n);
    both[n] = ' ';
    memcpy(both + n + 1, name, k + 1);
    CHECK(push_text(m, BS__PICKLE_GLOBAL, both, n + 1 + k));
    for (size_t i = 0; i < p->nglobal; i++)
        if (!strcmp(p->global[i], both))
            return BS_OK;
    if (p->nglobal == BS__PICKLE_MAX_GLOBALS)
        return BS_FAIL(m->err, BS_ELIMIT, "pickle: it names more than %zu different classes and functions",
                       BS__PICKLE_MAX_GLOBALS);
    p->global[p->nglobal++] = m->stack[m->depth - 1]->u.text.data;
    return BS_OK;
}

static bs_status op_global(struct machine *m)
{
    char module[MAX_LINE + 1], name[MAX_LINE + 1];
    CHECK(take_line(m, module));
    CHECK(take_line(m, name));
    return push_global(m, module, name);
}

static bs_status op_stack_global(struct machine *m)
{
    value *module = NULL, *name = NULL;
    CHECK(pop(m, &name));
    CHECK(pop(m, &module));
    if (name->type != BS__PICKLE_STRING || module->type != BS__PICKLE_STRING || name->u.text.len > MAX_LINE ||
        module->u.text.len > MAX_LINE || strlen(name->u.text.data) != name->u.text.len ||
        strlen(module->u.text.data) != module->u.text.len)
        return BAD(m, "not the name of a class or function", m->at);
    return push_global(m, module->u.text.data, name->u.text.data);
}

/* Objects: the record of a call that nobody makes. */

static bs_status push_object(struct machine *m, value *callable, value *args)
{
    value *v = NULL;
    if (callable->type != BS__PICKLE_GLOBAL && callable->type != BS__PICKLE_OBJECT)
        return BAD(m, "%s cannot be called", m->at, bs__pickle_type_name(callable));
    if (args->type != BS__PICKLE_TUPLE)
        return BAD(m, "arguments are %s, not a tuple", m->at, bs__pickle_type_name(args));
    CHECK(make(m, BS__PICKLE_OBJECT, &v));
    if (!(v->u.object = bs_arena_alloc(m->pickle->arena, sizeof *v->u.object)))
        return too_large(m);
    v->u.object->callable = callable;
    v->u.object->args = args;
    return push(m, v);
}

static bs_status op_reduce(struct machine *m)
{
    value *callable = NULL, *args = NULL;
    CHECK(pop(m, &args));
    CHECK(pop(m, &callable));
    return push_object(m, callable, args);
}

static bs_status op_newobj_ex(struct machine *m)
{
    value *callable = NULL, *args = NULL, *named = NULL;
    CHECK(pop(m, &named));
    CHECK(pop(m, &args));
    CHECK(pop(m, &callable));
    if (named->type != BS__PICKLE_DICT)
        return BAD(m, "named arguments are %s, not a dict", m->at, bs__pickle_type_name(named));
    return push_object(m, callable, args);
}

/* INST: class in the text, arguments above the mark. OBJ: class is the first of them. */
static bs_status op_inst(struct machine *m)
{
    value *callable = NULL, *args = NULL;
    size_t from = 0;
    CHECK(pop_mark(m, &from));
    CHECK(push_list(m, BS__PICKLE_TUPLE, from));
    CHECK(pop(m, &args));
    CHECK(op_global(m));
    CHECK(pop(m, &callable));
    return push_object(m, callable, args);
}

static bs_status op_obj(struct machine *m)
{
    value *callable = NULL, *args = NULL;
    size_t from = 0;
    CHECK(pop_mark(m, &from));
    if (m->depth == from)
        return BAD(m, "a class is missing", m->at);
    callable = m->stack[from];
    CHECK(push_list(m, BS__PICKLE_TUPLE, from + 1));
    CHECK(pop(m, &args));
    m->depth = from;
    return push_object(m, callable, args);
}

static bs_status op_build(struct machine *m)
{
    value *state = NULL, *object = NULL;
    CHECK(pop(m, &state));
    CHECK(top(m, &object));
    if (object->type != BS__PICKLE_OBJECT)
        return BAD(m, "%s cannot be given a state", m->at, bs__pickle_type_name(object));
    object->u.object->state = state;
    return BS_OK;
}

/* Adds stack[from .. depth) to the container below. */
static bs_status add_items(struct machine *m, size_t from, enum bs__pickle_type type)
{
    const size_t n = m->depth - from;
    value *to = NULL;
    list *into;
    m->depth = from;
    CHECK(top(m, &to));
    if (to->type == type)
        into = &to->u.list;
    else if (to->type == BS__PICKLE_OBJECT)
        into = type == BS__PICKLE_DICT ? &to->u.object->pairs : &to->u.object->elements;
    else
        return BAD(m, "items are added to %s", m->at, bs__pickle_type_name(to));
    if (type == BS__PICKLE_DICT && n % 2)
        return BAD(m, "a dict's key has no value", m->at);
    return append(m, into, m->stack + from, n);
}

static bs_status add_top(struct machine *m, size_t n, enum bs__pickle_type type)
{
    if (m->depth - bottom(m) < n + 1)
        return BAD(m, "its stack is empty", m->at);
    return add_items(m, m->depth - n, type);
}

static bs_status add_marked(struct machine *m, enum bs__pickle_type type)
{
    size_t from = 0;
    CHECK(pop_mark(m, &from));
    return add_items(m, from, type);
}

/* Memo. */

static bs_status memo_put(struct machine *m, uint64_t i)
{
    value *v = NULL;
    CHECK(top(m, &v));
    if (i >= BS__PICKLE_MAX_MEMO)
        return BS_FAIL(m->err, BS_ELIMIT, "pickle: memo entry %llu, at most %zu are accepted",
                       (unsigned long long)i, BS__PICKLE_MAX_MEMO);
    if (i >= m->memo_cap) {
        size_t cap = m->memo_cap ? m->memo_cap : 256;
        while (cap <= i)
            cap *= 2;
        value **grown = realloc(m->memo, cap * sizeof *grown);
        if (!grown)
            return BS_FAIL(m->err, BS_ENOMEM, "no memory for the pickle's memo");
        memset(grown + m->memo_cap, 0, (cap - m->memo_cap) * sizeof *grown);
        m->memo = grown;
        m->memo_cap = cap;
    }
    m->memo[i] = v;
    m->memo_next++;
    return BS_OK;
}

static bs_status memo_get(struct machine *m, uint64_t i)
{
    if (i >= m->memo_cap || !m->memo[i])
        return BAD(m, "memo entry %llu is not there", m->at, (unsigned long long)i);
    return push(m, m->memo[i]);
}

static bs_status take_memo_line(struct machine *m, uint64_t *i)
{
    char line[MAX_LINE + 1], *end;
    CHECK(take_line(m, line));
    errno = 0;
    *i = strtoull(line, &end, 10);
    if (errno || end == line || *end || line[0] == '-')
        return BAD(m, "not a memo entry", m->at);
    return BS_OK;
}

/* Scalars. */

static bs_status op_int_line(struct machine *m, bool is_long)
{
    char line[MAX_LINE + 1], *end;
    CHECK(take_line(m, line));
    if (!is_long && (!strcmp(line, "00") || !strcmp(line, "01")))
        return push_bool(m, line[1] == '1');
    errno = 0;
    const long long i = strtoll(line, &end, 10);
    if (is_long && *end == 'L')
        end++;
    if (end == line || *end)
        return BAD(m, "not an integer", m->at);
    return errno ? push_text(m, BS__PICKLE_BIG_INT, line, strlen(line)) : push_int(m, i);
}

static bs_status op_float_line(struct machine *m)
{
    char line[MAX_LINE + 1], *end;
    CHECK(take_line(m, line));
    const double d = strtod_l(line, &end, m->plain);
    if (end == line || *end)
        return BAD(m, "not a number", m->at);
    return push_number(m, d);
}

/* Protocol 0 strings; escapes occur in no checkpoint and are not guessed at. */
static bs_status op_text_line(struct machine *m, bool quoted)
{
    char line[MAX_LINE + 1];
    CHECK(take_line(m, line));
    size_t from = 0, len = strlen(line);
    if (quoted) {
        if (len < 2 || (line[0] != '\'' && line[0] != '"') || line[len - 1] != line[0])
            return BAD(m, "a string without quotes", m->at);
        from = 1;
        len -= 2;
    }
    if (memchr(line, '\\', from + len))
        return BS_FAIL(m->err, BS_EUNSUPPORTED, "pickle: a protocol 0 string with escapes");
    return push_text(m, BS__PICKLE_STRING, line + from, len);
}

static bs_status op_long(struct machine *m, size_t size_bytes)
{
    const unsigned char *p = NULL;
    size_t len = 0;
    uint64_t bits = 0;
    CHECK(take_sized(m, size_bytes, &p, &len));
    if (len > 8)
        return push_text(m, BS__PICKLE_BIG_INT, p, len);
    for (size_t i = 0; i < len; i++)
        bits |= (uint64_t)p[i] << 8 * i;
    if (len && len < 8 && p[len - 1] & 0x80)
        bits |= UINT64_MAX << 8 * len;
    return push_int(m, (int64_t)bits);
}

static bs_status op_binfloat(struct machine *m)
{
    const unsigned char *p = NULL;
    uint64_t bits = 0;
    double d;
    CHECK(take(m, 8, &p));
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    memcpy(&d, &bits, sizeof d);
    return push_number(m, d);
}

static bs_status op_sized_text(struct machine *m, enum bs__pickle_type type, size_t size_bytes)
{
    const unsigned char *p = NULL;
    size_t len = 0;
    CHECK(take_sized(m, size_bytes, &p, &len));
    return push_text(m, type, p, len);
}

static bs_status push_persistent(struct machine *m, value *id)
{
    value *v = NULL;
    CHECK(push_new(m, BS__PICKLE_PERSISTENT, &v));
    v->u.id = id;
    return append(m, &m->pickle->persistent, &v, 1);
}

static bs_status op_persistent_line(struct machine *m)
{
    value *id = NULL;
    char line[MAX_LINE + 1];
    CHECK(take_line(m, line));
    CHECK(push_text(m, BS__PICKLE_STRING, line, strlen(line)));
    CHECK(pop(m, &id));
    return push_persistent(m, id);
}

static bs_status op_mark(struct machine *m)
{
    if (m->marks == m->mark_cap) {
        if (m->marks >= MAX_MARKS)
            return BS_FAIL(m->err, BS_ELIMIT, "pickle: nested deeper than %d", MAX_MARKS);
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

/* One opcode other than STOP. */
static bs_status step(struct machine *m, unsigned char op)
{
    value *v = NULL;
    uint64_t n = 0;
    switch (op) {
    case 0x80: /* PROTO */
        CHECK(take_uint(m, 1, &n));
        return n <= 5 ? BS_OK
                      : BS_FAIL(m->err, BS_EUNSUPPORTED, "pickle protocol %d, known are 0 to 5", (int)n);
    case 0x95: /* FRAME: a hint for buffering */
        return take_uint(m, 8, &n);
    case '(':
        return op_mark(m);
    case '0': /* POP; also takes away a mark */
        if (m->marks && m->depth == bottom(m)) {
            m->marks--;
            return BS_OK;
        }
        return pop(m, &v);
    case '1': { /* POP_MARK */
        size_t from = 0;
        CHECK(pop_mark(m, &from));
        m->depth = from;
        return BS_OK;
    }
    case '2': /* DUP */
        CHECK(top(m, &v));
        return push(m, v);
    case 'N':
        return push_new(m, BS__PICKLE_NONE, &v);
    case 0x88:
    case 0x89:
        return push_bool(m, op == 0x88);
    case 'I':
        return op_int_line(m, false);
    case 'L':
        return op_int_line(m, true);
    case 'J':
        CHECK(take_uint(m, 4, &n));
        return push_int(m, (int32_t)(uint32_t)n);
    case 'K':
        CHECK(take_uint(m, 1, &n));
        return push_int(m, (int64_t)n);
    case 'M':
        CHECK(take_uint(m, 2, &n));
        return push_int(m, (int64_t)n);
    case 0x8a:
        return op_long(m, 1);
    case 0x8b:
        return op_long(m, 4);
    case 'F':
        return op_float_line(m);
    case 'G':
        return op_binfloat(m);
    case 'S':
        return op_text_line(m, true);
    case 'V':
        return op_text_line(m, false);
    case 'T': /* BINSTRING: Python 2's str, read as text like torch does */
    case 'X':
        return op_sized_text(m, BS__PICKLE_STRING, 4);
    case 'U':
    case 0x8c:
        return op_sized_text(m, BS__PICKLE_STRING, 1);
    case 0x8d:
        return op_sized_text(m, BS__PICKLE_STRING, 8);
    case 'B':
        return op_sized_text(m, BS__PICKLE_BYTES, 4);
    case 'C':
        return op_sized_text(m, BS__PICKLE_BYTES, 1);
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        return op_sized_text(m, BS__PICKLE_BYTES, 8);
    case ')':
        return push_new(m, BS__PICKLE_TUPLE, &v);
    case ']':
        return push_new(m, BS__PICKLE_LIST, &v);
    case '}':
        return push_new(m, BS__PICKLE_DICT, &v);
    case 0x8f:
        return push_new(m, BS__PICKLE_SET, &v);
    case 't':
        return push_marked(m, BS__PICKLE_TUPLE);
    case 'l':
        return push_marked(m, BS__PICKLE_LIST);
    case 'd':
        return push_marked(m, BS__PICKLE_DICT);
    case 0x91: /* FROZENSET */
        return push_marked(m, BS__PICKLE_SET);
    case 0x85:
    case 0x86:
    case 0x87:
        return push_tuple(m, (size_t)op - 0x84);
    case 'a':
        return add_top(m, 1, BS__PICKLE_LIST);
    case 'e':
        return add_marked(m, BS__PICKLE_LIST);
    case 's':
        return add_top(m, 2, BS__PICKLE_DICT);
    case 'u':
        return add_marked(m, BS__PICKLE_DICT);
    case 0x90: /* ADDITEMS */
        return add_marked(m, BS__PICKLE_SET);
    case 'p':
        CHECK(take_memo_line(m, &n));
        return memo_put(m, n);
    case 'q':
        CHECK(take_uint(m, 1, &n));
        return memo_put(m, n);
    case 'r':
        CHECK(take_uint(m, 4, &n));
        return memo_put(m, n);
    case 0x94: /* MEMOIZE */
        return memo_put(m, m->memo_next);
    case 'g':
        CHECK(take_memo_line(m, &n));
        return memo_get(m, n);
    case 'h':
        CHECK(take_uint(m, 1, &n));
        return memo_get(m, n);
    case 'j':
        CHECK(take_uint(m, 4, &n));
        return memo_get(m, n);
    case 'c':
        return op_global(m);
    case 0x93:
        return op_stack_global(m);
    case 'i':
        return op_inst(m);
    case 'o':
        return op_obj(m);
    case 'R':
    case 0x81: /* NEWOBJ */
        return op_reduce(m);
    case 0x92:
        return op_newobj_ex(m);
    case 'b':
        return op_build(m);
    case 'P':
        return op_persistent_line(m);
    case 'Q':
        CHECK(pop(m, &v));
        return push_persistent(m, v);
    case 0x82: /* EXT1, EXT2, EXT4: classes by number, from a registry that only a program has */
    case 0x83:
    case 0x84:
        return BS_FAIL(m->err, BS_EUNSUPPORTED, "pickle: it uses the extension registry");
    case 0x97: /* NEXT_BUFFER, READONLY_BUFFER */
    case 0x98:
        return BS_FAIL(m->err, BS_EUNSUPPORTED, "pickle: it uses buffers outside of the stream");
    default:
        return BAD(m, "0x%02x is not an opcode", m->at - 1, op);
    }
}

static bs_status run(struct machine *m)
{
    for (;;) {
        const unsigned char *op = NULL;
        CHECK(take(m, 1, &op));
        if (*op == '.')
            break;
        CHECK(step(m, *op));
    }
    if (m->marks || m->depth != 1)
        return BAD(m, "%zu values are left at its end, one is expected", m->at, m->depth);
    m->pickle->root = m->stack[0];
    return BS_OK;
}

bs_status bs__pickle_parse(const unsigned char *data, size_t len, struct bs__pickle **out, size_t *consumed,
                           struct bs_err *err)
{
    bs_status rc;
    struct machine m = {.data = data, .len = len, .err = err};
    *out = NULL;
    m.pickle = calloc(1, sizeof *m.pickle);
    m.mark = calloc(FIRST_STACK, sizeof *m.mark);
    m.mark_cap = FIRST_STACK;
    m.stack = calloc(FIRST_STACK, sizeof *m.stack);
    m.stack_cap = FIRST_STACK;
    m.plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!m.pickle || !m.mark || !m.stack || !m.plain ||
        !(m.pickle->arena = bs_arena_create(BS__PICKLE_MAX_MEMORY)) ||
        !(m.pickle->global = calloc(BS__PICKLE_MAX_GLOBALS, sizeof *m.pickle->global))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a pickle");
        goto cleanup;
    }
    if (len > BS__PICKLE_MAX_BYTES)
        m.len = BS__PICKLE_MAX_BYTES;
    if ((rc = run(&m)) != BS_OK)
        goto cleanup;
    *consumed = m.at;
    *out = m.pickle;
    m.pickle = NULL;
cleanup:
    bs__pickle_free(m.pickle);
    if (m.plain)
        freelocale(m.plain);
    free(m.stack);
    free(m.mark);
    free(m.memo);
    return rc;
}

void bs__pickle_free(struct bs__pickle *p)
{
    if (!p)
        return;
    if (p->arena)
        bs_arena_destroy(p->arena);
    free(p->global);
    free(p);
}

value *bs__pickle_root(const struct bs__pickle *p)
{
    return p->root;
}

size_t bs__pickle_global_count(const struct bs__pickle *p)
{
    return p->nglobal;
}

const char *bs__pickle_global(const struct bs__pickle *p, size_t i)
{
    BS_ASSERT(i < p->nglobal);
    return p->global[i];
}

const list *bs__pickle_persistent(const struct bs__pickle *p)
{
    return &p->persistent;
}
