#!/usr/bin/env bash
# What the programs of capture.sh do for a minute; started by it within a namespace: traffic.sh outside|inside TEMP_FOLDER.
# Two quiet spells (25-29 s and 42-52 s) and a return after more than 30 s let idle timeouts show.
set -uo pipefail
side=$1 tmp=$2
server=10.0.1.10 server6=2001:db8:1::10
mirror=192.0.2.80 mirror6=2001:db8:80::80
RANDOM=7 # the same choices in every capture; only timing differs

at() { local wait=$(($1 - SECONDS)); if [ "$wait" -gt 0 ]; then sleep "$wait"; fi; }
quietly() { "$@" >/dev/null 2>&1 </dev/null || true; }

client4() { # an address of the first half of either documentation prefix
    local nets=(198.51.100 203.0.113)
    echo "${nets[RANDOM % 2]}.$((16 + RANDOM % 100))"
}
client6() { printf '2001:db8:100:%x::%x' $((RANDOM % 64)) $((1 + RANDOM)); }

# ---- outside ------------------------------------------------------------------------------------------------------

page() { # client host scheme: one page and its assets over one kept-alive connection
    quietly curl -sk --max-time 10 --interface "$1" "$3://$2/" "$3://$2/asset-[1-$((1 + RANDOM % 8))].css"
}

browsers() { # from until seed: people come and go
    RANDOM=$3
    at "$1"
    while [ "$SECONDS" -lt "$2" ]; do
        local scheme=http
        if [ $((RANDOM % 4)) -eq 0 ]; then scheme=https; fi
        if [ $((RANDOM % 2)) -eq 0 ]; then page "$(client4)" $server $scheme; else page "$(client6)" "[$server6]" $scheme; fi
        sleep 0.$((RANDOM % 9 + 1))
    done
}

bulk() { # until: a new connection for every request, four at a time
    while [ "$SECONDS" -lt "$1" ]; do
        quietly ab -q -B "$(client4)" -n 10 -c 4 "http://$server/asset-1.css"
        quietly ab -q -B "$(client6)" -n 10 -c 4 "http://[$server6]/asset-2.css"
        sleep 0.5
    done
}

downloads() { # a few behind a path with a smaller MTU, some slow
    local i
    for i in {1..6}; do
        quietly curl -s --interface "203.0.113.$((192 + i))" "http://$server/photo.jpg"
        quietly curl -s --interface "2001:db8:100:1280::$i" "http://[$server6]/photo.jpg"
        quietly curl -s --limit-rate 120k --interface "$(client4)" "http://$server/photo.jpg" &
        quietly curl -sk --limit-rate 80k --interface "$(client6)" "https://[$server6]/photo.jpg" &
        sleep 1
    done
    wait
}

lookups() { # until seed: own names, others that the server must ask for
    RANDOM=$2
    local i file=$tmp/names-$2
    while [ "$SECONDS" -lt "$1" ]; do
        for i in {1..5}; do echo "shop.example A"; echo "shop.example AAAA"; echo "h$((RANDOM % 900)).example A"; done >"$file"
        quietly dig @$server -b "$(client4)" +tries=1 +time=2 -f "$file"
        quietly dig @$server6 -b "$(client6)" +tries=1 +time=2 -f "$file"
        sleep 0.4
    done
}

admin() { # client host: commands with long thoughts between them
    { echo 'uptime'; sleep 7; echo 'seq 2000'; sleep 14; echo 'date'; sleep 25; echo 'seq 300'; sleep 1; echo exit; } |
        ssh -F /dev/null -T -i "$tmp/client_key" -b "$1" -o BatchMode=yes -o StrictHostKeyChecking=no \
            -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes "root@$2" /bin/sh >/dev/null
}

metrics() { # the monitoring tier asks every five seconds
    while [ "$SECONDS" -lt 58 ]; do
        quietly curl -s --interface 10.0.2.30 http://$server:9100/
        quietly curl -s --interface 2001:db8:2::30 "http://[$server6]:9100/"
        sleep 5
    done
}

knock() { # client host port seconds: a connection attempt that stays unanswered, SYN retransmissions and all
    quietly curl -s --interface "$1" --connect-timeout "$4" "telnet://$2:$3"
}

radiation() { # the noise of the Internet
    local ports=(21 23 23 23 445 445 3306 3389 3389 5432 6379 8080) i
    for i in {1..110}; do
        knock "$(client4)" $server "${ports[RANDOM % ${#ports[@]}]}" 4 &
        if [ $((i % 3)) -eq 0 ]; then knock "$(client6)" "[$server6]" "${ports[RANDOM % ${#ports[@]}]}" 2 & fi
        sleep 0.15
    done
    # A stateless ACL must leave ephemeral ports open: these three pass it, and no group allows them.
    for i in 23231 37215 49152; do knock "$(client4)" $server "$i" 1.5 & done
    wait
}

scan() { # a port scan below 1024 and UDP probes
    quietly nmap -n -Pn -sS -p 1-1023 --max-retries 1 --min-rate 400 -S 198.51.100.66 -e eth0 $server
    quietly nmap -n -Pn -6 -sS -p 1-500 --max-retries 1 --min-rate 400 -S 2001:db8:100::bad -e eth0 $server6
    quietly nmap -n -Pn -sU -p 7,19,69,111,123,137,161,389,500,1900,5060 --max-retries 1 -S 198.51.100.67 -e eth0 $server
}

outside() {
    local jobs=() i
    admin 203.0.113.5 $server & jobs+=($!)
    admin 2001:db8:ad::5 $server6 & jobs+=($!)
    metrics & jobs+=($!)
    quietly ping -q -i 0.5 -c 100 -I 203.0.113.9 $server & jobs+=($!)
    quietly ping -q -i 1 -c 50 -I 2001:db8:100::9 $server6 & jobs+=($!)
    quietly dig @$server -b 203.0.113.77#40053 +tries=1 shop.example A

    for i in 1 2 3 4 5; do
        browsers 0 25 "$i" & jobs+=($!)
        browsers 29 42 "1$i" & jobs+=($!)
        browsers 52 58 "2$i" & jobs+=($!)
    done
    lookups 24 11 & jobs+=($!)
    at 4; bulk 24 & jobs+=($!)
    radiation & jobs+=($!)
    at 29; downloads & jobs+=($!)
    lookups 41 12 & jobs+=($!)
    scan & jobs+=($!)
    quietly traceroute -n -I -q 2 -m 4 -s 198.51.100.20 $server
    quietly traceroute -n -I -q 2 -m 4 -s 2001:db8:100::20 $server6
    at 52; quietly dig @$server -b 203.0.113.77#40053 +tries=1 shop.example A # same ports, its UDP entry long expired
    bulk 56 & jobs+=($!)
    local job failed=0
    for job in "${jobs[@]}"; do wait "$job" || failed=1; done
    return "$failed"
}

# ---- inside: what the protected server starts itself ------------------------------------------------------------------

updates() { # until: ask the resolver, fetch from the mirror
    while [ "$SECONDS" -lt "$1" ]; do
        quietly dig @192.0.2.53 +tries=1 "mirror$((RANDOM % 40)).example" A
        quietly curl -sk "https://$mirror/asset-[1-4].css"
        quietly dig @2001:db8:53::53 +tries=1 "mirror$((RANDOM % 40)).example" AAAA
        quietly curl -s "http://[$mirror6]/asset-[1-4].css"
        sleep 0.4
    done
}

sessions() { # host: one long-lived connection to the session store, idle now and then
    { for i in {1..30}; do echo "SET cart:$i $RANDOM"; echo "GET cart:$i"; sleep 0.3; done
      sleep 20
      for i in {1..30}; do echo "GET cart:$i"; sleep 0.2; done
      sleep 12
      echo "DBSIZE"; } | redis-cli -h "$1" >/dev/null
}

inside() {
    local jobs=() i
    sessions 10.0.2.20 & jobs+=($!)
    sessions 2001:db8:2::20 & jobs+=($!)
    updates 24 & jobs+=($!)
    # The log collector is down: datagrams earn ICMP port unreachables. (nohost: the capture must not name this machine.)
    for i in {1..40}; do
        quietly logger --server 10.0.2.40 --port 514 --udp --rfc5424=nohost --tag shop "order $i"
        quietly logger --server 2001:db8:2::40 --port 514 --udp --rfc5424=nohost --tag shop "order $i"
        sleep 0.4
    done &
    jobs+=($!)
    at 6; quietly redis-benchmark -h 10.0.2.20 -n 300 -c 8 -t set,get -q
    at 8; quietly traceroute -n -q 2 -m 4 $mirror
    quietly traceroute -n -q 2 -m 4 $mirror6
    # Forbidden egress: mail, IRC and SSH to the world.
    at 12; for i in 25 6667 22; do knock 10.0.1.10 $mirror "$i" 4 & knock $server6 "[$mirror6]" "$i" 2 & done
    quietly ping -q -i 0.2 -c 20 $mirror
    quietly ping -q -i 0.2 -c 20 $mirror6
    at 30; updates 41 & jobs+=($!)
    at 33; quietly redis-benchmark -h 2001:db8:2::20 -n 300 -c 8 -t set,get -q
    at 53; updates 57 & jobs+=($!)
    local job failed=0
    for job in "${jobs[@]}"; do wait "$job" || failed=1; done
    return "$failed"
}

case $side in
outside | inside) "$side" ;;
*) echo "traffic.sh is started by capture.sh" >&2; exit 2 ;;
esac
