# shellcheck shell=sh disable=SC2034
# debian-packages.sh - the Debian packages that tierra is built and tested with, in one place.
# Sourced by tools/quickstart and tests/check.

# What ./autogen.sh, ./configure and make need.
tr_build_packages="gcc libc6-dev make autoconf automake libtool pkg-config
	liburing-dev libpmem2-dev libnuma-dev libpcre2-dev libjansson-dev libxxhash-dev
	libzstd-dev libjemalloc-dev"

# What the tests need beside those.
tr_test_packages="libcmocka-dev clang libclang-rt-dev python3 python3-venv mandoc shellcheck
	xz-utils chromium"

# What the virtual machine of tests/vm needs.
tr_vm_packages="qemu-system-x86 busybox-static ndctl daxctl e2fsprogs cpio numactl kmod"

# tr_install_packages PACKAGE... - installs with apt-get those that are missing, through sudo when
# not root. Fails with the command to run when it cannot.
tr_install_packages()
{
	tr_missing=
	if ! command -v dpkg-query >/dev/null; then
		echo "packages: not a Debian system, going on with what is installed"
		return 0
	fi
	for tr_p in "$@"; do
		case $(dpkg-query -W -f='${db:Status-Status}' "$tr_p" 2>/dev/null) in
		installed*) ;;
		*) tr_missing="$tr_missing $tr_p" ;;
		esac
	done
	if [ -z "$tr_missing" ]; then
		echo "packages: all $# that are needed are installed"
		return 0
	fi
	echo "packages: installing$tr_missing"
	tr_sudo=
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null; then
			echo "packages: neither root nor sudo; as root, run" >&2
			echo "  apt-get update && apt-get install$tr_missing" >&2
			return 1
		fi
		tr_sudo=sudo
	fi
	# Words are meant to split here.
	# shellcheck disable=SC2086
	$tr_sudo apt-get update -qq &&
		$tr_sudo env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $tr_missing
}
