/* One function per format; see export.h. */
#include "model/export/export_internal.h"

#include "kernels/base/atomic_file.h"

typedef bs_status (*write_fn)(const struct bs__export_source *s, const struct bs__export_target *target,
                              const struct bs_export_options *options, struct bs_err *err);

bs_status bs_export(enum bs_export_format format, const char *model, const char *out,
                    const struct bs_export_options *options, struct bs_err *err)
{
    static const write_fn writers[] = {[BS_EXPORT_STATE_DICT] = bs__write_state_dict,
                                       [BS_EXPORT_TRAINER] = bs__write_trainer,
                                       [BS_EXPORT_ONNX] = bs__write_onnx,
                                       [BS_EXPORT_PACKAGE] = bs__write_package};
    bs_status rc;
    struct bs__export_source s = {0};
    struct bs_atomic_file file = {.fd = -1};
    if ((rc = bs__export_open(model, &s, err)) != BS_OK || (rc = bs_atomic_open(&file, out, err)) != BS_OK ||
        (rc = writers[format](&s, &(struct bs__export_target){.fd = file.fd, .path = out}, options, err)) !=
            BS_OK)
        goto cleanup;
    rc = bs_atomic_commit(&file, err);
cleanup:
    bs_atomic_abort(&file);
    bs__export_close(&s);
    return rc;
}
