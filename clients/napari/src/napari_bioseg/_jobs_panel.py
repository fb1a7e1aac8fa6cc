"""The Jobs panel: what the server keeps for this user: progress, cancel, open the labels, delete."""
from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import bioseg
from bioseg.errors import NotReachable
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QAbstractItemView, QHBoxLayout, QHeaderView, QPushButton, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from . import _threads
from ._planes import Ticket
from ._runs import Run, runs_of
from ._sentences import sentence
from ._session import session
from ._widgets import Message, RunRow

_REFRESH_MS = 2000
_MOST = 200         # orders that are listed,
_MOST_JOBS = 1000   # of this many jobs: a stack has one per plane
_COLUMNS = ("Image", "Model", "State", "Handed in")


class Group:
    """The jobs of one order: a stack has one per plane."""

    def __init__(self, jobs: list[bioseg.Job]):
        self.jobs = jobs
        self.ticket = Ticket.of(jobs[0].labels)
        self.key = (self.ticket.batch if self.ticket else "") + jobs[0].id * (self.ticket is None)

    @property
    def done(self) -> bool:
        return all(j.done for j in self.jobs)

    @property
    def training(self) -> bool:
        """A run, which has no labels; its panel is "Correct and train"."""
        return self.jobs[0].kind == "train"

    @property
    def has_labels(self) -> bool:
        """Now or later."""
        return self.jobs[0].kind == "segment" and (self.succeeded or not self.done)

    @property
    def succeeded(self) -> bool:
        return all(j.state == "succeeded" for j in self.jobs)

    @property
    def title(self) -> str:
        if self.training:
            return f"training on {self.jobs[0].training.dataset}" if self.jobs[0].training else "training"
        if self.ticket is None:
            return f"job {self.jobs[0].id[:8]}"
        return self.ticket.layer + (f" ({len(self.jobs)} planes)" if len(self.jobs) > 1 else "")

    @property
    def state(self) -> str:
        states = [j.state for j in self.jobs]
        for bad in ("failed", "cancelled"):
            if bad in states and self.done:
                return bad
        if self.training:
            job = self.jobs[0]
            return f"step {job.progress.done} of {job.progress.total}" if job.state == "running" and job.progress.total else job.state
        if self.done:
            count = sum(j.object_count for j in self.jobs)
            return f"{count} object{'' if count == 1 else 's'}"
        if len(self.jobs) > 1:
            return f"{sum(j.done for j in self.jobs)} of {len(self.jobs)} planes done"
        job = self.jobs[0]
        if job.state == "running" and job.progress.total:
            return f"tile {job.progress.done} of {job.progress.total}"
        return job.state

    @property
    def error(self) -> str:
        return next((j.error for j in self.jobs if j.error), "") or ""


def grouped(jobs: list[bioseg.Job]) -> list[Group]:
    """Newest first, jobs of one order together in the order of their planes."""
    batches: dict[str, list[bioseg.Job]] = {}
    for job in jobs:
        ticket = Ticket.of(job.labels)
        batches.setdefault(ticket.batch if ticket else job.id, []).append(job)
    for batch in batches.values():
        batch.sort(key=lambda j: t.plane if (t := Ticket.of(j.labels)) else 0)
    return [Group(batch) for batch in batches.values()]


class JobsPanel(QWidget):
    def __init__(self, napari_viewer: Any):
        super().__init__()
        self._session = session()
        self.runs = runs_of(napari_viewer)
        self.groups: list[Group] = []
        self._asking = self._again = False
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setWordWrap(False)
        self.table.itemSelectionChanged.connect(self._show_buttons)
        self.table.itemDoubleClicked.connect(lambda _: self.open_selected())
        self.open_button = QPushButton("Open labels")
        self.open_button.setToolTip("Adds the labels to the viewer, where they belong; waits for a job that has not finished")
        self.open_button.clicked.connect(self.open_selected)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel_selected)
        self.delete_button = QPushButton("Delete")
        self.delete_button.setToolTip("The server forgets the job and its labels; layers in the viewer stay")
        self.delete_button.clicked.connect(self.delete_selected)
        self.message = Message()
        self._rows = QVBoxLayout()

        buttons = QHBoxLayout()
        for button in (self.open_button, self.cancel_button, self.delete_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table, 1)
        layout.addLayout(buttons)
        layout.addLayout(self._rows)
        layout.addWidget(self.message)

        self.runs.said.connect(self.message.say)
        self.runs.jobs_changed.connect(self.refresh)
        self._session.changed.connect(self.refresh)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(_REFRESH_MS)
        self._show_buttons()
        self._session.connect_once()
        self.refresh()

    def _tick(self) -> None:
        if self.isVisible():
            self.refresh()

    def refresh(self) -> None:
        client = self._session.client
        if client is None:
            self._show([])
            if not self._session.connecting:
                self.message.say("information", "Not connected to a server: Plugins > bioseg > Connect.")
            return
        if self._asking:
            self._again = True
            return
        self._asking = True

        def ask() -> list[Group]:
            return grouped(list(itertools.islice(client.jobs(), _MOST_JOBS)))[:_MOST]

        def done(groups: list[Group]) -> None:
            self._asking = False
            if client is self._session.client:
                if self.message.text().startswith(("Not connected", "The connection")):
                    self.message.say("information", "")
                self._show(groups)
            if self._again:
                self._again = False
                self.refresh()

        def failed(error: Exception) -> None:
            self._asking = self._again = False
            if isinstance(error, NotReachable):
                self.message.say("warning", "The connection is gone; jobs go on at the server. Trying again…")
            else:
                self.message.say("error", sentence(error, client.address))

        _threads.start(ask, done=done, failed=failed)

    def _show(self, groups: list[Group]) -> None:
        chosen = {g.key for g in self.selected()}
        self.groups = groups
        self.table.blockSignals(True)
        self.table.setRowCount(len(groups))
        for row, group in enumerate(groups):
            created = group.jobs[0].created
            texts = (group.title, group.jobs[0].model, group.state, created.astimezone().strftime("%d %b %H:%M") if created else "")
            for column, text in enumerate(texts):
                item = self.table.item(row, column)
                if item is None:
                    item = QTableWidgetItem()
                    self.table.setItem(row, column, item)
                if item.text() != text:
                    item.setText(text)
                item.setToolTip(group.error or text)
        self.table.clearSelection()
        mode = self.table.selectionMode()
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.MultiSelection)
        for row, group in enumerate(groups):
            if group.key in chosen:
                self.table.selectRow(row)
        self.table.setSelectionMode(mode)
        self.table.blockSignals(False)
        self._show_buttons()

    def selected(self) -> list[Group]:
        rows = sorted({i.row() for i in self.table.selectedIndexes()})
        return [self.groups[r] for r in rows if r < len(self.groups)]

    def _show_buttons(self) -> None:
        chosen = self.selected()
        self.open_button.setEnabled(any(g.has_labels for g in chosen))
        self.cancel_button.setEnabled(any(not g.done for g in chosen))
        self.delete_button.setEnabled(any(g.done for g in chosen))
        failed = [g for g in chosen if g.error]
        if len(chosen) == 1 and failed:
            self.message.say("error", failed[0].error)

    def open_selected(self) -> list[Run]:
        client = self._session.client
        if client is None:
            return []
        opened = [self.runs.open(client, g.jobs[0]) for g in self.selected() if g.has_labels]
        for run in opened:
            self._rows.addWidget(RunRow(run))
        return opened

    def cancel_selected(self) -> None:
        self._each("cancel", [j for g in self.selected() for j in g.jobs if not j.done])

    def delete_selected(self) -> None:
        self._each("delete", [j for g in self.selected() if g.done for j in g.jobs])

    def _each(self, what: str, jobs: list[bioseg.Job]) -> None:
        client = self._session.client
        if client is None or not jobs:
            return

        def work() -> None:
            first: bioseg.BiosegError | None = None
            for job in jobs:
                try:
                    call: Callable[[], Any] = getattr(bioseg.JobHandle(client, job.id), what)
                    call()
                except bioseg.errors.BiosegError as error:
                    first = first or error
            if first is not None and len(jobs) == 1:
                raise first

        def failed(error: Exception) -> None:
            self.message.say("error", sentence(error, client.address))
            self.refresh()

        self.message.say("information", "")
        _threads.start(work, done=lambda _: self.refresh(), failed=failed)
