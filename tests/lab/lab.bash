# lab.bash: names of a lab and the steps its scripts share. Sourced by them, never run.
#
# A lab is one folder DIR and one network namespace NS:
#   lab.env                 what `up` decided (sourced by the other scripts, and by tests)
#   nodeI.cow               node I's own copy of the image (only what it changed)
#   nodeI.disk1, .disk2     its disks, sparse: /dev/vdb, /dev/vdc in the node
#   id, known_hosts         the ssh key that may log in as root and heketi
#   pids/nodeI              process group of the node
#   log/nodeI               its console
#   ssh-I                   control socket of the kept ssh connection
# Every process of a lab is in its namespace, so `ip netns pids` finds what a crashed run left.

set -euo pipefail
lab_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab_me=tests/lab/$(basename "$0")

lab_stop() { echo "$lab_me: $1" >&2; exit "${2:-1}"; }

# Reads DIR/lab.env and makes DIR the working folder: sockets and disks have short names there
# (a socket's path may have 107 characters).
lab_open() {
  [[ -f ${1:?}/lab.env ]] || lab_stop "there is no lab in $1"
  cd "$1"
  . ./lab.env
}

lab_check_node() {
  [[ ${1:-} =~ ^[1-8]$ && $1 -le $LAB_COUNT ]] || lab_stop "no node '${1:-}': the nodes are 1 to $LAB_COUNT"
}

lab_in_ns() { nsenter --net="/run/netns/$LAB_NS" "$@"; }

# wait_until SECONDS COMMAND...: 0 as soon as the command succeeds.
lab_wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.2
  done
}

lab_free_gb() { df --output=avail -B1G "$1" | tail -1 | tr -d ' '; }

# ---- ssh

# One kept connection per node; a fresh one costs a node nearly a second.
lab_ssh() {
  local node=$1
  shift
  lab_in_ns ssh -q -i id -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=known_hosts \
    -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
    -o ControlMaster=auto -o ControlPath="ssh-$node" -o ControlPersist=600 "root@10.77.0.1$node" "$@"
}

lab_ssh_close() {
  [[ -S ssh-$1 ]] || return 0
  timeout 5 ssh -q -o ControlPath="ssh-$1" -O exit "10.77.0.1$1" 2>/dev/null || true
  rm -f "ssh-$1"
}

# ---- nodes

lab_node_answers() { timeout 10 bash -c '. "$0"; cd "$1"; . ./lab.env; lab_ssh "$2" gluster --timeout=5 pool list' \
  "$lab_here/lab.bash" "$PWD" "$1" >/dev/null 2>&1 </dev/null 9>&-; }

# The pids of node I that are alive: its process group, if that is still in the lab's namespace
# (a recorded number may have gone to somebody else's process since).
lab_node_pids() {
  local group
  group=$(cat "pids/node$1" 2>/dev/null) || return 0
  ps -eo pid=,pgid= | awk -v group="$group" 'NR == FNR { ours[$1]; next } $2 == group && $1 in ours { print $1 }' \
    <(ip netns pids "$LAB_NS" 2>/dev/null) -
}

# Starts node I on its own disks (made when they are not there) without waiting for it.
lab_node_boot() {
  local i=$1 disk disks=() key
  [[ -z $(lab_node_pids "$i") ]] || lab_stop "node $i is running"
  for ((disk = 1; disk <= LAB_DISKS; disk++)); do
    [[ -f node$i.disk$disk ]] || truncate -s "$LAB_DISK" "node$i.disk$disk"
    disks+=("ubd$disk=node$i.disk$disk,,lab-node$i-disk$disk")   # file, no backing file, serial
  done
  read -r _ key _ <id.pub
  ip -n "$LAB_NS" neigh flush dev br0
  # TMPDIR: the node's memory is a file there. gro=1: without it the first large write hangs.
  # UML's name and sockets are kept in DIR (uml_dir) instead of the home folder.
  # xstate.so: it dies of processors with AMX else.
  [[ -f xstate.so ]] || gcc -shared -fPIC -O2 -o xstate.so "$lab_here/xstate.c" || lab_stop "cannot build xstate.c"
  LD_PRELOAD=$PWD/xstate.so TMPDIR=/dev/shm setsid nsenter --net="/run/netns/$LAB_NS" linux.uml \
    uml_dir=uml/ umid="$LAB_NS-node$i" "mem=$LAB_MEM" "ubd0=node$i.cow,base.img" "${disks[@]}" \
    root=/dev/ubda rw quiet init=/lab/init \
    "vec0:transport=tap,ifname=tap$i,depth=64,gro=1,mac=52:54:00:77:00:1$i" \
    con=null con0=null,fd:1 con1=null ssl=null \
    "lab.name=node$i" "lab.ip=10.77.0.1$i/24" "lab.key=$key" \
    >"log/node$i" 2>&1 </dev/null 9>&- &
  echo $! >"pids/node$i"
  disown
}

lab_node_wait() {
  local cause="node $1 does not answer (ssh, then gluster pool list)"
  if lab_wait_until 120 lab_node_settled "$1"; then
    lab_node_ended "$1" || return 0
    cause="node $1 has ended"
  fi
  { echo "$cause; its console ends:"; tail -15 "log/node$1"; cat log/watchdog; } >&2
  return 1
}
lab_node_settled() { lab_node_ended "$1" || lab_node_answers "$1"; }
# Asked by pid: a node that was only just started is not in the namespace yet.
lab_node_ended() { [[ ! -f pids/node$1 ]] || ! kill -0 "$(cat "pids/node$1")" 2>/dev/null; }

# Power off without warning. The whole group at once: with only the main process killed, UML's
# traced guest processes would be let go and run natively on this machine.
lab_node_kill() {
  if [[ -n $(lab_node_pids "$1") ]]; then
    kill -9 -- "-$(cat "pids/node$1")" 2>/dev/null || true
    lab_wait_until 20 lab_node_gone "$1" || { echo "node $1 outlives kill -9" >&2; return 1; }
  fi
  rm -f "pids/node$1"
  lab_ssh_close "$1"
}
lab_node_gone() { [[ -z $(lab_node_pids "$1") ]]; }

# ---- the namespace

# The pids in the namespace, but for this script and the processes that called it.
lab_ns_pids() {
  local own=" " pid=$$
  while ((pid > 1)); do
    own+="$pid "
    pid=$(ps -o ppid= -p "$pid" | tr -d ' ')
  done
  ip netns pids "$LAB_NS" 2>/dev/null | while read -r pid; do [[ $own == *" $pid "* ]] || echo "$pid"; done
}
lab_ns_empty() { [[ -z $(lab_ns_pids) ]]; }

# Where the glusterfs clients of the namespace have mounted (their last argument).
lab_fuse_mounts() {
  local pid
  for pid in $(ip netns pids "$LAB_NS" 2>/dev/null); do
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == glusterfs* ]] || continue
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | tail -1 || true
  done
}

# Ends everything in the namespace and removes it; taps and bridge go with it.
lab_ns_remove() {
  local mount
  [[ -e /run/netns/$LAB_NS ]] || return 0
  lab_fuse_mounts | while read -r mount; do
    ! mountpoint -q "$mount" 2>/dev/null && ! grep -q " $mount fuse.glusterfs " /proc/mounts || umount -l "$mount" || true
  done
  lab_ns_pids | xargs -r kill -9 2>/dev/null || true
  lab_wait_until 20 lab_ns_empty || { echo "left in namespace $LAB_NS: $(lab_ns_pids | tr '\n' ' ')" >&2; return 1; }
  ip netns del "$LAB_NS"
}
