#!/usr/bin/env python3
"""Sums up what ctest wrote with --output-junit.

Usage: junit_sum.py FILE...

First line: passed, failed and skipped. Then one line for each failed test, and one for each skipped
test or case with its reason: the last line that it printed. A test that could not run has failed;
only one that said so itself (exit status 77, or cmocka's skip()) was skipped.

SPDX-License-Identifier: Apache-2.0
"""

import re
import sys
import typing
import xml.etree.ElementTree

CONTROL = re.compile(r"[^\t\n\x20-\ufffd]")
CASE_BEGINS = re.compile(r"^\[ RUN +\] ")
CASE_SKIPPED = re.compile(r"^\[ +SKIPPED \] ([A-Za-z_]\w*)$")


class Summary(typing.NamedTuple):
    passed: int
    failed: list  # names
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
    passed, failed, skipped = 0, [], []
    for case in xml.etree.ElementTree.fromstring(CONTROL.sub("", text)).iter("testcase"):
        name = case.get("name")
        output = case.findtext("system-out") or ""
        mark = case.find("skipped")
        if case.get("status") == "run":
            passed += 1
            skipped += [(f"{name}/{inner}", reason) for inner, reason in skipped_cases(output)]
        elif mark is not None and mark.get("message", "").startswith("SKIP_RETURN_CODE"):
            skipped.append((name, last_line(output)))
        elif case.get("status") == "disabled":
            skipped.append((name, "disabled"))
        else:
            failed.append(name)
    return Summary(passed, failed, skipped)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    passed, failed, skipped = 0, [], []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8", errors="replace") as file:
            part = summarize(file.read())
        passed += part.passed
        failed += part.failed
        skipped += part.skipped
    print(passed, len(failed), len(skipped))
    for name in failed:
        print(f"failed: {name}")
    for name, reason in skipped:
        print(f"skipped: {name}: {reason}")


if __name__ == "__main__":
    main()
