/* bioseg.v1.Dataset and bioseg.v1.Pair from records of the store. Any thread. */
#include "server/service/datasets_internal.h"

#include <stdlib.h>

static char *keep(struct bs_arena *arena, const char *text)
{
    char *copy = bs_arena_strdup(arena, text ? text : "");
    return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

static void shared_groups(struct bs_services *s, struct bs_arena *arena, int64_t number,
                          Bioseg__V1__Dataset *m)
{
    char **names = NULL;
    int count = 0;
    struct bs_err ignored;
    if (bs_store_dataset_shared_groups(s->store, number, &names, &count, &ignored) != BS_OK)
        return;
    m->groups_across_splits = bs_arena_array(arena, (size_t)count + 1, sizeof *m->groups_across_splits);
    for (int i = 0; i < count; i++) {
        if (m->groups_across_splits)
            m->groups_across_splits[m->n_groups_across_splits++] = keep(arena, names[i]);
        free(names[i]);
    }
    free(names);
}

Bioseg__V1__Dataset *bs__dataset_message(struct bs_services *s, struct bs_arena *arena,
                                         const struct bs_dataset_record *d, bool with_groups)
{
    Bioseg__V1__Dataset *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__dataset__init(m);
    m->name = keep(arena, d->name);
    m->owner = keep(arena, d->owner);
    m->project = keep(arena, d->project);
    m->description = keep(arena, d->description);
    m->licence = keep(arena, d->licence);
    m->n_labels =
        bs__labels_from_json(arena, d->labels, &bioseg__v1__dataset__labels_entry__descriptor, &m->labels);
    m->created_ms = d->created_ms;
    m->expires_ms = d->expires_ms;
    m->train_count = d->pairs[BS_SPLIT_TRAIN];
    m->validation_count = d->pairs[BS_SPLIT_VALIDATION];
    m->test_count = d->pairs[BS_SPLIT_TEST];
    m->pair_count = m->train_count + m->validation_count + m->test_count;
    m->total_bytes = d->bytes;
    if (with_groups)
        shared_groups(s, arena, d->number, m);
    return m;
}

static Bioseg__V1__SampleType sample_message(enum bs_sample sample)
{
    static const Bioseg__V1__SampleType type[BS_SAMPLE_COUNT] = {
        [BS_SAMPLE_U8] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT8,
        [BS_SAMPLE_U16] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT16,
        [BS_SAMPLE_U32] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT32,
        [BS_SAMPLE_I8] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_INT8,
        [BS_SAMPLE_I16] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_INT16,
        [BS_SAMPLE_I32] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_INT32,
        [BS_SAMPLE_F32] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_FLOAT32,
        [BS_SAMPLE_F64] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_FLOAT64,
    };
    return type[sample];
}

static Bioseg__V1__ImageDescription *file_message(struct bs_arena *arena, const struct bs_file_info *f)
{
    Bioseg__V1__ImageDescription *m = bs_arena_alloc(arena, sizeof *m);
    Bioseg__V1__Axis *axes = bs_arena_array(arena, (size_t)f->ndim, sizeof *axes);
    Bioseg__V1__Axis **list = bs_arena_array(arena, (size_t)f->ndim, sizeof *list);
    if (!m || !axes || !list)
        return NULL;
    bioseg__v1__image_description__init(m);
    m->encoding = f->raw ? BIOSEG__V1__IMAGE_ENCODING__IMAGE_ENCODING_RAW
                         : BIOSEG__V1__IMAGE_ENCODING__IMAGE_ENCODING_FILE;
    m->sample_type = sample_message(f->sample);
    for (int i = 0; i < f->ndim; i++) {
        bioseg__v1__axis__init(&axes[i]);
        axes[i].name = bs__format(arena, "%c", f->axes[i]);
        axes[i].size = f->dim[i];
        axes[i].pixel_size = f->pixel_size[i];
        if (f->pixel_size[i] > 0)
            axes[i].unit = keep(arena, f->unit);
        list[i] = &axes[i];
    }
    m->axes = list;
    m->n_axes = (size_t)f->ndim;
    return m;
}

Bioseg__V1__Pair *bs__pair_message(struct bs_arena *arena, const struct bs_pair_record *p)
{
    static const Bioseg__V1__Split split[BS_SPLITS] = {
        BIOSEG__V1__SPLIT__SPLIT_TRAIN, BIOSEG__V1__SPLIT__SPLIT_VALIDATION, BIOSEG__V1__SPLIT__SPLIT_TEST};
    struct bs_pair_info info;
    struct bs_err ignored;
    Bioseg__V1__Pair *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__pair__init(m);
    m->id = keep(arena, p->id);
    m->name = keep(arena, p->name);
    m->group = keep(arena, p->group);
    m->split = split[p->split];
    m->image_sha256 = keep(arena, p->image_blob);
    m->labels_sha256 = keep(arena, p->labels_blob);
    m->prediction_sha256 = keep(arena, p->prediction_blob);
    m->created_ms = p->created_ms;
    m->annotation = bs__annotation_message(arena, p->annotation);
    /* What a newer bioseg wrote and this one does not know stays empty. */
    if (bs_pair_info_from_json(p->info_json, &info, &ignored) == BS_OK) {
        m->image = file_message(arena, &info.image);
        m->labels = file_message(arena, &info.labels);
        if (info.has_prediction)
            m->prediction = file_message(arena, &info.prediction);
        m->object_count = info.objects;
    }
    return m;
}
