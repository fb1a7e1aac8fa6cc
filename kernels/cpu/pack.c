/* Weights in the layouts of the kernels; see program.h. Each is made once per model, under a key that names layout and
   precision, and shared by all executables. */
#include "kernels/base/checked.h"
#include "kernels/cpu/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
    const struct bs__cpu *cpu;
    const struct bs__conv_weights *w;
    bool bf16, transformed, transposed, pairs; /* pairs: two input channels side by side */
    int tap_y, tap_x;
    struct bs__dnnl_conv *conv;
};

static int blocks_of(const struct bs__cpu *cpu, int channels)
{
    return (channels + cpu->simd->lanes - 1) / cpu->simd->lanes;
}

static int in_blocks(const struct job *j)
{
    int blocks = 0;
    for (int s = 0; s < j->w->nsource; s++)
        blocks += blocks_of(j->cpu, j->w->in[s]);
    return blocks;
}

static int in_channels(const struct bs__conv_weights *w)
{
    return w->in[0] + (w->nsource > 1 ? w->in[1] : 0);
}

/* Padded input channel to the channel of the parameter, -1 for padding. */
static int channel_of(const struct job *j, int padded)
{
    int first = 0;
    for (int s = 0; s < j->w->nsource; s++) {
        int room = blocks_of(j->cpu, j->w->in[s]) * j->cpu->simd->lanes;
        if (padded < room)
            return padded < j->w->in[s] ? first + padded : -1;
        padded -= room;
        first += j->w->in[s];
    }
    return -1;
}

/* Plain weights, times the scale of a batch norm. */
static bs_status read_weights(const struct job *j, struct bs_params *params, float **out, struct bs_err *err)
{
    const struct bs__conv_weights *w = j->w;
    size_t count = (size_t)w->out * (size_t)in_channels(w) * (size_t)w->kernel_h * (size_t)w->kernel_w;
    *out = malloc(count * sizeof(float));
    if (!*out)
        return BS_FAIL(err, BS_ENOMEM, "no memory to read parameter \"%s\"", w->name);
    bs_status rc = bs_params_read(params, w->name, *out, count, err);
    if (rc != BS_OK) {
        free(*out);
        *out = NULL;
        return rc;
    }
    const size_t taps = (size_t)w->kernel_h * (size_t)w->kernel_w;
    const size_t inner = j->transposed ? taps : (size_t)in_channels(w) * taps;
    for (size_t i = 0; w->scale && i < count; i++)
        (*out)[i] = (float)((double)(*out)[i] * w->scale[i / inner % (size_t)w->out]);
    return BS_OK;
}

/* Writes one value of a packed form. */
static void put(void *dst, size_t i, float v, bool bf16)
{
    if (bf16)
        ((uint16_t *)dst)[i] = bs_f32_to_bf16(v);
    else
        ((float *)dst)[i] = v;
}

/* (chunk of out, in, taps, out in chunk). */
static void pack_chunk(const struct job *j, const float *plain, int chunk, void *dst)
{
    const struct bs__conv_weights *w = j->w;
    const int lanes = j->cpu->simd->lanes, width = lanes * j->cpu->simd->out_vectors;
    const int in = in_blocks(j) * lanes, channels = in_channels(w);
    const int kernel = w->kernel_h * w->kernel_w, taps = j->transposed ? 1 : kernel;
    for (int i = 0; i < in; i++) {
        int from = channel_of(j, i);
        for (int t = 0; t < taps; t++)
            for (int o = 0; o < width; o++) {
                int to = chunk * width + o;
                float v = 0;
                if (from >= 0 && to < w->out) {
                    size_t row = j->transposed ? (size_t)from * (size_t)w->out + (size_t)to
                                               : (size_t)to * (size_t)channels + (size_t)from;
                    int tap = j->transposed ? j->tap_y * w->kernel_w + j->tap_x : t;
                    v = plain[row * (size_t)kernel + (size_t)tap];
                }
                size_t at = ((size_t)i * (size_t)taps + (size_t)t) * (size_t)width + (size_t)o;
                if (j->pairs)
                    at = ((size_t)(i / 2) * (size_t)width + (size_t)o) * 2 + (size_t)(i % 2);
                put(dst, at, v, j->bf16);
            }
    }
}

static size_t chunk_values(const struct job *j, int taps)
{
    const struct bs__simd *simd = j->cpu->simd;
    return (size_t)in_blocks(j) * (size_t)simd->lanes * (size_t)taps *
           (size_t)(simd->lanes * simd->out_vectors);
}

static int out_chunks(const struct job *j)
{
    int blocks = blocks_of(j->cpu, j->w->out);
    return (blocks + j->cpu->simd->out_vectors - 1) / j->cpu->simd->out_vectors;
}

static bs_status pack_plain(struct bs_params *params, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    const struct job *j = ctx;
    float *plain = NULL;
    bs_status rc = read_weights(j, params, &plain, err);
    if (rc != BS_OK)
        return rc;
    size_t chunk = bytes / (size_t)out_chunks(j);
    for (int o = 0; o < out_chunks(j); o++)
        pack_chunk(j, plain, o, (unsigned char *)dst + (size_t)o * chunk);
    free(plain);
    return BS_OK;
}

static bs_status pack_transformed(struct bs_params *params, void *dst, size_t bytes, void *ctx,
                                  struct bs_err *err)
{
    const struct job *j = ctx;
    const struct bs__simd *simd = j->cpu->simd;
    const size_t values = chunk_values(j, 9), size = j->bf16 ? sizeof(uint16_t) : sizeof(float);
    const int blocks = in_blocks(j);
    bs_status rc = BS_OK;
    float *plain = NULL;
    void *chunk = aligned_alloc(64, (values * size + 63) / 64 * 64);
    if (!chunk) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to pack parameter \"%s\"", j->w->name);
        goto cleanup;
    }
    if ((rc = read_weights(j, params, &plain, err)) != BS_OK)
        goto cleanup;
    for (int o = 0; o < out_chunks(j); o++) {
        float *to = (float *)dst + (size_t)o * (bytes / sizeof(float) / (size_t)out_chunks(j));
        pack_chunk(j, plain, o, chunk);
        for (int k = 0; k < blocks; k += simd->in_chunk) {
            int n = blocks - k < simd->in_chunk ? blocks - k : simd->in_chunk;
            size_t at = values / (size_t)blocks * (size_t)k;
            if (j->bf16)
                simd->transform_weights_bf16((const uint16_t *)chunk + at, n, to + at * 4);
            else
                simd->transform_weights((const float *)chunk + at, n, to + at * 4);
        }
    }
cleanup:
    free(chunk);
    free(plain);
    return rc;
}

static bs_status pack_direct(struct bs_params *params, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    (void)bytes;
    const struct job *j = ctx;
    const int lanes = j->cpu->simd->lanes, in = in_blocks(j) * lanes,
              out = blocks_of(j->cpu, j->w->out) * lanes;
    const size_t kernel = (size_t)j->w->kernel_h * (size_t)j->w->kernel_w;
    const int channels = in_channels(j->w);
    bs_status rc = BS_OK;
    float *plain = NULL, *padded = calloc((size_t)in * (size_t)out * kernel, sizeof(float));
    if (!padded) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to pack parameter \"%s\"", j->w->name);
        goto cleanup;
    }
    if ((rc = read_weights(j, params, &plain, err)) != BS_OK)
        goto cleanup;
    for (int o = 0; o < j->w->out; o++)
        for (int i = 0; i < channels; i++)
            memcpy(padded + ((size_t)o * (size_t)in + (size_t)i) * kernel,
                   plain + ((size_t)o * (size_t)channels + (size_t)i) * kernel, kernel * sizeof(float));
    rc = bs__dnnl_conv_pack(j->conv, padded, dst, err);
cleanup:
    free(padded);
    free(plain);
    return rc;
}

static bs_status packed(struct job *j, struct bs_params *params, const char *form, size_t bytes,
                        bs_pack_fn pack, const void **out, struct bs_err *err)
{
    char key[1024], norm[512] = "";
    const struct bs__conv_weights *w = j->w;
    int more = w->scale ? snprintf(norm, sizeof norm, " scaled by %s %a", w->norm, (double)w->eps) : 0;
    int len = snprintf(key, sizeof key, "cpu/%s/%s/%s/%d+%d/%s%s", form, j->cpu->simd->name,
                       j->bf16 ? "bf16" : "f32", w->in[0], w->nsource > 1 ? w->in[1] : 0, w->name, norm);
    if (len < 0 || (size_t)len >= sizeof key || more < 0 || (size_t)more >= sizeof norm)
        return BS_FAIL(err, BS_ELIMIT, "parameter name of %zu bytes; up to 400 are accepted",
                       strlen(w->name));
    return bs_params_packed(params, key, bytes, pack, j, out, err);
}

bs_status bs__pack_winograd(const struct bs__cpu *cpu, struct bs_params *params,
                            const struct bs__conv_weights *w, bool bf16, bool transformed, const void **out,
                            struct bs_err *err)
{
    struct job j = {.cpu = cpu, .w = w, .bf16 = bf16, .transformed = transformed};
    size_t values = chunk_values(&j, transformed ? 36 : 9) * (size_t)out_chunks(&j);
    if (transformed)
        return packed(&j, params, "winograd", values * sizeof(float), pack_transformed, out, err);
    return packed(&j, params, "3x3", values * (bf16 ? sizeof(uint16_t) : sizeof(float)), pack_plain, out,
                  err);
}

bs_status bs__pack_pointwise(const struct bs__cpu *cpu, struct bs_params *params,
                             const struct bs__conv_weights *w, bool bf16, const void **out,
                             struct bs_err *err)
{
    struct job j = {.cpu = cpu, .w = w, .bf16 = bf16, .pairs = bf16 && cpu->fast_bf16};
    size_t values = chunk_values(&j, 1) * (size_t)out_chunks(&j);
    return packed(&j, params, j.pairs ? "1x1 pairs" : "1x1",
                  values * (bf16 ? sizeof(uint16_t) : sizeof(float)), pack_plain, out, err);
}

bs_status bs__pack_tap(const struct bs__cpu *cpu, struct bs_params *params, const struct bs__conv_weights *w,
                       int y, int x, bool bf16, const void **out, struct bs_err *err)
{
    struct job j = {.cpu = cpu,
                    .w = w,
                    .bf16 = bf16,
                    .transposed = true,
                    .pairs = bf16 && cpu->fast_bf16,
                    .tap_y = y,
                    .tap_x = x};
    size_t values = chunk_values(&j, 1) * (size_t)out_chunks(&j);
    char form[32];
    snprintf(form, sizeof form, "tap%d,%d%s", y, x, j.pairs ? " pairs" : "");
    return packed(&j, params, form, values * (bf16 ? sizeof(uint16_t) : sizeof(float)), pack_plain, out, err);
}

bs_status bs__pack_direct(const struct bs__cpu *cpu, struct bs_params *params,
                          const struct bs__conv_weights *w, struct bs__dnnl_conv *conv, const void **out,
                          struct bs_err *err)
{
    struct job j = {.cpu = cpu, .w = w, .conv = conv};
    char form[48];
    snprintf(form, sizeof form, "direct%016llx", (unsigned long long)bs__dnnl_conv_weight_layout(conv));
    return packed(&j, params, form, bs__dnnl_conv_weight_bytes(conv), pack_direct, out, err);
}
