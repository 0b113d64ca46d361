# shellcheck shell=bash disable=SC2016
# What is in the picture. Each line is shown as it is typed, and run.
set -eu

type_and_run() {
    printf '\033[1;32m$\033[0m \033[1m%s\033[0m\n' "$1"
    eval "$1"
}

eval "$(dircolors -b)"
alias_ls() { command ls --color=auto "$@"; }
ls() { alias_ls "$@"; }
diff() { command diff --color=auto "$@" || [ $? = 1 ]; }
grep() { command grep --color=auto "$@"; }

type_and_run 'ocifs inspect image/ --platform linux/arm64'
type_and_run 'ocifs image/ mnt'
type_and_run 'cd mnt/platforms; ls'
type_and_run 'diff linux-{amd64,arm64}/rootfs/etc/os-release'
type_and_run 'cd linux-arm64; ls'
type_and_run 'ls -l rootfs/bin'
type_and_run 'getfattr -n user.oci.layer rootfs/etc/os-release    # which layer brought it'
type_and_run 'sha256sum config.json    # the ImageID'
type_and_run 'cd ../../..; umount mnt'
