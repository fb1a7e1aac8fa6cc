#!/usr/bin/env python3
"""Fails when an #include points up.

Layers, from the top: clients, proto, server, model, kernels. A file may include its own layer and those below, with
these particulars of docs/design.md:
  * generated messages (*.pb-c.h) and headers of proto/ are the wire contract: server and clients may include them,
    model and kernels may not;
  * clients speak the protocol only: they include nothing of the server;
  * proto/ itself includes nothing of server or clients;
  * a relative include ("../x.h") is refused: it hides which layer it reaches into.
tests/ may include everything, nothing outside may include tests/.

  check_layers.py ROOT        checks the tree, one line per offence, exit status 1 when there is any
  check_layers.py --self-test plants one offence of each kind in a temporary tree and expects it to be found
"""
import os
import re
import sys
import tempfile

# What each layer may include.
ALLOWED = {
    "kernels": {"kernels"},
    "model": {"model", "kernels"},
    "proto": {"proto", "kernels"},
    "server": {"server", "proto", "model", "kernels"},
    "clients": {"clients", "proto", "model", "kernels"},
}
LAYERS = set(ALLOWED)
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')
BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.S)


def sources(root):
    for layer in sorted(LAYERS):
        for folder, folders, files in os.walk(os.path.join(root, layer)):
            folders[:] = sorted(f for f in folders if not f.startswith((".", "build")) and f != "node_modules")
            for name in sorted(files):
                if name.endswith((".c", ".h", ".cu", ".cuh", ".inc")):
                    yield layer, os.path.join(folder, name)


def reached_layer(path):
    """The layer that an include path names, or None for the system's headers and neighbours in the same folder."""
    if path.endswith(".pb-c.h"):
        return "proto"
    first = path.split("/", 1)[0] if "/" in path else None
    return first if first in LAYERS or first == "tests" else None


def strip_comments(text):
    # newlines stay, so that line numbers do
    return BLOCK_COMMENT.sub(lambda m: "\n" * m.group(0).count("\n"), text)


def check(root):
    """Returns (number of files, list of offences)."""
    count, offences = 0, []
    for layer, path in sources(root):
        count += 1
        with open(path, encoding="utf-8", errors="replace") as f:
            text = strip_comments(f.read())
        shown = os.path.relpath(path, root)
        for number, line in enumerate(text.split("\n"), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1)
            if target.startswith("../") or "/../" in target:
                offences.append(f'{shown}:{number}: "{target}" is relative; includes begin at the repository root')
                continue
            reached = reached_layer(target)
            if reached and reached not in ALLOWED[layer]:
                offences.append(f'{shown}:{number}: {layer}/ must not include "{target}"')
    return count, offences


PLANTED = {
    "kernels/up.c": '#include "model/model.h"\n',
    "kernels/deep/wire.c": "#include <stdio.h>\n  #  include <bioseg.pb-c.h>\n",
    "model/up.h": '#include "kernels/graph.h"\n#include "server/engine.h"\n',
    "model/image/wire.c": '#include "proto/wire.h"\n',
    "proto/up.c": '#include "server/jobs.h"\n',
    "server/rpc/up.c": '#include "clients/cli/cli.h"\n',
    "clients/cli/side.c": '#include "server/store/store.h"\n',
    "server/relative.c": '#include "../model/model.h"\n',
    "server/tests.c": '#include "tests/support/npy.h"\n',
}
INNOCENT = {
    "kernels/fine.c": '#include "kernels/op.h"\n#include <model.h>\n/*\n#include "server/engine.h"\n*/\n',
    "model/fine.c": '#include "kernels/op.h"\n#include "model/model.h"\n',
    "proto/fine.c": '#include "bioseg/v1/jobs.pb-c.h"\n#include "kernels/base/status.h"\n',
    "server/fine.c": '#include "proto/wire.h"\n#include "model/model.h"\n#include "jobs.pb-c.h"\n',
    "clients/cli/fine.c": '#include "model/image/image.h"\n#include "proto/wire.h"\n#include "cli.h"\n',
}


def self_test():
    with tempfile.TemporaryDirectory() as root:
        for path, text in {**PLANTED, **INNOCENT}.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as f:
                f.write(text)
        count, offences = check(root)
    found = sorted(o.split(":", 1)[0] for o in offences)
    if count != len(PLANTED) + len(INNOCENT) or found != sorted(PLANTED):
        print(f"self-test: {count} files read, offences in {found}, planted in {sorted(PLANTED)}")
        return 1
    print(f"self-test: all {len(PLANTED)} planted offences found, {len(INNOCENT)} innocent files passed")
    return 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) != 1 or not os.path.isdir(os.path.join(arguments[0], "kernels")):
        print(__doc__, file=sys.stderr)
        return 2
    count, offences = check(arguments[0])
    for offence in offences:
        print(offence)
    print(f"{count} files, {len(offences)} includes point up")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
