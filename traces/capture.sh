#!/usr/bin/env bash
# Captures web/trace.pcap: real programs talking to one web server, inside network namespaces of their own.
#
#   net (clients, resolver, mirror, Redis) ──── edge (router) ──── srv (10.0.1.10, 2001:db8:1::10)
#                                                             ▲ tcpdump on srv's eth0
#
# What the policy forbids is dropped *behind* the capture point: a probe is seen and never answered, as on a real host.
# usage: sudo ./capture.sh [OUTPUT_FOLDER]    (default: this folder; writes OUTPUT_FOLDER/web/trace.pcap)
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here}

# 116 bytes hold Ethernet (14) + IPv6 (40) + the longest TCP header (60), or an ICMPv6 error up to the ports it quotes (110).
snaplen=116

die() { echo "capture.sh: $*" >&2; exit 1; }

check_programs() {
    local missing=() program package
    while read -r program package; do
        command -v "$program" >/dev/null || missing+=("$package")
    done <<-LIST
	ab apache2-utils
	curl curl
	dig bind9-dnsutils
	dnsmasq dnsmasq-base
	ethtool ethtool
	ip iproute2
	logger bsdutils
	nft nftables
	nginx nginx-light
	nmap nmap
	openssl openssl
	ping iputils-ping
	redis-benchmark redis-tools
	redis-server redis-server
	ssh openssh-client
	sshd openssh-server
	tcpdump tcpdump
	traceroute traceroute
	LIST
    [ ${#missing[@]} -eq 0 ] || die "missing programs; try: apt-get install --no-install-recommends ${missing[*]}"
}

cleanup() {
    trap - EXIT
    trap '' INT TERM HUP # a second Ctrl-C must not stop the tidying
    local ns signal
    for signal in TERM KILL; do
        for ns in "$srv" "$edge" "$net"; do
            ip netns pids "$ns" 2>/dev/null | xargs -r kill -s "$signal" 2>/dev/null || true
        done
        sleep 0.3
    done
    for ns in "$srv" "$edge" "$net"; do ip netns del "$ns" 2>/dev/null || true; done
    rm -rf "$tmp"
}

# Both ends of a veth, made straight in their namespaces, so that nothing shows up in the main one.
cable() { # namespace device mac, twice
    ip -n "$1" link add "$2" address "$3" type veth peer name "$5" address "$6" netns "$4"
    plug "$1" "$2"
    plug "$4" "$5"
}

plug() { # namespace device
    # Offloads off: frames in the capture are then the frames of a wire, of at most 1,514 bytes, with true checksums.
    ip netns exec "$1" ethtool -K "$2" tx off rx off tso off gso off gro off >/dev/null
    # No link-local addresses, so no router solicitations or multicast reports of the kernel's own.
    ip -n "$1" link set "$2" addrgenmode none up
}

make_network() {
    local ns prefix
    for ns in "$srv" "$edge" "$net"; do
        ip netns add "$ns"
        ip -n "$ns" link set lo up
    done
    cable "$srv" eth0 02:00:0a:00:01:0a "$edge" lan 02:00:0a:00:01:01
    cable "$net" eth0 02:00:64:40:00:02 "$edge" wan 02:00:64:40:00:01
    ip netns exec "$edge" sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
        net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0

    ip -n "$srv" addr add 10.0.1.10/24 dev eth0
    ip -n "$srv" addr add 2001:db8:1::10/64 dev eth0 nodad
    ip -n "$edge" addr add 10.0.1.1/24 dev lan
    ip -n "$edge" addr add 2001:db8:1::1/64 dev lan nodad
    ip -n "$edge" addr add 100.64.0.1/30 dev wan
    ip -n "$edge" addr add 2001:db8:ff::1/64 dev wan nodad
    ip -n "$net" addr add 100.64.0.2/30 dev eth0
    ip -n "$net" addr add 2001:db8:ff::2/64 dev eth0 nodad

    # AWS filters do not judge neighbour discovery (the VPC answers it), but a replay would: fixed entries, so that there is none.
    ip -n "$srv" neigh add 2001:db8:1::1 lladdr 02:00:0a:00:01:01 dev eth0 nud permanent
    ip -n "$edge" neigh add 2001:db8:1::10 lladdr 02:00:0a:00:01:0a dev lan nud permanent
    ip -n "$edge" neigh add 2001:db8:ff::2 lladdr 02:00:64:40:00:02 dev wan nud permanent
    ip -n "$net" neigh add 2001:db8:ff::1 lladdr 02:00:64:40:00:01 dev eth0 nud permanent

    # The router's own ICMP errors come from its outside address: peers must not lie in the protected prefix.
    ip -n "$edge" route replace 10.0.1.0/24 dev lan src 100.64.0.1
    ip -n "$edge" -6 route add 2001:db8:1::10/128 dev lan src 2001:db8:ff::1
    ip -n "$srv" route add default via 10.0.1.1
    ip -n "$srv" -6 route add default via 2001:db8:1::1
    ip -n "$net" route add default via 100.64.0.1
    ip -n "$net" -6 route add default via 2001:db8:ff::1

    # Whole prefixes are local to `net`: every client may take an address of its own without adding it first.
    ip netns exec "$net" sysctl -q -w net.ipv6.ip_nonlocal_bind=1
    for prefix in 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 10.0.2.0/24; do
        ip -n "$net" route add local "$prefix" dev lo
        ip -n "$edge" route add "$prefix" via 100.64.0.2
    done
    for prefix in 2001:db8:2::/48 2001:db8:53::/48 2001:db8:80::/48 2001:db8:ad::/48 2001:db8:100::/48; do
        ip -n "$net" -6 route add local "$prefix" dev lo
        ip -n "$edge" -6 route add "$prefix" via 2001:db8:ff::2
    done
    # Some clients sit behind a tunnel: full-size replies to them meet "fragmentation needed" and "packet too big".
    ip -n "$edge" route add 203.0.113.192/26 via 100.64.0.2 mtu lock 1280
    ip -n "$edge" -6 route add 2001:db8:100:1280::/64 via 2001:db8:ff::2 mtu 1280
}

# The policy of web/*.json in short, beyond the capture point in either direction.
make_firewall() {
    ip netns exec "$srv" nft -f - <<-'NFT'
	table inet host {
	    chain input {
	        type filter hook input priority 0; policy drop;
	        iif lo accept
	        ct state established,related accept
	        tcp dport { 80, 443 } accept
	        udp dport 53 accept
	        ip saddr 203.0.113.0/28 tcp dport 22 accept
	        ip6 saddr 2001:db8:ad::/64 tcp dport 22 accept
	        ip saddr 10.0.2.0/24 tcp dport 9100 accept
	        ip6 saddr 2001:db8:2::/64 tcp dport 9100 accept
	        icmp type echo-request accept
	        icmpv6 type echo-request accept
	    }
	}
	NFT
    ip netns exec "$edge" nft -f - <<-'NFT'
	table inet border {
	    chain forward {
	        type filter hook forward priority 0; policy accept;
	        iifname "lan" tcp flags & (syn | ack) == syn tcp dport { 22, 25, 6667 } drop
	    }
	}
	NFT
}

make_content() {
    local i
    mkdir -p "$tmp/www"
    echo '<!doctype html><title>shop</title><h1>Welcome</h1>' >"$tmp/www/index.html"
    for i in {1..8}; do head -c $((i * 700)) /dev/zero >"$tmp/www/asset-$i.css"; done
    head -c 120000 /dev/zero >"$tmp/www/photo.jpg"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=shop.example \
        -keyout "$tmp/tls.key" -out "$tmp/tls.crt" 2>/dev/null
    ssh-keygen -q -t ed25519 -N '' -C host -f "$tmp/host_key"
    ssh-keygen -q -t ed25519 -N '' -C admin -f "$tmp/client_key"
    chmod -R go+rX "$tmp" # nginx workers and dnsmasq give up root
    chmod 600 "$tmp"/*_key "$tmp/tls.key"
}

start() { # namespace program arguments...: in the background, its words kept for a failure
    ip netns exec "$@" >>"$tmp/servers.log" 2>&1 </dev/null &
}

start_nginx() { # namespace name listen-directives
    cat >"$tmp/$2.conf" <<-CONF
	daemon off; pid $tmp/$2.pid; error_log $tmp/$2.err; worker_processes 2;
	events { worker_connections 1024; }
	http {
	    access_log off; types { text/css css; text/html html; image/jpeg jpg; }
	    client_body_temp_path $tmp/$2.t; proxy_temp_path $tmp/$2.t; fastcgi_temp_path $tmp/$2.t;
	    uwsgi_temp_path $tmp/$2.t; scgi_temp_path $tmp/$2.t;
	    ssl_certificate $tmp/tls.crt; ssl_certificate_key $tmp/tls.key;
	    server { $3 root $tmp/www; }
	    server { listen 9100; listen [::]:9100; location / { stub_status; } }
	}
	CONF
    start "$1" nginx -p "$tmp" -c "$tmp/$2.conf" -e "$tmp/$2.err"
}

start_servers() {
    start_nginx "$srv" shop 'listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;'
    start_nginx "$net" mirror 'listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;'

    # The protected name server knows its own names and asks the outside resolver for all others.
    start "$srv" dnsmasq -k -C /dev/null --pid-file= --user=root --no-hosts --no-resolv \
        --host-record=shop.example,10.0.1.10,2001:db8:1::10 --server=192.0.2.53 --server=2001:db8:53::53
    start "$net" dnsmasq -k -C /dev/null --pid-file= --user=root --no-hosts --no-resolv \
        --address=/example/192.0.2.80 --address=/example/2001:db8:80::80
    start "$net" redis-server --bind 0.0.0.0 :: --protected-mode no --save '' --appendonly no --dir "$tmp"

    # sshd wants /run/sshd and an account that is not locked; both are lent to it in a mount namespace of its own.
    echo 'root:*:19000::::::' >"$tmp/shadow"
    cat >"$tmp/sshd.conf" <<-CONF
	HostKey $tmp/host_key
	AuthorizedKeysFile $tmp/client_key.pub
	PermitRootLogin prohibit-password
	StrictModes no
	UsePAM no
	PidFile none
	CONF
    # shellcheck disable=SC2016 # expanded by the inner shell
    start "$srv" sh -c 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount --bind "$1/shadow" /etc/shadow &&
        exec /usr/sbin/sshd -D -e -f "$1/sshd.conf"' sh "$tmp"

    local try
    for try in {1..50}; do
        # Asked over the loopback of each namespace, so that nothing crosses the cable before the capture starts.
        if ip netns exec "$srv" curl -sfk https://127.0.0.1/ >"$tmp/ready" &&
            ip netns exec "$srv" dig +time=1 +tries=1 @127.0.0.1 shop.example >"$tmp/ready" 2>&1 &&
            ip netns exec "$srv" bash -c ': </dev/tcp/127.0.0.1/22' 2>/dev/null &&
            ip netns exec "$net" dig +time=1 +tries=1 @192.0.2.53 a.example >"$tmp/ready" 2>&1 &&
            ip netns exec "$net" redis-cli -h 10.0.2.20 ping >"$tmp/ready" 2>&1 &&
            ip netns exec "$net" curl -sfk -o "$tmp/ready" https://192.0.2.80/; then
            return
        fi
        sleep 0.2
    done
    cat "$tmp"/servers.log "$tmp"/*.err >&2
    die "the servers did not come up in $try attempts; their messages are above"
}

capture() {
    sleep 2 # the kernel repeats its multicast listener reports for a moment after a link comes up
    : >"$tmp/tcpdump.log"
    ip netns exec "$srv" tcpdump -Z root -i eth0 -n -s "$snaplen" -B 16384 --time-stamp-precision=nano \
        -w "$tmp/trace.pcap" 2>"$tmp/tcpdump.log" &
    local tcpdump=$! outside inside
    until grep -q 'listening on' "$tmp/tcpdump.log"; do
        kill -0 "$tcpdump" 2>/dev/null || { cat "$tmp/tcpdump.log" >&2; die "tcpdump did not start"; }
        sleep 0.1
    done
    ip netns exec "$net" "$here/traffic.sh" outside "$tmp" & outside=$!
    ip netns exec "$srv" "$here/traffic.sh" inside "$tmp" & inside=$!
    wait "$outside" || die "the outside traffic failed"
    wait "$inside" || die "the inside traffic failed"
    sleep 1 # the last FINs
    kill -INT "$tcpdump"
    wait "$tcpdump" || true
    grep -q '^0 packets dropped by kernel' "$tmp/tcpdump.log" ||
        die "the capture has holes ($(grep dropped "$tmp/tcpdump.log")); run again on a quieter machine"
}

[ "$(id -u)" -eq 0 ] || die "network namespaces need root: sudo $0"
PATH=$PATH:/usr/sbin:/sbin # where servers live; not everyone has it
check_programs
mkdir -p "$out/web"
tmp=$(mktemp -d /tmp/ctbench-capture-XXXXXX)
id=${tmp##*-} # unique, so that two captures may run at once
srv=ctb-srv-$id edge=ctb-edge-$id net=ctb-net-$id
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

echo "capture.sh: this takes about a minute" >&2
make_network
make_firewall
make_content
start_servers
capture
mv "$tmp/trace.pcap" "$out/web/trace.pcap"
chmod 644 "$out/web/trace.pcap"
echo "$out/web/trace.pcap: $(grep captured "$tmp/tcpdump.log"), $(stat -c %s "$out/web/trace.pcap") bytes"
