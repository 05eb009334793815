#!/bin/sh
# Usage: tests/python.sh FILE [PYTEST-OPTION...]
# Runs one pytest file with TAP on standard output, for the TAP driver of `make check`; what pytest
# itself prints goes before it as TAP comments. Without the virtual environment of tests/venv.sh
# ($TR_VENV, default SRCDIR/.venv) the file is skipped, and the plan says why. The source tree may
# be read-only: nothing is written there.
set -u

here=$(cd "$(dirname "$0")" && pwd)
python=${TR_VENV:-$here/../.venv}/bin/python
file=${1:?usage: tests/python.sh FILE}
shift

if ! "$python" -c 'import gguf, numpy, pytest, pytest_tap, tokenizers' 2>/dev/null; then
	echo "1..0 # SKIP no Python packages (tests/venv.sh installs them)"
	exit 0
fi

tap=$(mktemp -d)
trap 'rm -rf "$tap"' EXIT
export PYTHONDONTWRITEBYTECODE=1
"$python" -m pytest --tap-combined --tap-outdir="$tap" -q --color=no -p no:cacheprovider \
	--rootdir="$here" "$file" "$@" >"$tap/log" 2>&1
status=$?
sed 's/^/# /' "$tap/log"
if [ -s "$tap/testresults.tap" ]; then
	sed 's|^\(not \)\{0,1\}ok \([0-9]*\) [^#]*::|\1ok \2 |' "$tap/testresults.tap"
fi
# 1: some test failed, which the TAP lines say already.
[ "$status" -eq 1 ] && exit 0
exit "$status"
