#!/usr/bin/env python3
"""Draws what bench_scan --csv wrote: time of the selective scan against the length of the sequence, both logarithmic, with a
dashed line of slope one through each shortest length. Standard library only.

    bench_scan --csv scan.csv && tests/bench/plot_scan.py scan.csv docs/images/scan-length.svg
"""
import csv
import math
import sys

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 30, 55
COLOURS = {"tiny": "#0072b2", "small": "#d55e00"}  # told apart with any colour vision


def read(path):
    series = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            series.setdefault((row["mixer"], row["features"]), []).append((int(row["length"]), float(row["ms"])))
    return series


def draw(series):
    lengths = [x for points in series.values() for x, _ in points]
    times = [y for points in series.values() for _, y in points]
    x0, x1 = math.log2(min(lengths)), math.log2(max(lengths))
    y0, y1 = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))

    def px(length):
        return LEFT + (math.log2(length) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def py(ms):
        return HEIGHT - BOTTOM - (math.log10(ms) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for length in sorted(set(lengths)):
        x = px(length)
        out.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{length}</text>')
    for power in range(y0, y1 + 1):
        y = py(10.0**power)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">tokens</text>')
    out.append(f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 18 {HEIGHT / 2})">ms, one thread</text>')
    for row, ((name, features), points) in enumerate(sorted(series.items(), reverse=True)):
        colour = COLOURS.get(name, "black")
        points.sort()
        (first, ms), last = points[0], points[-1][0]
        out.append(
            f'<line x1="{px(first):.1f}" y1="{py(ms):.1f}" x2="{px(last):.1f}" y2="{py(ms * last / first):.1f}" '
            f'stroke="{colour}" stroke-dasharray="5 4" opacity="0.6"/>'
        )
        path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.extend(f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in points)
        out.append(f'<text x="{LEFT + 14}" y="{TOP + 18 + 18 * row}" fill="{colour}">{name}, {features} features</text>')
    out.append(f'<text x="{LEFT + 14}" y="{TOP + 18 + 18 * len(series)}" fill="#666">dashed: proportional to the length</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} scan.csv picture.svg")
    picture = draw(read(sys.argv[1]))
    with open(sys.argv[2], "w") as file:
        file.write(picture)


if __name__ == "__main__":
    main()
