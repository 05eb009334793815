#!/bin/sh
# tests/gpu/run, tried out on the host device with small inputs, and what tests/gpu/pack packs.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
build=$(cd "${TR_BUILDDIR:-.}" && pwd)

if [ ! -x "$build/tests/t_device_ops" ]; then
	echo "1..0 # SKIP built without cmocka"
	exit 0
fi

programs="tests/t_device tests/t_device_matmul tests/t_device_ops tests/bench/bench_device
	tests/bench/bench_decode tests/bench/synth tools/tierra"

# gpu_run FOLDER OPTION... - small, with the programs of a folder
gpu_run()
{
	folder=$1
	shift
	status=0
	"$here/gpu/run" -k -s -d host "$@" "$folder" >"$dir/out" 2>&1 || status=$?
	cat "$dir/out"
}

# program NAME - a script in the folder of those that fail
program()
{
	cat >"$dir/bad/$1"
	chmod +x "$dir/bad/$1"
}

mkdir -p "$dir/good/tests/bench" "$dir/bad/tests/bench" "$dir/good/tools" "$dir/bad/tools"
for f in Makefile $programs; do
	ln -s "$build/$f" "$dir/good/$f"
done
cp "$build/Makefile" "$dir/bad"
for f in $programs; do
	printf '#!/bin/sh\necho "ok 1 - fine"\n' | program "$f"
done
program tests/t_device <<'EOF'
#!/bin/sh
echo "ok 1 - streams"
echo "not ok 2 - events"
exit 1
EOF
program tests/bench/bench_device <<'EOF'
#!/bin/sh
echo "matvec Q4_0                    1.0 us      2.0 GB/s    3.0%"
echo "bench_device: device host is lost"
exit 7
EOF
program tests/bench/bench_decode <<'EOF'
#!/bin/sh
echo "bench_decode: no room" >&2
exit 1
EOF
program tools/tierra <<'EOF'
#!/bin/sh
case $* in
*"--vram 50%"*) id=8 ;;
*"--vram 10%"*) echo "device host: lost" >&2; exit 1 ;;
*) id=7 ;;
esac
printf '{\n  "ids": [\n    1,\n    %s\n  ]\n}\n' "$id"
EOF

everything_passes_on_the_host_device()
{
	gpu_run "$dir/good" -t 3000
	test "$status" -eq 0
	test "$(grep -c '^| t_device.* | passed, [1-9]' "$dir/out")" -eq 3
	grep -q '^| t_device_ops-1-seed-[0-9]* | passed' "$dir/out"
	grep -v '^The block for' "$dir/out" | cmp - "$dir/good/gpu-run/result"
}

ids_are_compared_for_four_sizes_of_vram()
{
	for vram in 0 10% 50% 100%; do
		grep -q "^| generate --vram $vram | the same 64 ids as the CPU |" \
			"$dir/good/gpu-run/result"
	done
}

every_type_and_every_setting_has_a_row()
{
	block=$dir/good/gpu-run/result
	test "$(grep -c '^| matvec .* us | .* GB/s | .*% | 80% |$' "$block")" -eq 23
	test "$(grep -c '^| GPU, .* | [0-9.]* | [0-9.]* | [0-9]*% | [0-9.]* | [0-9]*% | .* |$' \
		"$block")" -eq 4
	grep -q '^| CPU alone | [0-9.]* | [0-9.]* |' "$block"
}

what_fails_is_named()
{
	gpu_run "$dir/bad"
	test "$status" -eq 1
	grep -q '^| t_device | \*\*FAILED\*\*, exit status 1: not ok 2 - events |' "$dir/out"
	grep -q '^| generate --vram 0 | the same 2 ids' "$dir/out"
	grep -q '^| generate --vram 10% | \*\*FAILED\*\*, 1: device host: lost |' "$dir/out"
	grep -q '^| generate --vram 50% | \*\*FAILED\*\*: other ids' "$dir/out"
	grep -q '^| bench_device | \*\*exit status 7\*\* | .* host is lost |' "$dir/out"
	grep -q '^| CPU alone | \*\*exit status 1\*\* | bench_decode: no room |' "$dir/out"
	grep -q '; 9 failed or stopped' "$dir/out"
}

what_there_is_no_time_for_is_said()
{
	gpu_run "$dir/bad" -t 0
	test "$status" -eq 1
	grep -q '^| t_device | \*\*stopped\*\* after 0 cases: no time left |' "$dir/out"
}

a_pack_has_configure_and_all_libraries()
{
	"$here/gpu/pack" "$dir/pack.tar.gz"
	tar -tzf "$dir/pack.tar.gz" >"$dir/list"
	for f in tree/configure tree/Makefile.in bin/make include/liburing.h include/cmocka.h \
		lib/liburing.so lib/libpmem2.so.1 lib/libndctl.so.6 lib/libcmocka.so.0; do
		grep -qx "$f" "$dir/list" || { echo "no $f"; return 1; }
	done
	if grep 'lib/lib\(c\|m\)\.so' "$dir/list"; then
		return 1
	fi
}

test_that "everything passes on the host device" everything_passes_on_the_host_device
test_that "ids are compared for four sizes of VRAM" ids_are_compared_for_four_sizes_of_vram
test_that "every type and every setting has a row" every_type_and_every_setting_has_a_row
test_that "what fails is named" what_fails_is_named
test_that "what there is no time for is said" what_there_is_no_time_for_is_said
if [ -x "$here/../configure" ] && command -v objdump >/dev/null &&
	dpkg-query -s liburing-dev libcmocka-dev libpmem2-dev >/dev/null 2>&1; then
	test_that "a pack has configure and all libraries" a_pack_has_configure_and_all_libraries
else
	skip "a pack has configure and all libraries" "needs the Debian packages of the libraries, and objdump"
fi
done_testing
