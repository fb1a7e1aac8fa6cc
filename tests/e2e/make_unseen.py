#!/usr/bin/env python3
"""make_unseen.py IMAGES OUT: three images that nobody has trained on yet, known ones turned or mirrored. Grey PNGs of 8 or 16 bits;
with the standard library alone, as every script of the command line's tests."""
import pathlib
import struct
import sys
import zlib


def read(path):
    """Width, bytes of a pixel, rows of pixels."""
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert colour == 0 and depth in (8, 16) and not interlaced, path
        packed += body if kind == b"IDAT" else b""
        at += 12 + size
    n, raw = depth // 8, zlib.decompress(packed)
    rows, above = [], bytes(width * n)
    for y in range(height):
        line = bytearray(raw[y * (width * n + 1):(y + 1) * (width * n + 1)])
        kind = line.pop(0)
        for x in range(width * n):
            a, b, c = (line[x - n] if x >= n else 0), above[x], (above[x - n] if x >= n else 0)
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line[x] = line[x] + (0, a, b, (a + b) // 2, paeth)[kind] & 255
        above = bytes(line)
        rows.append([above[x * n:(x + 1) * n] for x in range(width)])
    return width, n, rows


def write(path, n, rows):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8 * n, 0, 0, 0, 0)
    raw = b"".join(b"\0" + b"".join(row) for row in rows)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


TURNS = {"0147": lambda rows: [list(r) for r in zip(*rows[::-1])],  # a quarter
         "0148": lambda rows: [r[::-1] for r in rows[::-1]],        # a half
         "0152": lambda rows: [r[::-1] for r in rows]}              # mirrored


def main():
    images, out = map(pathlib.Path, sys.argv[1:])
    for kind in ("images", "labels"):
        (out / kind).mkdir(parents=True)
    for number, turn in TURNS.items():
        for kind, name in (("images", f"dsb_{number}.png"), ("labels", f"dsb_{number}.labels.png")):
            _, n, rows = read(images / name)
            write(out / kind / f"turned-{number}.png", n, turn(rows))


main()
