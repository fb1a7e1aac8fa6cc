"""Small widgets that the panels share: messages, folds, files, and the form that is made from a model's description."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from bioseg import Parameter
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (QCheckBox, QComboBox, QDoubleSpinBox, QFileDialog, QFormLayout, QHBoxLayout, QLabel, QLineEdit, QProgressBar,
                            QPushButton, QSizePolicy, QSpinBox, QToolButton, QVBoxLayout, QWidget)

_COLOURS = {"information": "", "warning": "color: #e5a50a", "error": "color: #f66151"}
_LARGEST_INT = 2 ** 31 - 1
_SMALLEST_RANGE_WITHOUT_BOX = 1e12  # beyond, a number is typed


class Message(QLabel):
    """A text in the colour of its kind; empty, it takes no room."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.kind = "information"
        self.hide()

    def say(self, kind: str, text: str) -> None:
        self.kind = kind
        self.setStyleSheet(_COLOURS[kind])
        self.setText(text)
        self.setVisible(bool(text))


class Fold(QWidget):
    """A title that opens and closes what is below it."""

    def __init__(self, title: str, body: QWidget):
        super().__init__()
        self._button = QToolButton()
        self._button.setText(title)
        self._button.setCheckable(True)
        self._button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._button.setArrowType(Qt.ArrowType.RightArrow)
        self._button.setStyleSheet("QToolButton { border: none; background: transparent; }")
        self.body = body
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        layout.addWidget(body)
        body.hide()
        self._button.toggled.connect(self.open)

    def open(self, wide: bool) -> None:
        self._button.setChecked(wide)
        self._button.setArrowType(Qt.ArrowType.DownArrow if wide else Qt.ArrowType.RightArrow)
        self.body.setVisible(wide)


class FileField(QWidget):
    """A path, typed or chosen."""

    def __init__(self, caption: str, hint: str = ""):
        super().__init__()
        self._caption = caption
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(hint)
        button = QPushButton("…")
        button.setFixedWidth(32)
        button.setToolTip(caption)
        button.clicked.connect(self._choose)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.edit)
        layout.addWidget(button)

    def _choose(self) -> None:
        found, _ = QFileDialog.getOpenFileName(self, self._caption)
        if found:
            self.edit.setText(found)

    def text(self) -> str:
        return self.edit.text().strip()


def fill_combo(combo: QComboBox, entries: Sequence[tuple[str, Any]], keep: Any = None) -> None:
    """Replaces the entries; the one that was chosen (else `keep`) stays chosen if it still exists."""
    wanted = combo.currentData() if combo.count() else keep
    combo.blockSignals(True)
    combo.clear()
    for text, data in entries:
        combo.addItem(text, data)
    at = next((n for n, (_, data) in enumerate(entries) if data == wanted), 0 if entries else -1)
    combo.setCurrentIndex(at)
    combo.blockSignals(False)


class Combo(QComboBox):
    """Takes any width; asks for fresh entries when it is opened."""

    opening = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)

    def showPopup(self) -> None:  # noqa: N802 - Qt's name
        self.opening.emit()
        super().showPopup()


def _decimals(*numbers: float) -> int:
    """Digits after the point that show these exactly, 2 to 6."""
    return next((d for d in range(2, 6) if all(math.isclose(round(n, d), n, abs_tol=1e-9) for n in numbers)), 6)


class ParameterField:
    """One parameter as a widget. value() is None where it stands at the server's default: then it is not sent."""

    def __init__(self, parameter: Parameter):
        self.parameter = p = parameter
        self.widget: QWidget
        self.changed: Any  # the signal of the widget
        self._read: Callable[[], Any]
        self._write: Callable[[Any], None]
        unit = {"um^2": "µm²", "um": "µm"}.get(p.unit, p.unit)
        if p.kind == "bool":
            self.widget = check = QCheckBox()
            self._read, self._write = check.isChecked, lambda v: check.setChecked(bool(v))
            self.changed = check.toggled
        elif p.kind == "choice":
            self.widget = combo = Combo()
            combo.addItems(list(p.choices))
            self._read, self._write = combo.currentText, lambda v: combo.setCurrentText(str(v))
            self.changed = combo.currentTextChanged
        elif p.kind == "int" and max(abs(p.minimum), abs(p.maximum)) <= _LARGEST_INT:
            self.widget = whole = QSpinBox()
            whole.setRange(int(p.minimum), int(p.maximum))
            whole.setSingleStep(max(1, int(p.step)))
            self._read, self._write = whole.value, lambda v: whole.setValue(int(v))
            self.changed = whole.valueChanged
        elif math.isfinite(p.default) and p.maximum - p.minimum < _SMALLEST_RANGE_WITHOUT_BOX:
            self.widget = number = QDoubleSpinBox()
            number.setDecimals(0 if p.kind == "int" else _decimals(p.step, p.default, p.minimum))
            number.setRange(p.minimum, p.maximum)
            number.setSingleStep(p.step or 0.1)
            self._read, self._write = number.value, lambda v: number.setValue(float(v))
            self.changed = number.valueChanged
        else:
            self.widget = typed = QLineEdit()
            typed.setPlaceholderText("not set" if math.isnan(p.default) else f"{p.default:g}")
            self._read, self._write = lambda: self._number(typed.text()), lambda v: typed.setText("" if _same(v, p.default) else f"{v:g}")
            self.changed = typed.editingFinished
        if unit and isinstance(self.widget, (QSpinBox, QDoubleSpinBox)):
            self.widget.setSuffix(f" {unit}")
        self.widget.setMinimumWidth(96)
        self.widget.setToolTip(f"<qt>{p.help}</qt>" if p.help else "")
        self.reset()

    def _number(self, text: str) -> float:
        text = text.strip()
        try:
            return float(text) if text else self.parameter.default
        except ValueError:
            raise ValueError(f"{self.parameter.title}: {text!r} is no number") from None

    def shown(self) -> Any:
        """What stands there, default or not."""
        return self._read()

    def value(self) -> Any:
        value = self._read()
        return None if _same(value, self.parameter.default) else value

    def set(self, value: Any) -> None:
        try:
            self._write(value)
        except (TypeError, ValueError):
            self.reset()  # remembered from a model that meant something else by it

    def reset(self) -> None:
        self._write(self.parameter.default)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, (int, float)):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return a == b


class ParameterForm(QWidget):
    """Built from a model's description; nothing in it knows a model or a parameter by name, except those that `without` and `first` say."""

    changed = Signal()  # someone or something has set a value

    def __init__(self, parameters: Sequence[Parameter], without: Sequence[str] = (), first: Sequence[str] = (), only_first: bool = False):
        """first: outside of the fold in any case; only_first: and nothing else."""
        super().__init__()
        self.fields = {p.name: ParameterField(p) for p in parameters if p.name not in without}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        plain, advanced = QFormLayout(), QWidget()
        self.rows = plain
        folded = QFormLayout(advanced)
        for form in (plain, folded):
            form.setContentsMargins(0, 0, 0, 0)
            form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
            form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for name, field in self.fields.items():
            label = QLabel(field.parameter.title)
            label.setToolTip(field.widget.toolTip())
            field.changed.connect(self._tell)
            (folded if (field.parameter.advanced or only_first) and name not in first else plain).addRow(label, field.widget)
        layout.addLayout(plain)
        self.fold = Fold("Advanced", advanced)
        self.fold.setVisible(folded.rowCount() > 0)
        layout.addWidget(self.fold)

    def values(self) -> dict[str, Any]:
        """What differs from the server's defaults."""
        return {name: value for name, field in self.fields.items() if (value := field.value()) is not None}

    def _tell(self, *_: Any) -> None:
        self.changed.emit()

    def set_values(self, values: dict[str, Any]) -> None:
        for name, field in self.fields.items():
            if name in values:
                field.set(values[name])

    def reset(self) -> None:
        for field in self.fields.values():
            field.reset()


class Bar(QProgressBar):
    """A progress bar that is drawn with the rest of the window. Qt's own draws itself at once, and with it whatever waits to be drawn: while a
    map of a preview does, each step would hold the viewer for as long as napari needs to draw."""

    def show_share(self, share: float) -> None:
        """0 to 1; below 0: not known."""
        self.setUpdatesEnabled(False)
        self.setRange(0, 1000 if share >= 0 else 0)
        self.setValue(round(max(share, 0) * 1000))
        self.setUpdatesEnabled(True)  # asks to be drawn


class RunRow(QWidget):
    """One segmentation under way: title, progress, Cancel. Goes when it ends."""

    def __init__(self, run: Any):
        super().__init__()
        self.run = run
        self.bar = Bar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(12)
        self._label = QLabel()
        self._label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.button = QPushButton("Cancel")
        self.button.clicked.connect(run.cancel)
        below = QHBoxLayout()
        below.addWidget(self.bar, 1)
        below.addWidget(self.button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label)
        layout.addLayout(below)
        run.progress.connect(self._show)
        run.ended.connect(self._end)
        self._show(run.text, run.share)

    def _show(self, text: str, share: float) -> None:
        self._label.setText(f"{self.run.title}: {text or 'starting'}")
        self.bar.show_share(share)
        self.button.setEnabled(text != "cancelling")

    def _end(self) -> None:
        self.setParent(None)
        self.deleteLater()


def align(*forms: QFormLayout) -> None:
    """Gives the fields of several forms, one above the other, the same left edge, whichever rows are shown."""
    labels = [item.widget() for form in forms for n in range(form.rowCount())
              if (item := form.itemAt(n, QFormLayout.ItemRole.LabelRole)) is not None and item.widget() is not None]
    width = max((label.sizeHint().width() for label in labels), default=0)
    for label in labels:
        label.setMinimumWidth(width)


def row(wide: QWidget, *narrow: QWidget) -> QWidget:
    all_of_them = QWidget()
    layout = QHBoxLayout(all_of_them)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(wide, 1)
    for widget in narrow:
        layout.addWidget(widget)
    return all_of_them
