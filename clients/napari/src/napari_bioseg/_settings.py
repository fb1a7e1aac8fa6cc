"""What the panels remember from one session to the next: a small JSON file beside the Python client's own settings.

Tokens are never written: only where the file with the token is. A file that is damaged or cannot be written costs the memory, nothing else.
"""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bioseg._connection import config_file


def path() -> Path:
    return config_file().with_name("napari.json")


def load() -> dict[str, Any]:
    try:
        found = json.loads(path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(**values: Any) -> None:
    """Writes these besides what is there; the file appears complete or not at all."""
    found = load()
    found.update(values)
    target = path()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
        os.replace(temporary, target)
    except OSError:
        temporary.unlink(missing_ok=True)
