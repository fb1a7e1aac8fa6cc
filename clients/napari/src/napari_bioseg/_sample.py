"""The sample image: fluorescence of 119 nuclei, CC0 (BBBC038v1, the 2018 Data Science Bowl)."""
from __future__ import annotations

from pathlib import Path
from typing import Any


def nuclei() -> list[tuple[Any, dict, str]]:
    from imageio.v3 import imread  # comes with napari

    return [(imread(Path(__file__).with_name("nuclei.png")), {"name": "nuclei"}, "image")]
