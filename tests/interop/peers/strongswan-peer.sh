#!/bin/bash
# One strongSwan IKE daemon with ESP in user space (kernel-libipsec) inside an existing network namespace.
#
#   strongswan-peer.sh up       <netns> <confdir>     # confdir/swanctl.conf [, confdir/charon.conf]
#   strongswan-peer.sh initiate <netns> <child> [timeout_s]
#   strongswan-peer.sh status   <netns>
#   strongswan-peer.sh ctl      <netns> <swanctl args...>   # e.g. --rekey --child net
#   strongswan-peer.sh down     <netns>
#
# State (configuration, log, pid, vici socket) lives in $PEER_STATE/<netns>. Its ESP is UDP-encapsulated only, it has
# no ESN, and it needs an address of its own inside local_ts.
set -euo pipefail
PEER_STATE=${PEER_STATE:?where to keep its state}
CHARON=/usr/lib/ipsec/charon

die() { echo "strongswan-peer: $*" >&2; exit 1; }

cmd=${1:-}; ns=${2:-}
case $cmd in
up|initiate|status|ctl|down) [ -n "$ns" ] || die "$cmd: which netns?" ;;
*) sed -n '2,11p' "$0"; exit 2 ;;
esac
D=$PEER_STATE/$ns
SOCK=unix://$D/charon.vici

ours() {    # true while the charon started by `up` is alive
    [ -s "$D/pid" ] && [ "$(readlink "/proc/$(cat "$D/pid")/exe" 2>/dev/null)" = "$CHARON" ]
}
ctl() { swanctl "$@" --uri "$SOCK"; }

case $cmd in
up)
    conf=$(cd "${3:?confdir}" && pwd)
    [ -f "$conf/swanctl.conf" ] || die "$conf/swanctl.conf: missing"
    ip netns list | awk '{print $1}' | grep -qx "$ns" || die "netns $ns does not exist"
    ours && die "already up in $ns (pid $(cat "$D/pid"))"
    rm -rf "$D"; mkdir -p "$D/run"; chmod 700 "$D"
    : > "$D/charon.conf"; [ ! -f "$conf/charon.conf" ] || cp "$conf/charon.conf" "$D/charon.conf"
    cat > "$D/strongswan.conf" <<CONF
charon {
    # kernel-libipsec before kernel-netlink: the first takes the IPsec side,
    # the second keeps addresses and routes.
    load = random nonce drbg aesni aes sha1 sha2 md5 hmac cmac xcbc kdf gcm ccm ctr chapoly curve25519 gmp openssl pem pkcs1 pkcs8 pubkey x509 constraints kernel-libipsec kernel-netlink socket-default vici updown attr unity xauth-generic eap-identity eap-md5 eap-mschapv2 counters
    i_dont_care_about_security_and_use_aggressive_mode_psk = yes
    install_virtual_ip = yes
    retransmit_tries = 3
    retransmit_timeout = 2.0
    plugins {
        vici { socket = $SOCK }
    }
    filelog {
        log {
            path = $D/charon.log
            append = no
            flush_line = yes
            time_format = %H:%M:%S
            time_add_ms = yes
            default = 1
            ike = 2
            cfg = 2
            knl = 2
        }
    }
    include $D/charon.conf
}
CONF
    # ip netns exec gives a private mount namespace, so the compiled-in
    # /run/charon.pid can be bound away.
    ip netns exec "$ns" setsid /bin/sh -c '
        mount --bind "$1/run" /run && export STRONGSWAN_CONF="$1/strongswan.conf" && exec "$2"' \
        sh "$D" "$CHARON" </dev/null >"$D/stdout" 2>&1 &
    pid=$!
    # The socket's file is there a moment before anybody listens on it.
    for _ in $(seq 600); do
        [ -S "$D/charon.vici" ] && ctl --stats >/dev/null 2>&1 && break
        kill -0 "$pid" 2>/dev/null || { cat "$D/stdout" >&2; tail -20 "$D/charon.log" >&2 || :; die "charon died"; }
        sleep 0.1
    done
    echo "$pid" > "$D/pid"; ours || die "charon is not up, see $D"
    mkdir -p "$D/swanctl"; cp -r "$conf/." "$D/swanctl/"
    (cd "$D/swanctl" && mkdir -p x509 x509ca x509ocsp x509aa x509ac x509crl \
        pubkey private rsa ecdsa bliss pkcs8 pkcs12)    # swanctl complains of absent ones
    ctl --load-all --file "$D/swanctl/swanctl.conf"
    echo "up: $ns pid $pid log $D/charon.log"
    ;;
initiate)
    ours || die "not up in $ns"
    ctl --initiate --child "${3:?child}" --timeout "${4:-20}"
    ;;
status)
    ours || die "not up in $ns"
    ctl --list-sas
    ;;
ctl)
    ours || die "not up in $ns"
    shift 2; ctl "$@"
    ;;
down)
    if ours; then
        pid=$(cat "$D/pid"); kill -TERM "$pid"
        for _ in $(seq 300); do ours || break; sleep 0.1; done
        if ours; then kill -KILL "$pid"; fi
    fi
    rm -f "$D/pid" "$D/charon.vici"
    ;;
esac
