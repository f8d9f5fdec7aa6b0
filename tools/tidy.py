#!/usr/bin/env python3
"""Limits of size and habit that a formatter does not know, checked without exceptions for old code.

Every file: at most 800 lines of at most 100 columns, no tabs, no trailing blanks, one newline at
the end, a licence line, nothing left undone. Functions: at most 70 lines. Files of src/: the kernel
and the allocator are reached only through the fault tables (core/sys.h, control/sock.h).

SPDX-License-Identifier: Apache-2.0
"""

import ast
import pathlib
import re

import tree_check

FOLDERS = ("include", "src", "tests", "bench", "tools", "python", "cni", "examples", ".ci")
SUFFIXES = (".c", ".h", ".in", ".def", ".cu", ".py", ".sh")
FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
LICENCE = "SPDX-License-Identifier: Apache-2.0"
LICENCE_WITHIN_LINES = 60

# Joined here so that this file does not find itself.
UNDONE = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")

# Calls that src/ makes only through a table -> where the table itself is.
TABLES = (
    (
        "malloc calloc realloc reallocarray free aligned_alloc posix_memalign memalign strdup "
        "strndup asprintf vasprintf getline getdelim open_memstream",
        ("src/core/sys.c",),
        "shl_mem",
    ),
    (
        "mmap munmap mremap memfd_create ftruncate process_vm_readv process_vm_writev",
        ("src/core/sys.c",),
        "shl_mem",
    ),
    (
        "clock_gettime gettimeofday time nanosleep clock_nanosleep usleep sleep sched_yield",
        ("src/core/sys.c",),
        "shl_time",
    ),
    ("getrandom getentropy rand random srand rand_r drand48", ("src/core/sys.c",), "shl_random"),
    (
        "open openat close read write pread pwrite eventfd epoll_create1 epoll_create epoll_ctl "
        "epoll_wait fopen fdopen pipe pipe2 poll select dup dup2",
        ("src/core/sys.c",),
        "shl_fd",
    ),
    (
        "socket socketpair connect accept accept4 bind listen send recv sendto recvfrom sendmsg "
        "recvmsg setsockopt getsockopt shutdown getaddrinfo getifaddrs getsockname getpeername",
        ("src/control/sock.c",),
        "the table of control/sock.h",
    ),
    (
        "exit _exit quick_exit abort signal sigaction printf puts putchar vprintf",
        ("src/core/status.c",),
        "nothing: a library neither ends, prints nor handles signals",
    ),
)

STATIC_FUNCTION = re.compile(r"^static\b[^;={]*?\b(\w+)\(", re.MULTILINE)
STRING_OR_COMMENT = re.compile(
    r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)


def code_only(text):
    """The text with comments, strings and character constants blanked, lines kept."""
    return STRING_OR_COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def check_text(path, text):
    """Rules for every file, whatever its language."""
    lines = text.split("\n")
    if len(lines) - 1 > FILE_LINES_MAX:
        yield 1, f"{len(lines) - 1} lines, more than {FILE_LINES_MAX}; split it by idea"
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield len(lines), "must end with exactly one newline"
    if not any(LICENCE in line for line in lines[:LICENCE_WITHIN_LINES]):
        yield 1, f"no {LICENCE} in the header comment"
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            yield number, "tab"
        if line != line.rstrip():
            yield number, "blanks at the end of the line"
        if len(line) > COLUMNS_MAX:
            yield number, f"{len(line)} columns, more than {COLUMNS_MAX}"
        if UNDONE.search(line):
            yield number, "unfinished work; finish it, or open an issue"


def c_functions(text):
    """(first line, length) of functions: our brace style puts their { alone in column one."""
    start = None
    for number, line in enumerate(text.split("\n"), 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start is not None:
            yield start, number - start + 1
            start = None


def check_c_functions(text):
    for line, length in c_functions(text):
        if length > FUNCTION_LINES_MAX:
            yield line, f"function of {length} lines, more than {FUNCTION_LINES_MAX}"


def check_py_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name} has {length} lines, more than {FUNCTION_LINES_MAX}"


def check_tables(path, text):
    """A bare call of a tabled function; a member (table->free) or a static of this file is none."""
    code = code_only(text)
    own = set(STATIC_FUNCTION.findall(code))
    for names, owners, table in TABLES:
        if path in owners:
            continue
        pattern = re.compile(r"(?<![\w.>])(?<!->)(" + names.replace(" ", "|") + r")\s*\(")
        for match in pattern.finditer(code):
            if match.group(1) in own:
                continue
            yield code.count("\n", 0, match.start()) + 1, f"calls {match.group(1)}; use {table}"


def check_skips(text):
    code = code_only(text)
    for match in re.finditer(r"(?<!\w)skip\s*\(\s*\)", code):
        yield code.count("\n", 0, match.start()) + 1, "skips without a reason; use TEST_SKIP"


def check_file(path, text):
    """Problems of one file as (line, what); `path` is relative to the root."""
    yield from check_text(path, text)
    if path.endswith(".py"):
        yield from check_py_functions(text)
    elif path.endswith((".c", ".h", ".cu")):
        yield from check_c_functions(text)
        if path.startswith("src/"):
            yield from check_tables(path, text)
        if path.startswith("tests/") and path != "tests/support/test.h":
            yield from check_skips(text)


def sources(root):
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            below = file.relative_to(root / folder).parts
            hidden = any(part.startswith((".", "build")) for part in below)
            wanted = file.suffix in SUFFIXES or folder == ".ci"
            if wanted and file.is_file() and not hidden:
                yield file


def check(root):
    problems = []
    for file in sources(root):
        path = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8")
        problems += [f"{path}:{line}: {what}" for line, what in check_file(path, text)]
    return problems


if __name__ == "__main__":
    tree_check.main(__doc__, check, lambda root: f"{sum(1 for _ in sources(root))} files are tidy")
