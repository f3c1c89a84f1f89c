#!/usr/bin/env bash
# The native tests over a module built with the address and the undefined-behaviour sanitiser. A report ends the run.
#
# For GCC. Without torch: the threads are the module's own, and every array lies between guards of the sanitiser. Fresh memory is
# full of NaN (bytes of 255), so what is read before it was written shows in the results.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/sanitised
python="$PWD/.venv/bin/python"
export PATH="$PWD/.venv/bin:$PATH"

# It is built for every run of the tests, and building takes longer than running: nothing is optimised, checks of memory are calls
# instead of being in place, and there are no kernels that this processor could not run.
avx512=ON
if [ -r /proc/cpuinfo ] && ! grep -q avx512f /proc/cpuinfo; then avx512=OFF; fi
cmake -S . -B "$build/module" -DRECURRA_SANITIZE=ON -DRECURRA_DEVELOPER=ON -DCMAKE_BUILD_TYPE=None \
  -DRECURRA_AVX512=$avx512 -DCMAKE_CXX_FLAGS="-O0 --param asan-instrumentation-with-call-threshold=0" -DPython_EXECUTABLE="$python" \
  -Dnanobind_DIR="$("$python" -m nanobind --cmake_dir)" > /dev/null
cmake --build "$build/module" --parallel "${RECURRA_JOBS:-2}" > "$build/build.log" 2>&1 || { cat "$build/build.log"; exit 1; }
tests/bare_python.sh "$build/python" "$build"/module/_native*.so

compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$build/module/CMakeCache.txt")
export LD_PRELOAD="$("$compiler" -print-file-name=libasan.so) $("$compiler" -print-file-name=libubsan.so)"
# Python keeps memory until it ends: no search for leaks
export ASAN_OPTIONS=detect_leaks=0:max_malloc_fill_size=1073741824:malloc_fill_byte=255
export UBSAN_OPTIONS=print_stacktrace=1
"$build/python/bin/python" -c 'from recurra import _native; assert _native.sanitized'
# captured in Python alone: a report must not end with the process that was to show it
exec "$build/python/bin/python" -m pytest --noconftest -p no:cacheprovider --capture=sys -q tests/test_native.py \
  tests/test_native_programs.py tests/test_native_smoothing.py tests/test_native_sweeps.py
