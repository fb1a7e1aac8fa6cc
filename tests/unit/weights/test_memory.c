/* When memory runs out at any allocation, readers say so and leave nothing behind (LeakSanitizer looks on). */
#include "model/model.h"
#include "model/weights/safetensors.h"
#include "model/weights/torch_checkpoint.h"
#include "tests/support/fail_alloc.h"
#include "tests/unit/weights/weights_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void until_it_works(bs_status (*operation)(void *), void *ctx)
{
    bool failed = true;
    for (unsigned n = 1; failed; n++) {
        assert_true(n < 20000);
        bs_test_fail_alloc_at(n);
        bs_status rc = operation(ctx);
        failed = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        if (rc != (failed ? BS_ENOMEM : BS_OK) && !(failed && rc == BS_ELIMIT))
            fail_msg("allocation %u: %s", n, bs_status_name(rc));
    }
}

static bs_status open_safetensors(void *path)
{
    struct bs_safetensors *st = NULL;
    bs_status rc = bs_safetensors_open(path, &st, NULL);
    bs_safetensors_close(st);
    return rc;
}

static bs_status open_torch(void *path)
{
    struct bs_torch_checkpoint *c = NULL;
    bs_status rc = bs_torch_checkpoint_open(path, &c, NULL);
    bs_torch_checkpoint_close(c);
    return rc;
}

static bs_status read_description(void *json)
{
    struct bs_model_info info;
    return bs_model_info_from_json(json, strlen(json), &info, NULL);
}

static void safetensors_survive_any_failing_allocation(void **state)
{
    (void)state;
    until_it_works(open_safetensors, (void *)fixture_path("golden/small/unet_in/weights.safetensors"));
}

static void legacy_checkpoints_survive_any_failing_allocation(void **state)
{
    (void)state;
    until_it_works(open_torch, (void *)fixture_path("../fuzz/torch/seeds/legacy_2"));
}

static void descriptions_survive_any_failing_allocation(void **state)
{
    (void)state;
    static const char *const seeds[] = {"../fuzz/json/seeds/description.json",
                                        "../fuzz/json/seeds/description_unetr.json",
                                        "../fuzz/json/seeds/description_vimunet.json"};
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        size_t size;
        char *json = (char *)fixture(seeds[i], &size), *text = calloc(size + 1, 1);
        assert_non_null(text);
        memcpy(text, json, size);
        until_it_works(read_description, text);
        free(json);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_survive_any_failing_allocation),
        cmocka_unit_test(legacy_checkpoints_survive_any_failing_allocation),
        cmocka_unit_test(descriptions_survive_any_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
