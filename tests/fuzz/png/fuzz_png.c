/* Fuzzes the PNG reader: decodes the input within small limits and touches every sample that was promised. */
#include "model/image/image_internal.h"
#include "tests/fuzz/input_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct bs_image_limits limits = {
        .max_bytes = (size_t)4 << 20, .max_pixels = (size_t)2 << 20, .max_pages = 16};
    struct bs__source source = {.data = data, .fd = -1, .size = size};
    struct bs_image *im = NULL;
    struct bs_err err;
    if (size > 0 && bs__png_decode(&source, &limits, &im, &err) == BS_OK) {
        unsigned sum = 0;
        for (size_t i = 0; i < im->bytes; i++)
            sum += ((const unsigned char *)im->data)[i];
        if (im->bytes > limits.max_bytes || (sum == 0 && im->bytes == 0))
            abort();
    } else if (im) {
        abort(); /* an error leaves nothing behind */
    }
    bs_image_unref(im);
    return 0;
}
