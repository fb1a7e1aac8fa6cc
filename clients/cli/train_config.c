/* YAML of a training run. See train_config.h. */
#include "clients/cli/train_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

bs_status bs__train_config_set(char **field, const char *value, struct bs_err *err)
{
    char *copy = strdup(value);
    if (!copy)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the settings");
    free(*field);
    *field = copy;
    return BS_OK;
}

bs_status bs__train_config_param(struct bs__train_config *c, const char *name, const char *value,
                                 struct bs_err *err)
{
    size_t i = 0;
    while (i < c->n && strcmp(c->param[i].name, name) != 0)
        i++;
    if (i == BS__TRAIN_MAX_PARAMS)
        return BS_FAIL(err, BS_EINVAL, "more than %d parameters", BS__TRAIN_MAX_PARAMS);
    if (i == c->n) {
        if (!(c->param[i].name = strdup(name)))
            return BS_FAIL(err, BS_ENOMEM, "no memory for the settings");
        c->param[i].value = NULL;
        c->n++;
    }
    return bs__train_config_set(&c->param[i].value, value, err);
}

void bs__train_config_free(struct bs__train_config *c)
{
    char *const texts[] = {c->dataset, c->model, c->architecture, c->from, c->recipe, c->seed};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    for (size_t i = 0; i < c->n; i++) {
        free(c->param[i].name);
        free(c->param[i].value);
    }
    memset(c, 0, sizeof *c);
}

/* ---- reading ---- */

struct reader {
    const char *path;
    yaml_parser_t yaml;
    yaml_event_t event;
    bool has_event;
    struct bs_err *err;
};

static bs_status wrong(struct reader *r, const char *what)
{
    return BS_FAIL(r->err, BS_EINVAL, "%s, line %zu: %s", r->path, r->event.start_mark.line + 1, what);
}

/* The next event, which r owns. */
static bs_status next(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = false;
    if (!yaml_parser_parse(&r->yaml, &r->event))
        return BS_FAIL(r->err, BS_EINVAL, "%s, line %zu: no YAML: %s", r->path, r->yaml.problem_mark.line + 1,
                       r->yaml.problem ? r->yaml.problem : "unreadable");
    r->has_event = true;
    if (r->event.type == YAML_ALIAS_EVENT)
        return wrong(r, "aliases are not accepted; write the value again");
    return BS_OK;
}

/* The scalar that the event is; valid until the next one. */
static bs_status scalar(struct reader *r, const char *what, const char **out)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return wrong(r, what);
    if (r->event.data.scalar.anchor || r->event.data.scalar.tag)
        return wrong(r, "anchors and tags are not accepted");
    *out = (const char *)r->event.data.scalar.value;
    if (strlen(*out) != r->event.data.scalar.length)
        return wrong(r, "a text with a NUL in it is not accepted");
    return BS_OK;
}

static bs_status read_parameters(struct reader *r, struct bs__train_config *c)
{
    bs_status rc = next(r);
    if (rc != BS_OK)
        return rc;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return wrong(r, "parameters is a mapping of names to values");
    for (;;) {
        const char *text;
        char name[64];
        if ((rc = next(r)) != BS_OK || r->event.type == YAML_MAPPING_END_EVENT)
            return rc;
        if ((rc = scalar(r, "a parameter has a name", &text)) != BS_OK)
            return rc;
        if (strlen(text) >= sizeof name)
            return wrong(r, "a parameter's name has at most 63 characters");
        memcpy(name, text, strlen(text) + 1);
        for (size_t i = 0; i < c->n; i++)
            if (strcmp(c->param[i].name, name) == 0)
                return wrong(r, "the parameter is there twice");
        if ((rc = next(r)) != BS_OK || (rc = scalar(r, "a parameter has one value", &text)) != BS_OK ||
            (rc = bs__train_config_param(c, name, text, r->err)) != BS_OK)
            return rc;
    }
}

static bs_status read_member(struct reader *r, struct bs__train_config *c)
{
    const struct {
        const char *name;
        char **field;
    } known[] = {{"dataset", &c->dataset}, {"model", &c->model},   {"architecture", &c->architecture},
                 {"from", &c->from},       {"recipe", &c->recipe}, {"seed", &c->seed}};
    const char *text;
    bs_status rc = scalar(r, "a member has a name", &text);
    if (rc != BS_OK)
        return rc;
    if (strcmp(text, "parameters") == 0)
        return read_parameters(r, c);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(text, known[i].name) != 0)
            continue;
        if (*known[i].field)
            return wrong(r, "the member is there twice");
        if ((rc = next(r)) != BS_OK || (rc = scalar(r, "a text is accepted here", &text)) != BS_OK)
            return rc;
        return bs__train_config_set(known[i].field, text, r->err);
    }
    return wrong(r, "accepted are dataset, model, architecture, from, recipe, seed and parameters");
}

static bs_status read_document(struct reader *r, struct bs__train_config *c)
{
    bs_status rc;
    do { /* the beginnings of stream and document */
        if ((rc = next(r)) != BS_OK)
            return rc;
    } while (r->event.type == YAML_STREAM_START_EVENT || r->event.type == YAML_DOCUMENT_START_EVENT);
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return wrong(r, "a mapping is accepted: dataset: NAME, model: NAME, ...");
    for (;;) {
        if ((rc = next(r)) != BS_OK)
            return rc;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            break;
        if ((rc = read_member(r, c)) != BS_OK)
            return rc;
    }
    do {
        if ((rc = next(r)) != BS_OK)
            return rc;
    } while (r->event.type == YAML_DOCUMENT_END_EVENT);
    return r->event.type == YAML_STREAM_END_EVENT ? BS_OK : wrong(r, "one document is accepted");
}

bs_status bs__train_config_read(const char *path, struct bs__train_config *c, struct bs_err *err)
{
    struct reader r = {.path = path, .err = err};
    FILE *f = fopen(path, "rb");
    if (!f)
        return BS_FAIL(err, errno == ENOENT ? BS_ENOTFOUND : BS_EIO, "cannot read %s: %s", path,
                       strerror(errno));
    if (!yaml_parser_initialize(&r.yaml)) {
        (void)fclose(f);
        return BS_FAIL(err, BS_ENOMEM, "no memory to read %s", path);
    }
    yaml_parser_set_input_file(&r.yaml, f);
    bs_status rc = read_document(&r, c);
    if (r.has_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.yaml);
    (void)fclose(f);
    return rc;
}
