#!/usr/bin/env bash
# The same bits on other processors: the kernels on this one in each of its instruction sets, on Arm, and the module in a
# Python on a processor without AVX2. The others are emulated; on Debian they need
#
#   apt-get install g++ g++-aarch64-linux-gnu qemu-user
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/processors
mkdir -p "$build"
flags="-std=c++17 -O2 -Wall -Wextra -Werror -ffp-contract=off -fno-math-errno -Wno-psabi -pthread -Inative"
common="native/kernels_portable.cpp native/dispatch.cpp native/calls.cpp native/network.cpp native/parallel.cpp native/sweeps_portable.cpp native/matrices_portable.cpp tests/native_check.cpp"

failed=0
expect() { # NAME GOT: the same hash as the first one
  echo "$1: $2"
  first=${first:-${2%% *}}
  [ "${2%% *}" = "$first" ] || { echo "  differs" >&2; failed=1; }
}

# shellcheck disable=SC2086
{
  g++ $flags -mavx2 -mfma -c native/kernels_avx2.cpp -o "$build/avx2.o"
  g++ $flags -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512 -Wno-maybe-uninitialized \
    -c native/kernels_avx512.cpp -o "$build/avx512.o"
  for part in sweeps matrices; do
    g++ $flags -mavx2 -mfma -c "native/${part}_avx2.cpp" -o "$build/${part}_avx2.o"
    g++ $flags -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512 -Wno-maybe-uninitialized \
      -c "native/${part}_avx512.cpp" -o "$build/${part}_avx512.o"
  done
  g++ $flags -DRECURRA_AVX512 $common "$build/avx2.o" "$build/avx512.o" "$build"/sweeps_*.o "$build"/matrices_*.o -o "$build/here" -ldl
  aarch64-linux-gnu-g++ $flags $common -o "$build/arm" -ldl -static-libstdc++
}
for simd in portable avx2 avx512; do
  if got=$(RECURRA_SIMD=$simd "$build/here" 2> /dev/null); then
    expect "this processor, $simd" "$got"
  else
    echo "this processor has no $simd"
  fi
done
expect "a processor without AVX2" "$(qemu-x86_64 -cpu Nehalem "$build/here")"
expect "Arm" "$(qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/arm")"

# the module as it was installed, in a Python of its own
module=${RECURRA_MODULE:-$(.venv/bin/python -c "from recurra import _native; print(_native.__file__)")}
tests/bare_python.sh "$build/python" "$module"
first=
expect "the module here" "$("$build/python/bin/python" tests/native_calls.py 2 5 4 | awk '{print $2, $1}')"
expect "the module without AVX2" \
  "$(qemu-x86_64 -cpu Nehalem "$build/python/bin/python" tests/native_calls.py 2 5 4 | awk '{print $2, $1}')"
exit "$failed"
