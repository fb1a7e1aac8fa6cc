"""Regions, stacks and linked planes through the Python client."""
import struct

import dask.array
import numpy as np
import pytest

import bioseg
from bioseg import errors


@pytest.fixture(scope="module")
def stack():
    """Discs that drift from plane to plane: (z, y, x)."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[:110, :130]
    image = random.normal(20, 3, (4, 110, 130))
    for i in range(6):
        cy, cx, r = 20 + 40 * (i // 3), 25 + 40 * (i % 3), 9 + i % 3
        for z in range(i % 2, 4 - i % 3):
            image[z][(y - cy - z) ** 2 + (x - cx - z) ** 2 < r * r] = 160
    return image.clip(0, 255).astype(np.uint8)


def write_tiff(path, image, description):
    """The stack as a TIFF of uint8 pages, from the format's definition."""
    data = bytearray(struct.pack("<2sHI", b"II", 42, 0))
    patch = 4
    for k, page in enumerate(image):
        pixels = len(data)
        data += page.tobytes()
        text = (description + "\0").encode() if description and k == 0 else b""
        at = len(data)
        data += text + b"\0" * (-(at + len(text)) % 2)
        tags = [(256, 4, 1, page.shape[1]), (257, 4, 1, page.shape[0]), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
        tags += [(270, 2, len(text), at)] if text else []
        tags += [(273, 4, 1, pixels), (277, 3, 1, 1), (278, 4, 1, page.shape[0]), (279, 4, 1, page.nbytes)]
        data[patch:patch + 4] = struct.pack("<I", len(data))
        data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)
        patch = len(data)
        data += struct.pack("<I", 0)
    path.write_bytes(data)


def test_a_stack_comes_back_as_a_stack(client, stack):
    result = client.segment(stack, model="nuclei", axes="zyx", pixel_size={"y": 0.5, "x": 0.5, "z": 2.0})
    assert result.labels.shape == stack.shape and result.labels.dtype == np.uint32 and result.axes == "zyx"
    assert result.planes == "independent 2D" and result.plane_distance_um == 2 and result.region is None
    assert result.object_count == len(np.unique(result.labels)) - 1 == result.objects.count
    last = 0
    for z, plane in enumerate(stack):
        single = client.segment(plane, model="nuclei", pixel_size=0.5)
        assert (np.where(single.labels, single.labels + last, 0) == result.labels[z]).all() and single.axes == "yx"
        assert single.planes is None and "z" not in single.objects
        last += single.object_count
        assert (result.objects["z"] == z).sum() == single.object_count
    streamed = client.segment(dask.array.from_array(stack, chunks=(1, 60, 130)), model="nuclei", axes="zyx", progress=lambda p: None)
    assert (streamed.labels == result.labels).all()
    separate = client.segment(stack, model="nuclei", axes="zyx", separate_planes=True)
    assert separate.labels.max() < result.labels.max() and ((separate.labels > 0) == (result.labels > 0)).all()


def test_linked_planes(client, stack):
    plain = client.segment(stack, model="nuclei", axes="zyx")
    linked = client.segment(stack, model="nuclei", axes="zyx", planes="linked")
    assert linked.planes == "linked 2D" and linked.object_count < plain.object_count
    assert (linked.objects["z_end"] - linked.objects["z"]).max() > 1
    strict = client.segment(stack, model="nuclei", axes="zyx", planes="linked", parameters={"link_overlap": 1.0})
    assert strict.object_count > linked.object_count
    names = {p.name: p for p in client.model("nuclei").parameters}
    assert names["link_overlap"].default == 0.25 and not names["link_overlap"].network
    with pytest.raises(errors.InvalidRequest, match="axis z"):
        client.segment(stack, model="nuclei", axes="tyx", planes="linked")
    job = client.submit(stack, model="nuclei", axes="zyx", planes="linked").result()
    assert (job.labels == linked.labels).all() and job.planes == "linked 2D"


def test_a_region_by_numbers_or_by_name(client, blobs, stack):
    image = blobs(300, 280)
    whole = client.segment(image, model="nuclei").labels[100:170, 60:150]
    result = client.segment(image, model="nuclei", region=(100, 60, 70, 90))
    assert result.labels.shape == (70, 90) and ((result.labels > 0) == (whole > 0)).all()
    assert result.region == bioseg.Region(100, 60, 70, 90)
    by_name = client.segment(image, model="nuclei", region={"y": 100, "x": 60, "height": 70, "width": 90}, statistics="image")
    assert (by_name.labels == result.labels).all()
    planes = client.segment(stack, model="nuclei", axes="zyx", region=bioseg.Region(z=1, depth=2))
    assert planes.labels.shape == (2, 110, 130) and planes.region.depth == 2 and set(planes.objects["z"]) == {1, 2}
    for region in ((0, 0, -1, 4), {"top": 3}, 5, (0.5, 0, 1, 1)):
        with pytest.raises(errors.InvalidRequest, match="region="):
            client.segment(image, model="nuclei", region=region)
    with pytest.raises(errors.InvalidRequest, match="300"):
        client.segment(image, model="nuclei", region=(290, 0, 20, 20))


def test_a_preview_of_a_stack_tells_the_plane(client, stack):
    shown = []
    big = np.tile(stack, (1, 3, 3))
    client.segment(big, model="nuclei", axes="zyx", tile=64, preview=shown.append, preview_seconds=0.02)
    assert shown and [p.z for p in shown] == sorted(p.z for p in shown) and {p.z for p in shown} <= set(range(4))


def test_file_and_array_give_the_same_bytes(client, stack, tmp_path):
    file = tmp_path / "stack.tif"
    write_tiff(file, stack, "ImageJ=1.53t\nimages=4\nslices=4\nunit=micron\nspacing=2\n")
    array = client.segment(stack, model="nuclei", axes="zyx", planes="linked")
    from_file = client.segment(file, model="nuclei", planes="linked")
    assert (from_file.labels == array.labels).all() and from_file.axes == "zyx"
    plain = tmp_path / "pages.tif"
    write_tiff(plain, stack, None)
    with pytest.raises(errors.InvalidRequest, match="state their axis"):
        client.segment(plain, model="nuclei")
    assert (client.segment(plain, model="nuclei", axes="zyx", planes="linked").labels == array.labels).all()
    for axes in ("yx", "tzyx", "q"):
        with pytest.raises(errors.InvalidRequest, match="pages"):
            client.segment(plain, model="nuclei", axes=axes)
