# shellcheck shell=bash
# Two hosts on this machine: network namespaces joined by a cable, with one address each. A script
# sources this, sets its trap for clean_up, and calls two_hosts.
#
# SPDX-License-Identifier: Apache-2.0

# two_hosts PREFIX NETWORK: PREFIX0 has NETWORK.1 on its eth0, PREFIX1 has NETWORK.2. Returns when
# both interfaces have a carrier: without one they are no address to publish and no device.
two_hosts() {
    local prefix=$1 network=$2 host
    ip netns add "${prefix}0"
    ip netns add "${prefix}1"
    ip link add eth0 netns "${prefix}0" type veth peer name eth0 netns "${prefix}1"
    for host in 0 1; do
        ip -n "$prefix$host" address add "$network.$((host + 1))/24" dev eth0
        ip -n "$prefix$host" link set eth0 up
        ip -n "$prefix$host" link set lo up
    done
    for host in 0 1; do
        for _ in $(seq 100); do
            ip -n "$prefix$host" link show eth0 | grep -q "state UP" && continue 2
            sleep 0.05
        done
        echo "$prefix$host has no carrier after 5 s" >&2
        return 1
    done
}

# two_hosts_remove PREFIX: what two_hosts made; nothing when it made nothing.
two_hosts_remove() {
    ip netns delete "${1}0" 2>/dev/null || true
    ip netns delete "${1}1" 2>/dev/null || true
}

# new_secret FILE: a secret of a job, readable by its owner only.
new_secret() {
    (umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$1")
}
