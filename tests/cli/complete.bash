# complete.bash - prints what bash offers for unfinished command lines: a candidate per line, and "%" after each line.
#
# bash complete.bash SCRIPT "bench run --" ...; words are split as readline does, at blanks, and at = and : too.
# shellcheck disable=SC1090,SC2034
source "$1"
shift
function=$(complete -p bench | sed 's/.*-F \([^ ]*\) .*/\1/')
for line; do
    read -ra COMP_WORDS < <(sed 's/[=:]/ & /g' <<<"$line")
    [[ $line == *' ' ]] && COMP_WORDS+=('')
    COMP_LINE=$line COMP_POINT=${#line} COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    "$function" bench "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    [ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    echo %
done
