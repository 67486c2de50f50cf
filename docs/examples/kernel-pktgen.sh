#!/usr/bin/env bash
# Sends UDP packets with the kernel's own generator (the module pktgen), one thread for each core, and shows what each sent.
#
#   kernel-pktgen.sh --out eth1 --mac 02:00:00:00:00:02 --to 10.2.0.1-10.2.0.254 [options]
#
# Sizes count the whole Ethernet frame with its check sequence, as in RFC 2544 and in tools/pktgen. The module is told four
# octets less. It sends and counts nothing that comes back: docs/pktgen.md says how to count at the other end.
set -euo pipefail

out='' mac='' to='' from='' size=64 to_ports=9 from_ports=1024-65535
threads=1 first_core=0 rate='' delay='' seconds=10 count=0 clone=0 burst=1 checksum=''
# Another directory lets a test read what would be written.
pktgen=${PKTGEN_DIR:-/proc/net/pktgen}

usage() {
    cat <<'END'
Usage: kernel-pktgen.sh --out INTERFACE --mac MAC --to ADDRESSES [options], as root

  --out INTERFACE       interface to send by
  --mac MAC             Ethernet address of the next hop (the gateway's port)
  --to ADDRESSES        destination, or first-last; IPv4 or IPv6
  --from ADDRESSES      source, or first-last (if not said, the interface's address)
  --to-ports PORTS      UDP destination port, or first-last (9)
  --from-ports PORTS    UDP source port, or first-last (1024-65535)
  --size OCTETS         size of frames, check sequence included (64)
  --threads N           threads, one for each core and transmit queue (1)
  --first-core N        core of the first thread (0)
  --rate PPS            packets per second of all threads together (as fast as it goes)
  --delay NS            nanoseconds between packets of a thread, instead of --rate
  --seconds N           how long (10)
  --count N             packets of each thread, instead of --seconds
  --clone N             send each packet N more times before making the next: faster, but N+1 packets of a flow in a row (0)
  --burst N             hand the driver N copies at once: the same trade (1)
  --checksum            compute UDP checksums (else zero, which IPv4 allows)
END
}

die() {
    echo "kernel-pktgen: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --checksum) checksum=yes; shift; continue ;;
        --out | --mac | --to | --from | --to-ports | --from-ports | --size | --threads | --first-core | --rate | \
            --delay | --seconds | --count | --clone | --burst) ;;
        *) usage >&2; exit 2 ;;
    esac
    [ $# -ge 2 ] || { usage >&2; exit 2; }
    name=${1#--}
    printf -v "${name//-/_}" '%s' "$2"
    shift 2
done

[ -n "$out" ] && [ -n "$mac" ] && [ -n "$to" ] || { usage >&2; exit 2; }
for number in "$size" "$threads" "$first_core" "${rate:-0}" "${delay:-0}" "$seconds" "$count" "$clone" "$burst"; do
    [[ $number =~ ^[0-9]+$ ]] || die "$number is no number"
done
[[ $mac =~ ^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$ ]] || die "$mac is no Ethernet address"
[ "$size" -ge 64 ] || die "frames have at least 64 octets"
[ "$threads" -ge 1 ] || die "at least one thread is needed"
[ "$seconds" -ge 1 ] || [ "$count" -ge 1 ] || die "a second or a packet at least"
[ -z "$rate" ] || [ "$rate" -ge "$threads" ] || die "each thread sends at least one packet per second"
[ -z "$rate" ] || [ -z "$delay" ] || die "--rate and --delay say the same thing in two ways"

if [ -z "${PKTGEN_DIR:-}" ]; then
    [ "$(id -u)" -eq 0 ] || die "must be run as root"
    [ -d "$pktgen" ] || modprobe pktgen 2>/dev/null || true
    [ -d "$pktgen" ] || die "this kernel has no module pktgen (CONFIG_NET_PKTGEN)"
    ip link show dev "$out" >/dev/null 2>&1 || die "there is no interface $out"
fi

# Appends, because a file of the module takes one command with each write.
tell() {
    local file=$pktgen/$1
    shift
    echo "$*" >>"$file" || die "$file refused: $*"
    case $* in start | stop | reset) return ;; esac
    grep -q 'Result: OK' "$file" || die "$file refused: $* ($(grep Result: "$file" || true))"
}

first() { echo "${1%%-*}"; }
last() { echo "${1##*-}"; }

reset() {
    local core
    tell pgctrl reset
    for ((core = first_core; core < first_core + threads; core++)); do
        [ -e "$pktgen/kpktgend_$core" ] || die "there is no thread for core $core"
        tell "kpktgend_$core" rem_device_all
    done
}

configure() {
    local core=$1 index=$2 device=$out@$1
    tell "kpktgend_$core" add_device "$device"
    tell "$device" pkt_size $((size - 4))
    tell "$device" count "$count"
    tell "$device" clone_skb "$clone"
    tell "$device" burst "$burst"
    tell "$device" dst_mac "$mac"
    # A queue of its own for each thread: two on one queue wait for each other.
    tell "$device" queue_map_min "$index"
    tell "$device" queue_map_max "$index"
    tell "$device" flag NO_TIMESTAMP
    [ -z "$checksum" ] || tell "$device" flag UDPCSUM
    addresses "$device"
    ports "$device"
    # Nothing said is as fast as it goes.
    tell "$device" delay "${delay:-0}"
    [ -z "$rate" ] || tell "$device" ratep $((rate / threads))
}

addresses() {
    local device=$1
    if [[ $to == *:* ]]; then
        tell "$device" dst6_min "$(first "$to")"
        tell "$device" dst6_max "$(last "$to")"
        [ -z "$from" ] || tell "$device" src6 "$(first "$from")"
        return
    fi
    tell "$device" dst_min "$(first "$to")"
    tell "$device" dst_max "$(last "$to")"
    [ "$(first "$to")" = "$(last "$to")" ] || tell "$device" flag IPDST_RND
    if [ -n "$from" ]; then
        tell "$device" src_min "$(first "$from")"
        tell "$device" src_max "$(last "$from")"
        [ "$(first "$from")" = "$(last "$from")" ] || tell "$device" flag IPSRC_RND
    fi
}

ports() {
    local device=$1
    tell "$device" udp_dst_min "$(first "$to_ports")"
    tell "$device" udp_dst_max "$(last "$to_ports")"
    tell "$device" udp_src_min "$(first "$from_ports")"
    tell "$device" udp_src_max "$(last "$from_ports")"
    [ "$(first "$to_ports")" = "$(last "$to_ports")" ] || tell "$device" flag UDPDST_RND
    [ "$(first "$from_ports")" = "$(last "$from_ports")" ] || tell "$device" flag UDPSRC_RND
}

stop() { echo stop >>"$pktgen/pgctrl" 2>/dev/null || true; }

run() {
    # `start` comes back when everything has been sent or somebody says stop.
    tell pgctrl start &
    local sender=$!
    trap stop INT TERM EXIT
    if [ "$count" -eq 0 ]; then
        sleep "$seconds"
        stop
    fi
    wait "$sender" || die "the module did not start"
    trap - INT TERM EXIT
}

results() {
    local core device
    for ((core = first_core; core < first_core + threads; core++)); do
        device=$out@$core
        echo "$device: $(sed -n '/^Result: OK/,$p' "$pktgen/$device" | tr -s ' \n' ' ')"
    done
}

reset
for ((thread = 0; thread < threads; thread++)); do
    configure $((first_core + thread)) "$thread"
done
run
results
