#!/bin/sh
# Builds visits.wasm of this folder with clang and wasi-libc (Debian: clang lld wasi-libc libclang-rt-14-dev-wasm32).
# `outcrop udf build --core visits.wasm` makes a component of it. usage: build.sh [OUTPUT]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bindings=$here/../../../udf-sdk/c
exec "${CLANG:-clang}" --target=wasm32-wasi -mexec-model=reactor -nostartfiles -O2 -Wall -Wextra -Werror -I"$bindings" \
    -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=131072 \
    "$here/visits.c" "$bindings/outcrop.c" "$bindings/outcrop_component_type.o" -o "${1:-$here/visits.wasm}"
