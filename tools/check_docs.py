#!/usr/bin/env python3
"""Documents and comments agree with the tree: links, named files, commands, programs, settings and
status codes.

SPDX-License-Identifier: Apache-2.0
"""

import json
import pathlib
import re

import gen_environment
import tree_check

LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
NAMED_PATH = re.compile(
    r"`((?:src|include|tests|tools|bench|cmake|docs|examples|python|cni)/[\w./-]*[\w/])`"
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
COMMENT_FILE = re.compile(r"(?<![\w/<.-])([a-z]\w*(?:/\w+)*\.[ch])\b")
STATUS = re.compile(r"^\s+(SHOAL_(?:OK|IN_PROGRESS|ERR_\w+)) = (-?\d+)", re.MULTILINE)
STATUS_NAMED = re.compile(r"\bSHOAL_(?:OK|IN_PROGRESS|ERR_[A-Z_]*[A-Z])\b")


def documents(root):
    folders = [root, root / "docs", *sorted(p for p in (root / "docs").rglob("*") if p.is_dir())]
    return [page for folder in folders for page in sorted(folder.glob("*.md"))]


def anchor(heading):
    """The fragment that renderers give a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return text.replace(" ", "-")


def anchors(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {anchor(heading) for heading in HEADING.findall(text)}


def check_links(root, page, text):
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"link to {target}: no such file"
        elif fragment and file.suffix == ".md" and fragment not in anchors(file):
            yield f"link to {target}: no such heading"


def check_named_paths(root, text):
    for path in NAMED_PATH.findall(FENCE.sub("", text)):
        if not (root / path).exists():
            yield f"names {path}, which does not exist"


def presets(root):
    text = (root / "CMakePresets.json").read_text(encoding="utf-8")
    return {preset["name"] for preset in json.loads(text)["configurePresets"]}


def check_command(root, line):
    """One line of a shell block: programs of the tree and presets must exist."""
    words = line.strip().split()
    for word in words:
        if re.fullmatch(r"(\./)?(tools|\.ci|examples|bench)/[\w./-]+", word):
            if not (root / word).exists():
                yield f"command `{line.strip()}`: {word} does not exist"
    for option, name in re.findall(r"(--preset)[ =](\S+)", line):
        if name not in presets(root):
            yield f"command `{line.strip()}`: no preset {name}"


def check_commands(root, text):
    for language, block in FENCE.findall(text):
        if language in ("sh", "bash", "console"):
            for line in block.splitlines():
                yield from check_command(root, line)


def check_examples(root, text):
    """Programs shown in a page are files of examples/, which are compiled and run as tests."""
    suffixes = {"c": "*.c", "python": "*.py"}
    for language, block in FENCE.findall(text):
        if language not in suffixes:
            continue
        files = (root / "examples").glob(suffixes[language])
        if not any(block in file.read_text(encoding="utf-8") for file in files):
            yield f"the {language} program that begins `{block.splitlines()[0]}` is no example"


def check_comments(root):
    """Files that comments of src/ and include/ point to exist, in the folder or by their path."""
    sources = [f for top in ("src", "include") for f in (root / top).rglob("*.[ch]")]
    known = {"shoal/version.h"}
    for top in ("src", "include", "tests", "bench", "tools", "examples"):
        for file in (root / top).rglob("*.[ch]"):
            known |= tails(file.relative_to(root))
    for file in sorted(sources):
        for comment in COMMENT.findall(file.read_text(encoding="utf-8")):
            for name in sorted(set(COMMENT_FILE.findall(comment)) - known):
                yield f"{file.relative_to(root)}: a comment points to {name}, which does not exist"


def tails(path):
    """`a/b/c.h` can be called c.h, b/c.h and a/b/c.h."""
    return {"/".join(path.parts[i:]) for i in range(len(path.parts))}


def check_statuses(root):
    """docs/errors.md has a section row for each code, with its number, and invents none."""
    codes = dict(STATUS.findall((root / "include/shoal/status.h").read_text(encoding="utf-8")))
    page = root / "docs/errors.md"
    if not page.exists():
        return ["docs/errors.md does not exist"]
    text = page.read_text(encoding="utf-8")
    problems = [
        f"docs/errors.md: no row `| `{name}` | {number} |`"
        for name, number in codes.items()
        if f"| `{name}` | {number} |" not in text
    ]
    for unknown in sorted(set(STATUS_NAMED.findall(text)) - set(codes)):
        problems.append(f"docs/errors.md: {unknown} is no status code")
    return problems


def check_settings(root):
    """docs/environment.md is what the table says, and pages name no setting that is not there."""
    table = (root / gen_environment.TABLE).read_text(encoding="utf-8")
    page = root / gen_environment.PAGE
    problems = []
    if not page.exists() or page.read_text(encoding="utf-8") != gen_environment.render(table):
        problems.append(f"{gen_environment.PAGE} is stale; run tools/gen_environment.py")
    return problems


def check(root):
    problems = check_settings(root) + check_statuses(root) + list(check_comments(root))
    for page in documents(root):
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(root)
        problems += [f"{name}: {what}" for what in check_links(root, page, text)]
        problems += [f"{name}: {what}" for what in check_named_paths(root, text)]
        problems += [f"{name}: {what}" for what in check_commands(root, text)]
        problems += [f"{name}: {what}" for what in check_examples(root, text)]
    return problems


if __name__ == "__main__":
    tree_check.main(
        __doc__, check, lambda root: f"{len(documents(root))} documents agree with the tree"
    )
