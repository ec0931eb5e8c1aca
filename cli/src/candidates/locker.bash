# Completions of locker for bash.
_locker() {
    local kind= value offset
    COMPREPLY=()
    while IFS= read -r value; do
        if [[ $kind ]]; then COMPREPLY+=("$value"); else kind=$value; fi
    done < <(command locker candidates bash -- "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2> /dev/null < /dev/null)
    case $kind in
        values)
            if [[ ${COMPREPLY[0]-} == *[:/=] && ${#COMPREPLY[@]} == 1 ]]; then compopt -o nospace; fi
            ;;
        files) compopt -o default ;;
        folders) compopt -o dirnames ;;
        command)
            for ((offset = 1; offset < COMP_CWORD; offset++)); do
                if [[ ${COMP_WORDS[offset]} == -- ]]; then break; fi
            done
            ((offset++))
            # Of the package bash-completion.
            if declare -F _command_offset > /dev/null; then
                _command_offset "$offset"
            elif ((offset == COMP_CWORD)); then
                compopt -o filenames
                while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -c -- "$2")
            else
                compopt -o default
            fi
            ;;
    esac
}
complete -F _locker locker
