# complete.zsh - prints what zsh offers for unfinished command lines: a candidate per line, and "%" after each line.
#
# zsh -f complete.zsh SCRIPT "bench run --" ...; a second shell, on a pseudo-terminal, completes the lines. Its compadd
# writes the matches to a file.
zmodload zsh/zpty || exit 1
takes=$(mktemp)
await() { # TEXT: waits until the second shell has written it
    for ((i = 0; i < 400; i++)); do
        grep -q $1 $takes && return
        sleep 0.02
    done
    echo "no '$1' from zsh" >&2
}
zpty shell zsh -f -i
for line in \
    'PROMPT="" PS2="" RPROMPT=""' \
    'autoload -Uz compinit; compinit -u -D' \
    "source ${(q)1}" \
    "zle -C take complete-word take; bindkey -e; bindkey '^I' take" \
    "takes=${(q)takes}" \
    'compadd() {
        if [[ "$*" != *-[OAD]\ * ]]; then
            local -a hits
            builtin compadd -A hits "$@"
            (( $#hits )) && print -rl -- "<$IPREFIX"$^hits >>$takes
        fi
        builtin compadd "$@"
    }' \
    'take() { _main_complete; print -r -- done >>$takes }' \
    'print -r -- ready >>$takes'; do
    zpty -w shell $line
done
await ready
shift
for line; do
    : >$takes
    zpty -w -n shell $'\C-u'$line$'\t'
    await done
    sed -n 's/^<//p' $takes | sort -u
    echo %
done
zpty -d shell
rm -f $takes
