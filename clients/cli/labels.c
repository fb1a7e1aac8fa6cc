/* Labels from the command line. See labels.h. */
#include "clients/cli/labels.h"

#include "bioseg/v1/jobs.pb-c.h"
#include "bioseg/v1/models.pb-c.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct bs__label) == sizeof(Bioseg__V1__SubmitJobStart__LabelsEntry) &&
                   sizeof(struct bs__label) == sizeof(Bioseg__V1__ListModelsRequest__LabelsEntry),
               "the entries of maps have one layout");

static struct bs__label *find(const struct bs__labels *l, const char *key)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->label[i].key, key) == 0)
            return (struct bs__label *)&l->label[i];
    return NULL;
}

bool bs__labels_have(const struct bs__labels *l, const char *key)
{
    return find(l, key) != NULL;
}

bs_status bs__labels_set(struct bs__labels *l, const char *key, const char *value, struct bs_err *err)
{
    struct bs__label *at = find(l, key);
    char *copy = strdup(value);
    if (!copy)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a label");
    if (at) {
        free(at->value);
        at->value = copy;
        return BS_OK;
    }
    char *name = l->n < BS__MAX_LABELS ? strdup(key) : NULL;
    if (!name) {
        free(copy);
        return BS_FAIL(err, l->n < BS__MAX_LABELS ? BS_ENOMEM : BS_EINVAL,
                       "the label %.80s cannot be added: at most %d are accepted", key, BS__MAX_LABELS);
    }
    l->label[l->n].key = name;
    l->label[l->n++].value = copy;
    return BS_OK;
}

bs_status bs__labels_parse(struct bs__labels *l, const char *text, struct bs_err *err)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return BS_FAIL(err, BS_EINVAL, "--label %.80s: expected KEY=VALUE", text);
    char *key = strndup(text, (size_t)(equals - text));
    bs_status rc = BS_OK;
    if (!key)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a label");
    if (bs__labels_have(l, key))
        rc = BS_FAIL(err, BS_EINVAL, "--label %.80s: the key %.60s is given twice", text, key);
    else
        rc = bs__labels_set(l, key, equals + 1, err);
    free(key);
    return rc;
}

void *bs__labels_entries(struct bs__labels *l, const ProtobufCMessageDescriptor *entry)
{
    for (size_t i = 0; i < l->n; i++) {
        char *key = l->label[i].key, *value = l->label[i].value;
        protobuf_c_message_init(entry, &l->label[i]);
        l->label[i].key = key;
        l->label[i].value = value;
        l->pointer[i] = &l->label[i];
    }
    return l->n ? l->pointer : NULL;
}

void bs__labels_free(struct bs__labels *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->label[i].key);
        free(l->label[i].value);
    }
    l->n = 0;
}
