/* The state of the pickle machine and the moves that its opcodes are made of: values, stack, marks, memo, arguments.
   Internal to pickle.c and pickle_machine.c. One thread. */
#ifndef BS_MODEL_WEIGHTS_PICKLE_MACHINE_H
#define BS_MODEL_WEIGHTS_PICKLE_MACHINE_H

#include "model/weights/pickle.h"

#include "kernels/base/arena.h"

#include <locale.h>

#define BS__PM_FIRST     256 /* first size of the stack and of the marks, which exist from the start */
#define BS__PM_MAX_LINE  256 /* characters of a text argument (protocol 0, names of globals) */
#define BS__PM_MAX_MARKS 65536

struct bs__pickle {
    struct bs_arena *arena;
    struct bs__pickle_value *root;
    const char **global;
    size_t nglobal;
    struct bs__pickle_list persistent;
};

struct bs__pm {
    const unsigned char *data;
    size_t len, at;
    struct bs__pickle *pickle;
    struct bs__pickle_value **stack;
    size_t depth, stack_cap;
    size_t *mark; /* stack depths */
    size_t marks, mark_cap;
    struct bs__pickle_value **memo; /* NULL: nothing there */
    size_t memo_cap, memo_next;     /* memo_next: what MEMOIZE uses */
    size_t global_ops;
    locale_t plain;
    struct bs_err *err;
};

#define BS__PM_BAD(m, ...) BS_FAIL((m)->err, BS_ECORRUPT, "pickle, byte %zu: " __VA_ARGS__)
/* Leaves the calling function when the call failed. */
#define BS__PM_CHECK(call)                                                                                   \
    do {                                                                                                     \
        bs_status check_rc = (call);                                                                         \
        if (check_rc != BS_OK)                                                                               \
            return check_rc;                                                                                 \
    } while (0)

bs_status bs__pm_too_large(struct bs__pm *m);
bs_status bs__pm_make(struct bs__pm *m, enum bs__pickle_type type, struct bs__pickle_value **out);
bs_status bs__pm_push(struct bs__pm *m, struct bs__pickle_value *v);
bs_status bs__pm_push_new(struct bs__pm *m, enum bs__pickle_type type, struct bs__pickle_value **out);
/* Values above the innermost mark are all that an opcode may take. */
size_t bs__pm_bottom(const struct bs__pm *m);
bs_status bs__pm_pop(struct bs__pm *m, struct bs__pickle_value **out);
bs_status bs__pm_top(struct bs__pm *m, struct bs__pickle_value **out);
/* Removes the innermost mark; the values above it are stack[*from .. depth). */
bs_status bs__pm_pop_mark(struct bs__pm *m, size_t *from);
bs_status bs__pm_append(struct bs__pm *m, struct bs__pickle_list *to, struct bs__pickle_value *const *from,
                        size_t n);
/* Takes the values from `from` up into a new list of that type. */
bs_status bs__pm_push_list(struct bs__pm *m, enum bs__pickle_type type, size_t from);
bs_status bs__pm_push_marked(struct bs__pm *m, enum bs__pickle_type type);
bs_status bs__pm_push_tuple(struct bs__pm *m, size_t n);
bs_status bs__pm_push_text(struct bs__pm *m, enum bs__pickle_type type, const void *text, size_t len);
bs_status bs__pm_take(struct bs__pm *m, size_t n, const unsigned char **out);
bs_status bs__pm_take_uint(struct bs__pm *m, size_t n, uint64_t *out);
/* A length of n bytes and that many bytes. */
bs_status bs__pm_take_sized(struct bs__pm *m, size_t n, const unsigned char **out, size_t *len);
bs_status bs__pm_take_line(struct bs__pm *m, char line[BS__PM_MAX_LINE + 1]);
bs_status bs__pm_memo_put(struct bs__pm *m, uint64_t i);
bs_status bs__pm_memo_get(struct bs__pm *m, uint64_t i);
bs_status bs__pm_mark(struct bs__pm *m);

#endif
