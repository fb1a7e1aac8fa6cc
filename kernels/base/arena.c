/* A byte-capped arena of chained blocks; see arena.h. */
#include "kernels/base/arena.h"

#include "kernels/base/checked.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)64 << 10)
#define ALIGN       16u

struct block {
    struct block *next;
    size_t used, size; /* bytes of data behind this header */
};

struct bs_arena {
    struct block *blocks; /* newest first */
    size_t cap, used;
};

struct bs_arena *bs_arena_create(size_t cap)
{
    struct bs_arena *a = calloc(1, sizeof *a);
    if (a)
        a->cap = cap;
    return a;
}

void bs_arena_destroy(struct bs_arena *arena)
{
    if (!arena)
        return;
    for (struct block *b = arena->blocks; b;) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
    free(arena);
}

static unsigned char *block_data(struct block *b)
{
    size_t header = (sizeof *b + ALIGN - 1) / ALIGN * ALIGN;
    return (unsigned char *)b + header;
}

void *bs_arena_alloc(struct bs_arena *arena, size_t bytes)
{
    size_t need, total;
    if (!bs_round_up(bytes ? bytes : 1, ALIGN, &need) || !bs_add(arena->used, need, &total) ||
        total > arena->cap)
        return NULL;
    struct block *b = arena->blocks;
    if (!b || b->size - b->used < need) {
        size_t size = need > BLOCK_BYTES ? need : BLOCK_BYTES, whole;
        if (!bs_add(size, sizeof *b + ALIGN, &whole))
            return NULL;
        struct block *fresh = calloc(1, whole);
        if (!fresh)
            return NULL;
        fresh->size = size;
        fresh->next = b;
        arena->blocks = b = fresh;
    }
    void *p = block_data(b) + b->used;
    b->used += need;
    arena->used = total;
    return p;
}

void *bs_arena_array(struct bs_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    return bs_mul(count, size, &bytes) ? bs_arena_alloc(arena, bytes) : NULL;
}

char *bs_arena_strdup(struct bs_arena *arena, const char *text)
{
    if (!text)
        return NULL;
    size_t n = strlen(text) + 1;
    char *copy = bs_arena_alloc(arena, n);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

size_t bs_arena_used(const struct bs_arena *arena)
{
    return arena->used;
}
