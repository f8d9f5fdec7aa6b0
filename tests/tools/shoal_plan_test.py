"""`shoal plan`: tables, JSON, proofs, simulations, schedules, and what it says about mistakes.

Usage: shoal_plan_test.py PATH_OF_SHOAL

SPDX-License-Identifier: Apache-2.0
"""

import json
import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)


def run(*arguments):
    return subprocess.run([PROGRAM, "plan", *arguments], text=True, capture_output=True, timeout=60)


def run_json(*arguments):
    result = run(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


class Plan(unittest.TestCase):
    def test_table_marks_one_choice_and_is_sorted(self):
        result = run("allreduce", "--ranks", "8", "--bytes", "1M")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("allreduce of 1 MiB, 8 ranks", result.stdout)
        self.assertEqual(sum(line.startswith("* ") for line in result.stdout.splitlines()), 2)
        times = [line["predicted_us"] for line in run_json("allreduce", "-n8")["algorithms"]]
        self.assertEqual(times, sorted(times))
        chosen = [line["chosen"] for line in run_json("allreduce", "-n8")["algorithms"]]
        self.assertEqual(chosen, [True] + [False] * (len(chosen) - 1))

    def test_every_collective_is_proved(self):
        for collective in ("allreduce", "broadcast", "reduce", "reduce_scatter", "allgather",
                           "barrier"):
            for where in (("--ranks", "1"), ("--ranks", "7"), ("--hosts", "3x2")):
                plan = run_json(collective, *where, "--prove")
                self.assertTrue(plan["algorithms"])
                self.assertTrue(all(line["proved"] for line in plan["algorithms"]))

    def test_hosts_bring_hierarchical_algorithms(self):
        names = {line["algorithm"] for line in run_json("allreduce", "-n6")["algorithms"]}
        self.assertNotIn("hierarchical", names)
        plan = run_json("allreduce", "--hosts", "2x3")
        self.assertEqual((plan["ranks"], plan["hosts"]), (6, 2))
        self.assertIn("hierarchical", {line["algorithm"] for line in plan["algorithms"]})

    def test_counts_of_a_ring(self):
        line = run_json("allreduce", "-n4", "-b", "4K", "-a", "ring", "--chunks", "1")["algorithms"]
        self.assertEqual(len(line), 1)
        self.assertEqual((line[0]["steps"], line[0]["rounds"], line[0]["messages"]), (12, 6, 6))
        self.assertEqual(line[0]["bytes_sent"], 6 * 1024)

    def test_schedule_of_a_rank(self):
        text = run("broadcast", "-n3", "-a", "binomial", "--root", "1", "--rank", "2").stdout
        self.assertIn("recv output[0] from 1", text)
        steps = run_json("reduce", "-n2", "-a", "halving", "--chunks", "1", "-r0")["schedule"]
        reduce = [step for step in steps["steps"] if step["kind"] == "recv_reduce"]
        self.assertEqual(len(reduce), 1)
        self.assertEqual(reduce[0]["peer"], 1)
        self.assertEqual(reduce[0]["dst"]["buffer"], "output")
        self.assertTrue(reduce[0]["final"])

    def test_rank_order_leaves_algorithms_out(self):
        plan = run_json("allreduce", "-n8", "--in-rank-order")
        self.assertTrue(all(line["in_rank_order"] for line in plan["algorithms"]))

    def test_simulation_of_many_ranks(self):
        plan = run_json("allreduce", "--hosts", "64x8", "-a", "hierarchical", "--simulate",
                        "--oversubscription", "4", "--net-gbs", "12.5", "--net-us", "3")
        self.assertGreater(plan["algorithms"][0]["simulated_us"], 0)
        self.assertNotIn("simulated_us",
                         run_json("barrier", "-n", "512")["algorithms"][0])

    def test_list(self):
        self.assertIn("Traeff", run("--list").stdout)
        entries = json.loads(run("--list", "--json").stdout)
        self.assertGreater(len(entries), 20)
        self.assertTrue(all(entry["source"] for entry in entries))

    def test_mistakes_are_named(self):
        for arguments, status, text in (
                ((), 2, "name one collective"),
                (("allreduce",), 2, "for how many ranks"),
                (("alreduce", "-n4"), 2, 'did you mean "allreduce"?'),
                (("allreduce", "-n4", "-a", "rimg"), 1, 'did you mean "ring"?'),
                (("allreduce", "-n4", "-a", "leaders"), 1, "needs several hosts"),
                (("allreduce", "-n4", "-a", "ring", "--in-rank-order"), 1, "does not commute"),
                (("allreduce", "-n0"), 2, "'0' is no value"),
                (("allreduce", "-n", "four"), 2, "'four' is no value"),
                (("allreduce", "-n4", "-b", "1Q"), 2, "'1Q' is no value for --bytes"),
                (("allreduce", "-n4", "--hosts", "2y2"), 2, "'2y2' is no value for --hosts"),
                (("allreduce", "-n4", "--hosts", "3x2"), 2, "has 6 ranks, --ranks says 4"),
                (("allreduce", "-n4", "--net-us", "-1"), 2, "'-1' is no value"),
                (("broadcast", "-n4", "--root", "4"), 2, "below the rank count 4"),
                (("allreduce", "-n4", "--rank", "9"), 2, "below the rank count 4"),
                (("allreduce", "broadcast", "-n4"), 2, "name one collective"),
                (("allreduce", "-n4", "--nonsense"), 2, "nonsense"),
                (("allreduce", "-n4", "--algoritm=ring"), 2, "did you mean --algorithm?")):
            result = run(*arguments)
            self.assertEqual(result.returncode, status, (arguments, result.stderr))
            self.assertIn(text, result.stderr)
            self.assertEqual(result.stdout, "")

    def test_help(self):
        result = run("--help")
        self.assertEqual(result.returncode, 0)
        self.assertIn("usage: shoal plan", result.stdout)


if __name__ == "__main__":
    unittest.main()
