"""A training run whose processes are killed (-9) again and again, beside one that nobody disturbs: the same bytes have to come of it.

    tests/e2e/run.sh --python tests/e2e/killing.py [--kills 20] [--inside 10] [--seed 1] [--steps 400]

Half of the kills come at random instants, `inside` of them while a checkpoint is being written: the process that writes is stopped
first, and killed when it still has the unfinished file open. Either side is hit, the worker that writes and the daemon that keeps.
Prints one line per kill; exit status 1 when the models differ. test_killing.py has the short form.
"""
import argparse
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import jobs_pb2 as jobs
from bioseg.v1 import models_pb2 as models
from conftest import Client, Daemon
from test_training import fill, get, metrics, model_bytes, spec, start

LONGEST_WAIT = 100  # seconds for anything

# Of a few megabytes, so that writing a checkpoint takes a while; steps take some ten milliseconds.
NETWORK = {"features": 16, "depth": 3, "patch": 64, "validate_every": 50, "checkpoint_every": 2}


def open_files(pid):
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield os.readlink(fd)
        except OSError:
            pass  # closed meanwhile


def writes_a_checkpoint(pid):
    """Has the worker a file without a name, or the daemon an unfinished blob?"""
    try:
        return any("/blobs/" in name and ("/tmp-" in name or "/#" in name) or "bioseg-checkpoint" in name
                   for name in open_files(pid))
    except OSError:
        return False  # it has ended


def kill_daemon(daemon):
    daemon.kill()
    daemon.start()


def kill_worker(daemon):
    """The daemon starts another one."""
    for pid in daemon.worker_pids():
        os.kill(pid, signal.SIGKILL)


def pid_of(daemon, who):
    if who == "daemon":
        return daemon.process.pid
    found = daemon.worker_pids()
    return found[0] if found else None


def kill(daemon, who):
    kill_daemon(daemon) if who == "daemon" else kill_worker(daemon)


def kill_inside(daemon, who, is_over):
    """Kills it while it has a checkpoint's file open; False: the run was over first."""
    end = time.monotonic() + LONGEST_WAIT
    looks = 0
    while time.monotonic() < end:
        looks += 1
        if looks % 100 == 0 and is_over():
            return False
        pid = pid_of(daemon, who) if looks % 100 == 1 or who == "daemon" else pid
        if pid is None or not writes_a_checkpoint(pid):
            continue
        try:
            os.kill(pid, signal.SIGSTOP)
            inside = writes_a_checkpoint(pid)
            if not inside:
                os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue
        if inside:
            kill(daemon, who)
            return True
    raise AssertionError(f"no checkpoint was written by the {who} within {LONGEST_WAIT} s")


def is_over(client, job_id):
    return get(client, job_id).state > jobs.JOB_STATE_RUNNING


def wait_for_checkpoint(client, job_id, step):
    """Until there is one after that step, or the run has ended: deaths without one in between are counted against it."""
    end = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < end:
        job = get(client, job_id)
        if job.training.latest_step > step or job.state > jobs.JOB_STATE_RUNNING:
            return job
        time.sleep(0.01)
    raise AssertionError(job)


def soak(folder, kills, inside, steps, seed, tell=lambda line: None):
    """Runs both and returns (kills, of them inside) that were made; raises AssertionError when anything differs."""
    chance = random.Random(seed)
    daemon = Daemon(pathlib.Path(folder) / "killed", listen="none").start()
    try:
        client = Client(daemon.channel())
        data = fill(client)
        run = dict(NETWORK, iterations=steps)
        quiet = start(client, spec(data, model="quiet", **run)).job
        began = time.monotonic()
        ended = client.wait(quiet.id, timeout=600)
        assert ended.state == jobs.JOB_STATE_SUCCEEDED, ended.error
        took = time.monotonic() - began
        job = start(client, spec(data, model="killed", **run)).job
        plan = [True] * inside + [False] * (kills - inside)
        chance.shuffle(plan)
        made = made_inside = 0
        for number, within in enumerate(plan):
            client = Client(daemon.channel())
            before = get(client, job.id).training.latest_step
            seen = wait_for_checkpoint(client, job.id, before)
            if seen.state > jobs.JOB_STATE_RUNNING:
                break
            who = ("worker", "daemon")[number % 2]
            if within:
                if not kill_inside(daemon, who, lambda: is_over(client, job.id)):
                    break
            else:
                time.sleep(chance.uniform(0, min(1, took / kills)))
                kill(daemon, who)
            made += 1
            made_inside += within
            tell(f"kill {made:3d}  {who:6s}  {'while it wrote a checkpoint' if within else 'anywhere'}"
                 f", after the checkpoint of step {seen.training.latest_step}")
        client = Client(daemon.channel())
        ended = client.wait(job.id, timeout=600)
        assert ended.state == jobs.JOB_STATE_SUCCEEDED, ended.error
        assert model_bytes(client, "killed") == model_bytes(client, "quiet"), "the models differ"
        losses = [[(m.step, m.values["train_loss"]) for m in metrics(client, j.id)] for j in (quiet, job)]
        assert losses[0] == losses[1], "the losses differ"
        assert [m.version for m in client.models.List(models.ListModelsRequest()).models if m.name == "killed"] == [1]
        assert common.ModelRef(name="killed", version=1) == ended.model
        return made, made_inside
    finally:
        daemon.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--inside", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made, inside = soak(folder, options.kills, options.inside, options.steps, options.seed,
                            lambda line: print(line, flush=True))
    print(f"{made} kills, {inside} of them inside the writing of a checkpoint: the same bytes")
    if (made, inside) != (options.kills, options.inside):
        sys.exit(f"the run ended before all {options.kills} kills: give it more --steps")


if __name__ == "__main__":
    main()
