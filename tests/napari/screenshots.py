"""Draws docs/images/napari-*.png: the plugin at work on the sample image, in a viewer on a virtual screen, with a real daemon.

Run by `tests/napari/run.sh --screenshots`. Look at the pictures afterwards.
"""
import os
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "e2e"))
HOME = pathlib.Path(tempfile.mkdtemp(prefix="bioseg-pictures-"))
os.environ.update(XDG_CONFIG_HOME=str(HOME / "config"), XDG_DATA_HOME=str(HOME / "share"), PATH=f"{os.environ['BS_BUILD']}/bin:{os.environ['PATH']}")

import napari  # noqa: E402
import numpy as np  # noqa: E402
from daemon import MODEL, Daemon  # noqa: E402
from qtpy.QtWidgets import QApplication  # noqa: E402

import bioseg  # noqa: E402
from napari_bioseg import _session  # noqa: E402

OUT = ROOT / "docs" / "images"
COLOURS = 128  # of a palette: screenshots have few


def let(seconds=0.3, until=None, most=120):
    """Lets the viewer live for a while, or until something is so."""
    began = time.monotonic()
    while time.monotonic() - began < (most if until else seconds):
        QApplication.processEvents()
        time.sleep(0.005)
        if until and until():
            return
    assert not until, "it never came to that"


def save(widget, name):
    from PIL import Image

    QApplication.processEvents()
    picture = widget.grab().toImage()
    path = OUT / f"napari-{name}.png"
    picture.save(str(path))
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size >> 10} kB")


def panel(viewer, name):
    dock, widget = viewer.window.add_plugin_dock_widget("napari-bioseg", name)
    return dock, widget


def alone(dock, height):
    """A panel by itself."""
    dock.setFloating(True)
    dock.resize(360, height)
    dock.show()
    let(0.5)
    return dock


def training_pictures(viewer, window, image, session):
    """Correct and train: what is done, and a run that learns from it, tried beside the model that it began with."""
    viewer.layers.clear()
    let(0.3)
    _, segment = panel(viewer, "Segment")
    viewer.add_image(image, name="nuclei", contrast_limits=(0, 90))
    segment.as_job.setChecked(False)
    segment.image.planes.setCurrentIndex(0)
    segment.form.reset()
    let(until=lambda: segment.segment_button.isEnabled())
    run = segment.segment()
    let(until=lambda: run.state != "running", most=400)
    assert run.state == "done", segment.message.text()
    viewer.layers["nuclei labels"].contour = 2
    for dock in window.findChildren(type(panel(viewer, "Segment")[0])):
        if "bioseg" in dock.windowTitle():
            dock.hide()
    dock, train = panel(viewer, "Correct and train")
    dock.show()
    dock.raise_()
    viewer.layers.selection.active = viewer.layers["nuclei"]
    train.image._draw_region()
    done = viewer.layers["region"]
    done.name = "done"
    for top, left, bottom, right in ((20, 20, 276, 300), (20, 340, 276, 620), (290, 20, 500, 300)):
        done.add([[top, left], [top, right], [bottom, right], [bottom, left]], shape_type="rectangle")
    done.selected_data = set()
    done.mode = "pan_zoom"
    viewer.layers.selection.active = viewer.layers["nuclei"]
    train.image.region.setCurrentIndex(train.image.region.findText("inside done"))
    train.mark_done()
    assert len(train.marks.done) == 3, train.message.text()
    let(until=lambda: train.network.ready and all(e.objects is not None for e in train.marks.done))
    train.message.say("information", "")
    viewer.reset_view()
    let(1)
    save(window, "correct")

    train.network.form.set_values({"iterations": 120, "validate_every": 8, "checkpoint_every": 40, "patch": 128, "learning_rate": 1e-4})
    assert train.train() is not None
    let(until=lambda: train.watch.job is not None and train.watch.job.done and train.watch.curve.shown.last.step == 120, most=1800)
    assert train.watch.job.state == "succeeded", train.watch.state.text()
    train.image.region.setCurrentIndex(0)
    for layer in list(viewer.layers)[1:]:
        layer.visible = False
    runs = train.watch.try_it()
    let(until=lambda: all(r.state != "running" for r in runs), most=400)
    assert len(runs) == 2 and all(r.state == "done" for r in runs), train.watch.message.text()
    for layer in list(viewer.layers)[-2:]:
        layer.contour = 2
    viewer.layers[-2].visible = True
    viewer.reset_view()
    let(1)
    save(window, "train")
    dock.close()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    (HOME / "share").mkdir()
    daemon = Daemon(HOME / "share" / "bioseg", listen="none").start()
    try:
        with bioseg.Client() as client:
            client.import_model(MODEL, "unet-nuclei")
        viewer = napari.Viewer(show=True)
        window = viewer.window._qt_window  # napari has no public way to set the size of its window
        window.resize(1200, 740)
        viewer.open_sample("napari-bioseg", "nuclei")
        viewer.layers["nuclei"].contrast_limits = (0, 90)
        _, segment = panel(viewer, "Segment")
        session = _session.session()
        let(until=lambda: bool(session.models) and bool(segment.form.fields))
        viewer.reset_view()
        run = segment.segment()
        let(until=lambda: run.state != "running")
        assert run.state == "done", segment.message.text()
        viewer.layers["nuclei labels"].contour = 3
        viewer.layers["nuclei labels"].opacity = 1
        viewer.reset_view()
        let(1)
        save(window, "segment")

        # The preview of a larger image.
        image = viewer.layers["nuclei"].data
        viewer.layers.clear()
        let(0.3)
        viewer.add_image(np.tile(image, (2, 2)), name="section", contrast_limits=(0, 90))
        segment.form.fields["tile"].set(192)
        segment.message.say("information", "")
        run = segment.segment()
        def half_seen():  # what is drawn comes after what is known, and rarely on a machine that draws slowly
            shown = [layer.data for layer in viewer.layers if layer.name == "section (preview)"]
            return (bool(shown) and shown[0][shown[0].shape[0] // 2:].any()) or run.share > 0.75 or run.state != "running"

        let(until=half_seen, most=400)
        assert "section (preview)" in viewer.layers
        viewer.reset_view()
        let(0.5)
        save(window, "preview")
        run.cancel()
        segment.form.reset()

        # A drawn region.
        viewer.layers.clear()
        let(0.3)
        viewer.add_image(image, name="nuclei", contrast_limits=(0, 90))
        segment.image._draw_region()
        region = viewer.layers["region"]
        region.add([[120, 180], [120, 520], [400, 520], [400, 180]], shape_type="rectangle")
        region.mode = "pan_zoom"
        segment.layer.setCurrentIndex(0)
        run = segment.segment()
        let(until=lambda: run.state != "running")
        assert run.state == "done", segment.message.text()
        viewer.layers["nuclei labels"].contour = 3
        viewer.reset_view()
        let(1)
        save(window, "region")
        segment.image.region.setCurrentIndex(0)

        # A stack whose planes are linked, with its next run under way.
        viewer.layers.clear()
        let(0.3)
        viewer.add_image(np.stack([image[:, 12 * n:12 * n + 600] for n in range(8)]), name="time series", contrast_limits=(0, 90))
        segment.image.planes.setCurrentIndex(segment.image.planes.findText("every one"))
        segment.image.linked.setCurrentIndex(1)
        run = segment.segment()
        let(until=lambda: run.state != "running", most=400)
        assert run.state == "done", segment.message.text()
        viewer.layers["time series labels (linked 2D)"].contour = 3
        segment.image.linked.setCurrentIndex(0)
        run = segment.segment()
        let(until=lambda: run.share > 0.2 or run.state != "running")
        viewer.reset_view()
        let(0.3)
        save(window, "stack")
        run.cancel()
        viewer.layers.clear()
        let(0.3)

        # Jobs.
        viewer.add_image(image, name="nuclei", contrast_limits=(0, 90))
        segment.as_job.setChecked(True)
        for name in ("well A1", "well A2", "well B1"):
            viewer.layers[0].name = name
            run = segment.segment()
            let(until=lambda run=run: run.state != "running")
        dock, jobs = panel(viewer, "Jobs")
        let(until=lambda: len(jobs.groups) >= 3)
        viewer.layers[0].name = "well B2"
        viewer.layers[0].data = np.tile(image, (4, 4))
        segment.form.fields["tile"].set(256)
        run = segment.segment()
        let(until=lambda: run.share > 0.3 or run.state != "running")
        jobs.refresh()
        let(0.5)
        dock.setFloating(True)
        dock.resize(560, 240)
        jobs.table.selectRow(1)
        let(0.5)
        save(dock, "jobs")
        run.cancel()
        let(1)
        dock.close()

        training_pictures(viewer, window, image, session)

        dock, connect = panel(viewer, "Connect")
        let(0.5)
        alone(dock, 250)
        save(dock, "connect")
        session.leave()
        connect.help.open(True)
        connect.address.setText("lab-gpu:8764")
        connect.token.edit.setText("~/lab.token")
        connect.certificate.edit.setText("~/lab.pem")
        dock.resize(380, 430)
        let(0.5)
        save(dock, "remote")
        viewer.close()
    finally:
        daemon.stop()


main()
