/* Fuzzes the JSON reader, and model descriptions read with it: what reads must survive being written and read again. */
#include "model/model.h"
#include "model/weights/json.h"
#include "tests/fuzz/input_file.h"

#include <stdlib.h>
#include <string.h>

/* Touches every value, without recursion: a member's own members come after its siblings. */
static size_t touch(const struct bs_json_value *v)
{
    const struct bs_json_value *open[BS_JSON_MAX_DEPTH + 1];
    size_t depth = 0, sum = 0;
    open[depth++] = v;
    while (depth) {
        const struct bs_json_value *at = open[depth - 1];
        const char *text;
        double number;
        if (!at) {
            depth--;
            continue;
        }
        open[depth - 1] = depth == 1 ? NULL : bs_json_next(at);
        if (bs_json_as_string(at, &text))
            sum += strlen(text);
        if (bs_json_as_double(at, &number))
            sum += number > 0;
        if (bs_json_key(at))
            sum += strlen(bs_json_key(at));
        if (bs_json_first(at)) {
            if (depth > BS_JSON_MAX_DEPTH)
                abort();
            open[depth++] = bs_json_first(at);
        }
    }
    return sum;
}

static void read_description(const char *text, size_t len)
{
    struct bs_model_info info, again;
    char *json = NULL, *twice = NULL;
    if (bs_model_info_from_json(text, len, &info, NULL) != BS_OK)
        return;
    if (bs_model_info_to_json(&info, &json, NULL) != BS_OK ||
        bs_model_info_from_json(json, strlen(json), &again, NULL) != BS_OK ||
        bs_model_info_to_json(&again, &twice, NULL) != BS_OK || strcmp(json, twice) != 0)
        abort();
    free(json);
    free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bs_json *doc = NULL;
    if (bs_json_parse((const char *)data, size, 4096, &doc, NULL) == BS_OK)
        (void)touch(bs_json_root(doc));
    bs_json_free(doc);
    read_description((const char *)data, size);
    return 0;
}
