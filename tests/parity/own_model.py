#!/usr/bin/env python3
"""Makes a model that comes with bioseg: trains it by its recipe, scores it, writes the model file and the report beside the recipe.

    tests/parity/own_model.py unet-nuclei|vimunet-nuclei --data DSB2018 [--threads N] [--daemon FOLDER] [--out FOLDER]

DSB2018 holds train, val and test, each with images/ and labels/ (deploy/models/nuclei-images.csv has the names and where they come from). The
recipe is deploy/models/NAME.yaml, and NAME.2.yaml, ... where a run goes on from the one before; every run makes a version of the model. The
test images are seen by no run. With --daemon a run that was finished there is not made again.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from daemon import BIN, ROOT, Daemon

MODELS = ROOT / "deploy" / "models"
LICENCE = "CC0-1.0"
SOURCE = "Trained with bioseg on 120 images of the 2018 Data Science Bowl, which are CC0; recipe and report lie beside it."
DESCRIPTION = {
    "unet-nuclei": "Nuclei in 2D fluorescence images. U-Net with 16 initial features and depth 4: foreground, centre distance, boundary "
                   "distance.",
    "vimunet-nuclei": "Nuclei in 2D fluorescence images. A small ViM-UNet for tiles of 256 pixels: foreground, centre distance, boundary "
                      "distance."}
KNOWN = {"unet-nuclei": [], "vimunet-nuclei": ["--class-token", "middle", "--directions", "averaged"]}  # weights do not show it
MEAN = 20


def recipes(name):
    return [MODELS / f"{name}.yaml", *sorted(MODELS.glob(f"{name}.[2-9].yaml"))]


def train(daemon, recipe):
    """Losses, validations and processor time of the run."""
    kept = daemon.data / f"{recipe.stem}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    losses, validations, _, used = daemon.train("--config", recipe)
    run = {"losses": losses, "validations": validations, "processor_seconds": used}
    kept.write_text(json.dumps(run))
    return run


def joined(runs):
    """One after the other, steps counted through; the best is the last run's."""
    all_of_it = {"losses": [], "validations": [], "processor_seconds": sum(r["processor_seconds"] for r in runs)}
    for run in runs:
        before = len(all_of_it["losses"])
        best = min(run["validations"], key=lambda v: v[1])
        all_of_it["best"] = (before + best[0], best[1])
        for kind in ("losses", "validations"):
            all_of_it[kind] += [(before + step, value) for step, value in run[kind]]
    return all_of_it


def write_model(daemon, name, version, out):
    plain = daemon.data / f"{name}.safetensors"
    plain.unlink(missing_ok=True)
    daemon.bioseg("models", "export", f"{name}@{version}", "-o", plain)
    target = out / f"{name}.safetensors"
    subprocess.run([BIN / "bioseg", "-q", "convert", plain, "-o", target, "--overwrite", "--description", DESCRIPTION[name],
                    "--licence", LICENCE, "--source", SOURCE, "--recipe", "distances", "--activation", "sigmoid",
                    "--training-patch", "256", *KNOWN[name]], check=True)
    return target


def curves(run):
    """Loss (running mean) and validations as SVG."""
    width, height, left, bottom = 720, 300, 50, 30
    values = [v for _, v in run["losses"]]
    steps = len(values)
    losses = [(i + 1, statistics.mean(values[i + 1 - MEAN:i + 1])) for i in range(MEAN - 1, steps)]
    top = max(v for _, v in losses + run["validations"])

    def place(step, value):
        return left + (width - left) * step / steps, (height - bottom) * (1 - value / top)

    def line(points, style):
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in points))
        return f'<polyline fill="none" {style} points="{joined}"/>'

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for k in range(5):
        y = (height - bottom) * (1 - k / 4)
        svg.append(f'<path d="M{left},{y:.1f}H{width}" stroke="#ddd"/><text x="4" y="{y + 10:.1f}">{top * k / 4:.3f}</text>')
    for k in range(1, 5):
        svg.append(f'<text x="{place(steps * k / 4, 0)[0]:.0f}" y="{height - 8}" text-anchor="end">{steps * k // 4}</text>')
    svg += [line(losses, 'stroke="#888"'), line(run["validations"], 'stroke="#c03" stroke-width="2"'),
            f'<text x="{width - 320}" y="16">loss by step; grey: training, mean of {MEAN} steps; red: validation</text>', "</svg>"]
    return "\n".join(svg) + "\n"


def report(name, run, scores):
    best = run["best"]
    lines = [f"# {name}", "",
             f"Recipe: {', '.join(f'[{r.name}]({r.name})' for r in recipes(name))}. Made by `tests/parity/own_model.py {name} --data DSB2018`; {len(run['losses'])} steps, "
             f"{run['processor_seconds'] / 60:.0f} minutes of a processor. The weights are those after step {best[0]}, where the validation "
             f"loss was lowest ({best[1]:.4f}). Images: [nuclei-images.csv](nuclei-images.csv); the run saw no test image.", "",
             f"![loss by step]({name}.svg)", "",
             "| images | mSA | SA50 | SA75 |", "|---|---|---|---|"]
    lines += [f"| {split} ({len(s['images'])}) | {s['summary']['msa']:.4f} | {s['summary']['sa50']:.4f} | {s['summary']['sa75']:.4f} |"
              for split, s in scores.items()]
    lines += ["", "For comparison: a threshold by Otsu and a watershed on the distance transform have mSA 0.496 (val) and 0.485 (test); a U-Net "
              "of 1.81 million parameters, trained for 900 steps with the original program, 0.5737 and 0.5344. The size filter of 50 pixels is the recipe's; "
              "it takes the smallest nuclei away.", "", "## Test images", "",
              "| image | nuclei | found | mSA | SA50 | SA75 |", "|---|---|---|---|---|---|"]
    lines += [f"| {i['image']} | {i['expected']} | {i['predicted']} | {i['msa']:.4f} | {i['sa50']:.4f} | {i['sa75']:.4f} |"
              for i in sorted(scores["test"]["images"], key=lambda i: i["image"])]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(DESCRIPTION))
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--daemon", type=pathlib.Path, help="data folder of the daemon, which is kept")
    parser.add_argument("--threads", type=int, help="of the daemon (default: all processors)")
    parser.add_argument("--out", type=pathlib.Path, default=MODELS)
    a = parser.parse_args()
    with Daemon(a.daemon, a.threads) as daemon:
        if not any(d["name"] == "dsb2018" for d in daemon.json("datasets", "list")):
            daemon.dataset("dsb2018", {"train": a.data / "train", "validation": a.data / "val"})
        run = joined([train(daemon, recipe) for recipe in recipes(a.name)])
        target = write_model(daemon, a.name, len(recipes(a.name)), a.out)
        daemon.bioseg("models", "import", target, "--name", "judged")
        scores = {split: daemon.score("judged", a.data / split) for split in ("val", "test")}
    (a.out / f"{a.name}.svg").write_text(curves(run))
    (a.out / f"{a.name}.md").write_text(report(a.name, run, scores))
    print(f"{target}: {target.stat().st_size} bytes, mSA {scores['val']['summary']['msa']:.4f} (val), "
          f"{scores['test']['summary']['msa']:.4f} (test)")


if __name__ == "__main__":
    sys.exit(main())
