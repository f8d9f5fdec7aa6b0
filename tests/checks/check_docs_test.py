"""check_docs.py and gen_environment.py find planted differences.

SPDX-License-Identifier: Apache-2.0
"""

import pathlib
import tempfile
import unittest

import check_docs
import gen_environment

TABLE = '''/* SHL_CONFIG_KEY(in a comment) */
SHL_CONFIG_KEY(U64, spin_us, "SHOAL_SPIN_US", "50", RANGE(0, 10), LOCAL, "how long (at most)")
SHL_CONFIG_KEY(SET, transport, "SHOAL_TRANSPORT", "shm,tcp", NAMES("shm", "tcp"), AGREE,
               "what may be used, "
               "in order")
'''
STATUS = "enum shoal_status {\n    SHOAL_OK = 0,\n    SHOAL_ERR_PEER = -40, /* text */\n};\n"
ERRORS = "| `SHOAL_OK` | 0 | fine |\n| `SHOAL_ERR_PEER` | -40 | gone |\n"
PRESETS = '{"configurePresets": [{"name": "dev"}]}'


class TreeTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        self.write("src/core/config.def", TABLE)
        self.write("include/shoal/status.h", STATUS)
        self.write("docs/errors.md", ERRORS)
        self.write("docs/environment.md", gen_environment.render(TABLE))
        self.write("CMakePresets.json", PRESETS)
        self.write("tools/test.sh", "")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def assert_one_problem(self, part):
        problems = check_docs.check(self.root)
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(part, problems[0])


class CheckDocsTest(TreeTest):
    def test_a_consistent_tree_passes(self):
        text = "[errors](docs/errors.md) `tools/test.sh`\n```sh\ntools/test.sh\n```\n"
        self.write("README.md", text)
        self.assertEqual(check_docs.check(self.root), [])

    def test_dead_link(self):
        self.write("README.md", "see [this](docs/nowhere.md)\n")
        self.assert_one_problem("docs/nowhere.md: no such file")

    def test_dead_heading(self):
        self.write("docs/a.md", "# One thing: more\n")
        self.write("README.md", "[a](docs/a.md#one-thing-more) [web](https://example.org/x#y)\n")
        self.assertEqual(check_docs.check(self.root), [])
        self.write("README.md", "[a](docs/a.md#other)\n")
        self.assert_one_problem("no such heading")

    def test_named_path(self):
        self.write("docs/a.md", "read `src/core/gone.c` first\n")
        self.assert_one_problem("src/core/gone.c")

    def test_commands(self):
        self.write("README.md", "```sh\ntools/gone.sh --fast\n```\n")
        self.assert_one_problem("tools/gone.sh does not exist")
        self.write("README.md", "```sh\ncmake --preset nightly\n```\n")
        self.assert_one_problem("no preset nightly")
        self.write("README.md", "```\ntools/gone.sh\n```\n")
        self.assertEqual(check_docs.check(self.root), [])

    def test_comments_point_to_files(self):
        self.write("src/core/a.c", "/* Path: core/b.c, then a.c, <c.h>, 1.2.3.h, gone.h */\n")
        self.write("src/core/b.c", "int gone_too_c;\n")
        self.assert_one_problem("src/core/a.c: a comment points to gone.h")

    def test_programs_are_examples(self):
        self.write("README.md", "```c\nint a;\nint b;\n```\n")
        self.write("examples/a.c", "/* A comment. */\nint a;\n")
        self.assert_one_problem("the c program that begins `int a;`")
        self.write("examples/a.c", "/* A comment. */\nint a;\nint b;\n")
        self.assertEqual(check_docs.check(self.root), [])

    def test_status_without_a_row(self):
        self.write("docs/errors.md", ERRORS.replace("-40", "-41"))
        self.assert_one_problem("SHOAL_ERR_PEER")

    def test_status_that_is_none(self):
        self.write("docs/errors.md", ERRORS + "`SHOAL_ERR_GONE`\n")
        self.assert_one_problem("SHOAL_ERR_GONE is no status code")

    def test_stale_settings(self):
        self.write("src/core/config.def", TABLE.replace('"50"', '"60"'))
        self.assert_one_problem("stale")


class GenerateTest(unittest.TestCase):
    def test_rows(self):
        page = gen_environment.render(TABLE)
        self.assertIn("| `SHOAL_SPIN_US` | how long (at most) | number, 0 to 10 | `50` |  |", page)
        self.assertIn(
            "| `SHOAL_TRANSPORT` | what may be used, in order | comma list of `shm`, `tcp` "
            "| `shm,tcp` | *agree* |",
            page,
        )
        self.assertEqual(page.count("\n| `SHOAL_"), 2)

    def test_an_entry_that_cannot_be_read_is_an_error(self):
        with self.assertRaises(SystemExit):
            gen_environment.parse('SHL_CONFIG_KEY(U64, a, "unfinished)\n')


if __name__ == "__main__":
    unittest.main()
