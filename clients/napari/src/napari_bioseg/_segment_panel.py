"""The Segment panel: which model with which parameters, which layer and which part of it; and the runs under way.

The form of parameters comes from the server's description of the model, so a model that is added there needs nothing here.
"""
from __future__ import annotations

import weakref
from typing import Any

import bioseg
from bioseg.errors import InvalidRequest
from napari.layers import Image, Shapes
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (QCheckBox, QDoubleSpinBox, QFileDialog, QFormLayout, QFrame, QHBoxLayout, QLabel, QPushButton, QScrollArea,
                            QVBoxLayout, QWidget)

from . import _layers, _settings, _threads
from ._runs import Run, real, runs_of
from ._sentences import sentence
from ._session import session
from ._widgets import Combo, Message, ParameterForm, RunRow, fill_combo
from ._work import Order

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
        self._watched: weakref.WeakSet = weakref.WeakSet()  # layers whose names are followed
        self._described: dict[str, bioseg.Model] = {}
        self._sized_for: Any = None
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

        self.layer = Combo()
        self.layer.currentIndexChanged.connect(self._show_layer)
        self.planes, self.channel_axis, self.channel, self.linked, self.region = Combo(), Combo(), Combo(), Combo(), Combo()
        fill_combo(self.linked, [("independent", "independent"), ("linked: objects continue", "linked")])
        self.linked.setToolTip("Independent: every plane by itself, with numbers that occur once in the stack")
        self.channel_axis.currentIndexChanged.connect(self._show_channels)
        self.planes.currentIndexChanged.connect(self._show_linked)
        self.draw_button = QPushButton("Draw")
        self.draw_button.setToolTip("Adds a layer to draw a rectangle in; only what is inside is sent")
        self.draw_button.clicked.connect(self._draw_region)
        self.pixel_size = QDoubleSpinBox()
        self.pixel_size.setDecimals(5)
        self.pixel_size.setRange(0, 10000)
        self.pixel_size.setSingleStep(0.05)
        self.pixel_size.setSuffix(" µm")
        self.pixel_size.setSpecialValueText("not known")
        self.pixel_size.setMinimumWidth(80)  # else it wants room for its largest value
        self.pixel_size.setToolTip("Side of a pixel. Needed for areas in µm² only; taken from the layer where it states a length unit.")

        self._form_place = QVBoxLayout()
        self.form = ParameterForm([])
        self._form_place.addWidget(self.form)
        self.defaults_button = QPushButton("Defaults")
        self.defaults_button.setToolTip("Back to the values that the model suggests")
        self.defaults_button.clicked.connect(lambda: self.form.reset())
        self.as_job = QCheckBox("as a job (survives closing napari)")
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
        events = self._viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            _layers.while_alive(self, emitter, self._show_layers)
        _layers.while_alive(self, self._viewer.layers.selection.events.active, self._follow_selection)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.timeout.connect(self.adjust)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(_REFRESH_MS)
        self._viewer.bind_key(SHORTCUT, segment_now, overwrite=True)
        self._show_layers()
        self._follow_selection()
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
        form.addRow("Model", _row(self.model, self.add_model_button))
        form.addRow("", self.about)
        form.addRow("Image", self.layer)
        self._labels: dict[QWidget, QWidget] = {}
        for title, widget in (("Planes", self.planes), ("They are", self.linked), ("Channels along", self.channel_axis), ("Channel", self.channel)):
            label = QLabel(title)
            self._labels[widget] = label
            form.addRow(label, widget)
        form.addRow("Region", _row(self.region, self.draw_button))
        form.addRow("Pixel size", self.pixel_size)
        layout.addLayout(form)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        layout.addWidget(line)
        layout.addLayout(self._form_place)
        layout.addWidget(self.defaults_button, 0, Qt.AlignmentFlag.AlignRight)
        layout.addWidget(self.as_job)
        layout.addWidget(self.replace)
        layout.addWidget(self.live)
        layout.addWidget(_row(self.segment_button, self.undo_button))
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

    # What is to be segmented.

    def _show_layers(self, *_: Any) -> None:
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image) and not _layers.is_preview(layer)]
        shapes = [layer for layer in self._viewer.layers if isinstance(layer, Shapes)]
        before = self.layer.currentData()
        fill_combo(self.layer, [(image.name, image) for image in images])
        fill_combo(self.region, [("whole image", None), *((f"inside {s.name}", s) for s in shapes)])
        for layer in images + shapes:
            if layer not in self._watched:
                self._watched.add(layer)
                _layers.while_alive(self, layer.events.name, self._show_layers)
        if self.layer.currentData() is not before or not images:
            self._show_layer()
        self._show_segment_button()

    def _follow_selection(self, *_: Any) -> None:
        active = self._viewer.layers.selection.active
        at = next((n for n in range(self.layer.count()) if self.layer.itemData(n) is active), -1)
        if at >= 0:
            self.layer.setCurrentIndex(at)

    def _show_layer(self, *_: Any) -> None:
        layer = self.layer.currentData()
        names = _layers.leading_axes(layer) if layer is not None else []
        fill_combo(self.channel_axis, [("no axis", None), *((text, n) for n, text in enumerate(names))])
        self._show(self.channel_axis, bool(names))
        if layer is not self._sized_for and layer is not None:
            self._sized_for = layer
            self.pixel_size.setValue(_layers.pixel_size(layer) or 0)
        self._show_channels()
        self._show_segment_button()

    def _show_channels(self, *_: Any) -> None:
        layer, axis = self.layer.currentData(), self.channel_axis.currentData()
        if layer is None:
            entries: list[tuple[str, Any]] = []
        elif layer.rgb:
            entries = [("all the same (grey)", None), ("red", 0), ("green", 1), ("blue", 2)]
        else:
            entries = [(str(n), n) for n in range(_layers.shape(layer)[axis])] if axis is not None else []
        fill_combo(self.channel, entries)
        self._show(self.channel, bool(entries))
        names = _layers.leading_axes(layer) if layer is not None else []
        steps = [(text, n) for n, text in enumerate(names) if n != axis]
        planes: list[tuple[str, Any]] = [("the one that is shown", ())]
        if len(steps) > 1:
            planes += [(f"all along {text}", (n,)) for text, n in steps]
        if steps:
            planes.append(("every one", tuple(n for _, n in steps)))
        fill_combo(self.planes, planes)
        self._show(self.planes, bool(steps))
        self._show_linked()

    def _show_linked(self, *_: Any) -> None:
        self._show(self.linked, bool(self.planes.currentData()))

    def _show(self, widget: QWidget, visible: bool) -> None:
        widget.setVisible(visible)
        self._labels[widget].setVisible(visible)

    def _draw_region(self) -> None:
        layer = self.layer.currentData()
        if layer is None:
            return
        shapes = self._viewer.add_shapes(ndim=2, name="region", edge_color="yellow", face_color="transparent",
                                         edge_width=max(1, min(_layers.height_width(layer)) // 200), scale=layer.scale[-2:])
        shapes.mode = "add_rectangle"
        self.region.setCurrentIndex(self.region.findText(f"inside {shapes.name}"))
        self.message.say("information", "Draw a rectangle over the part of the image you want, then press Segment.")

    # Doing it.

    def _show_segment_button(self) -> None:
        model = self.model.currentData()
        self.segment_button.setEnabled(self._session.client is not None and model is not None and model == self._form_of
                                       and self.layer.currentData() is not None)

    def _show_undo(self) -> None:
        self.undo_button.setEnabled(self.runs.can_undo)

    def order(self) -> Order:
        """What the panel says, as an order. Touches no pixel."""
        layer, model = self.layer.currentData(), self.model.currentData()
        if self._session.client is None:
            raise InvalidRequest("not connected to a server")
        if model is None:
            raise InvalidRequest("the server has no model yet")
        if model != self._form_of:
            raise InvalidRequest("the server has not described the model yet; try again in a moment")
        if layer is None:
            raise InvalidRequest("there is no image: open one, or drag its file into the window")
        planes = self.planes.currentData() or ()
        linked = self.linked.currentData() if planes else "independent"
        return _layers.order(self._viewer, layer, model=model, parameters=self.form.values(), planes=planes, linked=linked,
                             channel_axis=self.channel_axis.currentData(), channel=self.channel.currentData(),
                             region=self.region.currentData(), pixel_size=self.pixel_size.value() or None)

    def segment(self) -> Run | None:
        self._settle.stop()
        try:
            order = self.order()
        except ValueError as error:
            self.message.say("error", sentence(error) if isinstance(error, InvalidRequest) else str(error))
            return None
        _settings.remember(model=order.model, as_job=self.as_job.isChecked(), replace=self.replace.isChecked())
        self._remember_parameters(order.model, order.parameters)
        self.message.say("information", "")
        return self.runs.segment(order, self.layer.currentData(), self.as_job.isChecked(), self.replace.isChecked())

    def _remember_parameters(self, model: str, values: dict[str, Any]) -> None:
        _settings.remember(parameters={**_settings.load().get("parameters", {}), model.partition("@")[0]: values})

    def adjust(self) -> Run | None:
        """New labels with what the form says now, in the layer of the last ones of this image, if nothing but thresholds has changed."""
        layer, model = self.layer.currentData(), self.model.currentData()
        if layer is not None and self.runs.busy(layer):
            self._settle.start(_SETTLE_MS)  # what is under way first
            return None
        labels = self.runs.adjustable(layer, model) if self.live.isChecked() and layer is not None and model == self._form_of else None
        if labels is None:
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


def _row(wide: QWidget, narrow: QWidget) -> QWidget:
    both = QWidget()
    layout = QHBoxLayout(both)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(wide, 1)
    layout.addWidget(narrow)
    return both


def open_panel(viewer: Any, name: str) -> Any:
    """A panel of ours, opened if it is not yet."""
    dock, widget = viewer.window.add_plugin_dock_widget("napari-bioseg", name)
    dock.show()
    dock.raise_()
    return widget


def segment_now(viewer: Any) -> None:
    """The shortcut: the active image with what the panel says."""
    open_panel(viewer, "Segment").segment()
