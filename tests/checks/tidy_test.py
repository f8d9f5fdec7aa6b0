"""tidy.py finds planted violations and nothing in tidy files.

SPDX-License-Identifier: Apache-2.0
"""

import unittest

import tidy

LICENCE = "SPDX-License-Identifier: Apache-2.0"
HEADER = f"/*\n * A file.\n *\n * {LICENCE}\n */\n"


def problems(text, path="src/core/a.c"):
    return [what for _, what in tidy.check_file(path, text)]


def lines_of(text, path="src/core/a.c"):
    return [line for line, _ in tidy.check_file(path, text)]


class TextRulesTest(unittest.TestCase):
    def test_a_tidy_file_passes(self):
        self.assertEqual(problems(HEADER + "int a(void)\n{\n    return 1;\n}\n"), [])

    def test_licence(self):
        self.assertIn("no SPDX", problems("int a;\n")[0])

    def test_whitespace(self):
        self.assertEqual(problems(HEADER + "\tint a;\n"), ["tab"])
        self.assertEqual(problems(HEADER + "int a; \n"), ["blanks at the end of the line"])
        self.assertEqual(problems(HEADER + "int a;\r\n"), ["blanks at the end of the line"])
        self.assertIn("newline", problems(HEADER + "int a;")[0])
        self.assertIn("newline", problems(HEADER + "int a;\n\n")[0])

    def test_columns(self):
        self.assertEqual(problems(HEADER + "/" + "/" * 99 + "\n"), [])
        self.assertIn("101 columns", problems(HEADER + "/" * 101 + "\n")[0])

    def test_unfinished_work(self):
        word = "TO" + "DO"
        self.assertIn("unfinished", problems(HEADER + f"/* {word}: later */\n")[0])
        self.assertEqual(problems(HEADER + f"int {word}S;\n"), [])

    def test_file_length(self):
        filler = "int a;\n" * (tidy.FILE_LINES_MAX - 5)
        self.assertEqual(problems(HEADER + filler), [])
        self.assertIn("801 lines", problems(HEADER + filler + "int b;\n")[0])


class FunctionLengthTest(unittest.TestCase):
    def test_c(self):
        body = "    a++;\n" * (tidy.FUNCTION_LINES_MAX - 2)
        self.assertEqual(problems(HEADER + "void f(void)\n{\n" + body + "}\n"), [])
        long = problems(HEADER + "void f(void)\n{\n" + body + "    a++;\n}\n")
        self.assertIn("function of 71 lines", long[0])

    def test_c_structs_do_not_count(self):
        members = "    int a;\n" * 100
        self.assertEqual(problems(HEADER + "struct s {\n" + members + "};\n"), [])

    def test_python(self):
        body = "    a = 1\n" * tidy.FUNCTION_LINES_MAX
        text = f'"""{LICENCE}"""\n\n\ndef f():\n{body}'
        self.assertIn("f has 71 lines", problems(text, "tools/a.py")[0])


class TablesTest(unittest.TestCase):
    def in_function(self, statement):
        return HEADER + "void f(void)\n{\n    " + statement + "\n}\n"

    def test_bare_calls_are_found(self):
        for call, table in (
            ("p = malloc(4);", "shl_mem"),
            ("free (p);", "shl_mem"),
            ("x = (int *)mmap(a);", "shl_mem"),
            ("if (!clock_gettime(a))", "shl_time"),
            ("getrandom(a);", "shl_random"),
            ("close(fd);", "shl_fd"),
            ("sendmsg(fd);", "sock.h"),
            ("exit(1);", "a library"),
            ('printf("x");', "a library"),
        ):
            found = problems(self.in_function(call))
            self.assertEqual(len(found), 1, call)
            self.assertIn(table, found[0])
        self.assertEqual(lines_of(self.in_function("free(p);")), [8])

    def test_tables_names_and_text_are_no_calls(self):
        for call in (
            "shl_mem->free(p);",
            "sys.close(fd);",
            "shl_heap_free(heap);",
            'shl_fail("malloc(%d) failed");',
            "/* free(p) is the caller's */",
            "int free_bytes;",
            "fprintf(file);",
            "t = now.time;",
        ):
            self.assertEqual(problems(self.in_function(call)), [], call)

    def test_a_static_of_the_same_name_is_no_call(self):
        text = HEADER + "static int bind(int a)\n{\n    return a;\n}\n\nint b(void)\n{\n"
        self.assertEqual(problems(text + "    return bind(1);\n}\n"), [])
        self.assertEqual(len(problems(text + "    return listen(1);\n}\n")), 1)

    def test_skips_give_a_reason(self):
        path = "tests/unit/core/a_test.c"
        self.assertIn("reason", problems(self.in_function("skip();"), path)[0])
        self.assertEqual(problems(self.in_function('TEST_SKIP("why");'), path), [])

    def test_the_tables_themselves_and_other_folders_may_call(self):
        text = self.in_function("p = malloc(4);")
        self.assertEqual(problems(text, "src/core/sys.c"), [])
        self.assertEqual(problems(text, "tests/unit/core/a_test.c"), [])
        self.assertEqual(len(problems(text, "src/control/sock.c")), 1)


if __name__ == "__main__":
    unittest.main()
