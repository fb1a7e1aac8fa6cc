"""The Segment panel: which model with which parameters, which layer and which part of it; and the runs under way.

The form of parameters comes from the server's description of the model, so a model that is added there needs nothing here.
"""
from __future__ import annotations

from pathlib import Path
from typing import Any

import bioseg
from bioseg.errors import InvalidRequest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (QCheckBox, QFileDialog, QFormLayout, QFrame, QLabel, QMenu, QPushButton, QScrollArea, QVBoxLayout,
                            QWidget)

from . import _layers, _settings, _threads
from ._runs import Run, real, runs_of
from ._sentences import sentence
from ._session import session
from ._widgets import Combo, Message, ParameterForm, RunRow, align, fill_combo, row
from ._folder import FolderOrder
from ._image_form import ImageForm
from ._work import Order, Turn

SHORTCUT = "Control-Alt-B"
_REFRESH_MS = 5000
_SETTLE_MS = 300  # a spin box that is turned changes often
_ELSEWHERE = ("channel",)  # the panel asks for it by name, with the layer's own axes
_FIRST = ("scale",)        # wanted often enough to stand outside of the fold


class SegmentPanel(QWidget):
    def __init__(self, napari_viewer: Any):
        super().__init__()
        self._viewer = real(napari_viewer)
        self._session = session()
        self.runs = runs_of(napari_viewer)
        self._described: dict[str, bioseg.Model] = {}
        self._form_of: str | None = None  # the model whose parameters the form shows
        remembered = _settings.load()

        self.connection = Message()
        self.connect_button = QPushButton("Connect…")
        self.connect_button.clicked.connect(lambda: open_panel(self._viewer, "Connect"))
        self.model = Combo()
        self.model.setObjectName("model")
        self.model.opening.connect(self._session.refresh_models)
        self.model.currentIndexChanged.connect(self._show_model)
        self.add_model_button = QPushButton("+")
        self.add_model_button.setFixedWidth(32)
        self.add_model_button.setToolTip("Give the server a model file (what `bioseg convert` writes)")
        self.add_model_button.clicked.connect(self._choose_model_file)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.about.setStyleSheet("font-size: 11px")

        self.image = ImageForm(self._viewer)
        self.image.changed.connect(self._show_segment_button)
        self.image.said.connect(self._say)
        self.layer = self.image.layer
        self._form_place = QVBoxLayout()
        self.form = ParameterForm([])
        self._form_place.addWidget(self.form)
        self.defaults_button = QPushButton("Defaults")
        self.defaults_button.setToolTip("Back to the values that the model suggests")
        self.defaults_button.clicked.connect(lambda: self.form.reset())
        self.as_job = QCheckBox("as a job (survives closing napari)")
        self.as_job.setToolTip("The server keeps image and labels; the Jobs panel opens them, tomorrow too. Without preview, and other thresholds "
                               "need the network again: both are for runs that you wait for.")
        self.as_job.setChecked(bool(remembered.get("as_job", False)))
        self.replace = QCheckBox("replace earlier labels of this image")
        self.replace.setChecked(bool(remembered.get("replace", True)))
        self.replace.setToolTip("Undo brings them back. Labels that you painted in are never replaced.")
        self.live = QCheckBox("new labels when a threshold changes")
        self.live.setChecked(bool(remembered.get("live", True)))
        self.live.setToolTip("Of the last labels of this image, from what the server has kept: the network does not run again. Undo brings "
                             "those before back.")
        self.live.toggled.connect(lambda on: _settings.remember(live=on))
        self.segment_button = QPushButton("Segment")
        self.segment_button.setToolTip(f"{SHORTCUT} in the viewer")
        self.segment_button.clicked.connect(self.segment)
        self.batch_button = QPushButton("Batch")
        self.batch_button.setToolTip("Several images with what the form says, one after the other")
        menu = QMenu(self.batch_button)
        self.batch_selected = menu.addAction("The selected layers", self.segment_selected)
        self.batch_folder = menu.addAction("The images of a folder…", self._choose_folder)
        self.batch_button.setMenu(menu)
        self.undo_button = QPushButton("Undo")
        self.undo_button.setToolTip("Takes the last labels away and brings back those that they replaced")
        self.undo_button.clicked.connect(self.runs.undo)
        self._rows = QVBoxLayout()
        self.message = Message()
        self._lay_out()

        self._session.changed.connect(self._show_connection)
        self._session.models_changed.connect(self._show_models)
        self.runs.added.connect(self._add_row)
        self.runs.said.connect(self.message.say)
        self.runs.undo_changed.connect(self._show_undo)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.timeout.connect(self.adjust)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(_REFRESH_MS)
        self._viewer.bind_key(SHORTCUT, segment_now, overwrite=True)
        self._show_models()
        self._show_connection()
        self._show_undo()
        for run in self.runs.running:
            self._add_row(run)
        self._session.connect_once()

    def _lay_out(self) -> None:
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.addWidget(self.connection)
        layout.addWidget(self.connect_button)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Model", row(self.model, self.add_model_button))
        form.addRow("", self.about)
        layout.addLayout(form)
        layout.addWidget(self.image)
        self._rows_above = form
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        layout.addWidget(line)
        layout.addLayout(self._form_place)
        layout.addWidget(self.defaults_button, 0, Qt.AlignmentFlag.AlignRight)
        layout.addWidget(self.as_job)
        layout.addWidget(self.replace)
        layout.addWidget(self.live)
        layout.addWidget(row(self.segment_button, self.batch_button, self.undo_button))
        layout.addLayout(self._rows)
        layout.addWidget(self.message)
        layout.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(350)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        super().showEvent(event)
        align(self._rows_above, self.image.rows)  # napari's style says only now how wide a label is

    def _tick(self) -> None:
        if self.isVisible():
            self._session.refresh_models()

    # What the server has.

    def _show_connection(self) -> None:
        s = self._session
        connected = s.connected
        self.connect_button.setVisible(not connected and not s.connecting)
        if s.connecting:
            self.connection.say("information", "Connecting…")
        elif not connected:
            self.connection.say(s.kind if s.problem else "information", s.problem or "Not connected to a server.")
        else:
            self.connection.say("information", "")
        self.add_model_button.setEnabled(connected)
        self._show_segment_button()

    def _show_models(self) -> None:
        entries = [(f"{m.reference}" + ("" if m.trained else " (untrained)"), m.reference) for m in self._session.models]
        before = self.model.currentData()
        fill_combo(self.model, entries, keep=_settings.load().get("model"))
        if self._session.models_known and not entries:
            self._say_about("The server has no model yet. The + beside takes the file of one.")
        if self.model.currentData() != before or not entries:
            self._show_model()
        self._show_segment_button()

    def _show_model(self) -> None:
        reference, client = self.model.currentData(), self._session.client
        if reference is None or client is None:
            self._set_form(ParameterForm([]))
            self._show_segment_button()
            return
        self._say_about("")

        def done(model: bioseg.Model) -> None:
            self._described[reference] = model
            if self.model.currentData() == reference:
                self._describe(model)

        def failed(error: Exception) -> None:
            if self.model.currentData() == reference:
                self._set_form(ParameterForm([]))
                self._say_about(sentence(error, client.address, connected=True))
                self._session.refresh_models()

        _threads.start(client.model, reference, done=done, failed=failed)

    def _describe(self, model: bioseg.Model) -> None:
        form = ParameterForm(model.parameters, without=_ELSEWHERE, first=_FIRST)
        form.set_values(_settings.load().get("parameters", {}).get(model.name, {}))
        self._set_form(form, model.reference)
        trained_at = f"Trained at {model.pixel_size_um:g} µm per pixel." if model.pixel_size_um else ""
        self._say_about(" ".join(t for t in (model.description, trained_at) if t))
        self._show_segment_button()

    def _say_about(self, text: str) -> None:
        self.about.setText(text)
        self.about.setVisible(bool(text))

    def _set_form(self, form: ParameterForm, of: str | None = None) -> None:
        self._form_of = of
        self._form_place.replaceWidget(self.form, form)
        self.form.hide()
        self.form.deleteLater()
        self.form = form
        form.changed.connect(lambda: self._settle.start(_SETTLE_MS))
        self.defaults_button.setVisible(bool(form.fields))

    def _choose_model_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "A model file", "", "Models (*.safetensors);;All files (*)")
        if path:
            self.add_model(path)

    def add_model(self, path: str) -> None:
        client = self._session.client
        if client is None:
            return
        self.message.say("information", "The server takes the model…")

        def done(model: bioseg.Model) -> None:
            self.message.say("information", f"{model.reference} has been added.")
            self._session.refresh_models()

        def failed(error: Exception) -> None:
            self.message.say("error", sentence(error, client.address, connected=True))

        _threads.start(client.import_model, path, _layers.model_name(path), done=done, failed=failed)

    # Doing it.

    def _show_segment_button(self) -> None:
        model = self.model.currentData()
        ready = self._session.client is not None and model is not None and model == self._form_of
        self.segment_button.setEnabled(ready and self.layer.currentData() is not None)
        self.batch_button.setEnabled(ready)

    def _show_undo(self) -> None:
        self.undo_button.setEnabled(self.runs.can_undo)

    def order(self, layer: Any = None) -> Order:
        """What the panel says, as an order, of its layer or another one. Touches no pixel."""
        model = self.model.currentData()
        if self._session.client is None:
            raise InvalidRequest("not connected to a server")
        if model is None:
            raise InvalidRequest("the server has no model yet")
        if model != self._form_of:
            raise InvalidRequest("the server has not described the model yet; try again in a moment")
        return self.image.order(layer, model, self.form.values())

    def segment(self) -> Run | None:
        began = self._start([self.layer.currentData()])
        return began[0] if began else None

    def segment_selected(self) -> list[Run]:
        """Every image that is selected in the list of layers, one after the other."""
        chosen = [layer for layer in self._viewer.layers if layer in self._viewer.layers.selection and self.layer.findData(layer) >= 0]
        if not chosen:
            self.message.say("error", "No image is selected: choose several in the list of layers, holding Ctrl or Shift.")
            return []
        return self._start(chosen)

    def _start(self, layers: list[Any]) -> list[Run]:
        self._settle.stop()
        try:
            orders = [self.order(layer) for layer in layers]
        except ValueError as error:
            self._say_error(error)
            return []
        self._remember(orders[0])
        turn = Turn()
        return [self.runs.segment(order, layer, self.as_job.isChecked(), self.replace.isChecked(), turn if len(layers) > 1 else None)
                for order, layer in zip(orders, layers)]

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A folder with PNG and TIFF images")
        if folder:
            self.segment_folder(folder)

    def segment_folder(self, folder: str) -> Run | None:
        """Its images, from file to file; the labels come into a new folder in it and not into the viewer."""
        model, client = self.model.currentData(), self._session.client
        if client is None or model is None or model != self._form_of:
            return None
        try:
            order = FolderOrder(Path(folder), model, self.form.values(), self.image.channel.currentData())
        except ValueError as error:
            self._say_error(error)
            return None
        self._remember(order)
        return self.runs.segment_folder(order)

    def _say(self, text: str) -> None:
        self.message.say("information", text)

    def _say_error(self, error: ValueError) -> None:
        self.message.say("error", sentence(error) if isinstance(error, InvalidRequest) else str(error))

    def _remember(self, order: Order | FolderOrder) -> None:
        _settings.remember(model=order.model, as_job=self.as_job.isChecked(), replace=self.replace.isChecked())
        self._remember_parameters(order.model, order.parameters)
        self.message.say("information", "")

    def _remember_parameters(self, model: str, values: dict[str, Any]) -> None:
        _settings.remember(parameters={**_settings.load().get("parameters", {}), model.partition("@")[0]: values})

    def adjust(self) -> Run | None:
        """New labels with what the form says now, in the layer of the last ones of this image, if nothing but thresholds has changed."""
        layer, model = self.layer.currentData(), self.model.currentData()
        if layer is not None and self.runs.busy(layer):
            self._settle.start(_SETTLE_MS)  # what is under way first
            return None
        if not self.live.isChecked() or layer is None or model != self._form_of:
            return None
        labels = self.runs.adjustable(layer, model)
        if labels is None:
            if self.runs.has_labels(layer, model):
                self.message.say("information", "The server has not kept what the network made of this image (it does for runs that are neither a "
                                                "job nor linked). Press Segment.")
            return None
        try:
            wanted = self.form.values()
        except ValueError as error:
            self.message.say("error", str(error))
            return None
        before = self.runs.parameters_of(labels)
        changed = {name for name in {*wanted, *before} if wanted.get(name) != before.get(name)}
        needed = [p.title for p in self._described[model].parameters if p.name in changed and p.network]
        if needed:
            self.message.say("information", f"{' and '.join(needed)}: this needs the network again. Press Segment.")
            return None
        self._remember_parameters(model, wanted)
        return self.runs.adjust(labels, wanted)

    def _add_row(self, run: Run) -> None:
        if run.state == "running":
            self._rows.addWidget(RunRow(run))


def open_panel(viewer: Any, name: str) -> Any:
    """A panel of ours, opened if it is not yet."""
    dock, widget = viewer.window.add_plugin_dock_widget("napari-bioseg", name)
    dock.show()
    dock.raise_()
    return widget


def segment_now(viewer: Any) -> None:
    """The shortcut: the active image with what the panel says."""
    open_panel(viewer, "Segment").segment()
