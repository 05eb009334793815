#!/bin/sh
# The live view: of a run in the background as text and JSON, and on terminals of tmux.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
model=${TR_SRCDIR:-$here/..}/models/demo-q4_0.gguf
prompt="The quick brown fox"
export TIERRA_LIVE_DIR="$dir/live" LC_ALL=C.UTF-8
mkdir "$TIERRA_LIVE_DIR" "$dir/pm"

# alone FUNCTION - with nothing left of other tests.
alone()
{
	stop_all
	rm -f "$TIERRA_LIVE_DIR"/*
	"$1"
}

# Ends what a test left running.
stop_all()
{
	for f in "$dir"/*.pid; do
		[ ! -f "$f" ] || kill "$(cat "$f")" 2>/dev/null || true
		rm -f "$f"
	done
	mux kill-server >"$dir/tmux.said" 2>&1 || true
}
trap 'stop_all; rm -rf "$dir"' EXIT

# eventually COMMAND... - tries for up to 30 seconds until the command succeeds.
eventually()
{
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ "$tries" -lt 300 ] || { echo "never: $*"; return 1; }
		sleep 0.1
	done
}

# start NAME OPTION... - a run in the background that takes a minute; $pid once it decodes.
start()
{
	name=$1
	shift
	"$tierra" generate -m "$model" -p "$prompt" --temp 0 -t 2 -n 1000 --ignore-eos --dram 25% \
		--throttle dram=30M "$@" >"$dir/$name.text" 2>"$dir/$name.said" </dev/null &
	pid=$!
	echo "$pid" >"$dir/$name.pid"
	eventually decodes_or_ended "$pid"
	kill -0 "$pid" && return
	cat "$dir/$name.said"
	return 1
}

decodes_or_ended()
{
	decodes "$1" || ends "$1"
}

decodes()
{
	"$tierra" top --json -i 0.05 "$1" 2>/dev/null >"$dir/look" && grep -q '"decode"' "$dir/look"
}

ends()
{
	! kill -0 "$1" 2>/dev/null
}

# shows TEXT... - of standard output.
shows()
{
	for text in "$@"; do
		grep -qF -e "$text" "$dir/out" && continue
		echo "'$text' is not shown:"
		cat "$dir/out"
		return 1
	done
}

# no_wider COLUMNS
no_wider()
{
	[ "$(wc -L <"$dir/out")" -le "$1" ] && return
	echo "wider than $1:"
	cat "$dir/out"
	return 1
}

says()
{
	grep -qF -e "$1" "$dir/err" && return
	echo "standard error does not say '$1':"
	cat "$dir/err"
	return 1
}

one_look_is_text()
{
	start one --pmem "$dir/pm:4M" --predictor gate
	for columns in 40 60 80 200; do
		COLUMNS=$columns run 0 top --once -i 0.5 "$pid"
		shows "tierra $pid" tokens/s dram pmem: nvme attention "disk wait" "experts dram" \
			disk prefetch predictor memory layers +pmem
		no_wider $columns
	done
	run 0 top --once --ascii
	shows "tierra $pid" "##"
	test -z "$(LC_ALL=C grep '[^ -~]' "$dir/out")"
}

one_look_is_json()
{
	start json
	run 0 top --json "$pid"
	cp "$dir/out" "$dir/first"
	run 0 top --json -i 0.3
	python3 - "$pid" "$dir/first" "$dir/out" <<-'END'
	import json, sys
	pid = int(sys.argv[1])
	a, b = (json.load(open(name, encoding="utf-8")) for name in sys.argv[2:])
	assert a["pid"] == b["pid"] == pid
	assert b["tokens"]["decoded"] > a["tokens"]["decoded"] > 0
	assert b["tokens"]["prefill"] == 7 and b["tokens"]["per_s_now"] > 0
	assert abs(sum(l["share_now"] for l in b["lanes"].values()) - 1) < 1e-6
	assert 0.5 < sum(l["seconds"] for l in b["lanes"].values()) / b["run_seconds"] <= 1
	assert [t["name"] for t in b["tiers"]] == ["dram", "nvme"]
	layers = b["layers"]
	assert sum(l["uses"] for l in layers) >= 4 * 4 * b["tokens"]["decoded"]
	assert all(0 < l["dram"] <= l["uses"] for l in layers)
	END
}

the_only_run_is_found()
{
	run 1 top --once
	says "no run of yours"
	start first
	run 0 top --once -i 0.1
	shows "tierra $pid"
	other=$pid
	start second
	run 1 top --once
	says "2 runs can be watched"
	shows "$pid" "$other" demo-q4_0.gguf
	run 0 top --list
	shows "$pid" "$other"
}

a_status_ends_with_its_run()
{
	start ended
	test -f "$TIERRA_LIVE_DIR/tierra-$(id -u)-$pid"
	test "$(stat -c %a "$TIERRA_LIVE_DIR/tierra-$(id -u)-$pid")" = 600
	kill "$pid"
	eventually ends "$pid"
	test -z "$(ls "$TIERRA_LIVE_DIR")"
	run 1 top --once "$pid"
	says "there is no process $pid"
	start killed
	kill -9 "$pid"
	eventually ends "$pid"
	test -n "$(ls "$TIERRA_LIVE_DIR")"
	run 0 top --list
	test -z "$(ls "$TIERRA_LIVE_DIR")"
}

no_status_without_leave()
{
	"$tierra" generate -m "$model" -p "$prompt" --temp 0 -t 2 -n 1000 --ignore-eos --no-live \
		--throttle dram=30M >"$dir/no.text" 2>&1 &
	pid=$!
	echo "$pid" >"$dir/no.pid"
	eventually test -s "$dir/no.text"
	test -z "$(ls "$TIERRA_LIVE_DIR")"
	run 1 top --once "$pid"
	says "process $pid has no live status"
	says "--no-live"
	stop_all
	run 2 generate -m "$model" -p x --top --no-live
	says "exclude each other"
}

a_run_goes_on_without_a_place_for_its_status()
{
	TIERRA_LIVE_DIR=$dir/nowhere run 0 generate -m "$model" -p "$prompt" -n 2 -v
	says "$dir/nowhere"
	TIERRA_LIVE_DIR=$dir/nowhere run 0 generate -m "$model" -p "$prompt" -n 2
	grep -q nowhere "$dir/err" && return 1
	test -s "$dir/out"
}

bad_files_are_named()
{
	file="$TIERRA_LIVE_DIR/tierra-$(id -u)-$$"
	printf 'TIERRALV\007\000\000\000\020\000\000\00012345678' >"$file"
	run 1 top --once $$
	says "version 7, this program reads version 1"
	says "$file"
	printf 'TIERRAL' >"$file"
	run 1 top --once $$
	says "7 bytes"
	printf 'something else altogether' >"$file"
	run 1 top --once $$
	says "begin with TIERRALV"
	rm -f "$file"
	run 2 top 0
	run 2 top one
	run 2 top 1 2
	run 2 top --once --json 1
	run 2 top -i 0 1
}

no_terminal_is_an_error()
{
	setsid -w "$tierra" generate -m "$model" -p x --top >"$dir/out" 2>"$dir/err" </dev/null && return 1
	says "there is no terminal for the live view"
	start nowhere
	setsid -w "$tierra" top "$pid" >"$dir/out" 2>"$dir/err" </dev/null && return 1
	says "there is no terminal for the live view"
}

# --- on a terminal ------------------------------------------------------------------------------

mux()
{
	tmux -f /dev/null -S "$(cat "$dir/socket" 2>/dev/null)" "$@"
}

# terminal COLUMNS ROWS COMMAND - a shell that has been told the command.
terminal()
{
	mux kill-server 2>/dev/null || true
	mktemp -u "$dir/tmux.XXXXXX" >"$dir/socket" # the server before may still be about to go
	mux new-session -d -x "$1" -y "$2" "env -u BASH_ENV sh"
	mux set-option -g history-limit 5000
	mux set-option -g window-size manual
	# What is typed here must not look like the prompt, which is waited for.
	mux send-keys "PS1='rea''dy> '; stty -g >'$dir/before'; clear" Enter
	eventually pane_has "ready>"
	mux send-keys "$3" Enter
}

pane()
{
	mux capture-pane -p >"$dir/out"
}

pane_has()
{
	pane && grep -qF -e "$1" "$dir/out"
}

# The terminal is what it was: its settings, its screen, its cursor.
restored()
{
	eventually pane_has "ready>"
	rm -f "$dir/after"
	mux send-keys "stty -g >'$dir/after'" Enter
	eventually test -s "$dir/after"
	cmp "$dir/before" "$dir/after"
	test "$(mux display-message -p '#{alternate_on} #{cursor_flag}')" = "0 1"
}

sizes()
{
	start sized --pmem "$dir/pm:4M" --predictor gate
	for size in "80 24" "60 20" "200 50"; do
		# shellcheck disable=SC2086 # two numbers
		set -- $size
		terminal "$1" "$2" "$tierra top $pid"
		eventually pane_has "q quits"
		eventually pane_has "last "
		shows "tierra $pid" tokens/s "hit now" dram pmem nvme lanes attention "disk wait" disk \
			prefetch predictor memory layers
		no_wider "$1"
		test "$(wc -l <"$dir/out")" -eq "$2"
		tail -n 1 "$dir/out" | grep -q "q quits"
		mux send-keys q
		restored
	done
	kill -0 "$pid"
}

a_terminal_that_changes_is_followed()
{
	start changing
	terminal 80 24 "$tierra top"
	eventually pane_has "q quits"
	mux resize-window -x 60 -y 18
	eventually last_line_is 18
	no_wider 60
	mux resize-window -x 120 -y 40
	eventually last_line_is 40
	mux send-keys q
	restored
}

last_line_is()
{
	pane && test "$(wc -l <"$dir/out")" -eq "$1" && tail -n 1 "$dir/out" | grep -q "q quits"
}

signals_restore_the_terminal()
{
	start signalled
	terminal 80 24 "$tierra top; echo status \$?"
	eventually pane_has "q quits"
	mux send-keys C-c
	eventually pane_has "status 130"
	restored
	terminal 80 24 "$tierra top & echo \$! >$dir/top.pid; fg; echo status \$?"
	mux send-keys "fg" Enter
	eventually test -s "$dir/top.pid"
	eventually pane_has "q quits"
	kill "$(cat "$dir/top.pid")"
	eventually pane_has "status 130"
	restored
	# What is watched ends.
	terminal 80 24 "$tierra top; echo status \$?"
	eventually pane_has "q quits"
	kill -9 "$pid"
	eventually pane_has "status 0"
	shows "process $pid has ended"
	restored
}

# top_line OPTION... - a run with a view.
top_line()
{
	echo "$tierra generate -m $model -p '$prompt' --temp 0 -t 2 --ignore-eos --dram 25% --top $*"
}

plain_text()
{
	run 0 generate -m "$model" -p "$prompt" --temp 0 -t 2 --ignore-eos --dram 25% -q "$@"
	cp "$dir/out" "$dir/plain"
}

# The whole text is on the terminal, and the summary behind it.
text_is_whole()
{
	mux capture-pane -p -J -S - >"$dir/out"
	python3 - "$dir/plain" "$dir/out" <<-'END'
	import sys
	plain, shown = (open(name, encoding="utf-8").read() for name in sys.argv[1:])
	# A terminal keeps neither tabs nor blanks at the end of a line.
	lines = [line.expandtabs().rstrip() for line in plain.split("\n")]
	shown = "\n".join(line.rstrip() for line in shown.split("\n"))
	at = shown.find("\n".join(lines).rstrip())
	assert at >= 0, shown
	assert shown.find("stopped  length", at) > at, shown
	END
}

a_run_with_a_view_loses_no_text()
{
	plain_text -n 60
	terminal 100 30 "$(top_line -n 60 --throttle dram=40M)"
	eventually pane_has "q closes the view"
	eventually pane_has "── text ──"
	no_wider 100
	eventually pane_has "stopped  length"
	restored
	text_is_whole
	terminal 80 24 "$(top_line -n 60 --throttle dram=40M)"
	eventually pane_has "q closes the view"
	mux send-keys q
	eventually pane_has "stopped  length"
	restored
	text_is_whole
}

text_for_a_file_goes_there()
{
	plain_text -n 30
	terminal 80 24 "$(top_line -n 30 --throttle dram=40M) >$dir/file"
	eventually pane_has "q closes the view"
	eventually pane_has "stopped  length"
	restored
	cmp "$dir/plain" "$dir/file"
	terminal 80 24 "$(top_line -n 30 --throttle dram=40M -q) >$dir/file 2>&1; echo status \$?"
	eventually pane_has "status 0"
	cmp "$dir/plain" "$dir/file"
}

a_run_with_a_view_can_be_interrupted()
{
	terminal 80 24 "$(top_line -n 1000 --throttle dram=30M); echo status \$?"
	eventually pane_has "q closes the view"
	mux send-keys C-c
	eventually pane_has "status 130"
	mux capture-pane -p -S - | grep -q "stopped  interrupted"
	restored
	terminal 80 24 "$(top_line -n 1000 --throttle dram=30M); echo status \$?"
	eventually pane_has "q closes the view"
	child=$("$tierra" top --json -i 0.05 | sed -n 's/^ *"pid": \([0-9]*\),/\1/p')
	kill "$(sed -n "s/^PPid:[^0-9]*//p" "/proc/$child/status")"
	eventually pane_has "status 130"
	restored
	eventually ends "$child"
}

a_run_that_dies_leaves_the_terminal_well()
{
	terminal 80 24 "$(top_line -n 1000 --throttle dram=30M); echo status \$?"
	eventually pane_has "q closes the view"
	child=$("$tierra" top --json -i 0.05 | sed -n 's/^ *"pid": \([0-9]*\),/\1/p')
	kill -9 "$child"
	eventually pane_has "status 137"
	shows "ended by signal 9"
	restored
	terminal 80 24 "$tierra generate -m $dir/nothing.gguf -p x --top; echo status \$?"
	eventually pane_has "status 1"
	shows "$dir/nothing.gguf"
	restored
}

an_unknown_terminal_is_named()
{
	terminal 80 24 "TERM=abacus $(top_line -n 2); echo status \$?"
	eventually pane_has "status 2"
	shows "TERM is 'abacus'"
}

test_that "one look is text that fits" alone one_look_is_text
test_that "one look is JSON" alone one_look_is_json
test_that "the only run is found, of several none" alone the_only_run_is_found
test_that "a status ends with its run" alone a_status_ends_with_its_run
test_that "--no-live leaves no status" alone no_status_without_leave
test_that "a run goes on without a place for its status" alone a_run_goes_on_without_a_place_for_its_status
test_that "bad files are named" alone bad_files_are_named

views="views fit terminals of 80x24, 60x20, 200x50: sizes
a terminal that changes is followed: a_terminal_that_changes_is_followed
signals and ends restore the terminal: signals_restore_the_terminal
a run with a view loses no text: a_run_with_a_view_loses_no_text
text for a file goes there: text_for_a_file_goes_there
a run with a view can be interrupted: a_run_with_a_view_can_be_interrupted
a run that dies leaves the terminal as it was: a_run_that_dies_leaves_the_terminal_well
an unknown terminal is named: an_unknown_terminal_is_named"

without=
grep -q '^#define HAVE_NCURSES 1' "${TR_BUILDDIR:-.}/config.h" || without="built without ncurses"
command -v tmux >/dev/null || without="no tmux"
if [ -z "$without" ]; then
	test_that "no terminal is an error" alone no_terminal_is_an_error
else
	skip "no terminal is an error" "$without"
fi
while IFS=: read -r sentence function; do
	if [ -z "$without" ]; then
		test_that "$sentence" alone "${function# }"
	else
		skip "$sentence" "$without"
	fi
done <<END
$views
END
done_testing
