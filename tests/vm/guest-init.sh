#!/bin/busybox sh
# shellcheck shell=dash
# guest-init.sh - first process of the guest that dax-vm.sh boots: devices, DAX, the command, off.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/t HOME=/ LD_LIBRARY_PATH=/lib
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
echo "vm: up"
while read -r m; do
	modprobe "$m" 2>/dev/null || [ -d "/sys/module/$(echo "$m" | tr - _)" ] || echo "vm: no module $m"
done </etc/vm-modules

# Labels of a new DIMM must be made before namespaces can be; the region is idle for that time.
quiet() { "$@" >/tmp/said 2>&1 || { echo "vm: $* failed"; cat /tmp/said; }; }
quiet ndctl disable-region all
quiet ndctl init-labels -f all
quiet ndctl enable-region all
quiet ndctl create-namespace -f -m fsdax -M mem -a 2M -r region0
quiet ndctl create-namespace -f -m devdax -M mem -a 2M -r region1
quiet mkfs.ext4 -q -F -b 4096 -E stride=512,stripe_width=512,lazy_itable_init=0 /dev/pmem0
quiet mount -t ext4 -o dax=always /dev/pmem0 /mnt/pmem
echo "vm: $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s"
echo "vm:" /dev/pmem* /dev/dax*
echo "vm: $(grep ' /mnt/pmem ' /proc/mounts)"

cd /t || echo "vm: no /t"
sh /etc/vm-command
status=$?
umount /mnt/pmem
echo "vm-exit $status"
poweroff -f
