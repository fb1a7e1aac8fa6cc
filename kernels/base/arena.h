/* A byte-capped arena: everything that belongs to one request or one graph is taken from it and dies with it.
   An arena belongs to one thread at a time. */
#ifndef BS_KERNELS_BASE_ARENA_H
#define BS_KERNELS_BASE_ARENA_H

#include <stddef.h>

struct bs_arena;

/* Creates an arena that will hand out at most cap bytes in all. NULL when memory ran out. */
struct bs_arena *bs_arena_create(size_t cap);
/* Frees everything taken from it. Accepts NULL. */
void bs_arena_destroy(struct bs_arena *arena);
/* 16-byte aligned, zeroed memory; NULL when the cap or the machine's memory is exhausted. */
void *bs_arena_alloc(struct bs_arena *arena, size_t bytes);
/* count * size with overflow check. */
void *bs_arena_array(struct bs_arena *arena, size_t count, size_t size);
/* A copy of a string; NULL as above (also for NULL). */
char *bs_arena_strdup(struct bs_arena *arena, const char *text);
/* Bytes handed out so far. */
size_t bs_arena_used(const struct bs_arena *arena);

#endif
