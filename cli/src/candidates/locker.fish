# Completions of locker for fish.
function __locker_candidates
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    # A quote may be open.
    set -l word (string unescape -- $token; or string unescape -- $token\'; or string unescape -- $token\")
    set -l answer (command locker candidates fish -- $words "$word" 2> /dev/null < /dev/null)
    switch "$answer[1]"
        case files folders
            # The value of an option, as in --option=value.
            set -l option (string match -r -- '^--[^=]*=' $token)
            for path in (__fish_complete_path (string replace -- "$option" '' $token))
                printf '%s\n' "$option$path"
            end
        case command
            set -l first (math (contains -i -- -- $words) + 1)
            complete -C (string join ' ' -- (string escape -- $words[$first..]) $token)
        case values
            printf '%s\n' $answer[2..]
    end
end
complete -c locker -f -k -a '(__locker_candidates)'
