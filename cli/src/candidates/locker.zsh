#compdef locker
# Completions of locker for zsh.
_locker() {
    local kind line tab=$'\t'
    local -a lines values open described displays
    integer width=0 i
    lines=("${(@f)$(command locker candidates zsh -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2> /dev/null < /dev/null)}")
    kind=$lines[1]
    shift lines
    case $kind in
        files | folders)
            # The value of an option, as in --option=value.
            if [[ $PREFIX == --*=* ]]; then compset -P '*='; fi
            if [[ $kind == files ]]; then _files; else _files -/; fi
            return
            ;;
        command)
            i=${words[(i)--]}
            shift $i words
            ((CURRENT -= i))
            _normal
            return
            ;;
    esac
    for line in "${(@)lines}"; do
        if ((${#line%%$tab*} > width)); then width=${#line%%$tab*}; fi
    done
    for line in "${(@)lines}"; do
        case $line in
            *[:/=]$tab*) open+=("${line%%$tab*}") ;;
            *$tab) values+=("${line%%$tab*}") ;;
            *$tab*)
                described+=("${line%%$tab*}")
                displays+=("${(r:width:)line%%$tab*}  ${line#*$tab}")
                ;;
        esac
    done
    if ((${#open})); then compadd -S '' -a open; fi
    if ((${#values})); then compadd -a values; fi
    if ((${#described})); then compadd -l -d displays -a described; fi
    ((${#open} + ${#values} + ${#described}))
}
if [[ $funcstack[1] == _locker ]]; then _locker "$@"; else compdef _locker locker; fi
