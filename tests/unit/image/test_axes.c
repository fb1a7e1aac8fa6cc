/* What ImageJ and OME descriptions say of the pages, and that anything odd leaves the axes open. */
#include "model/image/image_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bs__pages describe(const char *text, size_t pages, size_t samples)
{
    struct bs__pages p;
    bs__pages_describe(text, pages, samples, &p);
    return p;
}

static void imagej_channels_run_fastest_then_slices_then_frames(void **state)
{
    (void)state;
    struct bs__pages p = describe("ImageJ=1.53t\nimages=24\nchannels=2\nslices=3\nframes=4\nhyperstack=true\n"
                                  "unit=\\u00B5m\nspacing=0.5\nloop=false\n",
                                  24, 1);
    assert_string_equal(p.axes, "tzc");
    assert_int_equal(p.dim[0], 4);
    assert_int_equal(p.dim[1], 3);
    assert_int_equal(p.dim[2], 2);
    assert_string_equal(p.unit, "um");
    assert_true(p.pixel_z == 0.5);
}

static void sizes_that_do_not_multiply_to_the_pages_leave_the_axes_open(void **state)
{
    (void)state;
    assert_string_equal(describe("ImageJ=1.53t\nimages=5\nslices=4\n", 5, 1).axes, "?");
    assert_string_equal(describe("ImageJ=1.53t\nimages=5\n", 5, 1).axes, "?");
    assert_string_equal(describe("ImageJ=1.53t\nslices=99999999999999999999\n", 5, 1).axes, "?");
    assert_string_equal(describe("ImageJ=1.53t\nslices=4294967296\nframes=4294967296\n", 5, 1).axes, "?");
    assert_string_equal(describe(NULL, 5, 1).axes, "?");
    assert_string_equal(describe("two channels", 2, 1).axes, "?");
    assert_string_equal(describe(NULL, 1, 1).axes, "");
}

static void images_promised_behind_one_directory_are_told(void **state)
{
    (void)state;
    assert_int_equal(describe("ImageJ=1.53t\nimages=500\nslices=500\n", 1, 1).promised, 500);
}

#define OME "<?xml version=\"1.0\"?><OME xmlns=\"x\"><Image ID=\"Image:0\"><Pixels ID=\"Pixels:0\" "

static void ome_order_and_physical_size_are_taken(void **state)
{
    (void)state;
    struct bs__pages p =
        describe(OME "DimensionOrder=\"XYCZT\" SizeX=\"9\" SizeY='8' SizeC=\"2\" SizeZ=\"3\" SizeT=\"1\" "
                     "PhysicalSizeX=\"0.1\" PhysicalSizeY=\"0.2\" PhysicalSizeZ=\"1.5e0\" Type=\"uint8\">"
                     "<TiffData/></Pixels></Image></OME>",
                 6, 1);
    assert_string_equal(p.axes, "zc");
    assert_int_equal(p.dim[0], 3);
    assert_string_equal(p.unit, "um");
    assert_true(fabs(p.pixel_x - 0.1) < 1e-12 && fabs(p.pixel_y - 0.2) < 1e-12 && p.pixel_z == 1.5);
    p = describe(OME
                 "DimensionOrder=\"XYZCT\" SizeC=\"2\" SizeZ=\"3\" SizeT=\"1\" PhysicalSizeX=\"100\" "
                 "PhysicalSizeXUnit=\"nm\" PhysicalSizeY=\"100\" PhysicalSizeYUnit=\"nm\"/></Image></OME>",
                 6, 1);
    assert_string_equal(p.axes, "cz");
    assert_string_equal(p.unit, "nm");
}

static void ome_with_colour_samples_counts_them_as_channels(void **state)
{
    (void)state;
    struct bs__pages p =
        describe(OME "DimensionOrder=\"XYCZT\" SizeC=\"3\" SizeZ=\"4\" SizeT=\"1\"/></Image></OME>", 4, 3);
    assert_string_equal(p.axes, "z");
}

static void ome_planes_out_of_order_leave_the_axes_open(void **state)
{
    (void)state;
    struct bs__pages p =
        describe(OME "DimensionOrder=\"XYCZT\" SizeC=\"1\" SizeZ=\"2\" SizeT=\"1\">"
                     "<TiffData IFD=\"0\" FirstZ=\"1\"/><TiffData IFD=\"1\" FirstZ=\"0\"/></Pixels>",
                 2, 1);
    assert_string_equal(p.axes, "?");
    p = describe(OME "DimensionOrder=\"XYCZT\" SizeC=\"1\" SizeZ=\"2\" SizeT=\"1\">"
                     "<TiffData IFD=\"0\" FirstZ=\"0\"/><TiffData IFD=\"1\" FirstZ=\"1\"/></Pixels>",
                 2, 1);
    assert_string_equal(p.axes, "z");
}

/* Every prefix of a long description, in memory that ends where the text ends. */
static void cut_descriptions_do_no_harm(void **state)
{
    (void)state;
    static const char whole[] =
        OME "DimensionOrder=\"XYCZT\" SizeX=\"9\" SizeY=\"8\" SizeC=\"2\" SizeZ=\"3\" SizeT=\"1\" "
            "PhysicalSizeX=\"0.1\" PhysicalSizeXUnit=\"\xc2\xb5m\"><TiffData IFD=\"0\" FirstZ=\"0\"/>"
            "</Pixels></Image></OME>";
    for (size_t n = 0; n < sizeof whole; n++) {
        char *cut = malloc(n + 1);
        memcpy(cut, whole, n);
        cut[n] = 0;
        struct bs__pages p = describe(cut, 6, 1);
        assert_true(p.ndim >= 1 && p.ndim <= 3);
        free(cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(imagej_channels_run_fastest_then_slices_then_frames),
        cmocka_unit_test(sizes_that_do_not_multiply_to_the_pages_leave_the_axes_open),
        cmocka_unit_test(images_promised_behind_one_directory_are_told),
        cmocka_unit_test(ome_order_and_physical_size_are_taken),
        cmocka_unit_test(ome_with_colour_samples_counts_them_as_channels),
        cmocka_unit_test(ome_planes_out_of_order_leave_the_axes_open),
        cmocka_unit_test(cut_descriptions_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
