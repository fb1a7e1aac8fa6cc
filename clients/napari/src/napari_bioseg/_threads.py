"""Work away from the GUI thread: a function runs in a thread of its own, and what it says arrives as calls in the GUI thread.

Threads are daemons: closing napari never waits for a server. A letter to a widget that is gone is dropped.

A thread that computes in Python lets the GUI thread in only every 5 ms, and one event of Qt may have to ask ten times. As long as work is
under way, Python is told to switch ten times as often: that is what keeps the viewer quick while labels arrive.
"""
from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, Qt, QTimer, Signal, Slot


class _Postman(QObject):
    """Lives in the GUI thread; `letter` may be emitted from any."""

    letter = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.letter.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @Slot(object)
    def _deliver(self, call: tuple[Callable[..., None], tuple]) -> None:
        deliver(*call)


def deliver(callback: Callable[..., None], arguments: tuple) -> None:
    """Every callback of the plugin in the GUI thread that answers a thread or a timer of a run goes through here (tests measure it)."""
    try:
        callback(*arguments)
    except RuntimeError as error:
        if "deleted" not in str(error):  # PyQt and PySide both say "... has been deleted"
            raise


def later(milliseconds: int, callback: Callable[..., None], *arguments: Any) -> None:
    """callback(*arguments) in the GUI thread, where this is called too, after what waits there now: a long answer in two lets events between."""
    QTimer.singleShot(milliseconds, lambda: deliver(callback, arguments))


_postman: _Postman | None = None


def _the_postman() -> _Postman:
    global _postman
    if _postman is None:
        _postman = _Postman()
        application = QCoreApplication.instance()
        if application is not None:
            _postman.moveToThread(application.thread())
    return _postman


class Mail:
    """How a thread speaks to the GUI: `mail(callback, ...)` calls it there. Made in the GUI thread."""

    def __init__(self) -> None:
        self._postman = _the_postman()

    def __call__(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._postman.letter.emit((callback, arguments))
        except RuntimeError:  # the application has ended
            pass


_SWITCH_SECONDS = 0.0005


class _Courtesy:
    """Shortens Python's switch interval while anyone works."""

    def __init__(self) -> None:
        self._lock, self._working, self._usual = threading.Lock(), 0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._working += 1
            if self._working == 1:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(self._usual, _SWITCH_SECONDS))

    def __exit__(self, *_: Any) -> None:
        with self._lock:
            self._working -= 1
            if not self._working:
                sys.setswitchinterval(self._usual)


_courtesy = _Courtesy()


def start(work: Callable[..., Any], *arguments: Any, done: Callable[[Any], None] | None = None,
          failed: Callable[[Exception], None] | None = None) -> None:
    """Runs work(*arguments) in a thread; done(its value) or failed(its exception) follow in the GUI thread."""
    mail = Mail()

    def body() -> None:
        try:
            with _courtesy:
                value = work(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, someone is waiting for the answer
            if failed is not None:
                mail(failed, error)
            else:
                traceback.print_exc()
            return
        if done is not None:
            mail(done, value)

    threading.Thread(target=body, daemon=True, name="bioseg").start()
