#!/bin/sh
# A cluster of one node on this machine, in a network namespace of its own: three pods (rutter echo) behind the Services of
# examples/objects, served by `rutter agent`. Ends on Ctrl-C and leaves nothing behind.
#
# Environment: RUTTER (the binary), NETNS (the namespace of the node, default rutter). Arguments go to `rutter agent`.
set -eu
cd "$(dirname "$0")/.."
rutter=$(readlink -f "${RUTTER:-target/release/rutter}")
node=${NETNS:-rutter}
made=
pids=

tidy_up() {
    trap - EXIT INT TERM
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    wait
    for n in 1 2 3; do ip netns del "$node-pod-$n" 2>/dev/null || true; done
    if [ -n "$made" ]; then ip netns del "$node"; else ip -n "$node" link del rutter0 2>/dev/null || true; fi
}
trap tidy_up EXIT
trap 'exit 0' INT TERM

if [ ! -e "/run/netns/$node" ]; then
    ip netns add "$node"
    made=yes
fi
ip -n "$node" link set lo up
ip -n "$node" link add rutter0 type bridge
ip -n "$node" addr add 10.244.0.1/24 dev rutter0
ip -n "$node" link set rutter0 up
# A node reaches Services by whatever route it has; this one has no default route.
ip -n "$node" route add 10.96.0.0/12 dev rutter0
ip netns exec "$node" sysctl -qw net.ipv4.ip_forward=1
for n in 1 2 3; do
    pod=$node-pod-$n
    ip netns add "$pod"
    ip -n "$node" link add "pod$n" type veth peer name eth0 netns "$pod"
    ip -n "$node" link set "pod$n" master rutter0 up
    ip netns exec "$node" sh -c "echo 1 > /sys/class/net/pod$n/brport/hairpin_mode"
    ip -n "$pod" addr add "10.244.0.1$n/24" dev eth0
    ip -n "$pod" link set lo up
    ip -n "$pod" link set eth0 up
    ip -n "$pod" route add default via 10.244.0.1
    POD_NAME="pod-$n" NODE_NAME=example POD_NAMESPACE=default ip netns exec "$pod" "$rutter" echo &
    pids="$pids $!"
done
ip netns exec "$node" "$rutter" agent --objects examples/objects --node-name example --dns-listen 10.244.0.1:53 "$@" &
pids="$pids $!"

cat <<TEXT
The node is the network namespace '$node', the pods are '$node-pod-1' to 3. In another terminal, as root:

  ip netns exec $node curl http://10.96.0.80/                                      a Service
  ip netns exec $node-pod-3 curl http://10.244.0.1:30001/                          its node port, from a pod
  ip netns exec $node dig +short @10.96.0.10 nginx-svc.default.svc.cluster.local   its name
  ip netns exec $node curl -H 'Host: k8s.fooleryang.cn' http://10.244.0.1/api      a URL
  $rutter trace --objects examples/objects --node-name example tcp://10.96.0.80:80         why

Ctrl-C ends it.
TEXT
wait
