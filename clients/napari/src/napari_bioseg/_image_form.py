"""Which image is segmented and which part of it: the part of the Segment panel that is about layers, not about models."""
from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

from bioseg.errors import InvalidRequest
from napari.layers import Image, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QLabel, QPushButton, QWidget

from . import _layers
from ._widgets import Combo, fill_combo, row
from ._work import Order


class ImageForm(QWidget):
    changed = Signal()   # another layer, or none
    said = Signal(str)   # what the user may do next

    def __init__(self, viewer: Any, pixels_only: bool = False):
        """pixels_only: nothing about what becomes of the pixels is asked, neither their size nor whether planes are linked."""
        super().__init__()
        self._viewer, self._pixels_only = viewer, pixels_only
        self._watched: weakref.WeakSet = weakref.WeakSet()  # layers whose names are followed
        self._sized_for: Any = None
        self.layer = Combo()
        self.layer.currentIndexChanged.connect(self._show_layer)
        self.planes, self.channel_axis, self.channel, self.linked, self.region = Combo(), Combo(), Combo(), Combo(), Combo()
        self.linked.setToolTip("<qt>Independent: every plane by itself, with numbers that occur once in the stack.<br>Linked 2D: every plane by "
                               "itself, then objects of neighbouring planes that overlap enough get one number. That is no 3D segmentation.</qt>")
        self.channel_axis.currentIndexChanged.connect(self._show_channels)
        self.planes.currentIndexChanged.connect(self._show_linked)
        self.draw_button = QPushButton("Draw")
        self.draw_button.setToolTip("Adds a layer to draw a rectangle in; only what is inside, and what the network must see around it, is sent")
        self.draw_button.clicked.connect(self._draw_region)
        self.pixel_size = QDoubleSpinBox()
        self.pixel_size.setDecimals(5)
        self.pixel_size.setRange(0, 10000)
        self.pixel_size.setSingleStep(0.05)
        self.pixel_size.setSuffix(" µm")
        self.pixel_size.setSpecialValueText("not known")
        self.pixel_size.setMinimumWidth(80)  # else it wants room for its largest value
        self.pixel_size.setToolTip("Side of a pixel. Needed for areas in µm² only; taken from the layer where it states a length unit.")
        self._lay_out()
        events = viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            _layers.while_alive(self, emitter, self._show_layers)
        _layers.while_alive(self, viewer.layers.selection.events.active, self._follow_selection)
        self._show_layers()
        self._follow_selection()

    def _lay_out(self) -> None:
        self.rows = form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Image", self.layer)
        self._labels: dict[QWidget, QWidget] = {}
        for title, widget in (("Planes", self.planes), ("They are", self.linked), ("Channels along", self.channel_axis), ("Channel", self.channel)):
            label = QLabel(title)
            self._labels[widget] = label
            form.addRow(label, widget)
        form.addRow("Region", row(self.region, self.draw_button))
        if not self._pixels_only:
            form.addRow("Pixel size", self.pixel_size)

    def _show_layers(self, *_: Any) -> None:
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image) and not _layers.is_preview(layer)]
        shapes = [layer for layer in self._viewer.layers if isinstance(layer, Shapes)]
        before = self.layer.currentData()
        fill_combo(self.layer, [(image.name, image) for image in images])
        fill_combo(self.region, [("whole image", None), ("what the window shows", _layers.VISIBLE), *((f"inside {s.name}", s) for s in shapes)])
        for layer in images + shapes:
            if layer not in self._watched:
                self._watched.add(layer)
                _layers.while_alive(self, layer.events.name, self._show_layers)
        if self.layer.currentData() is not before or not images:
            self._show_layer()
        self.changed.emit()

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
        self.changed.emit()

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
        layer, moving = self.layer.currentData(), self.planes.currentData() or ()
        names = _layers.leading_axes(layer) if layer is not None else []
        along = [n for n in moving if _layers.shape(layer)[n] > 1] if layer is not None else []
        fill_combo(self.linked, [("independent", None), *((f"linked 2D along {names[n]}" if len(along) > 1 else "linked 2D", n) for n in along)])
        self._show(self.linked, bool(moving) and not self._pixels_only)

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
        self.said.emit("Draw rectangles over what is done, then press Mark done." if self._pixels_only else
                       "Draw a rectangle over the part of the image you want, then press Segment.")

    def selections(self) -> list[Any]:
        """What the form says of its layer, one for each box that is drawn. Touches no pixel."""
        shapes = self.region.currentData()
        order = self.order(None, "", {})
        if not isinstance(shapes, Shapes):
            return [order.selection]
        return [replace(order.selection, rows=rows, columns=columns) for rows, columns in _layers.boxes(self._viewer, self.layer.currentData(), shapes)]

    def order(self, layer: Any, model: str, parameters: dict[str, Any]) -> Order:
        """What the form says, of its layer (None) or of another one. Touches no pixel."""
        shown = self.layer.currentData()
        layer = layer if layer is not None else shown
        if layer is None:
            raise InvalidRequest("there is no image: open one, or drag its file into the window")
        if layer is not shown and (layer.rgb, layer.ndim) != (shown.rgb, shown.ndim):
            raise InvalidRequest(f"{layer.name} has other axes than {shown.name}, which the form is about: segment it by itself")
        linked = self.linked.currentData() if self.planes.currentData() and not self._pixels_only else None
        size = self.pixel_size.value() if layer is shown else _layers.pixel_size(layer)
        return _layers.order(self._viewer, layer, model=model, parameters=parameters, planes=self.planes.currentData() or (), linked=linked,
                             channel_axis=self.channel_axis.currentData(), channel=self.channel.currentData(), region=self.region.currentData(),
                             pixel_size=size or None)
