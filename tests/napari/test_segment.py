"""The Segment panel: labels where they belong, whatever was asked for; what cannot be segmented is a sentence."""
import subprocess
import time

import numpy as np
import pytest
from napari.layers import Labels

import bioseg
from daemon import BIN, MODEL, SAMPLE


def labels_of(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def test_plugin_client_and_command_line_give_the_same_bytes(viewer, panel, finish, client, daemon, tmp_path):
    import tifffile

    viewer.open_sample("napari-bioseg", "nuclei")
    segment = panel()
    assert finish(segment.segment()) == "done", segment.message.text()
    labels = labels_of(viewer)[0].data
    assert labels.dtype == np.uint32 and labels.max() > 100
    assert labels.tobytes() == client.segment(SAMPLE, model="nuclei").labels.tobytes()
    subprocess.run([BIN / "bioseg", "--server", daemon.address(), "-q", "segment", "-m", "nuclei", "-o", tmp_path, SAMPLE], check=True)
    assert labels.tobytes() == tifffile.imread(tmp_path / "nuclei.tif").astype(np.uint32).tobytes()


def test_labels_lie_on_the_layer_that_was_asked_for_whatever_is_selected_then(viewer, panel, finish, blobs):
    first = viewer.add_image(blobs(200, 240), name="first", scale=(0.5, 0.25), translate=(10, 20), rotate=30)
    other = viewer.add_image(blobs(64, 64), name="other")
    segment = panel()
    viewer.layers.selection.active = first
    assert segment.layer.currentData() is first
    run = segment.segment()
    viewer.layers.selection.active = other
    assert finish(run) == "done"
    found = labels_of(viewer)[0]
    assert found.name == "first labels" and found.data.shape == (200, 240)
    for corner in ((0, 0), (199, 0), (50, 239)):
        assert np.allclose(found.data_to_world(corner), first.data_to_world(corner))


def test_a_layer_that_is_removed_meanwhile_costs_nothing(viewer, panel, finish, qtbot, blobs):
    image = viewer.add_image(blobs(1200, 1200), name="gone")
    segment = panel()
    run = segment.segment()
    qtbot.wait(50)
    viewer.layers.remove(image)
    assert finish(run) == "done"
    assert labels_of(viewer)[0].data.shape == (1200, 1200) and "removed meanwhile" in segment.message.text()
    assert segment.layer.currentData() is None and not segment.segment_button.isEnabled()
    assert segment.segment() is None and "There is no image" in segment.message.text()


def test_ids_are_unique_over_a_stack_and_every_plane_is_the_clients(viewer, panel, finish, client, blobs):
    stack = np.stack([blobs(120, 150, s) for s in range(3)])
    viewer.add_image(stack, name="stack", scale=(2, 1, 1))
    segment = panel()
    segment.image.planes.setCurrentIndex(segment.image.planes.findText("every one"))
    assert segment.image.linked.currentText() == "independent"
    assert finish(segment.segment()) == "done"
    layer = labels_of(viewer)[0]
    assert layer.data.shape == stack.shape and list(layer.scale) == [2, 1, 1]
    offset = 0
    for plane, image in zip(layer.data, stack):
        alone = client.segment(image, model="nuclei")
        assert (plane == np.where(alone.labels, alone.labels + offset, 0)).all()
        offset += alone.object_count
    assert layer.data.max() == offset == len(layer.features) and set(layer.features["plane"]) == {0, 1, 2}


def test_the_plane_that_is_shown_is_segmented_where_it_is(viewer, panel, finish, client, blobs):
    series = np.stack([blobs(100, 120, s) for s in range(4)])
    image = viewer.add_image(series, name="series", scale=(3, 0.5, 0.5), translate=(5, 0, 0))
    segment = panel()
    viewer.dims.set_point(0, 5 + 3 * 2)
    assert finish(segment.segment()) == "done"
    layer = labels_of(viewer)[0]
    assert layer.data.shape == (1, 100, 120)
    assert np.allclose(layer.data_to_world((0, 7, 9)), image.data_to_world((2, 7, 9)))
    assert (layer.data[0] == client.segment(series[2], model="nuclei").labels).all()


def test_a_channel_is_chosen_never_guessed(viewer, panel, finish, client, blobs):
    colour = np.stack([blobs(96, 110, s) for s in range(3)], axis=-1)
    viewer.add_image(colour, rgb=True, name="colour")
    segment = panel()
    assert finish(segment.segment()) == "failed" and "channel" in segment.message.text()
    segment.image.channel.setCurrentIndex(segment.image.channel.findText("green"))
    assert finish(segment.segment()) == "done"
    assert (labels_of(viewer)[0].data == client.segment(colour[..., 1].copy(), model="nuclei").labels).all()
    viewer.layers.clear()
    channels = np.moveaxis(colour, -1, 0)
    image = viewer.add_image(channels, name="channels")
    segment.image.channel_axis.setCurrentIndex(1)
    segment.image.channel.setCurrentIndex(2)
    assert finish(segment.segment()) == "done"
    layer = labels_of(viewer)[0]
    assert (layer.data[0] == client.segment(channels[2], model="nuclei").labels).all()
    for shown in range(3):  # the labels are seen whichever channel is
        assert round(layer.world_to_data(image.data_to_world((shown, 4, 4)))[0]) == 0


def test_multiscale_and_dask_layers_are_read_at_full_resolution(viewer, panel, finish, client, blobs):
    import dask.array as da

    pixels = blobs(256, 256)
    expected = client.segment(pixels, model="nuclei").labels
    viewer.add_image([pixels, pixels[::2, ::2], pixels[::4, ::4]], multiscale=True, name="pyramid")
    segment = panel()
    assert finish(segment.segment()) == "done"
    viewer.add_image(da.from_array(np.stack([pixels, pixels]), chunks=(1, 64, 100)), name="lazy")
    segment.image.planes.setCurrentIndex(segment.image.planes.findText("every one"))
    assert finish(segment.segment()) == "done"
    pyramid, lazy = labels_of(viewer)
    assert (pyramid.data == expected).all() and (lazy.data[0] == expected).all()


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float16, np.bool_])
def test_types_that_only_numpy_knows_are_sent_as_the_same_values(dtype, blobs):
    from napari_bioseg._planes import Selection

    pixels = blobs(20, 30).astype(dtype)
    plane = Selection((), (0, 20), (0, 30)).read(pixels, ())
    assert (plane == pixels).all() and (plane.dtype.itemsize <= 4)
    huge = np.full((4, 4), 2 ** 40)
    assert Selection((), (0, 4), (0, 4)).read(huge, ()).dtype == np.int64  # refused by the client, with a sentence


def test_pixel_size_comes_from_units_and_reaches_the_server(viewer, panel, finish, blobs):
    plain = viewer.add_image(blobs(64, 64), name="plain", scale=(0.3, 0.3))
    segment = panel()
    assert segment.image.pixel_size.text() == "not known"
    viewer.layers.remove(plain)
    viewer.add_image(blobs(128, 128), name="measured", scale=(300, 300), units=("nm", "nm"))
    assert segment.image.pixel_size.value() == pytest.approx(0.3)
    assert finish(segment.segment()) == "done"
    layer = labels_of(viewer)[0]
    assert layer.features["area_um2"].iloc[0] == pytest.approx(layer.features["area_px"].iloc[0] * 0.09)
    assert [str(u) for u in layer.units] == ["nanometer", "nanometer"]


def test_undo_takes_labels_away_and_brings_the_earlier_ones_back(viewer, panel, finish, qtbot, blobs):
    viewer.add_image(blobs(128, 128), name="cells")
    segment = panel()
    finish(segment.segment())
    first = labels_of(viewer)[0]
    segment.form.fields["min_size"].set(400)
    finish(segment.segment())
    second = labels_of(viewer)[0]
    assert labels_of(viewer) == [second] and second is not first and second.data.max() < first.data.max()
    qtbot.wait(50)
    segment.undo_button.click()
    assert labels_of(viewer) == [first]
    first.paint((5, 5), 99)
    segment.form.reset()
    finish(segment.segment())
    assert first in labels_of(viewer) and first.data[5, 5] == 99 and not first.visible and len(labels_of(viewer)) == 2
    segment.undo_button.click()
    segment.undo_button.click()
    assert not segment.undo_button.isEnabled()


def test_undo_of_labels_that_are_hidden_leaves_the_viewer_alive(viewer, panel, finish, qtbot, blobs):
    """napari 0.9 crashes drawing a layer that is added after a hidden one was removed."""
    viewer.add_image(blobs(96, 96), name="cells")
    segment = panel()
    for _ in range(2):
        assert finish(segment.segment()) == "done"
        qtbot.wait(200)
        labels_of(viewer)[0].visible = False
        qtbot.wait(200)
        segment.undo_button.click()
        qtbot.waitUntil(lambda: not labels_of(viewer), timeout=10000)
        qtbot.wait(200)
    assert finish(segment.segment()) == "done" and labels_of(viewer)[0].visible and labels_of(viewer)[0].opacity > 0
    qtbot.wait(200)


@pytest.mark.parametrize("image, words", [
    (np.full((64, 64), np.nan, np.float32), "NaN"),
    (np.zeros((64, 64), np.complex64), "complex64"),
    (np.zeros((64, 64), object), "type object"),
])
def test_what_is_no_image_is_a_sentence(viewer, panel, finish, image, words, blobs):
    if image.dtype == np.float32:
        viewer.add_image(image, name="bad", contrast_limits=(0, 1))
    else:  # napari draws no such layer; readers of other plugins have made some all the same
        viewer.add_image(blobs(64, 64), name="bad")._data = image
    segment = panel()
    assert finish(segment.segment()) == "failed"
    assert words in segment.message.text() and segment.message.kind == "error"
    viewer.layers.clear()
    viewer.add_image(blobs(64, 64), name="good")
    assert finish(segment.segment()) == "done"


def test_an_image_without_pixels_is_a_sentence(viewer):
    from types import SimpleNamespace

    from bioseg.errors import InvalidRequest
    from napari_bioseg import _layers

    empty = SimpleNamespace(name="empty", ndim=2, rgb=False, multiscale=False, data=np.zeros((0, 5)))
    with pytest.raises(InvalidRequest, match="empty has no pixels"):
        _layers.order(viewer, empty, model="nuclei", parameters={})


def test_a_deleted_model_and_a_new_one_with_its_parameters(viewer, panel, finish, qtbot, client, blobs, tmp_path):
    client.import_model(MODEL, "fleeting")
    viewer.add_image(blobs(64, 64))
    segment = panel()
    segment.model.setCurrentIndex(segment.model.findData("fleeting@1"))
    qtbot.waitUntil(lambda: "fleeting@1" in segment._described, timeout=10000)
    client.delete_model("fleeting@1")
    assert finish(segment.segment()) == "failed" and "fleeting" in segment.message.text()
    qtbot.waitUntil(lambda: segment.model.findData("fleeting@1") < 0, timeout=10000)
    segment.add_model(str(MODEL))
    qtbot.waitUntil(lambda: segment.model.findData("unet-nuclei@1") >= 0, timeout=10000)
    segment.model.setCurrentIndex(segment.model.findData("unet-nuclei@1"))
    qtbot.waitUntil(lambda: "unet-nuclei@1" in segment._described, timeout=10000)
    described = [p.name for p in client.model("unet-nuclei").parameters]
    assert set(segment.form.fields) == set(described) - {"channel"} and len(described) > 5
    client.delete_model("unet-nuclei@1")


def test_the_form_is_made_from_any_description_and_sends_what_was_changed(qtbot):
    from napari_bioseg._widgets import ParameterForm

    def parameter(name, kind, low=0.0, high=1.0, step=0.1, default=0.5, choices=(), advanced=False):
        return bioseg.Parameter(name, name.title(), "help of " + name, kind, low, high, step, default, "px", tuple(choices), advanced)

    form = ParameterForm([parameter("share", "float"), parameter("count", "int", 0, 1e9, 1, 7), parameter("huge", "int", 0, 1e15, 1, 5),
                          parameter("flag", "bool", default=False), parameter("way", "choice", default="a", choices="ab", advanced=True),
                          parameter("free", "float", -1e308, 1e308, 1, float("nan"), advanced=True),
                          parameter("fine", "float", step=0.00125, default=0.00375)])
    qtbot.addWidget(form)
    assert form.values() == {}
    form.set_values({"share": 0.25, "count": 9, "huge": 6e11, "flag": True, "way": "b", "free": 1.5, "fine": 0.005, "unknown": 3})
    assert form.values() == pytest.approx({"share": 0.25, "count": 9, "huge": 6e11, "flag": True, "way": "b", "free": 1.5, "fine": 0.005})
    form.set_values({"count": "nonsense"})
    assert "count" not in form.values()
    form.reset()
    assert form.values() == {}


def test_cancel_is_seen_at_once_and_frees_the_server(viewer, panel, finish, qtbot, client, blobs):
    viewer.add_image(np.tile(blobs(500, 500), (5, 5)), name="large")
    segment = panel()
    segment.form.fields["tile"].set(256)
    run = segment.segment()
    qtbot.waitUntil(lambda: run.share > 0, timeout=200000)
    began = time.monotonic()
    run.cancel()
    assert run.state == "cancelled" and "cancelled" in segment.message.text()
    assert time.monotonic() - began < 1
    client.segment(blobs(64, 64), model="nuclei")
    assert time.monotonic() - began < 5
    qtbot.wait(100)
    assert not labels_of(viewer) and not segment.runs.running


def test_the_shortcut_segments_the_active_image_with_the_panel_closed_too(viewer, panel, finish, qtbot, blobs):
    from napari_bioseg._segment_panel import SHORTCUT, open_panel, segment_now

    viewer.add_image(blobs(64, 80), name="active")
    segment = panel()
    assert any(str(key).replace("Ctrl", "Control").replace("+", "-") == SHORTCUT for key in viewer.keymap)
    assert open_panel(viewer, "Segment") is segment
    segment.parent().hide()
    segment_now(viewer)
    assert finish(segment.runs.running[0]) == "done"
    assert labels_of(viewer)[0].name == "active labels"
