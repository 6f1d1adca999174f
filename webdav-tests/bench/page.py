"""The page with the figures: one part is written by bench.py, one by bridge.py, one by growth.py, and none disturbs the others'."""
import pathlib
import re

BEGIN, END = "<!-- bridges: begin -->", "<!-- bridges: end -->"
SECTION = re.compile(f"\n*{BEGIN}.*?{END}\n*", re.S)
MARKED = re.compile(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", re.S)


def section(path):
    """What bridge.py and growth.py wrote on the page before, marks included; empty if nothing."""
    path = pathlib.Path(path)
    found = MARKED.finditer(path.read_text()) if path.exists() else []
    return "".join(f"\n{part[0]}\n" for part in found)


def put_section(path, text):
    """Puts the section in the place of the one before, or at the end."""
    path = pathlib.Path(path)
    page = SECTION.sub("\n", path.read_text()).rstrip() + "\n" if path.exists() else ""
    path.write_text(f"{page}\n{BEGIN}\n{text.strip()}\n{END}\n")
