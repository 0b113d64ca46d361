#!/usr/bin/env bash
# Run by scripts/test-package.sh inside a clean Debian: installs the package and uses it as its reader would.
# Commands are shown as they are typed, and run by eval.
# shellcheck disable=SC2016
set -euo pipefail
cd /try

say() { printf '\n-- %s\n' "$*"; }

# Runs a command line and shows it; one that fails ends the trial.
must() {
    printf '$ %s\n' "$*"
    eval "$*"
}

# The same for one that must fail.
must_not() {
    printf '$ ! %s\n' "$*"
    ! eval "$*" || {
        echo "that should have failed"
        exit 1
    }
}

# Waits until a command succeeds, for ten seconds.
soon() {
    printf '$ %s    (soon)\n' "$*"
    for _ in $(seq 100); do
        if eval "$*" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "that did not become true"
    exit 1
}

arm=platforms/linux-arm64/rootfs/etc/os-release

say "install: apt brings fuse3"
must_not 'dpkg -s fuse3 2>/dev/null | grep -q "ok installed"'
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq ./ocifs.deb >/try/apt.log 2>&1 || { cat /try/apt.log; exit 1; }
must 'dpkg -L ocifs'
must 'dpkg --verify ocifs'

say "what it says of itself"
must 'ocifs --version'
must 'ocifs --help | grep -q Examples:'
for page in ocifs ocifs-inspect ocifs-verify mount.fuse.ocifs; do must "man -w $page"; done
must '[ -z "$(man --warnings -l /usr/share/man/man1/ocifs.1.gz 2>&1 >/dev/null)" ]'
must 'whatis ocifs'
for file in bash-completion/completions/ocifs zsh/vendor-completions/_ocifs fish/vendor_completions.d/ocifs.fish; do
    must "[ -s /usr/share/$file ]"
done

say "by hand, as root and as nobody"
mkdir -p /mnt/a /mnt/b /mnt/c
must 'ocifs /try/layout /mnt/a'
must "grep ARCHITECTURE=arm64 /mnt/a/$arm"
must 'umount /mnt/a'
chmod 755 /try
must 'install -d -o nobody /tmp/nobody && cd /tmp/nobody && mkdir mnt && chown nobody mnt'
as_nobody='setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/tmp/nobody'
must "$as_nobody ocifs /try/layout mnt"
must "$as_nobody cat mnt/$arm"
must_not "cat mnt/$arm 2>/dev/null"
must "$as_nobody fusermount3 -u mnt"
cd /try

say "mount(8), and fstab"
must 'mount -t fuse.ocifs -o allow_other /try/layout /mnt/a'
must 'findmnt /mnt/a'
must "grep ARCHITECTURE /mnt/a/$arm"
must 'umount /mnt/a'
cat >>/etc/fstab <<FSTAB
/try/layout  /mnt/a     fuse.ocifs  ro,noauto,allow_other,platform=linux/arm64  0 0
/try/layout  /mnt/unit   fuse.ocifs  ro,noauto,nofail,allow_other,uid=nobody  0 0
/try/layout  /mnt/auto   fuse.ocifs  ro,noauto,x-systemd.automount,allow_other  0 0
FSTAB
must 'mount /mnt/a'
must 'ls /mnt/a/platforms'
must '[ "$(ls /mnt/a/platforms)" = linux-arm64 ]'
must 'umount /mnt/a'
must 'systemctl daemon-reload && systemctl start mnt-unit.mount'
must "grep ARCHITECTURE /mnt/unit/$arm"
must '[ "$(stat -c %U /mnt/unit/index.json)" = nobody ]'
must 'findmnt /mnt/unit'
must 'systemctl stop mnt-unit.mount'
must 'systemctl start mnt-auto.automount'
must_not 'grep fuse.ocifs /proc/self/mountinfo'
must "grep ARCHITECTURE /mnt/auto/$arm"
must 'findmnt /mnt/auto'
must 'systemctl stop mnt-auto.automount'

say "the service"
mkdir -p /etc/ocifs
printf 'SOURCE=/try/layout\nMOUNTPOINT=/mnt/service\nOPTIONS=--allow-other --platform=linux/arm64\n' >/etc/ocifs/demo.conf
# In a container of a container there is no network-online.target worth waiting for, so it is not waited for.
must 'systemd-analyze verify /usr/lib/systemd/system/ocifs@.service'
must 'systemctl start ocifs@demo || { journalctl -u ocifs@demo; exit 1; }'
must 'systemctl status --no-pager --lines=0 ocifs@demo'
must "grep ARCHITECTURE /mnt/service/$arm"
must '[ "$(ls /mnt/service/platforms)" = linux-arm64 ]'
must 'stat -c "%n %a %U" /var/cache/ocifs'
must '[ -n "$(ls /var/cache/ocifs)" ]'
must 'setpriv --reuid nobody --regid nogroup --clear-groups ls /mnt/service'
must 'systemctl stop ocifs@demo'
must_not 'mountpoint -q /mnt/service'
must 'systemctl start ocifs@demo'
must 'kill -KILL "$(systemctl show -P MainPID ocifs@demo)"'
soon "grep ARCHITECTURE /mnt/service/$arm"
must 'systemctl stop ocifs@demo'
printf 'SOURCE=/no/such/layout\nMOUNTPOINT=/mnt/service\n' >/etc/ocifs/bad.conf
must_not 'systemctl start ocifs@bad 2>/dev/null'
must 'journalctl -q -u ocifs@bad | grep -m1 "no such file or directory"'
must 'systemctl stop ocifs@bad'
must 'systemd-analyze security --no-pager ocifs@demo | tail -n 1'

say "remove"
must 'apt-get purge -y -qq ocifs >/try/apt.log 2>&1'
must_not '[ -e /usr/bin/ocifs ]'
must_not '[ -e /var/cache/ocifs ]'

touch /try/passed
