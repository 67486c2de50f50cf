#!/bin/sh
# Makes the certificates of this folder anew, with new keys. OpenSSL 3; run in here.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

key() { # name, rsa:BITS or a curve
    case $2 in
    rsa:*) openssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:${2#rsa:}" -out "$1.key" ;;
    *) openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:$2" -pkeyopt ec_param_enc:named_curve -out "$1.key" ;;
    esac 2>/dev/null
}

cat >"$work/ca.cnf" <<EOF
[ca]
default_ca = own
[own]
database = $work/index
new_certs_dir = $work
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
[any]
commonName = supplied
organizationName = optional
EOF

issue() { # name, authority, subject, first day, last day, extensions
    printf '%s\n' "$6" >"$work/ext"
    : >"$work/index"
    openssl req -new -key "$1.key" -subj "$3" -out "$work/csr"
    openssl ca -batch -config "$work/ca.cnf" -in "$work/csr" -out "$1.pem" -notext \
        -keyfile "$2.key" $([ "$1" = "$2" ] && echo -selfsign || echo -cert "$2.pem") \
        -startdate "$4" -enddate "$5" -extfile "$work/ext" 2>/dev/null
}

from=20260101000000Z
to=20460101000000Z
authority='basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash'
sign='keyUsage = critical, digitalSignature'

for ca in authority other-authority; do
    key $ca P-256
    issue $ca $ca "/O=Warren test/CN=$ca" $from $to "$authority"
done
key rsa-authority rsa:2048
issue rsa-authority rsa-authority '/O=Warren test/CN=rsa-authority' $from $to "$authority"
key intermediate P-384
issue intermediate authority '/O=Warren test/CN=intermediate' $from $to "$authority"

for side in left right; do
    key rsa-$side rsa:2048
    issue rsa-$side rsa-authority "/O=Warren test/CN=$side.test" $from $to "$sign
subjectAltName = DNS:$side.test"
    for curve in P-256 P-384 P-521; do
        name=$(echo $curve | tr -d - | tr P p)-$side
        key $name $curve
        issue $name authority "/O=Warren test/CN=$side.test" $from $to "$sign
subjectAltName = DNS:$side.test"
    done
done

leaf() { # name, authority, first day, last day, extensions
    key "$1" "${6:-P-256}"
    issue "$1" "$2" '/O=Warren test/CN=left.test' "$3" "$4" "$5"
}
san='subjectAltName = DNS:left.test'
leaf chained intermediate $from $to "$san"
leaf expired authority $from 20260601000000Z "$san"
leaf future authority 20400101000000Z $to "$san"
leaf stranger other-authority $from $to "$san"
leaf self-signed self-signed $from $to "basicConstraints = critical, CA:FALSE
$san"
leaf rsa-1024 authority $from $to "$san" rsa:1024
leaf wildcard authority $from $to 'subjectAltName = DNS:*.left.test'
leaf for-servers authority $from $to "$san
extendedKeyUsage = serverAuth"
leaf for-ike authority $from $to "$san
extendedKeyUsage = serverAuth, 1.3.6.1.5.5.7.3.17"
leaf for-anything authority $from $to "$san
extendedKeyUsage = anyExtendedKeyUsage"
leaf for-encryption authority $from $to "$san
keyUsage = critical, keyAgreement"
leaf many-names authority $from $to 'subjectAltName = DNS:left.test, DNS:second.test, email:alice@left.test, IP:192.0.2.1, IP:2001:db8::1'
leaf no-names authority $from $to 'subjectKeyIdentifier = hash'

# Other forms of the same keys.
openssl pkey -in rsa-left.key -traditional -out rsa-left.pkcs1.key
openssl pkey -in p256-left.key -traditional -out p256-left.sec1.key
openssl pkcs8 -topk8 -in p256-left.key -passout pass:secret -out encrypted.key
cat chained.pem intermediate.pem >chained-bundle.pem
rm -f authority.key other-authority.key rsa-authority.key intermediate.key

# Signatures over 32 octets as IKEv1 wants them: padding without a DigestInfo, and ECDSA over the octets themselves.
printf 'Z%.0s' $(seq 32) >"$work/hash"
for name in rsa-left p256-left p384-left p521-left; do
    openssl pkeyutl -sign -inkey $name.key -in "$work/hash" -out $name.signature
done
