#!/usr/bin/env bash
# What `generate` writes is executed by the real CNI plugins of Debian's
# containernetworking-plugins, as a runtime would: two pods of each stack get their links and
# addresses, traffic flows between them, and DEL gives everything back. "Nodes" and "pods" are
# network namespaces of this test.
#
# Left out of what runs: rdma, sriov, ib-sriov and ipoib, which need devices and are not packaged;
# an ipvlan module that the kernel lacks is said and skipped. With STACK only that one is executed,
# and has to be: so ipvlan runs in the RDMA guest, whose kernel has it.
#
# Usage: plugins_test.sh PROGRAM [macvlan|ipvlan]
#
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1
only=${2:-}
plugins=${CNI_PATH:-/usr/lib/cni}
cd "$(dirname "$0")"

skip() {
    echo "$*"
    exit 77
}

[ -x "$plugins/macvlan" ] ||
    skip "no plugins in $plugins; on Debian: apt-get install containernetworking-plugins"
[ "$(id -u)" = 0 ] || skip "network namespaces need root"
for tool in ip jq; do
    command -v "$tool" >/dev/null || skip "$tool is not installed (apt-get install iproute2 jq)"
done
python3 -c 'import yaml' 2>/dev/null ||
    skip "PyYAML is not installed (apt-get install python3-yaml)"
prefix=shlcni$$
ip netns add "$prefix-node" 2>/dev/null || skip "no network namespaces here"
work=$(mktemp -d)

clean_up() {
    local space
    for space in node a b; do
        ip netns del "$prefix-$space" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
failures=0

complain() {
    echo "$*"
    failures=$((failures + 1))
}

in_node() {
    ip netns exec "$prefix-node" "$@"
}

# A node with a port, and what lies behind it: a bridge with a second port, that host-device takes.
in_node ip link set lo up
in_node ip link add port0 type veth peer name behind0
in_node ip link add port1 type veth peer name behind1
in_node ip link add switch type bridge
for link in behind0 behind1; do
    in_node ip link set "$link" master switch
done
for link in port0 port1 behind0 behind1 switch; do
    in_node ip link set "$link" up
done
ip netns add "$prefix-a"
ip netns add "$prefix-b"

# Runs the plugins of a configuration list: each gets the result of the one before it.
run_chain() { # ADD|DEL namespace id interface list
    local command=$1 count i order result=null
    count=$(jq '.plugins | length' "$5")
    order=$(seq 0 $((count - 1)))
    [ "$command" = ADD ] || order=$(seq $((count - 1)) -1 0)
    for i in $order; do
        # IPAM keeps its state in the test's own folder.
        jq --argjson i "$i" --argjson previous "$result" --arg data "$work/ipam" '
            . as $list | .plugins[$i] + {cniVersion, name: $list.name}
            | if .ipam then .ipam.dataDir = $data else . end
            | if $previous then .prevResult = $previous else . end' "$5" >"$work/stdin"
        result=$(CNI_COMMAND=$command CNI_CONTAINERID=$3 CNI_IFNAME=$4 CNI_PATH=$plugins \
            CNI_NETNS=/var/run/netns/$prefix-$2 ip netns exec "$prefix-node" \
            "$plugins/$(jq -r .type "$work/stdin")" <"$work/stdin" 2>"$work/error") || {
            cat "$work/error"
            printf '%s\n' "$result"
            return 1
        }
        [ -n "$result" ] || result=null
    done
    printf '%s\n' "$result" >"$work/result"
}

address_of() { # namespace interface
    ip -n "$prefix-$1" -j addr show dev "$2" |
        jq -r '.[0].addr_info[] | select(.scope == "global").local'
}

ping_each_other() { # stack interface
    local a b
    a=$(address_of a "$2")
    b=$(address_of b "$2")
    if [ -z "$a" ] || [ -z "$b" ] || [ "$a" = "$b" ]; then
        complain "$1: the addresses are '$a' and '$b'"
    elif ! ip netns exec "$prefix-a" python3 echo.py "$a" "$b" "$prefix-b"; then
        complain "$1: no traffic from $a to $b"
    fi
}

# The configuration of rail N, as JSON.
config_of() { # objects number
    python3 -c '
import sys, yaml
nets = [o for o in yaml.safe_load_all(open(sys.argv[1]))
        if o["kind"] == "NetworkAttachmentDefinition"]
print(nets[int(sys.argv[2])]["spec"]["config"])' "$1" "$2"
}

intent() { # stack port... (of rails)
    local stack=$1 names
    shift
    names=$(IFS=,; echo "$*")
    cat <<END
apiVersion: shoal.dev/v1alpha1
kind: RdmaIntent
metadata: {name: real}
spec:
  stack: $stack
  rails: {select: {pfNames: [$names]}}
  mtu: 1400
  ipam: {type: host-local, cidr: 10.77.0.0/16, perRailPrefix: 24}
END
}

expect_stack() { # stack
    local pod
    intent "$1" port0 >"$work/intent.yaml"
    "$program" generate -i "$work/intent.yaml" >"$work/objects.yaml" || complain "$1: no objects"
    config_of "$work/objects.yaml" 0 >"$work/list.json"
    for pod in a b; do
        run_chain ADD "$pod" "$1-$pod" net1 "$work/list.json" || {
            complain "$1: ADD in pod $pod failed"
            return
        }
    done
    [ "$(ip -n "$prefix-a" -j link show dev net1 | jq '.[0].mtu')" = 1400 ] || complain "$1: mtu"
    ping_each_other "$1" net1
    for pod in a b; do
        run_chain DEL "$pod" "$1-$pod" net1 "$work/list.json" || complain "$1: DEL failed"
        if ip -n "$prefix-$pod" link show dev net1 >/dev/null 2>&1; then
            complain "$1: DEL left the link"
        fi
    done
}

# Two rails with tuning: an interface answers for its own address only.
expect_rails() {
    local rail
    intent macvlan port0 port1 >"$work/intent.yaml"
    "$program" generate -i "$work/intent.yaml" >"$work/objects.yaml"
    for rail in 0 1; do
        config_of "$work/objects.yaml" "$rail" >"$work/rail$rail.json"
        run_chain ADD a "rails-a$rail" "net$rail" "$work/rail$rail.json" || complain "rail $rail"
        [ "$(ip netns exec "$prefix-a" cat "/proc/sys/net/ipv4/conf/net$rail/arp_ignore")" = 1 ] ||
            complain "rail $rail: tuning did not set arp_ignore"
    done
    run_chain ADD b rails-b net1 "$work/rail1.json" || complain "rail 1 in the other pod"
    ping_each_other rails net1
    for rail in 0 1; do
        run_chain DEL a "rails-a$rail" "net$rail" "$work/rail$rail.json" || complain "DEL $rail"
    done
    run_chain DEL b rails-b net1 "$work/rail1.json" || complain "DEL in the other pod"
}

# Whole ports: what the device plugin would inject stands in the configuration.
expect_whole_ports() {
    local pod port=0
    intent host-device port0 port1 >"$work/intent.yaml"
    "$program" generate -i "$work/intent.yaml" >"$work/objects.yaml"
    for pod in a b; do
        config_of "$work/objects.yaml" 0 | jq --arg port "port$port" \
            '.plugins[0].device = $port' >"$work/list$port.json"
        run_chain ADD "$pod" "whole-$pod" net1 "$work/list$port.json" || complain "whole port $port"
        port=1
    done
    in_node ip link show dev port0 >/dev/null 2>&1 && complain "the port is still on the node"
    ping_each_other host-device net1
    run_chain DEL a whole-a net1 "$work/list0.json" || complain "host-device: DEL failed"
    run_chain DEL b whole-b net1 "$work/list1.json" || complain "host-device: DEL failed"
    in_node ip link show dev port0 >/dev/null || complain "the port did not come back"
}

has_kind() {
    ip -n "$prefix-node" link add probe link port0 type "$1" 2>/dev/null || return 1
    ip -n "$prefix-node" link del probe
}

if [ -n "$only" ]; then
    has_kind "$only" || complain "this kernel has no $only"
    [ "$failures" != 0 ] || expect_stack "$only"
    [ "$failures" = 0 ]
    exit
fi
for stack in macvlan ipvlan; do
    if has_kind "$stack"; then
        expect_stack "$stack"
    else
        echo "this kernel has no $stack: not executed"
    fi
done
has_kind macvlan && expect_rails
expect_whole_ports

# What the tutorial's attachment and an unknown key become, in the words of the plugins themselves.
echo '{"cniVersion": "1.0.0", "name": "x",
    "plugins": [{"type": "macvlan", "master": "port0", "mode": "datagram"}]}' >"$work/wrong.json"
if has_kind macvlan && run_chain ADD a wrong net9 "$work/wrong.json" >"$work/said"; then
    complain "macvlan took mode datagram"
elif has_kind macvlan && ! grep -q 'unknown macvlan mode' "$work/said"; then
    complain "macvlan refused for another reason: $(cat "$work/said")"
fi
"$program" validate -q "$work/wrong.json" >"$work/report" && complain "validate let it pass"
grep -q '"datagram" is none of bridge' "$work/report" || complain "$(cat "$work/report")"
[ "$failures" = 0 ]
