#!/usr/bin/env python3
"""Sums up what ctest wrote with --output-junit.

Usage: junit_sum.py FILE...
       junit_sum.py --again FILE

First line: passed, failed and skipped. Then one line for each failed test with the errors and the
end of what it printed, and one for each skipped test or case with its reason: the last line that
it printed. A test that could not run has failed; only one that said so itself (exit status 77, or
cmocka's skip()) was skipped. A file in a folder `again` holds the second attempt of tests that
failed in the others: what passed there counts as passed, and is named as unsteady. The exit status
is 1 if a test failed.

--again prints a regular expression of the failed tests for which a second attempt says something:
all but those that a sanitizer ended, since what it found is there however seldom it shows.

SPDX-License-Identifier: Apache-2.0
"""

import pathlib
import re
import sys
import typing
import xml.etree.ElementTree

CONTROL = re.compile(r"[^\t\n\x20-\ufffd]")
CASE_BEGINS = re.compile(r"^\[ RUN +\] ")
CASE_SKIPPED = re.compile(r"^\[ +SKIPPED \] ([A-Za-z_]\w*)$")


SANITIZER = re.compile(r"\b(\w+Sanitizer|runtime error):")
ERROR = re.compile(r"error|fail", re.IGNORECASE)
EXCERPT_LINES = 8


class Summary(typing.NamedTuple):
    passed: list  # names
    failed: dict  # output by name
    skipped: list  # (name, reason)


def last_line(output):
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def skipped_cases(output):
    """(case, reason) for each cmocka case that skipped itself inside a test that passed."""
    found, reason = {}, ""
    for line in output.splitlines():
        if CASE_BEGINS.match(line):
            reason = ""
        elif match := CASE_SKIPPED.match(line):
            found.setdefault(match.group(1), reason or "no reason given")
        elif line.strip():
            reason = line.strip()
    return list(found.items())


def summarize(text):
    """Summary of one JUnit file's text."""
    passed, failed, skipped = [], {}, []
    for case in xml.etree.ElementTree.fromstring(CONTROL.sub("", text)).iter("testcase"):
        name = case.get("name")
        output = case.findtext("system-out") or ""
        mark = case.find("skipped")
        if case.get("status") == "run":
            passed.append(name)
            skipped += [(f"{name}/{inner}", reason) for inner, reason in skipped_cases(output)]
        elif mark is not None and mark.get("message", "").startswith("SKIP_RETURN_CODE"):
            skipped.append((name, last_line(output)))
        elif case.get("status") == "disabled":
            skipped.append((name, "disabled"))
        else:
            failed[name] = output
    return Summary(passed, failed, skipped)


def merge(parts, second):
    """Sum of `parts`, where what failed and passed in `second` is unsteady instead."""
    passed = sum(len(part.passed) for part in parts)
    failed = [item for part in parts for item in part.failed.items()]
    skipped = [item for part in parts for item in part.skipped]
    good = {name for part in second for name in part.passed}
    unsteady = [(name, output) for name, output in failed if name in good]
    failed = [(name, output) for name, output in failed if name not in good]
    return passed + len(unsteady), failed, skipped, unsteady


def worth_another(part):
    """Regular expression of the failed tests that no sanitizer ended; empty if there are none."""
    names = [re.escape(name) for name, out in part.failed.items() if not SANITIZER.search(out)]
    return f"^({'|'.join(names)})$" if names else ""


def excerpt(output):
    """The first lines that speak of an error, and the last lines."""
    lines = output.splitlines()
    last = lines[-EXCERPT_LINES:]
    first = [line for line in lines[:-EXCERPT_LINES] if ERROR.search(line)]
    return first[:EXCERPT_LINES] + last


def read(path):
    """Summary of the file at `path`."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return summarize(file.read())


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--again":
        print(worth_another(read(sys.argv[2])))
        return
    first = [path for path in sys.argv[1:] if pathlib.Path(path).parent.name != "again"]
    second = [path for path in sys.argv[1:] if path not in first]
    passed, failed, skipped, unsteady = merge([read(p) for p in first], [read(p) for p in second])
    print(passed, len(failed), len(skipped))
    for title, group in (("failed", failed), ("unsteady, passed when run again", unsteady)):
        for name, output in group:
            print(f"{title}: {name}")
            for line in excerpt(output):
                print(f"    {line}")
    for name, reason in skipped:
        print(f"skipped: {name}: {reason}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
