#!/usr/bin/env bash
# Makes FOLDER a Python environment that has the module _native and the tools of .venv, but neither the package around
# the module nor the hook that leads to the installed one. What runs in it tests this module and needs no torch.
#
#   tests/bare_python.sh FOLDER MODULE
set -euo pipefail
python="$(dirname "$0")/../.venv/bin/python"
rm -rf "$1"
"$python" -m venv --without-pip "$1"
packages=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$packages/tools.pth"
mkdir "$packages/recurra"
touch "$packages/recurra/__init__.py"
cp "$2" "$packages/recurra/"
