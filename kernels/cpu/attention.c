/* Chooses and plans attention, and resamples its tables of relative positions; see attention.h. */
#include "kernels/cpu/attention.h"

#include "kernels/cpu/products.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct bs__attention_kernel *bs__attention_select(const struct bs__simd *simd, bool bf16,
                                                        bool fast_bf16)
{
    const struct bs__products *p = bs__products_of(simd, bf16 && fast_bf16);
    return bf16 ? &p->attention_bf16 : &p->attention;
}

void bs__attention_plan(const struct bs__attention_kernel *kernel, struct bs__attention *c)
{
    /* The scores of one chunk with a block of keys take 24 of the 32 KiB of a first cache (64 keys and 128 are slower); the
       chunks of a task with what is known about them stay in the second one. */
    const int64_t most_keys = 96, most_queries = 256, width = (int64_t)kernel->lanes * kernel->vectors;
    c->h = c->window ? c->window : c->grid_h;
    c->w = c->window ? c->window : c->grid_w;
    c->windows_y = (c->grid_h + c->h - 1) / c->h;
    c->windows_x = (c->grid_w + c->w - 1) / c->w;
    const int64_t tokens = c->h * c->w, blocks = (tokens + most_queries - 1) / most_queries;
    const int64_t queries = (tokens + blocks - 1) / blocks, key_blocks = (tokens + most_keys - 1) / most_keys;
    c->queries_per_task = (queries + kernel->lanes - 1) / kernel->lanes * kernel->lanes;
    if (c->queries_per_task > width * BS__ATTENTION_CHUNKS)
        c->queries_per_task = width * BS__ATTENTION_CHUNKS;
    c->blocks = (tokens + c->queries_per_task - 1) / c->queries_per_task;
    const int64_t keys = (tokens + key_blocks - 1) / key_blocks;
    c->keys = (int)((keys + 1) / 2 * 2);
    c->tasks = c->n * c->heads * c->windows_y * c->windows_x * c->blocks;
    c->scratch_floats =
        (size_t)bs__attention_layout(c, kernel->lanes, kernel->vectors, kernel->pairs ? 2 : 1).total;
}

void bs__attention_grad_plan(const struct bs__attention_kernel *kernel, struct bs__attention_grad *c)
{
    /* P and dS of one chunk with a block of keys take 48 KiB of the second cache. */
    const int64_t most_keys = 96, width = (int64_t)kernel->lanes * kernel->vectors;
    bs__attention_plan(kernel, &c->forward);
    const int64_t tokens = c->forward.h * c->forward.w, blocks = (tokens + most_keys - 1) / most_keys;
    c->keys = (int)((tokens + blocks - 1) / blocks);
    c->tasks = c->forward.n * c->forward.heads * c->forward.windows_y * c->forward.windows_x;
    c->scratch_floats = (size_t)bs__attention_grad_layout(c, kernel->lanes, width).total;
}

/* Between which values of a table of `length` row r of `rows` lies. */
static double between(int64_t r, int64_t rows, int64_t length, int64_t *low, int64_t *high)
{
    if (length == rows) {
        *low = *high = r;
        return 0;
    }
    double u = ((double)r + 0.5) * (double)length / (double)rows - 0.5;
    u = u < 0 ? 0 : u;
    *low = (int64_t)floor(u);
    *low = *low > length - 1 ? length - 1 : *low;
    *high = *low < length - 1 ? *low + 1 : *low;
    return u - (double)*low;
}

void bs__relative_resample(const float *table, int64_t length, int64_t rows, int d, float *to)
{
    for (int64_t r = 0; r < rows; r++, to += d) {
        int64_t low, high;
        const double t = between(r, rows, length, &low, &high);
        const float *a = table + low * d, *b = table + high * d;
        for (int i = 0; i < d; i++)
            to[i] = t > 0 ? (float)((1 - t) * (double)a[i] + t * (double)b[i]) : a[i];
    }
}

void bs__relative_gather(const float *g, int64_t rows, int64_t length, int d, float *table)
{
    memset(table, 0, (size_t)(length * d) * sizeof *table);
    for (int64_t r = 0; r < rows; r++, g += d) {
        int64_t low, high;
        const double t = between(r, rows, length, &low, &high);
        for (int i = 0; i < d; i++) {
            table[low * d + i] += (float)((1 - t) * (double)g[i]);
            if (t > 0)
                table[high * d + i] += (float)(t * (double)g[i]);
        }
    }
}

struct job {
    const char *name;
    int64_t length, rows; /* of the parameter, wanted */
    int d;
};

static bs_status pack(struct bs_params *params, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    (void)bytes;
    const struct job *j = ctx;
    const size_t count = (size_t)j->length * (size_t)j->d;
    float *plain = malloc(count * sizeof *plain);
    if (!plain)
        return BS_FAIL(err, BS_ENOMEM, "no memory to read parameter \"%s\"", j->name);
    bs_status rc = bs_params_read(params, j->name, plain, count, err);
    if (rc == BS_OK)
        bs__relative_resample(plain, j->length, j->rows, j->d, dst);
    free(plain);
    return rc;
}

bs_status bs__pack_relative(struct bs_params *params, const char *name, int64_t length, int d, int64_t side,
                            const float **table, struct bs_err *err)
{
    char key[512];
    struct job j = {.name = name, .length = length, .rows = 2 * side - 1, .d = d};
    const void *packed = NULL;
    int len = snprintf(key, sizeof key, "cpu/relative/%lld/%s", (long long)side, name);
    if (len < 0 || (size_t)len >= sizeof key)
        return BS_FAIL(err, BS_ELIMIT, "parameter name of %zu bytes; up to 400 are accepted", strlen(name));
    bs_status rc =
        bs_params_packed(params, key, (size_t)j.rows * (size_t)d * sizeof(float), pack, &j, &packed, err);
    if (rc == BS_OK)
        *table = packed;
    return rc;
}
