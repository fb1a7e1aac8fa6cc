"""What can go wrong, as exceptions that keep the server's sentence.

Every error of this package is a BiosegError. Those that stand for a built-in kind of error are that too, so that `except ValueError`
or `except LookupError` does what one expects.
"""
from __future__ import annotations

import grpc

__all__ = [
    "BiosegError", "ConfigurationError", "ConnectionLost", "NotReachable", "NotAllowed", "InvalidRequest", "NotFound",
    "AlreadyExists", "Refused", "TooLarge", "NotSupported", "Cancelled", "DeadlineExceeded", "ServerError", "JobFailed",
    "DamagedResult",
]


class BiosegError(Exception):
    """Base of all errors. `request_id` is what the server's log calls the request; None when none was made. `reason` is a word for programs
    where the kind of error leaves open what it is ("maps-gone", "token-missing", "token-unknown"), else None; the message is for people."""

    def __init__(self, message: str, request_id: str | None = None, reason: str | None = None):
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.reason = reason


class ConfigurationError(BiosegError, ValueError):
    """Address, token or certificate settings do not make sense; nothing was sent."""


class NotReachable(BiosegError, ConnectionError):
    """No server answers at the address, or it is shutting down."""


class ConnectionLost(NotReachable):
    """The connection broke in the middle of a request. A job that was accepted goes on without it."""


class NotAllowed(BiosegError, PermissionError):
    """No token, a wrong one, or one that may not do this."""


class InvalidRequest(BiosegError, ValueError):
    """An image, a parameter or a name that the server does not accept; the message says what it would."""


class NotFound(BiosegError, LookupError):
    """No such model, version or job."""


class AlreadyExists(BiosegError):
    """It is there already."""


class Refused(BiosegError):
    """Not in this state: a job that is not finished, a model that jobs need."""


class TooLarge(BiosegError, MemoryError):
    """Beyond a limit of the server; the message names it."""


class NotSupported(BiosegError, NotImplementedError):
    """This server does not do that (yet)."""


class Cancelled(BiosegError):
    """Cancelled, by this program or at the server."""


class DeadlineExceeded(BiosegError, TimeoutError):
    """Not done in the time given by `timeout`."""


class ServerError(BiosegError):
    """The server failed; its log knows more under `request_id`."""


class JobFailed(BiosegError):
    """A job ended without a result; the message is the job's own."""


class DamagedResult(BiosegError):
    """The bytes that arrived are not those that were sent."""


_BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: NotReachable,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.ABORTED: Refused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TooLarge,
    grpc.StatusCode.UNIMPLEMENTED: NotSupported,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def from_rpc(error: grpc.RpcError, address: str, begun: bool = False) -> BiosegError:
    """The exception for a failed call. begun: the server had answered something before the call broke."""
    code = error.code()
    text = error.details() or code.name.lower().replace("_", " ")
    metadata = dict(error.trailing_metadata() or ())
    request_id, reason = metadata.get("bioseg-request-id"), metadata.get("bioseg-reason")
    kind = _BY_CODE.get(code, ServerError)
    if kind is NotReachable and begun:
        return ConnectionLost(f"the connection to {address} broke: {text}", request_id)
    if kind is NotReachable:
        return NotReachable(f"no bioseg server answers at {address}: {text}", request_id)
    return kind(text, request_id, reason)
