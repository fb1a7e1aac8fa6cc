#!/usr/bin/env python3
"""Networks trained from random weights for the reference's budget, through daemon and command line, against its scores.

    tests/parity/from_scratch.py --data FOLDER [--seeds 1 2 3] [--runs nuclei:distances membrane:boundaries ...] [--json FILE]

FOLDER holds dsb2018/ and isbi2012/, each with splits of images/ and labels/. The budget is that of the two YAML files beside this
script. Prints a table row for each run, then the mean over seeds; ends with 1 where the mean of a pairing that the reference
trained is below its score minus 0.02. The other pairings (nuclei with boundaries, membrane with distances) have no reference.
A run that the JSON file has already is not made again.
"""
import argparse
import json
import pathlib
import statistics
import sys

from daemon import Daemon

HERE = pathlib.Path(__file__).resolve().parent
# Reference: torch_em 0.10.3, its models scored by its own pipeline (mSA).
REFERENCE = {("nuclei", "distances"): 0.5344, ("membrane", "boundaries"): 0.4798}
MAY_BE_BELOW = 0.02
DATA = {"nuclei": ("dsb2018", ["val", "test"]), "membrane": ("isbi2012", ["val"])}
# As the reference's scores were taken (the recipes' other defaults are its, too).
OPTIONS = {"distances": [], "boundaries": ["--set", "threshold1=0.7"]}
EVERY = ["nuclei:distances", "membrane:boundaries", "nuclei:boundaries", "membrane:distances"]


def one_run(daemon, data, kind, recipe, seed):
    folder, judged = DATA[kind]
    name = f"{kind}-{recipe}-{seed}"
    _, validations, seconds, used = daemon.train("--config", HERE / f"{kind}.yaml", "--recipe", recipe, "--seed", seed,
                                           "--model", name)
    best = min(validations, key=lambda v: v[1])
    scores = {split: daemon.score(name, data / folder / split, *OPTIONS[recipe])["summary"] for split in judged}
    return {"kind": kind, "recipe": recipe, "seed": seed, "seconds": round(seconds), "processor_seconds": round(used),
            "best_step": best[0], "best_loss": best[1], "scores": scores}


def show(run):
    scores = "; ".join(f"{split} {s['msa']:.4f}, {s['sa50']:.4f}, {s['sa75']:.4f}" for split, s in run["scores"].items())
    print(f"| {run['kind']} | {run['recipe']} | {run['seed']} | {run['best_step']} | {run['best_loss']:.4f} | {scores} "
          f"| {run['processor_seconds']} s |", flush=True)


def verdict(runs):
    """Means over seeds; False: a pairing is below what it has to reach."""
    fine = True
    for kind, recipe in dict.fromkeys((r["kind"], r["recipe"]) for r in runs):
        split = DATA[kind][1][-1]
        values = [r["scores"][split]["msa"] for r in runs if (r["kind"], r["recipe"]) == (kind, recipe)]
        mean = statistics.mean(values)
        line = f"{kind}, {recipe}: mSA on {split}, mean of {len(values)}: {mean:.4f}"
        if (kind, recipe) in REFERENCE:
            least = REFERENCE[kind, recipe] - MAY_BE_BELOW
            fine &= mean >= least
            line += f"; the reference's {REFERENCE[kind, recipe]:.4f}, at least {least:.4f}: {'ok' if mean >= least else 'BELOW'}"
        print(line)
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--runs", nargs="+", choices=EVERY, default=EVERY)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--daemon", type=pathlib.Path, help="data folder of the daemon, which is kept")
    parser.add_argument("--threads", type=int, help="of the daemon (default: all processors)")
    a = parser.parse_args()
    runs = json.loads(a.json.read_text()) if a.json and a.json.exists() else []
    print("| images | recipe | seed | best step | validation loss | mSA, SA50, SA75 | processor time |\n|---|---|---|---|---|---|---|")
    for run in runs:
        show(run)
    with Daemon(a.daemon, a.threads) as daemon:
        there = set()
        for pairing in a.runs:
            kind, recipe = pairing.split(":")
            for seed in a.seeds:
                if any((r["kind"], r["recipe"], r["seed"]) == (kind, recipe, seed) for r in runs):
                    continue
                if kind not in there:
                    folder = a.data / DATA[kind][0]
                    daemon.dataset(kind, {"train": folder / "train", "validation": folder / "val"})
                    there.add(kind)
                runs.append(one_run(daemon, a.data, kind, recipe, seed))
                show(runs[-1])
                if a.json:
                    a.json.write_text(json.dumps(runs, indent=1))
    return 0 if verdict(runs) else 1


if __name__ == "__main__":
    sys.exit(main())
