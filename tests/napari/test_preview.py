"""What is shown of the foreground map while labels are computed: where it lies, and that it goes."""
import time

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import QTimer

import bioseg
from napari_bioseg import _planes


WAIT = 240000  # a loaded machine measures the norms of a tiled image for a minute


def previews(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Image) and layer.name.endswith("(preview)")]


def begin(viewer, panel, qtbot, pixels, tile=192, **options):
    image = viewer.add_image(pixels, name="cells", **options)
    segment = panel()
    segment.form.fields["tile"].set(tile)
    run = segment.segment()
    qtbot.waitUntil(lambda: bool(previews(viewer)) or run.state != "running", timeout=WAIT)
    assert run.state == "running", segment.message.text()
    return image, segment, run


def test_a_preview_lies_on_the_image_and_goes_when_the_labels_come(viewer, panel, finish, qtbot, client, blobs):
    pixels = np.tile(blobs(300, 400), (4, 3))
    image, segment, run = begin(viewer, panel, qtbot, pixels, scale=(0.5, 0.25), translate=(10, 20), rotate=30)
    layer = previews(viewer)[0]
    assert layer.name == "cells (preview)" and layer.data.dtype == np.uint8 and max(layer.data.shape) <= 1024
    reduced = pixels.shape[0] / layer.data.shape[0]
    for y, x in ((0, 0), (100, 300), (599, 599)):  # the middle of a preview's pixel is the middle of those that it stands for
        assert np.allclose(layer.data_to_world((y, x)), image.data_to_world((reduced * y + (reduced - 1) / 2, reduced * x + (reduced - 1) / 2)))
    assert viewer.layers.selection.active is image and segment.layer.currentData() is image
    assert segment.layer.count() == 1  # nobody segments a preview
    qtbot.waitUntil(lambda: run.state != "running" or layer.data.any(), timeout=WAIT)
    assert not [la for la in viewer.layers if isinstance(la, Labels)]
    assert finish(run, WAIT) == "done"
    assert not previews(viewer)
    labels = [la for la in viewer.layers if isinstance(la, Labels)]
    assert (labels[0].data == client.segment(pixels, model="nuclei", tile=192).labels).all()


def test_cancel_takes_the_preview_away_at_once_and_for_good(viewer, panel, finish, qtbot, blobs):
    _, _, run = begin(viewer, panel, qtbot, np.tile(blobs(400, 400), (3, 3)))
    run.cancel()
    assert run.state == "cancelled"
    qtbot.waitUntil(lambda: not previews(viewer), timeout=WAIT)
    qtbot.wait(500)
    assert not previews(viewer)


def test_an_error_takes_the_preview_away(viewer, panel, finish, qtbot, blobs, tmp_path, request):
    from daemon import MODEL, Daemon

    own = Daemon(tmp_path / "own").start()
    request.addfinalizer(own.stop)
    with bioseg.Client(own.address()) as c:
        c.import_model(MODEL, "nuclei")
    viewer.add_image(np.tile(blobs(400, 400), (3, 3)), name="cells")
    segment = panel(address=own.address())
    segment.form.fields["tile"].set(192)
    run = segment.segment()
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=WAIT)
    own.kill()
    assert finish(run) == "failed" and segment.message.kind == "error"
    qtbot.waitUntil(lambda: not previews(viewer), timeout=WAIT)


def test_a_preview_that_was_hidden_goes_and_the_next_one_comes(viewer, panel, finish, qtbot, blobs):
    """napari 0.9 crashes drawing a layer that is added after a hidden one was removed."""
    _, segment, run = begin(viewer, panel, qtbot, np.tile(blobs(400, 400), (3, 3)))
    previews(viewer)[0].visible = False
    qtbot.wait(300)
    run.cancel()
    qtbot.waitUntil(lambda: not previews(viewer), timeout=WAIT)
    qtbot.wait(300)
    run = segment.segment()
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=WAIT)
    qtbot.wait(300)
    run.cancel()


def test_a_preview_that_was_taken_away_stays_away(viewer, panel, finish, qtbot, blobs):
    _, _, run = begin(viewer, panel, qtbot, np.tile(blobs(400, 400), (3, 3)))
    viewer.layers.remove(previews(viewer)[0])
    assert finish(run, WAIT) == "done" and not previews(viewer)


def test_a_stack_shows_the_plane_that_is_under_way(viewer, panel, finish, qtbot, blobs):
    stack = np.stack([np.tile(blobs(400, 400, s), (2, 2)) for s in range(2)])
    image = viewer.add_image(stack, name="cells", scale=(4, 1, 1), translate=(7, 0, 0))
    segment = panel()
    segment.form.fields["tile"].set(128)
    segment.image.planes.setCurrentIndex(segment.image.planes.findText("every one"))
    run = segment.segment()
    seen = set()

    def look():
        for layer in previews(viewer):
            seen.add(float(layer.data_to_world((0, 0, 0))[0]))
        return run.state != "running"

    qtbot.waitUntil(look, timeout=WAIT)
    assert run.state == "done" and not previews(viewer)
    assert seen and seen <= {float(image.data_to_world((z, 0, 0))[0]) for z in range(2)}


def test_only_the_newest_map_waits_for_the_viewer(viewer, qtbot):
    from napari_bioseg._preview import Preview

    viewer.add_image(np.zeros((40, 40)), name="below")
    shown = Preview(viewer, "cells", _planes.Place([1.0, 1.0], [0.0, 0.0]), 0)
    for n in range(1, 200):
        shown.show(bioseg.Preview(np.full((10, 10), n, np.uint8), (slice(0, 10), slice(0, 10)), (4.0, 4.0)), ())
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=WAIT)
    qtbot.wait(50)
    layer = previews(viewer)[0]
    assert (layer.data == 1).all() or (layer.data == 199).all()
    shown.show(bioseg.Preview(np.full((10, 10), 200, np.uint8), (slice(0, 10), slice(0, 10)), (4.0, 4.0)), ())
    qtbot.waitUntil(lambda: bool((layer.data == 200).all()), timeout=WAIT)
    assert len(previews(viewer)) == 1
    assert viewer.layers.selection.active.name == "below"
    shown.end()
    qtbot.waitUntil(lambda: not previews(viewer), timeout=WAIT)
    shown.show(bioseg.Preview(np.full((10, 10), 9, np.uint8), (slice(0, 10), slice(0, 10)), (4.0, 4.0)), ())
    qtbot.wait(100)
    assert not previews(viewer)


def test_a_viewer_that_draws_slowly_gets_fewer_maps(viewer, qtbot):
    """However long napari needs to draw: what is drawn for the preview holds the viewer for 1/20 of the time at most, plus the first one."""
    from napari_bioseg._preview import Preview

    viewer.add_image(np.zeros((40, 40)), name="below")
    shown = Preview(viewer, "cells", _planes.Place([1.0, 1.0], [0.0, 0.0]), 0)

    def map_of(n):
        return bioseg.Preview(np.full((10, 10), n, np.uint8), (slice(0, 10), slice(0, 10)), (4.0, 4.0))

    shown.show(map_of(1), ())
    qtbot.waitUntil(lambda: bool(previews(viewer)) and not shown._drawing and time.monotonic() > shown._not_before, timeout=WAIT)
    layer, drawn = previews(viewer)[0], []

    def slowly():
        drawn.append(int(layer.data[0, 0]))
        QTimer.singleShot(0, lambda: time.sleep(0.1))  # what a machine without graphics needs

    layer.events.set_data.connect(slowly)
    began = time.monotonic()
    for n in range(2, 200):
        shown.show(map_of(n), ())
        qtbot.wait(10)
    assert len(drawn) <= 1 + (time.monotonic() - began) / (20 * 0.1), drawn
    qtbot.waitUntil(lambda: drawn[-1] == 199, timeout=WAIT)  # the last one is never lost
    shown.end()


@pytest.mark.parametrize("leading", [(), (2,)])
def test_a_reduced_picture_keeps_its_place(leading):
    place = _planes.Place([3.0] * len(leading) + [0.5, 0.5], [1.0] * len(leading) + [10.0, 20.0])
    small = place.reduced(leading, (4.0, 2.0))
    assert small.scale[-2:] == [2.0, 1.0] and small.translate[-2:] == [10 + 0.5 * 1.5, 20 + 0.5 * 0.5]
    if leading:
        assert small.translate[0] == 1 + 3 * 2
