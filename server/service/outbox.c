/* Results that leave: the message from the stored JSON, object tables as columns, chunks with offset and CRC-32C. Field
   numbers are those that SegmentStreamResponse, GetJobResultResponse and ExportModelResponse share. Handler's thread. */
#include "server/service/service_internal.h"

#include "model/weights/json.h"
#include "proto/wire/crc32c.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FIELD_START      3
#define FIELD_CHUNK      4
#define FIELD_END        5
#define FIELD_OBJECTS    6
#define FIELD_CHUNK_DATA 3
#define TABLE_ROWS       4096
#define MAX_VALUES       512

/* ---- SegmentResult from JSON ---- */

static char *text_of(struct bs_arena *arena, const struct bs_json_value *v)
{
    const char *text;
    char *copy = bs_json_as_string(v, &text) ? bs_arena_strdup(arena, text) : NULL;
    return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

static int64_t int_of(const struct bs_json_value *v)
{
    int64_t i = 0;
    (void)bs_json_as_int(v, &i);
    return i;
}

static double double_of(const struct bs_json_value *v)
{
    double d = 0;
    (void)bs_json_as_double(v, &d);
    return d;
}

/* Any value as text. */
static char *printed(struct bs_arena *arena, const struct bs_json_value *v)
{
    bool flag;
    int64_t i;
    double d;
    if (bs_json_as_int(v, &i))
        return bs__format(arena, "%" PRId64, i);
    if (bs_json_as_double(v, &d))
        return bs__format(arena, "%.17g", d);
    if (bs_json_as_bool(v, &flag))
        return bs__format(arena, flag ? "true" : "false");
    return text_of(arena, v);
}

static bs_status parameters(struct bs_arena *arena, const struct bs_json_value *object,
                            Bioseg__V1__Provenance *p, struct bs_err *err)
{
    size_t n = bs_json_count(object);
    Bioseg__V1__Provenance__ParametersEntry *entries = bs_arena_array(arena, n, sizeof *entries);
    p->parameters = bs_arena_array(arena, n, sizeof *p->parameters);
    if (n && (!entries || !p->parameters))
        return BS_FAIL(err, BS_ENOMEM, "no memory for a result");
    for (const struct bs_json_value *v = bs_json_first(object); v; v = bs_json_next(v)) {
        Bioseg__V1__Provenance__ParametersEntry *e = &entries[p->n_parameters];
        bioseg__v1__provenance__parameters_entry__init(e);
        e->key = bs_arena_strdup(arena, bs_json_key(v));
        e->value = printed(arena, v);
        if (!e->key)
            return BS_FAIL(err, BS_ENOMEM, "no memory for a result");
        p->parameters[p->n_parameters++] = e;
    }
    return BS_OK;
}

static bs_status warnings(struct bs_arena *arena, const struct bs_json_value *array,
                          Bioseg__V1__SegmentResult *r, struct bs_err *err)
{
    size_t n = bs_json_count(array);
    Bioseg__V1__Warning *entries = bs_arena_array(arena, n, sizeof *entries);
    r->warnings = bs_arena_array(arena, n, sizeof *r->warnings);
    if (n && (!entries || !r->warnings))
        return BS_FAIL(err, BS_ENOMEM, "no memory for a result");
    for (const struct bs_json_value *v = bs_json_first(array); v; v = bs_json_next(v)) {
        Bioseg__V1__Warning *w = &entries[r->n_warnings];
        bioseg__v1__warning__init(w);
        w->code = text_of(arena, bs_json_get(v, "code"));
        w->text = text_of(arena, bs_json_get(v, "text"));
        r->warnings[r->n_warnings++] = w;
    }
    return BS_OK;
}

static bs_status provenance(struct bs_arena *arena, const struct bs_json_value *root,
                            Bioseg__V1__Provenance *p, struct bs_err *err)
{
    const struct bs_json_value *model = bs_json_get(root, "model"), *device = bs_json_get(root, "device"),
                               *software = bs_json_get(root, "software");
    p->model_name = text_of(arena, bs_json_get(model, "name"));
    p->model_version = int_of(bs_json_get(model, "version"));
    p->model_sha256 = text_of(arena, bs_json_get(model, "sha256"));
    p->input_sha256 = text_of(arena, bs_json_get(root, "input_sha256"));
    p->software_version = bs__format(arena, "%s %s", text_of(arena, bs_json_get(software, "name")),
                                     text_of(arena, bs_json_get(software, "version")));
    p->plan_hash = text_of(arena, bs_json_get(root, "plan_hash"));
    p->algorithms = text_of(arena, bs_json_get(root, "algorithms"));
    p->device =
        bs__format(arena, "%s; %s; %s; %" PRId64 " threads", text_of(arena, bs_json_get(device, "name")),
                   text_of(arena, bs_json_get(device, "libraries")),
                   text_of(arena, bs_json_get(device, "isa")), int_of(bs_json_get(device, "threads")));
    bool tiled = false;
    if (bs_json_as_bool(bs_json_get(root, "tiled"), &tiled))
        p->tiled = tiled;
    bool kept = false;
    if (bs_json_as_bool(bs_json_get(root, "kept_maps"), &kept))
        p->kept_maps = kept;
    p->tile_px = (uint32_t)int_of(bs_json_get(root, "tile"));
    p->halo_px = (uint32_t)int_of(bs_json_get(root, "halo"));
    p->network_seconds = double_of(bs_json_get(root, "seconds_network"));
    p->postprocessing_seconds = double_of(bs_json_get(root, "seconds_instances"));
    return parameters(arena, bs_json_get(root, "parameters"), p, err);
}

/* Axes t and z, and what their planes have to do with each other. */
static bs_status stack(struct bs_arena *arena, const struct bs_json_value *v, Bioseg__V1__SegmentResult *r,
                       struct bs_err *err)
{
    const struct bs_json_value *size = bs_json_first(bs_json_get(v, "shape"));
    const char *axes = text_of(arena, bs_json_get(v, "axes"));
    const size_t n = strlen(axes);
    if (!v)
        return BS_OK;
    Bioseg__V1__Axis *axis = bs_arena_array(arena, n, sizeof *axis);
    r->plane_axes = bs_arena_array(arena, n, sizeof *r->plane_axes);
    r->planes = text_of(arena, bs_json_get(v, "planes"));
    if (!axis || !r->plane_axes)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a result");
    for (size_t i = 0; i < n && size; i++, size = bs_json_next(size)) {
        bioseg__v1__axis__init(&axis[i]);
        axis[i].name = bs__format(arena, "%c", axes[i]);
        axis[i].size = (uint64_t)int_of(size);
        double spacing = axes[i] == 'z' ? double_of(bs_json_get(v, "spacing_um")) : 0;
        if (spacing > 0) {
            axis[i].pixel_size = spacing;
            axis[i].unit = (char *)(uintptr_t) "um";
        }
        r->plane_axes[r->n_plane_axes++] = &axis[i];
    }
    return BS_OK;
}

static bs_status region(struct bs_arena *arena, const struct bs_json_value *v, Bioseg__V1__SegmentResult *r,
                        struct bs_err *err)
{
    if (!v)
        return BS_OK;
    if (!(r->region = bs_arena_alloc(arena, sizeof *r->region)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for a result");
    bioseg__v1__region__init(r->region);
    r->region->y = (uint64_t)int_of(bs_json_get(v, "region_y"));
    r->region->x = (uint64_t)int_of(bs_json_get(v, "region_x"));
    r->region->height = (uint64_t)int_of(bs_json_get(v, "region_height"));
    r->region->width = (uint64_t)int_of(bs_json_get(v, "region_width"));
    r->region->z = (uint64_t)int_of(bs_json_get(v, "region_z"));
    r->region->depth = (uint64_t)int_of(bs_json_get(v, "region_depth"));
    r->region->t = (uint64_t)int_of(bs_json_get(v, "region_t"));
    r->region->duration = (uint64_t)int_of(bs_json_get(v, "region_duration"));
    return BS_OK;
}

bs_status bs__result_message(struct bs_arena *arena, const char *result_json, Bioseg__V1__SegmentResult **out,
                             uint32_t *map_channels, struct bs_err *err)
{
    struct bs_json *doc = NULL;
    bs_status rc = bs_json_parse(result_json, strlen(result_json), MAX_VALUES, &doc, err);
    if (rc != BS_OK)
        return rc;
    const struct bs_json_value *root = bs_json_root(doc);
    Bioseg__V1__SegmentResult *r = bs_arena_alloc(arena, sizeof *r);
    Bioseg__V1__Provenance *p = bs_arena_alloc(arena, sizeof *p);
    if (!r || !p) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a result");
        goto cleanup;
    }
    bioseg__v1__segment_result__init(r);
    bioseg__v1__provenance__init(p);
    r->object_count = (uint32_t)int_of(bs_json_get(root, "objects"));
    r->height = (uint64_t)int_of(bs_json_get(root, "height"));
    r->width = (uint64_t)int_of(bs_json_get(root, "width"));
    r->pixel_size_um = double_of(bs_json_get(root, "pixel_size_um"));
    r->provenance = p;
    if (map_channels)
        *map_channels = (uint32_t)int_of(bs_json_get(root, "channels"));
    if ((rc = provenance(arena, root, p, err)) != BS_OK ||
        (rc = stack(arena, bs_json_get(root, "stack"), r, err)) != BS_OK ||
        (rc = region(arena, bs_json_get(root, "region"), r, err)) != BS_OK)
        goto cleanup;
    rc = warnings(arena, bs_json_get(root, "warnings"), r, err);
    *out = r;

cleanup:
    bs_json_free(doc);
    return rc;
}

/* ---- object table ---- */

Bioseg__V1__ObjectTable *bs__object_table(struct bs_arena *arena, const struct bs_object *objects,
                                          size_t count, const Bioseg__V1__SegmentResult *result)
{
    const double pixel_size_um = result->pixel_size_um;
    Bioseg__V1__ObjectTable *t = bs_arena_alloc(arena, sizeof *t);
    if (!t)
        return NULL;
    bioseg__v1__object_table__init(t);
    uint32_t *words = bs_arena_array(arena, count, 8 * sizeof *words);
    uint64_t *areas = bs_arena_array(arena, count, sizeof *areas);
    double *doubles = bs_arena_array(arena, count, 7 * sizeof *doubles);
    if (!words || !areas || !doubles)
        return NULL;
    t->id = words;
    t->top = words + count;
    t->left = words + 2 * count;
    t->bottom = words + 3 * count;
    t->right = words + 4 * count;
    t->t = words + 5 * count;
    t->z = words + 6 * count;
    t->z_end = words + 7 * count;
    t->area_px = areas;
    t->centroid_y_px = doubles;
    t->centroid_x_px = doubles + count;
    t->mean_intensity = doubles + 2 * count;
    t->area_um2 = doubles + 3 * count;
    t->centroid_y_um = doubles + 4 * count;
    t->centroid_x_um = doubles + 5 * count;
    t->centroid_z = doubles + 6 * count;
    for (size_t i = 0; i < count; i++) {
        const struct bs_object *o = &objects[i];
        t->id[i] = o->id;
        t->area_px[i] = o->area;
        t->centroid_y_px[i] = o->centroid_y;
        t->centroid_x_px[i] = o->centroid_x;
        t->top[i] = o->top;
        t->left[i] = o->left;
        t->bottom[i] = o->bottom;
        t->right[i] = o->right;
        t->mean_intensity[i] = o->mean_intensity;
        t->area_um2[i] = (double)o->area * pixel_size_um * pixel_size_um;
        t->centroid_y_um[i] = o->centroid_y * pixel_size_um;
        t->centroid_x_um[i] = o->centroid_x * pixel_size_um;
        t->t[i] = o->t;
        t->z[i] = o->z;
        t->z_end[i] = o->z_end;
        t->centroid_z[i] = o->centroid_z;
    }
    t->n_id = t->n_area_px = t->n_centroid_y_px = t->n_centroid_x_px = count;
    t->n_top = t->n_left = t->n_bottom = t->n_right = t->n_mean_intensity = count;
    if (pixel_size_um > 0)
        t->n_area_um2 = t->n_centroid_y_um = t->n_centroid_x_um = count;
    if (result->n_plane_axes > 0)
        t->n_t = t->n_z = t->n_z_end = t->n_centroid_z = count;
    return t;
}

static bs_status send_objects(struct bs_call *call, const struct bs_object *objects, size_t count,
                              const Bioseg__V1__SegmentResult *result, struct bs_err *err)
{
    for (size_t first = 0; first < count; first += TABLE_ROWS) {
        size_t rows = count - first < TABLE_ROWS ? count - first : TABLE_ROWS;
        struct bs_arena *arena = bs_arena_create((size_t)1 << 20);
        Bioseg__V1__ObjectTable *t = arena ? bs__object_table(arena, objects + first, rows, result) : NULL;
        bs_status rc = t ? bs_call_write_inside(call, FIELD_OBJECTS, &t->base, NULL, 0, err)
                         : BS_FAIL(err, BS_ENOMEM, "no memory for the object table");
        bs_arena_destroy(arena);
        if (rc != BS_OK)
            return rc;
    }
    return BS_OK;
}

/* ---- chunks ---- */

/* The next piece of a file as a mapping of its own. */
static bs_status read_piece(const struct bs__artifact *source, uint64_t offset, size_t n,
                            struct bs_mapping **out, struct bs_err *err)
{
    void *buffer;
    bs_status rc = bs_mapping_create_buffer(n, out, &buffer, err);
    if (rc != BS_OK)
        return rc;
    for (size_t got = 0; got < n;) {
        ssize_t more = pread(source->fd, (char *)buffer + got, n - got, (off_t)(offset + got));
        if (more <= 0) {
            bs_mapping_unref(*out);
            return BS_FAIL(err, BS_EIO, "stored data is shorter than it was");
        }
        got += (size_t)more;
    }
    return BS_OK;
}

bs_status bs__send_bytes(struct bs_call *call, uint32_t outer, uint32_t artifact,
                         const struct bs__artifact *source, struct bs_err *err)
{
    bs_status rc = BS_OK;
    for (uint64_t offset = 0; offset < source->bytes && rc == BS_OK;) {
        size_t n = source->bytes - offset < BS_CHUNK_MAX_BYTES ? (size_t)(source->bytes - offset)
                                                               : BS_CHUNK_MAX_BYTES;
        struct bs_mapping *own = NULL;
        if (!source->mapping && (rc = read_piece(source, offset, n, &own, err)) != BS_OK)
            break;
        const struct bs_call_bytes data = {FIELD_CHUNK_DATA, own ? own : source->mapping,
                                           own ? 0 : (size_t)offset, n};
        Bioseg__V1__Chunk chunk = BIOSEG__V1__CHUNK__INIT;
        chunk.offset = offset;
        chunk.artifact = artifact;
        chunk.crc32c = bs_crc32c(0, (const char *)bs_mapping_data(data.mapping) + data.offset, n);
        rc = bs_call_write_inside(call, outer, &chunk.base, &data, 1, err);
        bs_mapping_unref(own);
        offset += n;
    }
    return rc;
}

/* ---- whole results ---- */

#define MAX_ARTIFACTS 2
#define MAX_AXES      5

static void describe(const struct bs__artifact *a, const Bioseg__V1__SegmentResult *result,
                     Bioseg__V1__Artifact *message, Bioseg__V1__ImageDescription *image,
                     Bioseg__V1__Axis *axes, Bioseg__V1__Axis **pointers)
{
    static const char *const names[] = {"c", "y", "x"};
    const uint64_t sizes[] = {a->channels, result->height, result->width};
    int first = a->channels ? 0 : 1, n = 0;
    bioseg__v1__artifact__init(message);
    bioseg__v1__image_description__init(image);
    for (size_t i = 0; i < result->n_plane_axes && i < MAX_AXES - 3; i++)
        pointers[n++] = result->plane_axes[i];
    for (int i = first; i < 3; i++, n++) {
        bioseg__v1__axis__init(&axes[n]);
        axes[n].name = (char *)(uintptr_t)names[i];
        axes[n].size = sizes[i];
        if (i > 0 && result->pixel_size_um > 0) {
            axes[n].pixel_size = result->pixel_size_um;
            axes[n].unit = (char *)(uintptr_t) "um";
        }
        pointers[n] = &axes[n];
    }
    image->encoding = BIOSEG__V1__IMAGE_ENCODING__IMAGE_ENCODING_RAW;
    image->sample_type = a->channels ? BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_FLOAT32
                                     : BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT32;
    image->axes = pointers;
    image->n_axes = (size_t)n;
    message->output = a->output;
    message->image = image;
    message->total_bytes = a->bytes;
}

bs_status bs__send_result(struct bs_call *call, Bioseg__V1__SegmentResult *result,
                          const struct bs__artifact *artifacts, size_t nartifact,
                          const struct bs_object *objects, size_t nobject, struct bs_err *err)
{
    Bioseg__V1__ResultStart start = BIOSEG__V1__RESULT_START__INIT;
    Bioseg__V1__ChunkEnd end = BIOSEG__V1__CHUNK_END__INIT;
    Bioseg__V1__Artifact message[MAX_ARTIFACTS], *pointer[MAX_ARTIFACTS];
    Bioseg__V1__ImageDescription image[MAX_ARTIFACTS];
    Bioseg__V1__Axis axes[MAX_ARTIFACTS][MAX_AXES], *axis_pointer[MAX_ARTIFACTS][MAX_AXES];
    bs_status rc;
    BS_ASSERT(nartifact <= MAX_ARTIFACTS);
    for (size_t i = 0; i < nartifact; i++) {
        describe(&artifacts[i], result, &message[i], &image[i], axes[i], axis_pointer[i]);
        pointer[i] = &message[i];
        end.total_bytes += artifacts[i].bytes;
    }
    start.result = result;
    start.artifacts = pointer;
    start.n_artifacts = nartifact;
    if ((rc = bs_call_write_inside(call, FIELD_START, &start.base, NULL, 0, err)) != BS_OK ||
        (rc = send_objects(call, objects, nobject, result, err)) != BS_OK)
        return rc;
    for (size_t i = 0; i < nartifact; i++) {
        if ((rc = bs__send_bytes(call, FIELD_CHUNK, (uint32_t)i, &artifacts[i], err)) != BS_OK)
            return rc;
    }
    return bs_call_write_inside(call, FIELD_END, &end.base, NULL, 0, err);
}
