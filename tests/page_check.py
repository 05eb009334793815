"""What t_page.sh looks at in a page of statistics and in pictures of it. Standard library only.

    page_check.py data PAGE                 the JSON that the page holds
    page_check.py template PAGE             the page with @DATA@ in place of that
    page_check.py contrast PAGE             both themes can be read
    page_check.py picture PNG light|dark N  the theme, and a heat map of at least N colours
"""
import json
import re
import struct
import sys
import zlib

BEGIN = '<script type="application/json" id="data">'


def split(path):
    page = open(path, encoding="utf-8").read()
    before, rest = page.split(BEGIN)
    text, after = rest.split("</script>", 1)
    return before + BEGIN, text, "</script>" + after


def themes(path):
    """Custom properties of the light and of the dark theme."""
    blocks = re.findall(r":root \{(.*?)\}", split(path)[0], re.S)
    light, dark = (dict(re.findall(r"--(\w+): ([^;]+);", b)) for b in blocks)
    assert set(light) == set(dark), set(light) ^ set(dark)
    return light, dark


def luminance(color):
    parts = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    x, y = sorted((luminance(a), luminance(b)))
    return (y + 0.05) / (x + 0.05)


def check_contrast(path):
    for name, theme in zip(("light", "dark"), themes(path)):
        for key, least in (("ink", 7), ("dim", 4.5)):
            for ground in ("card", "page"):
                got = contrast(theme[key], theme[ground])
                assert got >= least, (name, key, ground, got)
        for key in ("vram", "dram", "pmem", "nvme", "wait", "p0", "p1", "p2", "p3", "p4"):
            got = contrast(theme[key], theme["card"])
            assert got >= 3, (name, key, got)
        steps = [luminance(c) for c in theme["ramp"].split()]
        assert steps in (sorted(steps), sorted(steps)[::-1]), (name, steps)
        assert contrast(*theme["ramp"].split()[::5]) >= 7, name


def rows_of_png(path):
    """(channels, rows of bytes) of an 8-bit RGB or RGBA picture."""
    data = open(path, "rb").read()
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    assert depth == 8 and color in (2, 6), (depth, color)
    n = 3 if color == 2 else 4
    raw, size = zlib.decompress(packed), width * n
    rows, last = [], bytearray(size)
    for y in range(height):
        kind = raw[y * (size + 1)]
        row = bytearray(raw[y * (size + 1) + 1:(y + 1) * (size + 1)])
        if kind == 1:
            for i in range(n, size):
                row[i] = (row[i] + row[i - n]) & 255
        elif kind == 2:
            row = bytearray((a + b) & 255 for a, b in zip(row, last))
        elif kind:
            for i in range(size):
                left, corner = (row[i - n], last[i - n]) if i >= n else (0, 0)
                if kind == 3:
                    row[i] = (row[i] + (left + last[i]) // 2) & 255
                    continue
                p = left + last[i] - corner
                a, b, c = abs(p - left), abs(p - last[i]), abs(p - corner)
                best = left if a <= b and a <= c else last[i] if b <= c else corner
                row[i] = (row[i] + best) & 255
        rows.append(row)
        last = row
    return n, rows


def check_picture(path, theme, least):
    n, rows = rows_of_png(path)
    corner = sum(rows[3][9:12]) / 3
    assert corner > 200 if theme == "light" else corner < 60, corner
    count = {}
    for row in rows:
        for i in range(0, len(row), n):
            color = bytes(row[i:i + 3])
            count[color] = count.get(color, 0) + 1
    # Cells are blue and of many pixels; text is grey, and a step of the legend a dozen pixels.
    cells = [c for c, k in count.items() if k >= 24 and c[2] - c[0] > 24]
    assert len(cells) >= least, (len(cells), len(count))
    assert sum(count[c] for c in cells) > 10000, sum(count[c] for c in cells)


def main():
    what, path = sys.argv[1:3]
    if what == "data":
        sys.stdout.write(split(path)[1])
    elif what == "template":
        before, text, after = split(path)
        json.loads(text)
        sys.stdout.write(before + "@DATA@" + after)
    elif what == "contrast":
        check_contrast(path)
    else:
        check_picture(path, sys.argv[3], int(sys.argv[4]))


main()
