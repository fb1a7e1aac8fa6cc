"""The connection that all panels share: where the server is, whether it answers, and which models it has.

Lives in the GUI thread; every call to the server runs in a thread (_threads). One per napari.
"""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bioseg
from bioseg._connection import DEFAULT_PORT, data_folder
from bioseg.errors import ConfigurationError, NotReachable, NotSupported
from qtpy.QtCore import QObject, Signal

from . import _settings, _threads
from ._sentences import WrongVersion, check_version, not_reached, sentence

_START_SECONDS = 30


def local_sockets() -> list[Path]:
    """Daemons of this account: the usual one, and the one that deploy/quickstart.sh starts."""
    if sys.platform == "win32":
        return []
    usual = data_folder() / "biosegd.sock"
    quickstart = usual.parent.with_name(usual.parent.name + "-quickstart") / usual.name
    return [s for s in (usual, quickstart) if s.exists()]


def daemon_binary() -> str | None:
    return shutil.which("biosegd") if sys.platform != "win32" else None


def open_client(settings: dict[str, Any]) -> tuple[bioseg.Client, bioseg.ServerInfo]:
    """In a thread: a client that has spoken to its server. Without an address: what the Python client's own settings say, else the
    daemons of this account."""
    address = settings.get("server") or None
    options = {k: settings[k] for k in ("token_file", "tls_ca", "tls_name") if settings.get(k)}
    if settings.get("tls") and not options.get("tls_ca"):
        options["tls"] = True
    places: list[str | None] = [address]
    if address is None and not os.environ.get("BIOSEG_SERVER"):
        places += [f"unix:{s}" for s in local_sockets()]
    first: Exception | None = None
    for place in places:
        client = bioseg.Client(place, **options)
        try:
            info = client.info()
            check_version(info.api_level, info.version, client.address)
            return client, info
        except NotSupported:
            client.close()
            raise WrongVersion(f"The server at {client.address} does not say what it is: it is too old for this plugin, or no bioseg "
                               "server.") from None
        except Exception as error:
            client.close()
            error.address = client.address  # type: ignore[attr-defined]
            first = first or error
            if not isinstance(error, NotReachable):
                break
    assert first is not None
    raise first


class Session(QObject):
    changed = Signal()         # connected, disconnected, or why not
    models_changed = Signal()  # the list of models is another one

    def __init__(self) -> None:
        super().__init__()
        self.client: bioseg.Client | None = None
        self.info: bioseg.ServerInfo | None = None
        self.models: list[bioseg.Model] = []
        self.models_known = False  # an empty list is one that the server gave
        self.problem = ""          # why there is no connection (any more), as a sentence
        self.kind = "error"        # of that sentence: "error" or "information"
        self.connecting = False
        self.tried = False
        self.local = False         # whether the last attempt was for the daemon of this account
        self.daemon: subprocess.Popen | None = None
        self._attempt = 0
        self._asking_models = False

    # The connection.

    @property
    def connected(self) -> bool:
        """A client may be there although its server is not at the moment: it goes on as soon as the server is back."""
        return self.client is not None and not self.problem

    def connect_once(self) -> None:
        """The first panel that opens connects with what is remembered."""
        if not self.tried:
            self.connect_to(_settings.load().get("connection", {}))

    def connect_to(self, settings: dict[str, Any]) -> None:
        self._open(settings, lambda: open_client(settings))

    def start_daemon(self) -> None:
        """Starts `biosegd` for this account and connects to it. It outlives napari, so that jobs go on."""
        binary = daemon_binary()
        if binary is None:
            self._lost("There is no biosegd on this computer's PATH.")
            return

        def start() -> tuple[bioseg.Client, bioseg.ServerInfo]:
            self.daemon = launch(binary)
            return wait_for(self.daemon)

        self._open({}, start)

    def stop_daemon(self) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            _threads.start(self.daemon.wait)  # so that it does not stay as a zombie
        self.daemon = None
        self._close()
        self._lost("The daemon has been told to stop; what runs may finish first.", "information")

    def leave(self) -> None:
        self._attempt += 1
        self._close()
        self._lost("")

    def _open(self, settings: dict[str, Any], work: Callable[[], Any]) -> None:
        self._attempt += 1
        attempt = self._attempt
        self.tried = self.connecting = True
        self.local = not settings.get("server")
        self._close()
        self.problem = ""
        self.changed.emit()

        def done(found: tuple[bioseg.Client, bioseg.ServerInfo]) -> None:
            if attempt != self._attempt:
                found[0].close()
                return
            self.connecting = False
            self.client, self.info = found
            _settings.remember(connection=settings)
            self.changed.emit()
            self.refresh_models()

        def failed(error: Exception) -> None:
            if attempt == self._attempt:
                address = getattr(error, "address", settings.get("server") or "")
                if self.local and address == f"127.0.0.1:{DEFAULT_PORT}":  # where the Python client looks last
                    address = "unix:"
                self._lost(sentence(error, address))

        _threads.start(work, done=done, failed=failed)

    def _close(self) -> None:
        # Not closed: runs that are under way hold it until they end.
        self.client = self.info = None
        if self.models_known:
            self.models, self.models_known = [], False
            self.models_changed.emit()

    def _lost(self, why: str, kind: str = "error") -> None:
        self.connecting = False
        self.problem, self.kind = why, kind
        self.changed.emit()

    # Models.

    def refresh_models(self) -> None:
        client = self.client
        if client is None or self._asking_models:
            return
        self._asking_models = True

        def done(found: list[bioseg.Model]) -> None:
            self._asking_models = False
            found.sort(key=lambda m: (m.name, -m.version))
            if client is self.client and self.problem:  # it is back
                self.problem = ""
                self.changed.emit()
            if client is self.client and (found != self.models or not self.models_known):
                self.models, self.models_known = found, True
                self.models_changed.emit()

        def failed(error: Exception) -> None:
            self._asking_models = False
            if client is self.client and isinstance(error, NotReachable):
                self._lost(not_reached(error.message, client.address))

        _threads.start(client.models, done=done, failed=failed)


def launch(binary: str) -> subprocess.Popen:
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(folder / "biosegd.log", "ab") as log:
            # Its standard output is not ours to keep open: it lives longer than napari.
            return subprocess.Popen([binary, "--data", str(folder), "--listen", "none"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    start_new_session=True)
    except OSError as error:
        raise ConfigurationError(f"biosegd could not be started: {error}") from None


def wait_for(process: subprocess.Popen) -> tuple[bioseg.Client, bioseg.ServerInfo]:
    folder = data_folder()
    address = f"unix:{folder / 'biosegd.sock'}"
    give_up = time.monotonic() + _START_SECONDS
    while True:
        try:
            return open_client({"server": address})
        except NotReachable:
            pass
        if process.poll() is not None:
            lines = (folder / "biosegd.log").read_text(errors="replace").strip().splitlines()
            raise ConfigurationError(f"biosegd ended at once: {lines[-1] if lines else 'it said nothing'}")
        if time.monotonic() > give_up:
            raise ConfigurationError(f"biosegd does not answer after {_START_SECONDS} s; its log is {folder / 'biosegd.log'}")
        time.sleep(0.1)


_session: Session | None = None


def session() -> Session:
    global _session
    if _session is None:
        _session = Session()
    return _session
