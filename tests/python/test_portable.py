"""Windows has no fork, no user ids and no Unix sockets: the client works where all that only POSIX has is gone."""
import ast
import os
import subprocess
import sys

import pytest

from daemon import MODEL, ROOT, SAMPLE

MODULES = ("fcntl", "grp", "pwd", "resource", "syslog", "termios", "tty", "pty", "readline", "crypt")
OF_OS = ("chown chroot confstr ctermid fchdir fchown fdatasync fork forkpty fpathconf fstatvfs getegid geteuid getgid getgrouplist getgroups "
         "getloadavg getpgid getpgrp getpriority getresgid getresuid getsid getuid initgroups killpg lchown lockf mkfifo mknod nice openpty "
         "pathconf pipe2 posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv pwrite pwritev readv register_at_fork sched_yield "
         "sched_getaffinity sched_setaffinity sendfile setegid seteuid setgid setgroups setpgid setpgrp setpriority setregid setresgid "
         "setresuid setreuid setsid setuid statvfs sync sysconf tcgetpgrp tcsetpgrp ttyname uname wait wait3 wait4 waitid writev").split()
OF_SIGNAL = "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGCHLD SIGPIPE SIGALRM SIGQUIT alarm pause setitimer pthread_kill sigwait".split()

# What is not ours is imported before: it may look at the system as it likes. pathlib keeps its flavour (os.name).
PROGRAM = f"""
import asyncio, concurrent.futures, configparser, json, logging, os, pathlib, shutil, signal, socket, subprocess, sys, tempfile, uuid
import numpy, grpc, google.protobuf
import google.protobuf.descriptor_pool, google.protobuf.symbol_database, google.protobuf.internal.builder
for name in {OF_OS!r}:
    if hasattr(os, name):
        delattr(os, name)
for name in {OF_SIGNAL!r}:
    if hasattr(signal, name):
        delattr(signal, name)
for name in {MODULES!r}:
    sys.modules[name] = None
for name in ("AF_UNIX", "socketpair"):
    delattr(socket, name)
sys.platform = "win32"
import bioseg, bioseg.aio
from bioseg._connection import Settings, config_file
address, token, model, sample, appdata = sys.argv[1:]
assert str(config_file()).startswith(appdata), config_file()
assert Settings.resolve().address == "127.0.0.1:8764"
try:
    bioseg.Client("unix:/somewhere")
except bioseg.errors.ConfigurationError as error:
    assert "not for Windows" in error.message
else:
    raise AssertionError("a Unix socket on Windows")
with bioseg.Client(address, token_file=token) as client:
    reference = client.import_model(model, "portable").reference
    result = client.segment(sample, model=reference, keep_maps=True)
    assert result.object_count > 100
    assert client.relabel(result, parameters={{"min_size": 400}}).object_count < result.object_count
    seen = []
    assert (client.segment(sample, model=reference, progress=seen.append, preview=lambda p: None).labels == result.labels).all() and seen
    job = client.submit(sample, model=reference)
    assert (job.result().labels == result.labels).all()
    job.delete()
    client.create_dataset("portable")
    for n, split in enumerate(("train", "validation")):
        client.add_pair("portable", numpy.eye(64, dtype=numpy.uint8) * (9 + n), numpy.eye(64, dtype=int), name=str(n), split=split)
    small = {{"features": 4, "depth": 2, "patch": 64, "iterations": 2, "validate_every": 1}}
    run = client.train(dataset="portable", model="small", architecture="unet", parameters=small)
    assert run.result().reference == "small@1" and list(run.metrics().steps) == [1, 2]
    client.export_model(reference, os.path.join(appdata, "copy.safetensors"))
    client.delete_model(reference)
print("done")
"""


def test_the_client_needs_nothing_that_only_posix_has(daemon, tmp_path):
    (tmp_path / "appdata").mkdir()
    environment = {**os.environ, "APPDATA": str(tmp_path / "appdata")}
    done = subprocess.run([sys.executable, "-c", PROGRAM, daemon.tcp, daemon.data / "token", MODEL, SAMPLE, tmp_path / "appdata"],
                          env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "done" in done.stdout, done.stderr


@pytest.mark.parametrize("package", ["clients/python/src/bioseg", "clients/napari/src/napari_bioseg"])
def test_no_file_names_what_only_posix_has(package):
    """Of the plugin too, whose window cannot be opened so: names, whatever path the code takes."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 10
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert not {a.name.partition(".")[0] for a in node.names} & set(MODULES), where
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] not in MODULES, where
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert not (node.value.id == "os" and node.attr in OF_OS), where
                assert not (node.value.id == "signal" and node.attr in OF_SIGNAL), where
                assert (node.value.id, node.attr) != ("socket", "AF_UNIX"), where
