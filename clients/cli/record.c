/* The record of a finished image (STEM.json): provenance for people, and what --resume goes by. See outputs.h. */
#include "clients/cli/output.h"
#include "clients/cli/outputs.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A record is a few KiB; whatever is larger is not one of ours. */
#define MAX_RECORD (1 << 20)

bs_status bs__sha256_hex(const void *data, size_t size, char out[BS__SHA256_TEXT], struct bs_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (EVP_Digest(data, size, digest, &n, EVP_sha256(), NULL) != 1 || n != 32)
        return BS_FAIL(err, BS_EINTERNAL, "SHA-256 is not available");
    for (unsigned i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return BS_OK;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bs_status bs__record_begin(const struct bs__output_paths *paths, struct bs_err *err)
{
    static const char text[] = "{\"bioseg_record\": 1, \"state\": \"being written\"}\n";
    return bs__write_text(paths->path[BS__OUTPUT_RECORD], text, sizeof text - 1, err);
}

static json_t *load(const char *path)
{
    uint8_t *data = NULL;
    size_t size = 0;
    if (bs__cli_read_file(path, MAX_RECORD, &data, &size, NULL) != BS_OK)
        return NULL;
    json_t *root = json_loadb((const char *)data, size, 0, NULL);
    free(data);
    if (json_is_integer(json_object_get(root, "bioseg_record")))
        return root;
    json_decref(root);
    return NULL;
}

bool bs__record_is_ours(const char *path)
{
    json_t *root = load(path);
    json_decref(root);
    return root != NULL;
}

bs_status bs__record_write(const struct bs__output_paths *paths, const struct bs__input *input,
                           const char *input_sha256, const char *fingerprint, json_t *about,
                           struct bs_err *err)
{
    bs_status rc = BS_OK;
    char *text = NULL;
    json_t *outputs = json_object();
    json_t *record = json_pack("{s:i, s:O, s:O}", "bioseg_record", 1, "result", about, "outputs", outputs);
    if (record && input) {
        json_object_set_new(record, "input",
                            json_pack("{s:o, s:I, s:I, s:s}", "path", bs__json_text(input->path), "bytes",
                                      (json_int_t)input->bytes, "mtime_ns", (json_int_t)input->mtime_ns,
                                      "sha256", input_sha256));
        json_object_set_new(record, "parameters_hash", json_string(fingerprint));
    }
    for (int k = 0; outputs && k < BS__OUTPUTS; k++) {
        struct stat st;
        if (k == BS__OUTPUT_RECORD || !paths->path[k])
            continue;
        if (stat(paths->path[k], &st) != 0) {
            rc = BS_FAIL(err, BS_EIO, "%s is gone", paths->path[k]);
            goto cleanup;
        }
        json_object_set_new(outputs, bs__output_names[k],
                            json_pack("{s:o, s:I}", "file", bs__json_text(base_name(paths->path[k])), "bytes",
                                      (json_int_t)st.st_size));
    }
    text = record ? json_dumps(record, JSON_INDENT(2)) : NULL;
    if (!text) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the record %s", paths->path[BS__OUTPUT_RECORD]);
        goto cleanup;
    }
    size_t n = strlen(text);
    text[n++] = '\n'; /* in place of the NUL, which is not written */
    rc = bs__write_text(paths->path[BS__OUTPUT_RECORD], text, n, err);
cleanup:
    free(text);
    json_decref(record);
    json_decref(outputs);
    return rc;
}

static bool outputs_are_there(const struct bs__output_paths *paths, const json_t *outputs)
{
    for (int k = 0; k < BS__OUTPUTS; k++) {
        struct stat st;
        if (k == BS__OUTPUT_RECORD || !paths->path[k])
            continue;
        const json_t *o = json_object_get(outputs, bs__output_names[k]);
        json_t *expected = bs__json_text(base_name(paths->path[k]));
        bool same_name = json_equal(json_object_get(o, "file"), expected);
        json_decref(expected);
        const json_t *bytes = json_object_get(o, "bytes");
        if (!same_name || !json_is_integer(bytes))
            return false;
        if (stat(paths->path[k], &st) != 0 || (json_int_t)st.st_size != json_integer_value(bytes))
            return false;
    }
    return true;
}

static bool input_is_same(const struct bs__input *input, const json_t *recorded)
{
    if (json_integer_value(json_object_get(recorded, "bytes")) != (json_int_t)input->bytes)
        return false;
    if (json_integer_value(json_object_get(recorded, "mtime_ns")) == (json_int_t)input->mtime_ns)
        return true;
    const char *sha256 = json_string_value(json_object_get(recorded, "sha256"));
    uint8_t *data = NULL;
    size_t size = 0;
    char now[BS__SHA256_TEXT];
    bool same = sha256 && bs__cli_read_file(input->path, (size_t)input->bytes, &data, &size, NULL) == BS_OK &&
                bs__sha256_hex(data, size, now, NULL) == BS_OK && strcmp(now, sha256) == 0;
    free(data);
    return same;
}

bool bs__record_is_current(const struct bs__output_paths *paths, const struct bs__input *input,
                           const char *fingerprint, json_t **record)
{
    json_t *root = load(paths->path[BS__OUTPUT_RECORD]);
    const char *recorded = json_string_value(json_object_get(root, "parameters_hash"));
    bool current = recorded && strcmp(recorded, fingerprint) == 0 &&
                   outputs_are_there(paths, json_object_get(root, "outputs")) &&
                   input_is_same(input, json_object_get(root, "input"));
    if (current && record)
        *record = json_incref(root);
    json_decref(root);
    return current;
}
