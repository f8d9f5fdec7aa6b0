#!/usr/bin/env python3
"""The printed schema of RdmaIntent, as another reader of JSON Schema understands it: it admits
every intent of a folder and refuses the one of a file.

Usage: schema_agrees.py SCHEMA FOLDER FILE

SPDX-License-Identifier: Apache-2.0
"""

import json
import pathlib
import sys

import jsonschema
import yaml


def errors(checker, path):
    return [e.message for e in checker.iter_errors(yaml.safe_load(path.read_text("utf-8")))]


def main():
    schema = json.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    good = sorted(pathlib.Path(sys.argv[2]).glob("*.yaml"))
    problems = [f"{path}: {what}" for path in good for what in errors(checker, path)]
    if not good or len(errors(checker, pathlib.Path(sys.argv[3]))) < 5:
        problems.append("the wrong intent was admitted, or there is none that is right")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
