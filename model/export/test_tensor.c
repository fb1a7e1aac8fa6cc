/* See test_tensor.h. The image is made up: bright discs of several sizes on a slope, grey, from 0 to 255. */
#include "model/export/test_tensor.h"

#include "model/export/bytes.h"
#include "model/predict/encoder_input.h"
#include "model/weights/file_io.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-7 /* of standardisation and range, as in model/predict */

int bs__test_side(const struct bs_arch_config *arch)
{
    return bs_arch_image_size(arch) ? bs_arch_image_size(arch) : 8 * bs_arch_divisor(arch);
}

static void draw(float *image, int channels, int side)
{
    const int pitch = 32;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const int row = y / pitch, column = x / pitch;
            const double dy = y - (row + 0.5) * pitch, dx = x - (column + 0.5) * pitch;
            const double radius = 6 + (row * 5 + column * 3) % 8, distance = sqrt(dy * dy + dx * dx);
            const double disc = 120 / (1 + exp(2 * (distance - radius)));
            const float v = (float)floor(20 + 60.0 * (x + y) / (2 * side) + disc);
            for (int c = 0; c < channels; c++)
                image[((size_t)c * (size_t)side + (size_t)y) * (size_t)side + (size_t)x] = v;
        }
}

/* What a package says of preprocessing (rdf.c), and SAM's statistics, which ONNX and torch_em have inside their networks. */
static void preprocess(const struct bs_model_info *info, const float *image, size_t count, float *out)
{
    const int channels = bs_arch_in_channels(&info->arch);
    const bool sam = info->arch.kind == BS_ARCH_UNETR && info->arch.unetr.sam_statistics;
    double sum = 0, squares = 0;
    float min = image[0], max = image[0];
    for (size_t i = 0; i < count; i++) {
        sum += image[i];
        squares += (double)image[i] * image[i];
        min = fminf(min, image[i]);
        max = fmaxf(max, image[i]);
    }
    const double mean = sum / (double)count, deviation = sqrt(squares / (double)count - mean * mean);
    for (size_t i = 0; i < count; i++) {
        const size_t c = i / (count / (size_t)channels);
        double v = image[i];
        if (info->normalisation == BS_NORMALISE_STANDARDISE)
            v = (v - mean) / (deviation + EPSILON);
        else if (info->normalisation == BS_NORMALISE_RANGE_255)
            v = (v - min) / (max - min + EPSILON) * 255;
        out[i] = (float)(sam ? (v - bs_sam_mean[c]) / bs_sam_std[c] : v);
    }
}

static bs_status open_device(struct bs_device **out, struct bs_err *err)
{
    const struct bs_device_options options = {.allow_winograd = true};
    bs_status rc = bs_device_open("cpu", &options, out, err);
    return rc == BS_EUNSUPPORTED ? bs_device_open("ref", &options, out, err) : rc;
}

static bs_status compute(const struct bs__export_source *s, struct bs__test_tensors *t, float *logits,
                         struct bs_err *err)
{
    bs_status rc;
    struct bs_device *device = NULL;
    struct bs_model *model = NULL;
    struct bs_executable *exe = NULL;
    const size_t count = bs_shape_count(&t->in_shape);
    struct bs_tensor in = {.dtype = BS_F32, .shape = t->in_shape},
                     out[] = {{.dtype = BS_F32, .shape = t->out_shape, .data = logits},
                              {.dtype = BS_F32, .shape = t->out_shape, .data = t->out}};
    if (!(in.data = malloc(count * sizeof(float)))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a test image");
        goto cleanup;
    }
    preprocess(&s->info, t->in, count, in.data);
    if ((rc = open_device(&device, err)) != BS_OK ||
        (rc = bs_model_open(s->path, device, &model, err)) != BS_OK ||
        (rc = bs_model_executable(model, 1, t->in_shape.dim[2], t->in_shape.dim[3], BS_PRECISION_F32, &exe,
                                  err)) != BS_OK)
        goto cleanup;
    rc = bs_executable_run(exe, &in, 1, out, 2, NULL, err);
cleanup:
    bs_model_close(model);
    bs_device_close(device);
    free(in.data);
    return rc;
}

bs_status bs__test_tensors_make(const struct bs__export_source *s, struct bs__test_tensors *out,
                                struct bs_err *err)
{
    const int side = bs__test_side(&s->info.arch), channels = bs_arch_in_channels(&s->info.arch);
    *out =
        (struct bs__test_tensors){.in_shape = BS_SHAPE(1, channels, side, side),
                                  .out_shape = BS_SHAPE(1, bs_arch_out_channels(&s->info.arch), side, side)};
    float *logits = malloc(bs_shape_count(&out->out_shape) * sizeof *logits);
    out->in = malloc(bs_shape_count(&out->in_shape) * sizeof *out->in);
    out->out = malloc(bs_shape_count(&out->out_shape) * sizeof *out->out);
    if (!logits || !out->in || !out->out) {
        free(logits);
        return BS_FAIL(err, BS_ENOMEM, "no memory for a test image");
    }
    draw(out->in, channels, side);
    bs_status rc = compute(s, out, logits, err);
    free(logits);
    return rc;
}

void bs__test_tensors_free(struct bs__test_tensors *t)
{
    free(t->in);
    free(t->out);
    *t = (struct bs__test_tensors){0};
}

bs_status bs__npy_write(int fd, const struct bs_shape *shape, const float *values, struct bs_err *err)
{
    struct bs__bytes header = {0}, all = {0};
    bs__bytes_text(&header, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int d = 0; d < shape->ndim; d++)
        bs__bytes_format(&header, "%lld, ", (long long)shape->dim[d]);
    bs__bytes_text(&header, "), }");
    while ((10 + header.len + 1) % 64 && !header.failed) /* data at a multiple of 64 */
        bs__bytes_text(&header, " ");
    bs__bytes_text(&header, "\n");
    bs__bytes_put(&all, "\x93NUMPY\x01\x00", 8);
    bs__bytes_uint(&all, header.len, 2);
    bs__bytes_put(&all, header.data, header.len);
    all.failed = all.failed || header.failed;
    bs_status rc = bs__bytes_check(&all, "an array's header", err);
    if (rc == BS_OK)
        rc = bs__file_write(fd, all.data, all.len, err);
    if (rc == BS_OK)
        rc = bs__file_write(fd, values, bs_shape_count(shape) * sizeof *values, err);
    bs__bytes_free(&header);
    bs__bytes_free(&all);
    return rc;
}
