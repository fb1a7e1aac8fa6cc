/* Fuzzes the reader of COCO annotations: opens the input and draws every image that is not absurdly large, in both orders. */
#include "model/dataset/coco.h"
#include "tests/fuzz/input_file.h"

#include <stdlib.h>

#define LARGEST ((int64_t)1 << 16)

static void draw(const struct bs_coco *c, size_t i)
{
    const struct bs_coco_image *image = bs_coco_image(c, i);
    int64_t pixels = image->width * image->height;
    uint32_t count, *labels = pixels <= LARGEST ? malloc((size_t)pixels * sizeof *labels) : NULL;
    for (int order = BS_COCO_BY_ID; labels && order <= BS_COCO_BY_AREA; order++) {
        const struct bs_coco_rule rule = {.order = (enum bs_coco_order)order, .min_size = order};
        if (bs_coco_labels(c, i, &rule, labels, &count, NULL) != BS_OK)
            continue;
        for (int64_t p = 0; p < pixels; p++)
            if (labels[p] > count)
                abort();
    }
    free(labels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bs_coco *c = NULL;
    if (bs_coco_open_fd(bs_fuzz_file(data, size), NULL, &c, NULL) != BS_OK)
        return 0;
    for (size_t i = 0; i < bs_coco_image_count(c); i++)
        draw(c, i);
    bs_coco_close(c);
    return 0;
}
