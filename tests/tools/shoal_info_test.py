"""The program `shoal` and its subcommand info: exit statuses, texts, JSON, secrets, terminals.

Usage: shoal_info_test.py PATH_OF_SHOAL

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import pty
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)


def environment(**extra):
    """The caller's, without settings that would change what is tested."""
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith("SHOAL_") and k not in ("NO_COLOR", "TERM")}
    return {**kept, "TERM": "xterm", **extra}


def run(*arguments, **extra):
    return subprocess.run([PROGRAM, *arguments], env=environment(**extra), text=True,
                          capture_output=True, timeout=30)


def run_on_terminal(*arguments, **extra):
    leader, follower = pty.openpty()
    process = subprocess.Popen([PROGRAM, *arguments], env=environment(**extra), stdout=follower,
                               stderr=subprocess.DEVNULL)
    os.close(follower)
    output = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the kernel's way of saying that the last writer closed
            break
        if not part:
            break
        output += part
    os.close(leader)
    process.wait(timeout=30)
    return output.decode()


class Program(unittest.TestCase):
    def test_help_lists_the_commands(self):
        for word in ("--help", "-h", "help"):
            result = run(word)
            self.assertEqual(result.returncode, 0)
            self.assertRegex(result.stdout, r"\n  info +\S")

    def test_without_a_command_help_is_an_error(self):
        result = run()
        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stdout, "")
        self.assertIn("usage:", result.stderr)

    def test_version(self):
        result = run("--version")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"^shoal \d+\.\d+\.\d+\n$")

    def test_unknown_words_get_a_suggestion(self):
        for word, kind in (("inof", "command"), ("--infp", "option")):
            result = run(word)
            self.assertEqual(result.returncode, 2)
            self.assertIn(f"unknown {kind} '{word}'", result.stderr)
        self.assertIn("did you mean 'info'?", run("inof").stderr)
        self.assertIn("`shoal --help`", run("xyzzyxyzzy").stderr)


class Info(unittest.TestCase):
    def info(self, **extra):
        result = run("info", "--json", **extra)
        return result, json.loads(result.stdout)

    def test_json_has_every_section(self):
        result, info = self.info()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(list(info), ["configuration", "build", "host", "topology", "limits",
                                      "interfaces", "rdma", "abilities"])
        self.assertGreaterEqual(info["topology"]["usable_cpus"], 1)
        self.assertEqual(info["build"]["version"], run("--version").stdout.split()[1])
        self.assertIn("f32", info["build"]["kernels"])
        self.assertIn("lo", info["interfaces"])
        self.assertEqual(info["host"]["name"], os.uname().nodename)
        for name, port in info["rdma"].items():
            self.assertTrue(name == "none" or port["reason"])
        for ability in info["abilities"].values():
            self.assertIn(ability["works"], (True, False))
            self.assertTrue(ability["detail"])

    def test_json_has_every_key_with_its_source(self):
        _, info = self.info(SHOAL_TIMEOUT_MS="5000")
        keys = {line["key"]: line for line in info["configuration"]["keys"]}
        self.assertEqual(keys["SHOAL_TIMEOUT_MS"]["value"], "5000")
        self.assertEqual(keys["SHOAL_TIMEOUT_MS"]["source"], "environment")
        self.assertEqual(keys["SHOAL_JOB"]["source"], "default")
        self.assertTrue(all(line["help"] for line in keys.values()))

    def test_text_has_the_same_sections(self):
        result = run("info")
        self.assertEqual(result.returncode, 0, result.stderr)
        for title in ("configuration", "build", "host", "topology", "limits", "interfaces",
                      "abilities"):
            self.assertIn(f"{title}\n", result.stdout)
        self.assertRegex(result.stdout, r"SHOAL_TRANSPORT +shm,tcp +default +\S")

    def test_values_from_a_file_name_its_line(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("# nothing\njob: mine\n")
            file.flush()
            _, info = self.info(SHOAL_CONFIG_FILE=file.name)
            lines = {line["key"]: line for line in info["configuration"]["keys"]}
            self.assertEqual(lines["SHOAL_JOB"]["source"], f"{file.name}:2")

    def test_a_bad_configuration_is_named_and_the_rest_still_printed(self):
        for arguments in (["info"], ["info", "--json"]):
            result = run(*arguments, SHOAL_TIMEOUT="5")
            self.assertEqual(result.returncode, 1)
            self.assertIn("did you mean SHOAL_TIMEOUT_MS?", result.stderr)
            self.assertIn("SHOAL_TIMEOUT", result.stdout)
            self.assertIn("usable_cpus", result.stdout)

    def test_a_bad_algorithm_is_named(self):
        result = run("info", SHOAL_ALGORITHM="allreduce=rign")
        self.assertEqual(result.returncode, 1)
        self.assertIn("SHOAL_ALGORITHM: \"rign\" is no algorithm", result.stderr)

    def test_an_unknown_option_gets_a_suggestion(self):
        result = run("info", "--josn")
        self.assertEqual(result.returncode, 2)
        self.assertIn("shoal info: unrecognized option '--josn'", result.stderr)
        self.assertIn("did you mean --json?", result.stderr)

    def test_secrets_are_never_printed(self):
        for arguments in (["info"], ["info", "--json"]):
            result = run(*arguments, SHOAL_SECRET="hunter2")
            self.assertEqual(result.returncode, 0)
            self.assertNotIn("hunter2", result.stdout + result.stderr)
        _, info = self.info(SHOAL_SECRET="hunter2")
        secrets = [line["value"] for line in info["configuration"]["keys"]
                   if line["key"] == "SHOAL_SECRET"]
        self.assertEqual(secrets, ["set"])
        result = run("info", SHOAL_SECRTE="hunter2")
        self.assertEqual(result.returncode, 1)
        self.assertNotIn("hunter2", result.stdout + result.stderr)

    def test_bytes_that_are_not_utf8_do_not_break_json(self):
        variables = {os.fsencode(k): os.fsencode(v) for k, v in environment().items()}
        variables[b"SHOAL_JOB"] = b"\xff\xfe"
        result = subprocess.run([PROGRAM, "info", "--json"], env=variables, capture_output=True,
                                timeout=30)
        self.assertEqual(result.returncode, 0)
        keys = {line["key"]: line for line in json.loads(result.stdout)["configuration"]["keys"]}
        self.assertEqual(keys["SHOAL_JOB"]["value"], "(not UTF-8)")

    def test_colour_only_on_a_terminal(self):
        self.assertNotIn("\033", run("info").stdout)
        self.assertIn("\033[1m", run_on_terminal("info"))
        self.assertNotIn("\033", run_on_terminal("info", NO_COLOR="1"))
        self.assertNotIn("\033", run_on_terminal("info", TERM="dumb"))
        json.loads(run_on_terminal("info", "--json"))

    def test_wrong_usage(self):
        self.assertEqual(run("info", "--bogus").returncode, 2)
        self.assertEqual(run("info", "extra").returncode, 2)
        self.assertEqual(run("info", "--help").returncode, 0)

    def test_a_full_disk_is_a_failure(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([PROGRAM, "info"], env=environment(), stdout=full,
                                    stderr=subprocess.PIPE, timeout=30)
        self.assertEqual(result.returncode, 1)


if __name__ == "__main__":
    unittest.main()
