"""Correct and train: what is done is marked, sent once, learnt, watched, steered, tried and promoted; every mistake has its sentence."""
import time

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt

import bioseg
from conftest import ROOT, WAIT
from daemon import MODEL, Daemon
from napari_bioseg import _examples, _marks, _session, _threads
from napari_bioseg._curve import CurveWidget, short, ticks
from napari_bioseg._planes import Selection
from napari_bioseg._train_work import Curve

IMAGES = ROOT / "tests" / "fixtures" / "images"
QUICK = {"features": 4, "depth": 2, "patch": 64, "batch": 2, "iterations": 20, "validate_every": 10, "checkpoint_every": 10}
LONG = {**QUICK, "iterations": 100000, "validate_every": 20, "checkpoint_every": 20}


def picture(name):
    import tifffile  # noqa: F401 - imageio's plugin list wants it
    from imageio.v3 import imread

    return imread(IMAGES / f"{name}.png"), imread(IMAGES / f"{name}.labels.png").astype(np.int32)


@pytest.fixture
def two(viewer):
    """Two images with labels."""
    for name in ("dsb_0147", "dsb_0161"):
        image, labels = picture(name)
        viewer.add_image(image, name=name, rgb=image.ndim == 3)
        viewer.add_labels(labels, name=f"{name} labels")
    return viewer


@pytest.fixture
def train(panel, qtbot):
    """The panel, with a small new network, so that a step takes milliseconds."""
    def open_it(settings=QUICK, dataset="corrections", name="mine", **options):
        widget = panel("Correct and train", **options)
        network = widget.network
        network.start_from.setCurrentIndex(network.start_from.findData("unet"))
        network.recipe.setCurrentIndex(network.recipe.findData("boundaries"))
        qtbot.waitUntil(lambda: network.ready, timeout=WAIT)
        network.form.set_values(settings)
        network.dataset.setText(dataset)
        network.name.setText(name)
        return widget

    return open_it


def mark(widget, viewer, *names):
    for name in names:
        viewer.layers.selection.active = viewer.layers[name]
        assert widget.image.layer.currentData().name == name and widget.labels.currentData().name == f"{name} labels"
        widget.mark_done()
        assert widget.message.kind != "error", widget.message.text()


def started(widget, qtbot):
    run = widget.train()
    assert run is not None, widget.message.text()
    qtbot.waitUntil(lambda: run.state != "running", timeout=WAIT)
    qtbot.wait(20)
    assert run.state == "done", widget.message.text()
    qtbot.waitUntil(lambda: widget.watch.job is not None and widget.watch.awaited is None, timeout=WAIT)
    return widget.watch.job.id


def until(qtbot, widget, state):
    qtbot.waitUntil(lambda: widget.watch.job is not None and widget.watch.job.state == state, timeout=WAIT)
    return widget.watch.job


def test_two_images_become_a_model_that_is_tried_and_promoted(two, train, panel, finish, qtbot, client):
    widget = train()
    mark(widget, two, "dsb_0147", "dsb_0161")
    assert [e.split for e in widget.marks.done] == ["train", "validation"]
    qtbot.waitUntil(lambda: all(e.objects for e in widget.marks.done), timeout=WAIT)
    assert widget.table.item(0, 1).text() == str(len(np.unique(two.layers["dsb_0147 labels"].data)) - 1)
    run_id = started(widget, qtbot)
    assert "2 sent" in widget.message.text() and widget.tabs.currentIndex() == 1
    job = until(qtbot, widget, "succeeded")
    assert job.id == run_id and job.model == "mine@1" and job.training.config["iterations"] == 20
    qtbot.waitUntil(lambda: widget.watch.curve.shown is not None and widget.watch.curve.shown.last.step == 20, timeout=WAIT)
    shown, told = widget.watch.curve.shown, client.training_run(run_id).metrics()
    assert list(shown.steps) == list(told.steps) and list(shown.validation_loss) == list(told.validation_loss)
    assert (shown.best_step, shown.best_loss) == (told.best_step, told.best_validation_loss)
    assert "mine@1" in widget.watch.state.text() and "step 20 of 20" in widget.watch.state.text()
    # Tried: a new network has none before it.
    runs = widget.watch.try_it()
    assert len(runs) == 1 and finish(runs[0]) == "done"
    assert two.layers[-1].name.startswith("dsb_0161: mine@1") and two.layers[-1].metadata["bioseg"]["provenance"]["model"] == "mine@1"
    assert widget.watch.promote_button.isEnabled()
    widget.watch.promote()
    qtbot.waitUntil(lambda: "means mine@1 now" in widget.watch.message.text(), timeout=WAIT)
    qtbot.waitUntil(lambda: not widget.watch.promote_button.isEnabled(), timeout=WAIT)
    assert client.model("mine").promoted
    assert {p.name: p.split for p in client.pairs("corrections")} == {"dsb_0147": "train", "dsb_0161": "validation"}
    # Once more: nothing is sent; corrected: the labels alone, in the place of the old ones.
    started(widget, qtbot)
    assert "2 there already" in widget.message.text() and "sent" not in widget.message.text()
    until(qtbot, widget, "succeeded")
    two.layers["dsb_0147 labels"].data[5:15, 5:15] = 999
    started(widget, qtbot)
    assert "1 corrected again, 1 there already" in widget.message.text()
    assert client.dataset("corrections").pair_count == 2 and until(qtbot, widget, "succeeded").model == "mine@3"
    jobs = panel("Jobs")
    qtbot.waitUntil(lambda: any(g.training for g in jobs.groups), timeout=WAIT)
    jobs.table.selectRow(next(n for n, g in enumerate(jobs.groups) if g.training))
    assert not jobs.open_button.isEnabled() and jobs.open_selected() == []


def test_a_model_is_trained_on_from_what_segment_found_and_a_hand_corrected(viewer, panel, train, finish, qtbot, client):
    image, _ = picture("dsb_0147")
    other, _ = picture("dsb_0161")
    viewer.add_image(np.stack([image[..., 0], other[..., 0]]) if image.ndim == 3 else np.stack([image, other]), name="stack")
    segment = panel()
    segment.model.setCurrentIndex(segment.model.findData("nuclei@1"))
    qtbot.waitUntil(lambda: segment._form_of == "nuclei@1", timeout=WAIT)
    segment.image.planes.setCurrentIndex(segment.image.planes.findText("every one"))
    assert finish(segment.segment()) == "done", segment.message.text()
    labels = next(layer for layer in viewer.layers if isinstance(layer, Labels))
    widget = train(dataset="stacks")
    network = widget.network
    network.start_from.setCurrentIndex(network.start_from.findData("nuclei@1"))
    qtbot.waitUntil(lambda: network.ready, timeout=WAIT)
    assert network.name.text() == "nuclei-corrected" and "features" not in network.form.fields
    assert network.recipe.currentData() == client.model("nuclei").recipe
    network.form.set_values({"iterations": 1, "validate_every": 1, "patch": 64, "batch": 1})
    widget.image.planes.setCurrentIndex(widget.image.planes.findText("every one"))
    widget.mark_done()
    assert [e.name for e in widget.marks.done] == ["stack [plane 0]", "stack [plane 1]"] and all(e.predicted for e in widget.marks.done)
    for plane, example in enumerate(widget.marks.done):
        assert (example.numbers() == labels.data[plane]).all() and (example.pixels()[0] == viewer.layers["stack"].data[plane]).all()
    started(widget, qtbot)
    assert widget.message.kind == "warning" and "scores look better" in widget.message.text()
    job = until(qtbot, widget, "succeeded")
    assert job.model == "nuclei-corrected@1" and job.training.initial == "nuclei@1"
    assert [(s.how, s.parent) for s in client.lineage(job.model)][0] == ("finetune", "nuclei@1")
    runs = widget.watch.try_it()
    assert [finish(r) for r in runs] == ["done", "done"]
    assert {layer.metadata["bioseg"]["provenance"]["model"] for layer in viewer.layers[-2:]} == {"nuclei@1", "nuclei-corrected@1"}


def test_of_a_prediction_what_was_changed_counts_and_the_rest_only_when_marked(viewer, panel, train, finish, qtbot, client, blobs):
    for n in range(2):
        viewer.add_image(blobs(128, 128, n), name=f"plate {n}")
    segment = panel()
    segment.model.setCurrentIndex(segment.model.findData("nuclei@1"))
    qtbot.waitUntil(lambda: segment._form_of == "nuclei@1", timeout=WAIT)
    for n in range(2):
        viewer.layers.selection.active = viewer.layers[f"plate {n}"]
        assert finish(segment.segment()) == "done", segment.message.text()
    widget = train(dataset="predicted", name="predicted")
    for n, text in enumerate(("only what I changed", "everything in it")):
        viewer.layers.selection.active = viewer.layers[f"plate {n}"]
        widget.right.setCurrentIndex(widget.right.findText(text))
        widget.mark_done()
    first, second = widget.marks.done
    assert first.changed and not second.changed and (first.numbers() == first.prediction()).all()
    run = widget.train()
    qtbot.waitUntil(lambda: run.state != "running" and widget.message.text() != "", timeout=WAIT)
    assert "nothing has been changed in plate 0" in widget.message.text().lower()
    viewer.layers["plate 0 labels"].data[3:20, 3:20] = 900
    widget.marks._count(first)
    qtbot.waitUntil(lambda: widget.table.item(0, 1).text() == "1 changed", timeout=WAIT)
    started(widget, qtbot)
    until(qtbot, widget, "succeeded")
    found = {p.name: p for p in client.pairs("predicted")}
    assert found["plate 0"].prediction_sha256 and found["plate 0"].annotation == bioseg.Annotation(predicted=True)
    assert found["plate 1"].prediction_sha256 is None and found["plate 1"].annotation == bioseg.Annotation(predicted=True, done=True)
    widget.tabs.setCurrentIndex(0)
    viewer.add_labels(np.eye(128, dtype=int), name="plate 0 mine")
    widget.labels.setCurrentIndex(widget.labels.findText("plate 0 mine"))
    assert widget.right.count() == 1  # nobody knows what a model made of them


def test_drawn_boxes_are_examples_of_their_own(viewer, train, qtbot, client):
    image, labels = picture("dsb_0147")
    image = image[..., 0] if image.ndim == 3 else image
    viewer.add_image(image, name="one", scale=(0.5, 0.5), translate=(3, 4))
    viewer.add_labels(labels, name="one labels", scale=(0.5, 0.5), translate=(3, 4))
    widget = train(dataset="boxes")
    widget.image._draw_region()
    shapes = viewer.layers["region"]
    for top, left in ((0, 0), (100, 130)):
        corners = [viewer.layers["one"].data_to_world(c) for c in ((top, left), (top, left + 99), (top + 89, left + 99), (top + 89, left))]
        shapes.add([shapes.world_to_data(c) for c in corners], shape_type="rectangle")
    shapes.selected_data = set()
    viewer.layers.selection.active = viewer.layers["one"]
    widget.image.region.setCurrentIndex(widget.image.region.findText("inside region"))
    widget.mark_done()
    assert [e.split for e in widget.marks.done] == ["train", "validation"], widget.message.text()
    first, second = widget.marks.done
    assert (first.numbers() == labels[first.selection.rows[0]:first.selection.rows[1], first.selection.columns[0]:first.selection.columns[1]]).all()
    assert second.selection.rows[0] == 100 and second.name.startswith("one [100:")
    widget.mark_done()
    assert len(widget.marks.done) == 2 and "already" in widget.message.text()
    widget.image.region.setCurrentIndex(0)
    widget.mark_done()
    assert "pixels count once" in widget.message.text() and len(widget.marks.done) == 2
    started(widget, qtbot)
    until(qtbot, widget, "succeeded")
    assert sorted(p.shape["y"] for p in client.pairs("boxes")) == sorted(e.selection.shape[-2] for e in widget.marks.done)


def test_a_run_is_paused_tried_resumed_given_another_rate_and_cancelled(two, train, panel, finish, qtbot, client):
    widget = train(LONG, dataset="steered", name="steered")
    mark(widget, two, "dsb_0147", "dsb_0161")
    run_id = started(widget, qtbot)
    watch = widget.watch
    qtbot.waitUntil(lambda: watch.curve.shown is not None and len(watch.curve.shown.validation_steps) > 0, timeout=WAIT)
    watch.rate.setText("ten")
    watch.set_rate()
    assert "no learning rate" in watch.message.text()
    watch.rate.setText("3e-5")
    qtbot.keyClick(watch.rate, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "rate 3e-05" in watch.state.text(), timeout=WAIT)
    watch.pause_button.click()
    until(qtbot, widget, "paused")
    assert watch.pause_button.text() == "Resume" and "Paused" in watch.state.text()
    at = watch.job.progress.done
    runs = watch.try_it()  # the best so far of a run without an end
    assert [finish(r) for r in runs] == ["done"] and two.layers[-1].name == "dsb_0161: best of steered so far labels", watch.message.text()
    # The panel is closed and opened again: it finds the run and all that it told.
    viewer = two
    viewer.window.remove_dock_widget(widget.parent())
    again = panel("Correct and train")
    again.tabs.setCurrentIndex(1)
    assert [e.name for e in again.marks.done] == ["dsb_0147", "dsb_0161"]
    qtbot.waitUntil(lambda: again.watch.job is not None and again.watch.job.id == run_id, timeout=WAIT)
    qtbot.waitUntil(lambda: again.watch.curve.shown is not None and again.watch.curve.shown.last.step >= at, timeout=WAIT)
    again.watch.pause_button.click()
    qtbot.waitUntil(lambda: again.watch.curve.shown.last.step > at + 5, timeout=WAIT)
    again.watch.cancel_button.click()
    until(qtbot, again, "cancelled")
    assert not again.watch.cancel_button.isEnabled() and again.watch.pause_button.text() == "Resume"
    assert client.training_run(run_id).status().state == "cancelled"


def test_a_daemon_that_dies_is_waited_for_and_the_curve_goes_on(two, train, qtbot, tmp_path):
    d = Daemon(tmp_path / "data", listen="none").start()
    try:
        with bioseg.Client(d.address()) as c:
            c.import_model(MODEL, "nuclei")
        widget = train(LONG, address=d.address())
        mark(widget, two, "dsb_0147", "dsb_0161")
        started(widget, qtbot)
        watch = widget.watch
        qtbot.waitUntil(lambda: watch.curve.shown is not None and watch.curve.shown.last.step >= 20, timeout=WAIT)
        d.kill()
        qtbot.waitUntil(lambda: "connection is gone" in watch.message.text(), timeout=WAIT)
        before = watch._follower.curve.step
        assert widget.train() is not None
        qtbot.waitUntil(lambda: widget.message.kind == "error", timeout=WAIT)
        assert "broke" in widget.message.text() or "No bioseg daemon" in widget.message.text()
        d.start()
        qtbot.waitUntil(lambda: watch.curve.shown.last.step > before + 20, timeout=WAIT)
        qtbot.waitUntil(lambda: "connection" not in watch.message.text(), timeout=WAIT)
        assert list(watch._follower.curve._steps) == list(range(1, watch._follower.curve._steps[-1] + 1))
        watch.cancel_button.click()
        until(qtbot, widget, "cancelled")
    finally:
        d.stop()


def test_mistakes_have_sentences(viewer, train, qtbot, client, blobs):
    widget = train(dataset="mistakes")
    widget.train()
    assert "nothing is marked done" in widget.message.text().lower()
    widget.mark_done()
    assert "There is no image" in widget.message.text()
    viewer.add_image(blobs(100, 120), name="a")
    widget.mark_done()
    assert "no labels" in widget.message.text()
    viewer.add_labels(np.zeros((90, 120), int), name="other")
    widget.mark_done()
    assert "does not lie pixel by pixel" in widget.message.text() and "90 x 120" in widget.message.text() and "100 x 120" in widget.message.text()
    viewer.layers.remove("other")
    viewer.add_labels(np.eye(100, 120, dtype=int), name="a labels")
    widget.mark_done()
    assert len(widget.marks.done) == 1 and widget.message.text() == ""
    run = widget.train()
    qtbot.waitUntil(lambda: run.state != "running" and widget.message.text() != "", timeout=WAIT)
    assert run.state == "failed" and "something to judge by too" in widget.message.text()
    assert list(client.pairs("mistakes")) == []
    widget.marks.done[0].labels.data = -np.eye(100, 120, dtype=int)
    viewer.add_image(blobs(64, 64, 1), name="b")
    viewer.add_labels(np.eye(64, dtype=int), name="b labels")
    mark(widget, viewer, "b")
    run = widget.train()
    qtbot.waitUntil(lambda: run.state != "running" and widget.message.text() != "", timeout=WAIT)
    assert run.state == "failed" and "Labels are numbers from 0" in widget.message.text()
    widget.network.name.setText("")
    widget.train()
    assert "needs a name" in widget.message.text()
    widget.network.name.setText("no/such name")
    widget.marks.done[0].labels.data = np.eye(100, 120, dtype=int)
    run = widget.train()
    qtbot.waitUntil(lambda: run.state != "running" and widget.message.text() != "", timeout=WAIT)
    assert run.state == "failed" and "model_name" in widget.message.text()
    widget.table.selectRow(0)
    widget.take_off()
    assert [e.name for e in widget.marks.done] == ["b"]
    widget._session.leave()
    assert widget.train() is None and not widget.train_button.isEnabled() and widget.connect_button.isVisibleTo(widget)


def test_a_run_that_is_refused_is_a_list_of_all_that_is_wrong(viewer, train, qtbot, client):
    for n in range(2):
        viewer.add_image(np.full((64, 64 + n), 7, np.uint8), name=f"flat {n}")
        viewer.add_labels(np.eye(64, 64 + n, dtype=int), name=f"flat {n} labels")
    widget = train(dataset="refused", name="refused")
    mark(widget, viewer, "flat 0", "flat 1")
    run = widget.train()
    qtbot.waitUntil(lambda: run.state != "running" and widget.message.text() != "", timeout=WAIT)
    said = widget.message.text()
    assert run.state == "failed" and said.startswith("The server refuses to train on this:")
    assert all(f'"flat {n}": all samples are 7.' in said for n in range(2)) and widget.message.kind == "error"
    assert client.dataset("refused").pair_count == 2 and not any(j.training.model_name == "refused" for j in client.training_runs())


def test_labels_are_found_wherever_they_lie_on_the_image(viewer, blobs):
    stack = np.stack([blobs(60, 70, s) for s in range(3)])
    image = viewer.add_image(stack, name="stack", scale=(2, 0.5, 0.25), translate=(1, 7, 8))
    numbers = np.arange(60 * 70).reshape(60, 70)
    whole = Selection(((0, 1, 2),), (0, 60), (0, 70))
    plane = viewer.add_labels(numbers[None], scale=image.scale, translate=(1 + 2 * 2, 7, 8), name="of plane 2")
    found, = _examples.examples_of(image, plane, Selection(((2,),), (10, 40), (20, 50)))
    assert (found.numbers() == numbers[10:40, 20:50]).all() and found.name == "stack [plane 2; 10:40, 20:50]"
    part = viewer.add_labels(numbers[None, 5:55, 5:65], scale=image.scale, translate=(1, 7 + 5 * 0.5, 8 + 5 * 0.25), name="a part of plane 0")
    found, = _examples.examples_of(image, part, Selection(((0,),), (10, 40), (20, 50)))
    assert (found.numbers() == numbers[10:40, 20:50]).all()
    for labels, selection in ((plane, whole), (part, Selection(((0,),), (0, 40), (20, 50))),
                              (viewer.add_labels(numbers[None], scale=(2, 0.5, 0.5), translate=image.translate), Selection(((0,),), (0, 60), (0, 70))),
                              (viewer.add_labels(numbers[None], scale=image.scale, translate=(1, 7.2, 8)), Selection(((0,),), (0, 60), (0, 70)))):
        with pytest.raises(bioseg.errors.InvalidRequest, match="pixel by pixel"):
            _examples.examples_of(image, labels, selection)
    with pytest.raises(bioseg.errors.InvalidRequest, match="too small"):
        _examples.examples_of(image, plane, Selection(((2,),), (10, 20), (20, 50)))
    channels = viewer.add_image(np.stack([blobs(60, 70), blobs(60, 70, 1)]), name="channels")
    flat = viewer.add_labels(numbers, name="flat")
    found, = _examples.examples_of(channels, flat, Selection(((1,),), (0, 60), (0, 70), channel_axis=0))
    assert (found.numbers() == numbers).all() and found.name == "channels" and (found.pixels()[0] == channels.data[1]).all()


def test_a_long_run_is_drawn_from_few_points(qtbot):
    curve = Curve()
    random = np.random.default_rng(0)
    for step in range(1, 30001):
        curve.take(bioseg.TrainingEvent(step, 1, 1 / (1 + step / 1000) + random.random() / 10, 1e-4))
        if step % 100 == 0:
            curve.take(bioseg.TrainingEvent(step, 1, 0.1, 1e-4, 1 / (1 + step / 900), 1 / (1 + step / 900), step))
    shown = curve.shown()
    assert len(shown.steps) <= 500 and len(shown.validation_steps) <= 500 and shown.steps[-1] == 30000 and shown.best_step == 30000
    assert (shown.low <= shown.high).all() and (np.diff(shown.steps) > 0).all() and abs(shown.loss[-1] - 1 / 31 - 0.05) < 0.02
    widget = CurveWidget()
    qtbot.addWidget(widget)
    widget.resize(340, 200)
    empty = widget.grab().toImage()
    widget.show_curve(shown)
    assert widget.grab().toImage() != empty
    one = Curve()
    one.take(bioseg.TrainingEvent(1, 1, 0.5, 1e-4))
    widget.show_curve(one.shown())
    widget.grab()
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1] or ticks(0, 1) == [0, 0.5, 1] and short(120000) == "120k" and short(0.0123) == "0.0123"


def test_of_examples_the_second_and_every_fifth_judge():
    class Fake:
        def __init__(self, group):
            self.group, self.split = group, None

    done = []
    for n in range(12):
        example = Fake(f"image {n}")
        example.split = _examples.choose_split(example, done)
        done.append(example)
    assert "".join(e.split[0] for e in done) == "tvttttvttttv"
    again = Fake("image 1")
    assert _examples.choose_split(again, done) == "validation" and _examples.groups_across(done) == []


def test_the_viewer_is_not_held_by_a_run(two, train, qtbot, monkeypatch):
    """No callback of ours takes the GUI thread for long while a run tells a hundred steps a second."""
    widget = train(LONG, dataset="quick", name="quick")
    mark(widget, two, "dsb_0147", "dsb_0161")
    used = []
    deliver = _threads.deliver

    def timed(callback, arguments):
        began = time.thread_time()
        deliver(callback, arguments)
        used.append((time.thread_time() - began, getattr(callback, "__qualname__", "?")))

    monkeypatch.setattr(_threads, "deliver", timed)
    began = time.thread_time()
    run = widget.train()
    handing_in = time.thread_time() - began
    qtbot.waitUntil(lambda: run.state != "running", timeout=WAIT)
    watch = widget.watch
    qtbot.waitUntil(lambda: watch.curve.shown is not None and watch.curve.shown.last.step > 60, timeout=WAIT)
    began = time.thread_time()
    watch.curve.grab()
    drawing = time.thread_time() - began
    watch.cancel_button.click()
    until(qtbot, widget, "cancelled")
    assert handing_in < 0.02 and drawing < 0.02 and max(used)[0] < 0.02, (handing_in, drawing, sorted(used)[-5:])


def test_marks_are_of_their_viewer(viewer):
    assert _marks.marks_of(viewer) is _marks.marks_of(viewer)
    assert _session.session() is _session.session()
