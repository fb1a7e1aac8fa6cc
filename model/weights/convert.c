/* Checkpoint to model file; see convert.h. Both kinds of input become one list of named tensors (struct input); the
   model's description is made from it (convert_describe.c) before any tensor is read. */
#include "model/weights/convert_internal.h"

#include "model/weights/file_io.h"
#include "model/weights/import.h"
#include "model/weights/package.h"
#include "model/weights/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct input {
    bool packed; /* the file is a package, and holds one of the two below */
    struct bs__package package;
    struct bs_torch_hints hints; /* of the package and the checkpoint in it */
    struct bs_safetensors *st;   /* one of these two */
    struct bs_torch_checkpoint *torch;
    size_t raw_count;
    struct bs_state_entry *raw; /* as the file has them */
    struct bs__import import;   /* what of them the network takes, and what it lacks */
    size_t count;
    struct bs_safetensors_item *item; /* as they will be written: floating point types become f32 */
    struct bs_state_entry *state;
};

static enum bs_dtype source_dtype(const struct input *in, size_t i)
{
#ifdef BS_HAVE_TORCH_CONVERT
    if (in->torch)
        return bs_torch_checkpoint_dtype(in->torch, i);
#endif
    return bs_safetensors_entry(in->st, i)->dtype;
}

static bool is_float(enum bs_dtype t)
{
    return t == BS_F32 || t == BS_F16 || t == BS_BF16 || t == BS_F64;
}

/* Is byte 8 the brace that begins a safetensors header? */
static bs_status looks_like_safetensors(int fd, bool *yes, struct bs_err *err)
{
    uint64_t size;
    char begin[9] = "";
    bs_status rc = bs__file_size(fd, &size, err);
    if (rc == BS_OK && size >= sizeof begin)
        rc = bs__file_read_at(fd, 0, begin, sizeof begin, err);
    *yes = begin[8] == '{' && begin[0] != 'P';
    return rc;
}

/* Takes fd, also on failure. */
static bs_status open_torch(int fd, struct input *in, struct bs_convert_report *report, struct bs_err *err)
{
#ifdef BS_HAVE_TORCH_CONVERT
    bs_status rc = bs_torch_checkpoint_open_fd(fd, &in->torch, err);
    if (rc != BS_OK)
        return rc;
    in->raw_count = bs_torch_checkpoint_count(in->torch);
    snprintf(report->format, sizeof report->format, "PyTorch");
    snprintf(report->key, sizeof report->key, "%s", bs_torch_checkpoint_key(in->torch));
    report->nskipped = bs_torch_checkpoint_skipped_count(in->torch);
    for (size_t i = 0; i < report->nskipped && i < BS_CONVERT_MAX_SKIPPED; i++)
        snprintf(report->skipped[i], sizeof report->skipped[i], "%s",
                 bs_torch_checkpoint_skipped(in->torch, i));
    return BS_OK;
#else
    (void)in, (void)report;
    close(fd);
    return BS_FAIL(err, BS_EUNSUPPORTED,
                   "this build cannot read PyTorch checkpoints (BS_WITH_TORCH_CONVERT is off)");
#endif
}

/* A descriptor of the weights: the file itself, or what a package holds. */
static bs_status open_weights(const char *path, const char *out_path, struct input *in, int *fd,
                              struct bs_err *err)
{
#ifdef BS_HAVE_TORCH_CONVERT
    if ((in->packed = bs__package_is_one(path))) {
        bs_status rc = bs__package_open(path, out_path, &in->package, err);
        if (rc != BS_OK)
            return rc;
        *fd = in->package.fd;
        in->package.fd = -1;
        return BS_OK;
    }
#endif
    (void)out_path, (void)in;
    return bs__file_open(path, fd, err);
}

/* The file's tensors as those of the network, under its names. */
static bs_status import(struct input *in, const struct bs_convert_options *o, struct bs_err *err)
{
    struct bs__import_request request = {.state = in->raw,
                                         .count = in->raw_count,
                                         .decoder = in->raw_count,
                                         .out_channels = o->untrained_decoder,
                                         .seed = o->decoder_seed};
#ifdef BS_HAVE_TORCH_CONVERT
    if (in->torch)
        request.decoder = bs_torch_checkpoint_decoder(in->torch);
#endif
    bs_status rc = bs__import_open(&request, &in->import, err);
    if (rc != BS_OK)
        return rc;
    in->count = in->import.count;
    in->item = calloc(in->count ? in->count : 1, sizeof *in->item);
    in->state = calloc(in->count ? in->count : 1, sizeof *in->state);
    if (!in->item || !in->state)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu tensors", in->count);
    for (size_t i = 0; i < in->count; i++) {
        const struct bs__import_entry *e = &in->import.entry[i];
        const enum bs_dtype from = e->source == BS__IMPORT_INITIAL ? BS_F32 : source_dtype(in, e->source);
        in->item[i] = (struct bs_safetensors_item){e->name, is_float(from) ? BS_F32 : from, e->shape};
        in->state[i] = (struct bs_state_entry){e->name, e->shape};
    }
    return BS_OK;
}

static bs_status open_input(const char *path, const char *out_path, const struct bs_convert_options *options,
                            struct input *in, struct bs_convert_report *report, struct bs_err *err)
{
    bool plain = false;
    int fd = -1;
    bs_status rc = open_weights(path, out_path, in, &fd, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = looks_like_safetensors(fd, &plain, err)) != BS_OK) {
        close(fd);
        return rc;
    }
    if (plain) {
        if ((rc = bs_safetensors_open_fd(fd, &in->st, err)) != BS_OK)
            return rc;
        in->raw_count = bs_safetensors_count(in->st);
        snprintf(report->format, sizeof report->format, "safetensors");
    } else if ((rc = open_torch(fd, in, report, err)) != BS_OK) {
        return rc;
    }
    if (in->packed) {
        snprintf(report->format, sizeof report->format, "bioimage.io package");
        snprintf(report->key, sizeof report->key, "%s", in->package.kind);
    }
    if (!(in->raw = calloc(in->raw_count ? in->raw_count : 1, sizeof *in->raw)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu tensors", in->raw_count);
    for (size_t i = 0; i < in->raw_count; i++) {
#ifdef BS_HAVE_TORCH_CONVERT
        if (in->torch)
            in->raw[i] = (struct bs_state_entry){bs_torch_checkpoint_name(in->torch, i),
                                                 *bs_torch_checkpoint_shape(in->torch, i)};
#endif
        if (in->st)
            in->raw[i] = (struct bs_state_entry){bs_safetensors_entry(in->st, i)->name,
                                                 bs_safetensors_entry(in->st, i)->shape};
    }
    return import(in, options, err);
}

static void close_input(struct input *in)
{
    bs_safetensors_close(in->st);
#ifdef BS_HAVE_TORCH_CONVERT
    bs_torch_checkpoint_close(in->torch);
    if (in->packed)
        bs__package_close(&in->package);
#endif
    bs__import_close(&in->import);
    free(in->raw);
    free(in->item);
    free(in->state);
}

/* What a trainer or a package says; NULL when there is nothing of the kind. */
static const struct bs_torch_hints *hints_of(struct input *in)
{
    const struct bs_torch_hints *hints = NULL;
#ifdef BS_HAVE_TORCH_CONVERT
    if (in->torch)
        hints = bs_torch_checkpoint_hints(in->torch);
#endif
    if (!in->packed || !in->package.hints.has_activation)
        return hints;
    if (hints)
        in->hints = *hints;
    in->hints.has_activation = true;
    memcpy(in->hints.final_activation, in->package.hints.final_activation, sizeof in->hints.final_activation);
    return &in->hints;
}

/* The caller's options, with what a package says where the caller is silent. */
static bs_status complete_options(const struct input *in, const struct bs_convert_options *options,
                                  struct bs_convert_options *out, struct bs_err *err)
{
    const struct bs__package *p = &in->package;
    *out = *options;
    if (!in->packed)
        return BS_OK;
    if (!out->licence && p->licence[0])
        out->licence = p->licence;
    if (p->model_info) /* a package of ours: everything else is told there */
        return BS_OK;
    if (!out->has_normalisation && !p->has_normalisation)
        return BS_FAIL(
            err, BS_EUNSUPPORTED,
            "the package's preprocessing (%s) is none of ours; --normalisation takes another instead",
            p->preprocessing);
    if (!out->has_normalisation) {
        out->has_normalisation = true;
        out->normalisation = p->normalisation;
    }
    if (!out->description && p->description[0])
        out->description = p->description;
    if (!out->source)
        out->source = p->source;
    return BS_OK;
}

/* The tensors. */

static bs_status read_raw(struct input *in, size_t i, void *dst, size_t bytes, struct bs_err *err)
{
#ifdef BS_HAVE_TORCH_CONVERT
    if (in->torch)
        return bs_torch_checkpoint_read(in->torch, i, dst, bytes, err);
#endif
    return bs_safetensors_read(in->st, bs_safetensors_entry(in->st, i), dst, bytes, err);
}

static void to_f32(enum bs_dtype from, const unsigned char *src, float *dst, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        double wide;
        if (from == BS_F64) {
            memcpy(&wide, src + 8 * i, sizeof wide);
            dst[i] = (float)wide;
        } else {
            memcpy(&half, src + 2 * i, sizeof half);
            dst[i] = from == BS_BF16 ? bs_bf16_to_f32(half) : bs_f16_to_f32(half);
        }
    }
}

static bs_status fill(void *ctx, size_t i, void *dst, size_t bytes, struct bs_err *err)
{
    struct input *in = ctx;
    const size_t source = in->import.entry[i].source, count = bs_shape_count(&in->item[i].shape);
    bs_status rc;
    if (source == BS__IMPORT_INITIAL) {
        bs__import_initial(&in->import, i, dst);
        return BS_OK;
    }
    const enum bs_dtype from = source_dtype(in, source);
    if (!is_float(from))
        return read_raw(in, source, dst, bytes, err);
    if (from == BS_F32) {
        rc = read_raw(in, source, dst, bytes, err);
    } else {
        const size_t raw_bytes = count * bs_dtype_size(from);
        unsigned char *raw = malloc(raw_bytes ? raw_bytes : 1);
        if (!raw)
            return BS_FAIL(err, BS_ENOMEM, "no memory for a tensor of %zu bytes", raw_bytes);
        rc = read_raw(in, source, raw, raw_bytes, err);
        if (rc == BS_OK)
            to_f32(from, raw, dst, count);
        free(raw);
    }
    for (size_t k = 0; rc == BS_OK && k < count; k++)
        if (!isfinite(((const float *)dst)[k]))
            rc = BS_FAIL(err, BS_EINVAL, "%.120s is not finite at element %zu; did its training diverge?",
                         in->item[i].name, k);
    return rc;
}

/* What a file of ours says of itself; NULL: it is none. */
static const char *description_of(const struct input *in)
{
    return in->packed && in->package.model_info ? in->package.model_info
           : in->st                             ? bs_safetensors_metadata(in->st, "bioseg")
                                                : NULL;
}

bs_status bs_convert_checkpoint(const char *in_path, const char *out_path,
                                const struct bs_convert_options *options, struct bs_convert_report *report,
                                struct bs_err *err)
{
    bs_status rc;
    struct input in = {0};
    char *json = NULL;
    struct bs_model_info check;
    struct bs_convert_options complete;
    *report = (struct bs_convert_report){0};
    if ((rc = open_input(in_path, out_path, options, &in, report, err)) != BS_OK ||
        (rc = complete_options(&in, options, &complete, err)) != BS_OK)
        goto cleanup;
    const struct bs__convert_known known = {.state = in.state,
                                            .count = in.count,
                                            .hints = hints_of(&in),
                                            .micro_sam = in.import.decoder_of_micro_sam,
                                            .untrained = in.import.untrained,
                                            .description = description_of(&in)};
    if ((rc = bs__convert_describe(&known, &complete, &report->info, err)) != BS_OK ||
        (rc = bs_model_info_to_json(&report->info, &json, err)) != BS_OK)
        goto cleanup;
    /* Never write what cannot be opened again, e.g. text that is not UTF-8. */
    if ((rc = bs_model_info_from_json(json, strlen(json), &check, err)) != BS_OK)
        goto cleanup;
    const struct bs_safetensors_pair metadata[] = {{"format", "pt"}, {"bioseg", json}};
    if ((rc = bs_safetensors_write(out_path, metadata, 2, in.item, in.count, fill, &in, err)) != BS_OK)
        goto cleanup;
    report->tensors = in.count;
    report->left_out = in.import.left_out;
    for (size_t i = 0; i < in.count; i++)
        report->bytes += bs_shape_count(&in.item[i].shape) * bs_dtype_size(in.item[i].dtype);
cleanup:
    free(json);
    close_input(&in);
    return rc;
}
