"""The command line of the checkers that read the whole tree.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import pathlib
import sys


def main(doc, check, praise):
    """`check(root)` returns its problems, a line each; `praise(root)` what to say without any."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "root",
        nargs="?",
        default=".",
        type=pathlib.Path,
        metavar="ROOT",
        help="the project's folder (default: this one)",
    )
    root = parser.parse_args().root.resolve()
    if not (root / "src").is_dir():
        parser.error(f"{root} has no src/; give the project's folder")
    if problems := check(root):
        sys.exit("\n".join(problems))
    print(praise(root))
