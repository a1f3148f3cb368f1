#!/bin/sh
# Makes the objects from their sources: clang 14 or newer, linux-libc-dev, libbpf-dev. The objects are kept beside the
# sources, so that tests need none of these.
set -e
cd "$(dirname "$0")"
include=$(echo /usr/include/*-linux-gnu)
for source in *.c; do
	debug=-g
	[ "$source" = plain.c ] && debug=
	clang -O2 $debug -fdebug-compilation-dir=. -target bpf -mcpu=v3 -I "$include" -Wall -Wno-missing-declarations -c "$source" -o "${source%.c}.o"
	llvm-strip --strip-debug "${source%.c}.o"
done
