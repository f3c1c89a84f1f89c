#!/usr/bin/env bash
# Two hosts that train one model: two network namespaces with a wire between them, torchrun in each. The weights are compared
# with those of one process. `tests/two_hosts.sh [shared] [separate] [elastic]`; without words the first two.
#
#   shared    both see the same folder; the hosts find each other by rendezvous
#   separate  each has a folder of its own, and only the first one's is written
#   elastic   the first starts alone, the second joins and is lost again; needs a minute
#
# Needs root and `ip netns`; ends with 77 where these are missing. PYTHON is the Python with Recurra in it.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(dirname "$0")/../.venv/bin/python}")

skip() { echo "skipped: $1"; exit 77; }
[ "$(id -u)" = 0 ] || skip "two hosts need root, for network namespaces"
command -v ip > /dev/null || skip "two hosts need the command ip (iproute2)"
first=recurra-1-$$ second=recurra-2-$$ work=$(mktemp -d)
clean() {
  for space in "$first" "$second"; do
    ip netns pids "$space" 2> /dev/null | xargs -r kill -9 2> /dev/null || true
    ip netns del "$space" 2> /dev/null || true
  done
  rm -rf "$work"
}
trap clean EXIT
ip netns add "$first" 2> "$work/said" || skip "no network namespaces here: $(cat "$work/said")"
ip netns add "$second"
ip link add eth0 netns "$first" type veth peer name eth0 netns "$second" 2> "$work/said" ||
  skip "no veth pair here: $(cat "$work/said")"
ip -n "$first" address add 10.77.0.1/24 dev eth0
ip -n "$second" address add 10.77.0.2/24 dev eth0
for space in "$first" "$second"; do
  ip -n "$space" link set lo up
  ip -n "$space" link set eth0 up
done

cd "$work"
for _ in $(seq 60); do echo "the cat sat on the mat and the dog ran."; done > text.txt
mkdir one two
cp text.txt one
cp text.txt two
export OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=eth0
fit="fit text.txt --hidden 8 --rows 5 --steps 32 --no-baselines --checkpoint-every 5"
host() { # NAMESPACE FOLDER OPTIONS-OF-TORCHRUN -- WORDS
  ip netns exec "$1" env -C "$2" "$python" -m torch.distributed.run "${@:3}" > "$work/said-$1" 2>&1
}
meeting() { # RANK NODES NAME: the options with which a host takes part in a rendezvous
  echo "--nnodes $2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint 10.77.0.1:29400 --rdzv-id $3
    --local-addr 10.77.0.$((1 + $1)) --rdzv-conf is_host=$((1 - $1))"
}
same() { # FOLDER FOLDER
  "$python" - "$@" << 'END'
import json, sys, torch
from safetensors.torch import load_file
one, two = (load_file(f"{folder}/weights.safetensors") for folder in sys.argv[1:])
for name, value in one.items():
    torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)
most = max(float((two[name] - value).abs().max()) for name, value in one.items())
count = json.load(open(sys.argv[2] + "/record.json"))["processes"]
print(f"{sys.argv[2]}: {count} processes, weights at most {most:.1e} from those of one")
END
}
failed() { cat "$work"/said-*; echo "failed: $1"; exit 1; }

# shellcheck disable=SC2086
shared() {
  host "$second" . $(meeting 1 2 a) -m recurra $fit --epochs 4 --out shared &
  host "$first" . $(meeting 0 2 a) -m recurra $fit --epochs 4 --out shared || failed "two hosts, one folder"
  wait $!
  same alone shared
}

# shellcheck disable=SC2086
separate() {
  at="--nnodes 2 --nproc-per-node 2 --master-addr 10.77.0.1 --master-port 29500"
  host "$second" two $at --node-rank 1 -m recurra $fit --epochs 4 --out model &
  host "$first" one $at --node-rank 0 -m recurra $fit --epochs 4 --out model || failed "two hosts, two folders"
  wait $!
  [ ! -e two/model ] || failed "the second host wrote"
  same alone one/model
}

# shellcheck disable=SC2086
elastic() {
  # without it a host that joins later waits for an address that torchrun tells in the first round only
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
  "$python" -m recurra $fit --epochs 1500 --out long 2> said-long
  host "$first" . $(meeting 0 1:2 b) --max-restarts 3 -m recurra $fit --epochs 1500 --out elastic &
  running=$!
  until [ -e elastic/metrics.jsonl ]; do sleep 0.2; done
  host "$second" . $(meeting 1 1:2 b) --max-restarts 3 -m recurra $fit --epochs 1500 --out elastic &
  joined=$!
  until grep -q "going on" "said-$first"; do sleep 0.2; done
  sleep 3
  ip netns pids "$second" | xargs -r kill -9
  wait $joined || true
  wait $running || failed "a host that came and went"
  # in a long training small differences grow, so the losses until soon after the last change are what can be compared
  "$python" - "$(grep "going on" "said-$first" | grep -o "[0-9]*$" | tail -n 1)" << 'END'
import json, sys
last = int(sys.argv[1]) + 500
one, two = ({e["step"]: e["loss"] for e in map(json.loads, open(f"{run}/metrics.jsonl"))} for run in ("long", "elastic"))
assert one.keys() == two.keys()
most = max(abs(two[step] / one[step] - 1) for step in one if step <= last)
assert most < 1e-3, most
print(f"elastic: one process, two, one again by step {last - 500}; losses until step {last} within {most:.1e}")
END
}

"$python" -m recurra $fit --epochs 4 --out alone 2> said-alone
for what in "${@:-shared separate}"; do for part in $what; do "$part"; done; done
