#!/bin/sh
# The F16 demo model against its reference; the file is 72 MB and not part of the project.
if [ -z "${TR_DEMO_F16:-}" ]; then
	echo "1..0 # SKIP the F16 demo model is not given (tests/check --demo-f16 FILE)"
	exit 0
fi
exec "$TR_BUILDDIR/tests/t_reference" "$TR_DEMO_F16"
