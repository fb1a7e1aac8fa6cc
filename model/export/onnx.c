/* ONNX files; see export.h for what is in one. */
#include "model/export/export_internal.h"
#include "model/export/onnx_graph.h"

#include "kernels/base/atomic_file.h"

#include <stdio.h>
#include <stdlib.h>

#define EXTERNAL_BYTES ((uint64_t)1000000000) /* from here on weights are a file of their own */

bs_status bs__write_onnx(const struct bs__export_source *s, const struct bs__export_target *target,
                         const struct bs_export_options *options, struct bs_err *err)
{
    bs_status rc;
    struct bs__onnx_graph g = {0};
    struct bs_atomic_file data = {.fd = -1};
    char *path = NULL;
    if (s->info.arch.kind == BS_ARCH_VIMUNET)
        return BS_FAIL(
            err, BS_EUNSUPPORTED,
            "a ViM-UNet cannot be written as ONNX, which has no operator for its selective scan; --format pt "
            "is for torch_em with Vision Mamba");
    if ((rc = bs__onnx_create(&g, s, err)) != BS_OK ||
        (rc = bs__onnx_translate(&g, &s->info.arch, bs_arch_image_size(&s->info.arch) == 0, err)) != BS_OK)
        goto cleanup;
    if (options->external_data || s->bytes > EXTERNAL_BYTES) {
        if (asprintf(&path, "%s.data", target->path) < 0) {
            path = NULL;
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for a name");
            goto cleanup;
        }
        if ((rc = bs_atomic_open(&data, path, err)) != BS_OK)
            goto cleanup;
    }
    if ((rc = bs__onnx_write(&g, target->fd, data.fd, path ? bs_base_name(path) : NULL, err)) != BS_OK)
        goto cleanup;
    if (path)
        rc = bs_atomic_commit(&data, err);
cleanup:
    bs_atomic_abort(&data);
    bs__onnx_destroy(&g);
    free(path);
    return rc;
}
