"""The Connect panel: which server, whether it answers, and what to do if it does not."""
from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from . import _settings
from ._session import daemon_binary, session
from ._widgets import FileField, Fold, Message

_ELSEWHERE = """<qt><b>A server on another machine.</b> Whoever runs it gives you three things: its address (<code>HOST:8764</code>), a file
with your token, and its certificate. Enter them below.<br><br>
<b>No certificate?</b> If you can log in there with ssh, let ssh encrypt. In a terminal that stays open:<br>
<code>ssh -L 8764:127.0.0.1:8764 HOST</code><br>
and here the address <code>127.0.0.1:8764</code> with the token file (on that machine it is
<code>~/.local/share/bioseg/token</code>).</qt>"""

_NO_BINARY = "biosegd is not installed on this computer (it is not on the PATH), so none can be started here."


class ConnectPanel(QWidget):
    def __init__(self, napari_viewer: Any = None):
        super().__init__()
        self._session = session()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message = Message()

        self.start_button = QPushButton("Start a daemon on this computer")
        self.start_button.clicked.connect(self._session.start_daemon)
        self.stop_button = QPushButton("Stop the daemon")
        self.stop_button.clicked.connect(self._session.stop_daemon)
        self.local_hint = QLabel(_NO_BINARY)
        self.local_hint.setWordWrap(True)

        remembered = _settings.load().get("connection", {})
        self.address = QLineEdit(remembered.get("server") or "")
        self.address.setPlaceholderText("empty: this computer")
        self.token = FileField("Token file", "file with your token")
        self.token.edit.setText(remembered.get("token_file") or "")
        self.certificate = FileField("Certificate file", "cert.pem of the server")
        self.certificate.edit.setText(remembered.get("tls_ca") or "")
        self.system = QCheckBox("Encrypted, with a certificate this computer trusts")
        self.system.setChecked(bool(remembered.get("tls")))
        self.name = QLineEdit(remembered.get("tls_name") or "")
        self.name.setPlaceholderText("if it differs from the address")
        self.connect_button = QPushButton("Connect")
        self.connect_button.clicked.connect(self.connect_now)
        self.address.returnPressed.connect(self.connect_now)
        self.disconnect_button = QPushButton("Disconnect")
        self.disconnect_button.clicked.connect(self._session.leave)

        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Address", self.address)
        form.addRow("Token file", self.token)
        form.addRow("Certificate", self.certificate)
        more = QWidget()
        below = QFormLayout(more)
        below.setContentsMargins(0, 0, 0, 0)
        below.addRow(self.system)
        below.addRow("Name in the certificate", self.name)
        buttons = QHBoxLayout()
        buttons.addWidget(self.connect_button, 1)
        buttons.addWidget(self.disconnect_button)
        elsewhere = QLabel(_ELSEWHERE)
        elsewhere.setWordWrap(True)
        elsewhere.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.help = Fold("How to use another machine", elsewhere)

        layout = QVBoxLayout(self)
        for widget in (self.status, self.message, self.start_button, self.stop_button, self.local_hint, self.help):
            layout.addWidget(widget)
        layout.addLayout(form)
        self.more = Fold("More about encryption", more)
        layout.addWidget(self.more)
        layout.addLayout(buttons)
        layout.addStretch(1)

        self._session.changed.connect(self._show)
        self._show()
        self._session.connect_once()

    def connect_now(self) -> None:
        settings = {"server": self.address.text().strip(), "token_file": self.token.text(), "tls_ca": self.certificate.text(),
                    "tls": self.system.isChecked(), "tls_name": self.name.text().strip()}
        self._session.connect_to({k: v for k, v in settings.items() if v})

    def _show(self) -> None:
        s = self._session
        if s.connecting:
            self.status.setText("<b>Connecting…</b>")
        elif s.connected and s.client is not None and s.info is not None:
            where = "this computer" if s.client.address.startswith("unix:") else s.client.address
            self.status.setText(f"<b>Connected</b> to {where} as {s.info.caller}<br>bioseg {s.info.version}; computes on "
                                f"{', '.join(s.info.devices) or 'no device yet'}")
        else:
            self.status.setText("<b>Not connected</b>")
        self.message.say(s.kind, s.problem)
        here = not s.connected and not s.connecting
        found = daemon_binary() is not None
        self.start_button.setVisible(here and found)
        self.local_hint.setVisible(here and not found)
        self.stop_button.setVisible(s.daemon is not None and s.connected)
        self.connect_button.setEnabled(not s.connecting)
        self.disconnect_button.setEnabled(s.client is not None)
        if here and not found and s.local and s.problem:
            self.help.open(True)
