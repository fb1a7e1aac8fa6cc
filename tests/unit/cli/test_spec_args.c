/* Parameters are checked by the server's own description of the model before anything is sent. */
#include "clients/cli/spec_args.h"
#include "folder.h"

#include <string.h>

/* A model as a server might describe it. */
struct described {
    Bioseg__V1__Model model;
    Bioseg__V1__ParameterSpec spec[4], *specs[4];
    char *choices[2];
};

static void describe(struct described *d)
{
    bioseg__v1__model__init(&d->model);
    d->model.name = "nuclei";
    d->model.version = 3;
    d->model.sha256 = "abc";
    for (int i = 0; i < 4; i++) {
        bioseg__v1__parameter_spec__init(&d->spec[i]);
        d->specs[i] = &d->spec[i];
    }
    d->spec[0].name = "foreground_threshold";
    d->spec[0].type = BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_FLOAT;
    d->spec[0].maximum = 1;
    d->spec[1].name = "min_size";
    d->spec[1].type = BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_INT;
    d->spec[1].maximum = 1000;
    d->spec[1].unit = "px";
    d->spec[2].name = "fill_holes";
    d->spec[2].type = BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL;
    d->spec[3].name = "method";
    d->spec[3].type = BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_ENUM;
    d->choices[0] = "fast";
    d->choices[1] = "exact";
    d->spec[3].choices = d->choices;
    d->spec[3].n_choices = 2;
    d->model.parameters = d->specs;
    d->model.n_parameters = 4;
}

static const char *refusal(const char *assignment)
{
    static struct bs_err err;
    struct described d;
    struct bs__spec spec;
    struct bs__spec_args args = {.nset = 1, .set = {assignment}};
    describe(&d);
    memset(&err, 0, sizeof err);
    assert_int_equal(bs__spec_build(&args, &d.model, false, false, &spec, &err), BS_EINVAL);
    return err.msg;
}

static void values_out_of_range_are_refused_with_the_range(void **state)
{
    (void)state;
    assert_non_null(strstr(refusal("foreground_threshold=1.5"), "from 0 to 1"));
    assert_non_null(strstr(refusal("foreground_threshold=nan"), "from 0 to 1"));
    assert_non_null(strstr(refusal("foreground_threshold=0.5x"), "'0.5x'"));
    assert_non_null(strstr(refusal("min_size=10.5"), "a whole number from 0 to 1000 px"));
    assert_non_null(strstr(refusal("fill_holes=maybe"), "true or false"));
    assert_non_null(strstr(refusal("method=slow"), "fast, exact"));
    assert_non_null(strstr(refusal("2000"), "min_size = '2000'")); /* what --min-size becomes */
}

static void unknown_parameters_are_refused_with_those_there_are(void **state)
{
    (void)state;
    assert_non_null(strstr(refusal("threshold=1"), "foreground_threshold, min_size, fill_holes, method"));
}

static void the_request_holds_what_was_given_and_nothing_else(void **state)
{
    (void)state;
    struct described d;
    struct bs__spec spec;
    struct bs_err err = {0};
    struct bs__spec_args args = {
        .nset = 4,
        .set = {"min_size=20", "method=exact", "fill_holes=yes", "foreground_threshold=0.25"},
        .channel = "2",
        .has_no_data = true,
        .no_data = 0,
        .tile = 512,
        .pixel_size = 0.5};
    describe(&d);
    assert_int_equal(bs__spec_build(&args, &d.model, true, false, &spec, &err), BS_OK);
    assert_string_equal(spec.spec.model->name, "nuclei");
    assert_int_equal(spec.spec.model->version, 3); /* pinned, so that all images of a run use one version */
    assert_int_equal(spec.spec.n_parameters, 4);
    assert_string_equal(spec.spec.parameters[0]->key, "fill_holes"); /* in order of name */
    assert_int_equal(spec.spec.parameters[0]->value->kind_case, BIOSEG__V1__PARAMETER_VALUE__KIND_FLAG);
    assert_true(spec.spec.parameters[1]->value->number == 0.25);
    assert_string_equal(spec.spec.parameters[2]->value->choice, "exact");
    assert_true(spec.spec.parameters[3]->value->number == 20);
    assert_int_equal(spec.spec.channel_index, 2);
    assert_int_equal(spec.spec.no_data_presence_case, BIOSEG__V1__SEGMENT_SPEC__NO_DATA_PRESENCE_NO_DATA);
    assert_int_equal(spec.spec.tiling->tile_px, 512);
    assert_int_equal(spec.spec.tiling->halo_presence_case, 0);
    assert_int_equal(spec.spec.scaling_case, 0);
    assert_int_equal(spec.image.n_axes, 2);
    assert_true(spec.image.axes[1]->pixel_size == 0.5);
    assert_int_equal(spec.spec.n_outputs, 2);
    assert_int_equal(spec.spec.outputs[1], BIOSEG__V1__OUTPUT__OUTPUT_OBJECT_TABLE);
}

static void the_fingerprint_knows_parameters_and_model_but_not_their_order(void **state)
{
    (void)state;
    struct described d;
    struct bs__spec one, two;
    struct bs_err err = {0};
    char a[BS__SHA256_TEXT], b[BS__SHA256_TEXT];
    struct bs__spec_args first = {.nset = 2, .set = {"min_size=20", "method=exact"}};
    struct bs__spec_args swapped = {.nset = 2, .set = {"method=exact", "min_size=20"}};
    struct bs__spec_args other = {.nset = 2, .set = {"method=exact", "min_size=21"}};
    describe(&d);
    assert_int_equal(bs__spec_build(&first, &d.model, false, false, &one, &err), BS_OK);
    assert_int_equal(bs__spec_build(&swapped, &d.model, false, false, &two, &err), BS_OK);
    assert_int_equal(bs__spec_fingerprint(&one, &d.model, "tiff", false, a, &err), BS_OK);
    assert_int_equal(bs__spec_fingerprint(&two, &d.model, "tiff", false, b, &err), BS_OK);
    assert_string_equal(a, b);
    assert_int_equal(bs__spec_build(&other, &d.model, false, false, &two, &err), BS_OK);
    assert_int_equal(bs__spec_fingerprint(&two, &d.model, "tiff", false, b, &err), BS_OK);
    assert_string_not_equal(a, b);
    d.model.sha256 = "def";
    assert_int_equal(bs__spec_fingerprint(&one, &d.model, "tiff", false, b, &err), BS_OK);
    assert_string_not_equal(a, b);
}

static void a_parameter_given_twice_is_refused(void **state)
{
    (void)state;
    struct described d;
    struct bs__spec spec;
    struct bs_err err = {0};
    struct bs__spec_args args = {.nset = 2, .set = {"min_size=20", "30"}};
    describe(&d);
    assert_int_equal(bs__spec_build(&args, &d.model, false, false, &spec, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "given twice"));
}

static void models_are_named_with_or_without_version(void **state)
{
    (void)state;
    char name[65];
    Bioseg__V1__ModelRef ref;
    struct bs_err err = {0};
    assert_int_equal(bs__model_ref_parse("nuclei", name, &ref, &err), BS_OK);
    assert_int_equal(ref.selector_case, BIOSEG__V1__MODEL_REF__SELECTOR__NOT_SET);
    assert_int_equal(bs__model_ref_parse("nuclei@12", name, &ref, &err), BS_OK);
    assert_string_equal(ref.name, "nuclei");
    assert_int_equal(ref.version, 12);
    assert_int_equal(bs__model_ref_parse("nuclei@production", name, &ref, &err), BS_OK);
    assert_int_equal(ref.selector_case, BIOSEG__V1__MODEL_REF__SELECTOR_ALIAS);
    assert_string_equal(ref.alias, "production");
    static const char *const bad[] = {"", "@1", "nuclei@", "nuclei@0", "nuclei@_x", "nuclei@-1", "nu clei"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(bs__model_ref_parse(bad[i], name, &ref, &err), BS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_out_of_range_are_refused_with_the_range),
        cmocka_unit_test(unknown_parameters_are_refused_with_those_there_are),
        cmocka_unit_test(the_request_holds_what_was_given_and_nothing_else),
        cmocka_unit_test(the_fingerprint_knows_parameters_and_model_but_not_their_order),
        cmocka_unit_test(a_parameter_given_twice_is_refused),
        cmocka_unit_test(models_are_named_with_or_without_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
