"""check_layers.py finds planted violations and lets the allowed forms pass.

SPDX-License-Identifier: Apache-2.0
"""

import pathlib
import tempfile
import unittest

import check_layers


def problems_of(files):
    """Problems in a tree made of {path: text}."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return check_layers.check(root)


class CheckLayersTest(unittest.TestCase):
    def assert_allowed(self, path, include):
        self.assertEqual(problems_of({path: f"#include {include}\n"}), [])

    def assert_refused(self, path, include, because):
        problems = problems_of({path: f"\n#include {include}\n"})
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(because, problems[0])
        self.assertTrue(problems[0].startswith(f"{path}:2: "), problems[0])

    def test_downward_is_allowed(self):
        self.assert_allowed("src/api/comm.c", '"engine/engine.h"')
        self.assert_allowed("src/engine/loop.c", '"transport/transport.h"')
        self.assert_allowed("src/transport/tcp/dial.c", '"control/control.h"')
        self.assert_allowed("src/core/log.c", '"core/log.h"')

    def test_upward_is_refused(self):
        self.assert_refused("src/core/log.c", '"engine/engine.h"', "lies above")
        self.assert_refused("src/control/a.c", '"transport/transport.h"', "lies above")
        self.assert_refused("src/transport/shm/a.c", '"api/comm.h"', "lies above")

    def test_siblings_are_refused_except_the_rank_map(self):
        self.assert_refused("src/transport/shm/a.c", '"device/reduce.h"', "siblings")
        self.assert_refused("src/collectives/a.c", '"topology/probe.h"', "siblings")
        self.assert_allowed("src/collectives/a.c", '"topology/rank_map.h"')
        self.assert_refused("src/device/a.c", '"topology/rank_map.h"', "siblings")

    def test_one_transport_never_includes_another(self):
        self.assert_refused("src/transport/tcp/a.c", '"transport/shm/ring.h"', "transport shm")
        self.assert_allowed("src/transport/tcp/a.c", '"transport/tcp/frame.h"')
        self.assert_allowed("src/transport/tcp/a.c", '"transport/group.h"')
        self.assert_allowed("src/transport/registry.c", '"transport/shm/ring.h"')

    def test_sockets(self):
        for name in ("sys/socket.h", "netinet/tcp.h", "ifaddrs.h", "sys/un.h", "netdb.h"):
            header = f"<{name}>"
            self.assert_refused("src/transport/shm/a.c", header, "belongs only in")
            self.assert_refused("src/elastic/a.c", header, "belongs only in")
            self.assert_allowed("src/control/a.c", header)
            self.assert_allowed("src/transport/tcp/a.c", header)

    def test_devices_and_libraries(self):
        self.assert_refused("src/device/a.c", "<infiniband/verbs.h>", "transport/verbs")
        self.assert_allowed("src/transport/verbs/a.c", "<infiniband/verbs.h>")
        self.assert_refused("src/transport/verbs/a.c", "<cuda.h>", "src/device")
        self.assert_allowed("src/device/cuda.c", "<cuda_runtime.h>")
        self.assert_refused("src/core/a.c", "<openssl/hmac.h>", "src/control")
        self.assert_refused("src/core/a.c", "<hwloc.h>", "src/topology")

    def test_programs_see_only_public_headers(self):
        self.assert_refused("bench/allreduce_bench.c", '"core/log.h"', "public headers")
        self.assert_refused("examples/a.c", '"engine/engine.h"', "public headers")
        self.assert_allowed("bench/allreduce_bench.c", "<shoal/shoal.h>")
        self.assert_allowed("bench/report.c", '"report.h"')
        self.assert_allowed("bench/reduce_bench.c", '"device/reduce.h"')
        self.assert_allowed("bench/allreduce_bound.c", '"core/sys.h"')

    def test_cni_sees_topology_and_core(self):
        self.assert_allowed("cni/main.c", '"topology/probe.h"')
        self.assert_refused("cni/main.c", '"engine/engine.h"', "cni sees only")

    def test_doctor_tries_devices_by_the_probe_only(self):
        self.assert_allowed("cni/doctor_probe.c", '"transport/verbs/verbs_probe.h"')
        self.assert_allowed("cni/inventory_verbs.c", '"transport/verbs/verbs_port.h"')
        self.assert_refused("cni/doctor_probe.c", '"transport/verbs/verbs_sys.h"', "cni sees only")
        self.assert_refused("cni/main.c", '"transport/verbs/verbs_probe.h"', "cni sees only")

    def test_public_headers_need_no_more_than_c(self):
        self.assert_allowed("include/shoal/a.h", "<shoal/types.h>")
        self.assert_refused("include/shoal/a.h", "<sys/types.h>", "no more than C")
        self.assert_refused("include/shoal/version.h.in", '"core/log.h"', "no more than C")

    def test_relative_and_unknown_paths(self):
        self.assert_refused("src/core/a.c", '"../engine/engine.h"', "neither")
        self.assert_refused("src/misc/a.c", '"core/log.h"', "no such layer")
        self.assert_refused("src/core/a.c", '  "engine/e.h"  /* comment */', "lies above")

    def test_spaced_directives_count(self):
        problems = problems_of({"src/core/a.c": "  #  include   <sys/socket.h>\n"})
        self.assertEqual(len(problems), 1)


if __name__ == "__main__":
    unittest.main()
