"""The runs: the curve of one as it grows, and what can be done about it: pause, resume, cancel, another learning rate; its best network so far
tried on the image beside the one that it began with; promoted when it is better.

GUI thread. The runs are the server's: after a restart of napari, of the daemon or of the connection they are found again.
"""
from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import bioseg
from bioseg.errors import InvalidRequest, NotReachable
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from . import _layers, _threads
from ._curve import CurveWidget
from ._image_form import ImageForm
from ._run import Run
from ._runs import runs_of
from ._sentences import sentence
from ._session import session
from ._train_work import Curve, Follower, Shown
from ._widgets import Bar, Combo, Message, RunRow, fill_combo, row

_REFRESH_MS = 2000
_DRAW_MS = 250
_MOST_RUNS = 50
_MOST_JOBS = 1000


class TrainWatch(QWidget):
    def __init__(self, viewer: Any, image: ImageForm):
        super().__init__()
        self._viewer, self._image = viewer, image
        self._session = session()
        self.runs = runs_of(viewer)
        self.jobs: list[bioseg.Job] = []
        self.awaited: str | None = None      # a run to be shown as soon as it is listed
        self._follower: Follower | None = None
        self._curves: dict[str, Curve] = {}  # of runs that were shown before
        self._asking = self._drawing = False
        self._drawn: tuple[str, int] = "", -1
        self._last: bioseg.TrainingEvent | None = None

        self.run = Combo()
        self.run.setToolTip("Runs of yours on this server, from whichever program, newest first")
        self.run.currentIndexChanged.connect(self._choose)
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.bar = Bar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.curve = CurveWidget()
        self.pause_button = QPushButton("Pause")
        self.pause_button.clicked.connect(self.pause_or_resume)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Ends the run without a model. It can be resumed from its last checkpoint.")
        self.cancel_button.clicked.connect(lambda: self._tell_run(lambda r: r.cancel()))
        self.rate = QLineEdit()
        self.rate.setPlaceholderText("learning rate, e.g. 1e-5")
        self.rate.setToolTip("From the next step on; the schedule goes on from it")
        self.rate.returnPressed.connect(self.set_rate)
        self.rate_button = QPushButton("Set rate")
        self.rate_button.clicked.connect(self.set_rate)
        self.try_button = QPushButton("Try on the image")
        self.try_button.setToolTip("<qt>Segments the image (or the part of it) that the first tab says with the best network of this run so far, and "
                                   "with the one that it began with: two layers of labels to compare.</qt>")
        self.try_button.clicked.connect(self.try_it)
        self.promote_button = QPushButton("Promote")
        self.promote_button.setToolTip("<qt>Makes the version that this run has made the one that its name alone means, for everyone on this "
                                       "server.</qt>")
        self.promote_button.clicked.connect(self.promote)
        self._rows = QVBoxLayout()
        self.message = Message()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.run)
        layout.addWidget(self.curve, 1)
        layout.addWidget(self.bar)
        layout.addWidget(self.state)
        layout.addWidget(row(self.pause_button, self.cancel_button))
        layout.addWidget(row(self.rate, self.rate_button))
        layout.addWidget(row(self.try_button, self.promote_button))
        layout.addLayout(self._rows)
        layout.addWidget(self.message)
        layout.addStretch(0)

        self._session.changed.connect(self.refresh)
        self._image.changed.connect(self._show_job)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(_REFRESH_MS)
        self._draw_timer = QTimer(self)
        self._draw_timer.timeout.connect(self._draw)
        self._draw_timer.start(_DRAW_MS)
        state = self.__dict__
        self.destroyed.connect(lambda *_: _stop(state))  # nobody reads on when the panel is gone
        self._show_job()
        self.refresh()

    # Which runs there are.

    def _tick(self) -> None:
        if self.isVisible():
            self.refresh()

    def refresh(self) -> None:
        client = self._session.client
        if client is None:
            self._stop_following()
            self._show_jobs([])
            return
        if self._asking:
            return
        self._asking = True

        def ask() -> list[bioseg.Job]:
            jobs = itertools.islice(client.jobs(), _MOST_JOBS)
            return list(itertools.islice((j for j in jobs if j.kind == "train"), _MOST_RUNS))

        def done(jobs: list[bioseg.Job]) -> None:
            self._asking = False
            if client is self._session.client:
                self._reached()
                self._show_jobs(jobs)

        def failed(error: Exception) -> None:
            self._asking = False
            self._not_reached(error, client.address)

        _threads.start(ask, done=done, failed=failed)

    def _reached(self) -> None:
        if self.message.text().startswith("The connection is gone"):
            self.message.say("information", "")

    def _not_reached(self, error: Exception, address: str) -> None:
        if isinstance(error, NotReachable):
            self.message.say("warning", "The connection is gone; the run goes on at the server. Trying again…")
        else:
            self.message.say("error", sentence(error, address, connected=True))

    def show_run(self, run_id: str) -> None:
        """As soon as the server lists it."""
        self.awaited = run_id
        self.refresh()

    def _show_jobs(self, jobs: list[bioseg.Job]) -> None:
        self.jobs = jobs
        listed = {j.id for j in jobs}
        entries = [(_title(j), j.id) for j in jobs]
        before = self.run.currentData()
        texts = [self.run.itemText(n) for n in range(self.run.count())]
        if texts != [t for t, _ in entries]:
            fill_combo(self.run, entries, keep=next((j.id for j in jobs if not j.done), None))
        if self.awaited in listed:
            self.run.setCurrentIndex(self.run.findData(self.awaited))
            self.awaited = None
        if self.run.currentData() != before:
            self._choose()
        self._follow()
        self._show_job()

    @property
    def job(self) -> bioseg.Job | None:
        """The run that is shown, as it was when last asked for."""
        chosen = self.run.currentData()
        return next((j for j in self.jobs if j.id == chosen), None)

    # The run that is shown.

    def _choose(self, *_: Any) -> None:
        self._stop_following()
        self._last = None
        self.curve.show_curve(None)
        self._drawn = "", -1
        self._follow()
        self._show_job()

    def _stop_following(self) -> None:
        if self._follower is not None:
            self._follower.stop()
            self._follower = None

    def _follow(self) -> None:
        """Reads what the run tells, from where it was read before. One that has ended or was paused may have gone on since."""
        client, job = self._session.client, self.job
        if client is None or job is None:
            return
        curve = self._curves.setdefault(job.id, Curve())
        old = self._follower
        if old is not None and not (old.ended and old.error is None and curve.step < job.progress.done):
            return
        self._follower = follower = Follower(client, job.id, curve)
        _threads.start(follower.follow)

    def _draw(self) -> None:
        """What is new is put together in a thread, and drawn when that is done: a long run costs the viewer no more than a short one."""
        follower = self._follower
        if follower is None or self._drawing or not self.isVisible():
            return
        if follower.lost:
            self._not_reached(NotReachable(""), "")
        if follower.error is not None and self._drawn[1] < follower.curve.count:
            self.message.say("error", sentence(follower.error, connected=True))
        state = follower.run_id, follower.curve.count
        if state == self._drawn or not state[1]:
            return
        self._drawing = True

        def done(shown: Shown) -> None:
            self._drawing = False
            if follower is self._follower:
                self._drawn = state
                self._last = shown.last
                self.curve.show_curve(shown)
                self._show_state()

        def failed(_: Exception) -> None:
            self._drawing = False

        _threads.start(follower.curve.shown, done=done, failed=failed)

    def _show_job(self) -> None:
        job = self.job
        state = job.state if job is not None else ""
        resumable = state in ("paused", "cancelled", "failed")
        self.pause_button.setText("Resume" if resumable else "Pause")
        self.pause_button.setToolTip("Goes on from the last checkpoint, as if it had never stopped" if resumable else
                                     "Lets the run write a checkpoint and wait: the server is free for others")
        self.pause_button.setEnabled(resumable or state in ("queued", "running"))
        self.cancel_button.setEnabled(state in ("queued", "running", "paused"))
        for widget in (self.rate, self.rate_button):
            widget.setEnabled(state in ("queued", "running", "paused"))
        self.try_button.setEnabled(job is not None and self._candidate(job) is not None and self._image.layer.currentData() is not None)
        self.promote_button.setEnabled(job is not None and bool(job.model) and not self._is_promoted(job.model))
        self._show_state()

    def _is_promoted(self, reference: str) -> bool:
        return any(m.reference == reference and m.promoted for m in self._session.models)

    def _show_state(self) -> None:
        job, last = self.job, self._last
        if job is None:
            self.state.setText("No run yet: mark what is done in the first tab and press Train." if self._session.client is not None else "")
            self.bar.show_share(0)
            return
        step, total = max(job.progress.done, last.step if last else 0), job.progress.total
        self.bar.show_share(1.0 if job.state == "succeeded" else step / total if total else 0.0)
        said = [f"<b>{_STATES.get(job.state, job.state)}</b>"]
        if job.state == "succeeded":
            said[0] += f": {job.model}" + (" (promoted)" if self._is_promoted(job.model) else "")
        if step:
            said.append(f"step {step} of {total}")
        training = job.training
        best = (last.best_step, last.best_validation_loss) if last is not None and last.best_step is not None else (None, None)
        if best[0] is None and training is not None and training.best_step is not None:
            best = training.best_step, training.best_validation_loss
        if best[0] is not None:
            said.append(f"best {best[1]:.4g} at step {best[0]}")
        lines = [" · ".join(said)]
        if last is not None and not job.done:
            more = [f"rate {last.learning_rate:.3g}"]
            more += [f"{last.images_per_second:.3g} images/s"] if last.images_per_second else []
            more += [f"{_duration(last.seconds_left)} left"] if last.seconds_left is not None and job.state == "running" else []
            lines.append(" · ".join(more))
        if job.error:
            lines.append(job.error)
        self.state.setText("<br>".join(lines))

    # What can be done about it.

    def _tell_run(self, call: Callable[[bioseg.TrainingRun], Any]) -> None:
        client, job = self._session.client, self.job
        if client is None or job is None:
            return
        self.message.say("information", "")

        def done(_: Any) -> None:
            self.refresh()

        def failed(error: Exception) -> None:
            self.message.say("error", sentence(error, client.address, connected=True))
            self.refresh()

        _threads.start(call, bioseg.TrainingRun(client, job.id), done=done, failed=failed)

    def pause_or_resume(self) -> None:
        job = self.job
        if job is not None and job.state in ("queued", "running"):
            self._tell_run(lambda r: r.pause())
        else:
            self._tell_run(lambda r: r.resume())

    def set_rate(self) -> None:
        text = self.rate.text().strip()
        try:
            rate = float(text)
        except ValueError:
            self.message.say("error", f"{text!r} is no learning rate; 1e-5 is one." if text else "Write a learning rate first; 1e-5 is one.")
            return
        self._tell_run(lambda r: r.set_learning_rate(rate))

    def _candidate(self, job: bioseg.Job) -> str | None:
        """The network to try: the model that the run has made, else the best weights so far."""
        if job.model:
            return job.model
        info = self._session.info
        offered = self._session.client is not None and info is not None and "training-best" in info.features
        return bioseg.TrainingRun(self._session.client, job.id).best if offered and job.training is not None and job.training.best_step is not None else None

    def try_it(self) -> list[Run]:
        """Two runs of segmentation, whose labels come as layers side by side."""
        job, layer = self.job, self._image.layer.currentData()
        candidate = self._candidate(job) if job is not None else None
        if job is None or candidate is None or self._session.client is None:
            return []
        models = [(candidate, job.model or f"best of {job.training.model_name} so far" if job.training else candidate)]
        if job.training is not None and job.training.initial:
            models.insert(0, (job.training.initial, job.training.initial))
        begun = []
        self.message.say("information", "")
        for model, title in models:
            try:
                order = self._image.order(None, model, {})
            except InvalidRequest as error:
                self.message.say("error", sentence(error))
                return begun
            run = self.runs.segment(_layers.renamed(order, f"{order.name}: {title}"), layer, False, False)
            self._rows.addWidget(RunRow(run))
            begun.append(run)
        return begun

    def promote(self) -> None:
        client, job = self._session.client, self.job
        if client is None or job is None or not job.model:
            return

        def done(model: bioseg.Model) -> None:
            self.message.say("information", f"{model.name} means {model.reference} now.")
            self._session.refresh_models()
            self.refresh()

        def failed(error: Exception) -> None:
            self.message.say("error", sentence(error, client.address, connected=True))

        _threads.start(client.promote, job.model, "promoted in napari", done=done, failed=failed)


_STATES = {"queued": "Waiting for its turn", "running": "Running", "succeeded": "Done", "failed": "Failed", "cancelled": "Cancelled", "paused": "Paused"}


def _stop(panel: dict[str, Any]) -> None:
    follower = panel.get("_follower")
    if follower is not None:
        follower.stop()


def _title(job: bioseg.Job) -> str:
    created = job.created.astimezone().strftime("%d %b %H:%M") if job.created else ""
    name = job.model or (job.training.model_name if job.training else job.id[:8])
    return f"{name}, {created}" + ("" if job.state == "succeeded" else f" ({job.state})")


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
