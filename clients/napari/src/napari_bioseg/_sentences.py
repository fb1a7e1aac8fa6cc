"""What went wrong, as a sentence for someone who has an image and no interest in gRPC. The server's own sentences are kept."""
from __future__ import annotations

from bioseg import errors

API_LEVEL = 1  # of bioseg.v1, the least that this plugin can work with (GetInfo.api_level)


class WrongVersion(errors.BiosegError):
    """The server speaks an older version of the interface."""


def check_version(api_level: int, version: str, address: str) -> None:
    if api_level < API_LEVEL:
        raise WrongVersion(f"The server at {address} (version {version or 'unknown'}) is too old for this plugin: it speaks level "
                           f"{api_level} of the interface, {API_LEVEL} is needed. Ask whoever runs it to update bioseg.")


def not_reached(message: str, address: str) -> str:
    """NotReachable says in gRPC's words why; these are the cases a user can do something about."""
    has = message.lower().__contains__
    host = address.rsplit(":", 1)[0]
    if address.startswith("unix:"):
        return "No bioseg daemon is running for this account. Start one here, or give the address of another machine's."
    if has("hostname verification") or has("peer name"):
        return (f"The certificate of the server is not made out to {host}. Use the name in the certificate as address, or write that name "
                "into 'Name in the certificate'.")
    if has("certificate_verify_failed"):
        return (f"The certificate of {host} is not the one you gave. Ask for the server's current certificate file; if nobody changed it, "
                "something else is answering at this address.")
    if has("security handshaker"):
        return "The certificate file is not a certificate (PEM). Ask for the server's cert.pem."
    if has("wrong_version_number"):
        return f"The server at {address} does not encrypt. Connect without certificate, through an ssh tunnel to 127.0.0.1."
    if has("name not found") or has("errors resolving") or has("dns resolution"):
        return f"There is no machine called {host}, as far as this computer knows. Check the spelling, and whether you need the VPN."
    if has("http1") or has("parsing http/2"):
        return f"Something answers at {address}, but it is no bioseg server. Check the port; bioseg's is 8764 unless changed."
    if has("connection refused"):
        return f"{host} is there, but no bioseg server listens at {address}. Is the daemon running, is the port right, is the ssh tunnel open?"
    if has("socket closed"):
        return f"The server at {address} ended the connection at once: it probably wants encryption. Give its certificate."
    if has("timed out") or has("timeout") or has("unreachable"):
        return f"{host} does not answer. Is the machine on, and can this computer reach it (VPN, firewall)?"
    return message


def sentence(error: Exception, address: str = "", connected: bool = False) -> str:
    """One or two sentences for the panel. connected: the server had been reached before this."""
    if isinstance(error, errors.Cancelled):
        return "Cancelled."
    if isinstance(error, errors.ConnectionLost) or (connected and isinstance(error, errors.NotReachable)):
        where = "the daemon of this account" if address.startswith("unix:") else address or "the server"
        return (f"The connection to {where} broke. A job that was handed in goes on without it and can be opened in the Jobs panel; anything "
                "else must be started again.")
    if isinstance(error, errors.NotReachable):
        return not_reached(error.message, address) if address else error.message
    if isinstance(error, errors.NotAllowed):
        if error.reason == "token-unknown":
            return "The server does not know this token. Check the token file, or ask whoever runs the server for a new one."
        if error.reason == "token-missing":
            return "The server wants a token. Choose the file with yours: whoever runs the server hands them out."
        return _capital(error.message)
    if isinstance(error, errors.DeadlineExceeded):
        return f"{address or 'The server'} does not answer in time. Is the machine reachable (VPN, firewall, ssh tunnel)?"
    if isinstance(error, errors.BiosegError):
        return _capital(error.message)
    if isinstance(error, MemoryError):
        return "There is not enough memory on this computer for the labels. Segment a region or fewer planes."
    return f"{type(error).__name__}: {error}"


def _capital(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
