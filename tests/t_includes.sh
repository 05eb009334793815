#!/bin/sh
# Who may include whom, and what the library must not call. Speaks TAP.
#
# A rule is a folder and the headers that its files may include, as extended regular expressions
# (headers below src/ are named without it). System headers are free. The table is the one in
# src/README.md.

cd "${TR_SRCDIR:-.}" || exit 99
n=0

result() # WHAT OFFENDERS
{
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf '%s\n' "$2" | sed 's/^/# /'
	fi
}

sources() # FOLDER
{
	find "$1" -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.def' | sort
}

# FILE: HEADER for every quoted include of the files named on standard input.
includes()
{
	while read -r f; do
		sed -n "s|^[[:space:]]*#[[:space:]]*include[[:space:]]*\"\\([^\"]*\\)\".*|$f: \\1|p" "$f"
	done
}

may_include() # FOLDER HEADERS
{
	result "$1 includes only what it may" \
		"$(sources "$1" | includes | grep -Ev ": (tierra\\.h|$2)\$")"
}

base='base/[a-z_]+\.h'
quant='model/(quant\.h|quants/(blocks\.h|grids\.(h|def)))'

may_include src/base "$base"
may_include src/model "$base|model/.*"
may_include src/compute "$base|$quant|compute/.*"
may_include policies "$base|policies/.*"
may_include io "$base|io/.*"
may_include cache "$base|model/[a-z_]+\\.h|policies/(policy|predictor|quality|top)\\.h|io/io\\.h|cache/.*"
may_include cuda "$base|$quant|compute/.*|cache/tier\\.h|io/io\\.h|cuda/.*"
may_include src/machine \
	"$base|$quant|compute/(kernels|ops)\\.h|engine/(kv|mla)\\.h|io/(io|probe)\\.h|machine/.*"
may_include src/engine \
	"$base|model/.*|compute/.*|cache/[a-z_]+\\.h|io/(io|probe)\\.h|policies/(policy|top)\\.h|cuda/device\\.h|engine/.*"

n=$((n + 1))
if [ -z "$(find tools -name '*.c')" ]; then
	echo "ok $n - tools include only the public header # SKIP no tools here"
else
	n=$((n - 1))
	result "tools include only the public header" "$(
		for f in $(sources tools); do
			case ${f##*/} in
			cmd_simulate.c | cmd_tune.c) more='|policies/policy\.h|cache/place\.h' ;;
			*) more= ;;
			esac
			echo "$f" | includes |
				grep -Ev ": (tierra\\.h|$base|tools/.*|[a-z_]+\\.h$more)\$"
		done)"
fi

library() # the sources of the library
{
	for d in src policies io cache cuda; do
		sources "$d"
	done
}

# Lines of code, without comments and strings, that have PATTERN as whole words.
code_with() # PATTERN
{
	library | while read -r f; do
		sed 's|"[^"]*"||g; s|/\*.*\*/||; s|/\*.*||; s|^[[:space:]]*\*.*||; s|//.*||' "$f" |
			grep -nE "(^|[^a-zA-Z0-9_])($1)" | sed "s|^|$f:|"
	done
}

# A broken promise of our own code is the one thing that speaks and aborts.
but_err_c()
{
	grep -v '^src/base/err\.c:'
}

result "the library never exits" "$(code_with '(_?_?exit|_Exit|quick_exit)[[:space:]]*\(')"
result "the library never prints" "$(
	code_with '(v?printf|puts|putchar|perror|psignal)[[:space:]]*\('
	code_with '(stdout|stderr)([^a-zA-Z0-9_]|$)' | but_err_c)"
result "the library does not abort" "$(code_with '(abort|assert)[[:space:]]*\(' | but_err_c)"

echo "1..$n"
