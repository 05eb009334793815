#!/bin/bash
# t_dax.sh - the store, the whole program and two NUMA nodes on real DAX, in the guest of dax-vm.sh.
# Speaks TAP.
#
# Boots with memory whose caches must be flushed (libpmem2 says "cache line"), with eADR ("byte"),
# with the NVDIMMs on node 1 for what is placed on nodes, and once more for `tierra generate` on the
# demo model when the program is built.
# TR_SRCDIR and TR_BUILDDIR as in the harness. Exit status: 0 all held, 1 not, 77 cannot be run here.
#
# The same file runs inside the guest as `t_dax.sh guest-store GRANULARITY`, `t_dax.sh guest-nodes`
# and `t_dax.sh guest-generate`; busybox is the shell there.

# --- in the guest: prints "ok - NAME" and "not ok - NAME" ----------------------------------------

result() { # STATUS NAME
	if [ "$1" = 0 ]; then echo "ok - $2"; else echo "not ok - $2"; fi
}

guest_store() {
	grep -q ' /mnt/pmem ext4 .*dax=always' /proc/mounts
	result $? "/mnt/pmem is mounted with DAX"
	CMOCKA_MESSAGE_OUTPUT=TAP TR_TEST_STORE_DIR=/mnt/pmem TR_TEST_GRANULARITY=$1 t_store
	echo "# t_store: status $?, left in /mnt/pmem:" /mnt/pmem/*
}

guest_nodes() {
	local t
	[ "$(cat /sys/devices/system/node/has_memory)" = 0-1 ] &&
		[ "$(cat /sys/devices/system/node/has_cpu)" = 0-1 ]
	result $? "there are two nodes with processors and memory"
	export CMOCKA_MESSAGE_OUTPUT=TAP
	for t in t_topo t_pool t_node_mem t_nodes; do
		TR_TEST_MODEL=/t/demo.gguf TR_TEST_STORE_DIR=/mnt/pmem TR_TEST_STORE_NODE=1 $t
	done
}

# OPTIONS of generate; prints JSON without white space.
generate() {
	tierra generate -p "The sea" -n 16 --temp 0 --ignore-eos --dram 20% --output json "$@" \
		2>/tmp/stderr | tr -d ' \n\t'
}

ids() { sed -n 's/.*"ids":\[\([-0-9,]*\)\].*/\1/p'; }
nodes() { sed -n 's/.*"nodes":\[\([^]]*\)\].*/\1/p'; }
pmem_hits() { sed -n 's/.*"name":"pmem:[^}]*"hits":\([0-9]*\).*/\1/p'; }

guest_generate() {
	local plain off copied again placed before
	plain=$(generate -m /t/demo.gguf)
	[ -n "$(echo "$plain" | ids)" ]
	result $? "the demo model generates without persistent memory"
	[ -n "$plain" ] || sed 's/^/# /' /tmp/stderr
	[ "$(echo "$plain" | nodes)" = '{"node":0,"threads":1},{"node":1,"threads":1}' ]
	result $? "it does so on two nodes"
	off=$(generate -m /t/demo.gguf --numa off)
	[ -n "$plain" ] && [ "$(echo "$off" | ids)" = "$(echo "$plain" | ids)" ] &&
		[ -z "$(echo "$off" | nodes)" ]
	result $? "the ids are the same without regard for nodes"

	copied=$(generate -m /t/demo.gguf --pmem /mnt/pmem:40%)
	[ -n "$plain" ] && [ "$(echo "$copied" | ids)" = "$(echo "$plain" | ids)" ]
	result $? "a store on DAX gives the same ids"
	[ "$(echo "$copied" | pmem_hits)" -gt 0 ] 2>/dev/null
	result $? "experts are used from the store"
	before=$(ls -l /mnt/pmem/*.tierra-store)
	again=$(generate -m /t/demo.gguf --pmem /mnt/pmem:40%)
	[ -n "$before" ] && [ "$(ls -l /mnt/pmem/*.tierra-store)" = "$before" ] &&
		[ "$(echo "$again" | ids)" = "$(echo "$plain" | ids)" ]
	result $? "the store is reused by the next run"
	rm -f /mnt/pmem/*.tierra-store

	cp /t/demo.gguf /mnt/pmem/
	before=$(ls -A /mnt/pmem)
	placed=$(generate -m /mnt/pmem/demo.gguf --pmem /mnt/pmem)
	[ -n "$plain" ] && [ "$(echo "$placed" | ids)" = "$(echo "$plain" | ids)" ]
	result $? "a model on DAX gives the same ids in place"
	[ "$(echo "$placed" | pmem_hits)" -gt 0 ] 2>/dev/null && [ "$(ls -A /mnt/pmem)" = "$before" ]
	result $? "it is used where it lies and nothing is written"
	[ -n "$placed" ] || sed 's/^/# /' /tmp/stderr
	rm -f /mnt/pmem/demo.gguf
}

case ${1:-} in
guest-store) guest_store "$2"; exit 0 ;;
guest-nodes) guest_nodes; exit 0 ;;
guest-generate) guest_generate; exit 0 ;;
esac

# --- on the host ---------------------------------------------------------------------------------

here=$(cd "$(dirname "$0")" && pwd)
src=${TR_SRCDIR:-$(cd "$here/../.." && pwd)}
build=${TR_BUILDDIR:-$(pwd)}
seen=0 failed=0

skip_all() { echo "1..0 # SKIP $1"; exit 77; }

# Guest lines become numbered results; the rest are comments.
collect() {
	local line
	while read -r line; do
		case $line in
		'ok '*'# skip'* | 'ok '*'# SKIP'*) seen=$((seen + 1)); echo "ok $seen - $1: ${line#ok *- }" ;;
		'ok '*) seen=$((seen + 1)); echo "ok $seen - $1: ${line#ok *- }" ;;
		'not ok '*) seen=$((seen + 1)); failed=1; echo "not ok $seen - $1: ${line#not ok *- }" ;;
		1..*) ;;
		*) echo "# $1: ${line#\# }" ;;
		esac
	done
}

# LABEL CASES-AT-LEAST OPTION... -- CMD...: a boot whose guest must end well and say enough.
boot() {
	local label=$1 least=$2 out status before=$seen
	shift 2
	out=$("$here/dax-vm.sh" run --file "$here/t_dax.sh" "$@" 2>&1)
	status=$?
	collect "$label" <<<"$out"
	seen=$((seen + 1))
	if [ $status = 0 ] && [ $((seen - 1 - before)) -ge "$least" ]; then
		echo "ok $seen - $label: the guest ran to its end"
	else
		failed=1
		echo "not ok $seen - $label: the guest ran to its end (status $status)"
	fi
}

# The program itself, where libtool made a script to run it from the build folder.
real_program() {
	if head -c 2 "$1" | grep -q '#!'; then
		echo "$(dirname "$1")/.libs/$(basename "$1")"
	else
		echo "$1"
	fi
}

reason=$("$here/dax-vm.sh" check 2>&1) || skip_all "${reason#dax-vm: }"
[ -x "$build/tests/t_store" ] || skip_all "$build/tests/t_store is not built; see make check-vm"
export LD_LIBRARY_PATH=$build/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
store=$(real_program "$build/tests/t_store")

demo=$(mktemp -d) && cp "$src/models/demo-q4_0.gguf" "$demo/demo.gguf" || exit 1
trap 'rm -rf "$demo"' EXIT
node_tests=()
for t in t_topo t_pool t_node_mem t_nodes; do
	node_tests+=(--bin "$(real_program "$build/tests/$t")")
done

boot "cache line" 24 --domain mem-ctrl --bin "$store" -- sh /t/t_dax.sh guest-store "cache line"
boot "byte" 24 --domain cpu --bin "$store" -- sh /t/t_dax.sh guest-store byte
boot "nodes" 30 --domain mem-ctrl --pmem-node 1 "${node_tests[@]}" --file "$demo/demo.gguf" \
	--timeout 600 -- sh /t/t_dax.sh guest-nodes
if [ -x "$build/tools/tierra" ]; then
	boot "generate" 8 --domain mem-ctrl --bin "$(real_program "$build/tools/tierra")" \
		--file "$demo/demo.gguf" --timeout 600 -- sh /t/t_dax.sh guest-generate
else
	seen=$((seen + 1))
	echo "ok $seen - generate # SKIP $build/tools/tierra is not built"
fi
echo "1..$seen"
exit $failed
