"""check_symbols.py reads headers and symbol tables as the compiler and linker wrote them.

SPDX-License-Identifier: Apache-2.0
"""

import unittest

import check_symbols

HEADER = """
#define SHOAL_API __attribute__((visibility("default")))
/* SHOAL_API int shoal_in_a_comment(void); */
#define SHOAL_TWICE(x) \\
    SHOAL_API shoal_in_a_macro(x)
SHOAL_API enum shoal_status shoal_plan(struct shoal_comm *comm,
                                       void (*line)(void *arg));
SHOAL_API const char *shoal_dtype_string(enum shoal_dtype dtype); /* "f32" */
typedef void (*shoal_reduce_fn)(const void *a);
int shoal_without_mark(void);
"""

NM = """0000000000001020 T shoal_plan@@SHOAL_0.1
0000000000001030 T shoal_dtype_string
0000000000000000 A SHOAL_0.1
0000000000002000 D leaked_table
"""


class CheckSymbolsTest(unittest.TestCase):
    def test_declared(self):
        self.assertEqual(check_symbols.declared(HEADER), {"shoal_plan", "shoal_dtype_string"})

    def test_exported(self):
        self.assertEqual(
            check_symbols.exported(NM), {"shoal_plan", "shoal_dtype_string", "leaked_table"}
        )


if __name__ == "__main__":
    unittest.main()
