#!/bin/bash
# A real Linux kernel (Debian's user-mode-linux 6.1) as IPsec peer on a tap in a network namespace. Root only.
#   linux-peer.sh up     <netns> <tap> [addr/prefix]   # makes netns and tap if absent; tap options are left alone
#   linux-peer.sh exec   <netns> <tap> 'shell'         # output and exit status come back; WAIT=seconds (300)
#   linux-peer.sh manual <netns> <tap> [name=value...] # manual-key ESP, see DEFAULTS below for the names
#   linux-peer.sh charon <netns> <tap> <confdir>       # swanctl.conf [, setup.sh] [, charon.conf]
#   linux-peer.sh status [<netns> <tap>]
#   linux-peer.sh down   <netns> <tap>
# State lives in $PEER_STATE/<netns>-<tap>, the same path inside the guest. No spaces in it or in the path of this
# script: both are kernel arguments.
set -euo pipefail
DEFAULTS='local=198.51.100.2 remote=198.51.100.1 inner=10.2.0.0/24 peer=10.1.0.0/24 mode=tunnel bits=128 esn=0 encap=0
 spi_out=0x1001 spi_in=0x1002 key_out= key_in= seq= window=1024'
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE=${PEER_STATE:?where to keep its state}; KERNEL=/usr/bin/linux.uml

die() { echo "linux-peer: $*" >&2; exit 1; }
cmd=${1:-}; ns=${2:-}; tap=${3:-}; S=$STATE/$ns-$tap
case $cmd in
status) [ -z "$ns" ] || [ -n "$tap" ] || die "$cmd: which netns and tap?" ;;
up|exec|manual|charon|down) [ -n "$ns" ] && [ -n "$tap" ] || die "$cmd: which netns and tap?" ;;
*) sed -n '2,10p' "$0"; exit 2 ;;
esac

alive() { [ -s "$1/pid" ] && tr '\0' '\n' 2>/dev/null <"/proc/$(cat "$1/pid")/cmdline" | grep -qx "peer_state=$1"; }
guest() {    # run shell text inside the guest, by way of a file in the shared folder
    alive "$S" || die "no guest on $tap in $ns"
    local n; n=$(mktemp -u "$S/jXXXXXXXX"); printf '%s\n' "$1" >"$n.tmp"; mv "$n.tmp" "$n.cmd"
    for _ in $(seq $((${WAIT:-300} * 20))); do
        [ ! -f "$n.rc" ] || { cat "$n.out"; return "$(cat "$n.rc")"; }
        alive "$S" || die "the guest died, see $S/console.log"
        sleep 0.05
    done
    cat "$n.out" 2>/dev/null; return 124
}
clean='if kill $(cat /run/charon.pid 2>/dev/null) 2>/dev/null; then while [ -e /run/charon.pid ]; do sleep 0.1; done; fi; rm -f /run/charon.*
 pkill -f "[u]dp-encap"; ip xfrm state flush; ip xfrm policy flush'
sums='ip -s xfrm state | awk "/^src/ {sa = \$2 \" > \" \$4} /proto/ {sa = sa \" spi \" \$4} /flag/ && /esn/ {sa = sa \" esn\"}
 /lifetime current/ {l = NR + 1} NR == l {print sa, \$1, \$2, \$3, \$4}"; awk "\$2 > 0" /proc/net/xfrm_stat 2>/dev/null'

case $cmd in
up)
    [ -x $KERNEL ] || die "$KERNEL is missing"
    ! alive "$S" || die "already up on $tap in $ns"
    rm -rf "$S"; mkdir -p "$S"; chmod 700 "$S"
    ip netns list | awk '{print $1}' | grep -qx "$ns" || { ip netns add "$ns"; : >"$STATE/$ns.made"; }
    ip -n "$ns" link show "$tap" >/dev/null 2>&1 || { ip -n "$ns" tuntap add dev "$tap" mode tap; : >"$S/tap.made"; }
    ip -n "$ns" link set "$tap" up
    mac=$(echo "$ns $tap" | md5sum | sed 's/\(..\)\(..\)\(..\)\(..\).*/52:54:\1:\2:\3:\4/')
    setsid ip netns exec "$ns" $KERNEL mem=${MEM:-256}M rootfstype=hostfs rootflags=/ ro "init=$HERE/guest-init" \
        "peer_state=$S" "uml_dir=$S/" umid=uml "vec0:transport=tap,ifname=$tap,mac=$mac,depth=128" \
        con=null con0=fd:0,fd:1 >"$S/console.log" 2>&1 </dev/null &
    echo $! >"$S/pid"
    for _ in $(seq 1500); do [ ! -f "$S/up" ] || break; kill -0 $! 2>/dev/null || break; sleep 0.1; done
    [ -f "$S/up" ] || { tail "$S/console.log" >&2; die "the guest did not boot, see $S"; }
    # vec0 ignores ethtool -K: no large segments, and checksums finished on the way out, or an XDP program sees neither
    guest "set -e; modprobe -d /run/mod -aq xfrm_user dummy; ip link set vec0 gso_max_segs 1 up
        tc qdisc add dev vec0 clsact; tc filter add dev vec0 egress matchall action csum tcp and udp
        ${4:+ip addr add $4 dev vec0;} uname -sr; ip -br addr show dev vec0"
    ;;
exec) guest "${4:?shell text}" ;;
manual)
    for kv in $DEFAULTS "${@:4}"; do
        case " $DEFAULTS" in *[[:space:]]"${kv%%=*}="*) declare "${kv%%=*}=${kv#*=}" ;; *) die "manual: $kv?" ;; esac
    done
    # without a given key: the first bytes of sha512("warren-test <spi>"), the same on both sides; key then 4-byte salt
    key() { echo "0x$(printf 'warren-test %d' "$1" | sha512sum | head -c $((bits / 4 + 8)))"; }
    key_out=${key_out:-$(key "$spi_out")}; key_in=${key_in:-$(key "$spi_in")}
    if [ $mode = tunnel ]; then me=$inner you=$peer; else me=$local you=$remote; fi
    tail="reqid 1 mode $mode replay-window $window"
    [ $esn = 0 ] || tail+=" flag esn"; [ $mode = transport ] || tail+=" flag af-unspec"
    [ $encap = 0 ] || tail+=" encap espinudp 4500 4500 0.0.0.0"
    host() { case $1 in *:*) echo "${1%/*}$2" ;; *) echo "${1%.*}.$2" ;; esac; }
    guest "$clean; set -e
        if [ $mode = tunnel ]; then
            ip link show dummy0 >/dev/null 2>&1 || ip link add dummy0 type dummy; ip link set dummy0 up
            ip addr flush dev dummy0
            ip addr add $(host $inner 1)/${inner#*/} dev dummy0; ip addr add $(host $inner 10)/${inner#*/} dev dummy0
            ip route replace $peer via $remote src $(host $inner 1)
        fi
        if [ $encap != 0 ]; then    # a socket has to own the encapsulation port
            setsid perl -MSocket -e '\$0 = \"udp-encap\"; socket(S, PF_INET, SOCK_DGRAM, 17); bind(S, sockaddr_in(4500, INADDR_ANY))
                or die \$!; setsockopt(S, 17, 100, pack(\"i\", 2)) or die \$!; sleep' >/dev/null 2>&1 & sleep 0.3
        fi
        ip xfrm state add src $local dst $remote proto esp spi $spi_out $tail ${seq:+replay-oseq $seq} aead 'rfc4106(gcm(aes))' $key_out 128
        ip xfrm state add src $remote dst $local proto esp spi $spi_in $tail ${seq:+replay-seq $seq} aead 'rfc4106(gcm(aes))' $key_in 128
        if [ $mode = transport ]; then    # IKE and the encapsulating UDP packets themselves are no traffic to protect
            for p in 500 4500; do
                ip xfrm policy add src $me dst $you proto udp dport \$p dir out priority 1
                ip xfrm policy add src $you dst $me proto udp dport \$p dir in priority 1
            done
        fi
        ip xfrm policy add src $me dst $you dir out priority 100 tmpl src $local dst $remote proto esp reqid 1 mode $mode
        for d in in fwd; do
            ip xfrm policy add src $you dst $me dir \$d priority 100 tmpl src $remote dst $local proto esp reqid 1 mode $mode
        done"
    echo "out spi $spi_out key $key_out"; echo "in  spi $spi_in key $key_in"
    ;;
charon)
    conf=$(cd "${4:?confdir}" && pwd); [ -f "$conf/swanctl.conf" ] || die "$conf/swanctl.conf: missing"
    rm -rf "$S/conf"; cp -r "$conf" "$S/conf"
    cat >"$S/conf/strongswan.conf" <<CONF
charon {
    load = random nonce drbg openssl aes sha1 sha2 md5 hmac kdf gcm ccm ctr chapoly curve25519 gmp pem pkcs1 pkcs8 pubkey x509 constraints kernel-netlink socket-default vici updown attr unity xauth-generic eap-identity eap-md5 eap-mschapv2 counters
    i_dont_care_about_security_and_use_aggressive_mode_psk = yes
    retransmit_tries = 3
    retransmit_timeout = 2.0
    replay_window = 1024
    filelog { log { path = $S/charon.log
        flush_line = yes
        default = 1
        ike = 2
        cfg = 2
        knl = 2
    } }
    include $S/conf/charon.co*
}
CONF
    guest "$clean
        mountpoint -q /etc/swanctl || mount -t tmpfs tmp /etc/swanctl; rm -rf /etc/swanctl/*; cd /etc/swanctl
        mkdir -p x509 x509ca x509ocsp x509aa x509ac x509crl pubkey private rsa ecdsa bliss pkcs8 pkcs12; cp -r $S/conf/. .
        [ ! -f setup.sh ] || bash setup.sh
        STRONGSWAN_CONF=$S/conf/strongswan.conf setsid /usr/lib/ipsec/charon >/run/charon.out 2>&1 &
        for i in \$(seq 600); do [ -S /run/charon.vici ] && swanctl --stats >/dev/null 2>&1 && break; sleep 0.1; done
        swanctl --load-all || { cat /run/charon.out; exit 1; }"
    echo "log $S/charon.log"
    ;;
status)
    if [ -n "$ns" ]; then guest "ip -br addr; $sums"; exit; fi
    for d in $STATE/*/; do d=${d%/}; [ ! -d "$d" ] || echo "${d##*/} $(alive "$d" && echo "up, pid $(cat "$d/pid")" || echo dead)"; done
    ;;
down)
    if alive "$S"; then
        p=$(cat "$S/pid"); echo HALT >"$S/z.tmp"; mv "$S/z.tmp" "$S/z.cmd"
        for _ in $(seq 300); do alive "$S" || break; sleep 0.1; done
        ! alive "$S" || kill -KILL -- "-$p"    # its own session: takes the guest's processes along
    fi
    [ ! -f "$S/tap.made" ] || ip -n "$ns" link del "$tap" 2>/dev/null || :
    [ ! -f "$STATE/$ns.made" ] || [ -n "$(ip netns pids "$ns" 2>/dev/null)" ] || { ip netns del "$ns" || :; rm -f "$STATE/$ns.made"; }
    rm -rf "$S"
    ;;
esac
