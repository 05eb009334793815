#!/bin/bash
# dax-vm.sh - runs one command in a throw-away QEMU guest that has persistent memory behind DAX.
#
#   dax-vm.sh check                          what is missing, if anything; 77 when something is
#   dax-vm.sh setup                          fetch Debian's kernel, keep the few modules of it
#   dax-vm.sh run [OPTION]... -- CMD [ARG]...
#       --bin PATH       a dynamically linked program and its libraries; becomes /t/NAME
#       --file PATH      a file or directory; becomes /t/NAME
#       --domain D       mem-ctrl: caches must be flushed (cache line); cpu: eADR (byte)
#       --pmem-node N    NUMA node of the NVDIMMs, 2 if not given
#       --nvme           an emulated NVMe disk of 256 MiB, /dev/nvme0n1, with a poll queue
#       --mib N          size of each of the two NVDIMMs, 512 if not given
#       --timeout S      seconds the guest may take, 300 if not given
#       --kvm            use KVM instead of emulation
#
# The guest is an initramfs: no disk image, no network, nothing of the host can be written. It has
# two processors on NUMA nodes 0 and 1 and two NVDIMMs, on node 2, which has no processor. Their
# contents live in sparse files of the run and go with it. guest-init.sh turns the first into ext4
# with dax=always on /mnt/pmem and the second into /dev/dax1.0.
#
# Exit status of run: that of CMD; 124 when time ran out, 125 when the guest never reported one.
# TR_VM_DIR (default ~/.cache/tierra-vm, about 30 MB) keeps kernel and runs.
set -u -o pipefail

here=$(cd "$(dirname "$0")" && pwd)
vm=${TR_VM_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tierra-vm}
PATH=$PATH:/usr/sbin:/sbin
modules="nfit nd_pmem dax_pmem device_dax kmem ext4 crc32c_generic crc32c-intel nvme"

say() { echo "dax-vm: $*" >&2; }
die() { say "$*"; exit 125; }

# PROGRAM:PACKAGE of all that is not there.
missing() {
	local pair
	for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static ndctl:ndctl \
		daxctl:daxctl mkfs.ext4:e2fsprogs cpio:cpio numactl:numactl depmod:kmod; do
		command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
	done
}

# Nothing to say about: the packages are there.
need_packages() {
	local lack
	lack=$(missing | xargs)
	[ -z "$lack" ] || { say "missing; apt-get install --no-install-recommends $lack"; return 77; }
}

release()
{
	[ ! -d "$vm/kernel/lib/modules" ] ||
		find "$vm/kernel/lib/modules" -mindepth 1 -maxdepth 1 -printf '%f\n'
}

check() {
	need_packages || return
	[ -n "$(release)" ] || { say "no kernel in $vm; fetch one with: $0 setup"; return 77; }
}

setup() {
	need_packages || return
	[ -z "$(release)" ] || return 0
	local pkg part=$vm/kernel.part
	pkg=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
	[ -n "$pkg" ] || { say "apt knows no linux-image-amd64 (apt-get update?)"; return 77; }
	rm -rf "$part"
	mkdir -p "$part" || die "cannot write $part"
	say "fetching $pkg (about 70 MB)"
	(cd "$part" && apt-get -q download "$pkg") >&2 || { say "download of $pkg failed"; return 77; }
	# Of the 400 MB in the package only these are of use here.
	dpkg --fsys-tarfile "$part/$pkg"_*.deb | tar -x -C "$part" --wildcards \
		'./boot/vmlinuz-*' './lib/modules/*/modules.*' './lib/modules/*/kernel/drivers/acpi/*' \
		'./lib/modules/*/kernel/drivers/nvdimm/*' './lib/modules/*/kernel/drivers/dax/*' \
		'./lib/modules/*/kernel/drivers/nvme/*' './lib/modules/*/kernel/block/*' \
		'./lib/modules/*/kernel/fs/ext4/*' './lib/modules/*/kernel/fs/jbd2/*' \
		'./lib/modules/*/kernel/fs/mbcache*' './lib/modules/*/kernel/crypto/*' \
		'./lib/modules/*/kernel/lib/*' './lib/modules/*/kernel/arch/x86/crypto/*' ||
		die "unpacking $pkg failed"
	find "$part/lib/modules" -name '*.ko.xz' -exec unxz {} +
	depmod -b "$part" "$(ls "$part/lib/modules")" 2>/dev/null
	rm -f "$part"/*.deb
	rm -rf "$vm/kernel"
	mv "$part" "$vm/kernel" || die "cannot move $part to $vm/kernel"
	say "kernel $(release) is in $vm/kernel"
}

# --- initramfs: everything lands below $root ----------------------------------------------------

add_lib() { [ -e "$root/lib/$1" ] || cp -L "$2" "$root/lib/$1"; }

# PATH NAME-IN-GUEST; libraries are looked for in /lib only, but the loader has a fixed path.
add_bin() {
	local soname arrow path rest
	install -m 755 "$1" "$root$2" || die "cannot copy $1"
	while read -r soname arrow path rest; do
		case "$soname $arrow $path" in
		/*) mkdir -p "$root$(dirname "$soname")"; cp -L "$soname" "$root$soname" ;;
		*'=> not'*) die "$1 needs $soname, which ldd does not find" ;;
		*'=> /'*) add_lib "$soname" "$path" ;;
		esac
	done < <(ldd "$1" 2>/dev/null)
}

# Module with what modules.dep says it needs.
add_module() {
	local from to line file
	from=$vm/kernel/lib/modules/$(release)
	to=$root/lib/modules/$(release)
	line=$(grep -E "(^|/)$1\.ko:" "$from/modules.dep") || return 0 # built into the kernel
	for file in ${line%%:*} ${line#*:}; do
		mkdir -p "$to/$(dirname "$file")" && cp "$from/$file" "$to/$file"
	done
}

build_initramfs() {
	local m tool f
	mkdir -p "$root"/{bin,sbin,lib,proc,sys,dev,tmp,t,mnt/pmem,etc}
	cp -L "$(command -v busybox)" "$root/bin/busybox"
	for tool in ndctl daxctl numactl mkfs.ext4; do
		add_bin "$(command -v $tool)" "/bin/$tool"
	done
	[ ! -f /etc/mke2fs.conf ] || cp /etc/mke2fs.conf "$root/etc/"
	for m in $modules; do add_module "$m"; done
	depmod -b "$root" "$(release)" 2>/dev/null
	for f in "${bins[@]}"; do add_bin "$f" "/t/$(basename "$f")"; done
	for f in "${files[@]}"; do cp -rL "$f" "$root/t/" || die "cannot copy $f"; done
	echo "$modules" | tr ' ' '\n' >"$root/etc/vm-modules"
	printf '%q ' "${cmd[@]}" >"$root/etc/vm-command"
	cp "$here/guest-init.sh" "$root/init" && chmod 755 "$root/init"
	(cd "$root" && find . -print0 | cpio --null -o -H newc --quiet | gzip -1) >"$work/initrd" ||
		die "cannot pack the initramfs"
}

# --- the machine --------------------------------------------------------------------------------

boot() {
	local accel=tcg,thread=multi cpu=max i
	[ $kvm = no ] || { accel=kvm; cpu=host; }
	# shellcheck disable=SC2054 # the commas are QEMU's
	local args=(-accel "$accel" -cpu "$cpu" -smp 2 -m "1G,slots=4,maxmem=$((2 * mib + 2048))M"
		-machine "q35,nvdimm=on${domain:+,nvdimm-persistence=$domain}"
		-object memory-backend-ram,id=dram0,size=512M
		-object memory-backend-ram,id=dram1,size=512M
		-numa node,nodeid=0,cpus=0,memdev=dram0 -numa node,nodeid=1,cpus=1,memdev=dram1
		-numa node,nodeid=2 -numa dist,src=0,dst=1,val=21
		-numa dist,src=0,dst=2,val=17 -numa dist,src=1,dst=2,val=28)
	for i in 0 1; do
		truncate -s "${mib}M" "$work/pmem$i" || die "cannot write in $work"
		# Regions must be multiples of 16 MiB, which the label area would break.
		args+=(-object "memory-backend-file,id=pm$i,share=on,mem-path=$work/pmem$i,size=${mib}M,align=16M"
			-device "nvdimm,id=dimm$i,memdev=pm$i,node=$pmem_node,label-size=128K")
	done
	if [ $nvme = yes ]; then
		truncate -s 256M "$work/nvme"
		# shellcheck disable=SC2054
		args+=(-drive "file=$work/nvme,format=raw,if=none,id=disk"
			-device nvme,serial=tierra,drive=disk,max_ioqpairs=4)
	fi
	timeout "$limit" nice qemu-system-x86_64 "${args[@]}" \
		-kernel "$vm/kernel/boot/vmlinuz-$(release)" -initrd "$work/initrd" \
		-append "console=ttyS0 quiet panic=-1 nvme.poll_queues=1 tsc=unstable" \
		-nodefaults -nographic -no-reboot -net none -serial stdio -monitor none \
		</dev/null 2>&1 | tr -d '\r' | tee "$work/console" |
		sed -u -e '1,/vm: up/d' -e '/^vm-exit /,$d'
	return "${PIPESTATUS[0]}"
}

run() {
	bins=() files=() cmd=() domain='' nvme=no pmem_node=2 mib=512 limit=300 kvm=no
	while [ $# -gt 0 ]; do
		case $1 in
		--bin) bins+=("$2"); shift 2 ;;
		--file) files+=("$2"); shift 2 ;;
		--domain) domain=$2; shift 2 ;;
		--nvme) nvme=yes; shift ;;
		--pmem-node) pmem_node=$2; shift 2 ;;
		--mib) mib=$2; shift 2 ;;
		--timeout) limit=$2; shift 2 ;;
		--kvm) kvm=yes; shift ;;
		--) shift; cmd=("$@"); break ;;
		*) die "unknown option $1" ;;
		esac
	done
	[ ${#cmd[@]} -gt 0 ] || die "no command given"
	check || return
	work=$(mktemp -d "$vm/run.XXXXXX") || die "cannot make a directory in $vm"
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM
	root=$work/root
	build_initramfs
	local status
	boot
	[ $? != 124 ] || { say "the guest took longer than $limit s"; tail -n 5 "$work/console" >&2; return 124; }
	status=$(sed -n 's/^vm-exit \([0-9]*\)$/\1/p' "$work/console" | tail -n 1)
	[ -n "$status" ] || { say "no exit status came back:"; tail -n 15 "$work/console" >&2; return 125; }
	return "$status"
}

case ${1:-} in
check | setup) "$1" ;;
run) shift; run "$@" ;;
*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
esac
