"""The command line as its users call it: the shell scripts cli_*.sh, each with a daemon of its own."""
import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path(os.environ["BS_BUILD"]) / "bin"


@pytest.mark.parametrize("script", ["cli_segment.sh", "cli_jobs.sh", "cli_connect.sh", "cli_datasets.sh", "cli_train.sh",
                                    "cli_compare.sh"])
def test_every_promise_of_the_script_is_kept(script):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BIOSEG_")}
    environment["BS_BIN"] = str(BIN)
    done = subprocess.run([HERE / script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stdout
