"""Progress reports: a callback of the caller's, or tqdm bars when `progress=True` and tqdm is there."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

from .errors import ConfigurationError
from .results import Progress

Report = Union[bool, Callable[[Progress], None], None]


class _Bars:
    """One tqdm bar per phase."""

    def __init__(self, tqdm: Any):
        self._tqdm = tqdm
        self._bar: Any = None
        self._phase = ""

    def __call__(self, p: Progress) -> None:
        if p.phase != self._phase:
            self.close()
            self._phase = p.phase
            in_bytes = p.phase in ("upload", "download")
            self._bar = self._tqdm(desc=p.phase, unit="B" if in_bytes else p.phase[:-1], unit_scale=in_bytes, leave=False)
        self._bar.total = p.total or None
        self._bar.update(p.done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def reporter(progress: Report) -> Callable[[Progress], None]:
    if not progress:
        return lambda p: None
    if progress is not True:
        return progress
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ConfigurationError("progress=True needs tqdm (pip install bioseg[progress]); a function works without") from None
    return _Bars(tqdm)


def finish(report: Callable[[Progress], None]) -> None:
    if isinstance(report, _Bars):
        report.close()
