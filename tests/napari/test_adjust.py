"""Other thresholds: new labels in the same layer, without the network, and with a word when it had to run after all."""
import numpy as np
from napari.layers import Labels

import bioseg
from bioseg.errors import NotFound
from napari_bioseg import _work

WAIT = 240000


def labels_of(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def segmented(viewer, panel, finish, pixels, name="cells"):
    viewer.add_image(pixels, name=name)
    segment = panel()
    assert finish(segment.segment(), WAIT) == "done", segment.message.text()
    return segment, labels_of(viewer)[0]


def turn(segment, qtbot, **values):
    """As a user turns a box; waits for the labels."""
    steps = len(segment.runs._steps)
    for name, value in values.items():
        segment.form.fields[name].set(value)
    qtbot.waitUntil(lambda: len(segment.runs._steps) > steps or segment.message.kind == "error", timeout=WAIT)
    assert segment.message.kind != "error", segment.message.text()


def test_a_changed_threshold_gives_new_labels_in_the_same_layer(viewer, panel, finish, qtbot, client, blobs):
    pixels = blobs(256, 300)
    segment, layer = segmented(viewer, panel, finish, pixels)
    viewer.layers.selection.active = viewer.layers["cells"]
    before, table = layer.data, layer.features
    turn(segment, qtbot, foreground_threshold=0.8)
    assert labels_of(viewer) == [layer] and layer.data is not before
    fresh = client.segment(pixels, model="nuclei", parameters={"foreground_threshold": 0.8})
    assert (layer.data == fresh.labels).all() and not (layer.data == before).all()
    assert list(layer.features["area_px"]) == list(fresh.objects["area_px"])
    made = layer.metadata["bioseg"]["provenance"]
    assert made["kept_maps"] and made["network_seconds"] == 0 and made["parameters"]["foreground_threshold"] == "0.80000000000000004"
    assert "the network did not run" in segment.message.text()
    turn(segment, qtbot, min_size=300)
    third = layer.data
    assert third.max() < fresh.object_count
    segment.undo_button.click()
    assert (layer.data == fresh.labels).all()
    segment.undo_button.click()
    assert layer.data is before and layer.features.equals(table)
    segment.undo_button.click()
    assert not labels_of(viewer) and not segment.undo_button.isEnabled()


def test_what_needs_the_network_waits_for_the_button(viewer, panel, finish, qtbot, blobs):
    segment, layer = segmented(viewer, panel, finish, blobs(128, 128))
    before = layer.data
    segment.form.fields["scale"].set(0.8)
    qtbot.waitUntil(lambda: "Press Segment" in segment.message.text(), timeout=10000)
    assert "Scale" in segment.message.text() and layer.data is before and not segment.runs.running
    segment.form.fields["scale"].set(1)
    turn(segment, qtbot, min_size=90)
    assert layer.data is not before


def test_turned_off_nothing_happens_until_the_button_which_then_needs_no_network(viewer, panel, finish, qtbot, blobs):
    segment, layer = segmented(viewer, panel, finish, blobs(128, 128))
    segment.live.setChecked(False)
    segment.form.fields["min_size"].set(120)
    qtbot.wait(800)
    assert not segment.runs.running and labels_of(viewer) == [layer]
    assert finish(segment.segment(), WAIT) == "done"
    assert labels_of(viewer)[0].metadata["bioseg"]["provenance"]["kept_maps"] and "did not run" in segment.message.text()


def test_a_turn_while_labels_are_under_way_waits_for_them(viewer, panel, finish, qtbot, client, blobs):
    pixels = np.tile(blobs(300, 300), (2, 2))
    segment, layer = segmented(viewer, panel, finish, pixels)
    segment.form.fields["tile"].set(192)
    run = segment.segment()
    segment.form.fields["min_size"].set(130)
    assert finish(run, WAIT) == "done"
    qtbot.waitUntil(lambda: "did not run" in segment.message.text(), timeout=WAIT)
    new = labels_of(viewer)
    assert len(new) == 1 and new[0] is not layer
    assert (new[0].data == client.segment(pixels, model="nuclei", parameters={"tile": 192, "min_size": 130}).labels).all()


def test_the_last_of_many_turns_wins(viewer, panel, finish, qtbot, client, blobs):
    pixels = blobs(200, 200)
    segment, layer = segmented(viewer, panel, finish, pixels)
    runs = []
    for n in range(10):
        segment.form.fields["min_size"].set(60 + 20 * n)
        runs.append(segment.adjust())
    qtbot.waitUntil(lambda: not segment.runs.running, timeout=WAIT)
    qtbot.wait(500)
    assert (layer.data == client.segment(pixels, model="nuclei", parameters={"min_size": 240}).labels).all()
    assert [r.state for r in runs[:-1]].count("cancelled") >= 1 and runs[-1].state == "done"
    assert "cancelled" not in segment.message.text()


def test_when_the_server_has_forgotten_the_network_runs_again_and_that_is_said(viewer, panel, finish, qtbot, client, blobs, monkeypatch):
    pixels = blobs(160, 170)
    segment, layer = segmented(viewer, panel, finish, pixels)
    origin = segment.runs._origins[layer]
    origin.kept = (bioseg.KeptMaps("0" * 32, None, 0),)
    turn(segment, qtbot, foreground_threshold=0.7)
    assert "so the network ran again" in segment.message.text() and labels_of(viewer) == [layer]
    assert (layer.data == client.segment(pixels, model="nuclei", parameters={"foreground_threshold": 0.7}).labels).all()
    relabelled = []
    real = _work.relabel
    monkeypatch.setattr(_work, "relabel", lambda *a: relabelled.append(a) or real(*a))
    turn(segment, qtbot, foreground_threshold=0.6)  # they are kept anew
    assert relabelled and "the network did not run" in segment.message.text()


def test_another_error_is_a_sentence_and_changes_nothing(viewer, panel, finish, qtbot, blobs, monkeypatch):
    segment, layer = segmented(viewer, panel, finish, blobs(96, 96))
    before = layer.data

    def gone(*_):
        raise NotFound("there is no model \"nuclei\"; its maps are not kept")  # the words say it, the reason does not

    monkeypatch.setattr(_work, "relabel", gone)
    segment.form.fields["min_size"].set(75)
    qtbot.waitUntil(lambda: segment.message.kind == "error", timeout=10000)
    assert "no model" in segment.message.text() and layer.data is before


def test_labels_that_were_painted_in_are_not_replaced(viewer, panel, finish, qtbot, blobs):
    segment, layer = segmented(viewer, panel, finish, blobs(128, 128))
    layer.paint((5, 5), 99)
    turn(segment, qtbot, min_size=100)
    others = [la for la in labels_of(viewer) if la is not layer]
    assert layer.data[5, 5] == 99 and len(others) == 1 and not layer.visible
    others[0].paint((5, 5), 77)
    turn(segment, qtbot, min_size=110)
    assert others[0].data[5, 5] == 77 and len(labels_of(viewer)) == 3


def test_every_plane_of_a_stack_follows(viewer, panel, finish, qtbot, client, blobs):
    stack = np.stack([blobs(100, 120, s) for s in range(3)])
    viewer.add_image(stack, name="stack")
    segment = panel()
    segment.image.planes.setCurrentIndex(segment.image.planes.findText("every one"))
    assert finish(segment.segment(), WAIT) == "done"
    turn(segment, qtbot, min_size=150)
    layer, offset = labels_of(viewer)[0], 0
    for plane, image in zip(layer.data, stack):
        alone = client.segment(image, model="nuclei", parameters={"min_size": 150})
        assert (plane == np.where(alone.labels, alone.labels + offset, 0)).all()
        offset += alone.object_count
    assert len(layer.features) == offset == layer.data.max()


def test_labels_of_another_image_stay_as_they_are(viewer, panel, finish, qtbot, blobs):
    segment, first = segmented(viewer, panel, finish, blobs(128, 128), "first")
    second_image = viewer.add_image(blobs(128, 128, 1), name="second")
    viewer.layers.selection.active = second_image
    assert finish(segment.segment(), WAIT) == "done"
    second = [la for la in labels_of(viewer) if la is not first][0]
    viewer.layers.selection.active = second_image
    before = first.data, second.data
    turn(segment, qtbot, min_size=100)
    assert first.data is before[0] and second.data is not before[1]
    viewer.layers.remove(second_image)
    assert second not in segment.runs._origins  # its pixels are not held for that
