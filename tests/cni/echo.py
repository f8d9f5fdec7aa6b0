#!/usr/bin/env python3
"""Bytes go from one pod to the other and back: run in the network namespace of the first, a child
in that of the second answers.

Usage: echo.py OWN_ADDRESS PEER_ADDRESS PEER_NAMESPACE

SPDX-License-Identifier: Apache-2.0
"""

import socket
import subprocess
import sys

ANSWER = """
import socket, sys
server = socket.create_server((sys.argv[1], 29600))
server.settimeout(20)
print("ready", flush=True)
peer, _ = server.accept()
peer.settimeout(20)
data = b""
while len(data) < 200000:
    part = peer.recv(65536)
    if not part:
        break
    data += part
peer.sendall(data)
"""


def main():
    own, peer, space = sys.argv[1:]
    command = ["ip", "netns", "exec", space, sys.executable, "-c", ANSWER, peer]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        sent, got = bytes(range(200)) * 1000, b""
        with socket.create_connection((peer, 29600), 20, (own, 0)) as link:
            link.sendall(sent)
            while len(got) < len(sent):
                part = link.recv(65536)
                if not part:
                    break
                got += part
        child.wait(20)
    sys.exit(0 if got == sent else "what came back is not what was sent")


if __name__ == "__main__":
    main()
