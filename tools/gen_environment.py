#!/usr/bin/env python3
"""Writes docs/environment.md from src/core/config.def, the one table of settings.

Usage: gen_environment.py [--check] [ROOT]

SPDX-License-Identifier: Apache-2.0
"""

import pathlib
import re
import sys
import typing

TABLE = "src/core/config.def"
PAGE = "docs/environment.md"

INTRODUCTION = """\
# Settings

<!-- Generated from src/core/config.def by tools/gen_environment.py; do not edit. -->

Nothing needs to be set: what Shoal can measure it measures. Each setting can be given in four
places; later ones win:

1. the default below;
2. a YAML file named by `SHOAL_CONFIG_FILE` or by `config_file` of the context's options;
3. the environment;
4. `settings` of the context's options, as `"SHOAL_KEY=value"`.

An unknown key, an unknown `SHOAL_*` variable or a value out of range is `SHOAL_ERR_CONFIG`, which
names it, where it stands and the nearest key that exists.

Sizes take the suffixes K, M and G (powers of 1024). Settings marked *agree* must be the same on
every rank; a difference is an error when the communicator forms.
"""

KINDS = {
    "BOOL": "0 or 1",
    "U64": "number",
    "BYTES": "bytes",
    "STRING": "text",
    "CHOICE": "one of",
    "SET": "comma list of",
}


# One entry; parentheses nest once, and those inside strings do not count.
ENTRY = re.compile(r"""SHL_CONFIG_KEY\(((?:"(?:\\.|[^"\\])*"|[^()"]|\([^()]*\))*)\)""")


class Setting(typing.NamedTuple):
    kind: str
    field: str
    key: str
    default: str
    constraint: str
    scope: str
    help: str


def split_arguments(text):
    """Split at commas outside strings and parentheses."""
    parts, depth, quoted, current = [], 0, False, ""
    previous = ""
    for char in text:
        if char == '"' and previous != "\\":
            quoted = not quoted
        depth += 0 if quoted else {"(": 1, ")": -1}.get(char, 0)
        if char == "," and depth == 0 and not quoted:
            parts.append(current.strip())
            current = ""
        else:
            current += char
        previous = char
    return [*parts, current.strip()]


def unquote(text):
    """The value of one or several adjacent C string literals."""
    return "".join(re.findall(r'"((?:\\.|[^"\\])*)"', text)).replace('\\"', '"')


def parse(text):
    """The settings of config.def in table order."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    settings = []
    for match in ENTRY.finditer(text):
        kind, field, key, default, constraint, scope, help_text = split_arguments(match.group(1))
        settings.append(
            Setting(kind, field, unquote(key), unquote(default), constraint, scope,
                    unquote(help_text))
        )
    if len(settings) != text.count("SHL_CONFIG_KEY("):
        sys.exit(f"{TABLE}: only {len(settings)} entries could be read")
    return settings


def value_text(setting):
    """What may be given, in words."""
    kind = KINDS[setting.kind]
    inner = setting.constraint[setting.constraint.find("(") + 1:-1]
    if setting.constraint.startswith("RANGE"):
        low, high = split_arguments(inner)
        return f"{kind}, {low} to {high}"
    if setting.constraint.startswith("NAMES"):
        return f"{kind} " + ", ".join(f"`{unquote(name)}`" for name in split_arguments(inner))
    return kind


def row(setting):
    default = f"`{setting.default}`" if setting.default else ""
    agree = "*agree*" if setting.scope == "AGREE" else ""
    cells = (f"`{setting.key}`", setting.help, value_text(setting), default, agree)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def render(text):
    """The page for the text of config.def."""
    head = "\n| setting | meaning | value | default | |\n|---|---|---|---|---|\n"
    rows = [row(setting) for setting in sorted(parse(text), key=lambda s: s.key)]
    return INTRODUCTION + head + "".join(rows)


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    root = pathlib.Path(arguments[0] if arguments else ".")
    wanted = render((root / TABLE).read_text(encoding="utf-8"))
    page = root / PAGE
    if "--check" not in sys.argv:
        page.write_text(wanted, encoding="utf-8")
    elif not page.exists() or page.read_text(encoding="utf-8") != wanted:
        sys.exit(f"{PAGE} does not match {TABLE}; run tools/gen_environment.py")


if __name__ == "__main__":
    main()
