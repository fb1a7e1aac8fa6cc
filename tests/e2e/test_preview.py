"""The foreground map while it is computed: right, bounded, and never in the way of the work."""
import threading
import time

import grpc
import numpy as np
import pytest

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import segmentation_pb2 as seg
from bioseg.v1 import server_pb2 as server
from conftest import blobs, collect, default_spec, encode, parts, refused

C = grpc.StatusCode


def stream(client, image, spec, preview, **options):
    data, description = encode(image)
    start = seg.SegmentStart(spec=spec, image=description, total_bytes=len(data), preview=preview)
    return client.segmentation.SegmentStream(parts(seg.SegmentStreamRequest, start, data), **options)


def paint(events):
    """The preview as a viewer has it at the end, the parts, and the other events."""
    shown, pieces, others = None, [], []
    for e in events:
        if e.WhichOneof("event") != "preview":
            others.append(e)
            continue
        p = e.preview
        assert not any(o.WhichOneof("event") == "start" for o in others), "a preview after the result"
        if shown is None:
            shown = np.zeros((p.height, p.width), np.uint8)
        assert shown.shape == (p.height, p.width) and len(p.pixels) <= 1 << 20
        shown[p.top:p.bottom, p.left:p.right] = np.frombuffer(p.pixels, np.uint8).reshape(p.bottom - p.top, p.right - p.left)
        pieces.append(p)
    return shown, pieces, others


def tiles(tile=128):
    return default_spec(tiling=seg.Tiling(tile_px=tile, batch=1), outputs=[common.OUTPUT_LABELS, common.OUTPUT_MAPS])


def test_a_preview_is_the_foreground_map_in_eight_bits(client):
    assert "segment-preview" in client.server.GetInfo(server.GetInfoRequest()).features
    image = blobs(1200, 700)
    shown, pieces, others = paint(stream(client, image, tiles(), seg.PreviewRequest(max_side_px=400, interval_ms=20)))
    _, data, _, progress = collect(others)
    foreground = np.frombuffer(data[common.OUTPUT_MAPS], np.float32).reshape(3, 1200, 700)[0]
    assert shown.shape == (400, 234) and pieces[0].pixel_height == pieces[0].pixel_width == 3
    assert 2 <= len(pieces) <= len(progress)
    last = pieces[-1]
    seen = np.zeros(shown.shape, bool)
    for p in pieces:
        seen[p.top:p.bottom, p.left:p.right] = True
    expected = np.rint(255 * foreground[1::3][:, np.minimum(1 + 3 * np.arange(234), 699)])
    assert np.abs(shown[seen] - expected[seen]).max() <= 1 or last.bottom < 400  # what no tile had reached is 0
    assert seen.mean() > 0.5 and shown.max() > 200


def test_labels_are_the_same_with_and_without_a_preview(client):
    image = blobs(500, 600)
    plain = client.segment(image, tiles())
    _, _, others = paint(stream(client, image, tiles(), seg.PreviewRequest()))
    _, data, _, _ = collect(others)
    assert bytes(data[common.OUTPUT_LABELS]) == plain.labels
    _, pieces, others = paint(stream(client, image, tiles(), None))
    assert not pieces and others


def test_the_interval_is_kept(client):
    image = np.tile(blobs(512, 512), (2, 2))
    began = time.monotonic()
    _, pieces, _ = paint(stream(client, image, tiles(), seg.PreviewRequest(interval_ms=400)))
    assert 1 <= len(pieces) <= (time.monotonic() - began) / 0.4 + 1


def test_a_client_that_does_not_read_is_shown_less_and_delays_nothing(client, daemon):
    """The device is free as soon as the work is done, although nobody has read a preview; the result is whole all the same."""
    image = np.tile(blobs(512, 512), (2, 2))
    events = stream(client, image, tiles(), seg.PreviewRequest(interval_ms=20))
    assert next(events).WhichOneof("event") == "accepted"
    end = time.monotonic() + 240
    d = client.server.GetInfo(server.GetInfoRequest()).devices[0]
    while time.monotonic() < end and not d.running:
        time.sleep(0.02)
        d = client.server.GetInfo(server.GetInfoRequest()).devices[0]
    while time.monotonic() < end and d.running:
        time.sleep(0.05)
        d = client.server.GetInfo(server.GetInfoRequest()).devices[0]
    assert not d.running
    client.segment(blobs(64, 64))
    _, _, others = paint(events)
    _, data, _, _ = collect(others)
    assert len(data[common.OUTPUT_LABELS]) == image.size * 4


def test_cancel_in_the_middle_of_previews_frees_the_device(client):
    events = stream(client, np.tile(blobs(512, 512), (4, 4)), tiles(), seg.PreviewRequest(interval_ms=20))
    for e in events:
        if e.WhichOneof("event") == "preview":
            break
    events.cancel()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        d = client.server.GetInfo(server.GetInfoRequest()).devices[0]
        if not d.running:
            return
        time.sleep(0.02)
    pytest.fail("the device is still busy")


@pytest.mark.parametrize("preview, words", [
    (seg.PreviewRequest(max_side_px=15), ("15", "16 to 1024")), (seg.PreviewRequest(max_side_px=4096), ("4096", "1024")),
    (seg.PreviewRequest(interval_ms=1), ("interval_ms is 1", "20 to 60000")),
    (seg.PreviewRequest(interval_ms=10 ** 6), ("1000000",))])
def test_what_a_preview_cannot_be_is_refused(client, preview, words):
    refused(C.INVALID_ARGUMENT, lambda: list(stream(client, blobs(64, 64), default_spec(), preview)), *words)


def test_many_previews_at_once_each_show_their_own_image(client):
    images = [np.full((256, 256), 20, np.uint8), blobs(256, 256)]
    shown = [None] * 2

    def one(i):
        shown[i] = paint(stream(client, images[i], tiles(64), seg.PreviewRequest(max_side_px=64, interval_ms=20)))[0]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert shown[0].max() < 128 < shown[1].max()
