/* Fuzzes the reader of data sets' manifests: what it accepts is written as a text that reads back as the same text, with the same
   hash. */
#include "model/dataset/manifest.h"
#include "tests/fuzz/input_file.h"

#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bs_manifest m, back;
    char *text, *again, hash[BS_SHA256_TEXT], other[BS_SHA256_TEXT];
    if (bs_manifest_parse((const char *)data, size, &m, NULL) != BS_OK)
        return 0;
    MUST(bs_manifest_write(&m, &text, NULL) == BS_OK);
    MUST(bs_manifest_parse(text, strlen(text), &back, NULL) == BS_OK);
    MUST(bs_manifest_write(&back, &again, NULL) == BS_OK);
    MUST(strcmp(text, again) == 0);
    const bs_status rc = bs_manifest_hash(&m, hash, NULL);
    MUST(bs_manifest_hash(&back, other, NULL) == rc);
    MUST(rc != BS_OK || strcmp(hash, other) == 0);
    bs_manifest_clear(&m);
    bs_manifest_clear(&back);
    free(text);
    free(again);
    return 0;
}
