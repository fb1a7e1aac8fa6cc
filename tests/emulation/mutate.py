#!/usr/bin/env python3
"""Do the tests of the CUDA kernels notice a kernel that is wrong? Makes one change at a time to the kernels' source and runs the
tests that launch them, on the emulation:

  * a barrier (bs_barrier, bs_warp_barrier, bs_copy_wait) is left out;
  * < becomes <=, <= becomes <, > becomes >=, >= becomes >;
  * + 1 and - 1 are left out;
  * a loop begins one later.

A change that the tests notice (a failure, a finding, no end) is caught. One that they do not is printed with its place and counts
against them, unless equivalent.txt says why it changes nothing. All changes of a file are compiled at once (mutant.h), and a test
runs once for all of them: where it meets a change it forks, and the child goes on with that change. A change that does not compile
does not count.

    mutate.py BUILD [--sample N --seed S] [--family] [--jobs N] [FILE...]

BUILD is a build folder in which the CUDA tests are built. FILE: names in kernels/cuda; all when none is given. --family runs only the
tests that are named like the file, which is quicker and may catch less. Ends with 1 when fewer than 95 % of the changes are caught.
Of a sample one in six may survive: a dozen says little of 95 %, but tells tests that check nothing.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = "kernels/cuda"
WORDS = ROOT / FOLDER / "device.cuh"  # what the emulation replaces: nothing of it is run here

RELATIONS = {"<": "<", "<=": "l", ">": ">", ">=": "g"}
OTHER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}


class Site:
    """One change: the text [begin, end) of a line becomes `text`, in which {k} is the change's number."""

    def __init__(self, file, line, begin, end, text, what):
        self.file, self.line, self.begin, self.end, self.text, self.what = file, line, begin, end, text, what
        self.source = ""  # the line, for people
        self.number = 0

    def key(self):
        return (self.file, self.what, self.source)

    def __str__(self):
        return f"{FOLDER}/{self.file}:{self.line}: {self.what}: {self.source}"


def code_of(line, in_comment):
    """The line with comments and strings blanked, and whether a comment goes on after it."""
    out, i = list(line), 0
    while i < len(line):
        if in_comment:
            end = line.find("*/", i)
            stop = len(line) if end < 0 else end + 2
            in_comment = end < 0
        elif line.startswith("//", i):
            stop = len(line)
        elif line.startswith("/*", i):
            in_comment, stop = True, i
            out[i:i + 2] = "  "
            i += 2
            continue
        elif line[i] == '"':
            stop = i + 1
            while stop < len(line) and line[stop] != '"':
                stop += 2 if line[stop] == "\\" else 1
            stop = min(stop + 1, len(line))
        else:
            i += 1
            continue
        out[i:stop] = " " * (stop - i)
        i = stop
    return "".join(out), in_comment


def first_clause(code, at):
    """Where the initial value in `for (T i = value; ...` begins and ends, or None."""
    equals = code.find(" = ", at)
    semicolon = code.find(";", at)
    if equals < 0 or semicolon < 0 or equals > semicolon:
        return None
    depth = 0
    for i in range(equals + 3, semicolon):
        depth += (code[i] in "([{") - (code[i] in ")]}")
        if code[i] == "," and depth == 0:
            return equals + 3, i
    return (equals + 3, semicolon) if depth == 0 else None


def find_sites(file):
    sites, times, in_comment, in_macro = [], {}, False, False
    for number, line in enumerate((ROOT / FOLDER / file).read_text().splitlines(), 1):
        code, in_comment = code_of(line, in_comment)
        macro = in_macro or code.lstrip().startswith("#")
        in_macro = macro and line.endswith("\\")
        if macro or re.search(r"\b(static_assert|constexpr|template|enum)\b", code):
            continue
        found = []
        for m in re.finditer(r"\bbs_(barrier|warp_barrier|copy_wait<[^>]*>)\(\);", code):
            found.append((m.start(), m.end(), "if (bs_mutation::keeps({k})) " + m.group(), f"without {m.group()[:-3]}"))
        for m in re.finditer(r" (<=|>=|<|>) ", code):
            found.append((m.start(), m.end(), f" < bs_mutation::relation{{{{{{k}}, '{RELATIONS[m.group(1)]}'}}}} < ",
                          f"{m.group(1)} as {OTHER[m.group(1)]}"))
        for m in re.finditer(r"(?<= [+-] )1(?![\w.])", code):
            found.append((m.start(), m.end(), "bs_mutation::one({k})", f"without {code[m.start() - 2]} 1"))
        for m in re.finditer(r"\bfor \(", code):
            clause = first_clause(code, m.end())
            if clause:
                value = line[clause[0]:clause[1]].replace("{", "{{").replace("}", "}}")
                found.append((*clause, f"({value}) + bs_mutation::shift({{k}})", "loop begins one later"))
        for f in found:
            site = Site(file, number, *f)
            site.source = line.strip()
            times[site.key()] = times.get(site.key(), 0) + 1
            if times[site.key()] > 1:
                site.what += f" ({times[site.key()]})"  # the second of its kind in this line, or in one that reads alike
            sites.append(site)
    return sites


def mutated_text(file, sites):
    lines = (ROOT / FOLDER / file).read_text().splitlines()
    for line in {s.line for s in sites}:
        here = sorted((s for s in sites if s.line == line), key=lambda s: -s.begin)
        text = lines[line - 1]
        for s in here:
            text = text[:s.begin] + s.text.format(k=s.number) + text[s.end:]
        lines[line - 1] = text
    return "\n".join(lines) + "\n"


def layers(sites):
    """Splits the sites so that no two of a layer overlap."""
    result = []
    for s in sites:
        for layer in result:
            if not any(o.line == s.line and o.begin < s.end and s.begin < o.end for o in layer):
                layer.append(s)
                break
        else:
            result.append([s])
    return result


def includes(name, seen=None):
    """The files of kernels/cuda that a file is compiled of, itself among them."""
    seen = set() if seen is None else seen
    if name in seen:
        return seen
    seen.add(name)
    for m in re.finditer(rf'^#include "{FOLDER}/([\w.]+\.cuh)"', (ROOT / FOLDER / name).read_text(), re.M):
        includes(m.group(1), seen)
    return seen


class Build:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        self.settings = json.loads((self.folder / "tests/emulation/mutate.json").read_text())
        self.tests = {}  # name -> (seconds, kernel files it launches)

    def run(self, name, **environment):
        """Runs a test; (its exit status, the seconds of a processor that it took, without its children)."""
        with subprocess.Popen([self.folder / "tests" / name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env={**os.environ, "BS_CUDA_EXPECTED": "1", "BS_EMULATION_SEED": "1", "BS_EMULATION_STOP": "1",
                                   **environment}) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime

    def measure(self, names, temporary, pool):
        """Runs tests without any change and notes how long they take and what they launch."""
        def one(name):
            log = pathlib.Path(temporary) / f"{name}.launched"
            log.write_text("")
            status, seconds = self.run(name, LD_LIBRARY_PATH=self.settings["library"], BS_EMULATION_LAUNCHES=str(log))
            if status != 0:
                sys.exit(f"mutate.py: {name} fails without any change")
            return seconds, {pathlib.Path(f).name for f in log.read_text().split()}

        self.tests = dict(zip(names, pool.map(one, names)))

    def tests_of(self, units, family):
        """The tests that launch a kernel of these files, those that launch few others and end soon first."""
        chosen = [n for n, (_, files) in self.tests.items() if files & set(units)]
        if family:
            chosen = [n for n in chosen if any(names_family(n, u) for u in units)]
        return sorted(chosen, key=lambda n: (len(self.tests[n][1]), self.tests[n][0]))

    def library(self, place, file, sites, units):
        """Compiles the units with the sites of `file` in them and links a library; drops sites that do not compile."""
        place.mkdir(parents=True)
        copy = place / "source" / FOLDER / file
        copy.parent.mkdir(parents=True)
        while True:
            copy.write_text(mutated_text(file, sites))
            bad, objects = set(), {}
            for unit in units:
                source = copy if unit == file else ROOT / FOLDER / unit
                objects[unit] = place / (unit + ".o")
                run = subprocess.run(
                    [self.settings["compiler"], *self.settings["flags"], *self.settings["kernel_flags"], "-w", "-O1", "-fPIC",
                     "-include", ROOT / "tests/emulation/mutant.h",
                     "-I", place / "source", "-I", ROOT, "-c", source, "-o", objects[unit]],
                    capture_output=True, text=True)
                if run.returncode != 0:
                    bad |= {int(m) for m in re.findall(rf"{re.escape(str(copy))}:(\d+):", run.stderr)}
                    if not bad & {s.line for s in sites}:
                        sys.exit(f"mutate.py: {file} does not compile:\n{run.stderr[:2000]}")
            if not bad:
                break
            sites[:] = [s for s in sites if s.line not in bad]
        others = [o for o in self.settings["objects"]
                  if pathlib.Path(o).name not in {f"{u}.o" for u in units}]
        subprocess.run([self.settings["compiler"], "-shared", *self.settings["link_flags"], *others, *objects.values(),
                        "-Wl,-soname,libcuda.so.1", "-o", place / "libcuda.so.1"], check=True)
        return place

    def try_all(self, library, tests, sites):
        """Runs the tests with the changes; change number -> the test that caught it, or None where those that met it noticed nothing.
        A change that no test meets is missing."""
        result, left = {}, {s.number for s in sites}
        for name in tests:
            if not left:
                break
            wanted, answers = library / f"{name}.changes", library / f"{name}.answers"
            wanted.write_text("\n".join(map(str, sorted(left))) + "\n")
            status, _ = self.run(name, LD_LIBRARY_PATH=str(library), BS_MUTANTS=str(wanted), BS_MUTANT_ANSWERS=str(answers),
                                 BS_MUTANT_SECONDS=str(2 + int(3 * self.tests[name][0])))
            if status != 0:
                sys.exit(f"mutate.py: {name} fails with every change of {library.name} switched off")
            for number, ended in (map(int, line.split()) for line in answers.read_text().splitlines()):
                result[number] = name if ended != 0 else result.get(number)
                if ended != 0:
                    left.discard(number)
        return result


def names_family(test, unit):
    """Whether unit.cuda.scan is a test of scan.cu, scan_ends.cu, ..."""
    family = test.rsplit(".", 1)[-1]
    stem = unit.rsplit(".", 1)[0]
    return stem == family or stem.startswith(family + "_")


def read_equivalents():
    """Lines of `file | change | source line | reason`."""
    known = {}
    for line in (ROOT / "tests/emulation/equivalent.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            parts = [p.strip() for p in line.split(" | ")]
            if len(parts) != 4:
                sys.exit(f"equivalent.txt: not `file | change | source | reason`: {line}")
            known[tuple(parts[:3])] = parts[3]
    return known


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("build")
    p.add_argument("files", nargs="*")
    p.add_argument("--sample", type=int, help="so many changes, drawn from all")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--family", action="store_true", help="run only the tests named like the file")
    p.add_argument("--jobs", type=int, default=os.cpu_count())
    p.add_argument("--list", action="store_true", help="print the changes and make none")
    a = p.parse_intermixed_args()

    cuda = ROOT / FOLDER
    units = sorted(f.name for f in cuda.glob("*.cu"))
    files = a.files or sorted(f.name for f in [*cuda.glob("*.cu"), *cuda.glob("*.cuh")] if f != WORDS)
    known = read_equivalents()
    by_file = {f: find_sites(f) for f in files}
    everything = [s for f in files for s in by_file[f]]
    for number, site in enumerate(everything, 1):
        site.number = number
    unused = [k for k in known if k[0] in by_file and k not in {s.key() for s in everything}]
    if unused and not a.files:
        sys.exit("equivalent.txt names what is not there (any more):\n" + "\n".join(" | ".join(k) for k in unused))
    equivalent = sum(s.key() in known for s in everything)
    for f in files:
        by_file[f] = [s for s in by_file[f] if s.key() not in known]
    if a.sample is not None:
        drawn = random.Random(a.seed).sample([s for f in files for s in by_file[f]], a.sample)
        for f in files:
            by_file[f] = [s for s in by_file[f] if s in drawn]
    if a.list:
        for f in files:
            for s in by_file[f]:
                print(s)
        return 0

    build, began = Build(a.build), time.monotonic()
    survivors = []
    with tempfile.TemporaryDirectory() as temporary, concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        wanted = [u for u in units if any(by_file[f] and f in includes(u) for f in files)]
        build.measure([n for n in build.settings["tests"] if not a.family or any(names_family(n, u) for u in wanted)],
                      temporary, pool)

        def work_on(file, index, sites):
            compiled_into = [u for u in units if file in includes(u)]
            place = pathlib.Path(temporary) / f"{file}-{index}"
            library = build.library(place, file, sites, compiled_into)
            answers = build.try_all(library, build.tests_of(compiled_into, a.family), sites)
            shutil.rmtree(place)
            return file, sites, answers

        layered = [(f, i, layer) for f in files for i, layer in enumerate(layers(by_file[f]))]
        to_come = {f: sum(x[0] == f for x in layered) for f in files}
        per_file = {f: [0, 0] for f in files}
        for done in concurrent.futures.as_completed([pool.submit(work_on, *x) for x in layered]):
            file, sites, answers = done.result()
            for s in sites:
                per_file[file][0] += bool(answers.get(s.number))
                per_file[file][1] += 1
                if not answers.get(s.number):
                    survivors.append(s)
                    print(f"survived  {s}{'' if s.number in answers else ' (met by no test)'}", flush=True)
            to_come[file] -= 1
            if not to_come[file]:
                print(f"{file}: {per_file[file][0]} of {per_file[file][1]} caught", flush=True)
    count, caught = sum(n for _, n in per_file.values()), sum(n for n, _ in per_file.values())
    print(f"{caught} of {count} changes caught ({100 * caught / max(count, 1):.1f} %), {equivalent} known to change nothing, "
          f"{time.monotonic() - began:.0f} s")
    if a.sample is not None:
        return 0 if count and len(survivors) <= count // 6 else 1
    return 0 if count and caught >= 0.95 * count else 1


if __name__ == "__main__":
    sys.exit(main())
