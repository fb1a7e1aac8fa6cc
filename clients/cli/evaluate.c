/* bioseg evaluate: label images against the truth, on this machine, without a server. */
#include "clients/cli/cli.h"
#include "clients/cli/inputs.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/output.h"

#include "kernels/base/checked.h"
#include "model/image/image.h"
#include "model/instances/evaluate.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_MIN_SIZE 50 /* of the paper's recipes, and of our models unless they say otherwise */

struct arguments {
    struct bs__cli *cli;
    int64_t min_size;
    char *path[2]; /* prediction, truth */
    int npath;
};

static const struct argp_option options[] = {{"min-size", 'm', "PIXELS", 0,
                                              "size filter whose ceiling is printed: the best mSA possible "
                                              "when smaller objects are removed (default: 50, 0: none)",
                                              10},
                                             {0}};

static const char doc[] =
    "Compares label images with the truth: mean segmentation accuracy over IoU 0.50 to 0.95 (mSA), and at "
    "0.50 and 0.75 "
    "(SA50, SA75). PREDICTION and TRUTH are two files or two folders, whose files are matched by name "
    "without extension."
    "\v"
    "Images that are empty in both are counted apart: the mean is given with them at 0, as the reference "
    "scores them, and "
    "without them. The ceiling is what the truth itself would score after the size filter.\n"
    "\n"
    "Examples:\n"
    "  bioseg evaluate results/cell1.tif truth/cell1.tif\n"
    "  bioseg evaluate results/ truth/\n"
    "  bioseg evaluate --min-size 0 --json results/ truth/\n";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    char *end;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = a->cli;
        return 0;
    case 'm':
        a->min_size = strtoll(arg, &end, 10);
        if (!isdigit((unsigned char)arg[0]) || *end || a->min_size > (1 << 30))
            argp_error(state, "--min-size %s is not a whole number from 0 to %d", arg, 1 << 30);
        return 0;
    case ARGP_KEY_ARG:
        if (a->npath == 2)
            argp_error(state, "'%s' is one argument too many: PREDICTION and TRUTH are expected", arg);
        a->path[a->npath++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (a->npath < 2)
            argp_error(state, "PREDICTION and TRUTH are expected");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool label_at(const struct bs_image *im, size_t i, uint32_t *out)
{
    double v;
    switch (im->sample) {
    case BS_SAMPLE_U8:
        *out = ((const uint8_t *)im->data)[i];
        return true;
    case BS_SAMPLE_U16:
        *out = ((const uint16_t *)im->data)[i];
        return true;
    case BS_SAMPLE_U32:
        *out = ((const uint32_t *)im->data)[i];
        return true;
    case BS_SAMPLE_I8:
        v = ((const int8_t *)im->data)[i];
        break;
    case BS_SAMPLE_I16:
        v = ((const int16_t *)im->data)[i];
        break;
    case BS_SAMPLE_I32:
        v = ((const int32_t *)im->data)[i];
        break;
    case BS_SAMPLE_F32:
        v = (double)((const float *)im->data)[i];
        break;
    default:
        v = ((const double *)im->data)[i];
    }
    if (!(v >= 0 && v <= (double)UINT32_MAX) || v != floor(v))
        return false;
    *out = (uint32_t)v;
    return true;
}

/* Labels of any number of planes as one tall plane: overlaps are counted per pixel, so that changes nothing. */
static bs_status read_labels(const char *path, uint32_t **labels, size_t *height, size_t *width,
                             struct bs_err *err)
{
    struct bs_image *im = NULL;
    uint32_t *out = NULL;
    size_t n;
    bs_status rc = bs_image_read_file(path, &bs_image_default_limits, &im, err);
    if (rc != BS_OK) {
        bs_err_prefix(err, "%s", path);
        goto cleanup;
    }
    int c = bs_image_axis(im, 'c');
    if (c >= 0 && im->dim[c] != 1) {
        rc = BS_FAIL(err, BS_EINVAL, "%s has %zu channels: a label image has one", path, im->dim[c]);
        goto cleanup;
    }
    *width = im->dim[bs_image_axis(im, 'x')];
    n = im->bytes / bs_sample_size(im->sample);
    *height = n / *width;
    if (n > SIZE_MAX / sizeof *out || !(out = malloc(n * sizeof *out))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the labels of %s", path);
        goto cleanup;
    }
    for (size_t i = 0; i < n; i++)
        if (!label_at(im, i, &out[i])) {
            rc = BS_FAIL(err, BS_EINVAL,
                         "%s is not a label image: it has samples that are not whole numbers from 0", path);
            goto cleanup;
        }
    *labels = out;
    out = NULL;
cleanup:
    free(out);
    bs_image_unref(im);
    return rc;
}

static bs_status evaluate_pair(const char *prediction, const char *truth, int64_t min_size,
                               struct bs_accuracy *out, struct bs_err *err)
{
    uint32_t *p = NULL, *t = NULL;
    size_t ph, pw, th, tw;
    bs_status rc = read_labels(prediction, &p, &ph, &pw, err);
    if (rc == BS_OK)
        rc = read_labels(truth, &t, &th, &tw, err);
    if (rc == BS_OK && (ph != th || pw != tw))
        rc = BS_FAIL(err, BS_EINVAL, "%s is %zux%zu, %s is %zux%zu: they must be of one size", prediction, ph,
                     pw, truth, th, tw);
    if (rc == BS_OK)
        rc = bs_evaluate(p, t, th, tw, min_size, out, err);
    free(p);
    free(t);
    return rc;
}

struct pairs {
    struct bs__inputs list[2];
    size_t (*index)[2]; /* into list; SIZE_MAX: no prediction */
    size_t count;
};

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bs_status match(const struct arguments *a, struct pairs *pairs, struct bs_err *err)
{
    bool folders = is_folder(a->path[0]);
    if (folders != is_folder(a->path[1]))
        return BS_FAIL(err, BS_EINVAL, "%s and %s must be two files or two folders", a->path[0], a->path[1]);
    for (int k = 0; k < 2; k++) {
        bs_status rc = bs__inputs_collect(&a->path[k], 1, false, NULL, &pairs->list[k], err);
        if (rc != BS_OK)
            return rc;
    }
    size_t n = pairs->list[1].count, m = pairs->list[0].count;
    if (!folders && (n != 1 || m != 1))
        return BS_FAIL(err, BS_EINVAL, "patterns are not taken here: give two files or two folders");
    if (!(pairs->index = calloc(n, sizeof *pairs->index)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu pairs", n);
    pairs->count = n;
    /* Both lists are in natural order, but stems repeat with other extensions: a plain search is quick enough. */
    for (size_t i = 0; i < n; i++) {
        size_t hits = 0;
        pairs->index[i][0] = SIZE_MAX;
        pairs->index[i][1] = i;
        for (size_t j = 0; j < m; j++)
            if (!folders || strcmp(pairs->list[0].item[j].stem, pairs->list[1].item[i].stem) == 0) {
                pairs->index[i][0] = j;
                hits++;
            }
        if (hits > 1)
            return BS_FAIL(err, BS_EINVAL, "%s holds %zu files called '%s'", a->path[0], hits,
                           pairs->list[1].item[i].stem);
    }
    return BS_OK;
}

static void free_pairs(struct pairs *pairs)
{
    for (int k = 0; k < 2; k++)
        bs__inputs_free(&pairs->list[k]);
    free(pairs->index);
}

struct totals {
    size_t scored, both_empty, failed;
    double msa, sa50, sa75,
        ceiling; /* sums over all scored images; those empty in both add 0 to the first three */
    uint64_t predicted, expected, below;
};

static void add_row(json_t *rows, const char *name, const struct bs_accuracy *s, struct totals *t)
{
    t->scored++;
    t->both_empty += s->both_empty;
    t->msa += s->msa;
    t->sa50 += s->at[0];
    t->sa75 += s->at[5];
    if (!s->both_empty)
        t->ceiling += s->size_ceiling;
    t->predicted += s->predicted;
    t->expected += s->expected;
    t->below += s->expected_below_min_size;
    json_array_append_new(rows, json_pack("{s:o, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:b, s:f, s:I}",
                                          "image", bs__json_text(name), "msa", s->msa, "sa50", s->at[0],
                                          "sa75", s->at[5], "precision50", s->precision50, "recall50",
                                          s->recall50, "f1_50", s->f1_50, "predicted",
                                          (json_int_t)s->predicted, "expected", (json_int_t)s->expected,
                                          "both_empty", s->both_empty, "size_ceiling", s->size_ceiling,
                                          "expected_below_min_size", (json_int_t)s->expected_below_min_size));
}

static json_t *mean_of(double sum, size_t n)
{
    return n ? json_real(sum / (double)n) : json_null();
}

static json_t *summary_of(const struct arguments *a, const struct totals *t)
{
    size_t objects_in = t->scored - t->both_empty;
    return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:I, s:I, s:I}", "images",
                     (json_int_t)t->scored, "empty_in_both", (json_int_t)t->both_empty, "failed",
                     (json_int_t)t->failed, "msa", mean_of(t->msa, t->scored), "sa50",
                     mean_of(t->sa50, t->scored), "sa75", mean_of(t->sa75, t->scored), "msa_without_empty",
                     mean_of(t->msa, objects_in), "sa50_without_empty", mean_of(t->sa50, objects_in),
                     "sa75_without_empty", mean_of(t->sa75, objects_in), "min_size", (json_int_t)a->min_size,
                     "size_ceiling_msa", mean_of(t->ceiling, objects_in), "predicted",
                     (json_int_t)t->predicted, "expected", (json_int_t)t->expected, "expected_below_min_size",
                     (json_int_t)t->below);
}

static void print_human(const struct arguments *a, const json_t *rows, const json_t *summary,
                        const struct totals *t)
{
    static const struct bs__column columns[] = {
        {"IMAGE", "image", false},      {"mSA", "msa", true},          {"SA50", "sa50", true},
        {"SA75", "sa75", true},         {"F1@50", "f1_50", true},      {"PREDICTED", "predicted", true},
        {"EXPECTED", "expected", true}, {"EMPTY", "both_empty", false}};
    FILE *out = a->cli->out;
    bs__print_table(out, rows, columns, sizeof columns / sizeof *columns);
    if (!t->scored)
        return;
    fprintf(out, "\nmean of %zu image%s: mSA %.4f, SA50 %.4f, SA75 %.4f\n", t->scored,
            t->scored == 1 ? "" : "s", json_number_value(json_object_get(summary, "msa")),
            json_number_value(json_object_get(summary, "sa50")),
            json_number_value(json_object_get(summary, "sa75")));
    if (t->both_empty && t->both_empty < t->scored)
        fprintf(out,
                "%zu of them empty in both, counted as 0; without them: mSA %.4f, SA50 %.4f, SA75 %.4f\n",
                t->both_empty, json_number_value(json_object_get(summary, "msa_without_empty")),
                json_number_value(json_object_get(summary, "sa50_without_empty")),
                json_number_value(json_object_get(summary, "sa75_without_empty")));
    else if (t->both_empty)
        fprintf(out, "all of them empty in both, counted as 0\n");
    if (a->min_size > 0 && t->both_empty < t->scored)
        fprintf(out,
                "ceiling with a minimum size of %lld pixels: mSA %.4f (%llu of %llu expected objects are "
                "smaller)\n",
                (long long)a->min_size, json_number_value(json_object_get(summary, "size_ceiling_msa")),
                (unsigned long long)t->below, (unsigned long long)t->expected);
}

int bs__evaluate_main(struct bs__cli *cli, int argc, char **argv)
{
    struct arguments args = {.cli = cli, .min_size = DEFAULT_MIN_SIZE};
    const struct argp_child children[] = {{.argp = &bs__output_argp}, {0}};
    const struct argp argp = {.options = options,
                              .parser = parse,
                              .args_doc = "PREDICTION TRUTH",
                              .doc = doc,
                              .children = children};
    struct pairs pairs = {0};
    struct totals totals = {0};
    struct bs_err err = {0};
    json_t *rows = json_array(), *summary = NULL;
    int code = BS__EXIT_OK;
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (match(&args, &pairs, &err) != BS_OK) {
        code = bs__complain(cli, &err, bs__exit_of_local(err.code));
        goto cleanup;
    }
    for (size_t i = 0; i < pairs.count; i++) {
        const struct bs__input *truth = &pairs.list[1].item[pairs.index[i][1]];
        struct bs_accuracy score;
        bs_status rc = BS_OK;
        if (bs__interrupted(cli->interrupt)) {
            code = BS__EXIT_INTERRUPTED;
            goto cleanup;
        }
        if (pairs.index[i][0] == SIZE_MAX)
            rc = BS_FAIL(&err, BS_ENOTFOUND, "%s has no counterpart in %s", truth->path, args.path[0]);
        else
            rc = evaluate_pair(pairs.list[0].item[pairs.index[i][0]].path, truth->path, args.min_size, &score,
                               &err);
        if (rc == BS_OK) {
            add_row(rows, truth->stem, &score, &totals);
        } else {
            fprintf(stderr, "bioseg: %s\n", err.msg);
            totals.failed++;
        }
    }
    summary = summary_of(&args, &totals);
    if (cli->json) {
        json_t *all = json_pack("{s:O, s:O}", "images", rows, "summary", summary);
        bs__print_json(cli->out, all);
        json_decref(all);
    } else {
        print_human(&args, rows, summary, &totals);
    }
    if (totals.failed)
        code = totals.scored ? BS__EXIT_SOME_FAILED : BS__EXIT_LOCAL;
cleanup:
    json_decref(summary);
    json_decref(rows);
    free_pairs(&pairs);
    return code;
}
