#!/bin/sh
# Man pages and scripts without running them.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
cd "${TR_SRCDIR:-$here/..}" || exit 99

# shell_scripts - tracked by their first line, since few have a suffix
shell_scripts()
{
	grep -lE '^#( shellcheck shell=|!/bin/(ba)?sh)' tests/* tools/* .ci/* tests/bench/* tests/vm/* tests/gpu/* 2>/dev/null |
		grep -v '\.log$'
}

man_pages()
{
	mandoc -T lint -W warning tools/*.1
}

every_command_has_a_man_page()
{
	sed -n 's/^TR_COMMAND(\(.*\))$/\1/p' tools/commands.def >"$dir/commands"
	test -s "$dir/commands"
	while read -r name; do
		test -f "tools/tierra-$name.1" || { echo "no tools/tierra-$name.1"; return 1; }
		grep -q "tierra-$name 1" tools/tierra.1 || { echo "$name: not in tierra.1"; return 1; }
	done <"$dir/commands"
}

scripts_are_clean()
{
	# shellcheck disable=SC2046 # names of scripts have no spaces
	shellcheck -x $(shell_scripts)
}

if command -v mandoc >/dev/null; then
	test_that "man pages are clean" man_pages
else
	skip "man pages are clean" "no mandoc"
fi
test_that "every command has a man page" every_command_has_a_man_page
if command -v shellcheck >/dev/null; then
	test_that "scripts are clean" scripts_are_clean
else
	skip "scripts are clean" "no shellcheck"
fi
done_testing
