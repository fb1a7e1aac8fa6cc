/* Queues one step: its arguments with the arena's addresses put in, to the family of kernels that it belongs to. See program.h. */
#include "kernels/cuda/program.h"

#include <string.h>

bs_status bs__gpu_queue_step(struct bs__gpu *gpu, const struct bs_program *program, int step,
                             bs_address arena, struct bs_err *err)
{
    const struct bs__gpu_program *p = program->private;
    const struct bs__gpu_step *s = &p->step[step];
    struct bs__queue *q = gpu->queue;
    union bs__gpu_arguments a = s->a;
    for (int i = 0; i < s->nbind; i++) {
        const struct bs__gpu_bind *b = &s->bind[i];
        const bs_address at = arena + program->buffer[b->buffer].offset + b->bytes;
        memcpy((unsigned char *)&a + b->field, &at, sizeof at);
    }
    switch (s->kind) {
    case BS__GPU_FROM_PLANES:
        return bs__cuda_image_from_planes(q, s->element, &a.planes, err);
    case BS__GPU_TO_PLANES:
        return bs__cuda_planes_from_image(q, s->element, &a.planes, err);
    case BS__GPU_COPY:
        return bs__cuda_copy(q, s->element, s->from, &a.copy, err);
    case BS__GPU_POINTWISE:
        return bs__cuda_pointwise(q, s->element, s->pointwise, &a.pointwise, err);
    case BS__GPU_INSTANCE_NORM:
        return bs__cuda_instance_norm(q, s->element, &a.image_norm, err);
    case BS__GPU_GROUP_NORM:
        return bs__cuda_group_norm(q, s->element, &a.image_norm, err);
    case BS__GPU_BATCH_NORM:
        return bs__cuda_batch_norm(q, s->element, &a.batch_norm, err);
    case BS__GPU_MAX_POOL:
        return bs__cuda_max_pool(q, s->element, &a.pool, err);
    case BS__GPU_RESIZE:
        return bs__cuda_resize_bilinear(q, s->element, &a.resize, err);
    case BS__GPU_CONV_DIRECT:
        return bs__cuda_conv_direct(q, s->element, &a.conv, err);
    case BS__GPU_GEMM:
        return bs__cuda_gemm(q, &a.gemm, err);
    case BS__GPU_SHUFFLE:
        return bs__cuda_pixel_shuffle(q, s->element, &a.shuffle, err);
    case BS__GPU_LAYER_NORM:
        return bs__cuda_layer_norm(q, s->element, &a.row_norm, err);
    case BS__GPU_RMS_NORM:
        return bs__cuda_rms_norm(q, s->element, &a.row_norm, err);
    case BS__GPU_INSERT_TOKEN:
        return bs__cuda_insert_token(q, s->element, &a.insert, err);
    case BS__GPU_ADD_POSITION:
        return bs__cuda_add_position(q, s->element, &a.position, err);
    case BS__GPU_ROTARY:
        return bs__cuda_rotary(q, s->element, &a.rotary, err);
    case BS__GPU_ATTENTION:
        return bs__cuda_attention(q, &a.attend.attention, err);
    case BS__GPU_FUSED_ATTENTION:
        return bs__fused_attention(q, a.attend.plan->attention, &a.attend.attention, a.attend.workspace, err);
    case BS__GPU_CONV1D:
        return bs__cuda_conv1d(q, s->element, &a.conv1d, err);
    case BS__GPU_SCAN:
        return bs__cuda_scan(q, s->element, &a.mixer.scan, NULL, a.mixer.workspace, err);
    case BS__GPU_CUBLASLT:
        return bs__cublaslt_multiply(a.library.plan->product, a.library.x, a.library.w, a.library.bias,
                                     a.library.residual, a.library.y, a.library.workspace, err);
    case BS__GPU_CUDNN:
        return bs__cudnn_convolve(a.library.plan->convolution, a.library.x, a.library.w, a.library.bias,
                                  a.library.y, a.library.workspace, err);
    case BS__GPU_MAX_POOL_GRAD:
        return bs__cuda_max_pool_grad(q, s->element, &a.pool_grad, err);
    case BS__GPU_RESIZE_GRAD:
        return bs__cuda_resize_bilinear_grad(q, s->element, &a.resize, err);
    case BS__GPU_LOSS:
        return bs__cuda_loss(q, s->element, a.loss.kind, &a.loss.of, err);
    case BS__GPU_LOSS_GRAD:
        return bs__cuda_loss_grad(q, s->element, a.loss.kind, &a.loss.of, err);
    case BS__GPU_STEP_KINDS:
        break;
    }
    return BS_FAIL(err, BS_EINTERNAL, "no kernel for step %d (%s)", step, s->text);
}
