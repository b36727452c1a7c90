# kube.bash: steps that the scripts of a control plane share. Sourced by them, never run. They work in DIR:
#   admin.conf   cluster-admin, needs no other file     pki/    the CA and all keys
#   pids/NAME    a daemon's process                     log/NAME  what it wrote
#   words/NAME   how it was started
#   node/        the node's own files: its /var, what differs in its /etc, configurations

# ---- certificates, kubeconfigs (in DIR/pki)
new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
certificate() { # name, subject, extensions
  new_key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" -extfile <(printf %b "$3") 2>/dev/null
}
client_certificate() { certificate "$1" "$2" 'extendedKeyUsage=clientAuth\n'; }
# kubeconfig user, server: one file that needs no other (run in DIR)
kubeconfig() {
  local b64="base64 -w0"
  cat <<EOF
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "$2", certificate-authority-data: $($b64 pki/ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $($b64 "pki/$1.crt"), client-key-data: $($b64 "pki/$1.key")}}]
contexts: [{name: test, context: {cluster: test, user: $1}}]
current-context: test
EOF
}

# ---- daemons
# Starts one with files of its own for its output, so that no pipe of ours stays open.
start() { # name, program, words...
  local name=$1
  shift
  mkdir -p words
  printf '%s\0' "$@" >"words/$name"
  GOMAXPROCS=${GOMAXPROCS:-2} setsid "$@" >>"log/$name" 2>&1 </dev/null &
  echo $! >"pids/$name"
  disown
}
failed() { # name, what is wrong
  {
    echo "$me: $2; from the log of $1:"
    grep -iE 'error|fatal|panic|in use|not defined|unknown flag' "log/$1" | head -3 || true
    echo "its last lines:"
    tail -5 "log/$1"
  } >&2
  exit 1
}

# Does the process recorded under that name still run? Its words name our folder; a pid that went to
# somebody else's process does not, and a zombie has no words.
running() {
  local pid
  pid=$(cat "$dir/pids/$1" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$dir"
}
end_one() { # name [signal of the first try]
  local try
  for try in {1..100}; do
    running "$1" || break
    case $try in
      1) kill "-${2:-TERM}" "$(cat "$dir/pids/$1")" ;;
      40) kill -9 "$(cat "$dir/pids/$1")" ;;
    esac 2>/dev/null || true
    sleep 0.1
  done
  ! running "$1" || { echo "$me: $1 (pid $(cat "$dir/pids/$1")) outlives kill -9" >&2; exit 1; }
  rm -f "$dir/pids/$1"
}

# The cgroup below which the node in DIR keeps its pods, in every hierarchy of this machine.
node_cgroup() { echo "bricklayer-$(sha256sum <<<"$dir" | cut -c1-12)"; }
cgroup_roots() { awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts; }
