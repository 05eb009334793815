#!/bin/sh
# Makes the virtual environment that the Python tests run in, at $TR_VENV or SRCDIR/.venv.
# A stamp (the checksum of the tests/requirements*.txt and the interpreter's version) tells whether it
# is up to date, so running this again does nothing. It needs python3 with venv, and a package index
# the first time. Two runs at once wait for each other.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=${TR_VENV:-$here/../.venv}
python=${PYTHON:-python3}

stamp()
{
	"$python" --version
	cat "$here/requirements.txt" "$here/requirements-optional.txt" | sha256sum
}

exec 9<"$here/requirements.txt"
flock 9

want=$(stamp)
if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$want" ]; then
	echo "venv: $venv is up to date"
	exit 0
fi

echo "venv: installing the packages of tests/requirements.txt into $venv"
rm -f "$venv/.stamp"
"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
	-r "$here/requirements.txt"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
	-r "$here/requirements-optional.txt" ||
	echo "venv: going on without the packages of tests/requirements-optional.txt"
printf '%s\n' "$want" >"$venv/.stamp"
