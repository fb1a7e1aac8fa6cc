"""Where the server is and how to speak to it: settings from arguments, environment and a file, made into a gRPC channel.

Precedence: argument, environment (BIOSEG_SERVER, BIOSEG_TOKEN, BIOSEG_TOKEN_FILE, BIOSEG_TLS_CA: those of the command line), the file
`bioseg/client.ini` in the user's configuration folder (BIOSEG_CONFIG names another one), and last the daemon of this account: its
Unix socket where there are such, else 127.0.0.1:8764.
"""
from __future__ import annotations

import configparser
import ipaddress
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc

from .errors import ConfigurationError

__all__ = ["Settings"]

DEFAULT_PORT = 8764
_KEYS = {"server", "token", "token_file", "tls", "tls_ca", "tls_name"}
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 60000),
    ("grpc.max_reconnect_backoff_ms", 5000),  # a server that was restarted is found again soon, however long it was away
]


def config_file() -> Path:
    named = os.environ.get("BIOSEG_CONFIG")
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    return base / "bioseg" / "client.ini"


def data_folder() -> Path:
    """Where a daemon of this account keeps its socket and token."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "bioseg"


def _read_file() -> dict[str, str]:
    path = config_file()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        if "BIOSEG_CONFIG" in os.environ:
            raise ConfigurationError(f"there is no file {path}, which BIOSEG_CONFIG names") from None
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    section = dict(parser["bioseg"]) if parser.has_section("bioseg") else {}
    unknown = set(section) - _KEYS
    if unknown:
        raise ConfigurationError(f"{path} has {', '.join(sorted(unknown))}; known in [bioseg] are {', '.join(sorted(_KEYS))}")
    return section


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Settings:
    """Checked settings of one connection."""

    address: str
    token: str | None
    tls: bool
    tls_ca: bytes | None
    tls_name: str | None

    @classmethod
    def resolve(cls, server: str | None = None, token: str | None = None, token_file: str | os.PathLike | None = None,
                tls_ca: str | os.PathLike | None = None, tls: bool | None = None, tls_name: str | None = None) -> Settings:
        file = _read_file()
        address = server or os.environ.get("BIOSEG_SERVER") or file.get("server") or _default_address()
        address = _checked_address(address)
        if token is None and token_file is None:
            token = os.environ.get("BIOSEG_TOKEN")
            token_file = os.environ.get("BIOSEG_TOKEN_FILE") if token is None else None
        if token is None and token_file is None:
            token, token_file = file.get("token"), file.get("token_file")
        local = address.startswith("unix:")
        if token is None and token_file is None and not local:
            own = data_folder() / "token"
            token_file = own if own.is_file() else None
        if token is None and token_file is not None:
            token = _read_text(token_file, "the token").strip()
        if token is not None and (not token or not token.isascii() or not token.isprintable()):
            raise ConfigurationError("the token is empty or has characters that no token has")
        tls_ca = tls_ca or os.environ.get("BIOSEG_TLS_CA") or file.get("tls_ca")
        if tls is None:
            tls = bool(tls_ca) or file.get("tls", "no").lower() in ("1", "yes", "true", "on")
        loopback = local or _is_loopback(address.rsplit(":", 1)[0])
        if local:
            tls = False
        elif not loopback and not tls and token is not None:
            raise ConfigurationError(
                f"the token would go to {address} unencrypted; name the server's certificate (tls_ca), use the system's (tls=True), "
                "or forward the port with ssh and connect to 127.0.0.1")
        ca = _read_text(tls_ca, "the certificate").encode() if tls and tls_ca else None
        return cls(address, token, tls, ca, tls_name or file.get("tls_name"))

    @property
    def target(self) -> str:
        return self.address

    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", "Bearer " + self.token)] if self.token else []

    def channel(self, package=grpc):
        """package: grpc, or grpc.aio."""
        options = list(_OPTIONS)
        if not self.tls:
            return package.insecure_channel(self.target, options)
        if self.tls_name:
            options.append(("grpc.ssl_target_name_override", self.tls_name))
        return package.secure_channel(self.target, grpc.ssl_channel_credentials(self.tls_ca), options)


def _default_address() -> str:
    if sys.platform != "win32" and (data_folder() / "biosegd.sock").exists():
        return f"unix:{data_folder() / 'biosegd.sock'}"
    return f"127.0.0.1:{DEFAULT_PORT}"


def _checked_address(address: str) -> str:
    if address.startswith("unix:"):
        if sys.platform == "win32":
            raise ConfigurationError(f"{address}: Unix sockets are not for Windows; use HOST:PORT")
        if len(address) == len("unix:"):
            raise ConfigurationError("unix: needs the path of a socket")
        return address
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536 or "/" in host:
        raise ConfigurationError(f"{address!r} is no address; HOST:PORT or unix:PATH is")
    return address


def _read_text(path: str | os.PathLike, what: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{what} cannot be read from {path}: {error}") from None
