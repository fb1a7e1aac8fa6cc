"""Regions, stacks and time series, and linked planes: through the protocol, compared with single planes and whole images."""
import io
import json
import os
import re
import struct
import subprocess
import zlib

import grpc
import numpy as np
import pytest

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import jobs_pb2 as jobs
from bioseg.v1 import segmentation_pb2 as seg
from bioseg.v1 import server_pb2 as server
from conftest import BIN, blobs, collect, default_spec, describe, parts, refused

C = grpc.StatusCode
LABELS, MAPS, TABLE = common.OUTPUT_LABELS, common.OUTPUT_MAPS, common.OUTPUT_OBJECT_TABLE


def stack(planes, height=120, width=136, seed=1):
    """Discs that drift slowly from plane to plane: (z, y, x)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = random.normal(20, 3, (planes, height, width))
    for i in range(6):
        cy, cx, r = 20 + 40 * (i // 3), 25 + 42 * (i % 3), 9 + i % 3
        for z in range(i % 2, planes - i % 3):
            image[z][(y - cy - z) ** 2 + (x - cx - z) ** 2 < r * r] = 160
    return image.clip(0, 255).astype(np.uint8)


def send(image, axes, **options):
    return image.tobytes(), describe(image, axes, **options)


def labels_of(answer):
    shape = [a.size for a in answer.result.plane_axes] + [answer.result.height, answer.result.width]
    return np.frombuffer(answer.labels, "<u4").reshape(shape)


def same_objects(a, b):
    """The same partition of the plane, whatever the ids."""
    if not ((a > 0) == (b > 0)).all():
        return False
    pairs = np.unique(np.stack([a[a > 0], b[a > 0]]), axis=1)
    return len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1]


def tiff(pages, description=None):
    """A TIFF of uint8 pages, written from the format's definition."""
    out = io.BytesIO()
    out.write(struct.pack("<2sHI", b"II", 42, 0))
    patch = 4
    for k, page in enumerate(pages):
        pixels = out.tell()
        out.write(page.tobytes())
        text = (description + "\0").encode() if description and k == 0 else b""
        at = out.tell()
        out.write(text + b"\0" * (-(at + len(text)) % 2))
        tags = [(256, 4, 1, page.shape[1]), (257, 4, 1, page.shape[0]), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
        tags += [(270, 2, len(text), at)] if text else []
        tags += [(273, 4, 1, pixels), (277, 3, 1, 1), (278, 4, 1, page.shape[0]), (279, 4, 1, page.nbytes)]
        here = out.tell()
        out.write(struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags))
        end = out.tell()
        out.write(struct.pack("<I", 0))
        out.seek(patch)
        out.write(struct.pack("<I", here))
        out.seek(0, 2)
        patch = end
    return out.getvalue()


def read_tiff(path):
    """A label TIFF as the command line writes it: description and pages (uint32, deflate, horizontal differences)."""
    data, pages, text = path.read_bytes(), [], ""
    at, = struct.unpack_from("<I", data, 4)
    while at:
        count, = struct.unpack_from("<H", data, at)
        tags = {}
        for k in range(count):
            tag, kind, n = struct.unpack_from("<HHI", data, at + 2 + 12 * k)
            size = {2: 1, 3: 2, 4: 4, 5: 8}[kind] * n
            where = at + 10 + 12 * k if size <= 4 else struct.unpack_from("<I", data, at + 10 + 12 * k)[0]
            tags[tag] = data[where:where + n] if kind == 2 else struct.unpack_from("<%d%s" % (n, {3: "H", 4: "I", 5: "Q"}[kind]), data, where)
        width, height = tags[256][0], tags[257][0]
        raw = b"".join(zlib.decompress(data[o:o + n]) for o, n in zip(tags[273], tags[279]))
        pages.append(np.cumsum(np.frombuffer(raw, "<u4").reshape(height, width), axis=1, dtype=np.uint32))
        text = text or tags.get(270, b"").decode().rstrip("\0")
        at, = struct.unpack_from("<I", data, at + 2 + 12 * count)
    return text, np.stack(pages)


def command_line(daemon, *arguments, code=0):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BIOSEG_")}
    done = subprocess.run([BIN / "bioseg", "--server", daemon.address(), *map(str, arguments)], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == code, done.stdout
    return done.stdout


# Regions.

@pytest.mark.parametrize("tile", [0, 64])
def test_labels_of_a_region_are_those_of_the_whole_image(client, tile):
    image = blobs(400, 420, seed=3)
    options = {"tiling": seg.Tiling(tile_px=tile), "outputs": [LABELS, MAPS, TABLE]}
    whole = client.segment(image, default_spec(**options))
    box = common.Region(y=150, x=137, height=90, width=101)
    part = client.segment(image, default_spec(region=box, **options))
    cut = labels_of(whole)[150:240, 137:238]
    found = labels_of(part)
    assert found.shape == (90, 101) and same_objects(cut, found) and found.max() == part.result.object_count > 2
    maps = np.frombuffer(whole.maps, "<f4").reshape(3, 400, 420)[:, 150:240, 137:238]
    assert np.abs(np.frombuffer(part.maps, "<f4").reshape(3, 90, 101) - maps).max() < 1e-5
    r = part.result.region
    assert (r.y, r.x, r.height, r.width) == (150, 137, 90, 101) and not whole.result.HasField("region")
    rows, columns = np.nonzero(found == 1)
    assert part.objects.top[0] == rows.min() + 150 and part.objects.left[0] == columns.min() + 137
    assert part.objects.centroid_y_px[0] == pytest.approx(rows.mean() + 150)
    assert part.objects.mean_intensity[0] == pytest.approx(image[150:240, 137:238][found == 1].mean())
    assert part.result.provenance.parameters["region_y"] == "150"
    if tile:
        assert any(w.code == "tiled" for w in part.result.warnings)


def test_only_the_tiles_of_a_region_are_computed(client):
    image = blobs(130, 1500)
    spec = default_spec(tiling=seg.Tiling(tile_px=64), region=common.Region(y=0, x=1400, height=64, width=100))
    _, _, _, part = collect(client.segment_stream(image, spec))
    _, _, _, whole = collect(client.segment_stream(image, default_spec(tiling=seg.Tiling(tile_px=64))))
    assert part[-1][0] == part[-1][1] and part[-1][1] * 3 < whole[-1][1]


def test_a_region_at_another_scale_and_with_its_own_statistics(client):
    image = blobs(300, 310)
    box = common.Region(y=100, x=90, height=80, width=120)
    scaled = labels_of(client.segment(image, default_spec(scale=1.5)))[100:180, 90:210]
    part = labels_of(client.segment(image, default_spec(scale=1.5, region=box)))
    assert part.shape == (80, 120) and ((scaled > 0) == (part > 0)).mean() > 0.999
    own = client.segment(image, default_spec(region=box, statistics_scope=seg.STATISTICS_SCOPE_REGION))
    assert labels_of(own).shape == (80, 120) and own.result.provenance.parameters["statistics"] == "region"
    # What lies further off than the surroundings plays no part.
    far = blobs(400, 800)
    near = common.Region(y=10, x=10, height=60, width=60)
    spec = default_spec(region=near, statistics_scope=seg.STATISTICS_SCOPE_REGION)
    before = client.segment(far, spec).labels
    far[:, 300:] = 255
    assert client.segment(far, spec).labels == before


def test_a_size_of_zero_is_what_is_left(client):
    image = blobs(100, 120)
    answer = client.segment(image, default_spec(region=common.Region(y=40)))
    assert labels_of(answer).shape == (60, 120) and answer.result.region.width == 120


@pytest.mark.parametrize("box, words", [
    (common.Region(y=100), ["y = 100", "100"]), (common.Region(y=10, height=91), ["y = 10"]), (common.Region(x=120), ["x = 120"]),
    (common.Region(z=1), ["axis"]), (common.Region(y=2**63), ["y"]), (common.Region(height=2**64 - 1), ["y"])])
def test_a_region_that_is_not_in_the_image_is_refused(client, box, words):
    refused(C.INVALID_ARGUMENT, lambda: client.segment(blobs(100, 120), default_spec(region=box)), "region", *words)
    file = tiff([blobs(100, 120)])
    refused(C.INVALID_ARGUMENT, lambda: client.segment(file, default_spec(region=box)), "region", *words)


# Stacks.

def test_planes_of_a_stack_are_those_of_single_images(client):
    image = stack(4)
    answer = client.segment(send(image, "zyx", pixel_size=0.5), default_spec(outputs=[LABELS, MAPS, TABLE]))
    found = labels_of(answer)
    assert found.shape == image.shape and [a.name for a in answer.result.plane_axes] == ["z"]
    assert answer.result.planes == "independent 2D" and answer.result.pixel_size_um == 0.5
    last, maps = 0, []
    for z, plane in enumerate(image):
        single = client.segment(send(plane, "yx", pixel_size=0.5), default_spec(outputs=[LABELS, MAPS, TABLE]))
        expected = labels_of(single).astype(np.uint32)
        expected[expected > 0] += last
        assert (found[z] == expected).all()
        rows = slice(last, last + single.result.object_count)
        assert list(answer.objects.id[rows]) == list(range(last + 1, last + 1 + single.result.object_count))
        assert list(answer.objects.area_px[rows]) == list(single.objects.area_px)
        assert set(answer.objects.z[rows]) <= {z} and set(answer.objects.z_end[rows]) <= {z + 1} and not any(answer.objects.t[rows])
        assert len(single.objects.z) == 0
        last = rows.stop
        maps.append(single.maps)
    assert answer.result.object_count == last and len(np.unique(found)) == last + 1
    assert answer.maps == b"".join(maps)
    separate = client.segment(send(image, "zyx"), default_spec(separate_planes=True))
    assert all(len(np.unique(p)) == p.max() + 1 for p in labels_of(separate))
    assert separate.result.object_count == last and all(same_objects(a, b) for a, b in zip(labels_of(separate), found))


def test_axes_in_any_order_give_the_same_labels(client):
    tzyx = np.stack([stack(2, seed=4), stack(2, seed=5), stack(2, seed=6)])
    first = labels_of(client.segment(send(tzyx, "tzyx")))
    assert first.shape == tzyx.shape
    ztyx = np.ascontiguousarray(tzyx.swapaxes(0, 1))
    other = client.segment(send(ztyx, "ztyx"))
    assert [a.name for a in other.result.plane_axes] == ["z", "t"] and (labels_of(other).swapaxes(0, 1) == first).all()
    for axes, image in (("tczyx", np.stack([tzyx // 3, tzyx], 1)), ("tzyxc", np.stack([tzyx // 3, tzyx], -1)),
                        ("tzcyx", np.stack([tzyx // 3, tzyx], 2))):
        image = np.ascontiguousarray(image)
        assert (labels_of(client.segment(send(image, axes), default_spec(channel_index=1))) == first).all()
    one = labels_of(client.segment(send(tzyx[:, 1:2].copy(), "tzyx")))
    assert one.shape == (3, 1, 120, 136) and all(same_objects(a[0], b[1]) for a, b in zip(one, first))


def test_a_region_of_a_stack_has_planes_too(client):
    image = stack(5)
    whole = labels_of(client.segment(send(image, "zyx")))
    box = common.Region(y=20, x=10, height=60, width=80, z=1, depth=3)
    answer = client.segment(send(image, "zyx"), default_spec(region=box))
    part = labels_of(answer)
    assert part.shape == (3, 60, 80) and all(same_objects(a[20:80, 10:90], b) for a, b in zip(whole[1:4], part))
    assert (answer.result.region.z, answer.result.region.depth) == (1, 3) and set(answer.objects.z) <= {1, 2, 3}


def test_a_stream_and_a_job_give_the_same_stack(client):
    image = stack(3)
    data, description = send(image, "zyx", pixel_size=0.4)
    description.axes[0].pixel_size, description.axes[0].unit = 1500, "nm"
    one = client.segment((data, description))
    spec = default_spec(tiling=seg.Tiling(tile_px=64))
    tiled = client.segment((data, description), spec)
    start, streamed, rows, progress = collect(client.segment_stream((data, description), spec))
    assert bytes(streamed[LABELS]) == tiled.labels and rows == tiled.result.object_count
    assert [(a.name, a.size) for a in start.artifacts[0].image.axes] == [("z", 3), ("y", 120), ("x", 136)]
    assert start.artifacts[0].image.axes[0].pixel_size == pytest.approx(1.5)
    total = progress[-1][1]
    assert progress[-1][0] == total and total % 3 == 0 and [p[0] for p in progress] == sorted(p[0] for p in progress)
    job = client.submit((data, description)).job
    assert client.wait(job.id).state == jobs.JOB_STATE_SUCCEEDED
    start, stored, rows, _ = collect(client.jobs.GetResult(jobs.GetJobResultRequest(id=job.id)))
    assert bytes(stored[LABELS]) == one.labels and rows == one.result.object_count
    assert start.result.planes == "independent 2D" and start.result.plane_axes[0].size == 3


def test_pages_of_a_file(client):
    image = stack(3)
    expected = labels_of(client.segment(send(image, "zyx")))
    imagej = tiff(image, "ImageJ=1.53t\nimages=3\nslices=3\nunit=micron\nspacing=2\n")
    ome = tiff(image, '<?xml version="1.0"?><OME><Image><Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="136" SizeY="120" SizeZ="3" '
                      'SizeC="1" SizeT="1"><TiffData/></Pixels></Image></OME>')
    for file in (imagej, ome):
        answer = client.segment(file)
        assert (labels_of(answer) == expected).all() and answer.result.plane_axes[0].name == "z"
    plain = tiff(image)
    refused(C.INVALID_ARGUMENT, lambda: client.segment(plain), "3 pages", "state their axis")
    described = common.ImageDescription(encoding=common.IMAGE_ENCODING_FILE, axes=[common.Axis(name="t")])
    answer = client.segment((plain, described))
    assert (labels_of(answer) == expected).all() and answer.result.plane_axes[0].name == "t"
    refused(C.INVALID_ARGUMENT, lambda: client.segment((imagej, described)), "zyx", "pages are t")


def test_statistics_of_the_stack_leave_an_empty_plane_empty(client):
    image = stack(3)
    image[2] = np.random.default_rng(0).normal(20, 3, image[2].shape).clip(0, 255)
    spec = default_spec(statistics_scope=seg.STATISTICS_SCOPE_STACK)
    answer = client.segment(send(image, "zyx"), spec)
    assert answer.result.provenance.parameters["statistics"] == "stack"
    own, together = labels_of(client.segment(send(image, "zyx"))), labels_of(answer)
    assert (together[2] > 0).sum() <= (own[2] > 0).sum() and together[0].max() > 0
    alone = client.segment(image[0], spec)
    assert (labels_of(alone) == labels_of(client.segment(image[0]))).all()


def test_kept_maps_of_a_stack(client):
    image = stack(3)
    data, description = send(image, "zyx")
    first = client.segmentation.Segment(seg.SegmentRequest(spec=default_spec(), image=description, pixels=data, keep_maps=True))
    changed = default_spec()
    changed.parameters["min_size"].number = 150
    again = client.segmentation.Segment(seg.SegmentRequest(spec=changed, kept_maps_id=first.result.kept_maps.id))
    assert again.result.provenance.kept_maps and again.labels == client.segment((data, description), changed).labels
    changed.plane_mode = seg.PLANE_MODE_LINKED
    linked = client.segmentation.Segment(seg.SegmentRequest(spec=changed, kept_maps_id=first.result.kept_maps.id))
    assert linked.labels == client.segment((data, description), changed).labels and linked.result.planes == "linked 2D"
    changed.region.height = 50
    refused(C.FAILED_PRECONDITION, lambda: client.segmentation.Segment(
        seg.SegmentRequest(spec=changed, kept_maps_id=first.result.kept_maps.id)), "region")


def test_a_preview_shows_the_plane_that_is_computed(client):
    image = stack(4, 300, 300)
    data, description = send(image, "zyx")
    spec = default_spec(tiling=seg.Tiling(tile_px=64, batch=1), region=common.Region(z=1, y=20, height=200))
    start = seg.SegmentStart(spec=spec, image=description, total_bytes=len(data), preview=seg.PreviewRequest(interval_ms=20))
    seen = [e.preview for e in client.segmentation.SegmentStream(parts(seg.SegmentStreamRequest, start, data))
            if e.WhichOneof("event") == "preview"]
    assert seen and {p.z for p in seen} <= {1, 2, 3} and [p.z for p in seen] == sorted(p.z for p in seen)
    assert all((p.height, p.width) == (200, 300) for p in seen)


@pytest.mark.parametrize("axes", ["yzx", "yxz", "zxy", "zycx", "yx"])
def test_axes_that_are_not_taken_are_refused(client, axes):
    refused(C.INVALID_ARGUMENT, lambda: client.segment((bytes(4 ** len(axes) + (axes == "yx")), describe(np.zeros([4] * len(axes), np.uint8), axes))))


# Linked planes.

LINKED = {"plane_mode": seg.PLANE_MODE_LINKED}


def link_reference(planes, overlap=0.25):
    """The rule in its plainest form: of all pairs of neighbouring planes the one with the largest part in common first."""
    out, last = [], 0
    for k, plane in enumerate(planes):
        name = {}
        if k:
            pairs = []
            for a in np.unique(out[-1])[1:]:
                for b in np.unique(plane)[1:]:
                    both = ((out[-1] == a) & (plane == b)).sum()
                    if both and both / ((out[-1] == a) | (plane == b)).sum() >= overlap:
                        pairs.append((-both / ((out[-1] == a) | (plane == b)).sum(), a, b))
            for _, a, b in sorted(pairs):
                if a not in name.values() and b not in name:
                    name[b] = a
        for b in np.unique(plane)[1:]:
            if b not in name:
                last += 1
                name[b] = last
        out.append(np.vectorize(lambda v, n=name: n.get(v, 0), otypes=[np.uint32])(plane))
    return np.stack(out)


def test_linked_planes_follow_the_rule(client):
    image = stack(5)
    separate = labels_of(client.segment(send(image, "zyx"), default_spec(separate_planes=True)))
    answer = client.segment(send(image, "zyx", pixel_size=0.5), default_spec(**LINKED))
    found = labels_of(answer)
    assert (found == link_reference(separate)).all() and answer.result.planes == "linked 2D"
    assert answer.result.object_count == found.max() < sum(int(p.max()) for p in separate)
    assert answer.result.provenance.parameters["planes"] == "linked" and answer.result.provenance.parameters["link_overlap"] == "0.25"
    t = answer.objects
    for i in range(len(t.id)):
        z, y, x = np.nonzero(found == t.id[i])
        assert t.area_px[i] == len(z) and (t.z[i], t.z_end[i]) == (z.min(), z.max() + 1)
        assert (t.top[i], t.left[i], t.bottom[i], t.right[i]) == (y.min(), x.min(), y.max() + 1, x.max() + 1)
        assert (t.centroid_z[i], t.centroid_y_px[i]) == (pytest.approx(z.mean()), pytest.approx(y.mean()))
        assert t.mean_intensity[i] == pytest.approx(image[z, y, x].mean())


def test_the_overlap_and_the_least_size_are_parameters(client):
    image = stack(5)
    spec = default_spec(**LINKED)
    spec.parameters["link_overlap"].number = 1
    assert client.segment(send(image, "zyx"), spec).result.object_count > client.segment(send(image, "zyx"), default_spec(**LINKED)).result.object_count
    all_of_it = client.segment(send(image, "zyx"), default_spec(**LINKED))
    least = sorted(all_of_it.objects.area_px)[len(all_of_it.objects.id) // 2]
    spec = default_spec(**LINKED)
    spec.parameters["linked_min_size"].number = least
    some = client.segment(send(image, "zyx"), spec)
    assert sorted(some.objects.area_px) == [a for a in sorted(all_of_it.objects.area_px) if a >= least]
    assert labels_of(some).max() == some.result.object_count == len(some.objects.id)
    assert any(w.code == "linked_objects_removed" for w in some.result.warnings)


def test_points_of_time_are_not_linked(client):
    tzyx = np.stack([stack(3, seed=4)] * 2)
    found = labels_of(client.segment(send(tzyx, "tzyx"), default_spec(**LINKED)))
    assert not set(np.unique(found[0])[1:]) & set(np.unique(found[1])[1:])
    assert same_objects(found[0], labels_of(client.segment(send(tzyx[0], "zyx"), default_spec(**LINKED))))
    assert not same_objects(found, found * 0 + 1)
    for image, axes in ((tzyx[0], "tyx"), (tzyx[0, 0], "yx")):
        refused(C.INVALID_ARGUMENT, lambda i=image, a=axes: client.segment(send(np.ascontiguousarray(i), a), default_spec(**LINKED)), "axis z", "time")
    refused(C.INVALID_ARGUMENT, lambda: client.segment(tiff([tzyx[0, 0]]), default_spec(**LINKED)), "axis z")
    refused(C.INVALID_ARGUMENT, lambda: client.segment(send(tzyx[0], "zyx"), default_spec(separate_planes=True, **LINKED)), "linked", "separate")


# The command line.

def test_the_command_line_writes_the_same_stack(client, daemon, tmp_path):
    image, out = stack(3), tmp_path / "out"
    file = tmp_path / "stack.tif"
    file.write_bytes(tiff(image, "ImageJ=1.53t\nimages=3\nslices=3\nunit=micron\nspacing=2\n"))
    common_part = ("segment", "-m", "nuclei", "-o", out, "--overwrite", file)
    command_line(daemon, *common_part, "--planes", "linked", "--table", "--pixel-size", "0.5")
    text, labels = read_tiff(out / "stack.tif")
    answer = client.segment(send(image, "zyx", pixel_size=0.5), default_spec(**LINKED))
    assert (labels == labels_of(answer)).all()
    assert "slices=3" in text and "unit=micron" in text and "frames" not in text
    table = (out / "stack.csv").read_text().splitlines()
    assert table[0].endswith("t,z,z_end,centroid_z") and len(table) == 1 + answer.result.object_count
    record = json.loads((out / "stack.json").read_text())["result"]
    assert record["planes"] == "linked 2D" and record["provenance"]["parameters"]["link_overlap"] == "0.25"
    command_line(daemon, *common_part, "--region", "20,10,60,80,1,2")
    _, labels = read_tiff(out / "stack.tif")
    box = common.Region(y=20, x=10, height=60, width=80, z=1, depth=2)
    assert (labels == labels_of(client.segment(send(image, "zyx"), default_spec(region=box)))).all()
    command_line(daemon, *common_part, "--separate-planes", "--statistics", "stack")
    _, labels = read_tiff(out / "stack.tif")
    spec = default_spec(separate_planes=True, statistics_scope=seg.STATISTICS_SCOPE_STACK)
    assert (labels == labels_of(client.segment(send(image, "zyx"), spec))).all()
    job, = re.findall(r"(\S+)  \S*stack.tif", command_line(daemon, "jobs", "submit", "-m", "nuclei", "--planes", "linked", file))
    command_line(daemon, "jobs", "watch", job)
    command_line(daemon, "jobs", "fetch", "-o", tmp_path / "fetched", job)
    _, labels = read_tiff(tmp_path / "fetched" / "stack.tif")
    assert (labels == labels_of(client.segment(send(image, "zyx"), default_spec(**LINKED)))).all()


def test_what_the_command_line_refuses_of_stacks(client, daemon, tmp_path):
    image, out = stack(2), tmp_path / "out"
    file = tmp_path / "pages.tif"
    file.write_bytes(tiff(image))
    segment = ("segment", "-m", "nuclei", "-o", out, file)
    assert "state their axis" in command_line(daemon, *segment, code=1)
    command_line(daemon, *segment, "--pages", "t")
    text, labels = read_tiff(out / "pages.tif")
    assert "frames=2" in text and labels.shape == image.shape
    again = (*segment, "--overwrite", "--pages", "z")
    assert "a PNG holds one" in command_line(daemon, *again, "--format", "png", code=1)
    assert "overlay" in command_line(daemon, *again, "--overlay", code=1)
    assert "maps are written of one plane" in command_line(daemon, *again, "--maps", code=1)
    command_line(daemon, *again, "--format", "png", "--region", "0,0,0,0,1,1")
    assert (out / "pages.png").exists()
    for wrong in (("--region", "1,2,3"), ("--region", "1,2,3,-4"), ("--region", "1,2,3,4,"), ("--pages", "q"), ("--planes", "3D"),
                  ("--statistics", "all")):
        assert wrong[1] in command_line(daemon, *again, *wrong, code=2)


def test_the_server_tells_that_it_can(client):
    assert {"segment-region", "segment-stack", "linked-planes"} <= set(client.server.GetInfo(server.GetInfoRequest()).features)
