#!/usr/bin/env bash
# Makes what a package has besides the program, and checks it: man pages, and completions for bash, zsh and fish.
#
#   scripts/assets.sh [DIRECTORY]      target/assets unless told otherwise
#
# To put them in place by hand: man pages to ~/.local/share/man/man1, ocifs.bash to
# ~/.local/share/bash-completion/completions/ocifs, _ocifs to a directory of zsh's $fpath, ocifs.fish to
# ~/.config/fish/completions.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

need_packages mandoc groff zsh fish
out=${1:-target/assets}
# The pages' date: the day of the commit, so that the same sources make the same pages.
day=$(git log -1 --format=%cs 2>/dev/null || date -u +%F)

say "man pages and completions"
cargo run --locked --quiet --example assets -- "$out" "$day"

for page in "$out"/*.1; do
    mandoc -T lint -W warning "$page" || die "$page: mandoc warns"
    ! groff -man -z -ww "$page" 2>&1 | grep . || die "$page: groff warns"
done
for section in NAME SYNOPSIS OPTIONS 'MOUNT OPTIONS' 'THE TREE' FILES ENVIRONMENT 'EXIT STATUS' EXAMPLES 'SEE ALSO'; do
    grep -Eq "^\.SH \"?$section\"?\$" "$out/ocifs.1" || die "ocifs.1 has no section $section"
done
for option in allow\\-other image symlinks foreground; do
    grep -qF -- "\\-\\-$option" "$out/ocifs.1" || die "ocifs.1 has no option $option"
done

# Each shell is asked what it would offer.
# shellcheck disable=SC2016
bash -euc '. "$1/ocifs.bash"; COMP_WORDS=(ocifs --im); COMP_CWORD=1; _ocifs ocifs --im ocifs
    [ "${COMPREPLY[*]}" = --image ]' bash "$out" || die "ocifs.bash offers no --image"
[[ $(fish --no-config -c "source '$out/ocifs.fish'; complete -C 'ocifs --im'") = *--image* ]] || die "ocifs.fish offers no --image"
# shellcheck disable=SC2016
zsh -fuc 'fpath=("$1" $fpath); autoload -Uz compinit; compinit -D -u; [ "$_comps[ocifs]" = _ocifs ]; autoload +X _ocifs' \
    zsh "$out" || die "_ocifs is not taken for a completion of ocifs"
grep -q -- '--image=' "$out/_ocifs" || die "_ocifs offers no --image"
ls -l "$out"
