/* Chooses, plans and packs for the token linear; see linear.h. */
#include "kernels/cpu/linear.h"

#include "kernels/base/checked.h"
#include "kernels/cpu/products.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct bs__products *bs__products_of(const struct bs__simd *simd, bool pairs)
{
#if defined(__x86_64__) || defined(__i386__)
    if (simd == bs__simd_avx512())
        return pairs ? bs__products_avx512_bf16() : bs__products_avx512();
    if (simd == bs__simd_avx2())
        return bs__products_avx2();
#endif
    (void)simd;
    (void)pairs;
    return bs__products_base();
}

const struct bs__linear_kernel *bs__linear_select(const struct bs__simd *simd, bool bf16, bool fast_bf16)
{
    const struct bs__products *p = bs__products_of(simd, bf16 && fast_bf16);
    return bf16 ? &p->linear_bf16 : &p->linear;
}

static int64_t words_of(const struct bs__linear_kernel *kernel, int in)
{
    return kernel->pairs ? ((int64_t)in + 1) / 2 : in;
}

static int64_t panels_of(const struct bs__linear_kernel *kernel, int out)
{
    return ((int64_t)out + kernel->panel - 1) / kernel->panel;
}

/* Rows may be read where they lie when their elements are words: no norm, no other type, no half pair. */
static bool reads_in_place(const struct bs__linear_kernel *kernel, const struct bs__linear *c)
{
    if (c->norm != BS__ROW_PLAIN || (kernel->bf16 && !kernel->pairs) || c->x.bf16 != kernel->bf16)
        return false;
    return !kernel->pairs || (c->in % 2 == 0 && c->x.row % 2 == 0);
}

/* Tasks of up to `most_rows` rows times `most_columns` output features. */
static void plan(const struct bs__linear_kernel *kernel, int64_t most_rows, int64_t most_columns,
                 struct bs__linear *c)
{
    const int64_t words = words_of(kernel, c->in), block = bs__linear_block(words, kernel->lanes);
    const int64_t panels = panels_of(kernel, c->out),
                  wanted = most_columns > kernel->panel ? most_columns / kernel->panel : 1;
    c->column_tasks = (int)((panels + wanted - 1) / wanted);
    c->panels_per_task = (int)((panels + c->column_tasks - 1) / c->column_tasks);
    c->column_tasks = (int)((panels + c->panels_per_task - 1) / c->panels_per_task);
    c->row_tasks = (c->rows + most_rows - 1) / most_rows;
    const int64_t rows = (c->rows + c->row_tasks - 1) / c->row_tasks;
    c->rows_per_task = (rows + 11) / 12 * 12; /* a multiple of the rows of all kernels */
    c->row_tasks = (c->rows + c->rows_per_task - 1) / c->rows_per_task;
    c->direct = reads_in_place(kernel, c);
    c->tasks = c->n * c->row_tasks * c->column_tasks;
    size_t floats = (size_t)kernel->panel + (size_t)(2 * c->rows_per_task + 15) / 16 * 16;
    if (!c->direct)
        floats += (size_t)(c->rows_per_task * (block + kernel->lanes));
    if (words > block)
        floats += (size_t)(c->rows_per_task * c->panels_per_task * kernel->panel);
    if (kernel->bf16 && !kernel->pairs)
        floats += (size_t)(block * kernel->panel);
    c->scratch_floats = (floats + 15) / 16 * 16;
}

/* 192 rows of 768 float32 take 576 KiB and a panel of weights 192 KiB of a second cache of 1 MiB; fewer rows bring the
   weights through the third cache more often. */
enum { ROWS = 192, COLUMNS = 768 };

void bs__linear_plan(const struct bs__linear_kernel *kernel, struct bs__linear *c)
{
    plan(kernel, ROWS, COLUMNS, c);
    /* Narrow products take more rows, so that handing out a task costs nothing beside it. */
    const int64_t block = bs__linear_block(words_of(kernel, c->in), kernel->lanes);
    int64_t rows = ROWS;
    while (rows < 768 && rows * block * c->panels_per_task * kernel->panel < 1 << 23)
        rows += ROWS;
    if (rows > ROWS)
        plan(kernel, rows, COLUMNS, c);
}

void bs__linear_plan_tasks(const struct bs__linear_kernel *kernel, int64_t tasks, struct bs__linear *c)
{
    int64_t rows = ROWS, columns = COLUMNS;
    bs__linear_plan(kernel, c);
    while (c->tasks < tasks && rows > 24) {
        plan(kernel, rows, columns, c);
        rows /= 2;
        columns /= 2;
    }
}

size_t bs__linear_weight_bytes(const struct bs__linear_kernel *kernel, int in, int out)
{
    const size_t size = kernel->bf16 && !kernel->pairs ? sizeof(uint16_t) : sizeof(float);
    return (size_t)(words_of(kernel, in) * panels_of(kernel, out)) * (size_t)kernel->panel * size;
}

void bs__linear_pack(const struct bs__linear_kernel *kernel, const float *weights, int in, int out, void *dst)
{
    const int64_t per_word = kernel->pairs ? 2 : 1, words = words_of(kernel, in), width = kernel->panel;
    for (int64_t p = 0; p < panels_of(kernel, out); p++)
        for (int64_t k = 0; k < words; k++)
            for (int64_t o = 0; o < width; o++)
                for (int64_t i = 0; i < per_word; i++) {
                    const int64_t row = p * width + o, column = k * per_word + i;
                    const float v = row < out && column < in ? weights[row * in + column] : 0;
                    const int64_t at = ((p * words + k) * width + o) * per_word + i;
                    if (kernel->bf16)
                        ((uint16_t *)dst)[at] = bs_f32_to_bf16(v);
                    else
                        ((float *)dst)[at] = v;
                }
}

struct job {
    const struct bs__linear_kernel *kernel;
    const char *name;
    int in, out;
};

static bs_status pack(struct bs_params *params, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    (void)bytes;
    const struct job *j = ctx;
    const size_t count = (size_t)j->in * (size_t)j->out;
    float *plain = malloc(count * sizeof *plain);
    if (!plain)
        return BS_FAIL(err, BS_ENOMEM, "no memory to read parameter \"%s\"", j->name);
    bs_status rc = bs_params_read(params, j->name, plain, count, err);
    if (rc == BS_OK)
        bs__linear_pack(j->kernel, plain, j->in, j->out, dst);
    free(plain);
    return rc;
}

bs_status bs__pack_linear(const struct bs__linear_kernel *kernel, struct bs_params *params, const char *name,
                          int in, int out, const void **packed, struct bs_err *err)
{
    char key[512];
    struct job j = {.kernel = kernel, .name = name, .in = in, .out = out};
    int len =
        snprintf(key, sizeof key, "cpu/linear/%s/%s/%s", kernel->name, kernel->bf16 ? "bf16" : "f32", name);
    if (len < 0 || (size_t)len >= sizeof key)
        return BS_FAIL(err, BS_ELIMIT, "parameter name of %zu bytes; up to 400 are accepted", strlen(name));
    return bs_params_packed(params, key, bs__linear_weight_bytes(kernel, in, out), pack, &j, packed, err);
}
