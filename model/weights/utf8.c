/* Well-formed UTF-8, table 3-7 of the Unicode standard; see utf8.h. */
#include "model/weights/utf8.h"

static int tail(const unsigned char *p, unsigned char low, unsigned char high)
{
    return *p >= low && *p <= high;
}

size_t bs__utf8_sequence(const unsigned char *text, size_t len)
{
    if (!len)
        return 0;
    const unsigned char lead = text[0];
    if (lead < 0x80)
        return 1;
    const size_t need = lead >= 0xC2 && lead <= 0xDF   ? 2
                        : lead >= 0xE0 && lead <= 0xEF ? 3
                        : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                       : 0;
    if (!need || len < need)
        return 0;
    const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (!tail(text + 1, low, high))
        return 0;
    for (size_t i = 2; i < need; i++)
        if (!tail(text + i, 0x80, 0xBF))
            return 0;
    return need;
}
