"""The client stays thin: what it adds to numpy on disk and at import, and what it never imports."""
import importlib.metadata
import re
import subprocess
import sys

REPEATS = 5


def processor_seconds(statement):
    """Least processor time of a fresh interpreter that runs one statement."""
    program = (
        "import resource, subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {statement!r}], check=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    run = [sys.executable, "-c", program]
    return min(float(subprocess.run(run, check=True, capture_output=True, text=True).stdout) for _ in range(REPEATS))


def needed_by(name, found):
    """A distribution and all that it requires without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in found:
        found[key] = importlib.metadata.distribution(name)
        for requirement in found[key].requires or []:
            if "extra ==" not in requirement and "python_version" not in requirement:
                needed_by(re.match(r"[A-Za-z0-9._-]+", requirement).group(), found)
    return found


def test_it_imports_within_0_3_seconds_of_numpy():
    assert processor_seconds("import bioseg") - processor_seconds("import numpy") <= 0.3


def test_it_adds_less_than_30_mb_beyond_numpy():
    found = needed_by("bioseg", {})
    assert {"grpcio", "protobuf", "numpy"} <= set(found)
    del found["numpy"]
    size = sum(
        path.stat().st_size
        for distribution in found.values()
        for path in map(distribution.locate_file, distribution.files)
        if path.exists() and path.suffix != ".pyc"
    )
    assert size < 30e6, {name: sum(f.size or 0 for f in d.files) for name, d in found.items()}


def test_it_imports_no_framework_and_no_viewer():
    program = "import bioseg, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    modules = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "tensorflow", "qtpy", "PyQt5", "PyQt6", "PySide6", "napari", "dask", "tqdm"} & set(modules)
