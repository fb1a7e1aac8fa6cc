/* bioimage.io packages; see export.h. Parts are written to a nameless file first, because an archive says sizes and the
   description says hashes before contents; one part at a time is there twice. */
#include "model/export/export_internal.h"
#include "model/export/rdf.h"
#include "model/export/test_tensor.h"
#include "model/export/torch_init.h"
#include "model/export/zip_write.h"

#include "kernels/base/atomic_file.h"
#include "kernels/base/sha256.h"
#include "model/weights/file_io.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALIGN      64
#define CHUNK      ((size_t)1 << 20)
#define ONNX_BYTES ((uint64_t)1000000000) /* of weights; above, ONNX would need a second file */

struct package {
    const struct bs__export_source *s;
    const struct bs__export_target *target;
    struct bs__zip_writer zip;
    struct bs__rdf rdf;
    struct bs__test_tensors tests;
    unsigned char *buffer; /* CHUNK bytes */
};

/* Into the archive what `part` holds, and its hash into the description. */
static bs_status add_file(struct package *p, enum bs__rdf_file file, int part, struct bs_err *err)
{
    uint64_t size = 0;
    struct bs_sha256 hash;
    unsigned char digest[BS_SHA256_BYTES];
    bs_status rc;
    bs_sha256_begin(&hash);
    if ((rc = bs__file_size(part, &size, err)) != BS_OK ||
        (rc = bs__zip_begin(&p->zip, bs__rdf_name(file), size, ALIGN, err)) != BS_OK)
        return rc;
    for (uint64_t at = 0; at < size; at += CHUNK) {
        const size_t n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        if ((rc = bs__file_read_at(part, at, p->buffer, n, err)) != BS_OK ||
            (rc = bs__zip_data(&p->zip, p->buffer, n, err)) != BS_OK)
            return rc;
        bs_sha256_add(&hash, p->buffer, n);
    }
    bs_sha256_end(&hash, digest);
    bs_sha256_text(digest, p->rdf.sha256[file]);
    p->rdf.present[file] = true;
    return bs__zip_end(&p->zip, err);
}

static bs_status write_part(struct package *p, enum bs__rdf_file file, int fd, struct bs_err *err)
{
    const struct bs__export_target target = {.fd = fd, .path = p->target->path};
    struct bs_export_options options = *p->rdf.options;
    struct bs__bytes text = {0};
    bs_status rc;
    switch (file) {
    case BS__RDF_TEST_INPUT:
        return bs__npy_write(fd, &p->tests.in_shape, p->tests.in, err);
    case BS__RDF_TEST_OUTPUT:
        return bs__npy_write(fd, &p->tests.out_shape, p->tests.out, err);
    case BS__RDF_STATE_DICT:
        return bs__write_state_dict(p->s, &target, &options, err);
    case BS__RDF_ONNX:
        options.external_data = false;
        return bs__write_onnx(p->s, &target, &options, err);
    case BS__RDF_README:
        bs__rdf_readme(&p->rdf, &text);
        break;
    case BS__RDF_ENVIRONMENT:
        bs__rdf_environment(&text);
        break;
    case BS__RDF_FILES:
        break;
    }
    rc = bs__bytes_check(&text, "a text of the package", err);
    if (rc == BS_OK)
        rc = bs__file_write(fd, text.data, text.len, err);
    bs__bytes_free(&text);
    return rc;
}

/* Beside the package, where there is room for it. */
static bs_status add(struct package *p, enum bs__rdf_file file, struct bs_err *err)
{
    struct bs_atomic_file part = {.fd = -1};
    bs_status rc = bs_atomic_open(&part, p->target->path, err);
    if (rc == BS_OK)
        rc = write_part(p, file, part.fd, err);
    if (rc == BS_OK)
        rc = add_file(p, file, part.fd, err);
    bs_atomic_abort(&part);
    return rc;
}

/* torch_em's own networks can be made from names and numbers; a class among the arguments is not one of those. */
static bool has_state_dict(const struct bs_arch_config *arch)
{
    struct bs__torch_argument arguments[BS__TORCH_MAX_ARGUMENTS];
    const char *module;
    if (!bs__torch_class(arch, &module))
        return false;
    const int n = bs__torch_arguments(arch, arguments);
    for (int i = 0; i < n; i++)
        if (arguments[i].type == BS__ARGUMENT_CLASS)
            return false;
    return true;
}

static bs_status write_package(struct package *p, struct bs_err *err)
{
    static const enum bs__rdf_file always[] = {BS__RDF_README, BS__RDF_TEST_INPUT, BS__RDF_TEST_OUTPUT};
    const bool torch = has_state_dict(&p->s->info.arch), onnx = p->s->bytes <= ONNX_BYTES;
    struct bs__bytes yaml = {0};
    bs_status rc = BS_OK;
    if (!torch && !onnx)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "this network is too large for ONNX in one file and not one that torch_em makes by "
                       "name: nothing that a "
                       "bioimage.io package may hold describes it");
    for (size_t i = 0; rc == BS_OK && i < sizeof always / sizeof *always; i++)
        rc = add(p, always[i], err);
    if (rc == BS_OK && torch)
        rc = add(p, BS__RDF_STATE_DICT, err);
    if (rc == BS_OK && torch)
        rc = add(p, BS__RDF_ENVIRONMENT, err);
    if (rc == BS_OK && onnx)
        rc = add(p, BS__RDF_ONNX, err);
    if (rc != BS_OK)
        return rc;
    bs__rdf_write(&p->rdf, &yaml);
    rc = bs__bytes_check(&yaml, "the package's description", err);
    if (rc == BS_OK)
        rc = bs__zip_entry(&p->zip, "rdf.yaml", yaml.data, yaml.len, ALIGN, err);
    if (rc == BS_OK)
        rc = bs__zip_finish(&p->zip, err);
    bs__bytes_free(&yaml);
    return rc;
}

bs_status bs__write_package(const struct bs__export_source *s, const struct bs__export_target *target,
                            const struct bs_export_options *options, struct bs_err *err)
{
    bs_status rc;
    char *description = NULL;
    struct package p = {.s = s, .target = target, .rdf = {.info = &s->info, .options = options}};
    bs__zip_create(&p.zip, target->fd);
    if (s->info.arch.kind == BS_ARCH_VIMUNET) {
        rc = BS_FAIL(err, BS_EUNSUPPORTED,
                     "a ViM-UNet cannot be a bioimage.io package: ONNX has no operator for its selective "
                     "scan, and torch_em makes "
                     "it with an extension that those who test packages do not have");
        goto cleanup;
    }
    if ((rc = bs__rdf_check(&s->info, options, &p.rdf.licence, err)) != BS_OK ||
        (rc = bs_model_info_to_json(&s->info, &description, err)) != BS_OK)
        goto cleanup;
    p.rdf.description = description;
    if (!(p.buffer = malloc(CHUNK))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to write a package");
        goto cleanup;
    }
    if ((rc = bs__test_tensors_make(s, &p.tests, err)) != BS_OK)
        goto cleanup;
    rc = write_package(&p, err);
cleanup:
    bs__test_tensors_free(&p.tests);
    bs__zip_destroy(&p.zip);
    free(p.buffer);
    free(description);
    return rc;
}
