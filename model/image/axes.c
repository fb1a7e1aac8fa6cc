/* What the pages of a TIFF mean: the description of ImageJ ("ImageJ=1.53t\nimages=5\nslices=5\n...") and the Pixels
   element of OME-XML. Text from outside: every read is bounded by the string's length, every number is checked.
   OME is not parsed as XML but scanned for three elements and their attributes; what the scan does not understand leaves
   the axes unknown, so that the caller asks. Pure functions; any thread. */
#include "kernels/base/checked.h"
#include "model/image/image_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A piece of a longer text. */
struct span {
    const char *at;
    size_t len;
};

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

static bool span_size(struct span s, size_t *out)
{
    size_t v = 0;
    if (s.len == 0 || s.len > 18)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        v = v * 10 + (size_t)(s.at[i] - '0');
    }
    *out = v;
    return true;
}

/* Positive, finite; 0 for anything else. Written out because strtod minds the locale. */
static double span_positive(struct span s)
{
    double v = 0, scale = 1;
    bool point = false, digits = false;
    size_t i = 0;
    long exponent = 0;
    for (; i < s.len; i++) {
        char c = s.at[i];
        if (c == '.' && !point) {
            point = true;
        } else if (c >= '0' && c <= '9') {
            v = v * 10 + (c - '0');
            scale *= point ? 10 : 1;
            digits = true;
        } else {
            break;
        }
    }
    if (i < s.len && (s.at[i] == 'e' || s.at[i] == 'E')) {
        bool minus = ++i < s.len && s.at[i] == '-';
        if (i < s.len && (s.at[i] == '-' || s.at[i] == '+'))
            i++;
        for (; i < s.len && s.at[i] >= '0' && s.at[i] <= '9' && exponent < 1000; i++)
            exponent = exponent * 10 + (s.at[i] - '0');
        exponent = minus ? -exponent : exponent;
    }
    v = v / scale * pow(10, (double)exponent);
    return digits && i == s.len && isfinite(v) && v > 0 ? v : 0;
}

void bs__unit_spell(const char *text, size_t len, char out[16])
{
    /* UTF-8 micro sign and Greek mu, Latin-1 micro sign, and ImageJ's escape for it. */
    static const char *const micrometre[] = {"um",        "micron",    "microns", "micrometer", "micrometre",
                                             "\xc2\xb5m", "\xce\xbcm", "\xb5m",   "\\u00B5m",   "\\u00b5m"};
    memset(out, 0, 16);
    for (size_t i = 0; i < sizeof micrometre / sizeof *micrometre; i++)
        if (len == strlen(micrometre[i]) && memcmp(text, micrometre[i], len) == 0) {
            memcpy(out, "um", 3);
            return;
        }
    if (len > 15)
        return;
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return;
    memcpy(out, text, len);
}

static void add_axis(struct bs__pages *p, char axis, size_t size)
{
    if (size > 1 && p->ndim < 3) {
        p->axes[p->ndim] = axis;
        p->dim[p->ndim++] = size;
    }
}

/* Axes that do not multiply to the pages there are leave the meaning open. */
static void settle(struct bs__pages *p, size_t pages)
{
    size_t product = 1;
    for (int i = 0; i < p->ndim; i++)
        if (!bs_mul(product, p->dim[i], &product))
            product = 0;
    if (product == pages)
        return;
    memset(p->axes, 0, sizeof p->axes);
    p->ndim = 0;
    add_axis(p, '?', pages);
}

static void describe_imagej(const char *text, size_t pages, struct bs__pages *p)
{
    size_t channels = 1, slices = 1, frames = 1, images = 0;
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        const char *equals = memchr(line, '=', len);
        if (equals) {
            struct span key = {line, (size_t)(equals - line)}, value = {equals + 1, len - key.len - 1};
            if (value.len && value.at[value.len - 1] == '\r')
                value.len--;
            if (span_is(key, "images"))
                (void)span_size(value, &images);
            else if (span_is(key, "channels"))
                (void)span_size(value, &channels);
            else if (span_is(key, "slices"))
                (void)span_size(value, &slices);
            else if (span_is(key, "frames"))
                (void)span_size(value, &frames);
            else if (span_is(key, "spacing"))
                p->pixel_z = span_positive(value);
            else if (span_is(key, "unit"))
                bs__unit_spell(value.at, value.len, p->unit);
        }
        line += len + (line[len] == '\n');
    }
    p->stated_unit = p->unit[0] && strcmp(p->unit, "pixel") != 0;
    if (!p->stated_unit)
        p->unit[0] = 0;
    if (pages == 1 && images > 1)
        p->promised = images;
    /* ImageJ stores channels fastest, then slices, then frames. */
    add_axis(p, 't', frames);
    add_axis(p, 'z', slices);
    add_axis(p, 'c', channels);
}

/* Value of an attribute inside one start tag; an empty span when it is not there. */
static struct span attribute(struct span tag, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 1; i + n + 2 < tag.len; i++) {
        char before = tag.at[i - 1], quote = tag.at[i + n + 1];
        if ((before != ' ' && before != '\n' && before != '\t' && before != '\r') ||
            memcmp(tag.at + i, name, n) != 0 || tag.at[i + n] != '=' || (quote != '"' && quote != '\''))
            continue;
        const char *value = tag.at + i + n + 2;
        const char *end = memchr(value, quote, tag.len - i - n - 2);
        return end ? (struct span){value, (size_t)(end - value)} : (struct span){value, 0};
    }
    return (struct span){tag.at, 0};
}

/* The next start tag of an element, with or without a namespace prefix; empty span when there is none. */
static struct span next_tag(const char *text, const char *end, const char *element)
{
    size_t n = strlen(element);
    for (const char *at = text; at < end && (at = memchr(at, '<', (size_t)(end - at)));) {
        at++;
        const char *close = memchr(at, '>', (size_t)(end - at));
        if (!close)
            break;
        const char *name = at;
        size_t prefix = strcspn(name, ":/> \t\r\n");
        if (name + prefix < close && name[prefix] == ':')
            name += prefix + 1;
        if ((size_t)(close - name) >= n && memcmp(name, element, n) == 0 && strchr("/> \t\r\n", name[n]))
            return (struct span){name + n, (size_t)(close - name) - n};
        at = close + 1;
    }
    return (struct span){end, 0};
}

static double ome_length(struct span tag, const char *size, const char *unit_name, char unit[16])
{
    double v = span_positive(attribute(tag, size));
    struct span u = attribute(tag, unit_name);
    if (u.len)
        bs__unit_spell(u.at, u.len, unit);
    else
        memcpy(unit, "um", 3); /* the schema's default */
    return v;
}

/* Does the k-th plane of the file stand where the dimension order puts it? TiffData elements may say otherwise. */
static bool ome_natural_order(const char *text, const char *end, const char order[3], const size_t size[3])
{
    size_t k = 0;
    for (struct span tag = next_tag(text, end, "TiffData"); tag.at < end;
         tag = next_tag(tag.at + tag.len, end, "TiffData")) {
        size_t ifd = 0, index = 0, stride = 1;
        struct span v = attribute(tag, "IFD");
        if (v.len && !span_size(v, &ifd))
            return false;
        for (int i = 0; i < 3; i++) {
            char name[] = "FirstZ";
            size_t first = 0;
            name[5] = order[i];
            v = attribute(tag, name);
            if ((v.len && !span_size(v, &first)) || first >= size[i])
                return false;
            index += first * stride;
            stride *= size[i];
        }
        if (index != ifd || (k > 0 && ifd == 0))
            return false;
        k++;
    }
    return true;
}

static void describe_ome(const char *text, size_t samples, struct bs__pages *p)
{
    const char *end = text + strlen(text);
    struct span tag = next_tag(text, end, "Pixels");
    struct span order = attribute(tag, "DimensionOrder");
    size_t size[3] = {1, 1, 1};
    char fastest_first[3], unit_y[16] = "", unit_z[16] = "";
    if (tag.len == 0 || order.len != 5 || memcmp(order.at, "XY", 2) != 0)
        return;
    for (int i = 0; i < 3; i++) {
        char name[] = "SizeZ";
        name[4] = fastest_first[i] = order.at[2 + i];
        if (!strchr("ZCT", name[4]) || !span_size(attribute(tag, name), &size[i]) || size[i] == 0 ||
            size[i] > 1u << 20)
            return;
        if (name[4] == 'C' && samples > 1) {
            if (size[i] % samples != 0)
                return;
            size[i] /= samples;
        }
    }
    p->pixel_x = ome_length(tag, "PhysicalSizeX", "PhysicalSizeXUnit", p->unit);
    p->pixel_y = ome_length(tag, "PhysicalSizeY", "PhysicalSizeYUnit", unit_y);
    p->pixel_z = ome_length(tag, "PhysicalSizeZ", "PhysicalSizeZUnit", unit_z);
    if (p->pixel_x <= 0 || strcmp(p->unit, unit_y) != 0)
        p->pixel_x = p->pixel_y = 0;
    if (strcmp(p->unit, unit_z) != 0)
        p->pixel_z = 0;
    if (p->pixel_x <= 0 && p->pixel_z <= 0)
        p->unit[0] = 0;
    if (fastest_first[0] == fastest_first[1] || fastest_first[1] == fastest_first[2] ||
        fastest_first[0] == fastest_first[2] || next_tag(tag.at + tag.len, end, "Pixels").at < end ||
        !ome_natural_order(tag.at + tag.len, end, fastest_first, size))
        return;
    for (int i = 2; i >= 0; i--)
        add_axis(p, fastest_first[i] == 'Z' ? 'z' : fastest_first[i] == 'C' ? 'c' : 't', size[i]);
}

void bs__pages_describe(const char *description, size_t pages, size_t samples, struct bs__pages *out)
{
    *out = (struct bs__pages){0};
    if (description && strncmp(description, "ImageJ=", 7) == 0)
        describe_imagej(description, pages, out);
    else if (description && (strncmp(description, "<?xml", 5) == 0 || strncmp(description, "<OME", 4) == 0))
        describe_ome(description, samples, out);
    settle(out, pages);
    /* Colour samples and a channel axis at once: two axes of the same name; only one can be called c. */
    if (samples > 1 && strchr(out->axes, 'c')) {
        memset(out->axes, 0, sizeof out->axes);
        out->ndim = 0;
        add_axis(out, '?', pages);
    }
}
