#!/bin/sh
# What ptxas said about the kernels when the library was built. Speaks TAP.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
log=${TR_BUILDDIR:-.}/cuda/ptxas.log
src=${TR_SRCDIR:-$here/..}/cuda

if [ ! -f "$log" ]; then
	echo "1..0 # SKIP built without nvcc"
	exit 0
fi

# KERNEL ARCH, one line each
compiled()
{
	sed -n "s/.*Compiling entry function '\\(tr_[a-z0-9_]*\\)' for '\\(sm_[0-9a]*\\)'.*/\\1 \\2/p" "$log"
}

every_kernel_is_reported_for_every_architecture()
{
	compiled >"$dir/compiled"
	archs=$(cut -d' ' -f2 "$dir/compiled" | sort -u)
	echo "architectures: $archs"
	test -n "$archs"
	# shellcheck disable=SC2016
	types=$(sed -n 's/^TR_MATMUL_\(32\|256\|KERNELS\)(\([a-z0-9_]*\),.*/\2/p' "$src/k_matmul.cuh" |
		grep -v '^name$')
	names=$(for t in $types; do echo "tr_matvec_$t" "tr_matmul_$t"; done
		sed -n 's/^TR_MMA_\(32\|256\)(\([a-z0-9_]*\),.*/tr_mma_\2/p' "$src/k_mma.cuh"
		for t in f16 f32 q8_0; do echo "tr_attend_score_$t" "tr_attend_weigh_$t" "tr_flash_$t"; done
		sed -n 's/^TR_KERNEL(\([a-z0-9_]*\),.*/\1/p' "$src"/k_*.cuh)
	test "$(echo "$types" | wc -w)" -eq 23
	for arch in $archs; do
		for name in $names; do
			grep -q "^$name $arch\$" "$dir/compiled" || { echo "no $name for $arch"; return 1; }
		done
	done
}

no_kernel_spills()
{
	grep -B2 -E '[1-9][0-9]* bytes (stack frame|spill)' "$log" && return 1
	test "$(grep -c ' 0 bytes spill stores, 0 bytes spill loads' "$log")" -gt 0
}

# at_most REGISTERS PATTERN - what kernels take whose name matches; there is one at least
at_most()
{
	awk -v most="$1" -v pattern="$2" '/Compiling entry/ { hot = $0 ~ pattern; name = $0 }
		/Used [0-9]+ registers/ && hot {
			n++
			for (i = 1; i < NF; i++)
				if ($i == "Used" && $(i + 1) > most) { print name; print; bad = 1 }
		}
		END { exit bad || !n }' "$log"
}

# 128 threads a block: 85 registers still leave 6 blocks, 24 warps, on a multiprocessor.
products_leave_room_for_24_warps()
{
	at_most 85 "tr_mat(vec|mul)_"
}

# 168 leave 3 blocks.
batches_leave_room_for_12_warps()
{
	at_most 168 "tr_mma_"
}

# 256 threads a block: 85 registers leave 3 blocks or, on sm_86, the 2 that shared memory has room for.
attention_leaves_room_for_2_blocks()
{
	at_most 85 "tr_(attend|flash)_"
}

test_that "every kernel is reported for every architecture" \
	every_kernel_is_reported_for_every_architecture
test_that "no kernel spills" no_kernel_spills
test_that "products leave room for 24 warps" products_leave_room_for_24_warps
test_that "products of batches leave room for 12 warps" batches_leave_room_for_12_warps
test_that "attention leaves room for 2 blocks" attention_leaves_room_for_2_blocks
done_testing
