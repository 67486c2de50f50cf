#!/usr/bin/env bash
# Two hosts, two gateways of Warren between them, and pktgen on the hosts: what passes through a tunnel, counted and timed.
#
#   host A 10.1.0.10 ── gateway 1 ══ ESP ══ gateway 2 ── 10.2.0.10 host B
#   pktgen send                                          pktgen receive
#
# Everything is in network namespaces of its own, which go at the end. `warrend`, `dpctl` and `pktgen` are taken from PATH.
# Arguments are given to `pktgen send`:
#
#   measure-in-namespaces.sh --rate 20kpps --seconds 5 --size imix --flows 50
set -euo pipefail

[ "$(id -u)" -eq 0 ] || { echo "measure-in-namespaces: must be run as root" >&2; exit 1; }
for program in warrend dpctl pktgen ip; do
    command -v "$program" >/dev/null || { echo "measure-in-namespaces: $program is not in PATH" >&2; exit 1; }
done

run=$(mktemp -d)
prefix=wm_$$_
gateways=()

in_space() {
    local space=$1
    shift
    ip netns exec "$prefix$space" "$@"
}

clean_up() {
    trap - EXIT INT TERM
    [ ${#gateways[@]} -eq 0 ] || kill "${gateways[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    for space in a g1 g2 b; do ip netns del "$prefix$space" 2>/dev/null || true; done
    rm -rf "$run"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

cable() { # namespace interface address, twice
    ip link add "$2" netns "$prefix$1" type veth peer name "$5" netns "$prefix$4"
    in_space "$1" ip address add "$3" dev "$2"
    in_space "$4" ip address add "$6" dev "$5"
    in_space "$1" ip link set "$2" up
    in_space "$4" ip link set "$5" up
}

gateway() { # number of this one, of the other
    mkdir "$run/$1"
    cp "$run/key" "$run/$1/peer.psk"
    cat >"$run/$1/gw.toml" <<END
[gateway]
control_socket = "$run/$1/socket"

[[port]]
interface = "lan"
side = "inside"

[[port]]
interface = "wan"
side = "outside"

[[peer]]
name = "other"
ike = "v1-main"
local = "198.51.100.$1"
address = "198.51.100.$2"
secret = "peer.psk"

[[transport]]
name = "between"
source = ["10.1.0.0/16", "10.2.0.0/16"]
destination = ["10.1.0.0/16", "10.2.0.0/16"]
action = "permit"

[[tunnel]]
name = "sites"
source = "10.$1.0.0/16"
destination = "10.$2.0.0/16"
peer = "other"
END
    ip netns exec "${prefix}g$1" warrend "$run/$1/gw.toml" >"$run/$1/log" 2>&1 &
    gateways+=($!)
}

for space in a g1 g2 b; do
    ip netns add "$prefix$space"
    in_space "$space" ip link set lo up
done
cable a eth0 10.1.0.10/24 g1 lan 10.1.0.1/24
cable b eth0 10.2.0.10/24 g2 lan 10.2.0.1/24
cable g1 wan 198.51.100.1/24 g2 wan 198.51.100.2/24
in_space a ip route add default via 10.1.0.1
in_space b ip route add default via 10.2.0.1
in_space g1 ip route add 10.2.0.0/16 via 198.51.100.2
in_space g2 ip route add 10.1.0.0/16 via 198.51.100.1
# Full frames with what ESP adds, so that nothing is fragmented.
for end in g1 g2; do in_space "$end" ip link set wan mtu 1600; done

dpctl psk new --out "$run/key"
gateway 1 2
gateway 2 1
for number in 1 2; do
    for _ in $(seq 100); do
        [ -S "$run/$number/socket" ] && break
        sleep 0.1
    done
done
dpctl --socket "$run/1/socket" tunnel up sites --wait || { cat "$run"/*/log >&2; exit 1; }

# The first packets of all wait for Ethernet addresses, and few have room to wait. That is not what is measured.
in_space a pktgen send --out eth0 --to 10.2.0.10 --count 1 >/dev/null
sleep 1

in_space b pktgen receive --in eth0 --take-local --seconds 3600 --idle 3 &
sink=$!
sleep 1
in_space a pktgen send --out eth0 --to 10.2.0.10 "$@"
wait "$sink"
dpctl --socket "$run/1/socket" drops
dpctl --socket "$run/2/socket" drops
