/* The pickle machine, protocols 0 to 5: one handler per opcode; see pickle.h. Opcodes that only make sense with code at
   hand (extension registry, out-of-band buffers) are refused. */
#include "model/weights/pickle_machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GLOBAL_OPS 65536 /* occurrences */

typedef struct bs__pickle_value value;
typedef struct bs__pickle_list list;

static bs_status push_int(struct bs__pm *m, int64_t i)
{
    value *v = NULL;
    BS__PM_CHECK(bs__pm_push_new(m, BS__PICKLE_INT, &v));
    v->u.integer = i;
    return BS_OK;
}

static bs_status push_bool(struct bs__pm *m, bool b)
{
    value *v = NULL;
    BS__PM_CHECK(bs__pm_push_new(m, BS__PICKLE_BOOL, &v));
    v->u.boolean = b;
    return BS_OK;
}

static bs_status push_number(struct bs__pm *m, double d)
{
    value *v = NULL;
    BS__PM_CHECK(bs__pm_push_new(m, BS__PICKLE_FLOAT, &v));
    v->u.number = d;
    return BS_OK;
}

/* Names go into messages, so only what a Python name has may pass. */
static bool is_name(const char *s, size_t len)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.<>";
    return len && len <= BS__PM_MAX_LINE && strspn(s, allowed) == len;
}

static bs_status push_global(struct bs__pm *m, const char *module, const char *name)
{
    struct bs__pickle *p = m->pickle;
    char both[2 * BS__PM_MAX_LINE + 2];
    if (!is_name(module, strlen(module)) || !is_name(name, strlen(name)))
        return BS__PM_BAD(m, "not the name of a class or function", m->at);
    if (++m->global_ops > MAX_GLOBAL_OPS)
        return BS_FAIL(m->err, BS_ELIMIT, "pickle: classes and functions are named more than %d times",
                       MAX_GLOBAL_OPS);
    const int n = snprintf(both, sizeof both, "%s %s", module, name);
    BS__PM_CHECK(bs__pm_push_text(m, BS__PICKLE_GLOBAL, both, (size_t)n));
    for (size_t i = 0; i < p->nglobal; i++)
        if (!strcmp(p->global[i], both))
            return BS_OK;
    if (p->nglobal == BS__PICKLE_MAX_GLOBALS)
        return BS_FAIL(m->err, BS_ELIMIT, "pickle: it names more than %zu different classes and functions",
                       BS__PICKLE_MAX_GLOBALS);
    p->global[p->nglobal++] = m->stack[m->depth - 1]->u.text.data;
    return BS_OK;
}

static bs_status op_global(struct bs__pm *m)
{
    char module[BS__PM_MAX_LINE + 1], name[BS__PM_MAX_LINE + 1];
    BS__PM_CHECK(bs__pm_take_line(m, module));
    BS__PM_CHECK(bs__pm_take_line(m, name));
    return push_global(m, module, name);
}

static bs_status op_stack_global(struct bs__pm *m)
{
    value *module = NULL, *name = NULL;
    BS__PM_CHECK(bs__pm_pop(m, &name));
    BS__PM_CHECK(bs__pm_pop(m, &module));
    if (name->type != BS__PICKLE_STRING || module->type != BS__PICKLE_STRING ||
        name->u.text.len > BS__PM_MAX_LINE || module->u.text.len > BS__PM_MAX_LINE ||
        strlen(name->u.text.data) != name->u.text.len || strlen(module->u.text.data) != module->u.text.len)
        return BS__PM_BAD(m, "not the name of a class or function", m->at);
    return push_global(m, module->u.text.data, name->u.text.data);
}

/* Objects: the record of a call that nobody makes. */

static bs_status push_object(struct bs__pm *m, value *callable, value *args)
{
    value *v = NULL;
    if (callable->type != BS__PICKLE_GLOBAL && callable->type != BS__PICKLE_OBJECT)
        return BS__PM_BAD(m, "%s cannot be called", m->at, bs__pickle_type_name(callable));
    if (args->type != BS__PICKLE_TUPLE)
        return BS__PM_BAD(m, "arguments are %s, not a tuple", m->at, bs__pickle_type_name(args));
    BS__PM_CHECK(bs__pm_make(m, BS__PICKLE_OBJECT, &v));
    if (!(v->u.object = bs_arena_alloc(m->pickle->arena, sizeof *v->u.object)))
        return bs__pm_too_large(m);
    v->u.object->callable = callable;
    v->u.object->args = args;
    return bs__pm_push(m, v);
}

static bs_status op_reduce(struct bs__pm *m)
{
    value *callable = NULL, *args = NULL;
    BS__PM_CHECK(bs__pm_pop(m, &args));
    BS__PM_CHECK(bs__pm_pop(m, &callable));
    return push_object(m, callable, args);
}

static bs_status op_newobj_ex(struct bs__pm *m)
{
    value *callable = NULL, *args = NULL, *named = NULL;
    BS__PM_CHECK(bs__pm_pop(m, &named));
    BS__PM_CHECK(bs__pm_pop(m, &args));
    BS__PM_CHECK(bs__pm_pop(m, &callable));
    if (named->type != BS__PICKLE_DICT)
        return BS__PM_BAD(m, "named arguments are %s, not a dict", m->at, bs__pickle_type_name(named));
    return push_object(m, callable, args);
}

/* INST: class in the text, arguments above the mark. OBJ: class is the first of them. */
static bs_status op_inst(struct bs__pm *m)
{
    value *callable = NULL, *args = NULL;
    size_t from = 0;
    BS__PM_CHECK(bs__pm_pop_mark(m, &from));
    BS__PM_CHECK(bs__pm_push_list(m, BS__PICKLE_TUPLE, from));
    BS__PM_CHECK(bs__pm_pop(m, &args));
    BS__PM_CHECK(op_global(m));
    BS__PM_CHECK(bs__pm_pop(m, &callable));
    return push_object(m, callable, args);
}

static bs_status op_obj(struct bs__pm *m)
{
    value *callable = NULL, *args = NULL;
    size_t from = 0;
    BS__PM_CHECK(bs__pm_pop_mark(m, &from));
    if (m->depth == from)
        return BS__PM_BAD(m, "a class is missing", m->at);
    callable = m->stack[from];
    BS__PM_CHECK(bs__pm_push_list(m, BS__PICKLE_TUPLE, from + 1));
    BS__PM_CHECK(bs__pm_pop(m, &args));
    m->depth = from;
    return push_object(m, callable, args);
}

static bs_status op_build(struct bs__pm *m)
{
    value *state = NULL, *object = NULL;
    BS__PM_CHECK(bs__pm_pop(m, &state));
    BS__PM_CHECK(bs__pm_top(m, &object));
    if (object->type != BS__PICKLE_OBJECT)
        return BS__PM_BAD(m, "%s cannot be given a state", m->at, bs__pickle_type_name(object));
    object->u.object->state = state;
    return BS_OK;
}

/* Adds stack[from .. depth) to the container below. */
static bs_status add_items(struct bs__pm *m, size_t from, enum bs__pickle_type type)
{
    const size_t n = m->depth - from;
    value *to = NULL;
    list *into;
    m->depth = from;
    BS__PM_CHECK(bs__pm_top(m, &to));
    if (to->type == type)
        into = &to->u.list;
    else if (to->type == BS__PICKLE_OBJECT)
        into = type == BS__PICKLE_DICT ? &to->u.object->pairs : &to->u.object->elements;
    else
        return BS__PM_BAD(m, "items are added to %s", m->at, bs__pickle_type_name(to));
    if (type == BS__PICKLE_DICT && n % 2)
        return BS__PM_BAD(m, "a dict's key has no value", m->at);
    return bs__pm_append(m, into, m->stack + from, n);
}

static bs_status add_top(struct bs__pm *m, size_t n, enum bs__pickle_type type)
{
    if (m->depth - bs__pm_bottom(m) < n + 1)
        return BS__PM_BAD(m, "its stack is empty", m->at);
    return add_items(m, m->depth - n, type);
}

static bs_status add_marked(struct bs__pm *m, enum bs__pickle_type type)
{
    size_t from = 0;
    BS__PM_CHECK(bs__pm_pop_mark(m, &from));
    return add_items(m, from, type);
}

static bs_status take_memo_line(struct bs__pm *m, uint64_t *i)
{
    char line[BS__PM_MAX_LINE + 1], *end;
    BS__PM_CHECK(bs__pm_take_line(m, line));
    errno = 0;
    *i = strtoull(line, &end, 10);
    if (errno || end == line || *end || line[0] == '-')
        return BS__PM_BAD(m, "not a memo entry", m->at);
    return BS_OK;
}

/* Scalars. */

static bs_status op_int_line(struct bs__pm *m, bool is_long)
{
    char line[BS__PM_MAX_LINE + 1], *end;
    BS__PM_CHECK(bs__pm_take_line(m, line));
    if (!is_long && (!strcmp(line, "00") || !strcmp(line, "01")))
        return push_bool(m, line[1] == '1');
    errno = 0;
    const long long i = strtoll(line, &end, 10);
    if (is_long && *end == 'L')
        end++;
    if (end == line || *end)
        return BS__PM_BAD(m, "not an integer", m->at);
    return errno ? bs__pm_push_text(m, BS__PICKLE_BIG_INT, line, strlen(line)) : push_int(m, i);
}

static bs_status op_float_line(struct bs__pm *m)
{
    char line[BS__PM_MAX_LINE + 1], *end;
    BS__PM_CHECK(bs__pm_take_line(m, line));
    const double d = strtod_l(line, &end, m->plain);
    if (end == line || *end)
        return BS__PM_BAD(m, "not a number", m->at);
    return push_number(m, d);
}

/* Protocol 0 strings; escapes occur in no checkpoint and are not guessed at. */
static bs_status op_text_line(struct bs__pm *m, bool quoted)
{
    char line[BS__PM_MAX_LINE + 1];
    BS__PM_CHECK(bs__pm_take_line(m, line));
    size_t from = 0, len = strlen(line);
    if (quoted) {
        if (len < 2 || (line[0] != '\'' && line[0] != '"') || line[len - 1] != line[0])
            return BS__PM_BAD(m, "a string without quotes", m->at);
        from = 1;
        len -= 2;
    }
    if (memchr(line, '\\', from + len))
        return BS_FAIL(m->err, BS_EUNSUPPORTED, "pickle: a protocol 0 string with escapes");
    return bs__pm_push_text(m, BS__PICKLE_STRING, line + from, len);
}

static bs_status op_long(struct bs__pm *m, size_t size_bytes)
{
    const unsigned char *p = NULL;
    size_t len = 0;
    uint64_t bits = 0;
    BS__PM_CHECK(bs__pm_take_sized(m, size_bytes, &p, &len));
    if (len > 8)
        return bs__pm_push_text(m, BS__PICKLE_BIG_INT, p, len);
    for (size_t i = 0; i < len; i++)
        bits |= (uint64_t)p[i] << 8 * i;
    if (len && len < 8 && p[len - 1] & 0x80)
        bits |= UINT64_MAX << 8 * len;
    return push_int(m, (int64_t)bits);
}

static bs_status op_binfloat(struct bs__pm *m)
{
    const unsigned char *p = NULL;
    uint64_t bits = 0;
    double d;
    BS__PM_CHECK(bs__pm_take(m, 8, &p));
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    memcpy(&d, &bits, sizeof d);
    return push_number(m, d);
}

static bs_status op_sized_text(struct bs__pm *m, enum bs__pickle_type type, size_t size_bytes)
{
    const unsigned char *p = NULL;
    size_t len = 0;
    BS__PM_CHECK(bs__pm_take_sized(m, size_bytes, &p, &len));
    return bs__pm_push_text(m, type, p, len);
}

static bs_status push_persistent(struct bs__pm *m, value *id)
{
    value *v = NULL;
    BS__PM_CHECK(bs__pm_push_new(m, BS__PICKLE_PERSISTENT, &v));
    v->u.id = id;
    return bs__pm_append(m, &m->pickle->persistent, &v, 1);
}

static bs_status op_persistent_line(struct bs__pm *m)
{
    value *id = NULL;
    char line[BS__PM_MAX_LINE + 1];
    BS__PM_CHECK(bs__pm_take_line(m, line));
    BS__PM_CHECK(bs__pm_push_text(m, BS__PICKLE_STRING, line, strlen(line)));
    BS__PM_CHECK(bs__pm_pop(m, &id));
    return push_persistent(m, id);
}

/* One opcode other than STOP. */
static bs_status step(struct bs__pm *m, unsigned char op)
{
    value *v = NULL;
    uint64_t n = 0;
    switch (op) {
    case 0x80: /* PROTO */
        BS__PM_CHECK(bs__pm_take_uint(m, 1, &n));
        return n <= 5 ? BS_OK
                      : BS_FAIL(m->err, BS_EUNSUPPORTED, "pickle protocol %d, known are 0 to 5", (int)n);
    case 0x95: /* FRAME: a hint for buffering */
        return bs__pm_take_uint(m, 8, &n);
    case '(':
        return bs__pm_mark(m);
    case '0': /* POP; also takes away a mark */
        if (m->marks && m->depth == bs__pm_bottom(m)) {
            m->marks--;
            return BS_OK;
        }
        return bs__pm_pop(m, &v);
    case '1': { /* POP_MARK */
        size_t from = 0;
        BS__PM_CHECK(bs__pm_pop_mark(m, &from));
        m->depth = from;
        return BS_OK;
    }
    case '2': /* DUP */
        BS__PM_CHECK(bs__pm_top(m, &v));
        return bs__pm_push(m, v);
    case 'N':
        return bs__pm_push_new(m, BS__PICKLE_NONE, &v);
    case 0x88:
    case 0x89:
        return push_bool(m, op == 0x88);
    case 'I':
        return op_int_line(m, false);
    case 'L':
        return op_int_line(m, true);
    case 'J':
        BS__PM_CHECK(bs__pm_take_uint(m, 4, &n));
        return push_int(m, (int32_t)(uint32_t)n);
    case 'K':
        BS__PM_CHECK(bs__pm_take_uint(m, 1, &n));
        return push_int(m, (int64_t)n);
    case 'M':
        BS__PM_CHECK(bs__pm_take_uint(m, 2, &n));
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
        return bs__pm_push_new(m, BS__PICKLE_TUPLE, &v);
    case ']':
        return bs__pm_push_new(m, BS__PICKLE_LIST, &v);
    case '}':
        return bs__pm_push_new(m, BS__PICKLE_DICT, &v);
    case 0x8f:
        return bs__pm_push_new(m, BS__PICKLE_SET, &v);
    case 't':
        return bs__pm_push_marked(m, BS__PICKLE_TUPLE);
    case 'l':
        return bs__pm_push_marked(m, BS__PICKLE_LIST);
    case 'd':
        return bs__pm_push_marked(m, BS__PICKLE_DICT);
    case 0x91: /* FROZENSET */
        return bs__pm_push_marked(m, BS__PICKLE_SET);
    case 0x85:
    case 0x86:
    case 0x87:
        return bs__pm_push_tuple(m, (size_t)op - 0x84);
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
        BS__PM_CHECK(take_memo_line(m, &n));
        return bs__pm_memo_put(m, n);
    case 'q':
        BS__PM_CHECK(bs__pm_take_uint(m, 1, &n));
        return bs__pm_memo_put(m, n);
    case 'r':
        BS__PM_CHECK(bs__pm_take_uint(m, 4, &n));
        return bs__pm_memo_put(m, n);
    case 0x94: /* MEMOIZE */
        return bs__pm_memo_put(m, m->memo_next);
    case 'g':
        BS__PM_CHECK(take_memo_line(m, &n));
        return bs__pm_memo_get(m, n);
    case 'h':
        BS__PM_CHECK(bs__pm_take_uint(m, 1, &n));
        return bs__pm_memo_get(m, n);
    case 'j':
        BS__PM_CHECK(bs__pm_take_uint(m, 4, &n));
        return bs__pm_memo_get(m, n);
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
        BS__PM_CHECK(bs__pm_pop(m, &v));
        return push_persistent(m, v);
    case 0x82: /* EXT1, EXT2, EXT4: classes by number, from a registry that only a program has */
    case 0x83:
    case 0x84:
        return BS_FAIL(m->err, BS_EUNSUPPORTED, "pickle: it uses the extension registry");
    case 0x97: /* NEXT_BUFFER, READONLY_BUFFER */
    case 0x98:
        return BS_FAIL(m->err, BS_EUNSUPPORTED, "pickle: it uses buffers outside of the stream");
    default:
        return BS__PM_BAD(m, "0x%02x is not an opcode", m->at - 1, op);
    }
}

static bs_status run(struct bs__pm *m)
{
    for (;;) {
        const unsigned char *op = NULL;
        BS__PM_CHECK(bs__pm_take(m, 1, &op));
        if (*op == '.')
            break;
        BS__PM_CHECK(step(m, *op));
    }
    if (m->marks || m->depth != 1)
        return BS__PM_BAD(m, "%zu values are left at its end, one is expected", m->at, m->depth);
    m->pickle->root = m->stack[0];
    return BS_OK;
}

bs_status bs__pickle_parse(const unsigned char *data, size_t len, struct bs__pickle **out, size_t *consumed,
                           struct bs_err *err)
{
    bs_status rc;
    struct bs__pm m = {.data = data, .len = len, .err = err};
    *out = NULL;
    m.pickle = calloc(1, sizeof *m.pickle);
    m.mark = calloc(BS__PM_FIRST, sizeof *m.mark);
    m.mark_cap = BS__PM_FIRST;
    m.stack = calloc(BS__PM_FIRST, sizeof(value *));
    m.stack_cap = BS__PM_FIRST;
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
