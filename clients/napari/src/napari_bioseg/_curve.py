"""The curve of a training run, drawn with Qt: losses of steps as a band with their running mean, scores of validations as a line with the best
one marked. Drawing costs the same however long the run is: it gets some hundred points.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPainterPath, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from ._train_work import Shown

_TRAINING, _VALIDATION, _BEST = QColor("#8fa3b8"), QColor("#4cc2ff"), QColor("#f5c211")
_TICKS = 4
_LOG_FROM = 30  # a loss that falls to so small a part of the first is drawn on a logarithmic axis


def ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """Round numbers within a range: 1, 2 or 5 times a power of ten apart."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def short(number: float) -> str:
    """1200000 as 1.2M; small numbers with three digits."""
    for limit, letter in ((1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            return f"{number / (1e6 if letter == 'M' else 1e3):.3g}{letter}"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"


class CurveWidget(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.shown: Shown | None = None
        self._pointer: QPointF | None = None
        self.setMinimumHeight(170)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMouseTracking(True)

    def show_curve(self, shown: Shown | None) -> None:
        self.shown = shown
        self.update()

    # What is where.

    def _ranges(self) -> tuple[float, float, float, float] | None:
        """Steps and losses, from and to."""
        s = self.shown
        if s is None or not (len(s.steps) or len(s.validation_steps)):
            return None
        losses = np.concatenate([s.loss, s.validation_loss])
        low, high = float(losses.min()), float(losses.max())
        if len(s.low):  # single steps jump: the outermost of them may leave the picture
            low, high = min(low, float(np.quantile(s.low, 0.05))), max(high, float(np.quantile(s.high, 0.95)))
        last = max([*s.steps[-1:], *s.validation_steps[-1:]])
        if high - low < 1e-9:
            low, high = low - 0.05, high + 0.05
        if not self._logarithmic(low, high):
            room = 0.05 * (high - low)
            low, high = max(0.0, low - room) if low >= 0 else low - room, high + room
        return 0.0, float(max(last, 1)), low, high

    @staticmethod
    def _logarithmic(low: float, high: float) -> bool:
        return low > 0 and high / low > _LOG_FROM

    def paintEvent(self, _: Any) -> None:  # noqa: N802 - Qt's name
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = QFont(self.font())
        font.setPixelSize(10)
        painter.setFont(font)
        text = QColor(self.palette().windowText().color())
        faint = QColor(text)
        faint.setAlpha(45)
        ground = QColor(text)
        ground.setAlpha(12)
        box = QRectF(38, 20, self.width() - 46, self.height() - 38)
        painter.fillRect(box, ground)
        ranges = self._ranges()
        if ranges is None or self.shown is None:
            painter.setPen(text)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, "no step yet")
            painter.end()
            return
        first, last, low, high = ranges
        logarithmic = self._logarithmic(low, high)
        scale = np.log if logarithmic else np.asarray
        bottom, top = float(scale(low)), float(scale(high))

        def place(steps: Any, losses: Any) -> list[QPointF]:
            x = box.left() + (np.asarray(steps, float) - first) / (last - first) * box.width()
            y = box.bottom() - (np.asarray(scale(np.clip(losses, low, high)), float) - bottom) / (top - bottom) * box.height()
            return [QPointF(a, b) for a, b in zip(x.tolist(), y.tolist())]

        self._draw_axes(painter, box, place, (first, last, low, high), logarithmic, text, faint)
        painter.save()
        painter.setClipRect(box.adjusted(-4, -4, 4, 4))
        self._draw_lines(painter, place)
        painter.restore()
        self._draw_legend(painter, box, text)
        self._draw_pointer(painter, box, (first, last), text, faint)
        painter.end()

    def _draw_axes(self, painter: QPainter, box: QRectF, place: Any, ranges: tuple[float, ...], logarithmic: bool, text: QColor, faint: QColor) -> None:
        first, last, low, high = ranges
        across = ticks(first, last)
        up = [10.0 ** n for n in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)] if logarithmic else ticks(low, high)
        for value, point in zip(up, place([first] * len(up), up)):
            painter.setPen(faint)
            painter.drawLine(QPointF(box.left(), point.y()), QPointF(box.right(), point.y()))
            painter.setPen(text)
            painter.drawText(QRectF(0, point.y() - 7, box.left() - 4, 14), Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, short(value))
        for value, point in zip(across, place(across, [low] * len(across))):
            painter.setPen(text)
            painter.drawText(QRectF(min(point.x() - 30, self.width() - 56), box.bottom() + 2, 60, 14), Qt.AlignmentFlag.AlignHCenter, short(value))

    def _draw_lines(self, painter: QPainter, place: Any) -> None:
        s = self.shown
        assert s is not None
        if len(s.steps):
            band = QColor(_TRAINING)
            band.setAlpha(60)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(band)
            painter.drawPolygon(QPolygonF([*place(s.steps, s.high), *reversed(place(s.steps, s.low))]))
            if (s.low == s.high).all():  # every step has a point of its own
                band.setAlpha(90)
                painter.setPen(QPen(band, 1))
                painter.drawPolyline(QPolygonF(place(s.steps, s.low)))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(_TRAINING, 1.6))
            painter.drawPolyline(QPolygonF(place(s.steps, s.loss)))
        if len(s.validation_steps):
            points = place(s.validation_steps, s.validation_loss)
            path = QPainterPath(points[0])
            for point in points[1:]:
                path.lineTo(point)
            painter.setPen(QPen(_VALIDATION, 2))
            painter.drawPath(path)
            painter.setBrush(_VALIDATION)
            painter.setPen(Qt.PenStyle.NoPen)
            for point in points if len(points) <= 60 else points[-1:]:
                painter.drawEllipse(point, 2.5, 2.5)
        if s.best_step is not None and s.best_loss is not None:
            painter.setPen(QPen(QColor("#1e1e1e"), 1))
            painter.setBrush(_BEST)
            painter.drawEllipse(place([s.best_step], [s.best_loss])[0], 4.5, 4.5)

    def _draw_legend(self, painter: QPainter, box: QRectF, text: QColor) -> None:
        x = box.left()
        for colour, name in ((_TRAINING, "loss"), (_VALIDATION, "validation"), (_BEST, "best")):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            painter.drawEllipse(QPointF(x + 4, 10), 3.5, 3.5)
            painter.setPen(text)
            painter.drawText(QPointF(x + 12, 14), name)
            x += 24 + painter.fontMetrics().horizontalAdvance(name)

    def _draw_pointer(self, painter: QPainter, box: QRectF, steps: tuple[float, float], text: QColor, faint: QColor) -> None:
        """What the curve says at the pointer."""
        s = self.shown
        if s is None or self._pointer is None or not box.contains(self._pointer):
            return
        step = steps[0] + (self._pointer.x() - box.left()) / box.width() * (steps[1] - steps[0])
        painter.setPen(faint)
        painter.drawLine(QPointF(self._pointer.x(), box.top()), QPointF(self._pointer.x(), box.bottom()))
        said = [f"step {step:.0f}"]
        for name, at, loss in (("loss", s.steps, s.loss), ("validation", s.validation_steps, s.validation_loss)):
            if len(at):
                said.append(f"{name} {loss[int(np.argmin(np.abs(at - step)))]:.4g}")
        painter.setPen(text)
        painter.drawText(QRectF(box.left(), box.top() + 2, box.width() - 4, 14), Qt.AlignmentFlag.AlignRight, "   ".join(said))

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        self._pointer = event.position() if hasattr(event, "position") else QPointF(event.pos())
        self.update()

    def leaveEvent(self, _: Any) -> None:  # noqa: N802 - Qt's name
        self._pointer = None
        self.update()
