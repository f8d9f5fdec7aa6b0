"""Hosts on one machine: network namespaces joined by a bridge through links shaped with tbf.

Needs root and iproute2. Everything is made in namespaces of its own and removed at the end.

SPDX-License-Identifier: Apache-2.0
"""

import os
import subprocess

UNITS = {"gbit": 10**9, "mbit": 10**6, "kbit": 10**3}


def bits_of(rate):
    for unit, factor in UNITS.items():
        if rate.endswith(unit):
            return float(rate[: -len(unit)]) * factor
    raise SystemExit(f"rate '{rate}' is not like 1gbit or 100mbit")


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Hosts:
    """`with Hosts(4, "1gbit") as hosts: ...`"""

    def __init__(self, count, rate):
        self.count, self.rate = count, rate
        self.bits_per_second = bits_of(rate)
        self.tag = f"shl{os.getpid() % 100000}"
        self.names = [f"{self.tag}h{i}" for i in range(count)]
        self.switch = f"{self.tag}sw"

    def __enter__(self):
        try:
            self.build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *unused):
        self.remove()

    def build(self):
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for i, name in enumerate(self.names):
            port = f"p{i}"
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            ip(
                "link",
                "add",
                "eth0",
                "netns",
                name,
                "type",
                "veth",
                "peer",
                "name",
                port,
                "netns",
                self.switch,
            )
            ip("-n", self.switch, "link", "set", port, "master", "br0", "up")
            ip("-n", name, "addr", "add", f"10.77.0.{i + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            self.shape(name, "eth0", "128k")
            self.shape(self.switch, port, "512k")

    def shape(self, name, device, burst):
        if self.bits_per_second < 5e8 and burst == "128k":
            burst = "32k"
        subprocess.run(
            [
                "tc",
                "-n",
                name,
                "qdisc",
                "add",
                "dev",
                device,
                "root",
                "tbf",
                "rate",
                self.rate,
                "burst",
                burst,
                "latency",
                "50ms",
            ],
            check=True,
        )

    def limit(self, rank, rate):
        """What a host sends, from now on."""
        words = "qdisc replace dev eth0 root tbf burst 32k latency 50ms rate"
        subprocess.run(["tc", "-n", self.names[rank], *words.split(), rate], check=True)

    def remove(self):
        for name in self.names + [self.switch]:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)

    def address(self, rank):
        return f"10.77.0.{rank + 1}"

    def enter(self, rank):
        """Words that run a command on a host, which has a host name of its own."""
        name = self.names[rank]
        inside = f'hostname {name}; exec "$@"'
        return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", inside, "sh"]

    def write_agent(self, folder):
        """A script that runs a command line on the host of an address, as ssh would."""
        path = os.path.join(folder, "agent")
        with open(path, "w", encoding="utf-8") as script:
            script.write(
                "#!/bin/sh\n"
                f'name={self.tag}h$((${{1##*.}} - 1))\n'
                "shift\n"
                'exec ip netns exec "$name" unshare --uts sh -c "hostname $name; $*"\n'
            )
        os.chmod(path, 0o755)
        return path
