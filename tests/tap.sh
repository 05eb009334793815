# shellcheck shell=sh
# tap.sh - for tests in shell: sourced, it gives a scratch folder ($dir, removed at the end) and
# what is needed to speak TAP. Tests are functions or commands; what a failing one printed is shown.

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
tap_n=0
tierra=${TR_BUILDDIR:-.}/tools/tierra

# test_that NAME COMMAND... - one test: passes when the command does. A function ends with its first
# command that fails.
test_that()
{
	tap_n=$((tap_n + 1))
	tap_name=$1
	shift
	# Not within the condition: there the shell would ignore set -e.
	(set -e; "$@") >"$dir/tap.out" 2>&1
	tap_status=$?
	if [ "$tap_status" -eq 0 ]; then
		echo "ok $tap_n - $tap_name"
	else
		echo "not ok $tap_n - $tap_name"
		sed 's/^/# /' "$dir/tap.out"
	fi
}

# skip NAME REASON
skip()
{
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $1 # SKIP $2"
}

# run STATUS ARGUMENT... - runs tierra with output in $dir/out and $dir/err; fails when it does not
# exit with STATUS.
run()
{
	want=$1
	shift
	status=0
	"$tierra" "$@" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
	[ "$status" -eq "$want" ] && return
	echo "exit status $status, not $want: tierra $*"
	head -n 20 "$dir/err"
	return 1
}

# holds EXPRESSION [FILE...] - holds for j, the parsed files of JSON (standard output when none is
# named). $holds_with: Python that it may call.
holds_with=
holds()
{
	what=$1
	shift
	[ $# -gt 0 ] || set -- "$dir/out"
	python3 - "$holds_with" "$what" "$@" <<-'END'
	import json, sys
	exec(sys.argv[1])
	j = [json.load(open(name, encoding="utf-8")) for name in sys.argv[3:]]
	j = j[0] if len(j) == 1 else j
	if not eval("(" + sys.argv[2] + ")"):
	    sys.exit(sys.argv[2] + "\n" + json.dumps(j)[:3000])
	END
}

done_testing()
{
	echo "1..$tap_n"
}

# every_policy - of $tierra, that a run can have; with TR_FEW_POLICIES some of them, where another run of the
# tests takes all.
every_policy()
{
	"$tierra" policies | sed -n '2,/^$/s/^\([a-z0-9_-]*\) .*/\1/p' |
		grep -vx belady | grep -xE "${TR_FEW_POLICIES:+lru|arc|cost|foresight|none}.*"
}
