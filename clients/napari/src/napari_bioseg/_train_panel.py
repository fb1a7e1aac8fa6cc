"""The panel "Correct and train": what is done (marked by hand: what a model found is no truth until someone says so), what a network is to make
of it, and the runs that do, which belong to the server.
"""
from __future__ import annotations

from typing import Any

from bioseg.errors import Cancelled, InvalidRequest
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (QAbstractItemView, QFormLayout, QFrame, QHeaderView, QLabel, QPushButton, QScrollArea, QTableWidget, QTableWidgetItem,
                            QTabWidget, QVBoxLayout, QWidget)

from . import _layers, _threads
from ._examples import TRAINING, VALIDATION, Example, examples_of, groups_across, packed
from ._image_form import ImageForm
from ._marks import marks_of
from ._run import Run
from ._runs import real
from ._segment_panel import open_panel
from ._sentences import sentence
from ._session import session
from ._train_form import TrainForm
from ._train_watch import TrainWatch
from ._train_work import Started, TrainOrder, start
from ._widgets import Combo, Message, RunRow, align, fill_combo, row

_COLUMNS = ("Done", "Objects", "For")
_ROWS = (2, 6)  # of the table that are seen, at least and at most
_HINT = ("Correct the labels with napari's brush, then mark what is right from corner to corner: the network takes everything there at its word, "
         "also where nothing is painted.")


class TrainPanel(QWidget):
    def __init__(self, napari_viewer: Any):
        super().__init__()
        self._viewer = real(napari_viewer)
        self._session = session()
        self.marks = marks_of(napari_viewer)
        self._run: Run | None = None  # that sends what is done

        self.connection = Message()
        self.connect_button = QPushButton("Connect…")
        self.connect_button.clicked.connect(lambda: open_panel(self._viewer, "Connect"))
        self.image = ImageForm(self._viewer, pixels_only=True)
        self.image.changed.connect(self._show_labels)
        self.image.said.connect(lambda text: self.message.say("information", text))
        self.labels = Combo()
        self.labels.setToolTip("Those that are right: what Segment found and you corrected, or what you painted yourself")
        self.labels.currentIndexChanged.connect(self._show_right)
        self.right = Combo()
        self.right.setToolTip("<qt>Everything in it: you have looked from corner to corner; what is empty is background.<br>Only what I changed: the "
                              "objects that you added, changed or removed since Segment made the labels, with 8 pixels around each. The rest of what "
                              "the model found is no truth to it.</qt>")
        self.image.rows.insertRow(1, "Labels", self.labels)
        self.image.rows.addRow("Right is", self.right)
        self.mark_button = QPushButton("Mark done")
        self.mark_button.setToolTip("What the form says, with its labels as they will be when you press Train: everything in it is right")
        self.mark_button.clicked.connect(self.mark_done)
        self.unmark_button = QPushButton("Take off")
        self.unmark_button.setToolTip("What is selected in the list is not done after all")
        self.unmark_button.clicked.connect(self.take_off)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.itemSelectionChanged.connect(self._show_buttons)
        self.network = TrainForm()
        self.network.said.connect(self._say)
        self.network.changed.connect(self._show_buttons)
        self.network.described.connect(self._align)
        self.train_button = QPushButton("Train")
        self.train_button.setToolTip("Sends what is done, unless the server has it, and starts a run there. It goes on when napari is closed.")
        self.train_button.clicked.connect(self.train)
        self.message = Message()
        self._rows = QVBoxLayout()
        self.watch = TrainWatch(self._viewer, self.image)
        self._lay_out()

        layers = self._viewer.layers
        for emitter in (layers.events.inserted, layers.events.removed, layers.events.reordered):
            _layers.while_alive(self, emitter, self._show_labels)
        _layers.while_alive(self, layers.selection.events.active, self._follow_selection)
        self.marks.changed.connect(self._show_marks)
        self._session.changed.connect(self._show_connection)
        self._show_labels()
        self._show_marks()
        self._show_connection()
        self._session.connect_once()

    def _lay_out(self) -> None:
        hint = QLabel(_HINT)
        hint.setWordWrap(True)
        hint.setStyleSheet("font-size: 11px")
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column, width in ((1, 72), (2, 112)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            self.table.setColumnWidth(column, width)
        self.table.setStyleSheet("QTableWidget { font-size: 11px }")  # names of boxes are long
        self.table.setWordWrap(False)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(hint)
        layout.addWidget(self.image)
        layout.addWidget(row(self.mark_button, self.unmark_button))
        layout.addWidget(self.table)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        layout.addWidget(line)
        layout.addWidget(self.network)
        layout.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        page = QWidget()
        below = QVBoxLayout(page)
        below.setContentsMargins(0, 0, 0, 6)
        below.addWidget(scroll, 1)
        always = QVBoxLayout()  # seen wherever the form is scrolled to
        always.setContentsMargins(6, 0, 6, 0)
        always.addLayout(self._rows)
        always.addWidget(self.message)
        always.addWidget(self.train_button)
        below.addLayout(always)
        self.tabs = QTabWidget()
        self.tabs.addTab(page, "Correct")
        self.tabs.addTab(self.watch, "Runs")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(4, 4, 4, 4)
        outer.addWidget(self.connection)
        outer.addWidget(self.connect_button)
        outer.addWidget(self.tabs, 1)
        self.setMinimumWidth(360)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        super().showEvent(event)
        self._align()

    def _align(self) -> None:
        align(self.image.rows, self.network.rows, self.network.form.rows)

    def _say(self, kind: str, text: str) -> None:
        self.message.say(kind, text)

    def _show_connection(self) -> None:
        s = self._session
        self.connect_button.setVisible(not s.connected and not s.connecting)
        if s.connecting:
            self.connection.say("information", "Connecting…")
        elif not s.connected:
            self.connection.say(s.kind if s.problem else "information", s.problem or "Not connected to a server.")
        else:
            self.connection.say("information", "")
        self._show_buttons()

    # What is done.

    def _show_labels(self, *_: Any) -> None:
        found = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        image = self.image.layer.currentData()
        fill_combo(self.labels, [(layer.name, layer) for layer in found])
        mine = [layer for layer in found if image is not None and layer.name.startswith(f"{image.name} ") and layer.visible]
        if mine and self.labels.currentData() not in mine:
            self.labels.setCurrentIndex(found.index(mine[-1]))
        self._show_right()
        self._show_buttons()

    def _show_right(self, *_: Any) -> None:
        entries: list[tuple[str, Any]] = [("everything in it", False)]
        if packed(self.labels.currentData()) is not None:
            entries.append(("only what I changed", True))
        fill_combo(self.right, entries)

    def _follow_selection(self, *_: Any) -> None:
        at = self.labels.findData(self._viewer.layers.selection.active)
        if at >= 0:
            self.labels.setCurrentIndex(at)

    def mark_done(self) -> None:
        """What the form says; a sentence where that is nothing one could learn from."""
        image = self.image.layer.currentData()
        try:
            if image is None:
                raise InvalidRequest("there is no image: open one, or drag its file into the window")
            new = self.marks.add([e for s in self.image.selections() for e in examples_of(image, self.labels.currentData(), s, bool(self.right.currentData()))])
        except InvalidRequest as error:
            self._say("error", sentence(error))
            return
        self._say("information", "" if new else "That is in the list already. Its labels are read when you press Train.")

    def selected(self) -> list[Example]:
        rows = sorted({i.row() for i in self.table.selectedIndexes()})
        return [self.marks.done[r] for r in rows if r < len(self.marks.done)]

    def take_off(self) -> None:
        self.marks.remove(self.selected())

    def _show_marks(self) -> None:
        done = self.marks.done
        self.table.setRowCount(len(done))
        for at, example in enumerate(done):
            objects = "" if example.objects is None else f"{example.objects} changed" if example.changed else str(example.objects)
            for column, text in enumerate((example.name, objects)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{example.name}: labels of {example.labels.name}")
                self.table.setItem(at, column, item)
            split = Combo()
            fill_combo(split, [("training", TRAINING), ("validation", VALIDATION)])
            split.setCurrentIndex(split.findData(example.split))
            split.setToolTip("The network learns from what is for training. What is for validation says which of its states is the best.")
            split.currentIndexChanged.connect(lambda _, e=example, s=split: self._set_split(e, s.currentData()))
            self.table.setCellWidget(at, 2, split)
        least, most = _ROWS
        self.table.setFixedHeight(min(max(len(done), least), most) * self.table.verticalHeader().defaultSectionSize() + 28)
        self._show_buttons()

    def _set_split(self, example: Example, split: str) -> None:
        example.split = split
        across = groups_across(self.marks.done)
        if across:
            self._say("warning", f"Parts of {across[0]} train and others judge: scores will look better than they are elsewhere.")
        else:
            self._say("information", "")

    def _show_buttons(self) -> None:
        self.mark_button.setEnabled(self.image.layer.currentData() is not None)
        self.unmark_button.setEnabled(bool(self.selected()))
        self.train_button.setEnabled(self._session.client is not None and self._run is None)

    # The run.

    def train(self) -> Run | None:
        client = self._session.client
        if client is None or self._run is not None:
            return None
        try:
            if not self.marks.done:
                raise InvalidRequest("nothing is marked done yet: choose an image and its labels above, and press Mark done once they are right")
            order = TrainOrder(examples=tuple(self.marks.done), **self.network.settings())
        except InvalidRequest as error:
            self._say("error", sentence(error))
            return None
        except ValueError as error:  # a number that is none
            self._say("error", str(error))
            return None
        self._say("information", "")
        run = self._run = Run("Sending", False)
        self._rows.addWidget(RunRow(run))
        self._show_buttons()
        mail = _threads.Mail()

        def work() -> Started:
            return start(client, order, run.cancelled, lambda text, share: mail(run.tell, text, share))

        def done(started: Started) -> None:
            self._run = None
            run.end("done")
            self._say(*_told(started))
            self.watch.show_run(started.run_id)
            self.tabs.setCurrentIndex(1)
            self._show_buttons()

        def failed(error: Exception) -> None:
            self._run = None
            if run.end("failed") or not isinstance(error, Cancelled):
                self._say("error", sentence(error, client.address, connected=True))
            else:
                self._say("information", "Cancelled. What has been sent stays in the dataset.")
            self._show_buttons()

        _threads.start(work, done=done, failed=failed)
        return run


def _told(started: Started) -> tuple[str, str]:
    said = [f"{started.sent} sent" if started.sent else "", f"{started.replaced} corrected again" if started.replaced else "",
            f"{started.there} there already" if started.there else ""]
    text = f"The run has been handed in ({', '.join(s for s in said if s)})."
    warnings = list(started.warnings)
    if started.across:
        warnings.append(f"Parts of {', '.join(started.across)} train and others judge: scores look better than they are elsewhere.")
    return "warning" if warnings else "information", "\n".join([text, *warnings])
