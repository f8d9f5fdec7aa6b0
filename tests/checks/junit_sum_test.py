"""junit_sum.py counts what ctest wrote; the sample is in ctest's own form.

SPDX-License-Identifier: Apache-2.0
"""

import unittest

import junit_sum

SAMPLE = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="(empty)" tests="6" failures="2" disabled="1" skipped="2">
  <testcase name="good" classname="good" time="0.1" status="run">
    <system-out>[ RUN      ] reads_peer
process_vm_readv is not permitted
[  SKIPPED ] reads_peer
[ RUN      ] other
[       OK ] other
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] reads_peer
</system-out>
  </testcase>
  <testcase name="bad" classname="bad" time="0.1" status="fail">
    <failure message=""/><system-out>\x1b[31mno\x1b[0m</system-out>
  </testcase>
  <testcase name="skips" classname="skips" time="0.1" status="notrun">
    <skipped message="SKIP_RETURN_CODE=77"/><system-out>first
no second node here

</system-out>
  </testcase>
  <testcase name="gone" classname="gone" time="0" status="notrun">
    <skipped message="Unable to find executable"/><system-out>Unable to find it</system-out>
  </testcase>
  <testcase name="off" classname="off" time="0" status="disabled"><system-out/></testcase>
</testsuite>
"""


class JunitSumTest(unittest.TestCase):
    def test_sample(self):
        summary = junit_sum.summarize(SAMPLE)
        self.assertEqual(summary.passed, ["good"])
        self.assertEqual(list(summary.failed), ["bad", "gone"])
        self.assertEqual(
            summary.skipped,
            [
                ("good/reads_peer", "process_vm_readv is not permitted"),
                ("skips", "no second node here"),
                ("off", "disabled"),
            ],
        )

    def test_a_silent_skip_says_so(self):
        text = '<s><testcase name="a" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>'
        summary = junit_sum.summarize(text + "<system-out/></testcase></s>")
        self.assertEqual(summary.skipped, [("a", "no reason given")])

    def test_a_second_attempt_counts_and_is_named(self):
        first = junit_sum.Summary(["a"], {"b": "late", "c": "wrong"}, [])
        second = junit_sum.Summary(["b"], {"c": "wrong"}, [])
        passed, failed, _, unsteady = junit_sum.merge([first], [second])
        self.assertEqual((passed, failed, unsteady), (2, [("c", "wrong")], [("b", "late")]))

    def test_the_excerpt_has_the_errors_and_the_end(self):
        lines = ["ERROR: 1 is not 2"] + ["more"] * 20 + ["[  FAILED  ] that_test", "1 FAILED"]
        found = junit_sum.excerpt("\n".join(lines))
        self.assertEqual(found[0], lines[0])
        self.assertEqual(found[-2:], lines[-2:])
        self.assertLess(len(found), 17)

    def test_what_a_sanitizer_found_gets_no_second_attempt(self):
        found = "x.c:3\nWARNING: ThreadSanitizer: data race"
        part = junit_sum.Summary([], {"race": found, "a.b": "late", "c": "x"}, [])
        self.assertEqual(junit_sum.worth_another(part), r"^(a\.b|c)$")
        self.assertEqual(junit_sum.worth_another(junit_sum.Summary([], {"race": found}, [])), "")


if __name__ == "__main__":
    unittest.main()
