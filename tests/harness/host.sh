# Connects a new network namespace to a switch, and keeps it until standard input ends.
# $1: its address. $2: the process that keeps the switch, or nothing if this is to be the switch.
set -e
ip link set lo up
if [ -n "$2" ]; then
  number=${1##*.}
  # The peer gets another name than its port, since both are made here.
  ip link add eth0 type veth peer name "port$number" netns "$2"
  nsenter --net="/proc/$2/ns/net" ip link set "port$number" master switch up
  ip address add "$1/24" dev eth0
  ip link set eth0 up
  # The kernel takes up to a second to open a new port, and what is sent before that is lost.
  until ip link show eth0 | grep -q "state UP" &&
    nsenter --net="/proc/$2/ns/net" ip -details link show "port$number" | grep -q "state forwarding"; do
    sleep 0.01
  done
else
  ip link add switch type bridge
  ip link set switch up
fi
echo connected
exec cat
