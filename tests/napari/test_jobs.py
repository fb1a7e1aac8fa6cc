"""Jobs: handed in from the viewer, found again after it was closed, over broken connections."""
import socket
import threading

import numpy as np
import pytest
from napari.layers import Labels

import bioseg
from conftest import WAIT
from daemon import MODEL, Daemon
from napari_bioseg import _runs, _session
from napari_bioseg._planes import Place, Ticket


def test_a_job_is_opened_where_it_belongs_after_napari_was_restarted(viewer, panel, finish, qtbot, client, blobs):
    stack = np.stack([blobs(100, 120, s) for s in range(2)])
    image = viewer.add_image(stack, name="µ stack", scale=(2, 0.5, 0.5), translate=(0, 7, 8), rotate=20)
    segment = panel()
    segment.image.planes.setCurrentIndex(segment.image.planes.findText("every one"))
    segment.as_job.setChecked(True)
    assert finish(segment.segment()) == "done", segment.message.text()
    direct = next(layer for layer in viewer.layers if isinstance(layer, Labels))
    viewer.layers.clear()
    _runs._runs.clear()  # what a new napari knows: nothing
    jobs = panel("Jobs")
    qtbot.waitUntil(lambda: any(g.title == "µ stack (2 planes)" for g in jobs.groups), timeout=WAIT)
    row = next(n for n, g in enumerate(jobs.groups) if g.title == "µ stack (2 planes)")
    assert jobs.groups[row].succeeded and "objects" in jobs.table.item(row, 2).text()
    jobs.table.selectRow(row)
    assert finish(jobs.open_selected()[0]) == "done", jobs.message.text()
    again = viewer.layers[0]
    assert again.name == "µ stack labels" and (again.data == direct.data).all()
    for corner in ((0, 0, 0), (1, 99, 50)):
        assert np.allclose(again.data_to_world(corner), image.data_to_world(corner))
    jobs.delete_selected()
    qtbot.waitUntil(lambda: not any(g.title.startswith("µ stack") for g in jobs.groups), timeout=WAIT)
    assert not any("µ" in j.labels.get("napari/layer", "") for j in client.jobs())


def test_jobs_of_other_programs_and_failed_ones_are_there_too(viewer, panel, finish, qtbot, client, blobs):
    other = client.submit(blobs(80, 90), model="nuclei")
    other.result()
    failed = client.submit(b"no image at all", model="nuclei")
    with pytest.raises(bioseg.errors.JobFailed):
        failed.result()
    jobs = panel("Jobs")
    qtbot.waitUntil(lambda: len(jobs.groups) >= 2, timeout=WAIT)
    rows = {g.jobs[0].id: n for n, g in enumerate(jobs.groups)}
    jobs.table.selectRow(rows[failed.id])
    assert not jobs.open_button.isEnabled() and jobs.message.kind == "error" and jobs.message.text()
    jobs.table.clearSelection()
    jobs.table.selectRow(rows[other.id])
    assert finish(jobs.open_selected()[0]) == "done"
    assert viewer.layers[0].data.shape == (80, 90)
    other.delete()
    failed.delete()


def test_a_job_is_cancelled_from_either_panel(viewer, panel, finish, qtbot, client, blobs):
    viewer.add_image(np.tile(blobs(500, 500), (5, 5)), name="large")
    segment = panel()
    segment.form.fields["tile"].set(256)
    segment.as_job.setChecked(True)
    run = segment.segment()
    qtbot.waitUntil(lambda: run.share > 0 or run.state != "running", timeout=WAIT)
    run.cancel()
    assert finish(run) == "cancelled"
    jobs = panel("Jobs")
    run = segment.segment()
    qtbot.waitUntil(lambda: any(not g.done for g in jobs.groups), timeout=WAIT)
    jobs.table.selectRow(next(n for n, g in enumerate(jobs.groups) if not g.done))
    assert jobs.cancel_button.isEnabled()
    jobs.cancel_selected()
    assert finish(run) == "cancelled"
    assert not any(isinstance(layer, Labels) for layer in viewer.layers)


def test_a_daemon_that_dies_loses_no_job_and_a_sentence_says_what_else(viewer, panel, finish, qtbot, tmp_path, blobs):
    d = Daemon(tmp_path / "data", listen="none").start()
    try:
        with bioseg.Client(d.address()) as c:
            c.import_model(MODEL, "nuclei")
        viewer.add_image(np.tile(blobs(500, 500), (3, 3)), name="large")
        segment = panel(address=d.address())
        segment.form.fields["tile"].set(256)
        segment.as_job.setChecked(True)
        run = segment.segment()
        qtbot.waitUntil(lambda: run.share > 0, timeout=WAIT)
        d.kill()
        qtbot.wait(500)
        d.start()
        assert finish(run, 2 * WAIT) == "done", segment.message.text()
        segment.as_job.setChecked(False)
        run = segment.segment()
        qtbot.waitUntil(lambda: run.share > 0, timeout=WAIT)
        d.kill()
        assert finish(run) == "failed"
        assert "broke" in segment.message.text() and segment.message.kind == "error"
        _session.session().refresh_models()
        qtbot.waitUntil(lambda: not _session.session().connected, timeout=WAIT)
        assert "No bioseg daemon is running" in segment.connection.text()
        assert len(viewer.layers) == 2
        d.start()
        _session.session().refresh_models()
        qtbot.waitUntil(lambda: _session.session().connected, timeout=WAIT)
        assert finish(segment.segment()) == "done" and segment.connection.text() == ""
    finally:
        d.stop()


class Proxy:
    """A Unix socket in front of a daemon's that breaks every connection once so many bytes have gone up; 0: none."""

    def __init__(self, folder, daemon):
        self.cut_after, self.cuts = 0, 0
        self._to = str(daemon.data / "biosegd.sock")
        self.address = f"unix:{folder / 'proxy.sock'}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "proxy.sock"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        try:
            while True:
                down, _ = self._listener.accept()
                up = socket.socket(socket.AF_UNIX)
                up.connect(self._to)
                threading.Thread(target=self._pump, args=(down, up, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(up, down, False), daemon=True).start()
        except OSError:
            pass

    def _pump(self, source, target, upwards):
        sent = 0
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
                sent += len(data)
                if upwards and self.cut_after and sent > self.cut_after:
                    self.cuts, self.cut_after = self.cuts + 1, 0  # the next connection is a good one
                    break
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self._listener.close()


def test_a_connection_that_breaks_while_the_image_is_sent(viewer, panel, finish, qtbot, daemon, tmp_path, blobs):
    """A direct run ends with a sentence; a job is sent again."""
    proxy = Proxy(tmp_path, daemon)
    try:
        image = viewer.add_image(np.tile(blobs(500, 500), (6, 6)), name="large")
        segment = panel(address=proxy.address)
        proxy.cut_after = image.data.nbytes // 3
        assert finish(segment.segment()) == "failed" and proxy.cuts == 1
        assert "connection" in segment.message.text() and "broke" in segment.message.text() and "started again" in segment.message.text()
        assert list(viewer.layers) == [image]
        viewer.layers.remove(image)
        image = viewer.add_image(np.tile(blobs(500, 500), (3, 3)), name="smaller")
        _session.session().refresh_models()
        qtbot.waitUntil(lambda: _session.session().connected, timeout=WAIT)
        segment.as_job.setChecked(True)
        proxy.cut_after = image.data.nbytes // 3
        assert finish(segment.segment()) == "done" and proxy.cuts == 2, segment.message.text()
        assert [layer.name for layer in viewer.layers] == ["smaller", "smaller labels"]
    finally:
        proxy.close()


def test_a_ticket_survives_the_limits_of_labels():
    place = Place([0.123456789] * 4, [1e-7] * 4, (np.eye(4) / 3).tolist(), [0.1] * 6, (np.eye(5) / 7).tolist(), ["micrometer"] * 4, list("tzyx"))
    ticket = Ticket("a\nname " + "ü" * 300, "f" * 32, 3, 10, [10, 5, 100, 100], place)
    labels = ticket.labels()
    assert len(labels) <= 16 and all(len(v.encode()) <= 255 and v.isprintable() for v in labels.values())
    again = Ticket.of(labels)
    assert again.place == place and again.shape == ticket.shape and (again.plane, again.planes) == (3, 10)
    assert Ticket.of({}) is None and Ticket.of({"napari/plane": "x"}) is None
    del labels["napari/place.0"]
    assert Ticket.of(labels).shape == []
