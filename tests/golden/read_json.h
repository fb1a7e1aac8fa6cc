/* JSON files of reference values: our own reader (model/weights/json.h), so that golden_check builds where nothing but the C
   library is. What is not there reads as a value that fails the check. */
#ifndef BS_TESTS_GOLDEN_READ_JSON_H
#define BS_TESTS_GOLDEN_READ_JSON_H

#include "model/weights/json.h"
#include "tests/golden/golden.h"

/* Reads folder/file, which then counts as looked at; the caller frees *out with bs_json_free. */
bs_status golden_json(struct golden *g, const char *folder, const char *file, struct bs_json **out,
                      struct bs_err *err) BS_NODISCARD;

/* Members of an object (or NULL): -1, infinity or NULL where there is none of that type. */
int64_t golden_json_int(const struct bs_json_value *object, const char *key);
double golden_json_number(const struct bs_json_value *object, const char *key);
const char *golden_json_string(const struct bs_json_value *object, const char *key);

/* Loops over an array (or NULL: no turns). */
#define GOLDEN_JSON_EACH(member, array)                                                                      \
    for (const struct bs_json_value *member = (array) ? bs_json_first(array) : NULL; member;                 \
         member = bs_json_next(member))

#endif
