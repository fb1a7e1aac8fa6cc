"""One image while the caller waits: results, streams, progress, cancellation, deadlines, and everything that is refused."""
import pathlib
import threading
import time

import grpc
import numpy as np
import pytest

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import segmentation_pb2 as seg
from bioseg.v1 import server_pb2 as server
from conftest import BADFILES, SAMPLE, Client, blobs, collect, crc32c, default_spec, describe, encode, parts, refused

C = grpc.StatusCode


def wait_until_idle(client, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        d = client.server.GetInfo(server.GetInfoRequest()).devices[0]
        if d.running == 0 and d.waiting == 0:
            return True
        time.sleep(0.02)
    return False


def test_unary_finds_objects_and_says_how(client):
    image = blobs(256, 200)
    answer = client.segment(image)
    labels = np.frombuffer(answer.labels, np.uint32).reshape(256, 200)
    assert answer.result.object_count == labels.max() > 5
    assert (answer.result.height, answer.result.width) == (256, 200)
    assert list(answer.objects.id) == list(range(1, labels.max() + 1))
    assert list(answer.objects.area_px) == list(np.bincount(labels.ravel())[1:])
    first = image[labels == 1].mean()
    assert abs(answer.objects.mean_intensity[0] - first) < 1e-3
    p = answer.result.provenance
    assert p.model_name == "nuclei" and p.model_version >= 1 and len(p.model_sha256) == 64
    assert p.software_version.startswith("bioseg") and p.plan_hash and p.device and "min_size" in p.parameters
    import hashlib
    assert p.input_sha256 == hashlib.sha256(image.tobytes()).hexdigest()
    assert not answer.maps


@pytest.mark.parametrize("shape", [(16, 16), (1, 1)])
def test_an_image_no_larger_than_the_deepest_pixel_is_an_image_too(client, shape):
    answer = client.segment(blobs(*shape))
    assert (answer.result.height, answer.result.width) == shape and len(answer.labels) == 4 * shape[0] * shape[1]


def test_stream_gives_the_labels_of_unary_and_tells_progress_per_tile(client):
    image = blobs(600, 500)
    tiling = seg.Tiling(tile_px=128, batch=1)
    spec = default_spec(tiling=tiling, outputs=[common.OUTPUT_LABELS, common.OUTPUT_MAPS, common.OUTPUT_OBJECT_TABLE])
    unary = client.segment(image, spec)
    start, data, rows, progress = collect(client.segment_stream(image, spec))
    assert bytes(data[common.OUTPUT_LABELS]) == unary.labels
    assert bytes(data[common.OUTPUT_MAPS]) == unary.maps and unary.map_channels == 3
    assert rows == start.result.object_count == len(unary.objects.id)
    assert [a.name for a in start.artifacts[1].image.axes] == ["c", "y", "x"]
    assert progress[-1][0] == progress[-1][1] >= 4
    assert start.result.provenance.tiled and start.result.provenance.tile_px == 128


def test_a_file_and_its_samples_give_the_same_labels(client):
    answer = client.segment(SAMPLE.read_bytes())
    assert answer.result.object_count > 50
    start, data, rows, _ = collect(client.segment_stream(SAMPLE.read_bytes()))
    assert bytes(data[common.OUTPUT_LABELS]) == answer.labels and rows == answer.result.object_count


def test_pixel_size_gives_the_table_in_micrometres(client):
    image = blobs(128, 128)
    answer = client.segment((image.tobytes(), describe(image, pixel_size=0.5)))
    assert answer.result.pixel_size_um == 0.5
    assert answer.objects.area_um2[0] == answer.objects.area_px[0] * 0.25
    nanometres = describe(image)
    for a in nanometres.axes:
        a.pixel_size, a.unit = 500, "nm"
    assert client.segment((image.tobytes(), nanometres)).result.pixel_size_um == pytest.approx(0.5)


def test_parameters_change_the_result_and_stand_in_the_provenance(client):
    image = blobs(256, 256)
    few = client.segment(image, default_spec(parameters={"min_size": common.ParameterValue(number=200)}))
    many = client.segment(image, default_spec(parameters={"min_size": common.ParameterValue(number=0)}))
    assert few.result.object_count < many.result.object_count
    assert few.result.provenance.parameters["min_size"] == "200"
    assert "objects_removed" in {w.code for w in few.result.warnings}


def test_a_channel_is_chosen_by_index_or_name(client):
    grey = blobs(128, 128)
    image = np.stack([np.zeros_like(grey), grey, np.zeros_like(grey)], axis=2)
    data, description = image.tobytes(), describe(image)
    description.channel_names.extend(["dapi", "gfp", "rfp"])
    alone = client.segment(grey)
    for field in ({"channel_index": 1}, {"channel_name": "gfp"}):
        assert client.segment((data, description), default_spec(**field)).labels == alone.labels
    refused(C.INVALID_ARGUMENT, lambda: client.segment((data, description)), "channel")
    refused(C.INVALID_ARGUMENT, lambda: client.segment((data, description), default_spec(channel_index=3)), "3", "0 to 2")
    refused(C.INVALID_ARGUMENT, lambda: client.segment((data, description), default_spec(channel_name="cy5")), "cy5")


def number(v):
    return common.ParameterValue(number=v)


GREY = blobs(64, 64)
NAN = GREY.astype(np.float32)
NAN[3, 4] = np.nan
HUGE = common.ImageDescription(encoding=common.IMAGE_ENCODING_RAW, sample_type=common.SAMPLE_TYPE_UINT8,
                               axes=[common.Axis(name="y", size=1 << 39), common.Axis(name="x", size=1 << 39)])
EMPTY = common.ImageDescription(encoding=common.IMAGE_ENCODING_RAW, sample_type=common.SAMPLE_TYPE_UINT8,
                                axes=[common.Axis(name="y", size=0), common.Axis(name="x", size=5)])
RAW = common.IMAGE_ENCODING_RAW
BAD = [
    # what is wrong, status, words that the text must hold, image, fields of the spec
    ("unknown model", C.NOT_FOUND, ["nonsense"], GREY, dict(model=common.ModelRef(name="nonsense"))),
    ("unknown version", C.NOT_FOUND, ["99"], GREY, dict(model=common.ModelRef(name="nuclei", version=99))),
    ("version 0", C.INVALID_ARGUMENT, ["0"], GREY, dict(model=common.ModelRef(name="nuclei", version=0))),
    ("no model", C.INVALID_ARGUMENT, ["model"], GREY, dict(model=None)),
    ("model name with path", C.INVALID_ARGUMENT, ["../etc"], GREY, dict(model=common.ModelRef(name="../etc"))),
    ("unknown alias", C.NOT_FOUND, ["alias", "x"], GREY, dict(model=common.ModelRef(name="nuclei", alias="x"))),
    ("zero-size image", C.INVALID_ARGUMENT, ["size 0"], (b"x", EMPTY), {}),
    ("no bytes", C.INVALID_ARGUMENT, ["pixels"], (b"", describe(GREY)), {}),
    ("too few bytes", C.INVALID_ARGUMENT, ["4096", "4095"], (GREY.tobytes()[1:], describe(GREY)), {}),
    ("overflowing size", C.RESOURCE_EXHAUSTED, [], (b"x", HUGE), {}),
    ("NaN", C.INVALID_ARGUMENT, ["NaN", "no-data"], NAN, {}),
    ("infinite no-data", C.INVALID_ARGUMENT, ["inf"], NAN, dict(no_data=float("inf"))),
    ("five channels", C.INVALID_ARGUMENT, ["channel"], (np.arange(16 * 16 * 5) % 251).astype(np.uint8).reshape(16, 16, 5), {}),
    ("channel of a grey image", C.INVALID_ARGUMENT, ["channel"], GREY, dict(channel_index=1)),
    ("parameter out of range", C.INVALID_ARGUMENT, ["2", "0 to 1"], GREY,
     dict(parameters={"center_distance_threshold": number(2)})),
    ("NaN parameter", C.INVALID_ARGUMENT, ["nan"], GREY, dict(parameters={"foreground_threshold": number(float("nan"))})),
    ("unknown parameter", C.INVALID_ARGUMENT, ["nonsense"], GREY, dict(parameters={"nonsense": number(1)})),
    ("empty value", C.INVALID_ARGUMENT, ["min_size"], GREY, dict(parameters={"min_size": common.ParameterValue()})),
    ("flag for a number", C.INVALID_ARGUMENT, ["number"], GREY,
     dict(parameters={"min_size": common.ParameterValue(flag=True)})),
    ("unknown choice", C.INVALID_ARGUMENT, ["f64", "f32|bf16"], GREY,
     dict(parameters={"precision": common.ParameterValue(choice="f64")})),
    ("given twice", C.INVALID_ARGUMENT, ["twice"], GREY, dict(scale=1.5, parameters={"scale": number(2)})),
    ("absurd scale", C.INVALID_ARGUMENT, ["1000"], GREY, dict(scale=1000)),
    ("negative scale", C.INVALID_ARGUMENT, ["-1"], GREY, dict(scale=-1)),
    ("scale without pixel size", C.INVALID_ARGUMENT, ["pixel size"], GREY, dict(target_pixel_size_um=0.5)),
    ("absurd tile", C.INVALID_ARGUMENT, ["4.29497e+09", "16384"], GREY, dict(tiling=seg.Tiling(tile_px=2**32 - 1))),
    ("absurd halo", C.INVALID_ARGUMENT, ["100000"], GREY, dict(tiling=seg.Tiling(tile_px=64, halo_px=100000))),
    ("absurd batch", C.INVALID_ARGUMENT, ["5000"], GREY, dict(tiling=seg.Tiling(batch=5000))),
    ("region beyond the image", C.INVALID_ARGUMENT, ["region", "64"], GREY, dict(region=common.Region(x=60, width=5))),
    ("linked planes of one", C.INVALID_ARGUMENT, ["axis z"], GREY, dict(plane_mode=seg.PLANE_MODE_LINKED)),
    ("polygons", C.UNIMPLEMENTED, ["polygon"], GREY, dict(outputs=[common.OUTPUT_POLYGONS])),
    ("overlay", C.UNIMPLEMENTED, ["overlay"], GREY, dict(outputs=[common.OUTPUT_OVERLAY])),
    ("unspecified output", C.INVALID_ARGUMENT, ["outputs"], GREY, dict(outputs=[0])),
    ("unknown enum value", C.UNIMPLEMENTED, ["77"], GREY, dict(outputs=[77])),
    ("stack", C.INVALID_ARGUMENT, ["yzx"], (bytes(64), describe(np.zeros((4, 4, 4), np.uint8), "yzx")), {}),
    ("axes", C.INVALID_ARGUMENT, ["xy"], (bytes(64), describe(np.zeros((8, 8), np.uint8), "xy")), {}),
    ("axis twice", C.INVALID_ARGUMENT, ["twice"], (bytes(64), describe(np.zeros((8, 8), np.uint8), "yy")), {}),
    ("axis name", C.INVALID_ARGUMENT, ["q"], (bytes(64), describe(np.zeros((8, 8), np.uint8), "qx")), {}),
    ("no encoding", C.INVALID_ARGUMENT, ["encoding"], (b"x", common.ImageDescription()), {}),
    ("no sample type", C.INVALID_ARGUMENT, ["sample_type"],
     (b"x", common.ImageDescription(encoding=RAW, axes=[common.Axis(name="y", size=1), common.Axis(name="x", size=1)])), {}),
    ("not an image file", C.INVALID_ARGUMENT, [], b"hello, this is no image at all", {}),
]


@pytest.mark.parametrize("name,code,words,image,fields", BAD, ids=[b[0] for b in BAD])
def test_bad_input_is_refused_with_value_and_range(client, name, code, words, image, fields):
    spec = default_spec(**fields) if fields.get("model", 1) else seg.SegmentSpec()
    refused(code, lambda: client.segment(image, spec), *words)
    if encode(image)[0]:
        refused(code, lambda: list(client.segment_stream(image, spec)), *words)


def test_nan_with_a_no_data_value_is_accepted(client):
    answer = client.segment(NAN, default_spec(no_data=float("nan")))
    assert np.frombuffer(answer.labels, np.uint32).reshape(64, 64)[3, 4] == 0


def test_an_image_beyond_the_unary_limit_is_pointed_to_the_stream(client):
    image = np.zeros((4096, 4097), np.uint8)
    refused(C.RESOURCE_EXHAUSTED, lambda: client.segment(image), "SegmentStream")


def raw_call(client, path, *messages):
    return list(client.channel.stream_stream(path, lambda b: b, lambda b: b)(iter(messages), timeout=20))


def field(number_, data):
    def varint(v):
        out = b""
        while v > 127:
            out += bytes([v & 127 | 128])
            v >>= 7
        return out + bytes([v])
    return varint(number_ << 3 | 2) + varint(len(data)) + data


def test_what_protobuf_c_would_let_through_is_refused(client):
    segment = "/bioseg.v1.Segmentation/Segment"
    parameter = field(2, field(1, b"min_size") + field(2, b"\x09" + bytes(8)))
    pixels, image = field(3, b"x"), field(2, b"")
    nuclei = field(1, field(1, b"nuclei"))
    for message, code, word in (
            (field(1, field(1, field(1, b"nuc\0lei"))) + pixels, C.INVALID_ARGUMENT, "UTF-8"),
            (field(1, field(1, field(1, b"nuc\xff"))) + pixels, C.INVALID_ARGUMENT, "UTF-8"),
            (field(1, nuclei + parameter + parameter) + image + pixels, C.INVALID_ARGUMENT, "twice"),
            (field(1, nuclei + field(99, b"new")) + image + pixels, C.UNIMPLEMENTED, "99"),
            (field(1, nuclei) + image + pixels + pixels, C.INVALID_ARGUMENT, "twice"),
            (field(1, nuclei)[:-3], C.INVALID_ARGUMENT, "cut short"),
            (b"\xff" * 20, C.INVALID_ARGUMENT, ""),
            (field(1, field(1, field(1, b"a" * (1 << 21)))), C.RESOURCE_EXHAUSTED, "besides its pixels"),
            (b"", C.INVALID_ARGUMENT, "pixels")):
        refused(code, lambda: raw_call(client, segment, message), word)


def stream_of(*messages):
    return iter(messages)


def test_a_stream_is_start_chunks_in_order_end(client):
    data, description = encode(GREY)
    S = seg.SegmentStreamRequest
    start = S(start=seg.SegmentStart(spec=default_spec(), image=description, total_bytes=len(data)))

    def chunk(offset, piece, crc=None, artifact=0):
        return S(chunk=common.Chunk(offset=offset, data=piece, crc32c=crc32c(piece) if crc is None else crc,
                                    artifact=artifact))

    end = S(end=common.ChunkEnd(total_bytes=len(data)))
    whole = chunk(0, data)
    for messages, word in (
            ([], "begin with a start"), ([whole], "begin with a start"), ([S()], "begin with a start"),
            ([start], "without its end"), ([start, end], "0 of 4096"), ([start, start], "expected a chunk"),
            ([start, chunk(1, data[1:]), end], "offset 1"), ([start, chunk(0, data, crc=1), end], "damaged"),
            ([start, chunk(0, data + b"x"), end], "promised total"), ([start, chunk(0, b""), end], "empty"),
            ([start, whole, S(end=common.ChunkEnd(total_bytes=5))], "5"), ([start, chunk(0, data, artifact=1)], "artifact"),
            ([start, whole, S(end=common.ChunkEnd(total_bytes=len(data), sha256="0" * 64))], "SHA-256")):
        refused(C.INVALID_ARGUMENT, lambda: list(client.segmentation.SegmentStream(iter(messages), timeout=20)), word)
    big = S(start=seg.SegmentStart(spec=default_spec(), image=common.ImageDescription(
        encoding=common.IMAGE_ENCODING_FILE), total_bytes=4 << 20))
    refused(C.RESOURCE_EXHAUSTED, lambda: list(client.segmentation.SegmentStream(
        iter([big, chunk(0, bytes((1 << 20) + 1), crc=0)]), timeout=20)), "1048576")


LARGE = np.tile(blobs(512, 512), (4, 4))


def slow_spec():
    return default_spec(tiling=seg.Tiling(tile_px=128, batch=1))


def test_cancel_frees_the_device_within_a_second(client):
    events = client.segment_stream(LARGE, slow_spec())
    for e in events:
        if e.WhichOneof("event") == "progress":
            break
    events.cancel()
    began = time.monotonic()
    assert wait_until_idle(client, 1.0), "the device was not free after a second"
    client.segment(blobs(64, 64))
    assert time.monotonic() - began < 2


def test_a_deadline_stops_the_work(client):
    events = client.segment_stream(LARGE, slow_spec(), timeout=3.0)
    with pytest.raises(grpc.RpcError) as caught:
        list(events)
    assert caught.value.code() == C.DEADLINE_EXCEEDED
    assert wait_until_idle(client, 1.0)


def test_a_client_that_vanishes_mid_upload_leaves_nothing(client, daemon):
    def messages():
        data, description = encode(LARGE)
        stream = parts(seg.SegmentStreamRequest, seg.SegmentStart(spec=default_spec(), image=description,
                                                                   total_bytes=len(data)), data)
        yield next(stream)
        yield next(stream)
        time.sleep(60)

    before = len(list(pathlib.Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
    channel = daemon.channel()
    call = Client(channel).segmentation.SegmentStream(messages())
    assert next(call).WhichOneof("event") == "accepted"
    call.cancel()
    channel.close()
    end = time.monotonic() + 5
    while time.monotonic() < end and len(list(pathlib.Path(f"/proc/{daemon.process.pid}/fd").iterdir())) > before:
        time.sleep(0.05)
    assert len(list(pathlib.Path(f"/proc/{daemon.process.pid}/fd").iterdir())) <= before + 1


def test_many_requests_at_once_each_get_their_own_labels(client):
    images = [blobs(96, 96 + 16 * i, seed=i) for i in range(8)]
    alone = [client.segment(i).labels for i in images]
    together = [None] * len(images)

    def one(i):
        together[i] = client.segment(images[i]).labels

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(images))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert together == alone


# A tolerant reader may take the well-formed part of these (fixtures' README).
TOLERATED = {"no_iend.png", "png_chunk_len_huge.png", "png_long_idat.png", "png_named.tif", "png_palette_index_out.png",
             "png_palette_missing.png", "tiff_cyclic_ifd.tif", "tiff_cyclic_ifd_two.tif", "tiff_deflate_bomb.tif",
             "tiff_rps_zero.tif", "tiff_tile_zero.tif"}
# Formally valid and 268 megapixels: read, but a minute of work here; the deadline test has the likes of it.
SLOW = {"png_bomb_16384_complete.png"}
BAD_FILES = sorted(p for p in (BADFILES / "bad").iterdir() if p.suffix in (".png", ".tif") and p.name not in SLOW)


@pytest.mark.parametrize("path", BAD_FILES, ids=lambda p: p.name)
def test_a_bad_file_is_refused_and_the_daemon_serves_on(client, path):
    data = path.read_bytes()
    before = client.server.GetInfo(server.GetInfoRequest()).devices[0].worker_restarts
    if not data:
        refused(C.INVALID_ARGUMENT, lambda: client.segment(data), "at least 1 byte")
    else:
        try:
            list(client.segment_stream(data, timeout=60))
            assert path.name in TOLERATED
        except grpc.RpcError as e:
            assert e.code() in (C.INVALID_ARGUMENT, C.RESOURCE_EXHAUSTED, C.UNIMPLEMENTED), (e.code(), e.details())
            assert e.details()
    d = client.server.GetInfo(server.GetInfoRequest()).devices[0]
    assert d.ready and d.worker_restarts == before
